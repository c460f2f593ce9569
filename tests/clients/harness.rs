//! One site: origins in the outer namespace, a policy that maps names to them, and a way to run a client there, either directly or
//! under `ringfence run`.
//!
//! The direct way is the control. A client that fails there is broken by itself, and no verdict about ringfence.

use super::origins::{Nginx, Origin, PATH, Seen};
use super::proxied::Proxy;
use super::trust::Trust;
use super::util::{Finished, Program};
use serde_json::Value;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const RINGFENCE: &str = env!("CARGO_BIN_EXE_ringfence");

/// The user that root becomes where a claim is about an ordinary user.
const ORDINARY: u32 = 1000;

/// Where a target folder appears that an ordinary user cannot reach by its own path (a clone below /root, say).
const REACHABLE: &str = "/mnt";

/// What the client programs need of the folder of sources; a copy, because an ordinary user may not reach the original.
const PROGRAMS: [(&str, &str); 5] = [
    ("origin.py", include_str!("origin.py")),
    ("requests_client.py", include_str!("programs/requests_client.py")),
    ("httpx_client.py", include_str!("programs/httpx_client.py")),
    ("openai_client.py", include_str!("programs/openai_client.py")),
    ("fetch_client.mjs", include_str!("programs/fetch_client.mjs")),
];

/// How a client reaches the origins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fence {
    Direct,
    Fenced {
        engine: &'static str,
        identity: Identity,
    },
    /// By `ringfence proxy`, which its environment names.
    Proxied,
}

/// Who runs ringfence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Identity {
    /// Whoever runs the tests.
    Invoker,
    /// Somebody without any privilege. The same as the invoker, unless that is root.
    OrdinaryUser,
}

pub(crate) struct Site {
    fence: Fence,
    /// Owned by the invoker; holds the policy, certificates and programs.
    folder: TempDir,
    pub(crate) origin: Origin,
    pub(crate) nginx: Nginx,
    trust: Trust,
    proxy: Option<Proxy>,
}

impl Site {
    pub(crate) fn open(fence: Fence) -> Site {
        let folder = tempfile::Builder::new().prefix("ringfence-clients-").tempdir().expect("a temporary folder");
        let at = |name: &str| folder.path().join(name);
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).expect("it is ours");
        for name in ["programs", "repositories", "own", "own/home"] {
            std::fs::create_dir(at(name)).expect("a new folder");
        }
        for (name, text) in PROGRAMS {
            std::fs::write(at("programs").join(name), text).expect("written");
        }
        let names =
            ["localhost", "origin.example.test", "llm.example.test", "nginx.example.test", "closed.example.test"];
        let trust = Trust::make(folder.path(), &names);
        let origin = Origin::start(&trust, &at("repositories"));
        let nginx = Nginx::start(&trust, folder.path());
        let policy = include_str!("policy.yaml")
            .replace("ORIGIN", &origin.address.to_string())
            .replace("NGINX", &nginx.address.to_string());
        std::fs::write(at("policy.yaml"), policy).expect("written");
        std::fs::write(at("wgetrc"), format!("ca_certificate = {}\n", trust.authority.display())).expect("written");
        let proxy = matches!(fence, Fence::Proxied).then(|| Proxy::prepare(folder.path()));
        let site = Site { fence, folder, origin, nginx, trust, proxy };
        if site.drops_root() {
            for name in ["own", "own/home"] {
                chown(site.at(name), Some(ORDINARY), Some(ORDINARY)).expect("root may give its folders away");
            }
        }
        site
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where the clients run; theirs to write in.
    pub(crate) fn home(&self) -> PathBuf {
        self.at("own/home")
    }

    pub(crate) fn is_fenced(&self) -> bool {
        !matches!(self.fence, Fence::Direct)
    }

    /// The URL by which a client asks for something. Without a fence there are no names, only ports on this machine.
    pub(crate) fn url(&self, host: &str, path: &str) -> String {
        let address = if host == "nginx.example.test" { self.nginx.address } else { self.origin.address };
        match self.fence {
            Fence::Direct => format!("https://localhost:{}{path}", address.port()),
            Fence::Fenced { .. } | Fence::Proxied => format!("https://{host}{path}"),
        }
    }

    /// The Python of the environment that `scripts/test` makes from tests/clients/requirements.txt.
    pub(crate) fn python(&self) -> String {
        let python = target().join("clients-venv/bin/python");
        assert!(python.exists(), "{} is missing: run scripts/test once, it installs the clients", python.display());
        self.reachable(&python).to_string_lossy().into_owned()
    }

    pub(crate) fn program(&self, name: &str) -> String {
        self.at("programs").join(name).to_string_lossy().into_owned()
    }

