//! What the formats show of a small log.

use std::path::Path;

use serde_json::{Value, json};

use super::fields::{NAMES, Name, Sink, Value as Field, visit};
use super::scratch::Scratch;
use super::table::Table;
use super::{csv, json};
use crate::audit::read::{self, Check};
use crate::audit::{
    DecisionFacts, Inspected, McpFacts, Mode, Nanos, OutcomeFacts, Protocol, Query, Scheme, Transport, Verdict, Writer,
    WriterOptions,
};

/// A log of every kind that this version writes: an allow with its outcome, an aborted one, denials, a tunnel, a name.
pub(super) fn sample(root: &Path) -> std::path::PathBuf {
    let dir = root.join("audit/run-1");
    let options = WriterOptions { agent: "coder".into(), mode: Some(Mode::Run), ..WriterOptions::new(&dir, root, 1) };
    let (writer, mut seats) = Writer::start(options).unwrap();
    let producer = seats.pop().unwrap().take();
    let base = DecisionFacts {
        agent: "coder",
        connection: 7,
        scheme: Some(Scheme::Https),
        source: Some("127.0.0.1:40000".parse().unwrap()),
        destination: Some("[2001:db8::1]:443".parse().unwrap()),
        sni: Some("api.example.com"),
        host: Some("api.example.com"),
        port: Some(443),
        method: Some("POST"),
        path: Some("/v1/chat"),
        verdict: Verdict::Allow,
        rule: Some("model calls"),
        policy: Some([0xab; 32]),
        inspected: Inspected::ADDRESS | Inspected::SNI | Inspected::HEAD,
        decide_ns: 850,
        ..DecisionFacts::default()
    };
    let credit = producer.allow(Nanos(1_700_000_000_123_456_789), &base).unwrap();
    let aborted = producer.allow(Nanos(1_700_000_000_200_000_000), &base).unwrap();
    let outcome = OutcomeFacts {
        status: Some(200),
        upstream: Some("10.1.2.3:8443".parse().unwrap()),
        bytes_up: 12,
        upstream_ns: 1_500_000,
        total_ns: 2_500_000,
        ..OutcomeFacts::default()
    };
    credit.outcome(Nanos(1_700_000_000_300_000_000), &outcome);
    drop(aborted);
    let denial = DecisionFacts {
        method: Some("DELETE"),
        path: Some("/\x1b[2J\u{202e}"),
        query: Some(Query::Redacted),
        verdict: Verdict::Deny,
        rule: None,
        code: Some("default"),
        status: Some(403),
        ..base
    };
    producer.deny(Nanos(1_700_000_000_400_000_000), &denial).unwrap();
    let watched = DecisionFacts { enforced: false, query: Some(Query::Kept("a=1")), ..denial };
    drop(producer.allow(Nanos(1_700_000_000_500_000_000), &watched).unwrap());
    let name = DecisionFacts {
        topic: crate::audit::Topic::Dns,
        agent: "coder",
        protocol: Protocol::Dns,
        host: Some("evil.example"),
        code: Some("default"),
        ..DecisionFacts::default()
    };
    producer.deny(Nanos(1_700_000_000_600_000_000), &name).unwrap();
    drop(producer);
    writer.finish().unwrap();
    dir
}

pub(super) fn each(dir: &Path, mut see: impl FnMut(&crate::audit::segment::Frame<'_>, crate::audit::record::Body<'_>)) {
    for segment in read::segments(dir).unwrap() {
        let mut reader = read::open(&segment.path, Check::Links).unwrap();
        while let Some(frame) = reader.next().unwrap() {
            see(&frame, frame.body().unwrap());
        }
    }
}

