//! Where the body of a message ends, and whether its connection lives on (RFC 9112 §6 and §9.3).
//!
//! The rules are those of the RFC without its repairs: where it lets a recipient choose, the message is refused. Framing is written anew
//! towards the next hop from what this module says; the received fields are never copied.

use std::fmt;

use super::head::{RequestHead, ResponseHead, Version};
use super::header::Headers;

/// How the body of a request is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// This many octets, below 2^63.
    Length(u64),
    /// Chunked coding and nothing else.
    Chunked,
}

/// How the body of a response is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseFraming {
    /// There is none, whatever the header fields say: 1xx, 204, 304 and answers to HEAD.
    None,
    /// This many octets, below 2^63.
    Length(u64),
    /// Chunked coding and nothing else.
    Chunked,
    /// Until the origin closes the connection.
    UntilClose,
}

/// The framing of a request (RFC 9112 §6.3).
///
/// `Upgrade` is an error here as well, because it changes what the octets after the head are. The head is still good for a record.
pub fn request(head: &RequestHead<'_>) -> Result<Framing, FramingError> {
    if head.headers.upgrade().is_some() {
        return Err(FramingError::Upgrade);
    }
    // RFC 9110 §9.3.8: TRACE reflects a request with its credentials to whoever sent it. No client of an API has a use for it.
    if head.method == "TRACE" {
        return Err(FramingError::Trace);
    }
    hops(head)?;
    // RFC 9110 §10.1.1: only this expectation exists, and 1.0 clients cannot have it.
    if head.headers.expect().is_some_and(|value| !value.eq_ignore_ascii_case(b"100-continue")) {
        return Err(FramingError::Expectation);
    }
    fields(head.version, &head.headers)
}

/// How many proxies an OPTIONS request may still pass (RFC 9110 §7.6.2). For one that may pass none we are the final recipient, and OPTIONS
/// is not among what we answer ourselves. Other methods do not have the field, whatever they carry.
pub fn hops(head: &RequestHead<'_>) -> Result<Option<u64>, FramingError> {
    if head.method != "OPTIONS" {
        return Ok(None);
    }
    match head.headers.one("max-forwards").map_err(|_| FramingError::Hops)? {
        None => Ok(None),
        Some(value) => match length(value).map_err(|_| FramingError::Hops)? {
            0 => Err(FramingError::HopsExhausted),
            hops => Ok(Some(hops)),
        },
    }
}

/// Whether the client waits for `100 Continue` before it sends the body.
pub fn expects_continue(head: &RequestHead<'_>) -> bool {
    head.version == Version::Http11 && head.headers.expect().is_some()
}

/// The framing of a response to a request with the method `request_method` (RFC 9112 §6.3).
///
/// An interim response has no body; 101 is an error, since no `Upgrade` is ever forwarded. A `CONNECT` is never sent to an origin.
pub fn response(head: &ResponseHead<'_>, request_method: &str) -> Result<ResponseFraming, FramingError> {
    let declared = fields(head.version, &head.headers)?;
    match head.status {
        101 => Err(FramingError::Switching),
        // RFC 9110 §8.6 and RFC 9112 §6.1: these must not carry framing fields. A length of zero does no harm and is common.
        100..=199 | 204 => match declared {
            Framing::None | Framing::Length(0) => Ok(ResponseFraming::None),
            Framing::Length(_) | Framing::Chunked => Err(FramingError::BodyWithoutPlace),
        },
        304 => Ok(ResponseFraming::None),
        _ if request_method == "HEAD" => Ok(ResponseFraming::None),
        _ => Ok(match declared {
            Framing::Length(length) => ResponseFraming::Length(length),
            Framing::Chunked => ResponseFraming::Chunked,
            Framing::None => ResponseFraming::UntilClose,
        }),
    }
}

/// The length that a response to HEAD, or a 304, declares for the body it does not have. To be repeated towards the client.
pub fn declared_length(head: &ResponseHead<'_>) -> Result<Option<u64>, FramingError> {
    head.headers.content_length().map(length).transpose()
}

/// Whether a connection may carry another message after this one.
///
/// Not after `close`, and not with HTTP/1.0: RFC 9112 §9.3 forbids a proxy to keep a connection to a 1.0 client, and 1.0 origins gain little.
/// A body that ends with the connection ([`ResponseFraming::UntilClose`]) is for the caller to see.
pub fn persistent(version: Version, headers: &Headers<'_>) -> bool {
    version == Version::Http11 && !headers.connection().close
}

