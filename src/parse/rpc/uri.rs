//! The URI of a resource, in the one form that policy looks at.
//!
//! The scheme is lower-case, and so is the host; `file:/a`, `file:///a` and `file://localhost/a` are one; the path is canonical as that of a
//! request is ([`crate::parse::path`]), so that dot segments, encoded NULs and backslashes are refused and other ways to read it are
//! known. Characters beyond ASCII are taken for their escapes (RFC 3987 §3.1). Query and fragment stay as they are.

use std::borrow::Cow;
use std::fmt;

use crate::parse::path::{self, PathError};

/// The URI of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uri<'b> {
    /// As the message has it, decoded from JSON.
    pub received: Cow<'b, str>,
    /// Canonical.
    pub canonical: String,
    /// Every other way to read it: an allow must hold for each, a deny for one.
    pub readings: Vec<String>,
}

/// Reads a URI, or the template of one.
pub fn read(text: Cow<'_, str>) -> Result<Uri<'_>, UriError> {
    let escaped = escape(&text)?;
    let (scheme, rest) = escaped.split_once(':').ok_or(UriError::Scheme)?;
    let begins_well = scheme.starts_with(|first: char| first.is_ascii_alphabetic());
    if !begins_well || !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)) {
        return Err(UriError::Scheme);
    }
    let scheme = scheme.to_ascii_lowercase();
    let (hierarchy, tail) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
    let (authority, path_text) = match hierarchy.strip_prefix("//") {
        Some(after) => {
            let (authority, path) = after.split_at(after.find('/').unwrap_or(after.len()));
            (Some(authority.to_ascii_lowercase()), path)
        }
        None => (None, hierarchy),
    };
    let authority = match authority {
        Some(authority) if scheme == "file" && authority == "localhost" => Some(String::new()),
        Some(authority) if authority.contains('@') && matches!(&*scheme, "http" | "https") => {
            return Err(UriError::UserInfo);
        }
        None if scheme == "file" && path_text.starts_with('/') => Some(String::new()),
        other => other,
    };
    let path_text = if path_text.is_empty() && matches!(&*scheme, "http" | "https") { "/" } else { path_text };
    let path = path::read(path_text)?;
    let join = |path: &str| match &authority {
        Some(authority) => format!("{scheme}://{authority}{path}{tail}"),
        None => format!("{scheme}:{path}{tail}"),
    };
    let canonical = join(&path.canonical);
    let readings = path.readings.iter().map(join).collect();
    Ok(Uri { canonical, readings, received: text })
}

/// Visible ASCII, with everything beyond ASCII escaped.
fn escape(text: &str) -> Result<Cow<'_, str>, UriError> {
    if text.bytes().any(|byte| byte <= b' ' || byte == 0x7f || byte == b'\\') {
        return Err(UriError::Character);
    }
    if text.is_ascii() {
        return Ok(Cow::Borrowed(text));
    }
    let mut escaped = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        match byte {
            0..0x80 => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    Ok(Cow::Owned(escaped))
}

/// Why a URI is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UriError {
    /// No scheme in front.
    Scheme,
    /// A blank, a control character or a backslash.
    Character,
    /// User information in front of a host.
    UserInfo,
    /// A path with more than one meaning.
    Path(PathError),
}

impl From<PathError> for UriError {
    fn from(error: PathError) -> Self {
        UriError::Path(error)
    }
}

impl fmt::Display for UriError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            UriError::Scheme => "the URI of the resource has no scheme",
            UriError::Character => "the URI of the resource has a character that no URI has",
            UriError::UserInfo => "the URI of the resource has user information in front of its host",
            UriError::Path(error) => return error.fmt(out),
        })
    }
}

impl std::error::Error for UriError {}
