//! The archives: facts in, rkyv bytes out, and back with every byte checked.
//!
//! Each kind has a schema id, kind in the high octet and version in the low one, so that a later layout is a new id and old logs stay
//! readable. Texts are never absent in an archive, only empty; small numbers are 0 where the fact is absent; words are the codes of
//! [`super::facts`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rkyv::api::low;
use rkyv::rancor::Failure;
use rkyv::with::AsString;
use rkyv::{Archive, Serialize};

use super::facts::{Inspected, Topic};
use super::times::{ArchivedSpan, Span};
use crate::limits::AUDIT_INDEX_SPANS;

mod emplace;
mod encode;

/// Identifies the layout of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Schema(pub u16);

impl Schema {
    /// [`Decision`] about a request or message.
    pub const DECISION: Self = Self(0x0101);
    /// [`Message`]: a decision about an MCP message.
    pub const MESSAGE: Self = Self(0x0102);
    /// [`Decision`] about a tunnel.
    pub const TUNNEL: Self = Self(0x0201);
    /// [`Decision`] about a name.
    pub const DNS: Self = Self(0x0301);
    /// [`Outcome`].
    pub const OUTCOME: Self = Self(0x0401);
    /// [`Event`].
    pub const LIFECYCLE: Self = Self(0x0501);
    /// [`Gap`].
    pub const GAP: Self = Self(0x0601);
    /// [`Seal`] without an index, as earlier versions wrote it.
    pub const BARE_SEAL: Self = Self(0x0702);
    /// [`IndexedSeal`].
    pub const SEAL: Self = Self(0x0703);

    pub(super) const fn of(topic: Topic) -> Self {
        match topic {
            Topic::Decision => Self::DECISION,
            Topic::Tunnel => Self::TUNNEL,
            Topic::Dns => Self::DNS,
        }
    }

    /// The `kind` that the contract prints; `unknown` for kinds of later versions.
    pub const fn kind(self) -> &'static str {
        match self.0 >> 8 {
            1 => "decision",
            2 => "tunnel",
            3 => "dns",
            4 => "outcome",
            5 => "lifecycle",
            6 => "gap",
            7 => "seal",
            _ => "unknown",
        }
    }
}

/// A socket address of fixed size: 20 octets, `family` 0 (absent), 4 or 6.
#[derive(Archive, Serialize, Clone, Copy, Debug, Default)]
pub struct Address {
    ip: [u8; 16],
    port: u16,
    family: [u8; 2],
}

impl From<Option<SocketAddr>> for Address {
    #[inline(always)]
    fn from(address: Option<SocketAddr>) -> Self {
        let Some(address) = address else { return Self::default() };
        let (ip, family) = match address.ip() {
            IpAddr::V4(v4) => {
                let mut ip = [0; 16];
                ip[..4].copy_from_slice(&v4.octets());
                (ip, 4)
            }
            IpAddr::V6(v6) => (v6.octets(), 6),
        };
        Self { ip, port: address.port(), family: [family, 0] }
    }
}

impl ArchivedAddress {
    /// The address, when there is one.
    pub fn get(&self) -> Option<SocketAddr> {
        let [a, b, c, d, ..] = self.ip;
        let ip = match self.family[0] {
            4 => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
            6 => IpAddr::V6(Ipv6Addr::from(self.ip)),
            _ => return None,
        };
        Some(SocketAddr::new(ip, self.port.to_native()))
    }
}

