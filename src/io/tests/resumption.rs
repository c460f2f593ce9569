//! A stream that ends before its answer has come, and is read on over another (2025-11-25, "Resumability and Redelivery").

use std::io::Write;
use std::net::TcpStream;

use super::harness::{Proxy, Recorded, origin, request, response};
use super::on_both;
use crate::io::engine::Choice;

const RULES: &str = "  - allow: reads\n    mcp: { server: files, tool: \"read_*\" }
mcp_servers:\n  files: { url: \"http://origin.test/mcp\", pin: off }\n";
const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#;
const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read_file"}}"#;
const ANSWER: &str = "id: 2\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n";

on_both! {
    an_answer_that_comes_on_a_resumed_stream_passes_once
    a_resumed_stream_brings_nothing_that_another_session_has_asked_for
}

fn an_answer_that_comes_on_a_resumed_stream_passes_once(choice: Choice) {
    let replayed = format!("{ANSWER}{ANSWER}");
    let (proxy, mut client) = interrupted(choice, "resumed", vec![stream(&replayed), stream(ANSWER)]);
    let told = get(&mut client, "resumed");
    assert_eq!(told.matches("\"id\":1,\"result\"").count(), 1, "{told}");
    let told = get(&mut client, "resumed");
    assert!(told.starts_with("HTTP/1.1 200") && !told.contains("\"id\":1"), "it has been answered: {told}");
    drop(client);
    let records = proxy.stop();
    assert_eq!(records.iter().filter(|record| record.code() == "unsolicited").count(), 2, "{records:?}");
    let outcomes = records.iter().filter(|record| matches!(record, Recorded::Outcome { .. })).count();
    assert_eq!(outcomes, 4, "one for each exchange: {records:?}");
}

fn a_resumed_stream_brings_nothing_that_another_session_has_asked_for(choice: Choice) {
    let (_proxy, mut client) = interrupted(choice, "its-own", vec![session("another"), stream(ANSWER)]);
    client.write_all(&post(INITIALIZE, "")).unwrap();
    assert!(response(&mut client).unwrap().contains("another"));
    let told = get(&mut client, "another");
    assert!(told.starts_with("HTTP/1.1 200") && !told.contains("\"id\":1"), "{told}");
}

/// A client in a session whose call's stream has ended without an answer, in front of a server that goes on with `answers`.
fn interrupted(choice: Choice, id: &str, answers: Vec<Vec<u8>>) -> (Proxy, TcpStream) {
    let before = [session(id), stream("id: 1\nretry: 500\ndata: \n\n")];
    let (address, _seen) = origin(move |mut stream: TcpStream| {
        for answer in before.iter().chain(&answers) {
            if request(&mut stream).is_some() {
                stream.write_all(answer).unwrap();
            }
        }
    });
    let proxy = Proxy::start(choice, address, 80, RULES);
    let mut client = proxy.client();
    client.write_all(&post(INITIALIZE, "")).unwrap();
    assert!(response(&mut client).unwrap().contains(id));
    client.write_all(&post(CALL, &format!("Mcp-Session-Id: {id}\r\n"))).unwrap();
    let told = response(&mut client).unwrap();
    assert!(told.contains("retry: 500") && !told.contains("\"id\":1"), "{told}");
    (proxy, client)
}

fn get(client: &mut TcpStream, id: &str) -> String {
    let fields = format!("Mcp-Session-Id: {id}\r\nLast-Event-ID: 1\r\nAccept: text/event-stream\r\n");
    client.write_all(format!("GET /mcp HTTP/1.1\r\nHost: origin.test\r\n{fields}\r\n").as_bytes()).unwrap();
    response(client).unwrap()
}

fn post(text: &str, fields: &str) -> Vec<u8> {
    let length = text.len();
    let head = "POST /mcp HTTP/1.1\r\nHost: origin.test\r\nContent-Type: application/json";
    format!("{head}\r\n{fields}Content-Length: {length}\r\n\r\n{text}").into_bytes()
}

fn session(id: &str) -> Vec<u8> {
    let text = r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-11-25"}}"#;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nMcp-Session-Id: {id}");
    format!("{head}\r\nContent-Length: {}\r\n\r\n{text}", text.len()).into_bytes()
}

fn stream(events: &str) -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream";
    format!("{head}\r\nContent-Length: {}\r\n\r\n{events}", events.len()).into_bytes()
}
