//! Two namespaces and a link between them: one for the proxy and its agent, one for the world.
#![allow(dead_code, reason = "each test takes what it needs of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests, which clippy takes for other code")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
};

use crate::util::Program;

/// The world's addresses, and the agent's.
pub(crate) const OUT_V4: &str = "198.51.100.7";
pub(crate) const OUT_V6: &str = "2001:db8::5";
pub(crate) const OWN_V4: &str = "192.0.2.1";
pub(crate) const OWN_V6: &str = "2001:db8:1::1";

/// Who acts inside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Who {
    /// An ordinary user without any capability.
    Plain,
    /// Root with what Docker grants unless it is told otherwise.
    Root,
    /// The user that the rules exempt, without any capability.
    Exempt,
    /// All that the test itself may.
    Almighty,
}

/// Docker's default set, without what this machine itself may lack.
const DOCKER_CAPABILITIES: &str = "-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,\
    +net_bind_service,+net_raw,+sys_chroot,+mknod,+audit_write,+setfcap";

pub(crate) struct World {
    inside: Program,
    beyond: Program,
    /// The watch in the world, and its servers.
    pub(crate) watch: Program,
    folder: tempfile::TempDir,
    controls: AtomicU32,
}

impl World {
    /// `None`, with a word why, for who cannot make namespaces.
    pub(crate) fn new() -> Option<World> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: only root can make two namespaces with a link between them");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["outside.py", "proxy.py", "dial.py", "escape.py"] {
            let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/redirect").join(name);
            fs::copy(from, folder.path().join(name)).unwrap();
        }
        // Where other users can execute it.
        let program = folder.path().join("ringfence");
        assert!(
            Command::new("install")
                .args(["-m", "755", env!("CARGO_BIN_EXE_ringfence")])
                .arg(&program)
                .status()
                .unwrap()
                .success()
        );
        let (inside, beyond) = (namespace(), namespace());
        let script = format!(
            "ip link add eth0 type veth peer name world netns {beyond}
             ip addr add {OWN_V4}/24 dev eth0; ip addr add {OWN_V6}/64 dev eth0 nodad
             ip link set lo up; ip link set eth0 up
             ip route add default via 192.0.2.2; ip -6 route add default via 2001:db8:1::2 dev eth0
             nsenter --net=/proc/{beyond}/ns/net sh -e -c '
               ip addr add 192.0.2.2/24 dev world; ip addr add 2001:db8:1::2/64 dev world nodad
               ip link set lo up; ip link set world up address 02:00:00:00:00:02
               ip addr add {OUT_V4}/32 dev lo; ip addr add {OUT_V6}/128 dev lo nodad'",
            beyond = beyond.id(),
        );
        let output = enter(&inside, Who::Almighty).args(["sh", "-e", "-c", &script]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut servers = enter(&beyond, Who::Almighty);
        servers.arg(python()).arg(folder.path().join("outside.py")).args(["world", OUT_V4, OUT_V6]);
        let watch = started(&mut servers);
        Some(World { inside, beyond, watch, folder, controls: AtomicU32::new(0) })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command inside.
    pub(crate) fn inside(&self, who: Who) -> Command {
        enter(&self.inside, who)
    }

    /// A command in the world.
    pub(crate) fn outside(&self) -> Command {
        enter(&self.beyond, Who::Almighty)
    }

    pub(crate) fn ringfence(&self, arguments: &[&str]) -> Output {
        self.inside(Who::Almighty).arg(self.path("ringfence")).args(arguments).output().unwrap()
    }

    /// A configuration with this exemption, and with `more` lines.
    pub(crate) fn config(&self, exempt: &str, more: &str) -> PathBuf {
        let config = self.path("ringfence.yaml");
        let text = format!(
            "listen: [{{ mode: redirect, address: \"127.0.0.1:15001\" }}]\ndns: {{ address: \"127.0.0.1:15053\" }}\n\
             redirect: {{ exempt: {{ {exempt} }} }}\npolicy: policy.yaml\naudit: {{ dir: audit }}\nca: {{ dir: ca }}\n{more}"
        );
        fs::write(&config, text).unwrap();
        fs::write(self.path("policy.yaml"), "ringfence: v1\nrules: []\n").unwrap();
        config
    }

    /// Puts the rules in force, and starts something for them to lead to.
    pub(crate) fn govern(&self, arguments: &[&str]) -> Program {
        let output = self.ringfence(&[&["redirect", "apply"], arguments].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        self.proxy()
    }

    pub(crate) fn proxy(&self) -> Program {
        started(self.inside(Who::Exempt).arg(python()).arg(self.path("proxy.py")))
    }

    /// What `dial.py` says of these, line by line.
    pub(crate) fn dial(&self, who: Who, targets: &[&str]) -> Vec<String> {
        let mut command = self.inside(who);
        lines(command.arg(python()).arg(self.path("dial.py")).args(targets).env("MARK", "0x6f757273"))
    }

    pub(crate) fn rules(&self) -> String {
        text(&nft(self.inside(Who::Almighty), &["list", "ruleset"]).stdout)
    }

    /// Every frame that has left so far but those of the exempt user's own control datagram, which marks "so far".
    pub(crate) fn frames(&self, exempt: &mut Command) -> Vec<String> {
        let name = format!("CONTROL {}.", self.controls.fetch_add(1, Ordering::SeqCst));
        let send = format!(
            "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'{name}', ('{OUT_V4}', 9998))"
        );
        assert!(exempt.args([python(), "-c", &send]).status().unwrap().success());
        let seen = std::iter::from_fn(|| self.watch.line()).take_while(|line| *line != format!("control {name}"));
        seen.collect()
    }
}

/// A control group of the version 2 hierarchy, for as long as it lives.
pub(crate) struct Group(PathBuf);

impl Group {
    /// `None`, with a word why, where there is no such hierarchy to write to.
    pub(crate) fn new() -> Option<Group> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let root = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"))?.split(' ').nth(1)?;
        let name = format!("ringfence-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
        let path = Path::new(root).join(name);
        match fs::create_dir(&path) {
            Ok(()) => Some(Group(path)),
            Err(error) => {
                eprintln!("skipped: {}: {error}", path.display());
                None
            }
        }
    }

    fn name(&self) -> &str {
        self.0.file_name().unwrap().to_str().unwrap()
    }

    /// As nft shows it: from /sys/fs/cgroup.
    pub(crate) fn shown(&self) -> String {
        self.0.strip_prefix("/sys/fs/cgroup").unwrap().display().to_string()
    }

    /// A configuration that exempts it.
    pub(crate) fn config(&self, world: &World) -> PathBuf {
        world.config(&format!("cgroup: {}", self.name()), "")
    }

    /// The command as a member.
    pub(crate) fn join(&self, command: Command) -> Command {
        let mut member = Command::new("sh");
        member.args(["-e", "-c", &format!("echo $$ > {}/cgroup.procs; exec \"$@\"", self.0.display()), "sh"]);
        member.arg(command.get_program()).args(command.get_args());
        member
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its members have been waited for.
        let _ = fs::remove_dir(&self.0);
    }
}

/// Holds a new network namespace for as long as the program lives.
fn namespace() -> Program {
    started(Command::new("unshare").args(["--net", "sh", "-c", "echo ready; exec cat"]))
}

fn started(command: &mut Command) -> Program {
    let program = Program::start(command);
    match program.line() {
        Some(line) if line == "ready" => program,
        _ => panic!("{command:?}: {:?}", program.finish()),
    }
}

/// By nsenter and not by `ip netns exec`, which hides the control groups.
fn enter(holder: &Program, who: Who) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/proc/{}/ns/net", holder.id()));
    let user = |command: &mut Command, user: &str| {
        command.args([
            "setpriv",
            "--reuid",
            user,
            "--regid",
            user,
            "--clear-groups",
            "--bounding-set=-all",
            "--inh-caps=-all",
        ]);
    };
    match who {
        Who::Plain => user(&mut command, "1000"),
        Who::Exempt => user(&mut command, "1337"),
        Who::Root => {
            command.args(["setpriv", "--inh-caps=-all"]).arg(format!("--bounding-set={DOCKER_CAPABILITIES}"));
        }
        Who::Almighty => (),
    }
    command
}

/// Runs nft, which is in Debian's package `nftables`.
pub(crate) fn nft(mut within: Command, arguments: &[&str]) -> Output {
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let output = within.args(["env", &format!("PATH={path}"), "nft"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "nft (Debian: nftables) {arguments:?}: {}", text(&output.stderr));
    output
}

/// Python with its standard library, of the system and not of somebody's home.
pub(crate) fn python() -> &'static str {
    if Path::new("/usr/bin/python3").exists() { "/usr/bin/python3" } else { "python3" }
}

pub(crate) fn lines(command: &mut Command) -> Vec<String> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {} {}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout).lines().map(str::to_owned).collect()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
