//! Messages that take somebody's leave, with the real process on standard streams and a command that is asked.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::thread::JoinHandle;

use serde_json::Value;

use crate::util::{Program, until};
use crate::{Place, RINGFENCE, python};

/// Notes every line and answers every request.
const SERVER: &str = r#"while IFS= read -r line; do printf '%s\n' "$line" >> "$0"; id=${line#*'"id":'}; [ "$id" = "$line" ] || printf '{"jsonrpc":"2.0","id":%s,"result":{"content":[]}}\n' "${id%%,*}"; done"#;

/// A place whose policy asks a program: it notes the question, and says what stands in `answer` as soon as that is there.
fn place(timeout: &str) -> Place {
    let place = Place::new();
    let ask = place.path("ask");
    let here = place.path("");
    let script = format!(
        "#!/bin/sh\ncd {}\ncat > asked\nmv asked question\nuntil [ -e answer ]; do [ -e ask ] || exit 3; sleep 0.02; done\nexit $(cat answer)\n",
        here.display()
    );
    std::fs::write(&ask, script).expect("the program is written");
    std::fs::set_permissions(&ask, std::fs::Permissions::from_mode(0o755)).expect("it can be run");
    let policy = format!(
        "ringfence: v1\nmcp_servers: {{ files: {{ stdio: files }} }}\napprovals: {{ ann: {{ command: [{}], timeout: {timeout} }} }}\nrules:\n- allow: read\n  mcp: {{ server: files, tool: read }}\n- allow: push\n  mcp: {{ server: files, tool: push }}\n  ask: ann\n  remedy: Open a pull request.\n",
        ask.display()
    );
    std::fs::write(place.path("policy.yaml"), policy).expect("the policy is written");
    place
}

fn start(place: &Place) -> Program {
    let words = place.governed();
    let mut command = Command::new(RINGFENCE);
    command.args(&words[1..]).args(["sh", "-c", SERVER]).arg(place.path("heard"));
    Program::start(command.env("RINGFENCE_STATE", place.path("state")))
}

fn call(id: u32, tool: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{{"n":{id}}},"_meta":{{"progressToken":"t{id}"}}}}}}"#
    )
}

fn says(place: &Place, status: u8) {
    std::fs::write(place.path("new"), status.to_string()).expect("written");
    std::fs::rename(place.path("new"), place.path("answer")).expect("renamed");
}

fn question(place: &Place) -> Value {
    until("somebody is asked", || {
        std::fs::read(place.path("question")).ok().and_then(|text| serde_json::from_slice(&text).ok())
    })
}

fn line(program: &Program) -> Value {
    serde_json::from_str(&program.line().expect("a line")).expect("JSON")
}

fn heard(place: &Place) -> String {
    std::fs::read_to_string(place.path("heard")).unwrap_or_default()
}

/// The codes and verdicts of the decisions about one tool.
fn decisions(place: &Place, tool: &str) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let records = place.records();
    let about = records.iter().filter(|record| record["mcp"]["tool"] == tool);
    about.map(|record| (text(&record["verdict"]), text(&record["rule"]), text(&record["code"]))).collect()
}

fn decision(verdict: &str, rule: &str, code: &str) -> (String, String, String) {
    (verdict.to_owned(), rule.to_owned(), code.to_owned())
}

#[test]
fn a_call_waits_for_its_approval_while_others_pass() {
    let place = place("5m");
    let mut program = start(&place);
    program.tell(&call(1, "push"));
    let asked = question(&place);
    assert_eq!((&asked["agent"], &asked["rule"], &asked["approver"]), (&"coder".into(), &"push".into(), &"ann".into()));
    assert_eq!(
        asked["action"],
        serde_json::json!({"server":"files","method":"tools/call","tool":"push","arguments":{"n":1}})
    );
    program.tell(&call(2, "read"));
    assert_eq!(line(&program)["id"], 2);
    assert!(!heard(&place).contains("push"), "nothing of it has gone anywhere");
    says(&place, 0);
    assert_eq!(line(&program), serde_json::json!({"jsonrpc":"2.0","id":1,"result":{"content":[]}}));
    assert!(heard(&place).ends_with(&format!("{}\n", call(1, "push"))), "byte for byte");
    program.finish();
    assert_eq!(decisions(&place, "push"), [decision("allow", "push", "approved")]);
    let records = place.records();
    assert!(records.iter().any(|record| record["reason"] == "approved by `ann`"));
}

#[test]
fn what_is_refused_or_not_answered_in_time_never_arrives() {
    for (timeout, status, code) in
        [("5m", Some(1), "approval_denied"), ("5m", Some(3), "approval_unavailable"), ("1s", None, "approval_timeout")]
    {
        let place = place(timeout);
        if let Some(status) = status {
            says(&place, status);
        }
        let mut program = start(&place);
        program.tell(&call(1, "push"));
        let told = line(&program);
        assert_eq!((&told["id"], &told["error"]["code"]), (&1.into(), &(-31403).into()), "{told}");
        let data = &told["error"]["data"];
        assert_eq!(
            (&data["code"], &data["rule"], &data["remedy"]),
            (&code.into(), &"push".into(), &"Open a pull request.".into())
        );
        program.tell(&call(2, "read"));
        assert_eq!(line(&program)["id"], 2, "the conversation lives on");
        program.finish();
        assert!(!heard(&place).contains("push"));
        assert_eq!(decisions(&place, "push"), [decision("deny", "push", code)]);
    }
}

