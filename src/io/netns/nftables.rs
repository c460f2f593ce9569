//! The redirect rules of a fence, in one nfnetlink batch: applied whole or not at all.
//!
//! ```text
//! table inet ringfence {
//!   chain output {
//!     type nat hook output priority -100; policy accept;
//!     tcp dport 53 redirect to :15053        # any server, 127.0.0.53 too
//!     udp dport 53 redirect to :15053
//!     ip daddr 127.0.0.0/8 return            # the agent's own servers
//!     ip6 daddr ::1 return
//!     meta l4proto tcp redirect to :15001
//!   }
//! }
//! ```
//!
//! A redirect in the output hook rewrites the destination to 127.0.0.1 or ::1, where ringfence listens. Nothing is dropped, because
//! nothing needs to be: there is no link but loopback.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::Ipv4Net;
use nix::sys::socket::SockProtocol;

use super::error::{At, FenceError, Step};
use crate::io::netlink::{Batch, Netlink};
use crate::io::nftables::{self, Chain, Family, Hook, Kind, Policy, Table, Term, Transport};

/// Where redirected TCP connections arrive, on 127.0.0.1 and ::1 inside the fence.
pub const REDIRECT_PORT: u16 = 15001;
/// Where redirected DNS questions arrive, over UDP and TCP.
pub const DNS_PORT: u16 = 15053;

/// Loads the table into the namespace of the caller.
pub(super) fn load() -> Result<(), FenceError> {
    let netlink = Netlink::open(SockProtocol::NetlinkNetFilter).at(Step::Rules, "netlink")?;
    let mut batch = Batch::default();
    nftables::begin(&mut batch);
    // An earlier proxy's, where the namespace outlived it.
    nftables::unload(&mut batch, Family::Inet, TABLE);
    nftables::load(&mut batch, &table());
    nftables::end(&mut batch);
    netlink.apply(&batch).at(Step::Rules, "nf_tables")
}

fn table() -> Table {
    let own = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
    let output = Chain {
        name: "output",
        kind: Kind::Nat,
        hook: Hook::Output,
        priority: PRIORITY_DESTINATION_NAT,
        policy: Policy::Accept,
        devices: Vec::new(),
        rules: vec![
            vec![Term::Port(Transport::Tcp, 53), Term::Redirect(DNS_PORT)],
            vec![Term::Port(Transport::Udp, 53), Term::Redirect(DNS_PORT)],
            vec![Term::ToV4(own), Term::Return],
            vec![Term::ToV6(Ipv6Addr::LOCALHOST), Term::Return],
            vec![Term::Protocol(Transport::Tcp), Term::Redirect(REDIRECT_PORT)],
        ],
    };
    Table { family: Family::Inet, name: TABLE, chains: vec![output] }
}

const TABLE: &str = "ringfence";
const PRIORITY_DESTINATION_NAT: i32 = -100;
