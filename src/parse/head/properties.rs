//! What holds for every input of the head parser. Unit tests, property tests and the fuzz targets call the same functions.

#![allow(clippy::expect_used, reason = "a property that does not hold panics, as the fuzzer wants it")]

use super::*;
use crate::parse::framing::{self, Framing, ResponseFraming};

/// A head as the naive reading of the rules gives it.
struct Naive<'b> {
    start_line: Vec<&'b str>,
    fields: Vec<(&'b str, &'b [u8])>,
}

/// Everything that holds for any bytes taken as the beginning of a request.
pub fn request_properties(bytes: &[u8]) {
    let Some(head) = find_is_invariant(bytes) else { return };
    let naive = naive_request(head);
    let parsed = request(head);
    assert_eq!(parsed.is_ok(), naive.is_some(), "oracle and parser disagree: {parsed:?}");
    let (Ok(parsed), Some(naive)) = (parsed, naive) else { return };
    assert_eq!(vec![parsed.method, parsed.target], naive.start_line);
    assert!(parsed.headers.iter().eq(naive.fields.iter().copied()));
    assert_eq!(opens_request(bytes), Progress::Done(true));
    facts_equal_a_search(&parsed.headers);
    end_to_end_is_a_subset(&parsed.headers, &CONTRADICTING);
    assert_eq!(framing::request(&parsed).ok(), naive_framing(&naive, parsed.version, true));

    let version = if parsed.version == Version::Http10 { "HTTP/1.0" } else { "HTTP/1.1" };
    let written = write(&format!("{} {} {version}", parsed.method, parsed.target), &parsed.headers);
    let again = request(&written).expect("what was parsed and written parses");
    assert_eq!((again.method, again.target, again.version), (parsed.method, parsed.target, parsed.version));
    assert!(again.headers.iter().eq(parsed.headers.iter()));
    truncations_fail(&written, |bytes| request(bytes).is_err());
}

/// Everything that holds for any bytes taken as the beginning of a response.
pub fn response_properties(bytes: &[u8]) {
    let Some(head) = find_is_invariant(bytes) else { return };
    let naive = naive_response(head);
    let parsed = response(head);
    assert_eq!(parsed.is_ok(), naive.is_some(), "oracle and parser disagree: {parsed:?}");
    let (Ok(parsed), Some(naive)) = (parsed, naive) else { return };
    assert_eq!(parsed.status.to_string(), naive.start_line[0]);
    assert!(parsed.headers.iter().eq(naive.fields.iter().copied()));
    facts_equal_a_search(&parsed.headers);
    end_to_end_is_a_subset(&parsed.headers, &["alt-svc"]);
    response_framing(&parsed, &naive);

    let version = if parsed.version == Version::Http10 { "HTTP/1.0" } else { "HTTP/1.1" };
    let written = write(&format!("{version} {} ", parsed.status), &parsed.headers);
    let again = response(&written).expect("what was parsed and written parses");
    assert_eq!((again.status, again.version), (parsed.status, parsed.version));
    assert!(again.headers.iter().eq(parsed.headers.iter()));
    truncations_fail(&written, |bytes| response(bytes).is_err());
}

fn response_framing(parsed: &ResponseHead<'_>, naive: &Naive<'_>) {
    let declared = naive_framing(naive, parsed.version, false);
    let expected = match (parsed.status, declared) {
        (101, _) | (_, None) => None,
        (100..=199 | 204, Some(Framing::Chunked | Framing::Length(1..))) => None,
        (100..=199 | 204 | 304, Some(_)) => Some(ResponseFraming::None),
        (_, Some(Framing::None)) => Some(ResponseFraming::UntilClose),
        (_, Some(Framing::Length(length))) => Some(ResponseFraming::Length(length)),
        (_, Some(Framing::Chunked)) => Some(ResponseFraming::Chunked),
    };
    assert_eq!(framing::response(parsed, "GET").ok(), expected);
    assert_eq!(framing::response(parsed, "HEAD").ok(), expected.map(|_| ResponseFraming::None));
}

