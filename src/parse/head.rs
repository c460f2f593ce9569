//! The head of one HTTP/1.1 message: start line and header section, up to and including the empty line (RFC 9112 §2 to §5).
//!
//! [`Scan`] finds where the head ends; [`request`] and [`response`] then read it in one go. `httparse` is the tokenizer. It is more
//! tolerant than a proxy may be (bare LF, blank lines in front, octets above 127 in the target), so the rules that keep two recipients
//! from reading two different messages lie on top: a head that either of them could read otherwise is an error.
//!
//! Nothing here allocates, and every value borrows the caller's bytes. What the framing fields mean is [`crate::parse::framing`]'s business.

use std::fmt;
use std::mem::MaybeUninit;

use memchr::{memchr, memchr2, memmem};

use super::Progress;
use super::header::{Direction, Headers};
use crate::limits::{HEAD_BYTES_MAX, HEADERS_MAX, METHOD_BYTES_MAX, TARGET_BYTES_MAX};

/// The head of a request. Its method is a token of at most [`METHOD_BYTES_MAX`] octets without lower-case letters; its target is visible ASCII without `#` and `\`,
/// at most [`TARGET_BYTES_MAX`] octets long, and not yet understood: see [`crate::parse::target`].
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'b> {
    /// Case-sensitive (RFC 9110 §9.1).
    pub method: &'b str,
    /// In any of the four forms of RFC 9112 §3.2.
    pub target: &'b str,
    /// The client's version.
    pub version: Version,
    /// The header section.
    pub headers: Headers<'b>,
}

/// The head of a response.
#[derive(Debug, Clone, Copy)]
pub struct ResponseHead<'b> {
    /// The origin's version.
    pub version: Version,
    /// From 100 to 999. What is above 599 is for the client to interpret (RFC 9110 §15).
    pub status: u16,
    /// The reason phrase as received, without control characters; often empty.
    pub reason: &'b [u8],
    /// The header section.
    pub headers: Headers<'b>,
}

/// The versions whose framing is the same. Everything else is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0: no chunked coding, no persistent connections here.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// Searches a growing buffer for the end of a head. It remembers how far it has come, so that a head that arrives one byte at a time
/// costs no more than one that arrives at once, and it refuses a wrong line end as soon as it is there.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scan {
    /// Everything before this offset is whole lines and the beginning of one.
    searched: usize,
    /// Where the line under way begins.
    line: usize,
    /// An empty line stood in front (RFC 9112 §2.2 asks servers to ignore one).
    empty_line_first: bool,
}

impl Scan {
    /// Looks on in `bytes`, which is everything received since the head began: the bytes of the last call and those that came since.
    ///
    /// Done gives the length of the head, its empty line included. The error may be of the line ends or of the length; the lines
    /// themselves are read later.
    pub fn find(&mut self, bytes: &[u8]) -> Result<Progress<usize>, HeadError> {
        let window = bytes.get(..HEAD_BYTES_MAX).unwrap_or(bytes);
        while let Some(found) = window.get(self.searched..).and_then(|rest| memchr2(b'\r', b'\n', rest)) {
            let at = self.searched + found;
            // RFC 9112 §2.2: a bare CR is invalid; a bare LF may be taken for a line end, which is what smuggling lives on.
            match window.get(at..) {
                Some([b'\r', b'\n', ..]) => {}
                Some([b'\r']) => {
                    self.searched = at;
                    return self.more(bytes);
                }
                Some([b'\r', ..]) => return Err(HeadError::BareCarriageReturn),
                _ => return Err(HeadError::BareLineFeed),
            }
            let empty = at == self.line;
            self.searched = at + 2;
            self.line = at + 2;
            match (empty, at) {
                (true, 0) => self.empty_line_first = true,
                (true, 2) if self.empty_line_first => return Err(HeadError::EmptyLines),
                (true, _) => return Ok(Progress::Done(at + 2)),
                (false, _) => {}
            }
        }
        self.searched = window.len();
        self.more(bytes)
    }

