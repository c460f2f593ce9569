use proptest::prelude::*;

use super::properties::{request_properties, response_properties};
use super::*;

fn asked(text: &str) -> Result<RequestHead<'_>, HeadError> {
    request_properties(text.as_bytes());
    request(text.as_bytes())
}

fn with_field(line: &str) -> Result<(), HeadError> {
    let text = format!("GET / HTTP/1.1\r\nHost: a.example\r\n{line}\r\n\r\n");
    request_properties(text.as_bytes());
    request(text.as_bytes()).map(|_| ())
}

fn with_line(line: &str) -> Result<(), HeadError> {
    let text = format!("{line}\r\nHost: a.example\r\n\r\n");
    request_properties(text.as_bytes());
    request(text.as_bytes()).map(|_| ())
}

#[test]
fn reads_an_ordinary_request() {
    let head = asked("POST /v1/x?y=1 HTTP/1.1\r\nHost: a.example\r\nX-Empty:\r\nX-Blank: \t a b \t\r\n\r\n").unwrap();
    assert_eq!((head.method, head.target, head.version), ("POST", "/v1/x?y=1", Version::Http11));
    let fields: Vec<_> = head.headers.iter().collect();
    assert_eq!(fields, [("Host", b"a.example".as_slice()), ("X-Empty", b""), ("X-Blank", b"a b")]);
    assert_eq!(head.headers.host(), Some(b"a.example".as_slice()));
}

#[test]
fn reads_a_request_without_any_field_in_http_1_0() {
    assert_eq!(asked("GET / HTTP/1.0\r\n\r\n").unwrap().headers.iter().count(), 0);
}

#[test]
fn reads_an_ordinary_response() {
    let text = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nX_Odd: 1\r\n\r\n";
    response_properties(text);
    let head = response(text).unwrap();
    assert_eq!((head.status, head.reason, head.version), (404, b"Not Found".as_slice(), Version::Http11));
    assert_eq!(head.headers.content_length(), Some(b"0".as_slice()));
}

#[test]
fn rejects_bare_line_feeds_everywhere() {
    for text in [
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: b\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n\r\n",
        "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        assert_eq!(Scan::default().find(text.as_bytes()), Err(HeadError::BareLineFeed), "{text:?}");
        assert_eq!(asked(text).unwrap_err(), HeadError::BareLineFeed, "{text:?}");
    }
}

#[test]
fn rejects_bare_carriage_returns_everywhere() {
    for text in [
        "GET / HTTP/1.1\rHost: a\r\r",
        "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHo\rst: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost\r: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\rX",
        "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        assert_eq!(asked(text).unwrap_err(), HeadError::BareCarriageReturn, "{text:?}");
    }
}

#[test]
fn ignores_one_empty_line_in_front_and_rejects_two() {
    assert!(asked("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").is_ok());
    for count in [2, 3, 10_000] {
        let text = "\r\n".repeat(count) + "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(asked(&text).unwrap_err(), HeadError::EmptyLines);
    }
    assert_eq!(response(b"\r\nHTTP/1.1 200 OK\r\n\r\n").unwrap_err(), HeadError::EmptyLines);
}

#[test]
fn rejects_odd_request_lines() {
    for line in [
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET /\tHTTP/1.1",
        "GET\x0b/ HTTP/1.1",
        "GET /\x0cHTTP/1.1",
        " GET / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET / HTTP/1.1 x",
        "GET HTTP/1.1",
        "GET  HTTP/1.1",
        "GET /",
        "GET / ",
        "GET",
        "GET / http/1.1",
        "GET / HTTP/1.01",
        "GET / HTTP/1",
        "GET / HTTP/11",
        "GET / ICE/1.0",
        "GET / HTTP /1.1",
        "G\"T / HTTP/1.1",
        "GET\0 / HTTP/1.1",
        "G@T / HTTP/1.1",
    ] {
        assert_eq!(with_line(line), Err(HeadError::RequestLine), "{line:?}");
    }
}

