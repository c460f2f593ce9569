//! One governed agent in one form: brought up by the compose files as they are printed, with an origin and a policy of the test beside them.

use super::engine::{Engine, repository, succeeded};
use super::trust::Trust;
use super::util::{Finished, Program, until};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

pub(crate) const SECRET: &str = "TheCanarySings";
const POLICY: &str = include_str!("policy.yaml");
const AUDIT: &str = "/var/lib/ringfence/audit";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Gateway,
    Sidecar,
    Proxy,
}

/// Which I/O backend ringfence is to end up with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// With the profile that stands in the compose file.
    Uring,
    /// With a profile that refuses io_uring.
    Epoll,
}

impl Form {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Form::Gateway => "gateway",
            Form::Sidecar => "sidecar",
            Form::Proxy => "proxy",
        }
    }

    fn files(self) -> &'static [&'static str] {
        match self {
            Form::Gateway => &["compose.gateway.yaml", "compose.outside.yaml"],
            Form::Sidecar => &["compose.sidecar.yaml", "compose.default.yaml"],
            Form::Proxy => &["compose.gateway.yaml", "compose.proxy.yaml", "compose.outside.yaml"],
        }
    }

    /// What `escape.py` is told.
    fn escape(self) -> Value {
        let (ringfence, listens) = match self {
            Form::Gateway => ("172.28.0.2", vec![53, 80, 443]),
            Form::Sidecar => ("203.0.113.7", vec![80]),
            Form::Proxy => ("172.28.0.2", vec![3128]),
        };
        json!({
            "secret": SECRET, "addresses": ["172.28.0.1", "172.29.0.1", "172.17.0.1"], "origin": "172.29.0.10",
            "ringfence": ringfence, "listens": listens, "scan": self != Form::Sidecar,
        })
    }
}

/// The containers of one form. Dropping it removes them, with their networks and volumes.
pub(crate) struct Site<'a> {
    engine: &'a Engine,
    pub(crate) form: Form,
    folder: TempDir,
}

impl<'a> Site<'a> {
    pub(crate) fn open(engine: &'a Engine, form: Form, backend: Backend) -> Site<'a> {
        let folder = tempfile::Builder::new().prefix("ringfence-docker-").tempdir().expect("a temporary folder");
        furnish(&folder);
        copy_printed(&folder, backend);
        let site = Site { engine, form, folder };
        site.compose_well(&["down", "--volumes", "--remove-orphans"]);
        site.compose_well(&["up", "--detach"]);
        until("the origin listens", || site.origin_says().iter().any(|fact| fact["ready"] == true).then_some(()));
        site
    }

    /// `docker compose -f … LINE`, in the folder of the compose files.
    pub(crate) fn compose(&self, line: &[&str]) -> Command {
        let mut command = self.engine.docker(&["compose"]);
        for file in self.form.files() {
            let of_tests = repository().join("tests/docker").join(file);
            let path = if of_tests.exists() { of_tests } else { PathBuf::from(file) };
            command.arg("--file").arg(path);
        }
        command.env("SITE", self.folder.path()).env("FORM", self.form.name()).env("SECRET", SECRET);
        command.env("ESCAPE", self.form.escape().to_string());
        command.args(line).current_dir(self.folder.path().join("docker"));
        command
    }

    pub(crate) fn run(&self, line: &[&str]) -> Finished {
        Program::start(&mut self.compose(line)).finish()
    }

    pub(crate) fn compose_well(&self, line: &[&str]) -> Finished {
        let finished = self.run(line);
        succeeded(&finished);
        finished
    }

    /// Runs a program of tests/docker in the agent's container.
    pub(crate) fn agent(&self, program: &str, arguments: &[&str]) -> Finished {
        let path = format!("/programs/{program}");
        self.run(&[&["exec", "-T", "agent", "python", &path], arguments].concat())
    }

    /// One phase of the claims.
    pub(crate) fn claims(&self, phase: &str) -> Vec<Value> {
        facts(&self.agent("claims.py", &[phase]))
    }

    pub(crate) fn ringfence(&self, line: &[&str]) -> Finished {
        self.run(&[&["exec", "-T", "ringfence", "ringfence"], line].concat())
    }

    /// The audit log so far, verified, one object a record.
    pub(crate) fn records(&self) -> Vec<Value> {
        let verified = self.ringfence(&["audit", "verify", AUDIT]);
        assert!(verified.stdout.first().is_some_and(|line| line.starts_with("OK")), "{verified:?}");
        let decoded = self.ringfence(&["audit", "decode", "--format", "json", AUDIT]);
        succeeded(&decoded);
        facts(&decoded)
    }

    pub(crate) fn log(&self) -> String {
        let finished = self.compose_well(&["logs", "--no-color", "ringfence"]);
        format!("{}\n{}", finished.stdout.join("\n"), finished.stderr)
    }

    /// What the origin has said, one object a line.
    pub(crate) fn origin_says(&self) -> Vec<Value> {
        let finished = self.compose_well(&["logs", "--no-color", "--no-log-prefix", "origin"]);
        finished.stdout.iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Replaces the policy as an editor does: under its name stands another file.
    pub(crate) fn write_policy(&self, text: &str) {
        let folder = self.folder.path().join("policy");
        std::fs::write(folder.join("new"), text).expect("written");
        std::fs::rename(folder.join("new"), folder.join("policy.yaml")).expect("renamed");
    }
}

impl Drop for Site<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = self.run(&["logs", "--no-color", "--tail", "20"]);
            eprintln!("{}\n{}", said.stdout.join("\n"), said.stderr);
        }
        self.run(&["down", "--volumes", "--remove-orphans", "--timeout", "5"]);
    }
}