    fn more(&self, bytes: &[u8]) -> Result<Progress<usize>, HeadError> {
        if bytes.len() > HEAD_BYTES_MAX { Err(HeadError::TooLarge) } else { Ok(Progress::More) }
    }
}

/// Whether a connection's first bytes are those of an HTTP/1.1 request, so that other protocols are refused at once rather than waited for.
///
/// The first line tells: it names a version. What no method has in it (controls, octets above 127) tells sooner. Blanks and line ends in front
/// are left to the head's own rules, which refuse them with a status. An HTTP/2 preface begins like a request.
pub fn opens_request(bytes: &[u8]) -> Progress<bool> {
    let bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
    match bytes {
        [] | b"\r" => return Progress::More,
        [b'\r' | b'\n' | b' ' | b'\t', ..] => return Progress::Done(true),
        _ => {}
    }
    let method = bytes.iter().position(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).unwrap_or(bytes.len());
    if bytes.iter().take(method).any(|byte| !byte.is_ascii_graphic()) {
        return Progress::Done(false);
    }
    let Some(end) = memchr2(b'\r', b'\n', bytes) else {
        return if bytes.len() > FIRST_LINE_BYTES_MAX { Progress::Done(true) } else { Progress::More };
    };
    match bytes.get(end..) {
        Some(b"\r") => Progress::More,
        // A bare CR, which the head's rules refuse.
        Some([b'\r', next, ..]) if *next != b'\n' => Progress::Done(true),
        _ => Progress::Done(bytes.get(..end).is_some_and(|line| memmem::find(line, b" HTTP/").is_some())),
    }
}

/// No valid request line is longer; what is, is refused as such.
const FIRST_LINE_BYTES_MAX: usize = METHOD_BYTES_MAX + TARGET_BYTES_MAX + b"  HTTP/1.1".len();

/// Reads the head of a request. `head` is exactly what [`Scan`] measured; one empty line in front is ignored.
pub fn request(head: &[u8]) -> Result<RequestHead<'_>, HeadError> {
    whole(head)?;
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    let mut slots = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut []);
    let outcome = parsed.parse_with_uninit_headers(head, &mut slots);
    if outcome != Ok(httparse::Status::Complete(head.len())) {
        return Err(request_fault(head, outcome));
    }
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(HeadError::RequestLine);
    };
    if method.len() > METHOD_BYTES_MAX {
        return Err(HeadError::MethodTooLong);
    }
    // RFC 9110 §9.1 has methods case-sensitive; some origins make `delete` a DELETE, which a rule about DELETE does not speak of. No method has
    // lower-case letters.
    if method.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Err(HeadError::MethodCase);
    }
    if target.len() > TARGET_BYTES_MAX {
        return Err(HeadError::TargetTooLong);
    }
    if !target.bytes().fold(true, |sound, byte| sound & is_target(byte)) {
        return Err(HeadError::TargetCharacter);
    }
    let headers = Headers::gather(field_lines(head), Direction::Request, parsed.headers)?;
    let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    // RFC 9112 §3.2: a request without Host is refused; HTTP/1.0 knew none.
    if version == Version::Http11 && headers.host().is_none() {
        return Err(HeadError::HostMissing);
    }
    Ok(RequestHead { method, target, version, headers })
}

/// Reads the head of a response. `head` is exactly what [`Scan`] measured.
pub fn response(head: &[u8]) -> Result<ResponseHead<'_>, HeadError> {
    whole(head)?;
    if head.starts_with(b"\r\n") {
        return Err(HeadError::EmptyLines);
    }
    let mut slots = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let outcome = config.parse_response_with_uninit_headers(&mut parsed, head, &mut slots);
    if outcome != Ok(httparse::Status::Complete(head.len())) {
        return Err(response_fault(head, outcome));
    }
    let (Some(status @ 100..), Some(minor)) = (parsed.code, parsed.version) else {
        return Err(HeadError::StatusLine);
    };
    let reason = status_line_reason(head).ok_or(HeadError::StatusLine)?;
    let headers = Headers::gather(field_lines(head), Direction::Response, parsed.headers)?;
    let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    Ok(ResponseHead { version, status, reason, headers })
}

