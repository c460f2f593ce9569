//! What a refused caller gets: the contract's answers, in HTTP.

use serde::Serialize;

/// An answer that ringfence gives in place of an upstream.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Refusal<'a> {
    /// HTTP status code.
    pub(crate) status: u16,
    /// The decision's id as text; absent where nothing could be recorded.
    pub(crate) decision: Option<&'a str>,
    /// The rule that decided.
    pub(crate) rule: Option<&'a str>,
    /// Why, in words.
    pub(crate) reason: Option<&'a str>,
    /// What the caller can do instead.
    pub(crate) remedy: Option<&'a str>,
    /// The stable word where no rule decided.
    pub(crate) code: Option<&'a str>,
    /// Whether the connection ends with this answer.
    pub(crate) close: bool,
    /// Whether the body is left out (the request was a HEAD).
    pub(crate) head_only: bool,
}

/// RFC 9457 problem details, with the contract's members.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
}

impl Refusal<'_> {
    /// Appends the whole response to `out`.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let problem = Problem {
            r#type: "about:blank",
            title: title(self.status),
            status: self.status,
            decision: self.decision,
            rule: self.rule,
            reason: self.reason,
            remedy: self.remedy,
            code: self.code,
        };
        // Strings and numbers into a vector: there is nothing here that can fail.
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(self.status.to_string().as_bytes());
        out.push(b' ');
        out.extend_from_slice(phrase(self.status).as_bytes());
        out.extend_from_slice(b"\r\ncontent-type: application/problem+json\r\ncache-control: no-store\r\n");
        if let Some(decision) = self.decision {
            out.extend_from_slice(b"ringfence-decision: ");
            out.extend_from_slice(decision.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        if self.close {
            out.extend_from_slice(b"connection: close\r\n");
        }
        out.extend_from_slice(b"content-length: ");
        out.extend_from_slice(body.len().to_string().as_bytes());
        out.extend_from_slice(b"\r\n\r\n");
        if !self.head_only {
            out.extend_from_slice(&body);
        }
    }
}

/// The reason phrase (RFC 9110 §15) of the statuses that ringfence gives.
pub(crate) fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        508 => "Loop Detected",
        505 => "HTTP Version Not Supported",
        _ => "Refused",
    }
}

/// The problem's title: whether policy, the request, or the way there is at fault.
fn title(status: u16) -> &'static str {
    match status {
        403 => "Blocked by policy",
        502 | 504 => "Upstream failed",
        503 => "Audit unavailable",
        _ => "Request refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_has_the_contracts_shape() {
        let refusal = Refusal {
            status: 403,
            decision: Some("0a"),
            rule: Some("delete anything"),
            reason: Some("Deletion needs a person."),
            remedy: Some("Open a pull request instead."),
            ..Refusal::default()
        };
        let mut out = Vec::new();
        refusal.write(&mut out);
        let text = String::from_utf8(out).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 403 Forbidden\r\n"));
        assert!(head.contains("content-type: application/problem+json\r\n"));
        assert!(head.contains("ringfence-decision: 0a\r\n"));
        assert!(head.contains(&format!("content-length: {}", body.len())));
        assert_eq!(
            body,
            r#"{"type":"about:blank","title":"Blocked by policy","status":403,"decision":"0a","rule":"delete anything","reason":"Deletion needs a person.","remedy":"Open a pull request instead."}"#
        );
    }

    #[test]
    fn an_answer_to_head_has_no_body() {
        let mut out = Vec::new();
        Refusal { status: 403, head_only: true, ..Refusal::default() }.write(&mut out);
        assert!(out.ends_with(b"\r\n\r\n"));
    }
}
