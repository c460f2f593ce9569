//! The header fields of MCP over HTTP, and whether they agree with the body.
//!
//! The body is what counts; a field that says something else is refused, whatever the version, because somebody on the way may go by it. A
//! field that is not there is missed only where the version demands it.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Body, Shape, Version};
use crate::limits::MCP_SESSION_BYTES_MAX;

/// The fields of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields<'h> {
    /// `Mcp-Session-Id`: visible ASCII.
    pub session: Option<&'h str>,
    /// `MCP-Protocol-Version`
    pub version: Option<&'h str>,
    /// `Mcp-Method`
    pub method: Option<&'h str>,
    /// `Mcp-Name`, decoded.
    pub name: Option<Cow<'h, str>>,
    /// Some `Mcp-Param-…`.
    pub has_params: bool,
}

/// Picks the fields of MCP out of those of a request; values come without surrounding blanks.
pub fn read<'h>(fields: impl Iterator<Item = (&'h str, &'h [u8])>) -> Result<Fields<'h>, HeaderError> {
    let mut found = Fields::default();
    for (name, value) in fields {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let twice = if is("mcp-session-id") {
            found.session.replace(session(value)?).is_some()
        } else if is("mcp-protocol-version") {
            found.version.replace(text(value)?).is_some()
        } else if is("mcp-method") {
            found.method.replace(text(value)?).is_some()
        } else if is("mcp-name") {
            found.name.replace(decode(value)?).is_some()
        } else {
            found.has_params |= name.get(..10).is_some_and(|prefix| prefix.eq_ignore_ascii_case("mcp-param-"));
            false
        };
        if twice {
            return Err(HeaderError::Twice);
        }
    }
    Ok(found)
}

/// The id of a session: 0x21 to 0x7e (2025-11-25, transports), bounded.
pub fn session(value: &[u8]) -> Result<&str, HeaderError> {
    let text = text(value)?;
    let is_sound = !text.is_empty() && text.len() <= MCP_SESSION_BYTES_MAX && !text.contains([' ', '\t']);
    if is_sound { Ok(text) } else { Err(HeaderError::Session) }
}

/// A value as `Mcp-Name` and `Mcp-Param-…` have it: plain, or `=?base64?…?=` around the Base64 of UTF-8 (2026-07-28, "Value Encoding").
pub fn decode(value: &[u8]) -> Result<Cow<'_, str>, HeaderError> {
    let text = text(value)?;
    let Some(encoded) = text.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) else {
        return Ok(Cow::Borrowed(text));
    };
    let decoded = STANDARD.decode(encoded).map_err(|_| HeaderError::Encoding)?;
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| HeaderError::Encoding)
}

fn text(value: &[u8]) -> Result<&str, HeaderError> {
    let is_plain = value.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    str::from_utf8(value).ok().filter(|_| is_plain).ok_or(HeaderError::Character)
}