/// What is wrong with a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadError {
    /// More than [`HEAD_BYTES_MAX`] octets.
    TooLarge,
    /// More than [`HEADERS_MAX`] field lines.
    TooManyFields,
    /// A method of more than [`METHOD_BYTES_MAX`] octets.
    MethodTooLong,
    /// A method with lower-case letters.
    MethodCase,
    /// A target of more than [`TARGET_BYTES_MAX`] octets.
    TargetTooLong,
    /// The caller's bytes are not one whole head.
    NotOneHead,
    /// LF without CR in front.
    BareLineFeed,
    /// CR without LF behind.
    BareCarriageReturn,
    /// More than one empty line in front of a request, or any in front of a response.
    EmptyLines,
    /// Not `method SP target SP version`.
    RequestLine,
    /// Not `version SP status [SP reason]`.
    StatusLine,
    /// The target has an octet that is not visible ASCII, or `#`, or `\`.
    TargetCharacter,
    /// A well-formed version other than 1.0 and 1.1.
    Version,
    /// The HTTP/2 connection preface (RFC 9113 §3.4), or a request line that says HTTP/2.
    Http2,
    /// A field name that is no token, or blanks around it, or no colon.
    FieldName,
    /// A field value with a control character.
    FieldValue,
    /// A line that continues the one before (RFC 9112 §5.2).
    Fold,
    /// A field name with `_` in a request.
    Underscore,
    /// This field may stand there once.
    Duplicate(&'static str),
    /// An octet above 127 in this field.
    ObsText(&'static str),
    /// `Connection` nominates a field that is not hop-by-hop.
    Nomination,
    /// No `Host` in an HTTP/1.1 request.
    HostMissing,
}

impl HeadError {
    /// The status with which a request is refused. A response with any fault is answered with 502.
    pub fn status(&self) -> u16 {
        match self {
            HeadError::TooLarge | HeadError::TooManyFields => 431,
            HeadError::TargetTooLong => 414,
            HeadError::Version | HeadError::Http2 => 505,
            _ => 400,
        }
    }

    /// The stable word for the refusal and the record.
    pub fn code(&self) -> &'static str {
        match self {
            HeadError::TooLarge | HeadError::TooManyFields => "head_too_large",
            HeadError::TargetTooLong => "target_too_long",
            HeadError::Version => "version_unsupported",
            HeadError::Http2 => "http2_unsupported",
            _ => "malformed",
        }
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeadError::TooLarge => write!(out, "the head is longer than {HEAD_BYTES_MAX} bytes"),
            HeadError::TooManyFields => write!(out, "the head has more than {HEADERS_MAX} header lines"),
            HeadError::MethodTooLong => write!(out, "the method is longer than {METHOD_BYTES_MAX} bytes"),
            HeadError::MethodCase => out.write_str("the method has lower-case letters"),
            HeadError::TargetTooLong => write!(out, "the request target is longer than {TARGET_BYTES_MAX} bytes"),
            HeadError::NotOneHead => out.write_str("these bytes are not exactly one head"),
            HeadError::BareLineFeed => out.write_str("a line ends in LF without CR"),
            HeadError::BareCarriageReturn => out.write_str("a CR is not followed by LF"),
            HeadError::EmptyLines => out.write_str("there are empty lines in front of the start line"),
            HeadError::RequestLine => out.write_str("the request line is malformed"),
            HeadError::StatusLine => out.write_str("the status line is malformed"),
            HeadError::TargetCharacter => out.write_str("the request target has a character that must not stand in it"),
            HeadError::Version => out.write_str("only HTTP/1.1 and HTTP/1.0 are spoken"),
            HeadError::Http2 => out.write_str("HTTP/2 is not spoken; HTTP/1.1 is"),
            HeadError::FieldName => out.write_str("a header name is malformed"),
            HeadError::FieldValue => out.write_str("a header value has a control character"),
            HeadError::Fold => out.write_str("a header line is folded"),
            HeadError::Underscore => out.write_str("a header name has an underscore"),
            HeadError::Duplicate(name) => write!(out, "the header {name} stands there twice"),
            HeadError::ObsText(name) => write!(out, "the header {name} has a character outside ASCII"),
            HeadError::Nomination => out.write_str("the header connection names a header that is not hop-by-hop"),
            HeadError::HostMissing => out.write_str("the header host is missing"),
        }
    }
}

