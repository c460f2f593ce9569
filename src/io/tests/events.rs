//! A stream of events, cut in two at every octet and with every line end: the client gets what an oracle reads in it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::harness::{Proxy, origin, request};
use super::on_both;
use crate::io::engine::Choice;
use crate::parse::sse::properties;

const RULES: &str = "  - allow: reads\n    mcp: { server: files, tool: \"read_*\" }
mcp_servers:\n  files: { url: \"http://origin.test/mcp\", pin: off }\n";
const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read_file"}}"#;
/// A resumption point, data over several lines, what is no ASCII, a field that nobody knows, and the answer.
const EVENTS: &str = "\u{feff}id: 1\nretry: 500\ndata: \n\nevent: message\ndata: {\"jsonrpc\":\"2.0\",\ndata:\"method\":\"notifications/message\",\ndata\ndata: \"params\":{\"data\":\"\u{e9}\u{2028}\u{1f511}\"}}\nunknown: x\n\nid\ndata:{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n";

on_both! {
    every_split_and_line_end_delivers_what_the_oracle_reads
    a_stream_that_cannot_be_read_any_further_ends_with_an_error
}

fn every_split_and_line_end_delivers_what_the_oracle_reads(choice: Choice) {
    for line_end in ["\n", "\r", "\r\n"] {
        let events = EVENTS.replace('\n', line_end);
        let whole = properties::decode(events.as_bytes(), events.len());
        assert_eq!((whole.events.len(), whole.fault), (3, false));
        let expected = String::from_utf8(properties::written(&whole)).unwrap();
        let next = AtomicUsize::new(0);
        let length = events.len();
        let (address, _seen) = origin(move |mut stream: TcpStream| {
            request(&mut stream);
            let (before, after) = events.as_bytes().split_at(next.fetch_add(1, Ordering::Relaxed));
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
                .unwrap();
            stream.write_all(before).unwrap();
            stream.write_all(after).unwrap();
        });
        let proxy = Proxy::start(choice, address, 80, RULES);
        for split in 0..=length {
            let mut client = proxy.client();
            client.write_all(&post()).unwrap();
            let mut told = String::new();
            client.read_to_string(&mut told).unwrap();
            assert_eq!(body(&told), expected, "{line_end:?} at {split}");
        }
    }
}

fn a_stream_that_cannot_be_read_any_further_ends_with_an_error(choice: Choice) {
    let (address, _seen) = origin(move |mut stream: TcpStream| {
        request(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n").unwrap();
        stream
            .write_all(b"data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\n\ndata: \xff\n\n")
            .unwrap();
        // Whatever comes after that is not read, nor waited for.
        let _ = stream.write_all(b"data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n");
        let _ = stream.read(&mut [0]);
    });
    let proxy = Proxy::start(choice, address, 80, RULES);
    let mut client = proxy.client();
    client.write_all(&post()).unwrap();
    let mut told = String::new();
    client.read_to_string(&mut told).unwrap();
    let events = body(&told);
    let error = events.strip_prefix("data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\n\n").unwrap();
    assert!(
        error.starts_with("event: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-31403"),
        "{told}"
    );
    assert!(error.ends_with("}\n\n") && !events.contains("\"result\""), "{told}");
    let records = proxy.stop();
    assert!(records.iter().any(|record| record.code() == "malformed"), "{records:?}");
}

fn post() -> Vec<u8> {
    let head = "POST /mcp HTTP/1.0\r\nHost: origin.test\r\nContent-Type: application/json";
    format!("{head}\r\nContent-Length: {}\r\n\r\n{CALL}", CALL.len()).into_bytes()
}

/// HTTP/1.0 knows no chunks: the body is what follows the head.
fn body(told: &str) -> String {
    let (head, body) = told.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(" 200 ") && !head.contains("chunked"), "{told}");
    body.to_owned()
}