impl Fields<'_> {
    /// Whether there is any: the request is MCP's, wherever it goes.
    pub fn any(&self) -> bool {
        *self != Fields::default()
    }

    /// Whether the fields agree with what a client posts, and under which version it does.
    pub fn check(&self, body: &Body<'_>) -> Result<Version, HeaderError> {
        let mut version = match self.version {
            Some(name) => Some(Version::read(name).ok_or(HeaderError::VersionUnknown)?),
            None => None,
        };
        for message in &body.messages {
            version = self.check_version(message.call().and_then(|call| call.meta_version.as_deref()), version)?;
            self.check_mirrors(&message.shape, version.is_some_and(Version::is_stateless))?;
        }
        // 2025-06-18, "Protocol Version Header": without one it is 2025-03-26.
        let effective = version.unwrap_or(Version::V2025_03_26);
        if body.is_batch && !effective.has_batches() {
            return Err(HeaderError::Batch);
        }
        for message in &body.messages {
            match &message.shape {
                Shape::Response(..) if !effective.has_client_responses() => return Err(HeaderError::Response),
                Shape::Request(_, call) if effective.is_stateless() && call.meta_version.is_none() => {
                    return Err(HeaderError::MetaMissing);
                }
                _ => {}
            }
        }
        Ok(effective)
    }

    /// `_meta` says the same as the field.
    fn check_version(&self, meta: Option<&str>, version: Option<Version>) -> Result<Option<Version>, HeaderError> {
        let Some(meta) = meta else { return Ok(version) };
        match self.version {
            Some(field) if field == meta => Ok(version),
            Some(_) => Err(HeaderError::VersionMismatch),
            None => Err(HeaderError::VersionMissing),
        }
    }

    fn check_mirrors(&self, shape: &Shape<'_>, are_due: bool) -> Result<(), HeaderError> {
        let call = match shape {
            Shape::Request(_, call) | Shape::Notification(call) => call,
            Shape::Response(..) if self.method.is_some() || self.name.is_some() => {
                return Err(HeaderError::MethodMismatch);
            }
            Shape::Response(..) => return Ok(()),
        };
        let are_due = are_due && matches!(shape, Shape::Request(..));
        match self.method {
            Some(method) if method != call.method => return Err(HeaderError::MethodMismatch),
            None if are_due => return Err(HeaderError::MethodMissing),
            _ => {}
        }
        match (call.mirrored(), self.name.as_deref()) {
            (Some((name, _)), Some(field)) if name != field => Err(HeaderError::NameMismatch),
            (None, Some(_)) => Err(HeaderError::NameMismatch),
            (Some((_, true)), None) if are_due => Err(HeaderError::NameMissing),
            _ => Ok(()),
        }
    }
}

/// Why the fields of a request are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderError {
    /// A field stands twice.
    Twice,
    /// A character that no such field has.
    Character,
    /// The id of a session is no id.
    Session,
    /// Base64 that is none, or not around UTF-8.
    Encoding,
    /// A version that is not known.
    VersionUnknown,
    /// `_meta` has a version and the field is not there.
    VersionMissing,
    /// Field and `_meta` name different versions.
    VersionMismatch,
    /// The version demands one in `_meta`.
    MetaMissing,
    /// The version demands `Mcp-Method`.
    MethodMissing,
    /// `Mcp-Method` is not the method.
    MethodMismatch,
    /// The version demands `Mcp-Name`.
    NameMissing,
    /// `Mcp-Name` is not the name.
    NameMismatch,
    /// A batch in a version without.
    Batch,
    /// An answer by a client in a version that has none.
    Response,
}

impl HeaderError {
    /// The stable word for the refusal and the record.
    pub fn code(&self) -> &'static str {
        "malformed"
    }

    /// The code of the JSON-RPC error that goes with 400 (2026-07-28, "Error Codes").
    pub fn rpc_code(&self) -> i32 {
        match self {
            HeaderError::VersionUnknown => -32022,
            HeaderError::MetaMissing => -32602,
            HeaderError::Batch | HeaderError::Response | HeaderError::Session => -32600,
            _ => -32020,
        }
    }
}

impl fmt::Display for HeaderError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            HeaderError::Twice => "an MCP header field stands twice",
            HeaderError::Character => "an MCP header field has a character that it cannot have",
            HeaderError::Session => "the session id is malformed",
            HeaderError::Encoding => "an MCP header field is not valid Base64 of UTF-8",
            HeaderError::VersionUnknown => "the protocol version is not known",
            HeaderError::VersionMissing => "the MCP-Protocol-Version header is missing",
            HeaderError::VersionMismatch => "the MCP-Protocol-Version header is not the version in the body",
            HeaderError::MetaMissing => "the body does not name its protocol version",
            HeaderError::MethodMissing => "the Mcp-Method header is missing",
            HeaderError::MethodMismatch => "the Mcp-Method header is not the method in the body",
            HeaderError::NameMissing => "the Mcp-Name header is missing",
            HeaderError::NameMismatch => "the Mcp-Name header is not the name in the body",
            HeaderError::Batch => "this protocol version has no batches",
            HeaderError::Response => "this protocol version has no responses of clients",
        })
    }
}

impl std::error::Error for HeaderError {}
