//! A declared MCP endpoint over Streamable HTTP: every message is decided, whichever way it goes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, channel};

use super::harness::{PATIENCE, Proxy, Recorded, origin, request, response};
use super::on_both;
use crate::io::engine::Choice;
use crate::io::mcp::pins;

const RULES: &str = "  - allow: reads\n    mcp: { server: files, tool: \"read_*\" }\n    args: { path: { glob: \"/w/**\" } }
  - allow: roots\n    mcp: { server: files, method: roots/list }\nmcp_servers:\n  files: { url: \"http://origin.test/mcp\", pin: off }\n";
const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#;
const CALL: &str =
    r#"{ "jsonrpc":"2.0", "id":1, "method":"tools/call", "params":{"name":"read_file","arguments":{"path":"/w/a"}} }"#;
const LIST: &str = r#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#;

on_both! {
    an_allowed_call_travels_as_it_came_and_is_answered
    a_denied_call_is_answered_with_an_error_and_reaches_nobody
    what_nobody_waits_for_is_refused_with_403
    what_is_no_strict_message_reaches_nobody
    a_list_shows_only_what_is_allowed
    an_event_passes_before_the_next_is_made_and_in_canonical_form
    an_answer_that_nobody_asked_for_is_dropped
    a_request_of_the_server_is_decided_and_its_answer_attributed
    a_session_that_is_not_known_is_not_found
    an_encoded_answer_is_refused
    what_is_no_message_is_no_answer
    no_other_rule_admits_a_message
    a_changed_tool_is_hidden_until_somebody_accepts_it
    an_answer_that_is_owed_comes_on_another_stream_of_the_session
}

fn an_allowed_call_travels_as_it_came_and_is_answered(choice: Choice) {
    let answer = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#;
    let (proxy, seen) = server(choice, vec![json(answer)]);
    let mut client = proxy.client();
    client.write_all(&post(CALL, "Accept-Encoding: gzip\r\n")).unwrap();
    let told = response(&mut client).unwrap();
    assert!(told.starts_with("HTTP/1.1 200") && told.ends_with(&format!("\r\n\r\n{answer}")), "{told}");
    drop(client);
    let records = proxy.stop();
    let asked = seen.recv().unwrap();
    assert!(asked[0].ends_with(&format!("\r\n\r\n{CALL}")), "{}", asked[0]);
    assert!(asked[0].contains("Accept-Encoding: identity\r\n") && !asked[0].contains("gzip"));
    assert!(
        matches!(&records[..], [Recorded::Decision { verdict, rule, .. }, Recorded::Outcome { status: 200, code, .. }]
        if verdict == "allow" && rule == "reads" && code.is_empty()),
        "{records:?}"
    );
}

fn a_denied_call_is_answered_with_an_error_and_reaches_nobody(choice: Choice) {
    let (proxy, seen) = server(choice, vec![json(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#)]);
    let mut client = proxy.client();
    for denied in [CALL.replace("read_file", "write_file"), CALL.replace("/w/a", "/etc/passwd")] {
        client.write_all(&post(&denied, "")).unwrap();
        let told = response(&mut client).unwrap();
        assert!(told.starts_with("HTTP/1.1 200") && told.contains("application/json"), "{told}");
        assert!(told.contains("\"id\":1") && told.contains("\"code\":-31403"), "{told}");
    }
    client.write_all(&post(CALL, "")).unwrap();
    assert!(response(&mut client).unwrap().contains("\"result\""), "the connection lives on");
    drop(client);
    let _ = proxy.stop();
    assert_eq!(seen.recv().unwrap().len(), 1);
}

fn what_nobody_waits_for_is_refused_with_403(choice: Choice) {
    let (proxy, _seen) = server(choice, Vec::new());
    let told = proxy.ask(&post(r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"x"}}"#, ""));
    assert!(told.starts_with("HTTP/1.1 403") && told.contains("-31403") && !told.contains("\"id\""), "{told}");
    let told = proxy.ask(&post(r#"{"jsonrpc":"2.0","id":9,"result":{}}"#, ""));
    assert!(told.starts_with("HTTP/1.1 403"), "an answer that no server has asked for: {told}");
}

fn what_is_no_strict_message_reaches_nobody(choice: Choice) {
    let (proxy, _seen) = server(choice, Vec::new());
    for (text, fields, status, code) in [
        (&*CALL.replace("\"id\":1", "\"id\":1,\"id\":1"), "", 400, "-32700"),
        (&*CALL.replace("\"method\"", "\"Method\":\"x\",\"method\""), "", 400, "-32600"),
        ("[]", "", 400, "-32600"),
        (CALL, "Mcp-Method: tools/list\r\n", 400, "-32020"),
        (
            CALL,
            "MCP-Protocol-Version: v999.0.0\r\n",
            400,
            r#""code":-32022,"message":"the protocol version is not known","data":{"requested":"v999.0.0","supported":["2026-07-28"]}"#,
        ),
        (CALL, "Content-Encoding: gzip\r\n", 415, "media_type"),
    ] {
        let told = proxy.ask(&post(text, fields));
        assert!(told.starts_with(&format!("HTTP/1.1 {status}")) && told.contains(code), "{text}: {told}");
    }
    let plain = String::from_utf8(post(CALL, "")).unwrap().replace("application/json", "text/plain");
    assert!(proxy.ask(plain.as_bytes()).starts_with("HTTP/1.1 415"));
    let records = proxy.stop();
    assert!(records.iter().all(|record| matches!(record, Recorded::Decision { verdict, .. } if verdict == "deny")));
    assert_eq!(records.len(), 7);
}

fn a_list_shows_only_what_is_allowed(choice: Choice) {
    let list =
        r#"{"jsonrpc":"2.0","id":2,"result":{"tools":[{"name":"write_file"},{"name":"read_file"},{"name":"x"}]}}"#;
    let events = format!("data: {list}\n\n");
    let (proxy, _seen) = server(choice, vec![json(list), stream(&events)]);
    let mut client = proxy.client();
    for _ in 0..2 {
        client.write_all(&post(LIST, "")).unwrap();
        let told = response(&mut client).unwrap();
        assert!(told.contains(r#""tools":[{"name":"read_file"}]"#), "{told}");
    }
}

fn an_event_passes_before_the_next_is_made_and_in_canonical_form(choice: Choice) {
    let (go, wait) = channel();
    let (address, _seen) = origin(move |mut stream| {
        request(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").unwrap();
        stream
            .write_all(b"event:message\r\ndata:{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\r\rid")
            .unwrap();
        wait.recv().unwrap();
        stream.write_all(b": 7\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\ndata: \"result\":{}}\n\n").unwrap();
    });
    let proxy = Proxy::start(choice, address, 80, RULES);
    let mut client = proxy.client();
    client.write_all(&post(CALL, "")).unwrap();
    let mut told = String::new();
    let mut octets = [0; 4096];
    while !told.contains("notifications/message\"}\n\n") {
        let n = client.read(&mut octets).unwrap();
        assert!(n > 0, "{told}");
        told.push_str(str::from_utf8(&octets[..n]).unwrap());
    }
    assert!(told.contains("event: message\ndata: {\"jsonrpc\""), "{told}");
    go.send(()).unwrap();
    while !told.ends_with("\r\n0\r\n\r\n") {
        let n = client.read(&mut octets).unwrap();
        assert!(n > 0, "{told}");
        told.push_str(str::from_utf8(&octets[..n]).unwrap());
    }
    assert!(told.contains("id: 7\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\ndata: \"result\":{}}\n\n"), "{told}");
}

fn an_answer_that_nobody_asked_for_is_dropped(choice: Choice) {
    let events = "data: {\"jsonrpc\":\"2.0\",\"id\":5,\"result\":{\"evil\":1}}\n\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"twice\":1}}\n\nevent: ping\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\n\n";
    let (proxy, _seen) = server(choice, vec![stream(events)]);
    let told = proxy.ask(&post(CALL, ""));
    assert!(told.contains("\"id\":1,\"result\":{}}"), "{told}");
    for dropped in ["evil", "twice", "ping"] {
        assert!(!told.contains(dropped), "{told}");
    }
    let records = proxy.stop();
    assert_eq!(records.iter().filter(|record| record.code() == "unsolicited").count(), 2, "{records:?}");
}

fn a_request_of_the_server_is_decided_and_its_answer_attributed(choice: Choice) {
    let events = "data: {\"jsonrpc\":\"2.0\",\"id\":\"r\",\"method\":\"roots/list\"}\n\ndata: {\"jsonrpc\":\"2.0\",\"id\":\"s\",\"method\":\"sampling/createMessage\",\"params\":{}}\n\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n";
    let accepted = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".to_vec();
    let (proxy, _seen) = server(choice, vec![stream(events), accepted]);
    let mut client = proxy.client();
    client.write_all(&post(CALL, "")).unwrap();
    let told = response(&mut client).unwrap();
    assert!(told.contains("roots/list") && !told.contains("sampling"), "{told}");
    for (id, status) in [("r", "202"), ("r", "403"), ("s", "403")] {
        client
            .write_all(&post(&format!("{{\"jsonrpc\":\"2.0\",\"id\":\"{id}\",\"result\":{{\"roots\":[]}}}}"), ""))
            .unwrap();
        let told = response(&mut client).unwrap();
        assert!(told.starts_with(&format!("HTTP/1.1 {status}")), "{id}: {told}");
    }
}

fn a_session_that_is_not_known_is_not_found(choice: Choice) {
    let begins = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nMcp-Session-Id: s-1\r\nContent-Length: 78\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":{\"protocolVersion\":\"2025-11-25\",\"a\":\"bcdef\"}}".to_vec();
    let ends = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec();
    let (proxy, _seen) = server(choice, vec![begins, json(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#), ends]);
    assert!(proxy.ask(&post(CALL, "Mcp-Session-Id: s-1\r\n")).starts_with("HTTP/1.1 404"), "made up");
    let mut client = proxy.client();
    client.write_all(&post(INITIALIZE, "")).unwrap();
    assert!(response(&mut client).unwrap().contains("s-1"));
    client.write_all(&post(CALL, "Mcp-Session-Id: s-1\r\n")).unwrap();
    assert!(response(&mut client).unwrap().starts_with("HTTP/1.1 200"));
    client.write_all(b"DELETE /mcp HTTP/1.1\r\nHost: origin.test\r\nMcp-Session-Id: s-1\r\n\r\n").unwrap();
    assert!(response(&mut client).unwrap().starts_with("HTTP/1.1 200"));
    client.write_all(&post(CALL, "Mcp-Session-Id: s-1\r\n")).unwrap();
    assert!(response(&mut client).unwrap().starts_with("HTTP/1.1 404"), "ended");
}

fn an_encoded_answer_is_refused(choice: Choice) {
    let encoded =
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}"
            .to_vec();
    let (proxy, _seen) = server(choice, vec![encoded]);
    let told = proxy.ask(&post(CALL, ""));
    assert!(told.starts_with("HTTP/1.1 502") && told.contains("response_encoded"), "{told}");
}

fn what_is_no_message_is_no_answer(choice: Choice) {
    for (kind, text, code) in [
        ("text/html", "<html>", "response_type"),
        ("text/plain", r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, "response_type"),
        ("application/json", "<html>", "response_unsolicited"),
        ("application/json", "data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n", "response_unsolicited"),
    ] {
        let length = text.len();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{text}");
        let (proxy, _seen) = server(choice, vec![head.into_bytes()]);
        let told = proxy.ask(&post(CALL, ""));
        assert!(told.starts_with("HTTP/1.1 502") && told.contains(code), "{kind}: {told}");
    }
}

fn no_other_rule_admits_a_message(choice: Choice) {
    let (address, _seen) = origin(|_| ());
    let rules = format!("  - allow: host\n    host: origin.test\n    port: 80\n    scheme: http\n{RULES}");
    let proxy = Proxy::start(choice, address, 80, &rules);
    let denied = CALL.replace("read_file", "write_file");
    assert!(proxy.ask(&post(&denied, "")).contains("-31403"));
    let put = b"PUT /mcp HTTP/1.1\r\nHost: origin.test\r\nContent-Length: 0\r\n\r\n";
    assert!(proxy.ask(put).starts_with("HTTP/1.1 405"));
    let twofold = b"POST /x%2F..%2Fmcp HTTP/1.1\r\nHost: origin.test\r\nContent-Length: 0\r\n\r\n";
    assert!(proxy.ask(twofold).starts_with("HTTP/1.1 400"));
}

fn a_changed_tool_is_hidden_until_somebody_accepts_it(choice: Choice) {
    let list = |description: &str| {
        json(&format!(
            r#"{{"jsonrpc":"2.0","id":2,"result":{{"tools":[{{"name":"read_file","description":"{description}"}}]}}}}"#
        ))
    };
    let answers = vec![list("reads"), list("reads and sends"), json(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#)];
    let (proxy, _seen) = server_under(choice, answers, &RULES.replace(", pin: off", ""));
    let mut client = proxy.client();
    let mut ask = |text: &str| {
        client.write_all(&post(text, "")).unwrap();
        response(&mut client).unwrap()
    };
    assert!(ask(LIST).contains("read_file"));
    assert!(!ask(LIST).contains("read_file"));
    let told = ask(CALL);
    assert!(told.starts_with("HTTP/1.1 200") && told.contains("tool_changed") && told.contains("sha256:"), "{told}");
    // What the keeper has not written yet nobody can accept.
    let started = std::time::Instant::now();
    while pins::accept(&proxy.state(), "files", &[]).unwrap().is_empty() {
        assert!(started.elapsed() < PATIENCE);
    }
    while ask(CALL).contains("tool_changed") {
        assert!(started.elapsed() < PATIENCE, "what was accepted counts for a running worker");
    }
}

fn an_answer_that_is_owed_comes_on_another_stream_of_the_session(choice: Choice) {
    let begins = r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-11-25"}}"#;
    let begins = String::from_utf8(json(begins)).unwrap().replace("\r\n\r\n", "\r\nMcp-Session-Id: s-9\r\n\r\n");
    let late = stream("data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"late\":1}}\n\n");
    let answers = vec![begins.into_bytes(), stream("id: 7\nretry: 500\ndata:\n\n"), late.clone(), late];
    let (proxy, _seen) = server(choice, answers);
    let mut client = proxy.client();
    let mut ask = |request: &[u8]| {
        client.write_all(request).unwrap();
        response(&mut client).unwrap()
    };
    ask(&post(INITIALIZE, ""));
    assert!(ask(&post(CALL, "Mcp-Session-Id: s-9\r\n")).contains("id: 7\nretry: 500\n"));
    let get = b"GET /mcp HTTP/1.1\r\nHost: origin.test\r\nMcp-Session-Id: s-9\r\nLast-Event-ID: 7\r\n\r\n";
    assert!(ask(get).contains("\"late\""), "it was asked in this session and not answered");
    assert!(!ask(get).contains("\"late\""), "once");
}

fn post(text: &str, fields: &str) -> Vec<u8> {
    format!(
        "POST /mcp HTTP/1.1\r\nHost: origin.test\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n{fields}Content-Length: {}\r\n\r\n{text}",
        text.len()
    )
    .into_bytes()
}

fn json(text: &str) -> Vec<u8> {
    let length = text.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{text}").into_bytes()
}

fn stream(events: &str) -> Vec<u8> {
    let length = events.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {length}\r\n\r\n{events}")
        .into_bytes()
}

/// A server that gives these answers, in turn, on one connection; and what it was asked.
fn server(choice: Choice, answers: Vec<Vec<u8>>) -> (Proxy, Receiver<Vec<String>>) {
    server_under(choice, answers, RULES)
}

fn server_under(choice: Choice, answers: Vec<Vec<u8>>, rules: &str) -> (Proxy, Receiver<Vec<String>>) {
    let (address, seen) = origin(move |mut stream: TcpStream| {
        let mut asked = Vec::new();
        for answer in &answers {
            let Some(request) = request(&mut stream) else { break };
            asked.push(request);
            stream.write_all(answer).unwrap();
        }
        asked
    });
    (Proxy::start(choice, address, 80, rules), seen)
}
