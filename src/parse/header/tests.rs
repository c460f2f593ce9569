//! The naive oracle of these rules stands with the heads' properties: [`crate::parse::head::properties`].

use super::*;
use crate::parse::head::properties::{request_properties, response_properties};
use crate::parse::head::{RequestHead, request, response};

fn asked(text: &str) -> Result<RequestHead<'_>, HeadError> {
    request_properties(text.as_bytes());
    request(text.as_bytes())
}

fn nominating(value: &str) -> Result<(), HeadError> {
    asked(&format!("GET / HTTP/1.1\r\nHost: a.example\r\nConnection: {value}\r\n\r\n")).map(|_| ())
}

#[test]
fn rejects_nominations_of_fields_that_travel() {
    for name in [
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "Authorization",
        "Cookie",
        "Mcp-Name",
        "X-Policy",
        "Content-Type",
        "Expect",
        "Accept",
        "Origin",
        "User-Agent",
        "Via",
        "X-Forwarded-For",
        "Mcp-Session-Id",
        "Last-Event-ID",
        "Content-Encoding",
        "Range",
        "Trailer",
        "Proxy-Authorization",
    ] {
        assert_eq!(nominating(&format!("keep-alive, {name}")), Err(HeadError::Nomination), "{name}");
    }
    for value in ["close", "Keep-Alive", "TE, close", "Upgrade, HTTP2-Settings", "", " , ,close,,"] {
        assert_eq!(nominating(value), Ok(()), "{value}");
    }
}

fn passed_on(headers: &Headers<'_>) -> Vec<String> {
    headers.end_to_end().map(|(name, _)| name.escape_ascii().to_string()).collect()
}

#[test]
fn keeps_hop_by_hop_fields_back() {
    let head = asked(
        "GET / HTTP/1.1\r\nHost: a\r\nAccept: x\r\nConnection: close\r\nConnection: te\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\n\
         Proxy-Authorization: secret\r\nTE: trailers\r\nTrailer: X\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\nX: y\r\n\r\n",
    )
    .unwrap();
    assert_eq!(passed_on(&head.headers), ["Accept", "X"]);
    assert!(head.headers.connection().close);
}

#[test]
fn keeps_back_what_contradicts_the_request() {
    let text = "GET / HTTP/1.1\r\nHost: a\r\nForwarded: for=1\r\nX-Forwarded-For: 1\r\nx-forwarded-HOST: b\r\nX-Forwarded: x\r\nX-Real-IP: 1\r\n\
         X-Original-URL: /b\r\nX-Rewrite-Url: /b\r\nX-HTTP-Method-Override: DELETE\r\nX-Method-Override: PUT\r\nX-HTTP-Method: PUT\r\n\
         X-Original-Host: b\r\nProxy-Status: x\r\nX-Forward: kept\r\nProxies: kept\r\n\r\n";
    let head = asked(text).unwrap();
    assert_eq!(passed_on(&head.headers), ["X-Forward", "Proxies"]);
    // In a response nothing is claimed by them.
    let text =
        b"HTTP/1.1 200 OK\r\nX-Forwarded-For: 1\r\nProxy-Authentication-Info: x\r\nProxy-Authenticate: Basic\r\n\r\n";
    response_properties(text);
    let head = response(text).unwrap();
    assert_eq!(passed_on(&head.headers), ["X-Forwarded-For"]);
}

#[test]
fn keeps_back_what_a_response_nominates() {
    let text =
        b"HTTP/1.1 200 OK\r\nX-Hop: 1\r\nConnection: keep-alive, x-hop\r\nAlt-Svc: h3\r\nHost: odd\r\nX-End: 2\r\n\r\n";
    response_properties(text);
    let head = response(text).unwrap();
    assert_eq!(passed_on(&head.headers), ["Host", "X-End"]);
    assert!(head.headers.is_hop_by_hop(b"X-HOP") && !head.headers.is_hop_by_hop(b"x-end"));
}

#[test]
fn knows_every_field_by_its_name_in_any_case() {
    for (bit, known) in ALL.into_iter().enumerate() {
        assert_eq!(known as usize, bit);
        assert_eq!(Known::of(known.name().as_bytes()), Some(known));
        assert_eq!(Known::of(known.name().to_ascii_uppercase().as_bytes()), Some(known));
        assert_eq!(Known::of(format!("{}x", known.name()).as_bytes()), None);
        let other = known.name().replace(['a', 'e', 'o', 'u'], "y");
        assert_eq!(Known::of(other.as_bytes()), None, "{other}");
    }
}

const ALL: [Known; 29] = [
    Known::Host,
    Known::ContentLength,
    Known::TransferEncoding,
    Known::Connection,
    Known::Upgrade,
    Known::Expect,
    Known::ContentType,
    Known::ContentEncoding,
    Known::Authorization,
    Known::Origin,
    Known::LastEventId,
    Known::McpMethod,
    Known::McpName,
    Known::McpProtocolVersion,
    Known::McpSessionId,
    Known::WebSocketAccept,
    Known::WebSocketExtensions,
    Known::WebSocketKey,
    Known::WebSocketProtocol,
    Known::WebSocketVersion,
    Known::KeepAlive,
    Known::ProxyAuthenticate,
    Known::ProxyAuthorization,
    Known::ProxyConnection,
    Known::Te,
    Known::Trailer,
    Known::Http2Settings,
    Known::AltSvc,
    Known::Via,
];
