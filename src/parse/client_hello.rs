//! The ClientHello of a TLS connection: where the client wants to go, and what it offers to speak there.
//!
//! It is read before anything is answered, so that a name that policy does not know is refused without a certificate being made for it. Only
//! the record and handshake layers (RFC 8446 §5.1 and §4) and three extensions are understood; the same bytes go to rustls afterwards, which
//! judges everything else. Encrypted ClientHello is ignored: the outer name is what counts, and clients offer a meaningless one at random
//! (RFC 9849).

use std::borrow::Cow;
use std::fmt;

use super::Progress;
use super::host::{Host, host};
use crate::limits::CLIENT_HELLO_BYTES_MAX;

/// The facts of a ClientHello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientHello {
    /// The server name.
    pub sni: Sni,
    /// The application protocols.
    pub alpn: Alpn,
    /// Whether TLS 1.3 is among the versions offered.
    pub tls13: bool,
}

/// The server name indication (RFC 6066 §3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sni {
    /// The extension is not there.
    Absent,
    /// Canonical: lower-case, without a final dot, not an address.
    Name(Box<str>),
}

impl Sni {
    /// The name, where there is one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Sni::Absent => None,
            Sni::Name(name) => Some(name),
        }
    }
}

/// The application protocols offered (RFC 7301 §3.1), in the client's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alpn(Option<Box<[u8]>>);

impl Alpn {
    /// Whether the extension is not there.
    pub fn is_absent(&self) -> bool {
        self.0.is_none()
    }

    /// Whether `protocol` is offered.
    pub fn offers(&self, protocol: &[u8]) -> bool {
        self.iter().any(|offered| offered == protocol)
    }

    /// The protocols.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut list = Cursor(self.0.as_deref().unwrap_or_default());
        std::iter::from_fn(move || list.short_vector().ok())
    }
}

/// Walks over the records of a growing buffer. It remembers how far it has come, so that a hello that arrives one byte at a time, or in records
/// of one byte, costs no more than one that arrives at once.
#[derive(Debug, Clone, Default)]
pub struct Scan {
    /// Where the next record begins.
    record: usize,
    /// Octets of handshake message in the records before it.
    gathered: usize,
    /// The message's whole length with its header of four octets, as soon as it is known.
    message: Option<usize>,
    /// The first octets of the message, until its length is known.
    header: [u8; 4],
}

impl Scan {
    /// Looks on in `bytes`, which is everything received on the connection.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Progress<ClientHello>, HelloError> {
        loop {
            let start = self.record;
            let length = match record_length(bytes.get(start..).unwrap_or_default()) {
                Ok(Some(length)) => length,
                Ok(None) => return Ok(Progress::More),
                // A record of another type inside the message (RFC 8446 §5.1).
                Err(HelloError::NotTls) if start > 0 => return Err(HelloError::Malformed),
                Err(fault) => return Err(fault),
            };
            let body = start + RECORD_HEADER..start + RECORD_HEADER + length;
            // A length that cannot fit is refused before its bytes are waited for.
            if body.end > CLIENT_HELLO_BYTES_MAX {
                return Err(HelloError::TooLarge);
            }
            let arrived = bytes.get(body.start..bytes.len().min(body.end)).unwrap_or_default();
            self.take_header(arrived)?;
            if arrived.len() < length {
                return Ok(Progress::More);
            }
            self.gathered += length;
            self.record = body.end;
            match self.message {
                Some(message) if message < self.gathered => return Err(HelloError::Malformed),
                Some(message) if message == self.gathered => {
                    return hello(&gather(bytes, self.record)).map(Progress::Done);
                }
                _ => {}
            }
        }
    }

    /// Reads type and length of the message from the record under way.
    fn take_header(&mut self, arrived: &[u8]) -> Result<(), HelloError> {
        if self.message.is_some() {
            return Ok(());
        }
        for (slot, byte) in self.header.iter_mut().skip(self.gathered).zip(arrived) {
            *slot = *byte;
        }
        let known = (self.gathered + arrived.len()).min(self.header.len());
        if known > 0 && self.header.first() != Some(&CLIENT_HELLO) {
            return Err(HelloError::Malformed);
        }
        if known == self.header.len() {
            let [_, high, middle, low] = self.header.map(usize::from);
            let message = self.header.len() + (high << 16 | middle << 8 | low);
            if message > CLIENT_HELLO_BYTES_MAX {
                return Err(HelloError::TooLarge);
            }
            self.message = Some(message);
        }
        Ok(())
    }
}

