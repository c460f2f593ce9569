//! MCP at endpoints that no policy declares: recognised, recorded, and held against denies about messages.

use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, channel};

use super::harness::{PATIENCE, Proxy, origin_of_many, request, response};
use super::on_both;
use crate::io::engine::Choice;

const HOST: &str = "  - allow: host\n    host: origin.test\n    scheme: http\n    port: 80\n";
const DENY: &str = "  - deny: deletions\n    mcp: { tool: \"delete_*\" }\n    reason: Deletion needs a person.\n";
const CALL: &str =
    r#"{ "jsonrpc":"2.0", "id":1, "method":"tools/call", "params":{"name":"delete_file","arguments":{}} }"#;

on_both! {
    a_message_is_recorded_as_one_and_passes_as_it_came
    a_deny_about_messages_holds_where_nobody_has_declared_the_server
    what_a_lenient_server_might_read_is_refused_where_a_deny_could_speak_of_it
    json_that_is_no_envelope_is_not_waited_for
    json_rpc_of_another_kind_passes
    a_deny_about_another_server_does_not_hold_anything_back
    every_message_of_a_batch_counts
}

fn a_message_is_recorded_as_one_and_passes_as_it_came(choice: Choice) {
    let (proxy, seen) = server(choice, HOST);
    let answer = proxy.ask(&post(CALL, "Accept-Encoding: gzip\r\n"));
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("pong"), "answers are nobody's business: {answer}");
    let asked = seen.recv_timeout(PATIENCE).unwrap();
    assert!(asked.ends_with(&format!("\r\n\r\n{CALL}")) && asked.contains("gzip"), "{asked}");
    let inspected = proxy.stop_for_inspected();
    assert!(inspected.iter().any(|words| words.split(' ').any(|word| word == "mcp")), "{inspected:?}");
}

fn a_deny_about_messages_holds_where_nobody_has_declared_the_server(choice: Choice) {
    let (proxy, seen) = server(choice, &format!("{HOST}{DENY}"));
    let mut client = proxy.client();
    for text in [
        CALL.to_owned(),
        format!("{{\"extra\":1,{}", &CALL[1..]),
        CALL.replace("delete_file", "d\\u0065lete_file"),
        CALL.replace("\"method\"", "\"m\\u0065thod\""),
    ] {
        client.write_all(&post(&text, "")).unwrap();
        let told = response(&mut client).unwrap();
        assert!(told.starts_with("HTTP/1.1 200") && told.contains("\"code\":-31403"), "{text}: {told}");
        assert!(told.contains("\"id\":1") && told.contains("Deletion needs a person."), "{told}");
    }
    let told = proxy.ask(&post(&CALL.replace("\"id\":1,", ""), ""));
    assert!(told.starts_with("HTTP/1.1 403"), "nobody waits: {told}");
    client.write_all(&post(&CALL.replace("delete", "read"), "")).unwrap();
    assert!(response(&mut client).unwrap().ends_with("pong"), "the connection lives on");
    assert!(seen.recv_timeout(PATIENCE).unwrap().contains("read_file"));
    drop(client);
    let denied = proxy.stop().iter().filter(|record| record.code().is_empty()).count();
    assert!(denied >= 5);
    assert!(seen.try_recv().is_err());
}

fn what_a_lenient_server_might_read_is_refused_where_a_deny_could_speak_of_it(choice: Choice) {
    let (proxy, seen) = server(choice, &format!("{HOST}{DENY}"));
    for text in [
        CALL.replace("\"name\":", "\"name\":\"read_file\",\"name\":"),
        CALL.replace("\"method\"", "\"Method\":\"x\",\"method\""),
        format!("\u{feff}{CALL}"),
        format!("{CALL}{CALL}"),
        CALL.replace("\"arguments\":{}", "\"arguments\":NaN"),
        CALL.replace("\"id\":1", "\"id\":1.5"),
        CALL.replace("\"jsonrpc\":\"2.0\", ", ""),
    ] {
        assert!(proxy.ask(&post(&text, "")).starts_with("HTTP/1.1 400"), "{text}");
    }
    assert!(seen.try_recv().is_err());
}