    /// Starts a client.
    pub(crate) fn start(&self, client: &[&str]) -> Program {
        let engine = match (&self.fence, &self.proxy) {
            (Fence::Fenced { engine, .. }, _) => *engine,
            (_, None) => return Program::start(self.command(client).envs(self.trusting(&self.trust.authority))),
            (_, Some(proxy)) => {
                let bundle = proxy.serve(|| self.command(&[RINGFENCE]));
                std::fs::write(self.at("wgetrc"), format!("ca_certificate = {}\n", bundle.display())).expect("written");
                return Program::start(self.command(client).envs(self.trusting(&bundle)).envs(proxy.variables()));
            }
        };
        let (policy, audit) = (self.at("policy.yaml"), self.at("own/audit"));
        let ringfence = self.reachable(Path::new(RINGFENCE));
        let mut command = self.as_identity(&ringfence);
        command.args(["run", "--io", engine, "--policy"]).arg(policy).arg("--audit").arg(audit).arg("--").args(client);
        Program::start(&mut command)
    }

    pub(crate) fn run(&self, client: &[&str]) -> Finished {
        self.start(client).finish()
    }

    /// The audit log so far, verified, one object a record.
    pub(crate) fn records(&self) -> Vec<Value> {
        if let Some(proxy) = &self.proxy {
            proxy.stop();
        }
        let verified = self.audit(&["verify"]);
        assert!(verified.status.success() && verified.stdout[0].starts_with("OK"), "audit verify: {verified:?}");
        let decoded = self.audit(&["decode", "--format", "json"]);
        assert!(decoded.status.success(), "audit decode: {decoded:?}");
        let records: Vec<Value> = decoded.stdout.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let numbers: Vec<u64> = records.iter().map(|record| record["seq"].as_u64().expect("a number")).collect();
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "seq has holes: {numbers:?}");
        // The canary of a starting proxy is nobody's call.
        records.into_iter().filter(|record| record["agent"] != "ringfence-canary").collect()
    }

    /// What the origin has seen. To be asked once the clients have ended.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.origin.seen()
    }

    fn audit(&self, arguments: &[&str]) -> Finished {
        let ringfence = self.reachable(Path::new(RINGFENCE));
        Program::start(self.as_identity(&ringfence).arg("audit").args(arguments).arg(self.at("own/audit"))).finish()
    }

    fn drops_root(&self) -> bool {
        matches!(self.fence, Fence::Fenced { identity: Identity::OrdinaryUser, .. }) && is_root()
    }

    /// A command with the least of an environment, in the clients' folder.
    fn command(&self, line: &[&str]) -> Command {
        let mut command = Command::new(line[0]);
        command.args(&line[1..]).env_clear().env("PATH", PATH).env("LANG", "C.UTF-8").env("HOME", self.home());
        command.env("RINGFENCE_STATE", self.at("own/state")).current_dir(self.home());
        command
    }

    fn as_identity(&self, program: &Path) -> Command {
        let program = program.to_str().expect("a path in UTF-8");
        if !self.drops_root() {
            return self.command(&[program]);
        }
        let id = ORDINARY.to_string();
        let setpriv = ["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups", "--", program];
        if may_be_reached(&target()) {
            return self.command(&setpriv);
        }
        let target = target();
        let bind = ["unshare", "--mount", "sh", "-c", "mount --bind \"$0\" \"$1\" && shift && exec \"$@\""];
        let line = [&bind[..], &[target.to_str().expect("a path in UTF-8"), REACHABLE], &setpriv].concat();
        self.command(&line)
    }

    /// The path by which whoever runs ringfence reaches a file of the target folder.
    fn reachable(&self, path: &Path) -> PathBuf {
        if !self.drops_root() || may_be_reached(&target()) {
            return path.to_owned();
        }
        Path::new(REACHABLE).join(path.strip_prefix(target()).expect("it lies in the target folder"))
    }

    /// What `ringfence run` sets for its child, so that clients can be tried without it.
    fn trusting(&self, bundle: &Path) -> Vec<(&'static str, PathBuf)> {
        let names = ["SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO"];
        let mut variables: Vec<_> = names.into_iter().map(|name| (name, bundle.to_owned())).collect();
        // Debian's wget is linked to GnuTLS: it reads the system's store and its own configuration, no variable.
        variables.push(("SYSTEM_WGETRC", self.at("wgetrc")));
        variables
    }
}

/// The most memory a process has held, in KiB.
pub(crate) fn peak_memory_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the process is alive");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel says it");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").expect("/proc is mounted").uid() == 0
}

/// The target folder: ringfence lies in `debug` or `release` in there.
fn target() -> PathBuf {
    Path::new(RINGFENCE).ancestors().nth(2).expect("target/PROFILE/ringfence").to_owned()
}

/// May somebody who owns nothing of it walk down to this folder?
fn may_be_reached(folder: &Path) -> bool {
    folder.ancestors().all(|step| std::fs::metadata(step).is_ok_and(|found| found.permissions().mode() & 0o001 != 0))
}
