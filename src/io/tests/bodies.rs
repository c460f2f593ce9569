//! A body decides where a rule asks for it: held back, read strictly, and what goes on is what came.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::harness::{Proxy, Recorded, origin, request, response};
use super::on_both;
use crate::config::Bounds;
use crate::io::engine::Choice;
use crate::limits::JSON_BYTES_MAX;

const RULES: &str = "  - allow: small\n    host: origin.test\n    scheme: http\n    port: 80\n    path: /asks\n    body: { /n: { max: 5 }, /k: x }
  - allow: open\n    host: origin.test\n    scheme: http\n    port: 80\n    path: [/open, /watched, /plain]
  - deny: secret\n    path: /open\n    body: { /secret: { present: true } }
  - deny: watched\n    path: /watched\n    body: { /secret: { present: true } }\n    monitor: true\n";
const GOOD: &str = r#"{ "n": 5.0e0, "k":"\u0078", "more": [1, {"n": 9}] }"#;

on_both! {
    a_body_allows_by_its_values_and_travels_as_it_came
    a_body_is_refused_by_its_values
    the_answer_is_the_same_wherever_the_body_is_cut
    a_request_behind_a_held_body_has_its_turn
    what_cannot_be_read_satisfies_every_deny_and_no_allow
    a_body_beyond_the_bound_satisfies_every_deny_and_no_allow
    a_body_that_is_not_needed_is_not_waited_for
    an_absent_body_has_no_values
    an_expectation_is_answered_where_the_body_decides
    an_unreadable_body_passes_a_deny_that_only_watches
    a_body_that_never_comes_ends_the_exchange
    a_body_that_breaks_off_is_on_record
    the_record_says_that_the_body_was_looked_at
}

fn a_body_allows_by_its_values_and_travels_as_it_came(choice: Choice) {
    let (address, seen) = origin(answer_all);
    let proxy = Proxy::start(choice, address, 80, RULES);
    let mut client = proxy.client();
    client.write_all(&post("/asks", GOOD)).unwrap();
    assert!(response(&mut client).unwrap().starts_with("HTTP/1.1 200"));
    // An extension and a trailer are ours to drop; the data is not.
    let chunked = format!(
        "POST /asks HTTP/1.1\r\nHost: origin.test\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n7;a=b\r\n{}\r\n{:x}\r\n{}\r\n0\r\nX-T: v\r\n\r\n",
        &GOOD[..7],
        GOOD.len() - 7,
        &GOOD[7..]
    );
    client.write_all(chunked.as_bytes()).unwrap();
    assert!(response(&mut client).unwrap().starts_with("HTTP/1.1 200"));
    drop(client);
    let _ = proxy.stop();
    let asked = seen.recv().unwrap();
    assert!(asked[0].ends_with(&format!("Content-Length: {}\r\n\r\n{GOOD}", GOOD.len())), "{}", asked[0]);
    let (_, framed) = asked[1].split_once("\r\n\r\n").unwrap();
    assert_eq!(data(framed), GOOD);
    assert!(!framed.contains("a=b") && !framed.contains("X-T"), "{framed}");
}

