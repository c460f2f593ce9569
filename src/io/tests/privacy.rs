//! What must not be on record: the log is kept for long and read by many.

use std::io::Write;

use super::harness::{Proxy, origin, request, response};
use super::on_both;
use crate::io::engine::Choice;

const RULES: &str = "  - allow: all\n    host: origin.test\n    scheme: http\n    port: 80\n  \
    - deny: by its header\n    header: { x-token: { prefix: secret-in-a-header } }\n    path: /denied/header\n  \
    - deny: by its query\n    query: { token: { prefix: secret-in-a-query } }\n    path: /denied/query\n  \
    - deny: by its body\n    body: { /token: { prefix: secret-in-a-body } }\n    path: /denied/body\n";

on_both! {
    puts_no_query_value_header_value_or_body_on_record
}

/// Of exchanges that were allowed and of requests that were denied for exactly these values.
fn puts_no_query_value_header_value_or_body_on_record(choice: Choice) {
    let (address, seen) = origin(|mut stream| {
        let asked = request(&mut stream);
        let answer =
            b"HTTP/1.1 200 OK\r\nSet-Cookie: a=secret-in-an-answer\r\nContent-Length: 18\r\n\r\nsecret-in-a-return";
        stream.write_all(answer).unwrap();
        asked
    });
    let proxy = Proxy::start(choice, address, 80, RULES);
    let mut statuses = Vec::new();
    for path in ["/allowed", "/denied/header", "/denied/query", "/denied/body"] {
        let body = r#"{"token": "secret-in-a-body"}"#;
        let mut client = proxy.client();
        write!(
            client,
            "POST {path}?token=secret-in-a-query HTTP/1.1\r\nHost: origin.test\r\nX-Token: secret-in-a-header\r\n\
             Authorization: Basic c2VjcmV0LWluLWE6aGVhZGVy\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        statuses.push(response(&mut client).unwrap()[9..12].to_owned());
    }
    assert_eq!(statuses, ["200", "403", "403", "403"]);
    assert!(seen.recv().unwrap().unwrap().contains("secret-in-a-query"), "the origin has got it all");
    let log = proxy.stop_and_read_log();
    let holds = |text: &str| log.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("/allowed") && holds("/denied/body") && holds("by its body"), "the log holds the rest");
    for value in ["secret-in-", "c2VjcmV0", "token"] {
        assert!(!holds(value), "{value} is on record");
    }
}
