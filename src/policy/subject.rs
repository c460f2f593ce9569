//! The facts of one request that a policy may speak about.
//!
//! A subject is a bundle of borrowed, already canonical facts: the parse floor canonicalises, this floor decides. Nothing here is
//! decoded, lower-cased or resolved again.

use std::net::{IpAddr, Ipv4Addr};

/// The scheme of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// The scheme as it stands in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// The port that a URL of this scheme means when it names none (RFC 9110 §4.2).
    pub fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// The host that a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Host<'a> {
    /// A canonical name: lower-case, letters, digits, hyphens and underscores, no trailing dot.
    Name(&'a str),
    /// An address literal.
    Address(IpAddr),
}

/// The facts of one request.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Who asks.
    pub agent: &'a str,
    /// The scheme of the request.
    pub scheme: Scheme,
    /// The host asked for.
    pub host: Host<'a>,
    /// The port asked for.
    pub port: u16,
    /// The address that would be dialled; `None` before resolution. A host that is an address stands for itself. While it is unknown,
    /// an allow with `cidr` counts as possible and a deny with `cidr` as not matching; a permit so made does not pass
    /// [`super::Permit::vet`] when some rule has a `cidr`.
    pub address: Option<IpAddr>,
    /// The method, as sent.
    pub method: &'a str,
    /// Every way the path may be read, the canonical one first. An empty list satisfies no path condition of an allow.
    pub paths: &'a [&'a str],
}

impl Subject<'_> {
    /// The address that `cidr` conditions look at.
    pub(super) fn dialled(&self) -> Option<IpAddr> {
        let literal = match self.host {
            Host::Address(address) => Some(address),
            Host::Name(_) => None,
        };
        self.address.or(literal).map(|address| address.to_canonical())
    }
}

/// The IPv4 address that an IPv6 address carries inside, if it is of a kind that does: IPv4-mapped, IPv4-compatible and
/// IPv4-translated (RFC 4291 §2.5.5, RFC 2765), NAT64 (RFC 6052, RFC 8215), 6to4 (RFC 3056), Teredo (RFC 4380) and ISATAP (RFC 5214).
pub(super) fn embedded_v4(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(v6) = address else { return None };
    let s = v6.segments();
    let join = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    };
    match s {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => Some(join(high, low)),
        [0, 0, 0, 0, 0xffff, 0, high, low] => Some(join(high, low)),
        [0x64, 0xff9b, 0 | 1, _, _, _, high, low] => Some(join(high, low)),
        [0x2002, high, low, ..] => Some(join(high, low)),
        [0x2001, 0, _, _, _, _, high, low] => Some(join(!high, !low)),
        [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => Some(join(high, low)),
        _ => None,
    }
}
