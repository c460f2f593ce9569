//! The same claims under `ringfence run`, in a network namespace of the test that has the addresses which the containers have.

use super::engine::{succeeded, target};
use super::forms::{SECRET, facts, furnish};
use super::util::Program;
use serde_json::Value;
use std::process::Command;

const RINGFENCE: &str = env!("CARGO_BIN_EXE_ringfence");
const ADDRESSES: &str = "ip link set lo up && ip addr add 172.29.0.10/32 dev lo && ip addr add 172.29.0.1/32 dev lo && echo ready && exec cat";

/// The claims of the phase `running`, and the records that they left.
pub(crate) fn claims(engine: &str) -> (Vec<Value>, Vec<Value>) {
    let folder = tempfile::Builder::new().prefix("ringfence-docker-").tempdir().expect("a temporary folder");
    furnish(&folder);
    // Ends with the test, and the namespace with it.
    let network = Program::start(Command::new("unshare").args(["--net", "sh", "-c", ADDRESSES]));
    assert_eq!(network.line().as_deref(), Some("ready"));
    let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let inside = |line: &[&str]| {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", network.id())).args(line);
        command
    };
    let origin = Program::start(&mut inside(&[
        "python3",
        &at("programs/origin.py"),
        &at("origin/origin.pem"),
        &at("origin/origin.key"),
    ]));
    let canary = Program::start(&mut inside(&["python3", &canary(), SECRET, "80", "443", "8443"]));
    for program in [&origin, &canary] {
        assert!(program.line().is_some_and(|line| line.contains("ready")), "it does not start");
    }

    let python = target().join("clients-venv/bin/python");
    assert!(python.exists(), "{} is missing: run scripts/test once, it installs the clients", python.display());
    let (policy, audit, script) = (at("policy/policy.yaml"), at("audit"), at("programs/claims.py"));
    let python = python.to_string_lossy();
    let line =
        [RINGFENCE, "run", "--io", engine, "--policy", &policy, "--audit", &audit, "--", &python, &script, "running"];
    let state = at("state");
    let variables = [
        ("FORM", "run"),
        ("ORIGIN", "172.29.0.10"),
        ("HOST_ADDRESS", "172.29.0.1"),
        ("SECRET", SECRET),
        ("RINGFENCE_STATE", &state),
    ];
    let claims = facts(&Program::start(inside(&line).envs(variables)).finish());
    let decoded =
        Program::start(inside(&[RINGFENCE, "audit", "decode", "--format", "json", &audit]).envs(variables)).finish();
    succeeded(&decoded);
    (claims, facts(&decoded))
}

fn canary() -> String {
    super::engine::repository().join("tests/docker/canary.py").to_string_lossy().into_owned()
}