/// The compose files and what they mount, as printed; for epoll another seccomp profile lies where ringfence's own is named.
fn copy_printed(folder: &TempDir, backend: Backend) {
    let printed = repository().join("deploy/docker");
    let copied = Program::start(Command::new("cp").arg("--recursive").arg(printed).arg(folder.path())).finish();
    succeeded(&copied);
    if backend == Backend::Epoll {
        let profile = include_str!("seccomp-without-io-uring.json");
        std::fs::write(folder.path().join("docker/seccomp.json"), profile).expect("written");
    }
}

/// The policy that the claims of the phase `changed` are about.
pub(crate) fn changed_policy() -> String {
    POLICY.replace("path: [/echo/**, /next/**]", "path: [/echo/**, /next/**, /later/**]")
        + "  - deny: no more reading\n    host: origin.example.test\n    method: GET\n"
}

pub(crate) fn first_policy() -> &'static str {
    POLICY
}

/// What every form needs: certificates, the policy, and the programs; readable for every user.
pub(crate) fn furnish(folder: &TempDir) {
    use std::os::unix::fs::PermissionsExt;
    let at = |name: &str| folder.path().join(name);
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).expect("it is ours");
    for name in ["policy", "programs", "origin"] {
        std::fs::create_dir(at(name)).expect("a new folder");
    }
    for (name, text) in [
        ("programs/claims.py", include_str!("claims.py")),
        ("programs/escape.py", include_str!("escape.py")),
        ("programs/origin.py", include_str!("origin.py")),
        ("policy/policy.yaml", POLICY),
    ] {
        std::fs::write(at(name), text).expect("written");
    }
    let trust = Trust::make(&at("origin"), &["origin.example.test", "llm.example.test", "plain.example.test"]);
    std::fs::copy(&trust.authority, at("policy/authority.pem")).expect("copied");
}

/// One JSON object a line. A line that is none is what went wrong.
pub(crate) fn facts(finished: &Finished) -> Vec<Value> {
    let parse = |line: &String| serde_json::from_str(line).unwrap_or_else(|_| panic!("{finished:?}"));
    let facts: Vec<Value> = finished.stdout.iter().map(parse).collect();
    assert!(!facts.is_empty(), "{finished:?}");
    facts
}