/// A decision about an MCP message has its facts under `mcp`, in the contract's order, and no other decision has any.
#[test]
fn prints_what_an_mcp_message_is_about() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("audit");
    let (writer, mut seats) = Writer::start(WriterOptions::new(&dir, root.path(), 1)).unwrap();
    let producer = seats.pop().unwrap().take();
    let mcp = McpFacts {
        server: "files",
        transport: Transport::Stdio,
        version: "2025-11-25",
        method: "tools/call",
        tool: "read,file",
        resource: "",
        prompt: "",
        arguments_digest: Some([0xcd; 32]),
    };
    let facts =
        DecisionFacts { mode: Mode::Stdio, protocol: Protocol::Mcp, mcp: Some(mcp), ..DecisionFacts::default() };
    producer.deny(Nanos(1), &facts).unwrap();
    producer.deny(Nanos(2), &DecisionFacts::default()).unwrap();
    drop(producer);
    writer.finish().unwrap();
    let (text, objects) = objects(&dir);
    let digest = objects[1]["mcp"]["arguments_digest"].as_str().unwrap();
    let expected = format!(
        r#""mcp":{{"server":"files","transport":"stdio","version":"2025-11-25","method":"tools/call","tool":"read,file","arguments_digest":"{digest}"}},"verdict""#
    );
    assert!(text.contains(&expected), "{text}");
    assert_eq!(
        (&objects[1]["kind"], &objects[1]["protocol"], &objects[1]["mode"]),
        (&"decision".into(), &"mcp".into(), &"stdio".into())
    );
    assert!(objects[2].get("mcp").is_none());
    let mut out = Vec::new();
    each(&dir, |frame, body| csv::line(frame, body, &mut Scratch::default(), &mut out));
    assert!(
        String::from_utf8(out)
            .unwrap()
            .contains(&format!(r#"files,stdio,2025-11-25,tools/call,"read,file",,,{digest},deny"#))
    );
}

fn objects(dir: &Path) -> (String, Vec<Value>) {
    let mut out = Vec::new();
    each(dir, |frame, body| json::line(frame, body, &mut Scratch::default(), &mut out));
    let text = String::from_utf8(out).unwrap();
    let objects = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (text, objects)
}

#[test]
fn prints_the_contract_shape() {
    let root = tempfile::tempdir().unwrap();
    let (text, objects) = objects(&sample(root.path()));
    let id = objects[1]["id"].clone();
    assert_eq!(id.as_str().unwrap().len(), 32);
    let expected = json!({
        "seq": 1, "time": "2023-11-14T22:13:20.123456789Z", "kind": "decision", "id": id, "agent": "coder", "mode": "run",
        "connection": 7, "protocol": "http/1.1", "scheme": "https", "source": "127.0.0.1:40000",
        "destination": "[2001:db8::1]:443", "sni": "api.example.com", "host": "api.example.com", "port": 443,
        "method": "POST", "path": "/v1/chat", "verdict": "allow", "rule": "model calls",
        "policy": format!("sha256:{}", "ab".repeat(32)), "inspected": ["address", "sni", "head"],
        "latency_ns": {"decide": 850}
    });
    assert_eq!(objects[1], expected);
    let names =
        ["seq", "time", "kind", "id", "agent", "mode", "connection", "protocol", "scheme", "source", "destination"];
    let line = text.lines().nth(1).unwrap();
    let places: Vec<_> = names.iter().map(|name| line.find(&format!("\"{name}\":")).unwrap()).collect();
    assert!(places.is_sorted(), "{line}");

    let outcome = json!({
        "seq": 3, "time": "2023-11-14T22:13:20.300000000Z", "kind": "outcome", "id": id, "upstream": "10.1.2.3:8443",
        "status": 200, "bytes_up": 12, "bytes_down": 0, "latency_ns": {"upstream": 1_500_000, "total": 2_500_000}
    });
    assert_eq!(objects[3], outcome);
    let aborted = json!({
        "seq": 4, "time": "2023-11-14T22:13:20.300000000Z", "kind": "outcome", "id": objects[2]["id"], "code": "aborted"
    });
    assert_eq!(objects[4], aborted);
}

#[test]
fn says_enforced_only_when_it_is_not() {
    let root = tempfile::tempdir().unwrap();
    let (_, objects) = objects(&sample(root.path()));
    let denied = &objects[5];
    assert_eq!((&denied["verdict"], denied.get("enforced"), denied.get("rule")), (&json!("deny"), None, None));
    assert_eq!((&denied["query"], &denied["status"]), (&json!("[redacted]"), &json!(403)));
    let watched = &objects[6];
    assert_eq!(
        (&watched["verdict"], &watched["enforced"], &watched["query"]),
        (&json!("deny"), &json!(false), &json!("a=1"))
    );
    let kinds: Vec<_> = objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds[7..], ["outcome", "dns", "lifecycle", "seal"]);
}

