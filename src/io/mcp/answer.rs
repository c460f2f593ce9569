//! The JSON-RPC errors that are given in place of an answer.

use serde::Serialize;

use crate::audit::DecisionId;
use crate::parse::rpc::Id;

/// Blocked by policy: outside of the range that JSON-RPC and MCP keep for themselves (-32768 to -32000).
pub(super) const BLOCKED: i32 = -31403;
/// JSON-RPC 2.0 §5.1: the message is no request.
pub(super) const INVALID_REQUEST: i32 = -32600;
/// MCP 2026-07-28, "Error Codes".
pub(super) const UNSUPPORTED_VERSION: i32 = -32022;

/// An error, in the contract's shape.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Error<'a> {
    pub(super) code: i32,
    pub(super) decision: Option<DecisionId>,
    pub(super) rule: Option<&'a str>,
    pub(super) reason: Option<&'a str>,
    pub(super) remedy: Option<&'a str>,
    /// The stable word where no rule decided.
    pub(super) word: Option<&'a str>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Name<'a>>,
    error: Body<'a>,
}

/// An id as JSON.
#[derive(Serialize)]
#[serde(untagged)]
enum Name<'a> {
    Number(i64),
    Text(&'a str),
}

#[derive(Serialize)]
struct Body<'a> {
    code: i32,
    message: String,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    supported: Option<Vec<&'static str>>,
}

impl Error<'_> {
    /// The error as a message of one line.
    pub(super) fn write(&self, id: Option<&Id<'_>>) -> Vec<u8> {
        let id = id.and_then(|id| match id {
            Id::Number(digits) => digits.parse().ok().map(Name::Number),
            Id::Text(text) => Some(Name::Text(text)),
        });
        let versions = || crate::parse::rpc::Version::ALL.iter().map(|version| version.name()).collect();
        let envelope = Envelope {
            jsonrpc: "2.0",
            id,
            error: Body {
                code: self.code,
                message: self.message(),
                data: Data {
                    decision: self.decision.map(|id| id.to_string()),
                    rule: self.rule,
                    reason: self.reason,
                    remedy: self.remedy,
                    code: self.word,
                    supported: (self.code == UNSUPPORTED_VERSION).then(versions),
                },
            },
        };
        // Strings and numbers into a vector: there is nothing here that can fail.
        serde_json::to_vec(&envelope).unwrap_or_default()
    }

    /// What a client shows to its model, which is often all that it shows: why, and what to do instead.
    fn message(&self) -> String {
        let title = if self.code == BLOCKED { "Blocked by policy" } else { "Refused" };
        let word = self.word.map(|word| if word == "default" { "no rule allows it." } else { word });
        let why = self.reason.or(self.rule).or(word).unwrap_or_default();
        match self.remedy {
            Some(remedy) => format!("{title}: {why} {remedy}"),
            None => format!("{title}: {why}"),
        }
    }
}

/// Several answers as one text.
pub(super) fn batch(answers: &[Vec<u8>]) -> Vec<u8> {
    [b"[".as_slice(), &answers.join(&b','), b"]"].concat()
}