/// Reads a ClientHello from everything received on the connection so far. For a buffer that grows, [`Scan`] does less work.
///
/// Bytes behind the record in which the message ends are not looked at.
pub fn read(bytes: &[u8]) -> Result<Progress<ClientHello>, HelloError> {
    Scan::default().read(bytes)
}

/// The length of the record that begins here, as soon as it is known; an error as soon as this cannot be a handshake record.
fn record_length(record: &[u8]) -> Result<Option<usize>, HelloError> {
    // RFC 8446 §5.1: the record version is 3.1 in a first flight, and may be 3.3; older stacks write 3.0.
    match *record {
        [HANDSHAKE, 3, _, high, low, ..] => match usize::from(high) << 8 | usize::from(low) {
            0 | RECORD_BYTES_BEYOND.. => Err(HelloError::Malformed),
            length => Ok(Some(length)),
        },
        [] | [HANDSHAKE] | [HANDSHAKE, 3, ..] => Ok(None),
        _ => Err(HelloError::NotTls),
    }
}

/// The handshake message in the whole records up to `end`. One record is borrowed; several are put together, which costs an allocation.
fn gather(bytes: &[u8], end: usize) -> Cow<'_, [u8]> {
    let mut message = Cow::Borrowed([].as_slice());
    let mut rest = bytes.get(..end).unwrap_or_default();
    while let Ok(Some(length)) = record_length(rest) {
        let fragment = rest.get(RECORD_HEADER..RECORD_HEADER + length).unwrap_or_default();
        if message.is_empty() {
            message = Cow::Borrowed(fragment);
        } else {
            message.to_mut().extend_from_slice(fragment);
        }
        rest = rest.get(RECORD_HEADER + length..).unwrap_or_default();
    }
    message
}

/// RFC 8446 §4.1.2. The vectors must fill the message exactly.
fn hello(message: &[u8]) -> Result<ClientHello, HelloError> {
    let mut body = Cursor(message);
    let _header = body.take(4)?;
    let version = body.u16()?;
    let _random = body.take(32)?;
    let session = body.short_vector()?;
    let suites = body.long_vector()?;
    let compressions = body.short_vector()?;
    // SSL 3.0 and everything before end here.
    if version < TLS10 || session.len() > 32 || suites.is_empty() || suites.len() % 2 != 0 || compressions.is_empty() {
        return Err(HelloError::Malformed);
    }
    // TLS 1.2 lets a client leave the whole block out.
    let extensions = if body.is_empty() { &[] } else { body.long_vector()? };
    if !body.is_empty() {
        return Err(HelloError::Malformed);
    }
    extensions_of(extensions)
}

fn extensions_of(block: &[u8]) -> Result<ClientHello, HelloError> {
    let mut facts = ClientHello { sni: Sni::Absent, alpn: Alpn(None), tls13: false };
    let mut seen = Seen::default();
    let mut block = Cursor(block);
    while !block.is_empty() {
        let kind = block.u16()?;
        let body = Cursor(block.long_vector()?);
        // RFC 8446 §4.2: no two extensions of the same type. Only those that are read here can mislead us; rustls checks the rest.
        match kind {
            SERVER_NAME => {
                once(&mut seen.sni)?;
                facts.sni = server_name(body)?;
            }
            ALPN => {
                once(&mut seen.alpn)?;
                facts.alpn = protocols(body)?;
            }
            SUPPORTED_VERSIONS => {
                once(&mut seen.versions)?;
                facts.tls13 = offers_tls13(body)?;
            }
            _ => {}
        }
    }
    Ok(facts)
}

#[derive(Default)]
struct Seen {
    sni: bool,
    alpn: bool,
    versions: bool,
}

fn once(seen: &mut bool) -> Result<(), HelloError> {
    if std::mem::replace(seen, true) { Err(HelloError::Malformed) } else { Ok(()) }
}

