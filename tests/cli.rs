//! The command line refuses what it does not understand, with the exit codes of the contract.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::process::{Command, Output};

fn ringfence(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringfence")).args(arguments).output().unwrap()
}

/// A misspelt option must never be taken for the command: it would run under another policy than its user named.
#[test]
fn a_misspelt_option_of_run_is_wrong_use_and_nothing_runs() {
    let output = ringfence(&["run", "--polcy", "policy.yaml", "--", "echo", "ran"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains("--polcy"));
}

#[test]
fn a_policy_that_cannot_be_read_is_wrong_use_and_nothing_runs() {
    let output = ringfence(&["run", "--policy", "no-such-file.yaml", "--", "echo", "ran"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains("no-such-file.yaml"));
}

#[test]
fn no_subcommand_is_wrong_use() {
    let output = ringfence(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("Usage"));
}

/// `ringfence --version | head -1` ended with a panic where `head` was quick.
#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(env!("CARGO_BIN_EXE_ringfence")).arg("--version").stdout(writer).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_version_names_commit_and_backends() {
    let output = ringfence(&["--version"]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with(concat!("ringfence ", env!("CARGO_PKG_VERSION"), " (")), "{text}");
    assert!(text.contains("epoll"), "{text}");
}

/// A server of the user's may have the name of the demo's, and the demo's tools change from version to version.
#[test]
fn the_demo_pins_no_tool() {
    let state = tempfile::tempdir().unwrap();
    let demo = Command::new(env!("CARGO_BIN_EXE_ringfence")).arg("demo").env("RINGFENCE_STATE", state.path()).output();
    let demo = demo.unwrap();
    assert!(demo.status.success(), "{}", String::from_utf8_lossy(&demo.stderr));
    assert!(state.path().join("heads").exists() && !state.path().join("pins").exists());
}
