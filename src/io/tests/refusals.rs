//! What is not allowed, not understood or not to be had is refused with the contract's answer, recorded, and never reaches an origin.

use std::io::{Read, Write};
use std::net::TcpListener;

use super::harness::{Proxy, Recorded, origin, request, response};
use super::on_both;
use crate::io::engine::Choice;

const RULES: &str = "  - allow: reading\n    host: [origin.test, closed.test, nowhere.test]\n    scheme: http\n    port: 80\n    method: [GET, HEAD, POST]\n    path: /v1/**\n  - deny: secrets\n    path: /v1/secret/**\n    reason: Secrets stay.\n    remedy: Ask a person.\n";

on_both! {
    denies_by_rule_with_reason_and_remedy
    denies_by_default_and_keeps_the_connection
    a_denied_body_is_never_read_as_a_request
    refuses_ambiguous_heads
    refuses_upgrades_and_other_protocols
    refuses_a_response_that_is_ambiguous
    says_when_the_origin_is_unreachable
    says_when_the_origin_ends_too_early
    a_cut_response_is_not_delivered_as_a_whole_one
    a_client_that_breaks_its_chunks_gets_400
}

fn denies_by_rule_with_reason_and_remedy(choice: Choice) {
    let (proxy, listener) = unreached(choice);
    let answer = proxy.ask(b"GET /v1/secret/key HTTP/1.1\r\nHost: origin.test\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 403 Forbidden\r\n") && head.contains("application/problem+json"), "{head}");
    let id = head.lines().find_map(|line| line.strip_prefix("ringfence-decision: ")).unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["rule"], "secrets");
    assert_eq!(body["reason"], "Secrets stay.");
    assert_eq!(body["remedy"], "Ask a person.");
    assert_eq!(body["decision"], id);
    let records = proxy.stop();
    assert!(
        matches!(&records[..], [Recorded::Decision { verdict, rule, status: 403, .. }] if verdict == "deny" && rule == "secrets")
    );
    nobody_came(&listener);
}