#[test]
fn a_call_that_is_cancelled_is_withdrawn_and_never_arrives() {
    let place = place("5m");
    let mut program = start(&place);
    program.tell(&call(1, "push"));
    question(&place);
    program.tell(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#);
    program.tell(&call(2, "read"));
    assert_eq!(line(&program)["id"], 2);
    // An answer that comes all the same is nobody's.
    says(&place, 0);
    program.tell(&call(3, "read"));
    assert_eq!(line(&program)["id"], 3);
    assert!(program.finish().stdout.is_empty());
    assert!(!heard(&place).contains("push"));
    assert_eq!(decisions(&place, "push"), [decision("deny", "push", "approval_withdrawn")]);
}

#[test]
fn a_client_that_closes_withdraws_what_it_has_asked() {
    let place = place("5m");
    let mut program = start(&place);
    program.tell(&call(1, "push"));
    question(&place);
    program.finish();
    assert!(!heard(&place).contains("push"));
    assert_eq!(decisions(&place, "push"), [decision("deny", "push", "approval_withdrawn")]);
}

#[test]
fn a_client_that_waits_long_hears_of_progress_under_its_own_token() {
    let place = place("5m");
    let mut program = start(&place);
    program.tell(&call(7, "push"));
    let told = line(&program);
    assert_eq!(told["method"], "notifications/progress");
    assert_eq!(told["params"], serde_json::json!({"progressToken": "t7", "progress": 0.000000001}));
    says(&place, 0);
    assert_eq!(line(&program)["id"], 7);
}

#[test]
fn a_program_that_is_not_there_stops_the_start() {
    let place = place("5m");
    std::fs::remove_file(place.path("ask")).expect("removed");
    let words = place.governed();
    let output = place.ringfence().args(&words[1..]).args(["sh", "-c", "exit 0"]).output().expect("ringfence runs");
    assert_eq!(output.status.code(), Some(125));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("approvals: ") && stderr.contains("is no program that can be run"), "{stderr}");
}

/// An agent within the fence calls; whoever is asked runs in the network that the tests run in, and not in the agent's.
#[test]
fn under_run_the_approver_is_outside_of_the_fence() {
    let place = place("5m");
    let (question, net) = (place.path("question"), place.path("net"));
    let script = format!("#!/bin/sh\ncat > {}\nreadlink /proc/self/ns/net > {}\n", question.display(), net.display());
    std::fs::write(place.path("ask"), script).expect("written");
    let (port, served) = one_call();
    let policy = std::fs::read_to_string(place.path("policy.yaml")).expect("the policy");
    let policy = policy.replace("{ stdio: files }", "{ url: \"http://files.test/mcp\", pin: off }");
    let upstreams = format!("upstreams: {{ files.test: {{ address: \"127.0.0.1:{port}\" }} }}\n");
    std::fs::write(place.path("policy.yaml"), policy + &upstreams).expect("written");
    let client = r#"
import os, sys, urllib.request as r
print(os.readlink('/proc/self/ns/net'))
kinds = {'Content-Type': 'application/json', 'Accept': 'application/json, text/event-stream'}
print(r.urlopen(r.Request('http://files.test/mcp', data=sys.argv[1].encode(), headers=kinds)).read().decode())
"#;
    let mut run = place.ringfence();
    run.args(["run", "--name", "coder", "--policy"]).arg(place.path("policy.yaml"));
    run.arg("--audit").arg(place.path("audit")).arg("--").arg(python()).args(["-c", client, &call(1, "push")]);
    let finished = Program::start(&mut run).finish();
    assert!(finished.status.success(), "{}", finished.stderr);
    served.join().expect("served");
    let ours = std::fs::read_link("/proc/self/ns/net").expect("a namespace").display().to_string();
    let theirs = std::fs::read_to_string(net).expect("it was asked");
    assert_eq!(theirs.trim(), ours);
    assert_ne!(finished.stdout[0], ours, "the agent has another");
    assert!(finished.stdout[1].contains(r#""id":1,"result""#), "{:?}", finished.stdout);
    assert_eq!(decisions(&place, "push"), [decision("allow", "push", "approved")]);
}

/// A server over HTTP that answers one call.
fn one_call() -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let (mut heard, mut octets) = (Vec::new(), [0; 4096]);
        while !heard.ends_with(b"}}}") {
            let read = stream.read(&mut octets).expect("a request");
            assert!(read > 0, "{}", String::from_utf8_lossy(&heard));
            heard.extend_from_slice(&octets[..read]);
        }
        let answer = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#;
        let length = answer.len();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all((head + answer).as_bytes()).expect("it is read");
    });
    (port, served)
}
