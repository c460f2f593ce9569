//! What the server's process sees of ringfence, and the client of the process: descriptors, signals, exit status, lines.

use std::process::Command;

use crate::util::{Program, until};
use crate::{Place, RINGFENCE};

fn shell(place: &Place, script: &str) -> Program {
    let words = place.governed();
    let mut command = Command::new(RINGFENCE);
    command.args(&words[1..]).args(["sh", "-c", script]).env("RINGFENCE_STATE", place.path("state"));
    Program::start(&mut command)
}

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read_file","arguments":{"path":"/workspace/a"}}}"#;

#[test]
fn the_server_has_three_descriptors_and_stderr_passes() {
    let place = Place::new();
    // The shell's own glob is the third kind: `ls` has a descriptor of the folder itself.
    let finished = shell(&place, "ls /proc/self/fd >&2").finish();
    let mut descriptors: Vec<&str> = finished.stderr.split_whitespace().collect();
    descriptors.pop();
    assert_eq!(descriptors, ["0", "1", "2"], "{}", finished.stderr);
}

#[test]
fn exit_status_and_signals_pass() {
    let place = Place::new();
    assert_eq!(shell(&place, "exit 7").finish().status.code(), Some(7));
    assert_eq!(shell(&place, "kill -KILL $$").finish().status.code(), Some(128 + 9));
    let script = "trap 'exit 5' TERM; echo ready >&2; echo '{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}'; while :; do read x || sleep 1; done";
    let program = shell(&place, script);
    assert!(program.line().is_some_and(|line| line.contains("notifications/message")));
    let pid = nix::unistd::Pid::from_raw(program.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("it runs");
    assert_eq!(program.finish().status.code(), Some(5));
}

#[test]
fn a_command_that_cannot_be_started_has_the_status_that_env_gives() {
    let place = Place::new();
    for (command, status) in [(place.path("absent"), 127), (place.path("policy.yaml"), 126)] {
        let words = place.governed();
        let output = place.ringfence().args(&words[1..]).arg(command).output().expect("ringfence runs");
        assert_eq!(output.status.code(), Some(status), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn lines_that_are_no_message_reach_nobody_in_either_direction() {
    let place = Place::new();
    let heard = place.path("heard").display().to_string();
    let script =
        format!("echo Listening on 3000; while IFS= read -r line; do printf '%s\\n' \"$line\" >> {heard}; done");
    let mut program = shell(&place, &script);
    for line in ["not json", "{\"jsonrpc\":\"2.0\",\"method\":\"ping\"}\r{}", "[1]", "{", "}", CALL, ""] {
        program.tell(line);
    }
    until("the call arrives", || std::fs::read_to_string(&heard).ok().filter(|text| text.contains("tools/call")));
    let finished = program.finish();
    assert_eq!(finished.stdout, [""; 0]);
    assert_eq!(std::fs::read_to_string(&heard).expect("it was written"), format!("{CALL}\n"));
    let codes = place.records().iter().filter(|record| record["code"] == "malformed").count();
    assert_eq!(codes, 6);
}

#[test]
fn an_answer_of_many_megabytes_passes_whole_while_its_client_reads_late() {
    let place = Place::new();
    // Larger than every pipe and queue between the two.
    let script = r#"read line; printf '{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"'; head -c 3000000 /dev/zero | tr '\0' x; echo '"}]}}'; read line"#;
    let mut program = shell(&place, script);
    program.tell(CALL);
    let line = program.line().expect("an answer");
    assert_eq!(
        line.len(),
        3_000_000 + r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":""}]}}"#.len()
    );
    assert!(program.finish().status.success() || !place.records().is_empty());
}

#[test]
fn a_server_that_is_declared_elsewhere_is_wrong_use() {
    let place = Place::new();
    std::fs::write(
        place.path("policy.yaml"),
        "ringfence: v1\nmcp_servers: { files: { url: \"https://a.example/mcp\" } }\nrules: []\n",
    )
    .expect("written");
    let output = place.ringfence().args(&place.governed()[1..]).arg("true").output().expect("ringfence runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is at a URL"));
}
