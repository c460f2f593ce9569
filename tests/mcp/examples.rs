//! What stands in `examples/mcp`, as it stands there, with the server that it is about.

use std::path::Path;
use std::process::Command;

use super::{RINGFENCE, python, repository};
use crate::util::{Finished, Program};

#[test]
fn the_client_config_has_five_lines_and_the_denied_argument_never_arrives() {
    let proof = proof(|_| ());
    assert!(proof.status.success(), "{proof:?}");
    assert_eq!(proof.stdout.last().map(String::as_str), Some("PROVEN: no denied argument has arrived"));
    assert!(proof.stdout.iter().any(|line| line == "the server has executed: read_note /notes/monday"), "{proof:?}");
    let config = std::fs::read_to_string(repository("examples/mcp/client.json")).expect("the example");
    assert_eq!(config.lines().count(), 5);
    assert!(
        std::fs::read_to_string(repository("docs/MCP.md")).expect("the page").contains(&config),
        "the page shows it"
    );
}

/// The control: under a policy that allows it, the same argument arrives, and the same program says so.
#[test]
fn the_proof_fails_where_the_argument_is_allowed() {
    let proof = proof(|policy| *policy = policy.replace("/notes/**", "/**"));
    assert_eq!(proof.status.code(), Some(1), "{proof:?}");
    assert!(proof.stdout.iter().any(|line| line.contains("read_note /etc/passwd")), "{proof:?}");
}

/// Runs the proof in a folder of its own, under the example's policy or what becomes of it.
fn proof(change: impl FnOnce(&mut String)) -> Finished {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["client.json", "policy.yaml", "server.py", "proof.py"] {
        std::fs::copy(repository("examples/mcp").join(name), folder.path().join(name)).expect("the example is copied");
    }
    let mut policy = std::fs::read_to_string(folder.path().join("policy.yaml")).expect("the policy");
    change(&mut policy);
    std::fs::write(folder.path().join("policy.yaml"), policy).expect("the policy is written");
    let beside = |path: &Path| path.parent().expect("a folder").display().to_string();
    let path = [beside(Path::new(RINGFENCE)), beside(&python()), std::env::var("PATH").unwrap_or_default()].join(":");
    let mut command = Command::new(python());
    command.args(["-W", "ignore", "proof.py"]).current_dir(folder.path()).env("PATH", path);
    Program::start(command.env("RINGFENCE_STATE", folder.path().join("state"))).finish()
}
