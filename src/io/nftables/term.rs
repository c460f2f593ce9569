//! The words of a rule: what each compares or does, in nft's syntax. `encode` has them as the kernel's expressions.

use std::{fmt, net::Ipv6Addr};

use ipnet::Ipv4Net;

/// A condition, or at the end of a rule what happens when all of them hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::io) enum Term {
    /// The packet is of this protocol.
    Protocol(Transport),
    /// It is of this protocol and goes to this port.
    Port(Transport, u16),
    /// It goes to this network: of 8, 16, 24 or 32 bits.
    ToV4(Ipv4Net),
    /// It goes to this address.
    ToV6(Ipv6Addr),
    /// It leaves by this interface.
    Out(&'static str),
    /// It leaves by another interface than this.
    NotOut(&'static str),
    /// It came by another interface than this.
    NotIn(&'static str),
    /// A socket of this user sent it.
    Owner(u32),
    /// Some process's socket sent it. (What the kernel sends by itself, and what is left of a closed socket, has no owner.)
    Owned,
    /// A socket of this control group or one below sent it.
    Cgroup {
        /// Below the root of the version 2 hierarchy; for print.
        path: String,
        /// The group's inode, which is what the kernel compares.
        id: u64,
        /// How many steps below the root.
        level: u32,
    },
    /// It claims to come from an address that is none of ours.
    Spoofed,
    /// Its destination was rewritten.
    Redirected,
    /// It answers, in a connection that came from elsewhere.
    Reply,
    /// Its connection is known.
    Established,
    /// Its connection is not known yet.
    New,
    /// Its connection is not known yet, but it is TCP and no SYN: the middle of something.
    TcpFromTheMiddle,
    /// Its connection has this mark.
    Marked(u32),
    /// Marks its connection. Only rules can: `SO_MARK` sets the mark of packets, not this.
    Mark(u32),
    /// It is ICMPv6 of this type.
    Icmpv6(Icmpv6),
    /// The IP stack routed it. (A frame from a packet socket has no route.)
    Routed,
    /// Let it pass this chain.
    Accept,
    /// Leave the chain, which of a base chain means its policy.
    Return,
    /// Lose it without a word; a local sender gets an error.
    Drop,
    /// Refuse it as administratively prohibited.
    Reject,
    /// Rewrite its destination to this port of the loopback address.
    Redirect(u16),
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::io) enum Transport {
    Tcp = 6,
    Udp = 17,
}

/// What IPv6 cannot live without on a link (RFC 4861, RFC 9777).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::io) enum Icmpv6 {
    RouterSolicitation = 133,
    NeighborSolicitation = 135,
    NeighborAdvertisement = 136,
    ListenerReport = 143,
}

impl Term {
    /// The kernel module that brings it, where that is not `nf_tables` itself.
    pub(in crate::io) fn module(&self) -> Option<&'static str> {
        match self {
            Term::Cgroup { .. } => Some("nft_socket"),
            Term::Spoofed => Some("nft_fib_inet"),
            Term::Reject => Some("nft_reject_inet"),
            Term::Redirect(_) => Some("nft_redir"),
            Term::Redirected
            | Term::Reply
            | Term::Established
            | Term::New
            | Term::TcpFromTheMiddle
            | Term::Marked(_)
            | Term::Mark(_) => Some("nft_ct"),
            _ => None,
        }
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Term::Protocol(protocol) => write!(f, "meta l4proto {protocol}"),
            Term::Port(protocol, port) => write!(f, "{protocol} dport {port}"),
            Term::ToV4(net) if net.prefix_len() == 32 => write!(f, "ip daddr {}", net.addr()),
            Term::ToV4(net) => write!(f, "ip daddr {net}"),
            Term::ToV6(address) => write!(f, "ip6 daddr {address}"),
            Term::Out(name) => write!(f, "oifname \"{name}\""),
            Term::NotOut(name) => write!(f, "oifname != \"{name}\""),
            Term::NotIn(name) => write!(f, "iifname != \"{name}\""),
            Term::Owner(user) => write!(f, "meta skuid {user}"),
            Term::Owned => write!(f, "meta skuid != {NOBODY}"),
            Term::Cgroup { path, level, .. } => write!(f, "socket cgroupv2 level {level} \"{path}\""),
            Term::Spoofed => f.write_str("fib saddr type != local"),
            Term::Redirected => f.write_str("ct status dnat"),
            Term::Reply => f.write_str("ct direction reply"),
            Term::Established => f.write_str("ct state established"),
            Term::New => f.write_str("ct state new"),
            Term::TcpFromTheMiddle => f.write_str("ct state new tcp flags != syn / fin,syn,rst,ack"),
            Term::Marked(mark) => write!(f, "ct mark {mark:#010x}"),
            Term::Mark(mark) => write!(f, "ct mark set {mark:#010x}"),
            Term::Icmpv6(kind) => write!(f, "icmpv6 type {}", kind.name()),
            Term::Routed => write!(f, "meta rtclassid != {NOBODY}"),
            Term::Accept => f.write_str("accept"),
            Term::Return => f.write_str("return"),
            Term::Drop => f.write_str("drop"),
            Term::Reject => f.write_str("reject with icmpx admin-prohibited"),
            Term::Redirect(port) => write!(f, "redirect to :{port}"),
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        })
    }
}

impl Icmpv6 {
    fn name(self) -> &'static str {
        match self {
            Icmpv6::RouterSolicitation => "nd-router-solicit",
            Icmpv6::NeighborSolicitation => "nd-neighbor-solicit",
            Icmpv6::NeighborAdvertisement => "nd-neighbor-advert",
            Icmpv6::ListenerReport => "mld2-listener-report",
        }
    }
}

/// `(uid_t) -1` and its like: what no user and no route class is, so that "not this" means "any".
pub(super) const NOBODY: u32 = u32::MAX;