fn denies_by_default_and_keeps_the_connection(choice: Choice) {
    let (proxy, listener) = unreached(choice);
    let mut client = proxy.client();
    for _ in 0..2 {
        client.write_all(b"GET /other HTTP/1.1\r\nHost: origin.test\r\n\r\n").unwrap();
        assert!(response(&mut client).unwrap().contains(r#""code":"default""#));
    }
    drop(client);
    assert_eq!(proxy.stop().len(), 2);
    nobody_came(&listener);
}

fn a_denied_body_is_never_read_as_a_request(choice: Choice) {
    let (address, seen) = origin(|mut stream| request(&mut stream));
    let proxy = Proxy::start(choice, address, 80, RULES);
    let mut client = proxy.client();
    let inner = "GET /v1/x HTTP/1.1\r\nHost: origin.test\r\n\r\n";
    write!(client, "POST /denied HTTP/1.1\r\nHost: origin.test\r\nContent-Length: 1000\r\n\r\n{inner}").unwrap();
    assert!(response(&mut client).unwrap().starts_with("HTTP/1.1 403 "));
    client.write_all(inner.as_bytes()).unwrap();
    drop(client);
    assert_eq!(proxy.stop().len(), 1);
    assert!(seen.try_recv().is_err());
}

fn refuses_ambiguous_heads(choice: Choice) {
    let (proxy, listener) = unreached(choice);
    let heads: [&[u8]; 10] = [
        b"POST /v1/x HTTP/1.1\r\nHost: origin.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /v1/x HTTP/1.1\nHost: origin.test\n\n",
        b"GET /v1/x HTTP/1.1\r\nHost: origin.test\r\nHost: origin.test\r\n\r\n",
        b"GET /v1/x HTTP/1.1\r\nHost: origin.test\r\nX: a\r\n b\r\n\r\n",
        b"GET /v1/x HTTP/1.1\r\n\r\n",
        b"POST /v1/x HTTP/1.1\r\nHost: origin.test\r\nContent-Length: +5\r\n\r\nhello",
        b"POST /v1/x HTTP/1.1\r\nHost: origin.test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"GET /v1/../x HTTP/1.1\r\nHost: origin.test\r\n\r\n",
        b"GET /v1/%00 HTTP/1.1\r\nHost: origin.test\r\n\r\n",
        b"GET /v1/x HTTP/1.1\r\nHost : origin.test\r\n\r\n",
    ];
    for head in heads {
        let mut client = proxy.client();
        client.write_all(head).unwrap();
        let mut answer = String::new();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        client.read_to_string(&mut answer).unwrap();
        let status = answer.get(9..12);
        assert!(matches!(status, Some("400" | "501")), "{:?} was answered {answer}", String::from_utf8_lossy(head));
        assert!(answer.contains(r#""code":""#) && answer.contains("connection: close"));
    }
    let records = proxy.stop();
    assert_eq!(records.len(), heads.len());
    assert!(records.iter().all(|record| !record.code().is_empty()));
    nobody_came(&listener);
}

fn refuses_upgrades_and_other_protocols(choice: Choice) {
    let (proxy, listener) = unreached(choice);
    let answer =
        proxy.ask(b"GET /v1/x HTTP/1.1\r\nHost: origin.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert!(answer.contains("connection: close"), "{answer}");
    assert!(proxy.ask(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").contains("connection: close"));
    assert_eq!(proxy.ask(b"SSH-2.0-OpenSSH_9.6\r\n"), "");
    assert_eq!(proxy.ask(b"\x00\x01\x02\x03"), "");
    let records = proxy.stop();
    assert_eq!(records.len(), 4);
    assert!(records.iter().all(|record| !record.code().is_empty()), "{records:?}");
    nobody_came(&listener);
}

fn refuses_a_response_that_is_ambiguous(choice: Choice) {
    let responses: [&[u8]; 18] = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: \0\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
    ];
    let mut next = responses.into_iter();
    let (address, _seen) = origin(move |mut stream| {
        request(&mut stream);
        stream.write_all(next.next().unwrap()).unwrap();
    });
    let proxy = Proxy::start(choice, address, 80, RULES);
    for sent in responses {
        let answer = proxy.ask(b"GET /v1/x HTTP/1.1\r\nHost: origin.test\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 502 "), "{:?} gave {answer}", String::from_utf8_lossy(sent));
    }
    let outcomes = proxy.stop().into_iter().filter(|record| matches!(record, Recorded::Outcome { status: 502, .. }));
    assert_eq!(outcomes.count(), responses.len());
}

fn says_when_the_origin_is_unreachable(choice: Choice) {
    let (proxy, _listener) = unreached(choice);
    let answer = proxy.ask(b"GET /v1/x HTTP/1.1\r\nHost: closed.test\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains(r#""code":"upstream_refused""#), "{answer}");
    let answer = proxy.ask(b"GET /v1/x HTTP/1.1\r\nHost: nowhere.test\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 50") && answer.contains(r#""code":"name_"#), "{answer}");
    let records = proxy.stop();
    assert_eq!(records.len(), 4, "a decision and an outcome each: {records:?}");
}

fn says_when_the_origin_ends_too_early(choice: Choice) {
    let (address, _seen) = origin(|mut stream| {
        request(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Le").unwrap();
    });
    let proxy = Proxy::start(choice, address, 80, RULES);
    let answer = proxy.ask(b"GET /v1/x HTTP/1.1\r\nHost: origin.test\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("upstream_closed"), "{answer}");
}

fn a_cut_response_is_not_delivered_as_a_whole_one(choice: Choice) {
    let (address, _seen) = origin(|mut stream| {
        request(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel").unwrap();
    });
    let proxy = Proxy::start(choice, address, 80, RULES);
    let mut client = proxy.client();
    client.write_all(b"GET /v1/x HTTP/1.1\r\nHost: origin.test\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer);
    assert!(!answer.ends_with(b"0\r\n\r\n"), "{}", String::from_utf8_lossy(&answer));
    drop(client);
    assert!(
        proxy.stop().iter().any(|record| matches!(record, Recorded::Outcome { code, .. } if code == "body_truncated"))
    );
}

fn a_client_that_breaks_its_chunks_gets_400(choice: Choice) {
    let (address, _seen) = origin(|mut stream| {
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
    });
    let proxy = Proxy::start(choice, address, 80, RULES);
    let answer = proxy
        .ask(b"POST /v1/x HTTP/1.1\r\nHost: origin.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nZZ\r\n");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

/// A proxy whose origin must not be reached, and the origin's listener to see that.
fn unreached(choice: Choice) -> (Proxy, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(choice, listener.local_addr().unwrap(), 80, RULES);
    (proxy, listener)
}

fn nobody_came(listener: &TcpListener) {
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "something was forwarded");
}
