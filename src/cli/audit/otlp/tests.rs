//! A tiny collector, and what it gets.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::thread::JoinHandle;

use super::*;
use crate::cli::audit::tests::{each, sample};

/// Answers one request with each of these statuses and bodies, and returns what was sent.
fn collector(answers: Vec<(&'static str, Vec<u8>)>) -> (String, JoinHandle<Vec<ExportLogsServiceRequest>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1/logs", listener.local_addr().unwrap());
    let collect = move || {
        let mut requests = Vec::new();
        for (status, body) in answers {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(&stream);
            let mut head = Vec::new();
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if line == "\r\n" {
                    break;
                }
                head.push(line.trim().to_ascii_lowercase());
            }
            assert_eq!(head[0], "post /v1/logs http/1.1");
            assert!(head.contains(&"content-type: application/x-protobuf".to_owned()), "{head:?}");
            let length = head.iter().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            let mut sent = vec![0; length.parse().unwrap()];
            reader.read_exact(&mut sent).unwrap();
            requests.push(ExportLogsServiceRequest::decode(&sent[..]).unwrap());
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            (&stream).write_all(&[head.as_bytes(), &body].concat()).unwrap();
        }
        requests
    };
    (url, std::thread::spawn(collect))
}

fn export<R: Receiver>(receiver: R) -> (io::Result<()>, R, usize) {
    let root = tempfile::tempdir().unwrap();
    let (mut export, mut records) = (Export::new(receiver), 0);
    each(&sample(root.path()), |frame, body| {
        export.record(frame, body).unwrap();
        records += 1;
    });
    (export.finish(), export.receiver, records)
}

fn records(requests: &[ExportLogsServiceRequest]) -> Vec<&LogRecord> {
    let logs = requests.iter().flat_map(|request| &request.resource_logs).flat_map(|logs| &logs.scope_logs);
    logs.flat_map(|logs| &logs.log_records).collect()
}

fn said<'r>(record: &'r LogRecord, name: &str) -> Option<&'r any_value::Value> {
    let attribute = record.attributes.iter().find(|attribute| attribute.key == name)?;
    attribute.value.as_ref()?.value.as_ref()
}

#[test]
fn a_collector_gets_every_record_under_conventional_names() {
    let (url, collected) = collector(vec![("200 OK", Vec::new())]);
    let (done, _, count) = export(Collector::new(&url).unwrap());
    done.unwrap();
    let requests = collected.join().unwrap();
    let records = records(&requests);
    assert_eq!(records.len(), count);
    let (decision, outcome) = (records[1], records[3]);
    assert_eq!((decision.event_name.as_str(), decision.severity_text.as_str()), ("ringfence.decision", "INFO"));
    assert_eq!(decision.time_unix_nano, 1_700_000_000_123_456_789);
    for (name, value) in [
        ("http.request.method", text("POST")),
        ("server.address", text("api.example.com")),
        ("server.port", number(443)),
        ("url.scheme", text("https")),
        ("url.path", text("/v1/chat")),
        ("client.address", text("127.0.0.1")),
        ("client.port", number(40_000)),
        ("network.protocol.name", text("http")),
        ("network.protocol.version", text("1.1")),
        ("tls.client.server_name", text("api.example.com")),
        ("ringfence.destination", text("[2001:db8::1]:443")),
        ("ringfence.rule", text("model calls")),
        ("ringfence.verdict", text("allow")),
        ("ringfence.latency_ns.decide", number(850)),
    ] {
        assert_eq!(said(decision, name), Some(&value), "{name}");
    }
    assert_eq!((outcome.trace_id.len(), &outcome.trace_id), (16, &decision.trace_id));
    assert_eq!(said(outcome, "http.response.status_code"), Some(&number(200)));
    assert_eq!(said(outcome, "network.peer.address"), Some(&text("10.1.2.3")));
    let named = records.iter().find(|record| record.event_name == "ringfence.dns").unwrap();
    assert_eq!(said(named, "dns.question.name"), Some(&text("evil.example")));
    assert_eq!(named.severity_text, "WARN");
}

#[test]
fn a_busy_collector_is_asked_again_and_a_refusal_is_an_error() {
    let (url, collected) = collector(vec![("503 Service Unavailable", Vec::new()), ("200 OK", Vec::new())]);
    let (done, ..) = export(Collector::new(&url).unwrap());
    done.unwrap();
    let requests = collected.join().unwrap();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0], requests[1]);

    let (url, collected) = collector(vec![("400 Bad Request", Vec::new())]);
    let (done, ..) = export(Collector::new(&url).unwrap());
    assert!(done.unwrap_err().to_string().ends_with("status 400"));
    assert_eq!(collected.join().unwrap().len(), 1);
}

#[test]
fn records_that_the_collector_did_not_take_are_an_error() {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsPartialSuccess;
    let partial = ExportLogsPartialSuccess { rejected_log_records: 3, error_message: "too old".to_owned() };
    let answer = ExportLogsServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    let (url, collected) = collector(vec![("200 OK", answer)]);
    let (done, ..) = export(Collector::new(&url).unwrap());
    assert!(done.unwrap_err().to_string().ends_with("3 records were refused: too old"));
    collected.join().unwrap();
}

#[test]
fn a_line_is_a_request_in_otlp_json() {
    let (done, Lines(lines), count) = export(Lines(Vec::new()));
    done.unwrap();
    let lines = String::from_utf8(lines).unwrap();
    let requests: Vec<ExportLogsServiceRequest> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records(&requests).len(), count);
    // As protobuf's JSON mapping has it: 64 bits are text, ids are hexadecimal digits.
    assert!(lines.contains("\"timeUnixNano\":\"1700000000123456789\""), "{lines}");
}
