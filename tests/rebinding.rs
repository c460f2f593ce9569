//! A name server that flips its answers between a public and a private address: the vetted address is the one that is dialled, and what is
//! private is refused however it is wrapped.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "in tests a broken assumption is a failure")]

use std::path::Path;
use std::process::Command;

/// In namespaces of its own, where the public address is the test's and the resolver's configuration too; what `program` leaves behind
/// ends with it.
fn alone(program: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child", "--", program]);
    command
}

#[test]
fn the_vetted_address_is_the_dialled_one_and_a_private_answer_is_refused() {
    if !alone("true").output().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: this user can make no namespaces");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rebinding/rebinding.py");
    let output = alone("python3").arg(script).arg(env!("CARGO_BIN_EXE_ringfence")).arg(folder.path()).output().unwrap();
    let (said, noise) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{noise}");
    let expected = [
        // Each answer is judged by itself, whatever the one before was.
        "flip.test 200 93.184.215.14",
        "flip.test 403 address",
        "flip.test 200 93.184.215.14",
        "flip.test 403 address",
        "flip.test 200 93.184.215.14",
        "flip.test 403 metadata",
        // A second lookup within the first request would be told the private address.
        "race.test 200 93.184.215.14",
        "race.test 403 address",
        // Of several addresses the private ones are left out, first or last.
        "mixed.test 200 93.184.215.14",
        "inward.test 403 address",
        "inward6.test 200 93.184.215.14",
        "private6.test 403 address",
        "mapped.test 403 address",
        // Public, but the machine's own: what listens there is a service of this machine.
        "own.test 403 address",
        "connections 93.184.215.14 6",
        "connections 10.20.30.40 0",
        "connections 127.0.0.1 0",
        "connections 2600:1406::14 0",
        "connections fd00::40 0",
        "connections 93.184.215.99 0",
        "lookups flip.test 6",
        "lookups race.test 2",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected, "{noise}");
    assert_eq!(dialled(folder.path()), ["93.184.215.14:80"; 6], "on record");
}

/// The addresses that the log says were dialled, one for each response.
fn dialled(folder: &Path) -> Vec<String> {
    let mut decode = Command::new(env!("CARGO_BIN_EXE_ringfence"));
    decode.args(["audit", "decode", "--format", "json"]).arg(folder.join("audit"));
    let output = decode.env("RINGFENCE_STATE", folder.join("state")).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let records = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let outcomes = records.filter(|record| record["kind"] == "outcome" && record["status"] == 200);
    outcomes.map(|record| record["upstream"].as_str().unwrap().to_owned()).collect()
}