#[test]
fn names_versions_that_are_not_spoken() {
    assert_eq!(with_line("GET / HTTP/1.2"), Err(HeadError::Version));
    assert_eq!(with_line("GET / HTTP/0.9"), Err(HeadError::Version));
    assert_eq!(with_line("GET / HTTP/3.0"), Err(HeadError::Version));
    assert_eq!(with_line("GET / HTTP/2.0"), Err(HeadError::Http2));
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let Ok(Progress::Done(length)) = Scan::default().find(preface) else { panic!("the preface begins like a request") };
    let fault = request(&preface[..length]).unwrap_err();
    assert_eq!((fault, fault.code(), fault.status()), (HeadError::Http2, "http2_unsupported", 505));
    assert_eq!(request(b"GET /\r\n\r\n").unwrap_err(), HeadError::RequestLine);
}

#[test]
fn rejects_controls_and_obs_text_in_every_position() {
    for byte in (0..0x20).chain([0x7f]).filter(|byte| !b"\r\n\t".contains(byte)) {
        let odd = char::from(byte);
        assert!(with_line(&format!("G{odd}T / HTTP/1.1")).is_err(), "{byte:#x}");
        assert!(with_line(&format!("GET /{odd} HTTP/1.1")).is_err(), "{byte:#x}");
        assert_eq!(with_field(&format!("X{odd}Y: a")), Err(HeadError::FieldName), "{byte:#x}");
        assert_eq!(with_field(&format!("X: a{odd}.evil")), Err(HeadError::FieldValue), "{byte:#x}");
        assert_eq!(with_field(&format!("X: {odd}")), Err(HeadError::FieldValue), "{byte:#x}");
    }
    assert_eq!(with_line("GET /é HTTP/1.1"), Err(HeadError::TargetCharacter));
    assert_eq!(with_line("GET /#x HTTP/1.1"), Err(HeadError::TargetCharacter));
    assert_eq!(with_line("GET /a\\b HTTP/1.1"), Err(HeadError::TargetCharacter));
}

#[test]
fn rejects_octets_above_127_only_where_they_decide() {
    for name in
        ["Transfer-Encoding", "Content-Length", "Connection", "Upgrade", "Expect", "Content-Type", "Content-Encoding"]
    {
        for value in [&b"\x85chunked"[..], b"\xa0chunked", b"\xff", b"5\xa0"] {
            let mut text = format!("GET / HTTP/1.1\r\nHost: a\r\n{name}: ").into_bytes();
            text.extend_from_slice(value);
            text.extend_from_slice(b"\r\n\r\n");
            request_properties(&text);
            assert!(matches!(request(&text), Err(HeadError::ObsText(_))), "{name}");
        }
    }
    let text = b"GET / HTTP/1.1\r\nHost: a\r\nX: \x85 caf\xe9\xa0\r\n\r\n";
    let head = request(text).unwrap();
    assert_eq!(head.headers.one("x"), Ok(Some(b"\x85 caf\xe9\xa0".as_slice())));
}

#[test]
fn rejects_folded_lines() {
    for fold in ["\r\n ", "\r\n\t"] {
        for name in ["Transfer-Encoding", "Content-Length", "X"] {
            assert_eq!(with_field(&format!("{name}: a{fold}b")), Err(HeadError::Fold));
            assert_eq!(with_field(&format!("{name}:{fold}b")), Err(HeadError::Fold));
        }
        let first = format!("GET / HTTP/1.1{fold}Host: a\r\n\r\n");
        assert_eq!(asked(&first).unwrap_err(), HeadError::Fold);
        let response_text = format!("HTTP/1.1 200 OK\r\nX: a{fold}b\r\n\r\n");
        response_properties(response_text.as_bytes());
        assert_eq!(response(response_text.as_bytes()).unwrap_err(), HeadError::Fold);
    }
}

#[test]
fn rejects_odd_field_names() {
    for line in ["X : a", "X\t: a", ": a", "X", "X Y: a", "X(: a", "\u{e9}: a", "[x]: a"] {
        assert_eq!(with_field(line), Err(HeadError::FieldName), "{line:?}");
    }
    assert_eq!(with_field("Content_Length: 5"), Err(HeadError::Underscore));
    assert_eq!(with_field("Mcp_Name: x"), Err(HeadError::Underscore));
}