/// Archive of [`DecisionFacts`](super::facts::DecisionFacts).
#[derive(Archive, Serialize, Debug)]
#[allow(missing_docs, reason = "the fields are those of DecisionFacts")]
pub struct Decision<'a> {
    pub id: [u8; 16],
    pub connection: u64,
    pub decide_ns: u64,
    pub policy: [u8; 32],
    pub source: Address,
    pub destination: Address,
    pub upstream: Address,
    pub port: u16,
    pub status: u16,
    pub mode: u8,
    pub protocol: u8,
    pub scheme: u8,
    pub verdict: u8,
    pub inspected: u8,
    /// [`flag`]s.
    pub flags: u8,
    #[rkyv(with = AsString)]
    pub agent: &'a str,
    #[rkyv(with = AsString)]
    pub sni: &'a str,
    #[rkyv(with = AsString)]
    pub host: &'a str,
    #[rkyv(with = AsString)]
    pub method: &'a str,
    #[rkyv(with = AsString)]
    pub path: &'a str,
    #[rkyv(with = AsString)]
    pub query: &'a str,
    #[rkyv(with = AsString)]
    pub rule: &'a str,
    #[rkyv(with = AsString)]
    pub reason: &'a str,
    #[rkyv(with = AsString)]
    pub code: &'a str,
}

/// Archive of [`DecisionFacts`](super::facts::DecisionFacts) about an MCP message.
#[derive(Archive, Serialize, Debug)]
#[allow(missing_docs, reason = "the fields are those of McpFacts")]
pub struct Message<'a> {
    pub decision: Decision<'a>,
    pub arguments_digest: [u8; 32],
    pub transport: u8,
    /// [`flag`]s: of the digest and of the texts here.
    pub flags: u8,
    #[rkyv(with = AsString)]
    pub server: &'a str,
    #[rkyv(with = AsString)]
    pub version: &'a str,
    #[rkyv(with = AsString)]
    pub method: &'a str,
    #[rkyv(with = AsString)]
    pub tool: &'a str,
    #[rkyv(with = AsString)]
    pub resource: &'a str,
    #[rkyv(with = AsString)]
    pub prompt: &'a str,
}

/// Archive of [`OutcomeFacts`](super::facts::OutcomeFacts).
#[derive(Archive, Serialize, Debug)]
#[allow(missing_docs, reason = "the fields are those of OutcomeFacts")]
pub struct Outcome<'a> {
    pub id: [u8; 16],
    pub bytes_up: u64,
    pub bytes_down: u64,
    pub upstream_ns: u64,
    pub total_ns: u64,
    pub upstream: Address,
    pub status: u16,
    /// [`flag`]s.
    pub flags: u8,
    #[rkyv(with = AsString)]
    pub code: &'a str,
    /// What went wrong; with [`flag::LOCATION`] the host that the response leads to.
    #[rkyv(with = AsString)]
    pub error: &'a str,
}

/// Archive of [`LifecycleFacts`](super::facts::LifecycleFacts).
#[derive(Archive, Serialize, Debug)]
#[allow(missing_docs, reason = "the fields are those of LifecycleFacts")]
pub struct Event<'a> {
    pub policy: [u8; 32],
    pub process: u32,
    pub event: u8,
    pub mode: u8,
    /// [`flag`]s.
    pub flags: u8,
    #[rkyv(with = AsString)]
    pub version: &'a str,
    #[rkyv(with = AsString)]
    pub agent: &'a str,
    #[rkyv(with = AsString)]
    pub detail: &'a str,
}

/// What one ring refused since the last gap record of that ring; exact.
#[derive(Archive, Serialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gap {
    /// The ring.
    pub ring: u32,
    /// 1: the ring was full; 2: the log could not be written.
    pub cause: u32,
    /// Allows that became refusals.
    pub allows: u64,
    /// Refusals without a record of their own.
    pub denies: u64,
    /// Other records that were not taken.
    pub events: u64,
}

/// The signed end of a segment: the last record of each that was closed in good order.
#[derive(Archive, Serialize, Clone, Copy, Debug)]
pub struct Seal {
    /// The segment.
    pub segment: u64,
    /// Records of the log before this one, which is this one's `seq`.
    pub records: u64,
    /// Link of the record before this one.
    pub link: [u8; 32],
    /// Root of the Merkle tree over the links of the segment's records before this one.
    pub root: [u8; 32],
    /// Ed25519 public key.
    pub key: [u8; 32],
    /// Ed25519 signature over [`super::head::seal_text`].
    pub signature: [u8; 64],
}

