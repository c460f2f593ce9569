//! Messages at a declared endpoint that take somebody's leave: held, asked about, and passed or refused.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use super::harness::{Proxy, Recorded, origin, request, response};
use super::on_both;
use crate::io::engine::Choice;

on_both! {
    an_approved_call_passes_and_its_connection_lives_on
    a_call_that_is_refused_reaches_nobody
    a_client_that_hangs_up_withdraws_its_question
    a_notification_on_another_connection_withdraws_a_question
    a_policy_that_comes_into_force_meanwhile_decides
}

/// Whoever is asked says what stands in the file `answer` as soon as there is one, and until then that it was asked.
struct Person(tempfile::TempDir);

impl Person {
    fn new() -> Person {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("ask");
        let here = folder.path().display();
        let text = format!(
            "#!/bin/sh\ncd {here}\ncat > question\necho $$ > pid\nuntil [ -e answer ]; do [ -e ask ] || exit 3; sleep 0.02; done\nexit $(cat answer)\n"
        );
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        Person(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn rules(&self, rest: &str) -> String {
        format!(
            "  - allow: reads\n    mcp: {{ server: files, tool: \"read_*\" }}\n  - allow: push\n    mcp: {{ server: files, tool: push }}\n    ask: ann\n    reason: Pushing needs a person.\n{rest}mcp_servers:\n  files: {{ url: \"http://origin.test/mcp\", pin: off }}\napprovals:\n  ann: {{ command: [{}], timeout: 2m }}\n",
            self.path("ask").display()
        )
    }

    fn is_asked(&self) {
        until(|| self.path("pid").exists() && fs::read_to_string(self.path("pid")).unwrap().ends_with('\n'));
    }

    fn says(&self, status: u8) {
        fs::write(self.path("new"), status.to_string()).unwrap();
        fs::rename(self.path("new"), self.path("answer")).unwrap();
    }

    fn is_left_alone(&self) {
        let pid = fs::read_to_string(self.path("pid")).unwrap();
        until(|| !PathBuf::from(format!("/proc/{}", pid.trim())).exists());
    }
}

fn until(mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "it does not come to be");
        std::thread::yield_now();
    }
}

const PUSH: &str =
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"push","arguments":{"to":"main"}}}"#;
const READ: &str = r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"read_file"}}"#;

fn post(text: &str) -> Vec<u8> {
    format!(
        "POST /mcp HTTP/1.1\r\nHost: origin.test\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    )
    .into_bytes()
}

/// A server that answers every call, and what it was asked.
fn server(choice: Choice, rules: &str) -> (Proxy, Receiver<Vec<String>>) {
    let (address, seen) = origin(move |mut stream: TcpStream| {
        let mut asked = Vec::new();
        while let Some(request) = request(&mut stream) {
            let id = if request.contains("push") { 1 } else { 2 };
            let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[]}}}}"#);
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", text.len());
            stream.write_all((head + &text).as_bytes()).unwrap();
            asked.push(request);
        }
        asked
    });
    (Proxy::start(choice, address, 80, rules), seen)
}

fn codes(records: &[Recorded]) -> Vec<(&str, &str)> {
    let mut all = Vec::new();
    for record in records {
        if let Recorded::Decision { verdict, code, .. } = record {
            all.push((verdict.as_str(), code.as_str()));
        }
    }
    all
}

