//! Host names and addresses, in the one form in which the rest of the program knows them.
//!
//! The grammar is deliberately small: letters, digits, hyphens and underscores in labels, dotted quads, bracketed IPv6. What `inet_aton` or a
//! browser would also take for an address (`127.1`, `0x7f.1`, `2130706433`) is refused, so no resolver further down can see an address where
//! the policy saw a name.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::domain::Label;

use crate::limits::{HOST_BYTES_MAX, LABEL_BYTES_MAX};

/// A host. Equal hosts compare equal, whatever their case or final dot was.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host<'b> {
    /// Lower-case ASCII without a final dot; never looks like an address.
    Name(Cow<'b, str>),
    /// From a strict dotted quad.
    V4(Ipv4Addr),
    /// From brackets, without a zone. An IPv4-mapped address stays what it is.
    V6(Ipv6Addr),
}

impl Host<'_> {
    /// The name, where it is one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Host::Name(name) => Some(name),
            Host::V4(_) | Host::V6(_) => None,
        }
    }

    /// The address, where it is one.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Host::Name(_) => None,
            Host::V4(address) => Some(IpAddr::V4(*address)),
            Host::V6(address) => Some(IpAddr::V6(*address)),
        }
    }

    /// The same host, borrowing nothing.
    pub fn into_owned(self) -> Host<'static> {
        match self {
            Host::Name(name) => Host::Name(Cow::Owned(name.into_owned())),
            Host::V4(address) => Host::V4(address),
            Host::V6(address) => Host::V6(address),
        }
    }
}

impl fmt::Display for Host<'_> {
    /// As in an authority: IPv6 in brackets.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => out.write_str(name),
            Host::V4(address) => address.fmt(out),
            Host::V6(address) => write!(out, "[{address}]"),
        }
    }
}

/// Reads `host [":" port]` (RFC 3986 §3.2). User information is an error. The port is decimal, from 1 to 65535, without leading zeros.
pub fn authority(text: &str) -> Result<(Host<'_>, Option<u16>), HostError> {
    // A colon inside brackets belongs to the address; one in front of them is caught as a character of the host.
    let port_at = match text.rfind(':') {
        Some(at) if !text.ends_with(']') => at,
        _ => return Ok((host(text)?, None)),
    };
    let (host_text, port_text) = text.split_at_checked(port_at).unwrap_or((text, ""));
    let digits = port_text.get(1..).unwrap_or_default();
    Ok((host(host_text)?, Some(port(digits)?)))
}

/// Reads a host alone. IPv6 addresses stand in brackets.
pub fn host(text: &str) -> Result<Host<'_>, HostError> {
    if let Some(rest) = text.strip_prefix('[') {
        let inner = rest.strip_suffix(']').ok_or(HostError::Ipv6)?;
        return inner.parse().map(Host::V6).map_err(|_| HostError::Ipv6);
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let shape = shape(name)?;
    if shape.ends_in_number {
        // The final dot is not part of a dotted quad.
        return text.parse().map(Host::V4).map_err(|_| HostError::Ipv4);
    }
    let name = if shape.has_upper { Cow::Owned(name.to_ascii_lowercase()) } else { Cow::Borrowed(name) };
    if shape.has_ace && !name.split('.').filter(|label| label.starts_with("xn--")).all(is_ace) {
        return Err(HostError::Idna);
    }
    Ok(Host::Name(name))
}

fn port(digits: &str) -> Result<u16, HostError> {
    let sound = !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| sound).ok_or(HostError::Port)
}

/// What one pass over a name finds.
struct Shape {
    has_upper: bool,
    /// Some label begins with `xn--`.
    has_ace: bool,
    /// The last label is digits, or `0x` and hexadecimal digits: whoever parses like a browser or like inet_aton takes it for an address.
    ends_in_number: bool,
}

fn shape(name: &str) -> Result<Shape, HostError> {
    if name.is_empty() {
        return Err(HostError::Empty);
    }
    if name.len() > HOST_BYTES_MAX {
        return Err(HostError::TooLong);
    }
    let mut shape = Shape { has_upper: false, has_ace: false, ends_in_number: false };
    for label in name.as_bytes().split(|&byte| byte == b'.') {
        let mut digits = true;
        for &byte in label {
            match byte {
                b'0'..=b'9' => {}
                b'a'..=b'z' | b'-' | b'_' => digits = false,
                b'A'..=b'Z' => (digits, shape.has_upper) = (false, true),
                b'@' => return Err(HostError::UserInfo),
                _ => return Err(HostError::Character),
            }
        }
        if label.is_empty() || label.len() > LABEL_BYTES_MAX || label.starts_with(b"-") || label.ends_with(b"-") {
            return Err(HostError::Label);
        }
        shape.has_ace |= label.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case(b"xn--"));
        shape.ends_in_number = digits || is_hexadecimal(label);
    }
    Ok(shape)
}

fn is_hexadecimal(label: &[u8]) -> bool {
    matches!(label, [b'0', b'x' | b'X', digits @ ..] if digits.iter().all(u8::is_ascii_hexdigit))
}

/// Whether a label with the ACE prefix is what UTS 46 makes of some label outside ASCII. Others decode to a name that the policy did not see.
fn is_ace(label: &str) -> bool {
    Label::from_utf8(label).is_ok_and(|round| round.as_bytes() == label.as_bytes())
}

/// Why a text is no host, or no authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostError {
    /// Nothing there.
    Empty,
    /// More than [`HOST_BYTES_MAX`] octets.
    TooLong,
    /// An empty label, one of more than [`LABEL_BYTES_MAX`] octets, or one with a hyphen at an end.
    Label,
    /// A character that no host name has.
    Character,
    /// `@`.
    UserInfo,
    /// The last label is a number, and the whole is no dotted quad.
    Ipv4,
    /// Brackets around what is no IPv6 address, or not both of them.
    Ipv6,
    /// `xn--` without a name behind it.
    Idna,
    /// A port that is not a plain number from 1 to 65535.
    Port,
}

impl fmt::Display for HostError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            HostError::Empty => "the host is empty",
            HostError::TooLong => "the host is too long",
            HostError::Label => "a label of the host is empty, too long, or has a hyphen at an end",
            HostError::Character => "the host has a character that no host has",
            HostError::UserInfo => "the host has user information in front",
            HostError::Ipv4 => "the host looks like an IPv4 address and is none",
            HostError::Ipv6 => "the host is no IPv6 address in brackets",
            HostError::Idna => "a label of the host is no valid internationalized name",
            HostError::Port => "the port is not a plain number from 1 to 65535",
        })
    }
}

impl std::error::Error for HostError {}