/// Cutting the input anywhere changes nothing in what is found. Returns the head, where there is one.
fn find_is_invariant(bytes: &[u8]) -> Option<&[u8]> {
    let whole = Scan::default().find(bytes);
    let mut scan = Scan::default();
    let bytewise = (0..=bytes.len()).map(|end| scan.find(&bytes[..end])).find(|found| *found != Ok(Progress::More));
    assert_eq!(bytewise.unwrap_or(Ok(Progress::More)), whole);
    let middle = bytes.len() / 2;
    let mut scan = Scan::default();
    let halves = match scan.find(&bytes[..middle]) {
        Ok(Progress::More) => scan.find(bytes),
        decided => decided,
    };
    assert_eq!(halves, whole);
    match whole {
        Ok(Progress::Done(length)) => Some(&bytes[..length]),
        _ => None,
    }
}

fn truncations_fail(whole: &[u8], fails: impl Fn(&[u8]) -> bool) {
    // Every one for a short head; a long one is sampled, so that the fuzzer's time goes into new inputs.
    let step = whole.len() / 64 + 1;
    for end in (0..whole.len()).step_by(step) {
        assert!(fails(&whole[..end]), "{end} bytes of {} are taken for a head", whole.len());
        assert_eq!(Scan::default().find(&whole[..end]), Ok(Progress::More));
    }
}

fn write(start_line: &str, headers: &Headers<'_>) -> Vec<u8> {
    let mut bytes = format!("{start_line}\r\n").into_bytes();
    for (name, value) in headers.iter() {
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

fn facts_equal_a_search(headers: &Headers<'_>) {
    let first = |name: &str| headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    assert_eq!(headers.host(), first("host"));
    assert_eq!(headers.content_length(), first("content-length"));
    assert_eq!(headers.transfer_encoding(), first("transfer-encoding"));
    assert_eq!(headers.content_type(), first("content-type"));
    assert_eq!(headers.expect(), first("expect"));
    assert_eq!(headers.upgrade(), first("upgrade"));
    assert_eq!(headers.has_via(), first("via").is_some());
    assert_eq!(headers.one("host").is_ok(), headers.iter().filter(|(name, _)| lower(name) == "host").count() <= 1);
}

fn end_to_end_is_a_subset(headers: &Headers<'_>, also_left_out: &[&str]) {
    let nominated: Vec<String> = list(headers, "connection");
    let left_out = |name: &str| {
        let left_out = HOP_BY_HOP.contains(&name) || name == "content-length" || also_left_out.contains(&name);
        let forwarded = name.starts_with("x-forwarded-") && also_left_out.contains(&"forwarded");
        left_out || forwarded || name.starts_with("proxy-") || {
            nominated.iter().any(|option| option == name && !matches!(name, "close" | "keep-alive"))
        }
    };
    let expected =
        headers.iter().filter(|(name, _)| !left_out(&lower(name))).map(|(name, value)| (name.as_bytes(), value));
    assert!(headers.end_to_end().eq(expected));
    for (name, _) in headers.end_to_end() {
        assert!(!headers.is_hop_by_hop(name));
    }
}

fn list(headers: &Headers<'_>, name: &str) -> Vec<String> {
    let values = headers.iter().filter(|(other, _)| lower(other) == name).map(|(_, value)| value);
    let text = values.map(|value| String::from_utf8_lossy(value).into_owned()).collect::<Vec<_>>().join(",");
    text.split(',').map(|item| lower(item.trim_matches([' ', '\t']))).filter(|item| !item.is_empty()).collect()
}

fn lower(text: &str) -> String {
    text.to_ascii_lowercase()
}

const HOP_BY_HOP: [&str; 10] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];
/// What a request must not tell an origin, and what the proxy writes anew.
const CONTRADICTING: [&str; 11] = [
    "host",
    "expect",
    "forwarded",
    "x-forwarded",
    "x-real-ip",
    "x-original-url",
    "x-original-host",
    "x-rewrite-url",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
];
const FRAMING: [&str; 2] = ["content-length", "transfer-encoding"];
const SINGLE: [&str; 16] = [
    "host",
    "expect",
    "content-type",
    "content-encoding",
    "authorization",
    "origin",
    "mcp-protocol-version",
    "mcp-method",
    "mcp-name",
    "mcp-session-id",
    "last-event-id",
    "sec-websocket-accept",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "sec-websocket-version",
];
const ASCII: [&str; 8] = [
    "transfer-encoding",
    "content-length",
    "host",
    "connection",
    "upgrade",
    "expect",
    "content-type",
    "content-encoding",
];

/// The rules for a request, one after the other, on strings.
fn naive_request(head: &[u8]) -> Option<Naive<'_>> {
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    let (line, fields) = naive_lines(head)?;
    let parts: Vec<&str> = std::str::from_utf8(line).ok()?.split(' ').collect();
    let [method, target, version @ ("HTTP/1.0" | "HTTP/1.1")] = parts[..] else { return None };
    let sound = !method.is_empty()
        && method.len() <= METHOD_BYTES_MAX
        && method.bytes().all(naive_token)
        && method == method.to_ascii_uppercase()
        && !target.is_empty()
        && target.len() <= TARGET_BYTES_MAX
        && target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#' && byte != b'\\');
    let count = |wanted: &str| fields.iter().filter(|(name, _)| lower(name) == wanted).count();
    let fields_sound = fields.iter().all(|(name, value)| {
        !name.contains('_')
            && (value.is_ascii() || !ASCII.contains(&&*lower(name)))
            && (lower(name) != "connection" || naive_nominations(value))
    });
    let once = SINGLE.iter().chain(&FRAMING).all(|name| count(name) <= 1);
    let host = version == "HTTP/1.0" || count("host") == 1;
    (sound && fields_sound && once && host).then_some(Naive { start_line: vec![method, target], fields })
}