#[test]
fn rejects_two_of_what_may_stand_once() {
    for name in [
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "Content-Type",
        "Content-Encoding",
        "Authorization",
        "Origin",
        "Expect",
        "MCP-Protocol-Version",
        "Mcp-Method",
        "Mcp-Name",
        "Mcp-Session-Id",
        "Last-Event-ID",
        "Sec-WebSocket-Accept",
        "Sec-WebSocket-Extensions",
        "Sec-WebSocket-Key",
        "Sec-WebSocket-Protocol",
        "Sec-WebSocket-Version",
    ] {
        let second = name.to_ascii_uppercase();
        let lines = format!("{name}: 5\r\nX: y\r\n{second}: 5");
        assert!(matches!(with_field(&lines), Err(HeadError::Duplicate(_))), "{name}");
    }
    assert!(with_field("Accept: a\r\nAccept: b\r\nCookie: a\r\nCookie: b").is_ok());
    for name in ["Content-Length", "Transfer-Encoding"] {
        let text = format!("HTTP/1.1 200 OK\r\n{name}: 5\r\n{name}: 5\r\n\r\n");
        response_properties(text.as_bytes());
        assert!(matches!(response(text.as_bytes()), Err(HeadError::Duplicate(_))));
    }
    assert!(response(b"HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n").is_ok());
}

#[test]
fn rejects_a_request_without_host() {
    assert_eq!(asked("GET / HTTP/1.1\r\nX: y\r\n\r\n").unwrap_err(), HeadError::HostMissing);
}

#[test]
fn bounds_method_target_fields_and_head() {
    assert_eq!(with_line(&format!("{} / HTTP/1.1", "A".repeat(METHOD_BYTES_MAX))), Ok(()));
    assert_eq!(with_line(&format!("{} / HTTP/1.1", "A".repeat(METHOD_BYTES_MAX + 1))), Err(HeadError::MethodTooLong));
    assert_eq!(with_line(&format!("GET /{} HTTP/1.1", "a".repeat(TARGET_BYTES_MAX - 1))), Ok(()));
    assert_eq!(with_line(&format!("GET /{} HTTP/1.1", "a".repeat(TARGET_BYTES_MAX))), Err(HeadError::TargetTooLong));
    let fields = |count: usize| vec!["X: y"; count].join("\r\n");
    assert_eq!(with_field(&fields(HEADERS_MAX - 1)), Ok(()));
    assert_eq!(with_field(&fields(HEADERS_MAX)), Err(HeadError::TooManyFields));
    let around = "GET / HTTP/1.1\r\nHost: a.example\r\nX: \r\n\r\n".len();
    assert_eq!(with_field(&format!("X: {}", "y".repeat(HEAD_BYTES_MAX - around))), Ok(()));
    assert_eq!(with_field(&format!("X: {}", "y".repeat(HEAD_BYTES_MAX - around + 1))), Err(HeadError::TooLarge));
}

#[test]
fn rejects_odd_status_lines() {
    for line in [
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 099 OK",
        "HTTP/1.1  200 OK",
        "HTTP/1.1\t200 OK",
        "HTTP/1.1 200\tOK",
        "HTTP/1.1 2x0 OK",
        "HTTP/2.0 200 OK",
        "HTTP/1.2 200 OK",
        "http/1.1 200 OK",
        "ICY 200 OK",
        "HTTP/1.1200 OK",
        "HTTP/1.1 200 O\0K",
        "<html>",
        "",
    ] {
        let text = format!("{line}\r\nX: y\r\n\r\n");
        response_properties(text.as_bytes());
        assert!(response(text.as_bytes()).is_err(), "{line:?}");
    }
    for line in ["HTTP/1.1 200", "HTTP/1.1 200 ", "HTTP/1.0 599 a b", "HTTP/1.1 200 caf\u{e9}"] {
        let text = format!("{line}\r\n\r\n");
        response_properties(text.as_bytes());
        assert!(response(text.as_bytes()).is_ok(), "{line:?}");
    }
}

