//! The naive oracle of the framing rules stands with the heads' properties: [`crate::parse::head::properties`].

use super::*;
use crate::parse::head;
use crate::parse::head::properties::{request_properties, response_properties};

fn of_request(version: &str, lines: &str) -> Result<Framing, FramingError> {
    let text = format!("POST /x HTTP/{version}\r\nHost: a.example\r\n{lines}\r\n");
    request_properties(text.as_bytes());
    request(&head::request(text.as_bytes()).expect("the head is sound"))
}

fn of_response(line: &str, lines: &str) -> Result<ResponseFraming, FramingError> {
    let text = format!("{line}\r\n{lines}\r\n");
    response_properties(text.as_bytes());
    response(&head::response(text.as_bytes()).expect("the head is sound"), "GET")
}

#[test]
fn frames_an_ordinary_request() {
    assert_eq!(of_request("1.1", ""), Ok(Framing::None));
    assert_eq!(of_request("1.1", "Content-Length: 0\r\n"), Ok(Framing::Length(0)));
    assert_eq!(of_request("1.0", "Content-Length: 42\r\n"), Ok(Framing::Length(42)));
    assert_eq!(of_request("1.1", "Transfer-Encoding: chunked\r\n"), Ok(Framing::Chunked));
    assert_eq!(of_request("1.1", "tRANSFER-eNCODING: \tChunKED \r\n"), Ok(Framing::Chunked));
}

#[test]
fn rejects_length_beside_encoding_in_either_order() {
    let (length, encoding) = ("Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n");
    for lines in [[length, encoding], [encoding, length]] {
        assert_eq!(of_request("1.1", &lines.concat()), Err(FramingError::LengthAndEncoding));
        assert_eq!(of_response("HTTP/1.1 200 OK", &lines.concat()), Err(FramingError::LengthAndEncoding));
    }
    assert_eq!(
        of_request("1.1", "Content-Length: x\r\nTransfer-Encoding: y\r\n"),
        Err(FramingError::LengthAndEncoding)
    );
}

#[test]
fn rejects_every_encoding_but_chunked() {
    let odd = [
        "chunked, chunked",
        "identity, chunked",
        "gzip, chunked",
        "chunked, gzip",
        ",chunked",
        "chunked,",
        "chunked;q=1",
        "\"chunked\"",
        "xchunked",
        "chunk",
        "",
        "identity",
        "chunked identity",
        "chunked\tx",
        "ch unked",
        "chunked-",
        "nothing",
        "'chunked'",
        "chunKed,identity",
        "cow",
        "chunked;",
        "\u{1e9e}",
    ];
    for value in odd.iter().filter(|value| value.is_ascii()) {
        let lines = format!("Transfer-Encoding: {value}\r\n");
        assert_eq!(of_request("1.1", &lines), Err(FramingError::Encoding), "{value}");
        assert!(of_response("HTTP/1.1 200 OK", &lines).is_err(), "{value}");
    }
    for value in ["gzip", "x-gzip", "Deflate", "compress", "x-compress"] {
        let fault = of_request("1.1", &format!("Transfer-Encoding: {value}\r\n")).unwrap_err();
        assert_eq!((fault, fault.status()), (FramingError::EncodingUnknown, 501));
    }
    assert_eq!(of_response("HTTP/1.1 200 OK", "Transfer-Encoding: \u{85}chunked\r\n"), Err(FramingError::Encoding));
}

#[test]
fn rejects_encoding_in_http_1_0() {
    assert_eq!(of_request("1.0", "Transfer-Encoding: chunked\r\n"), Err(FramingError::EncodingInHttp10));
    assert_eq!(of_response("HTTP/1.0 200 OK", "Transfer-Encoding: chunked\r\n"), Err(FramingError::EncodingInHttp10));
}

#[test]
fn rejects_every_length_but_plain_decimals_below_2_to_the_63() {
    for value in [
        "",
        "5, 5",
        "5,6",
        "5,",
        "+5",
        "-5",
        "-0",
        "0x5",
        "5 5",
        "5e0",
        "5.0",
        "1_0",
        "005",
        "00",
        "5;",
        "\"5\"",
        "five",
        "5\t5",
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "99999999999999999999",
        "340282366920938463463374607431768211456",
    ] {
        let lines = format!("Content-Length: {value}\r\n");
        assert_eq!(of_request("1.1", &lines), Err(FramingError::Length), "{value}");
        assert_eq!(of_response("HTTP/1.1 200 OK", &lines), Err(FramingError::Length), "{value}");
    }
    assert_eq!(of_request("1.1", "Content-Length: 9223372036854775807\r\n"), Ok(Framing::Length(i64::MAX as u64)));
    // Blanks around a value are no part of it (RFC 9110 §5.5).
    assert_eq!(of_request("1.1", "Content-Length:\t5 \r\n"), Ok(Framing::Length(5)));
}