fn an_approved_call_passes_and_its_connection_lives_on(choice: Choice) {
    let person = Person::new();
    let (proxy, seen) = server(choice, &person.rules(""));
    let mut client = proxy.client();
    client.write_all(&post(PUSH)).unwrap();
    person.is_asked();
    let asked: serde_json::Value = serde_json::from_slice(&fs::read(person.path("question")).unwrap()).unwrap();
    assert_eq!((&asked["agent"], &asked["action"]["arguments"]["to"]), (&"tester".into(), &"main".into()));
    person.says(0);
    assert!(response(&mut client).unwrap().contains(r#""id":1,"result""#));
    client.write_all(&post(READ)).unwrap();
    assert!(response(&mut client).unwrap().contains(r#""id":2,"result""#));
    drop(client);
    let records = proxy.stop();
    assert_eq!(codes(&records), [("allow", "approved"), ("allow", "")]);
    assert!(matches!(&records[0], Recorded::Decision { rule, .. } if rule == "push"), "{records:?}");
    assert_eq!(seen.recv().unwrap().len(), 2);
}

fn a_call_that_is_refused_reaches_nobody(choice: Choice) {
    let person = Person::new();
    let (proxy, seen) = server(choice, &person.rules(""));
    person.says(1);
    let mut client = proxy.client();
    client.write_all(&post(PUSH)).unwrap();
    let told = response(&mut client).unwrap();
    assert!(told.starts_with("HTTP/1.1 200") && told.contains(r#""id":1,"error":{"code":-31403"#), "{told}");
    assert!(told.contains("approval_denied") && told.contains(r#""rule":"push""#), "{told}");
    client.write_all(&post(READ)).unwrap();
    assert!(response(&mut client).unwrap().contains(r#""id":2,"result""#), "the connection lives on");
    drop(client);
    assert_eq!(codes(&proxy.stop()), [("deny", "approval_denied"), ("allow", "")]);
    let asked = seen.recv().unwrap();
    assert!(asked.len() == 1 && !asked[0].contains("push"), "{asked:?}");
}

fn a_client_that_hangs_up_withdraws_its_question(choice: Choice) {
    let person = Person::new();
    let (proxy, _seen) = server(choice, &person.rules(""));
    let mut client = proxy.client();
    client.write_all(&post(PUSH)).unwrap();
    person.is_asked();
    drop(client);
    person.is_left_alone();
    assert_eq!(codes(&proxy.stop()), [("deny", "approval_withdrawn")]);
}

fn a_notification_on_another_connection_withdraws_a_question(choice: Choice) {
    let person = Person::new();
    let (proxy, _seen) = server(choice, &person.rules(""));
    let mut client = proxy.client();
    client.write_all(&post(PUSH)).unwrap();
    person.is_asked();
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    let mut other = proxy.client();
    other.write_all(&post(cancel)).unwrap();
    let told = response(&mut client).unwrap();
    assert!(told.contains("approval_withdrawn"), "{told}");
    person.is_left_alone();
}

fn a_policy_that_comes_into_force_meanwhile_decides(choice: Choice) {
    let person = Person::new();
    let (proxy, _seen) = server(choice, &person.rules(""));
    let mut client = proxy.client();
    client.write_all(&post(PUSH)).unwrap();
    person.is_asked();
    proxy.adopt(
        &person.rules(
            "  - deny: stop\n    mcp: { tool: push }\nupstreams:\n  origin.test: { address: \"127.0.0.1:1\" }\n",
        ),
    );
    person.says(0);
    let told = response(&mut client).unwrap();
    assert!(told.contains(r#""rule":"stop""#), "{told}");
    drop(client);
    // The first is the canary by which the test knows that the policy is in force.
    assert_eq!(codes(&proxy.stop()), [("deny", "metadata"), ("deny", "")]);
}

/// A client that waits long is told so: a stream begins, and its last event is the answer, whatever that is.
#[test]
fn a_long_wait_becomes_a_stream_whose_last_event_is_the_answer() {
    for (status, last) in [(0, r#""id":1,"result""#), (1, "approval_denied")] {
        let person = Person::new();
        let (proxy, _seen) = server(Choice::Epoll, &person.rules(""));
        let mut client = proxy.client();
        client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let with_token = PUSH.replace("\"name\"", "\"_meta\":{\"progressToken\":\"t\"},\"name\"");
        client.write_all(&post(&with_token)).unwrap();
        let mut told = String::new();
        let mut read = |told: &mut String, end: &str| {
            while !told.contains(end) {
                let mut octets = [0; 4096];
                let n = client.read(&mut octets).unwrap();
                assert!(n > 0, "{told}");
                told.push_str(str::from_utf8(&octets[..n]).unwrap());
            }
        };
        read(&mut told, r#""progressToken":"t","progress":0.000000001}}"#);
        assert!(told.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"), "{told}");
        person.says(status);
        read(&mut told, "\r\n0\r\n\r\n");
        assert!(told.contains(last) && told.matches("HTTP/1.1").count() == 1, "{told}");
        assert_eq!(told.matches("data: ").count(), 2, "{told}");
    }
}