/// A seal, and where in its segment which times are.
#[derive(Archive, Serialize, Clone, Copy, Debug)]
pub struct IndexedSeal {
    /// What is sealed.
    pub seal: Seal,
    /// The stretches of the segment, in order; unused ones at the end.
    pub index: [Span; AUDIT_INDEX_SPANS],
}

/// Bits of the `flags` octets.
pub mod flag {
    /// A deny that was only watched.
    pub const WATCHED: u8 = 1;
    /// A text was longer than the record takes and was cut.
    pub const CUT: u8 = 2;
    /// There was a query, whose text is not kept.
    pub const QUERY_REDACTED: u8 = 4;
    /// There was a query, and `query` is its text.
    pub const QUERY_KEPT: u8 = 8;
    /// `policy` is set.
    pub const POLICY: u8 = 16;
    /// The exchange was dropped before anyone could say how it ended; numbers are not known.
    pub const ABORTED: u8 = 32;
    /// `arguments_digest` is set.
    pub const ARGUMENTS: u8 = 64;
    /// `error` is the host of a redirect.
    pub const LOCATION: u8 = 128;
}

/// A payload that was checked, borrowed from its bytes.
#[derive(Clone, Copy)]
#[allow(missing_docs, reason = "one variant a kind")]
pub enum Body<'a> {
    Decision(&'a ArchivedDecision<'a>),
    Message(&'a ArchivedMessage<'a>),
    Tunnel(&'a ArchivedDecision<'a>),
    Dns(&'a ArchivedDecision<'a>),
    Outcome(&'a ArchivedOutcome<'a>),
    Lifecycle(&'a ArchivedEvent<'a>),
    Gap(&'a ArchivedGap),
    Seal(&'a ArchivedSeal),
    /// A kind or version that this reader does not know: in order as far as the chain goes.
    Unknown,
}

/// The payload is no archive of the schema it claims to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotThatArchive;

/// Checks the payload of a record against its schema. `payload` starts at an address that is a multiple of 8.
pub fn body(schema: Schema, payload: &[u8]) -> Result<Body<'_>, NotThatArchive> {
    let wrong = |_: Failure| NotThatArchive;
    Ok(match schema {
        Schema::DECISION => Body::Decision(low::access(payload).map_err(wrong)?),
        Schema::MESSAGE => Body::Message(low::access(payload).map_err(wrong)?),
        Schema::TUNNEL => Body::Tunnel(low::access(payload).map_err(wrong)?),
        Schema::DNS => Body::Dns(low::access(payload).map_err(wrong)?),
        Schema::OUTCOME => Body::Outcome(low::access(payload).map_err(wrong)?),
        Schema::LIFECYCLE => Body::Lifecycle(low::access(payload).map_err(wrong)?),
        Schema::GAP => Body::Gap(low::access(payload).map_err(wrong)?),
        Schema::BARE_SEAL => Body::Seal(low::access(payload).map_err(wrong)?),
        Schema::SEAL => Body::Seal(&low::access::<ArchivedIndexedSeal, Failure>(payload).map_err(wrong)?.seal),
        _ => Body::Unknown,
    })
}

/// The index of the payload of a [`Schema::SEAL`].
pub(super) fn index(payload: &[u8]) -> Result<&[ArchivedSpan; AUDIT_INDEX_SPANS], NotThatArchive> {
    low::access::<ArchivedIndexedSeal, Failure>(payload).map(|sealed| &sealed.index).map_err(|_| NotThatArchive)
}

impl<'a> Body<'a> {
    /// The decision in it, whatever it is about.
    pub fn decision(&self) -> Option<&'a ArchivedDecision<'a>> {
        match self {
            Body::Decision(decision) | Body::Tunnel(decision) | Body::Dns(decision) => Some(decision),
            Body::Message(message) => Some(&message.decision),
            _ => None,
        }
    }
}

impl ArchivedDecision<'_> {
    /// The set of what was looked at.
    pub fn looked_at(&self) -> Inspected {
        Inspected(self.inspected)
    }
}