fn fields(version: Version, headers: &Headers<'_>) -> Result<Framing, FramingError> {
    match (headers.transfer_encoding(), headers.content_length()) {
        (None, None) => Ok(Framing::None),
        (None, Some(value)) => Ok(Framing::Length(length(value)?)),
        // RFC 9112 §6.1: a possible smuggling attempt, "ought to be handled as an error".
        (Some(_), Some(_)) => Err(FramingError::LengthAndEncoding),
        (Some(_), None) if version == Version::Http10 => Err(FramingError::EncodingInHttp10),
        (Some(value), None) if value.eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
        (Some(value), None) => Err(encoding_fault(value)),
    }
}

/// RFC 9110 §8.6: digits, and nothing else. A leading zero is refused, because some recipients read octal.
fn length(value: &[u8]) -> Result<u64, FramingError> {
    let sound = match value {
        [] => false,
        [b'0'] => true,
        [b'0', ..] => false,
        digits => digits.iter().all(u8::is_ascii_digit),
    };
    if !sound {
        return Err(FramingError::Length);
    }
    value
        .iter()
        .try_fold(0_u64, |sum, digit| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
        .filter(|&length| length <= LENGTH_MAX)
        .ok_or(FramingError::Length)
}

/// Lengths up to here have the same value in every recipient, whether it counts with or without a sign.
const LENGTH_MAX: u64 = i64::MAX as u64;

#[cold]
fn encoding_fault(value: &[u8]) -> FramingError {
    // RFC 9112 §6.1 asks for 501 where the coding exists and is not understood; a list or anything malformed is an attempt.
    let known = [b"gzip".as_slice(), b"x-gzip", b"deflate", b"compress", b"x-compress"];
    if known.iter().any(|coding| value.eq_ignore_ascii_case(coding)) {
        FramingError::EncodingUnknown
    } else {
        FramingError::Encoding
    }
}

/// Why the end of a body cannot be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FramingError {
    /// `Content-Length` is no decimal number below 2^63 without leading zeros.
    Length,
    /// `Content-Length` and `Transfer-Encoding`.
    LengthAndEncoding,
    /// `Transfer-Encoding` is not exactly `chunked`.
    Encoding,
    /// `Transfer-Encoding` names another registered coding.
    EncodingUnknown,
    /// `Transfer-Encoding` in HTTP/1.0.
    EncodingInHttp10,
    /// A 1xx or 204 that declares a body.
    BodyWithoutPlace,
    /// An unsolicited 101.
    Switching,
    /// A request with `Upgrade`.
    Upgrade,
    /// An `Expect` other than `100-continue`.
    Expectation,
    /// A TRACE request.
    Trace,
    /// `Max-Forwards` is no decimal number, or stands there twice.
    Hops,
    /// `Max-Forwards: 0`.
    HopsExhausted,
}

impl FramingError {
    /// The status with which a request is refused. A response with any fault is answered with 502.
    pub fn status(&self) -> u16 {
        match self {
            FramingError::EncodingUnknown
            | FramingError::Upgrade
            | FramingError::Trace
            | FramingError::HopsExhausted => 501,
            FramingError::Expectation => 417,
            _ => 400,
        }
    }

    /// The stable word for the refusal and the record.
    pub fn code(&self) -> &'static str {
        match self {
            FramingError::Upgrade => "upgrade_unsupported",
            FramingError::EncodingUnknown => "encoding_unsupported",
            FramingError::Expectation => "expectation_unsupported",
            FramingError::Trace | FramingError::HopsExhausted => "method_unsupported",
            _ => "malformed",
        }
    }
}

impl fmt::Display for FramingError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            FramingError::Length => "content-length is not a plain decimal number",
            FramingError::LengthAndEncoding => "content-length and transfer-encoding stand side by side",
            FramingError::Encoding => "transfer-encoding is not exactly chunked",
            FramingError::EncodingUnknown => "this transfer-encoding is not spoken; chunked is",
            FramingError::EncodingInHttp10 => "transfer-encoding stands in an HTTP/1.0 message",
            FramingError::BodyWithoutPlace => "a response that can have no body declares one",
            FramingError::Switching => "the origin switches protocols without being asked",
            FramingError::Upgrade => "upgrading to another protocol is not supported",
            FramingError::Expectation => "the only expectation is 100-continue",
            FramingError::Trace => "TRACE is not forwarded",
            FramingError::Hops => "max-forwards is not a plain decimal number",
            FramingError::HopsExhausted => "max-forwards lets the request go no further",
        })
    }
}

impl std::error::Error for FramingError {}

#[cfg(test)]
mod tests;
