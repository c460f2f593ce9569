//! The two tables, rule by rule. The order of the rules is their meaning.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::Ipv4Net;

use crate::io::nftables::{Chain, Family, Hook, Icmpv6, Kind, Policy, Table, Term, Transport};

/// The name of both.
pub(super) const NAME: &str = "ringfence";

/// What becomes of packets.
pub(super) fn packets(listener: u16, dns: u16, exempt: &Term) -> Table {
    let chain = |name, kind, hook, priority, policy, rules| Chain {
        name,
        kind,
        hook,
        priority,
        policy,
        devices: Vec::new(),
        rules,
    };
    let chains = vec![
        chain("nat_output", Kind::Nat, Hook::Output, AHEAD_OF_DOCKER, Policy::Accept, redirects(listener, dns, exempt)),
        chain("filter_output", Kind::Filter, Hook::Output, 0, Policy::Drop, departures(exempt)),
        chain("filter_postrouting", Kind::Filter, Hook::Postrouting, 0, Policy::Accept, strays()),
        chain("filter_input", Kind::Filter, Hook::Input, 0, Policy::Accept, arrivals()),
        // A container's namespace often has forwarding switched on, and a frame that arrives by loopback would be forwarded.
        chain("filter_forward", Kind::Filter, Hook::Forward, 0, Policy::Drop, Vec::new()),
    ];
    Table { family: Family::Inet, name: NAME, chains }
}

/// The first packet of a connection goes through these; the others follow it.
fn redirects(listener: u16, dns: u16, exempt: &Term) -> Vec<Vec<Term>> {
    vec![
        vec![exempt.clone(), Term::Return],
        // Before loopback is left alone, because resolvers listen there too: 127.0.0.11, 127.0.0.53.
        vec![Term::Port(Transport::Tcp, 53), Term::Redirect(dns)],
        vec![Term::Port(Transport::Udp, 53), Term::Redirect(dns)],
        vec![Term::Out("lo"), Term::Return],
        vec![Term::Protocol(Transport::Tcp), Term::Redirect(listener)],
        // QUIC: where nobody listens it is refused at once, and the client falls back to TCP. A rejected packet would be EPERM to it.
        vec![Term::Port(Transport::Udp, 443), Term::Redirect(CLOSED_PORT)],
    ]
}

/// Every packet goes through these.
fn departures(exempt: &Term) -> Vec<Vec<Term>> {
    let redirected = |to| vec![Term::Redirected, to, Term::Accept];
    let link = |kind| vec![Term::Icmpv6(kind), Term::Accept];
    vec![
        vec![exempt.clone(), Term::Mark(OURS), Term::Accept],
        // A raw socket can pretend to be the world, and whoever answers it (the kernel, the stub, the proxy) would answer the world.
        vec![Term::Owned, Term::Spoofed, Term::Drop],
        // Docker's resolver really listens on another port of this address, and asks the world for whoever finds it.
        vec![Term::ToV4(Ipv4Net::from(Ipv4Addr::new(127, 0, 0, 11))), Term::Reject],
        vec![Term::Out("lo"), Term::Accept],
        // Just redirected: this hook still sees the interface by which it would have left. Nobody else's rewriting counts.
        redirected(Term::ToV4(Ipv4Net::from(Ipv4Addr::LOCALHOST))),
        redirected(Term::ToV6(Ipv6Addr::LOCALHOST)),
        // Answers of servers in here.
        vec![Term::Marked(ARRIVED), Term::Reply, Term::Established, Term::Accept],
        vec![Term::Owned, Term::Reject],
        // From here on the kernel speaks by itself. First for sockets that the proxy has closed: they have no owner any more.
        vec![Term::Marked(OURS), Term::Established, Term::Accept],
        link(Icmpv6::RouterSolicitation),
        link(Icmpv6::NeighborSolicitation),
        link(Icmpv6::NeighborAdvertisement),
        link(Icmpv6::ListenerReport),
        vec![Term::Reject],
    ]
}

/// A socket that is bound to a device (`SO_BINDTODEVICE`, which needs no capability) takes its redirected packets there, with a loopback
/// address for their destination. Only this hook sees by which interface a rewritten packet leaves.
fn strays() -> Vec<Vec<Term>> {
    let stray = |to| vec![Term::NotOut("lo"), to, Term::Drop];
    let loopback = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
    vec![stray(Term::ToV4(loopback)), stray(Term::ToV6(Ipv6Addr::LOCALHOST))]
}

/// Only a connection that was seen to begin, and to begin elsewhere, may be answered. One that was made outwards before there were rules is
/// tracked from its next packet on, and if that is the peer's, the peer would seem to have begun it.
fn arrivals() -> Vec<Vec<Term>> {
    vec![
        vec![Term::NotIn("lo"), Term::TcpFromTheMiddle, Term::Drop],
        vec![Term::NotIn("lo"), Term::New, Term::Mark(ARRIVED)],
    ]
}

/// What becomes of frames. A packet socket (AF_PACKET, which needs CAP_NET_RAW) hands its frames straight to the device, past every rule
/// for packets; what tells them is that a process owns them and nothing routed them. Loopback too: a frame there can pretend to have
/// come from elsewhere.
pub(super) fn frames(devices: Vec<String>) -> Table {
    let egress = Chain {
        name: "frame_egress",
        kind: Kind::Filter,
        hook: Hook::Egress,
        priority: 0,
        policy: Policy::Accept,
        devices,
        rules: vec![vec![Term::Routed, Term::Accept], vec![Term::Owned, Term::Drop]],
    };
    Table { family: Family::Netdev, name: NAME, chains: vec![egress] }
}

/// Docker's own NAT chain stands at −100.
const AHEAD_OF_DOCKER: i32 = -101;
/// `discard`, where nothing listens.
const CLOSED_PORT: u16 = 9;
/// The mark of the proxy's own connections.
const OURS: u32 = u32::from_be_bytes(*b"ours");
/// The mark of connections that came from elsewhere.
const ARRIVED: u32 = u32::from_be_bytes(*b"came");
