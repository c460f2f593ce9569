//! What goes on the wire is written here, from the parse, never copied from what came in: start line, `Host`, one framing header of ours,
//! and the end-to-end headers in the order in which they came.

use std::io::Write as _;

use crate::parse::framing::{self, Framing, ResponseFraming};
use crate::parse::head::{RequestHead, ResponseHead, Version};
use crate::parse::host::Host;
use crate::parse::target::Canonical;

/// Appends the request head for the origin, with our name in `Via` where one is given. The target travels as it was received: it is what every reading was decided on.
pub(crate) fn request(
    head: &RequestHead<'_>,
    target: &Canonical<'_>,
    framing: Framing,
    (via, codings): (Option<&str>, Codings),
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(head.method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.wire.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    authority(target, out);
    out.extend_from_slice(b"\r\n");
    // RFC 9110 §7.6.2: one proxy less than when it came to us.
    let hops = framing::hops(head).ok().flatten();
    for (name, value) in head.headers.end_to_end() {
        match hops {
            Some(hops) if name.eq_ignore_ascii_case(b"max-forwards") => {
                out.extend_from_slice(b"Max-Forwards: ");
                decimal(hops.saturating_sub(1), out);
                out.extend_from_slice(b"\r\n");
            }
            _ if codings == Codings::Identity && name.eq_ignore_ascii_case(b"accept-encoding") => {}
            _ => field(name, value, out),
        }
    }
    if codings == Codings::Identity {
        out.extend_from_slice(b"Accept-Encoding: identity\r\n");
    }
    if let Some(name) = via {
        // RFC 9110 §7.6.3: behind those of the proxies before us.
        out.extend_from_slice(b"Via: 1.1 ");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    match framing {
        Framing::None => {}
        Framing::Length(n) => length(n, out),
        Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the head of a message of ours to an MCP server, up to what goes with its body: for the authority of a request that a client has sent,
/// with those of its fields that `keeps` wants.
pub(crate) fn post(
    (head, target, to): (&RequestHead<'_>, &Canonical<'_>, &str),
    keeps: impl Fn(&[u8]) -> bool,
    via: Option<&str>,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"POST ");
    out.extend_from_slice(to.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    authority(target, out);
    out.extend_from_slice(b"\r\n");
    let fields = head.headers.end_to_end().filter(|(name, _)| keeps(name));
    fields.for_each(|(name, value)| field(name, value, out));
    field(b"Content-Type", b"application/json", out);
    field(b"Accept", b"application/json, text/event-stream", out);
    field(b"Accept-Encoding", b"identity", out);
    field(b"Connection", b"close", out);
    if let Some(name) = via {
        out.extend_from_slice(b"Via: 1.1 ");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// `Host`, from the canonical target; the port only where it is not the scheme's own (RFC 9110 §7.2).
fn authority(target: &Canonical<'_>, out: &mut Vec<u8>) {
    match &target.host {
        Host::Name(name) => out.extend_from_slice(name.as_bytes()),
        // Writing to a vector cannot fail.
        address => drop(write!(out, "{address}")),
    }
    if target.port != target.scheme.default_port() {
        out.push(b':');
        decimal(u64::from(target.port), out);
    }
}

/// Which codings of the response are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codings {
    /// Those that the client takes.
    AsAsked,
    /// None: it is to be read on the way.
    Identity,
}

/// Appends an answer of ours with a body of its own.
pub(crate) fn answer(status: u16, kind: &str, body: &[u8], close: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    decimal(u64::from(status), out);
    out.push(b' ');
    out.extend_from_slice(crate::io::refusal::phrase(status).as_bytes());
    out.extend_from_slice(b"\r\n");
    field(b"Content-Type", kind.as_bytes(), out);
    field(b"Cache-Control", b"no-store", out);
    if close {
        field(b"Connection", b"close", out);
    }
    length(body.len() as u64, out);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
}

/// How a response body goes to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// No body, and the head says what the origin's said.
    Bare(Option<u64>),
    /// As many bytes as announced.
    Length(u64),
    /// In chunks of ours.
    Chunked,
    /// Until the connection ends: for an HTTP/1.0 client.
    UntilClose,
}

impl Delivery {
    /// How a body that the origin frames in one way reaches a client of `version`.
    pub(crate) fn of(framing: ResponseFraming, announced: Option<u64>, version: Version) -> Delivery {
        match framing {
            ResponseFraming::None => Delivery::Bare(announced),
            ResponseFraming::Length(n) => Delivery::Length(n),
            ResponseFraming::Chunked | ResponseFraming::UntilClose if version == Version::Http10 => {
                Delivery::UntilClose
            }
            ResponseFraming::Chunked | ResponseFraming::UntilClose => Delivery::Chunked,
        }
    }
}

/// Appends the response head for the client.
pub(crate) fn response(head: &ResponseHead<'_>, delivery: Delivery, close: bool, out: &mut Vec<u8>) {
    status_line(head, out);
    for (name, value) in head.headers.end_to_end() {
        field(name, value, out);
    }
    match delivery {
        Delivery::Bare(Some(n)) | Delivery::Length(n) => length(n, out),
        Delivery::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Delivery::Bare(None) | Delivery::UntilClose => {}
    }
    if close || delivery == Delivery::UntilClose {
        out.extend_from_slice(b"Connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends an interim (1xx) response head.
pub(crate) fn interim(head: &ResponseHead<'_>, out: &mut Vec<u8>) {
    status_line(head, out);
    for (name, value) in head.headers.end_to_end() {
        field(name, value, out);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the size line of a chunk of `n` bytes (RFC 9112 §7.1).
pub(crate) fn chunk_size(n: usize, out: &mut Vec<u8>) {
    let digits = (usize::BITS - n.leading_zeros()).div_ceil(4).max(1);
    for place in (0..digits).rev() {
        out.push(b"0123456789abcdef"[n >> (4 * place) & 0xf]);
    }
    out.extend_from_slice(b"\r\n");
}

/// The end of a chunked body, without trailers.
pub(crate) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

fn status_line(head: &ResponseHead<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    decimal(u64::from(head.status), out);
    out.push(b' ');
    out.extend_from_slice(head.reason);
    out.extend_from_slice(b"\r\n");
}

fn field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn length(n: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"Content-Length: ");
    decimal(n, out);
    out.extend_from_slice(b"\r\n");
}

/// Appends `n` in decimal, without the formatting machinery.
fn decimal(mut n: u64, out: &mut Vec<u8>) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b"0123456789"[(n % 10) as usize];
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_formatter_writes_them() {
        for n in [0, 1, 9, 10, 99, 100, 12_345, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            decimal(n, &mut out);
            assert_eq!(out, n.to_string().into_bytes());
        }
        for n in [0, 1, 15, 16, 255, 256, 4096, usize::MAX] {
            let mut out = Vec::new();
            chunk_size(n, &mut out);
            assert_eq!(out, format!("{n:x}\r\n").into_bytes());
        }
    }
}
