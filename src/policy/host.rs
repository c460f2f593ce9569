//! Host patterns: a name, `*.` with a suffix, an address, or any host.

use std::cmp::Ordering;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::subject::Host;
use crate::limits;

/// What `host` in a rule may name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// `*`: every host.
    Any,
    /// Exactly this name, lower-case and without a trailing dot.
    Name(Box<str>),
    /// `*.example.com`: one or more labels in front of this name, never the name itself.
    Below(Box<str>),
    /// Exactly this address, in canonical form.
    Address(IpAddr),
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Name(name) => f.write_str(name),
            Self::Below(name) => write!(f, "*.{name}"),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}

/// Why a text is no host pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostError {
    /// The text is empty.
    Empty,
    /// The text is a URL or holds a path.
    Url,
    /// The text ends in a port.
    Port {
        /// The text in front of the port.
        host: String,
    },
    /// The text is an address block.
    Block,
    /// A `*` stands elsewhere than as the whole first label.
    Star,
    /// The text holds a character that no canonical name has; `true` if it is not ASCII.
    Character(char),
    /// A label is empty or longer than 63 octets, or the name is longer than 253.
    Label,
    /// A label begins or ends with a hyphen.
    Hyphen,
    /// The last label is numeric, but the text is no dotted quad (`127.1`, `0x7f000001`).
    OddAddress,
}

impl HostPattern {
    /// Reads a pattern; case and one trailing dot are canonicalised.
    ///
    /// # Errors
    /// [`HostError`] for a text that no canonical host could match.
    pub fn read(text: &str) -> Result<Self, HostError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        if let Some(suffix) = text.strip_prefix("*.") {
            return match read_host(suffix)? {
                HostKey::Name(name) => Ok(Self::Below(name)),
                HostKey::Address(_) => Err(HostError::Star),
            };
        }
        Ok(match read_host(text)? {
            HostKey::Name(name) => Self::Name(name),
            HostKey::Address(address) => Self::Address(address),
        })
    }

    /// Whether the host matches.
    pub fn matches(&self, host: Host<'_>) -> bool {
        match (self, host) {
            (Self::Any, _) => true,
            (Self::Name(name), Host::Name(asked)) => **name == *asked,
            (Self::Below(suffix), Host::Name(asked)) => {
                asked.strip_suffix(&**suffix).is_some_and(|labels| labels.len() > 1 && labels.ends_with('.'))
            }
            (Self::Address(address), Host::Address(asked)) => *address == asked.to_canonical(),
            _ => false,
        }
    }
}

/// A host as a key of `upstreams` names it, canonical.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostKey {
    /// A name.
    Name(Box<str>),
    /// An address.
    Address(IpAddr),
}

impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}

impl HostKey {
    /// Orders a key against a host as keys are ordered among themselves.
    pub(super) fn compare(&self, host: Host<'_>) -> Ordering {
        match (self, host) {
            (HostKey::Name(name), Host::Name(asked)) => (**name).cmp(asked),
            (HostKey::Name(_), Host::Address(_)) => Ordering::Less,
            (HostKey::Address(_), Host::Name(_)) => Ordering::Greater,
            (HostKey::Address(address), Host::Address(asked)) => address.cmp(&asked.to_canonical()),
        }
    }
}

pub(super) fn read_host(text: &str) -> Result<HostKey, HostError> {
    if text.is_empty() {
        return Err(HostError::Empty);
    }
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let v6 = inner.parse::<Ipv6Addr>().map_err(|_| HostError::OddAddress)?;
        return Ok(HostKey::Address(IpAddr::V6(v6).to_canonical()));
    }
    if let Ok(v6) = text.parse::<Ipv6Addr>() {
        return Ok(HostKey::Address(IpAddr::V6(v6).to_canonical()));
    }
    if text.contains("://") {
        return Err(HostError::Url);
    }
    if let Some((front, back)) = text.split_once('/') {
        let block = front.parse::<IpAddr>().is_ok() && back.parse::<u8>().is_ok();
        return Err(if block { HostError::Block } else { HostError::Url });
    }
    if let Some((host, port)) = text.rsplit_once(':')
        && port.parse::<u16>().is_ok()
    {
        return Err(HostError::Port { host: host.to_owned() });
    }
    read_name(text)
}

fn read_name(text: &str) -> Result<HostKey, HostError> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if name.contains('*') {
        return Err(HostError::Star);
    }
    let odd = |c: &char| !matches!(c, 'a'..='z' | '0'..='9' | '-' | '_' | '.');
    if let Some(character) = name.chars().find(odd) {
        return Err(HostError::Character(character));
    }
    if name.len() > limits::HOST_BYTES_MAX || name.split('.').any(|label| label.is_empty() || label.len() > 63) {
        return Err(HostError::Label);
    }
    if name.split('.').any(|label| label.starts_with('-') || label.ends_with('-')) {
        return Err(HostError::Hyphen);
    }
    // What the system's resolver would read as an address (inet_aton: `127.1`, `0x7f.1`, `2130706433`) is never a name.
    let last = name.rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.strip_prefix("0x").is_some_and(|digits| digits.chars().all(|c| c.is_ascii_hexdigit()));
    if hexadecimal || last.chars().all(|c| c.is_ascii_digit()) {
        let v4 = name.parse::<Ipv4Addr>().map_err(|_| HostError::OddAddress)?;
        return Ok(HostKey::Address(IpAddr::V4(v4)));
    }
    Ok(HostKey::Name(name.into_boxed_str()))
}

/// Names under which clouds serve instance metadata. They resolve to metadata addresses, which are never dialled; refusing the names
/// too keeps a resolver that maps them elsewhere from mattering.
pub(super) fn is_metadata_name(name: &str) -> bool {
    const NAMES: [&str; 6] = [
        "metadata",
        "metadata.google.internal",
        "metadata.goog",
        "instance-data",
        "instance-data.ec2.internal",
        "metadata.azure.internal",
    ];
    // Asked of every request, and rarely true.
    name.starts_with(['m', 'i']) && NAMES.contains(&name)
}