fn json_that_is_no_envelope_is_not_waited_for(choice: Choice) {
    for (rules, start) in [(HOST, "{\"model\":"), (HOST, "{\"id\":1,\"model\":"), (HOST, "[1,")] {
        let (arrived, waits) = channel();
        let address = origin_of_many(move |mut stream| {
            let mut octets = [0; 4096];
            let mut text = String::new();
            while !text.ends_with(start) {
                let n = stream.read(&mut octets).unwrap();
                assert!(n > 0, "{text}");
                text.push_str(str::from_utf8(&octets[..n]).unwrap());
            }
            arrived.send(()).unwrap();
        });
        let proxy = Proxy::start(choice, address, 80, rules);
        let mut client = proxy.client();
        let head =
            "POST /v1 HTTP/1.1\r\nHost: origin.test\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n";
        client.write_all(head.as_bytes()).unwrap();
        client.write_all(start.as_bytes()).unwrap();
        waits.recv_timeout(PATIENCE).unwrap();
    }
}

fn json_rpc_of_another_kind_passes(choice: Choice) {
    let (proxy, seen) = server(choice, &format!("{HOST}{DENY}"));
    for other in [
        r#"{"jsonrpc":"2.0","id":1,"method":"eth_call","params":["delete_file"]}"#,
        r#"[{"jsonrpc":"2.0","id":1,"method":"eth_call","params":["delete_file"]}]"#,
        r#"{"payment":{"method":"card"},"tools":["delete_file"]}"#,
        r#"{"method":"delete_file","params":1}"#,
        "not json",
    ] {
        assert!(proxy.ask(&post(other, "")).ends_with("pong"), "{other}");
        assert!(seen.recv_timeout(PATIENCE).unwrap().ends_with(other));
    }
    assert!(proxy.stop_for_inspected().iter().all(|words| !words.contains("mcp")));
}

fn a_deny_about_another_server_does_not_hold_anything_back(choice: Choice) {
    let deny = "  - deny: deletions\n    mcp: { server: other.test, tool: \"delete_*\" }\n  - deny: there\n    host: other.test\n    mcp: { tool: \"delete_*\" }\n";
    let (proxy, seen) = server(choice, &format!("{HOST}{deny}"));
    assert!(proxy.ask(&post(CALL, "")).ends_with("pong"));
    assert!(proxy.ask(&post(&format!("{{\"extra\":1,{}", &CALL[1..]), "")).ends_with("pong"));
    assert_eq!(seen.iter().take(2).count(), 2);
}

fn every_message_of_a_batch_counts(choice: Choice) {
    let (proxy, seen) = server(choice, &format!("{HOST}{DENY}"));
    let read = CALL.replace("delete", "read").replace("\"id\":1", "\"id\":2");
    let told = proxy.ask(&post(&format!("[{read},{CALL}]"), ""));
    assert!(told.starts_with("HTTP/1.1 200") && told.contains("\"id\":1") && told.contains("\"id\":2"), "{told}");
    assert!(
        proxy.ask(&post(&format!("[{read}]"), "")).ends_with("pong"),
        "it is for the server to take batches or not"
    );
    assert!(seen.recv_timeout(PATIENCE).unwrap().ends_with(&format!("[{read}]")));
}

fn post(text: &str, fields: &str) -> Vec<u8> {
    let length = text.len();
    format!("POST /rpc HTTP/1.1\r\nHost: origin.test\r\nContent-Type: application/json\r\n{fields}Content-Length: {length}\r\n\r\n{text}")
        .into_bytes()
}

/// A server that answers everything alike, and what it was asked.
fn server(choice: Choice, rules: &str) -> (Proxy, Receiver<String>) {
    let (noted, seen) = channel();
    let address = origin_of_many(move |mut stream| {
        while let Some(request) = request(&mut stream) {
            noted.send(request).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npong").unwrap();
        }
    });
    (Proxy::start(choice, address, 80, rules), seen)
}