#[test]
fn lets_no_control_character_out_in_any_format() {
    let root = tempfile::tempdir().unwrap();
    let dir = sample(root.path());
    let (json, _) = objects(&dir);
    let (mut cells, mut table) = (Vec::new(), Vec::new());
    let mut rows = Table::new(false, false);
    csv::header(&mut cells);
    each(&dir, |frame, body| {
        csv::line(frame, body, &mut Scratch::default(), &mut cells);
        rows.record(frame, body, &mut table).unwrap();
    });
    rows.flush(&mut table).unwrap();
    let (cells, table) = (String::from_utf8(cells).unwrap(), String::from_utf8(table).unwrap());
    for text in [&json, &cells, &table] {
        assert!(
            !text.contains(|letter: char| letter != '\n' && letter != '\r' && super::escape::is_unsafe(letter)),
            "{text}"
        );
    }
    assert!(cells.lines().all(|line| line.matches(',').count() == NAMES.len() - 1), "{cells}");
    assert!(table.contains("POST api.example.com/v1/chat") && table.contains("2.50 ms"), "{table}");
}

/// The names that a record gives, nested ones with a dot.
#[derive(Default)]
struct Names(Vec<String>);

impl Sink for Names {
    fn field(&mut self, Name { plain: name, .. }: Name, value: Field<'_>) {
        match value {
            Field::Map(entries) => self.0.extend(entries.iter().map(|(inner, _)| format!("{name}.{inner}"))),
            Field::Texts(entries) => self.0.extend(entries.iter().map(|(inner, _)| format!("{name}.{inner}"))),
            _ => self.0.push(name.to_owned()),
        }
    }
}

#[test]
fn every_field_has_a_column_and_they_come_in_its_order() {
    let root = tempfile::tempdir().unwrap();
    each(&sample(root.path()), |frame, body| {
        let mut names = Names::default();
        visit(frame, body, &mut Scratch::default(), &mut names);
        let places: Vec<_> = names.0.iter().map(|name| NAMES.iter().position(|column| column == name)).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{:?}", names.0);
    });
}

/// What a log shows of the arguments of a call, under the key of this state folder.
fn shown_digest(state: &Path, log: &str) -> String {
    let dir = state.join(log);
    let (writer, mut seats) = Writer::start(WriterOptions::new(&dir, state, 1)).unwrap();
    let producer = seats.pop().unwrap().take();
    let mcp = McpFacts {
        server: "files",
        transport: Transport::Stdio,
        version: "",
        method: "tools/call",
        tool: "read",
        resource: "",
        prompt: "",
        arguments_digest: Some([0xcd; 32]),
    };
    producer.deny(Nanos(1), &DecisionFacts { mcp: Some(mcp), ..DecisionFacts::default() }).unwrap();
    drop(producer);
    writer.finish().unwrap();
    let (text, objects) = objects(&dir);
    assert!(!text.contains(&"cd".repeat(32)), "{text}");
    objects[1]["mcp"]["arguments_digest"].as_str().unwrap().to_owned()
}

#[test]
fn the_digest_of_arguments_is_keyed_and_the_key_is_the_state_folders() {
    let (root, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, two) = (shown_digest(root.path(), "one"), shown_digest(root.path(), "two"));
    assert_eq!(one, two, "equal calls can be told as equal");
    assert!(one.starts_with("hmac-sha256:") && one.len() == 12 + 64, "{one}");
    assert_ne!(one, shown_digest(other.path(), "one"), "and nobody without the key can try values");
}
