//! Claims about one conversation, each against a log that is read back.

mod agt;

use std::path::Path;

mod asking;
mod tasks;

use super::*;
use crate::audit::record::{Body, flag};
use crate::audit::{Verdict, Writer, WriterOptions, read};
use crate::policy::{self, Host, Source};

const SERVERS: &str = "ringfence: v1\nmcp_servers: { files: { stdio: files } }\nrules:\n";
const RULES: &str = "- allow: read\n  mcp: { tool: \"read_*\" }\n  args: { path: { glob: \"/workspace/**\" } }\n- deny: secrets\n  mcp: { tool: read_secret }\n  reason: Secrets stay.\n  remedy: Ask.\n- allow: notes\n  mcp: { resource: \"note://**\" }\n";

/// A conversation with its log.
struct Talk {
    session: Session,
    policy: Policy,
    producer: Producer,
    writer: Option<Writer>,
    folder: tempfile::TempDir,
}

fn talk(policy_text: &str) -> Talk {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let (writer, mut seats) = Writer::start(WriterOptions::new(&log, folder.path(), 1)).unwrap();
    let loaded = policy::load(Source { name: "p", text: policy_text });
    let policy = loaded.policy.unwrap_or_else(|| panic!("{:?}", loaded.problems));
    let pins = Arc::new(Pins::under(folder.path()));
    pins.load("files").unwrap();
    let session = Session::new("files", true, Transport::Stdio, Some(pins));
    Talk { session, policy, producer: seats.pop().unwrap().take(), writer: Some(writer), folder }
}

impl Talk {
    fn with<T>(&mut self, then: impl FnOnce(&mut Session, &Carrier<'_>) -> T) -> T {
        let arguments = Pointers::new(self.policy.argument_pointers());
        let carrier = Carrier {
            producer: &self.producer,
            policy: &self.policy,
            arguments: &arguments,
            subject: Subject { agent: "coder", host: Host::Name(""), ..Subject::EMPTY },
            facts: DecisionFacts { agent: "coder", ..DecisionFacts::default() },
            outcome: OutcomeFacts::default(),
            vet: &|_| Ok(()),
            started: Instant::now(),
        };
        then(&mut self.session, &carrier)
    }

    /// What the client sends: `Ok` when it passes, else what the client is told.
    fn client(&mut self, text: &str) -> Result<(), String> {
        match self.with(|session, carrier| session.client_sent(carrier, text.as_bytes())) {
            FromClient::Forward { .. } => Ok(()),
            FromClient::Refused(refusal) => {
                let told = String::from_utf8(refusal.answer).unwrap();
                Err(if refusal.is_awaited { told } else { format!("unsaid {told}") })
            }
            FromClient::Ask(held) => Err(format!("ask {}", held.question.approver)),
        }
    }

    /// What the server sends: what the client gets, and what the server gets.
    fn server(&mut self, text: &str) -> (String, String) {
        self.with(|session, carrier| {
            let told = session.server_sent(carrier, text.as_bytes());
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            (
                told.to_client.map_or(String::new(), |bytes| text(&bytes)),
                told.to_server.map_or(String::new(), |bytes| text(&bytes)),
            )
        })
    }

    fn shake_hands(&mut self, version: &str) {
        let ask =
            format!(r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{version}"}}}}"#);
        assert_eq!(self.client(&ask), Ok(()));
        let answer =
            format!(r#"{{"jsonrpc":"2.0","id":0,"result":{{"protocolVersion":"{version}","capabilities":{{}}}}}}"#);
        assert_eq!(self.server(&answer), (answer, String::new()));
    }

    /// Ends the conversation; every record as `method about verdict why`, outcomes as `outcome code`.
    fn records(mut self) -> Vec<String> {
        drop((self.session, self.producer));
        self.writer.take().unwrap().finish().unwrap();
        lines(&self.folder.path().join("log"))
    }
}

fn lines(log: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for segment in read::segments(log).unwrap() {
        let mut reader = read::open(&segment.path, read::Check::Links).unwrap();
        while let Some(frame) = reader.next().unwrap() {
            match frame.body().unwrap() {
                Body::Message(message) => {
                    let decision = &message.decision;
                    let verdict = Verdict::from_code(decision.verdict).unwrap().word();
                    let watched = if decision.flags & flag::WATCHED == 0 { "" } else { "?" };
                    let why = if decision.rule.is_empty() { &decision.code } else { &decision.rule };
                    let about = [message.tool.as_str(), &message.resource].concat();
                    all.push(format!("{} {about} {verdict}{watched} {}", message.method.as_str(), why.as_str()));
                }
                Body::Outcome(outcome) => all.push(format!("outcome {}", outcome.code.as_str())),
                _ => {}
            }
        }
    }
    all
}

fn call(id: &str, tool: &str, arguments: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}}}}}"#
    )
}