#[test]
fn tells_other_protocols_from_requests_at_once() {
    for beginning in [
        &b"SSH-2.0-x\r\n"[..],
        b"\x16\x03\x01",
        b"\0",
        b"AMQP\0\0\x09\x01",
        b"G\x80T / HTTP/1.1\r\n",
        b"EHLO\r\n",
        b"EHLO here\r\n",
        b"GET /\r\n",
        b"GET /\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\n",
    ] {
        assert_eq!(opens_request(beginning), Progress::Done(false), "{beginning:?}");
    }
    for beginning in
        [&b""[..], b"\r", b"\r\n", b"\r\n\r", b"G", b"GET ", b"\r\nGET", b"GET /\r", &[b'A'; FIRST_LINE_BYTES_MAX]]
    {
        assert_eq!(opens_request(beginning), Progress::More, "{beginning:?}");
    }
    for beginning in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"\r\nPOST / HTTP/1.0\r\n",
        b"PRI * HTTP/2.0\r\n",
        // What follows is an error of the head, and answered as one.
        b" GET",
        b"\n",
        b"\r\n\r\n",
        b"GET /\rX",
        &[b'A'; FIRST_LINE_BYTES_MAX + 1],
    ] {
        assert_eq!(opens_request(beginning), Progress::Done(true), "{beginning:?}");
    }
}

#[test]
fn tells_the_protocol_alike_however_its_first_bytes_are_cut() {
    for bytes in [
        &b"SSH-2.0-x\r\n"[..],
        b"GET / HTTP/1.1\r\n",
        b"GET /\r\n\r\n",
        b"\r\n\r\nGET",
        b"G\0T / HTTP/1.1\r\n",
        b"GET /\ra HTTP/1.1\r\n",
    ] {
        let whole = opens_request(bytes);
        assert_ne!(whole, Progress::More);
        for end in 0..bytes.len() {
            let part = opens_request(&bytes[..end]);
            assert!(part == Progress::More || part == whole, "{bytes:?} cut at {end}");
        }
    }
}

#[test]
fn takes_only_exactly_one_head() {
    for text in
        ["", "\r\n", "GET / HTTP/1.1\r\n", "GET / HTTP/1.0\r\n\r\nx", "GET / HTTP/1.0\r\n\r\nGET / HTTP/1.0\r\n\r\n"]
    {
        assert_eq!(request(text.as_bytes()).unwrap_err(), HeadError::NotOneHead, "{text:?}");
    }
}

#[test]
fn scans_a_head_of_one_byte_at_a_time_in_linear_time() {
    // The scan never goes back: after each call, everything but a CR at the end has been searched.
    let text = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(HEAD_BYTES_MAX / 2)).into_bytes();
    let mut scan = Scan::default();
    for end in 0..text.len() {
        assert_eq!(scan.find(&text[..end]), Ok(Progress::More));
        assert!(scan.searched + 1 >= end);
    }
    assert_eq!(scan.find(&text), Ok(Progress::Done(text.len())));
}

/// Pieces from which most heads are nearly valid.
fn pieces(start_lines: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        8 => prop::sample::select(vec![
            "Host: a.example\r\n", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "transfer-encoding: gzip, chunked\r\n",
            "Connection: close\r\n", "Connection: keep-alive, x\r\n", "X: \t y \t\r\n", "Expect: 100-continue\r\n", "Upgrade: h2c\r\n",
            "Content-Length: 05\r\n", "X: y\n", "X: y\r", " fold\r\n", "X : y\r\n", "X_Y: z\r\n", ":\r\n", "\r\n", "TE: trailers\r\n",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..12),
    ];
    let start = prop::sample::select(start_lines).prop_map(|text| text.as_bytes().to_vec());
    (start, prop::collection::vec(line, 0..6), any::<bool>()).prop_map(|(start, lines, ended)| {
        let end: &[u8] = if ended { b"\r\n" } else { b"" };
        [start, lines.concat(), end.to_vec()].concat()
    })
}

proptest! {
    #[test]
    fn holds_for_every_request(bytes in pieces(&[
        "GET / HTTP/1.1\r\nHost: b\r\n", "POST /x HTTP/1.1\r\n", "GET / HTTP/1.0\r\n", "\r\nGET / HTTP/1.1\r\nHost: b\r\n", "GET  / HTTP/1.1\r\n", "",
    ])) {
        request_properties(&bytes);
    }

    #[test]
    fn holds_for_every_response(bytes in pieces(&[
        "HTTP/1.1 200 OK\r\n", "HTTP/1.0 200\r\n", "HTTP/1.1 204 \r\n", "HTTP/1.1 101 x\r\n", "HTTP/1.1 304 x\r\n", "HTTP/1.1 99 x\r\n",
    ])) {
        response_properties(&bytes);
    }

    #[test]
    fn holds_for_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        request_properties(&bytes);
        response_properties(&bytes);
    }
}