#[test]
fn names_upgrades_and_expectations_that_are_not_met() {
    let fault = of_request("1.1", "Upgrade: websocket\r\nConnection: Upgrade\r\n").unwrap_err();
    assert_eq!((fault.code(), fault.status()), ("upgrade_unsupported", 501));
    assert_eq!(
        of_request("1.1", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"),
        Err(FramingError::Upgrade)
    );
    for value in ["x 100-continue", "100-continue, x", "200-ok", ""] {
        let fault = of_request("1.1", &format!("Expect: {value}\r\n")).unwrap_err();
        assert_eq!((fault, fault.status()), (FramingError::Expectation, 417));
    }
    assert_eq!(of_request("1.1", "Expect: 100-Continue\r\n"), Ok(Framing::None));
}

#[test]
fn refuses_trace() {
    let fault = request(&head::request(b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n").expect("sound")).unwrap_err();
    assert_eq!((fault.code(), fault.status()), ("method_unsupported", 501));
}

#[test]
fn counts_the_proxies_that_options_may_still_pass() {
    let with = |lines: &str| {
        let text = format!("OPTIONS * HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        hops(&head::request(text.as_bytes()).expect("sound"))
    };
    assert_eq!(with(""), Ok(None));
    assert_eq!(with("Max-Forwards: 1\r\n"), Ok(Some(1)));
    assert_eq!(
        with("max-forwards: 0\r\n").map_err(|fault| (fault.code(), fault.status())),
        Err(("method_unsupported", 501))
    );
    for value in ["", "-1", "+1", "01", "1 2", "x", "9223372036854775808"] {
        assert_eq!(with(&format!("Max-Forwards: {value}\r\n")), Err(FramingError::Hops), "{value}");
    }
    assert_eq!(with("Max-Forwards: 1\r\nMax-Forwards: 1\r\n"), Err(FramingError::Hops));
    let get = head::request(b"GET / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n").expect("sound");
    assert_eq!(hops(&get), Ok(None), "only OPTIONS and TRACE have it");
}

#[test]
fn waits_for_continue_in_http_1_1_only() {
    let expecting = |version: &str, lines: &str| {
        let text = format!("PUT / HTTP/{version}\r\nHost: a\r\n{lines}\r\n");
        expects_continue(&head::request(text.as_bytes()).expect("the head is sound"))
    };
    assert!(expecting("1.1", "Expect: 100-continue\r\n"));
    assert!(!expecting("1.0", "Expect: 100-continue\r\n"));
    assert!(!expecting("1.1", ""));
}

#[test]
fn frames_an_ordinary_response() {
    assert_eq!(of_response("HTTP/1.1 200 OK", "Content-Length: 7\r\n"), Ok(ResponseFraming::Length(7)));
    assert_eq!(of_response("HTTP/1.1 200 OK", "Transfer-Encoding: chunked\r\n"), Ok(ResponseFraming::Chunked));
    assert_eq!(of_response("HTTP/1.1 200 OK", ""), Ok(ResponseFraming::UntilClose));
    assert_eq!(of_response("HTTP/1.0 200 OK", ""), Ok(ResponseFraming::UntilClose));
    assert_eq!(of_response("HTTP/1.1 304 x", "Content-Length: 7\r\n"), Ok(ResponseFraming::None));
    assert_eq!(of_response("HTTP/1.1 204 x", "Content-Length: 0\r\n"), Ok(ResponseFraming::None));
    assert_eq!(of_response("HTTP/1.1 103 x", "Link: y\r\n"), Ok(ResponseFraming::None));
}

#[test]
fn gives_no_body_to_an_answer_to_head() {
    for lines in ["", "Content-Length: 7\r\n", "Transfer-Encoding: chunked\r\n"] {
        let text = format!("HTTP/1.1 200 OK\r\n{lines}\r\n");
        let head = head::response(text.as_bytes()).expect("the head is sound");
        assert_eq!(response(&head, "HEAD"), Ok(ResponseFraming::None));
    }
    let head = head::response(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n").expect("the head is sound");
    assert_eq!(declared_length(&head), Ok(Some(7)));
}

#[test]
fn rejects_bodies_where_there_can_be_none() {
    for status in ["100", "103", "199", "204"] {
        for lines in ["Content-Length: 7\r\n", "Transfer-Encoding: chunked\r\n"] {
            assert_eq!(of_response(&format!("HTTP/1.1 {status} x"), lines), Err(FramingError::BodyWithoutPlace));
        }
    }
    assert_eq!(of_response("HTTP/1.1 101 Switching", "Upgrade: x\r\n"), Err(FramingError::Switching));
}

#[test]
fn keeps_a_connection_only_in_http_1_1_without_close() {
    let kept = |version: &str, lines: &str| {
        let text = format!("GET / HTTP/{version}\r\nHost: a\r\n{lines}\r\n");
        let head = head::request(text.as_bytes()).expect("the head is sound");
        persistent(head.version, &head.headers)
    };
    assert!(kept("1.1", "") && kept("1.1", "Connection: keep-alive\r\n"));
    assert!(!kept("1.1", "Connection: te\r\nConnection: Close\r\n"));
    assert!(!kept("1.0", "") && !kept("1.0", "Connection: keep-alive\r\n"));
}
