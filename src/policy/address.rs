//! Which addresses a permit may be used for.
//!
//! A name that an agent may ask for can resolve to anything, so every address is vetted after resolution, and only a vetted address can
//! be dialled: [`Vetted`] has no public constructor. Sources: the IANA special-purpose registries (RFC 6890), RFC 4291 and the
//! transition mechanisms that carry an IPv4 address inside an IPv6 one.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::decide::Permit;
use super::model::Rule;
use super::subject::embedded_v4;
use super::{Policy, model};

/// Where the address to be dialled comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// A resolver's answer, or an address literal of the request.
    Resolved,
    /// The same, and the address is one of this machine's own.
    Here,
    /// `upstreams:` of the policy.
    Upstream,
}

/// An address that may be dialled under the permit it was vetted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vetted(SocketAddr);

impl Vetted {
    /// The address in canonical form (an IPv4-mapped one as IPv4).
    pub fn address(self) -> SocketAddr {
        self.0
    }
}

/// Why an address may not be dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressRefusal {
    /// The address serves instance metadata.
    Metadata,
    /// The address is one of our own listeners.
    OwnListener,
    /// The address is private, loopback, link-local, this machine's own or otherwise not globally reachable, and neither an upstream nor a
    /// `cidr` of the winning allow names it.
    Special,
    /// Some rule has a `cidr`, and the permit was decided for no address or for another one.
    Undecided,
    /// The permit was made by another policy than the one asked.
    Stale,
}

impl AddressRefusal {
    /// The stable word for the refusal and the record: `metadata`, `own_listener` or `address`.
    pub fn code(self) -> &'static str {
        match self {
            AddressRefusal::Metadata => "metadata",
            AddressRefusal::OwnListener => "own_listener",
            AddressRefusal::Special | AddressRefusal::Undecided | AddressRefusal::Stale => "address",
        }
    }
}

impl fmt::Display for AddressRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AddressRefusal::Metadata => "the address serves instance metadata, which is never dialled",
            AddressRefusal::OwnListener => "the address is one of the proxy's own listeners",
            AddressRefusal::Special => {
                "the address is not public; name it in `upstreams` or in a `cidr` of the rule that allows it"
            }
            AddressRefusal::Undecided => "the request was not decided for this address",
            AddressRefusal::Stale => "the request was decided by another policy",
        })
    }
}

impl std::error::Error for AddressRefusal {}

impl Permit {
    /// Vets the address that is about to be dialled. `own` holds the proxy's listeners; one on the unspecified address stands for its
    /// port on every loopback address, so a caller that listens on all interfaces adds their addresses.
    ///
    /// # Errors
    /// [`AddressRefusal`]; nothing relaxes it: neither `mode: monitor`, nor a rule's `monitor`, nor `default: allow`.
    pub fn vet(
        &self,
        policy: &Policy,
        address: SocketAddr,
        via: Via,
        own: &[SocketAddr],
    ) -> Result<Vetted, AddressRefusal> {
        let ip = address.ip().to_canonical();
        let canonical = SocketAddr::new(ip, address.port());
        if own.iter().any(|listener| is_own(canonical, *listener)) {
            return Err(AddressRefusal::OwnListener);
        }
        if is_metadata(ip) {
            return Err(AddressRefusal::Metadata);
        }
        if *policy.digest() != self.policy {
            return Err(AddressRefusal::Stale);
        }
        if policy.needs_address() && self.address != Some(ip) {
            return Err(AddressRefusal::Undecided);
        }
        let named = via == Via::Upstream || self.allow(policy).is_some_and(|rule| names(rule, ip));
        if (is_special(ip) || via == Via::Here) && !named {
            Err(AddressRefusal::Special)
        } else {
            Ok(Vetted(canonical))
        }
    }
}

/// Whether the rule itself has a `cidr` that contains the address.
fn names(rule: &Rule, ip: IpAddr) -> bool {
    let model::Conditions { blocks, .. } = &rule.when;
    blocks.as_ref().is_some_and(|blocks| blocks.iter().any(|block| block.contains(&ip)))
}

fn is_own(address: SocketAddr, listener: SocketAddr) -> bool {
    let own = listener.ip().to_canonical();
    let everywhere = own.is_unspecified() && (address.ip().is_loopback() || address.ip().is_unspecified());
    listener.port() == address.port() && (own == address.ip() || everywhere)
}

/// Addresses under which clouds serve instance metadata and credentials: AWS (IMDS, ECS, EKS), Google, Azure (both), Alibaba,
/// Oracle. An IPv4 one counts inside an IPv6 address as well.
pub(super) fn is_metadata(ip: IpAddr) -> bool {
    const V4: [Ipv4Addr; 6] = [
        Ipv4Addr::new(169, 254, 169, 254),
        Ipv4Addr::new(169, 254, 170, 2),
        Ipv4Addr::new(169, 254, 170, 23),
        Ipv4Addr::new(100, 100, 100, 200),
        Ipv4Addr::new(168, 63, 129, 16),
        Ipv4Addr::new(192, 0, 0, 192),
    ];
    const V6: [Ipv6Addr; 3] = [
        Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
        Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
        Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    ];
    match ip.to_canonical() {
        IpAddr::V4(v4) => V4.contains(&v4),
        IpAddr::V6(v6) => V6.contains(&v6) || embedded_v4(ip).is_some_and(|v4| V4.contains(&v4)),
    }
}

/// Whether the address is not an ordinary public one.
pub(super) fn is_special(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => SPECIAL_V4.iter().any(|(network, prefix)| {
            let mask = u32::MAX.checked_shl(32 - u32::from(*prefix)).unwrap_or(0);
            u32::from(v4) & mask == u32::from(Ipv4Addr::from(*network))
        }),
        IpAddr::V6(v6) => is_special_v6(v6),
    }
}

/// Only 2000::/3 is handed out for global unicast (RFC 4291 §2.4); within it, what is reserved for documentation, protocols or carries
/// an IPv4 address is special too. NAT64 prefixes lie outside 2000::/3.
fn is_special_v6(v6: Ipv6Addr) -> bool {
    let [first, second, ..] = v6.segments();
    let global = first & 0xe000 == 0x2000;
    let protocols = first == 0x2001 && second < 0x0200; // 2001::/23: Teredo, benchmarking, ORCHID
    let documentation = first == 0x2001 && second == 0x0db8 || first == 0x3fff && second < 0x1000;
    let six_to_four = first == 0x2002;
    !global || protocols || documentation || six_to_four || embedded_v4(IpAddr::V6(v6)).is_some()
}

/// IPv4 blocks that are not globally reachable, are multicast or reserved.
const SPECIAL_V4: [([u8; 4], u8); 16] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([168, 63, 129, 16], 32),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
];

#[cfg(test)]
mod tests;