fn answer(id: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[]}}}}"#)
}

#[test]
fn a_call_passes_by_name_and_arguments_and_its_answer_ends_its_record() {
    let mut talk = talk(&format!("{SERVERS}{RULES}"));
    assert_eq!(talk.client(&call("1", "read_file", r#"{"path":"/workspace/a"}"#)), Ok(()));
    assert_eq!(talk.server(&answer("1")), (answer("1"), String::new()));
    for (tool, arguments) in [
        ("read_file", r#"{"path":"/etc/passwd"}"#),
        ("read_file", "{}"),
        ("read_file", r#"{"path":["/workspace/a"]}"#),
        ("read_file", r#"{"path":"/workspace/a","Path":"/etc/passwd"}"#),
        ("write_file", r#"{"path":"/workspace/a"}"#),
    ] {
        let told = talk.client(&call("2", tool, arguments)).unwrap_err();
        assert!(
            told.contains(r#""id":2,"error":{"code":-31403,"message":"Blocked by policy: no rule allows it.""#),
            "{told}"
        );
    }
    let told = talk.client(&call("\"x\"", "read_secret", r#"{"path":"/workspace/a"}"#)).unwrap_err();
    assert!(
        told.contains(r#""id":"x","#) && told.contains(r#""rule":"secrets","reason":"Secrets stay.","remedy":"Ask.""#),
        "{told}"
    );
    let records = talk.records();
    assert_eq!(records[..2], ["tools/call read_file allow read", "outcome "]);
    assert_eq!(records[2..7].iter().filter(|line| line.ends_with("deny default")).count(), 5, "{records:?}");
    assert_eq!(records[7..], ["tools/call read_secret deny secrets"]);
}

#[test]
fn the_refusal_names_the_decision_that_is_on_record() {
    let mut talk = talk(&format!("{SERVERS}{RULES}"));
    let told = talk.client(&call("1", "write_file", "{}")).unwrap_err();
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let id = u128::from_str_radix(told["error"]["data"]["decision"].as_str().unwrap(), 16).unwrap();
    drop((talk.session, talk.producer));
    talk.writer.take().unwrap().finish().unwrap();
    let segment = read::segments(&talk.folder.path().join("log")).unwrap().remove(0);
    let mut reader = read::open(&segment.path, read::Check::Links).unwrap();
    let mut found = false;
    while let Some(frame) = reader.next().unwrap() {
        found |= frame.body().unwrap().decision().is_some_and(|decision| decision.id == id.to_be_bytes());
    }
    assert!(found);
}

#[test]
fn answers_pass_once_and_only_to_who_has_asked() {
    let mut talk = talk(&format!("{SERVERS}{RULES}"));
    assert_eq!(talk.server(&answer("1")), Default::default());
    assert_eq!(talk.client(&call("1", "read_file", r#"{"path":"/workspace/a"}"#)), Ok(()));
    let twice = talk.client(&call("1", "read_file", r#"{"path":"/workspace/b"}"#)).unwrap_err();
    assert!(twice.contains(r#""code":-32600"#) && twice.contains("duplicate_id"), "{twice}");
    assert_eq!(talk.server(&answer("\"1\"")), Default::default(), "a text is no number");
    assert_eq!(talk.server(&answer("1")).0, answer("1"));
    assert_eq!(talk.server(&answer("1")), Default::default());
    let unasked = talk.client(&answer("1")).unwrap_err();
    assert!(unasked.starts_with("unsaid ") && unasked.contains("unsolicited"), "{unasked}");
    // A request that was cancelled has no answer any more.
    assert_eq!(talk.client(&call("2", "read_file", r#"{"path":"/workspace/a"}"#)), Ok(()));
    assert_eq!(talk.client(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}"#), Ok(()));
    assert_eq!(talk.server(&answer("2")), Default::default());
    assert_eq!(talk.records().iter().filter(|line| line.contains("deny unsolicited")).count(), 5);
}

#[test]
fn what_a_server_asks_must_be_named_and_is_answered_by_its_client_alone() {
    let rules =
        "- allow: all\n  mcp: { server: files }\n- allow: roots\n  mcp: { server: files, method: roots/list }\n";
    let mut talk = talk(&format!("{SERVERS}{rules}"));
    talk.shake_hands("2025-11-25");
    let ask = |method: &str| format!(r#"{{"jsonrpc":"2.0","id":7,"method":"{method}","params":{{}}}}"#);
    for method in ["sampling/createMessage", "elicitation/create", "x/y"] {
        let (client, server) = talk.server(&ask(method));
        assert_eq!(client, "");
        assert!(server.contains(r#""id":7,"error":{"code":-31403"#), "{server}");
    }
    assert_eq!(talk.server(&ask("roots/list")), (ask("roots/list"), String::new()));
    assert_eq!(talk.client(r#"{"jsonrpc":"2.0","id":7,"result":{"roots":[]}}"#), Ok(()));
    assert!(talk.client(r#"{"jsonrpc":"2.0","id":7,"result":{"roots":[]}}"#).is_err());
}

#[test]
fn what_is_asked_inside_of_a_result_is_decided_like_a_request() {
    let rules =
        "- allow: all\n  mcp: { server: files }\n- allow: roots\n  mcp: { server: files, method: roots/list }\n";
    let mut talk = talk(&format!("{SERVERS}{rules}"));
    let result = |method: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"result":{{"resultType":"input_required","inputRequests":{{"a":{{"method":"{method}","params":{{}}}}}}}}}}"#
        )
    };
    assert_eq!(talk.client(&call("1", "x", "{}")), Ok(()));
    assert_eq!(talk.server(&result("roots/list")).0, result("roots/list"));
    assert_eq!(talk.client(&call("1", "x", "{}")), Ok(()));
    let (told, _) = talk.server(&result("elicitation/create"));
    assert!(told.contains(r#""id":1,"error":{"code":-31403"#) && !told.contains("inputRequests"), "{told}");
    let records = talk.records();
    assert!(records.contains(&"elicitation/create  deny default".to_owned()), "{records:?}");
    assert!(records.contains(&"outcome input_refused".to_owned()));
}

#[test]
fn a_batch_passes_as_a_whole_in_the_one_version_that_has_them() {
    let batch = |second: &str| format!("[{},{second}]", call("1", "read_file", r#"{"path":"/workspace/a"}"#));
    let good = batch(&call("2", "read_file", r#"{"path":"/workspace/b"}"#));
    let bad = batch(&call("2", "write_file", "{}"));
    for version in ["2024-11-05", "2025-06-18", "2025-11-25"] {
        let mut talk = talk(&format!("{SERVERS}{RULES}"));
        talk.shake_hands(version);
        assert!(talk.client(&good).unwrap_err().contains("no batches"), "{version}");
    }
    let mut talk = talk(&format!("{SERVERS}{RULES}"));
    talk.shake_hands("2025-03-26");
    let told: serde_json::Value = serde_json::from_str(&talk.client(&bad).unwrap_err()).unwrap();
    let told: Vec<_> = told
        .as_array()
        .unwrap()
        .iter()
        .map(|each| (each["id"].clone(), each["error"]["data"]["code"].clone()))
        .collect();
    assert_eq!(told, [(1.into(), "batch".into()), (2.into(), "default".into())]);
    assert_eq!(talk.client(&good), Ok(()));
    // Of the answers the wrong one goes, and the right one stays.
    let (kept, _) = talk.server(&format!("[{},{}]", answer("1"), answer("9")));
    assert_eq!(kept, format!("[{}]", answer("1")));
    assert_eq!(talk.server(&format!("[{}]", answer("2"))).0, format!("[{}]", answer("2")));
}

#[test]
fn lists_show_what_may_be_used_on_every_page() {
    let mut talk = talk(&format!("{SERVERS}{RULES}"));
    let list = |id: &str, method: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{"cursor":"{id}"}}}}"#)
    };
    for page in ["1", "2"] {
        assert_eq!(talk.client(&list(page, "tools/list")), Ok(()));
        let answer = format!(
            r#"{{"jsonrpc":"2.0","id":{page},"result":{{"tools":[{{"name":"write_file"}},{{"name":"read_{page}"}},{{"name":"read_secret"}},{{"title":"x"}},{{"name":"read_{page}","x":1}}],"nextCursor":"z"}}}}"#
        );
        let shown = format!(
            r#"{{"jsonrpc":"2.0","id":{page},"result":{{"tools":[{{"name":"read_{page}"}}],"nextCursor":"z"}}}}"#
        );
        assert_eq!(talk.server(&answer).0, shown);
    }
    assert_eq!(talk.client(&list("3", "resources/list")), Ok(()));
    let answer = r#"{"jsonrpc":"2.0","id":3,"result":{"resources":[{"uri":"note://a/b"},{"uri":"file:///etc/passwd"},{"uri":"note://a/../b"}],"tools":[{"name":"write_file"}]}}"#;
    assert_eq!(
        talk.server(answer).0,
        r#"{"jsonrpc":"2.0","id":3,"result":{"resources":[{"uri":"note://a/b"}],"tools":[]}}"#
    );
    assert_eq!(talk.records().iter().filter(|line| line.contains("deny duplicate_name")).count(), 2);
}

#[test]
fn a_changed_tool_is_hidden_and_its_calls_are_denied_until_it_is_accepted() {
    let text = format!("{SERVERS}- allow: all\n  mcp: {{ server: files }}\n");
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let answer = |description: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[{{"name":"a","description":"{description}"}},{{"name":"b"}}]}}}}"#
        )
    };
    let mut talk = talk(&text);
    for (description, is_shown) in [("reads", true), ("reads and sends", false)] {
        assert_eq!(talk.client(list), Ok(()));
        assert_eq!(talk.server(&answer(description)).0.contains(r#""name":"a""#), is_shown);
    }
    let told = talk.client(&call("2", "a", "{}")).unwrap_err();
    assert!(told.contains("tool_changed") && told.contains("was sha256:") && told.contains("is sha256:"), "{told}");
    assert_eq!(talk.client(&call("3", "b", "{}")), Ok(()));
    let pins = talk.session.pins.clone().unwrap();
    pins.save("files").unwrap();
    assert_eq!(pins::accept(talk.folder.path(), "files", &[]).unwrap(), ["a"]);
    pins.refresh("files").unwrap();
    assert_eq!(talk.client(&call("4", "a", "{}")), Ok(()));
    assert_eq!(talk.client(list), Ok(()));
    assert!(talk.server(&answer("reads and sends")).0.contains(r#""name":"a""#));
    let records = talk.records();
    assert!(records.contains(&"tools/list a deny tool_changed".to_owned()), "{records:?}");
    assert!(records.contains(&"tools/call a deny tool_changed".to_owned()), "{records:?}");
}

#[test]
fn hidden_characters_are_refused_or_stripped_as_the_policy_says() {
    let answer =
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"tools\":[{\"name\":\"a\",\"description\":\"x\u{200b}y\"}]}}";
    for (hidden, shown) in [("refuse", "[]"), ("strip", r#"[{"name":"a","description":"xy"}]"#)] {
        let mut talk = talk(&format!(
            "ringfence: v1\nmcp_servers: {{ files: {{ stdio: files, hidden: {hidden} }} }}\nrules:\n- allow: all\n  mcp: {{ server: files }}\n"
        ));
        assert_eq!(talk.client(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#), Ok(()));
        assert_eq!(talk.server(answer).0, format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":{shown}}}}}"#));
        let watched = if hidden == "strip" { "?" } else { "" };
        assert!(talk.records().contains(&format!("tools/list a deny{watched} hidden_characters")));
    }
}

#[test]
fn what_is_no_strict_message_is_answered_where_its_id_can_be_told() {
    let mut talk = talk(&format!("{SERVERS}{RULES}"));
    let told =
        talk.client(r#"{"jsonrpc":"1.0","id":5,"method":"tools/call","params":{"name":"read_file"}}"#).unwrap_err();
    assert!(told.contains(r#""id":5,"error":{"code":-32600"#), "{told}");
    for text in [
        "{",
        "not json",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\r{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"ping\"}",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"ping\"}",
    ] {
        assert!(talk.client(text).unwrap_err().starts_with("unsaid "), "{text}");
    }
    for text in [
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"x"}"#,
        "{\"jsonrpc\":\"2.0\",\t\"id\":1,\"method\":\"ping\"}",
    ] {
        assert!(talk.client(text).unwrap_err().contains(r#""id":1,"error":{"code":-32"#), "{text}");
    }
    // And the other way: a request whose answer is garbled has failed.
    assert_eq!(talk.client(&call("1", "read_file", r#"{"path":"/workspace/a"}"#)), Ok(()));
    assert_eq!(talk.server("Listening on port 3000"), Default::default());
    let (told, _) = talk.server(r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":"x"}}"#);
    assert!(told.contains(r#""id":1,"error":{"code":-31403"#), "{told}");
    assert!(talk.records().contains(&"outcome malformed".to_owned()));
}

#[test]
fn nothing_passes_that_is_not_on_record() {
    let mut talk = talk(&format!("{SERVERS}{RULES}"));
    talk.writer.take().unwrap().finish().unwrap();
    let told = talk.client(&call("1", "read_file", r#"{"path":"/workspace/a"}"#)).unwrap_err();
    assert!(told.contains("audit_unavailable"), "{told}");
    assert_eq!(talk.session.waiting(), 0);
}

#[test]
fn under_monitor_a_denial_is_recorded_and_passes() {
    let mut talk = talk(&format!("{SERVERS}{RULES}").replace("rules:", "mode: monitor\nrules:"));
    assert_eq!(talk.client(&call("1", "write_file", "{}")), Ok(()));
    assert_eq!(talk.records(), ["tools/call write_file deny? default", "outcome aborted"]);
}

#[test]
fn each_reading_of_a_resource_must_be_allowed_and_one_may_be_denied() {
    let mut talk = talk(&format!("{SERVERS}{RULES}"));
    let read =
        |uri: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{{"uri":"{uri}"}}}}"#);
    assert!(talk.client(&read("file:///etc/passwd")).is_err());
    assert!(talk.client(&read("note://a/../../b")).unwrap_err().contains("-32602"));
    let listen = r#"{"jsonrpc":"2.0","id":2,"method":"subscriptions/listen","params":{"notifications":{"resourceSubscriptions":["note://a/b","file:///x"]}}}"#;
    assert!(talk.client(listen).unwrap_err().contains("-31403"));
    assert_eq!(talk.client(&read("note://a/b")), Ok(()));
}