fn naive_nominations(value: &[u8]) -> bool {
    let text = String::from_utf8_lossy(value).to_ascii_lowercase();
    text.split(',').all(|item| {
        ["", "close", "keep-alive", "te", "upgrade", "http2-settings"].contains(&item.trim_matches([' ', '\t']))
    })
}

fn naive_response(head: &[u8]) -> Option<Naive<'_>> {
    let (line, fields) = naive_lines(head)?;
    let rest = line.strip_prefix(b"HTTP/1.1 ").or(line.strip_prefix(b"HTTP/1.0 "))?;
    let (code, reason) = rest.split_at_checked(3)?;
    let code = std::str::from_utf8(code).ok()?;
    let sound = code.bytes().all(|byte| byte.is_ascii_digit())
        && code >= "100"
        && (reason.is_empty() || reason[0] == b' ')
        && reason.iter().all(|&byte| naive_text(byte));
    let once = FRAMING.iter().all(|wanted| fields.iter().filter(|(name, _)| lower(name) == *wanted).count() <= 1);
    (sound && once).then_some(Naive { start_line: vec![code], fields })
}

/// The start line and the fields.
#[expect(clippy::type_complexity, reason = "one use, in a test oracle")]
fn naive_lines(head: &[u8]) -> Option<(&[u8], Vec<(&str, &[u8])>)> {
    let mut lines = Vec::new();
    let mut rest = head;
    while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    let empty = lines.pop()?;
    if !rest.is_empty() || !empty.is_empty() || lines.is_empty() || lines.len() > HEADERS_MAX + 1 {
        return None;
    }
    let mut fields = Vec::new();
    for line in &lines[1..] {
        let colon = line.iter().position(|&byte| byte == b':')?;
        let (name, value) = (std::str::from_utf8(&line[..colon]).ok()?, &line[colon + 1..]);
        if name.is_empty() || !name.bytes().all(naive_token) || !value.iter().all(|&byte| naive_text(byte)) {
            return None;
        }
        let start = value.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let end = value.iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        fields.push((name, if start == value.len() { &value[..0] } else { &value[start..value.len() - end] }));
    }
    Some((lines[0], fields))
}

fn naive_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn naive_text(byte: u8) -> bool {
    byte == b'\t' || byte >= b' ' && byte != 0x7f
}

fn naive_framing(naive: &Naive<'_>, version: Version, is_request: bool) -> Option<Framing> {
    let value = |wanted: &str| {
        let field = naive.fields.iter().find(|(name, _)| lower(name) == wanted);
        field.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
    };
    let other_expectation = value("expect").is_some_and(|value| lower(&value) != "100-continue");
    if is_request && (value("upgrade").is_some() || other_expectation || naive.start_line[0] == "TRACE") {
        return None;
    }
    match (value("transfer-encoding"), value("content-length")) {
        (None, None) => Some(Framing::None),
        (Some(coding), None) => (lower(&coding) == "chunked" && version == Version::Http11).then_some(Framing::Chunked),
        (None, Some(length)) => {
            let number: i64 = length.parse().ok()?;
            (number.to_string() == length && number >= 0).then_some(Framing::Length(number.unsigned_abs()))
        }
        (Some(_), Some(_)) => None,
    }
}