/// RFC 6066 §3: one name of type host_name, in ASCII, without a final dot, and no address.
fn server_name(mut body: Cursor<'_>) -> Result<Sni, HelloError> {
    let mut list = Cursor(body.long_vector()?);
    let kind = list.take(1)?;
    let name = list.long_vector()?;
    if !body.is_empty() {
        return Err(HelloError::Malformed);
    }
    if kind != [HOST_NAME] || !list.is_empty() || name.ends_with(b".") {
        return Err(HelloError::Sni);
    }
    let name = std::str::from_utf8(name).map_err(|_| HelloError::Sni)?;
    match host(name) {
        Ok(Host::Name(name)) => Ok(Sni::Name(name.into_owned().into_boxed_str())),
        Ok(Host::V4(_) | Host::V6(_)) | Err(_) => Err(HelloError::Sni),
    }
}

fn protocols(mut body: Cursor<'_>) -> Result<Alpn, HelloError> {
    let list = body.long_vector()?;
    let mut names = Cursor(list);
    if list.is_empty() || !body.is_empty() {
        return Err(HelloError::Malformed);
    }
    while !names.is_empty() {
        if names.short_vector()?.is_empty() {
            return Err(HelloError::Malformed);
        }
    }
    Ok(Alpn(Some(list.into())))
}

fn offers_tls13(mut body: Cursor<'_>) -> Result<bool, HelloError> {
    let versions = body.short_vector()?;
    if versions.is_empty() || versions.len() % 2 != 0 || !body.is_empty() {
        return Err(HelloError::Malformed);
    }
    Ok(versions.chunks_exact(2).any(|version| version == TLS13))
}

/// What is left of a structure of the TLS presentation language (RFC 8446 §3).
struct Cursor<'b>(&'b [u8]);

impl<'b> Cursor<'b> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, length: usize) -> Result<&'b [u8], HelloError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(HelloError::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, HelloError> {
        match *self.take(2)? {
            [high, low] => Ok(u16::from_be_bytes([high, low])),
            _ => Err(HelloError::Malformed),
        }
    }

    /// A vector with a length of one octet.
    fn short_vector(&mut self) -> Result<&'b [u8], HelloError> {
        let length = self.take(1)?.first().copied().unwrap_or_default();
        self.take(usize::from(length))
    }

    /// A vector with a length of two octets.
    fn long_vector(&mut self) -> Result<&'b [u8], HelloError> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }
}

const RECORD_HEADER: usize = 5;
/// One more than RFC 8446 §5.1 allows in a record.
const RECORD_BYTES_BEYOND: usize = (1 << 14) + 1;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const TLS10: u16 = 0x0301;
const TLS13: [u8; 2] = [3, 4];
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;
const HOST_NAME: u8 = 0;

/// Why there is no ClientHello, or why it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HelloError {
    /// The connection does not begin with a TLS handshake record.
    NotTls,
    /// More than [`CLIENT_HELLO_BYTES_MAX`] octets.
    TooLarge,
    /// Against the grammar.
    Malformed,
    /// The server name is not one DNS name: an address, several names, another type, a final dot, or characters that no name has.
    Sni,
}

impl HelloError {
    /// The stable word for the record.
    pub fn code(&self) -> &'static str {
        match self {
            HelloError::NotTls => "not_tls",
            HelloError::TooLarge | HelloError::Malformed => "malformed",
            HelloError::Sni => "sni",
        }
    }

    /// The TLS alert with which the connection is refused (RFC 8446 §6); none where the client does not speak TLS.
    pub fn alert(&self) -> Option<u8> {
        match self {
            HelloError::NotTls => None,
            HelloError::TooLarge => Some(47),
            HelloError::Malformed => Some(50),
            HelloError::Sni => Some(112),
        }
    }
}

impl fmt::Display for HelloError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HelloError::NotTls => out.write_str("the connection does not begin with a TLS handshake"),
            HelloError::TooLarge => write!(out, "the ClientHello is longer than {CLIENT_HELLO_BYTES_MAX} bytes"),
            HelloError::Malformed => out.write_str("the ClientHello is malformed"),
            HelloError::Sni => out.write_str("the TLS server name is not one DNS name"),
        }
    }
}

impl std::error::Error for HelloError {}

#[cfg(any(test, fuzzing))]
pub mod properties;
#[cfg(test)]
mod tests;