impl std::error::Error for HeadError {}

/// RFC 9110 §5.6.2.
pub(super) const fn is_token(byte: u8) -> bool {
    matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'z' | b'|' | b'~' | b'0'..=b'9' | b'A'..=b'Z')
}

/// Visible ASCII without the two characters that some recipients take for the end of a path and for `/`. RFC 3986 also excludes `"<>^` and
/// the like; clients send them, and no recipient gives them a meaning.
const fn is_target(byte: u8) -> bool {
    (byte > b' ') & (byte < 0x7f) & (byte != b'#') & (byte != b'\\')
}

fn whole(head: &[u8]) -> Result<(), HeadError> {
    match Scan::default().find(head)? {
        Progress::Done(length) if length == head.len() => Ok(()),
        _ => Err(HeadError::NotOneHead),
    }
}

/// The lines between the start line and the empty line. The line ends are known to be sound.
fn field_lines(head: &[u8]) -> &[u8] {
    let start = memchr(b'\n', head).map_or(head.len(), |at| at + 1);
    head.get(start..head.len().saturating_sub(2)).unwrap_or_default()
}

/// RFC 9112 §4: a server must send the space in front of an absent reason. Many do not, and nothing hangs on it.
fn status_line_reason(head: &[u8]) -> Option<&[u8]> {
    const PREFIX: usize = b"HTTP/1.1 200".len();
    let line = head.get(PREFIX..memchr(b'\r', head)?)?;
    match line {
        [] => Some(line),
        [b' ', reason @ ..] => {
            let sound = reason.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f));
            sound.then_some(reason)
        }
        _ => None,
    }
}

#[cold]
fn request_fault(head: &[u8], outcome: httparse::Result<usize>) -> HeadError {
    let line = head.get(..memchr(b'\r', head).unwrap_or(head.len())).unwrap_or_default();
    match outcome {
        Err(httparse::Error::Version) => match line.split(|&byte| byte == b' ').nth(2).unwrap_or_default() {
            b"HTTP/2.0" | b"HTTP/2" => HeadError::Http2,
            [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
                HeadError::Version
            }
            _ => HeadError::RequestLine,
        },
        Err(httparse::Error::HeaderName | httparse::Error::HeaderValue | httparse::Error::TooManyHeaders) => {
            field_fault(head, outcome)
        }
        _ if line.len() > FIRST_LINE_BYTES_MAX => HeadError::TargetTooLong,
        _ => HeadError::RequestLine,
    }
}

#[cold]
fn response_fault(head: &[u8], outcome: httparse::Result<usize>) -> HeadError {
    match outcome {
        Err(httparse::Error::HeaderName | httparse::Error::HeaderValue | httparse::Error::TooManyHeaders) => {
            field_fault(head, outcome)
        }
        Err(httparse::Error::Version) => HeadError::Version,
        _ => HeadError::StatusLine,
    }
}

#[cold]
fn field_fault(head: &[u8], outcome: httparse::Result<usize>) -> HeadError {
    let folded = memmem::find(head, b"\r\n ").is_some() || memmem::find(head, b"\r\n\t").is_some();
    match outcome {
        _ if folded => HeadError::Fold,
        Err(httparse::Error::TooManyHeaders) => HeadError::TooManyFields,
        Err(httparse::Error::HeaderValue) => HeadError::FieldValue,
        _ => HeadError::FieldName,
    }
}

#[cfg(any(test, fuzzing))]
pub mod properties;
#[cfg(test)]
mod tests;
