//! MCP calls: `tools/call` by Streamable HTTP, each with an id of its own, and the origin's answers.

use std::io;

use serde::Deserialize;

use super::body;

/// The only path at which the origin speaks MCP.
pub(super) const PATH: &str = "/mcp";
/// The tool that is called; a policy has to allow it.
pub(super) const TOOL: &str = "echo";

/// The message that opens a session.
pub(super) fn hello() -> String {
    let client = r#"{"name":"ringfence-bench","version":"1"}"#;
    format!(
        r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{VERSION}","capabilities":{{}},"clientInfo":{client}}}}}"#
    )
}

/// The notification behind it.
pub(super) fn thanks() -> String {
    r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.to_owned()
}

/// A call with ten digits for its id, and where they are.
pub(super) fn call() -> (String, usize) {
    let before = r#"{"jsonrpc":"2.0","id":"#;
    let text = format!(
        r#"{before}{FIRST_ID},"method":"tools/call","params":{{"name":"{TOOL}","arguments":{{"text":"all is well"}}}}}}"#
    );
    (text, before.len())
}

/// The id of a turn's call number `index`: ten digits, whichever it is.
pub(super) fn id(index: u64) -> u64 {
    FIRST_ID + index % FIRST_ID
}

/// The body of an HTTP request that carries a message. `session` and the protocol's version are header fields once they are known.
pub(super) fn request(target: &str, host: &str, session: Option<&str>, message: &str) -> String {
    let session = session.map(|id| format!("Mcp-Session-Id: {id}\r\n")).unwrap_or_default();
    format!(
        "POST {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: ringfence-bench\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: {VERSION}\r\n{session}Content-Length: {}\r\n\r\n{message}",
        message.len()
    )
}

#[derive(Deserialize)]
struct Message<'m> {
    /// A gateway may number calls, or name them, as it likes.
    id: Option<serde_json::Value>,
    #[serde(borrow)]
    method: Option<&'m str>,
}

#[derive(Deserialize)]
struct Answer {
    id: u64,
    result: Outcome,
}

#[derive(Deserialize)]
struct Outcome {
    content: Vec<Content>,
}

#[derive(Deserialize)]
struct Content {
    text: String,
}

/// The origin's answer to `message`: status and JSON; an empty body for what is only to be taken note of.
pub(super) fn answer(message: &[u8], bytes: usize, spoilt: bool) -> (u16, String) {
    let Ok(Message { id, method }) = serde_json::from_slice(message) else { return (400, String::new()) };
    let Some(id) = id else { return (202, String::new()) };
    let result = match method {
        Some("initialize") => format!(
            r#"{{"protocolVersion":"{VERSION}","capabilities":{{"tools":{{}}}},"serverInfo":{{"name":"ringfence-bench","version":"1"}}}}"#
        ),
        Some("tools/list") => {
            format!(r#"{{"tools":[{{"name":"{TOOL}","description":"Answers.","inputSchema":{{"type":"object"}}}}]}}"#)
        }
        Some("tools/call") => {
            let mut text = text(bytes);
            if spoilt {
                text.pop();
                text.push('!');
            }
            format!(r#"{{"content":[{{"type":"text","text":"{text}"}}],"isError":false}}"#)
        }
        _ => "{}".to_owned(),
    };
    (200, format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#))
}

/// Whether `body` answers call `id` with what the origin says; as JSON, or as the one event of a stream, as gateways answer.
pub(super) fn is_right(body: &[u8], id: u64, bytes: usize) -> bool {
    let event =
        std::str::from_utf8(body).ok().and_then(|text| text.lines().find_map(|line| line.strip_prefix("data:")));
    let json = event.map_or(body, str::as_bytes);
    serde_json::from_slice::<Answer>(json).is_ok_and(|answer| {
        answer.id == id
            && matches!(&answer.result.content[..], [Content { text }] if text.len() == bytes && body::matches_at(0, text.as_bytes()))
    })
}

/// The header field of the session that an answer to [`hello`] opens, where it opens one.
pub(super) fn session(headers: &[httparse::Header<'_>]) -> io::Result<Option<String>> {
    let Some(header) = headers.iter().find(|header| header.name.eq_ignore_ascii_case("mcp-session-id")) else {
        return Ok(None);
    };
    String::from_utf8(header.value.to_vec()).map(Some).map_err(io::Error::other)
}

fn text(bytes: usize) -> String {
    body::body(bytes).into_iter().map(char::from).collect()
}

const VERSION: &str = "2025-06-18";
const FIRST_ID: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(index: u64, spoilt: bool) -> String {
        let (mut call, at) = call();
        call.replace_range(at..at + 10, &id(index).to_string());
        answer(call.as_bytes(), 256, spoilt).1
    }

    #[test]
    fn an_answer_is_right_for_its_own_call_alone() {
        let body = answered(7, false);
        assert!(is_right(body.as_bytes(), id(7), 256));
        assert!(!is_right(body.as_bytes(), id(8), 256));
        assert!(!is_right(body.as_bytes(), id(7), 255));
        assert!(is_right(format!("event: message\ndata: {body}\n\n").as_bytes(), id(7), 256));
    }

    #[test]
    fn a_spoilt_answer_and_an_error_are_wrong() {
        assert!(!is_right(answered(7, true).as_bytes(), id(7), 256));
        let refused = format!(r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":-31403,"message":"no"}}}}"#, id(7));
        assert!(!is_right(refused.as_bytes(), id(7), 256));
        assert!(!is_right(b"", id(7), 256));
    }

    #[test]
    fn ids_have_ten_digits_for_ever() {
        for index in [0, 1, FIRST_ID - 1, FIRST_ID, u64::MAX] {
            assert_eq!(id(index).to_string().len(), 10);
        }
    }
}