fn a_body_is_refused_by_its_values(choice: Choice) {
    let (address, _seen) = origin(answer_all);
    let proxy = Proxy::start(choice, address, 80, RULES);
    let mut client = proxy.client();
    for (path, body, rule) in [
        ("/asks", r#"{"n": 6, "k": "x"}"#, ""),
        ("/asks", r#"{"n": 5}"#, ""),
        ("/open", r#"{"a": {}, "secret": null}"#, "secret"),
        // A name that some recipients fold to the one that is asked for.
        ("/open", r#"{"Secret": 1}"#, "secret"),
    ] {
        client.write_all(&post(path, body)).unwrap();
        let answer = response(&mut client).unwrap();
        assert!(answer.starts_with("HTTP/1.1 403"), "{body}: {answer}");
        assert_eq!(answer.contains(&format!("\"rule\":\"{rule}\"")), !rule.is_empty(), "{body}: {answer}");
    }
    // The connection lived through it.
    client.write_all(&post("/open", "{}")).unwrap();
    assert!(response(&mut client).unwrap().starts_with("HTTP/1.1 200"));
    drop(client);
    let records = proxy.stop();
    let denied = records.iter().filter(|record| matches!(record, Recorded::Decision { status: 403, .. })).count();
    assert_eq!((denied, records.len()), (4, 6));
}

fn the_answer_is_the_same_wherever_the_body_is_cut(choice: Choice) {
    let (address, seen) = origin(answer_all);
    let proxy = Proxy::start(choice, address, 80, RULES);
    let mut client = proxy.client();
    let good = post("/asks", GOOD);
    for cut in good.len() - GOOD.len() - 2..good.len() {
        client.write_all(&good[..cut]).unwrap();
        std::thread::yield_now();
        client.write_all(&good[cut..]).unwrap();
        assert!(response(&mut client).unwrap().starts_with("HTTP/1.1 200"), "cut at {cut}");
    }
    for (body, status) in [(GOOD, "200"), (r#"{"n": 55, "k": "x"}"#, "403")] {
        for octet in post("/asks", body) {
            client.write_all(&[octet]).unwrap();
        }
        assert!(response(&mut client).unwrap().starts_with(&format!("HTTP/1.1 {status}")));
    }
    drop(client);
    let _ = proxy.stop();
    let asked = seen.recv().unwrap();
    assert_eq!(asked.len(), GOOD.len() + 3);
    assert!(asked.iter().all(|asked| asked.ends_with(GOOD)));
}

fn a_request_behind_a_held_body_has_its_turn(choice: Choice) {
    let (address, _seen) = origin(answer_all);
    let proxy = Proxy::start(choice, address, 80, RULES);
    let mut client = proxy.client();
    let both = [post("/asks", GOOD), post("/asks", "{}"), post("/open", "{}")].concat();
    client.write_all(&both).unwrap();
    for status in ["200", "403", "200"] {
        assert!(response(&mut client).unwrap().starts_with(&format!("HTTP/1.1 {status}")));
    }
}

fn what_cannot_be_read_satisfies_every_deny_and_no_allow(choice: Choice) {
    let (address, _seen) = origin(answer_all);
    let proxy = Proxy::start(choice, address, 80, RULES);
    let json = "Content-Type: application/json\r\n";
    for (fields, body) in [
        (json, r#"{"n": 1, "k": "x", "n": 1}"#),
        (json, r#"{"n": 1, "k": "x"} {}"#),
        (json, r#"{"n": 1, "k": "x""#),
        (json, "\u{feff}{\"n\": 1, \"k\": \"x\"}"),
        (json, "n=1&k=x"),
        ("Content-Type: application/json\r\nContent-Encoding: gzip\r\n", GOOD),
        ("Content-Type: application/json; charset=utf-16\r\n", GOOD),
        ("Content-Type: text/plain\r\n", GOOD),
        ("", GOOD),
    ] {
        for path in ["/asks", "/open"] {
            let answer = proxy.ask(&with(path, fields, body));
            assert!(answer.starts_with("HTTP/1.1 403"), "{fields}{body}: {answer}");
            assert_eq!(answer.contains("\"rule\":\"secret\""), path == "/open", "{answer}");
        }
    }
}

fn a_body_beyond_the_bound_satisfies_every_deny_and_no_allow(choice: Choice) {
    let (address, _seen) = origin(answer_all);
    let proxy = Proxy::start(choice, address, 80, RULES);
    for path in ["/asks", "/open"] {
        // It says so, and is not waited for.
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: origin.test\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            JSON_BYTES_MAX + 1
        );
        assert!(proxy.ask(head.as_bytes()).starts_with("HTTP/1.1 403"));
        // It does not say so.
        let mut client = proxy.client();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: origin.test\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        client.write_all(head.as_bytes()).unwrap();
        let mut writer = client.try_clone().unwrap();
        std::thread::spawn(move || {
            let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
            let first = [b"a\r\n{\"k\": \"x\" \r\n".as_slice(), &chunk].concat();
            let _ = writer.write_all(&first);
            while writer.write_all(&chunk).is_ok() {}
        });
        assert!(response(&mut client).unwrap().starts_with("HTTP/1.1 403"), "{path}");
    }
}

fn a_body_that_is_not_needed_is_not_waited_for(choice: Choice) {
    let (address, seen) = origin(|mut stream| {
        let mut head = vec![0; 4096];
        let n = stream.read(&mut head).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        n
    });
    let proxy = Proxy::start(choice, address, 80, RULES);
    let mut client = proxy.client();
    client.write_all(b"POST /plain HTTP/1.1\r\nHost: origin.test\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{\"a\":").unwrap();
    assert!(seen.recv().unwrap() > 0, "the head went up before the body had come");
    assert!(response(&mut client).unwrap().starts_with("HTTP/1.1 200"));
}

fn an_absent_body_has_no_values(choice: Choice) {
    let (address, _seen) = origin(answer_all);
    let proxy = Proxy::start(choice, address, 80, RULES);
    let mut client = proxy.client();
    for head in [
        "Content-Length: 0\r\n\r\n",
        "\r\n",
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        client.write_all(format!("POST /open HTTP/1.1\r\nHost: origin.test\r\n{head}").as_bytes()).unwrap();
        assert!(response(&mut client).unwrap().starts_with("HTTP/1.1 200"), "{head}");
    }
}

fn an_expectation_is_answered_where_the_body_decides(choice: Choice) {
    let (address, seen) = origin(answer_all);
    let proxy = Proxy::start(choice, address, 80, RULES);
    let mut client = proxy.client();
    let request =
        String::from_utf8(with("/asks", "Content-Type: application/json\r\nExpect: 100-continue\r\n", GOOD)).unwrap();
    let (head, body) = request.split_at(request.len() - GOOD.len());
    client.write_all(head.as_bytes()).unwrap();
    assert_eq!(response(&mut client).unwrap(), "HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(body.as_bytes()).unwrap();
    assert!(response(&mut client).unwrap().starts_with("HTTP/1.1 200"), "and only once");
    drop(client);
    let _ = proxy.stop();
    assert_eq!(seen.recv().unwrap().len(), 1);
}

fn an_unreadable_body_passes_a_deny_that_only_watches(choice: Choice) {
    let (address, seen) = origin(answer_all);
    let proxy = Proxy::start(choice, address, 80, RULES);
    let mut client = proxy.client();
    // It shows to be unreadable long before its end, and the rest goes the ordinary way.
    let long = format!("{{]{}", "x".repeat(300_000));
    client.write_all(&post("/watched", &long)).unwrap();
    assert!(response(&mut client).unwrap().starts_with("HTTP/1.1 200"));
    drop(client);
    let records = proxy.stop();
    assert!(seen.recv().unwrap()[0].ends_with(&long));
    assert!(
        matches!(&records[0], Recorded::Decision { verdict, rule, status: 0, .. } if verdict == "deny" && rule == "watched")
    );
}

fn a_body_that_never_comes_ends_the_exchange(choice: Choice) {
    let (address, _seen) = origin(answer_all);
    let bounds = Bounds { held_body: Duration::from_millis(300), ..Bounds::default() };
    let proxy = Proxy::start_bounded(choice, address, RULES, bounds);
    let mut client = proxy.client();
    let request = post("/asks", GOOD);
    client.write_all(&request[..request.len() - 1]).unwrap();
    let answer = response(&mut client).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("\"code\":\"body_timeout\""), "{answer}");
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0, "and the connection ends");
    let records = proxy.stop();
    assert!(matches!(&records[..], [Recorded::Decision { status: 408, path, .. }] if path == "/asks"), "{records:?}");
}

fn a_body_that_breaks_off_is_on_record(choice: Choice) {
    let (address, _seen) = origin(answer_all);
    let proxy = Proxy::start(choice, address, 80, RULES);
    let mut client = proxy.client();
    let request = post("/asks", GOOD);
    client.write_all(&request[..request.len() - 1]).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(response(&mut client).unwrap().starts_with("HTTP/1.1 400"));
    let broken = "POST /asks HTTP/1.1\r\nHost: origin.test\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n1\n{\r\n";
    assert!(proxy.ask(broken.as_bytes()).starts_with("HTTP/1.1 400"));
    let records = proxy.stop();
    assert_eq!(records.iter().map(Recorded::code).collect::<Vec<_>>(), ["body_truncated", "malformed"]);
}

fn the_record_says_that_the_body_was_looked_at(choice: Choice) {
    let (address, _seen) = origin(answer_all);
    let proxy = Proxy::start(choice, address, 80, RULES);
    let mut client = proxy.client();
    for path in ["/asks", "/plain"] {
        client.write_all(&post(path, GOOD)).unwrap();
        response(&mut client).unwrap();
    }
    drop(client);
    assert_eq!(proxy.stop_for_inspected(), ["address head body", "address head"]);
}

fn post(path: &str, body: &str) -> Vec<u8> {
    with(path, "Content-Type: application/json\r\n", body)
}

fn with(path: &str, fields: &str, body: &str) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nHost: origin.test\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}

/// Answers every request on a connection; what came.
fn answer_all(mut stream: TcpStream) -> Vec<String> {
    let mut asked = Vec::new();
    while let Some(request) = request(&mut stream) {
        asked.push(request);
        if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_err() {
            break;
        }
    }
    asked
}

/// The data of a chunked body.
fn data(mut framed: &str) -> String {
    let mut data = String::new();
    while let Some((size, rest)) = framed.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        data.push_str(&rest[..size]);
        framed = rest[size..].strip_prefix("\r\n").unwrap_or_default();
    }
    data
}
