//! A network of one link: loopback up, one address of each family on it, and every other address local to it (AnyIP).
//!
//! AnyIP is what makes a connection to anywhere reach the redirect rules at once, and what makes a datagram to anywhere be answered
//! "port unreachable" at once: there is no way out that something would have to block.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::sys::socket::SockProtocol;

use super::error::{At, FenceError, Step};
use crate::io::netlink::{ACK, Batch, CREATE, EXCLUSIVE, Netlink};

/// The agent's own address. It needs one that is no loopback address, because `getaddrinfo` with AI_ADDRCONFIG asks whether there is one;
/// which one does not matter, for nothing but the redirect ever sees it.
pub const AGENT_V4: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
/// As [`AGENT_V4`].
pub const AGENT_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x99, 0, 0, 0, 0, 0, 2);

/// Sets up the namespace of the caller, which must be new.
pub(super) fn set(v6: bool) -> Result<(), FenceError> {
    let netlink = Netlink::open(SockProtocol::NetlinkRoute).at(Step::Link, "netlink")?;
    let mut up = Batch::default();
    up.message(NEW_LINK, ACK, &link_up(), |_| ());
    netlink.apply(&up).at(Step::Link, "lo")?;
    let addresses = [Some(IpAddr::V4(AGENT_V4)), v6.then_some(IpAddr::V6(AGENT_V6))];
    for address in addresses.into_iter().flatten() {
        let (family, bytes) = parts(address);
        let mut add = Batch::default();
        let prefix = u8::try_from(bytes.len() * 8).unwrap_or(u8::MAX);
        // struct ifaddrmsg: family, prefix length, flags (no duplicate detection, so that the address is usable at once), scope, index.
        let mut fixed = vec![family, prefix, NO_DUPLICATE_DETECTION, SCOPE_UNIVERSE];
        fixed.extend_from_slice(&LOOPBACK_INDEX.to_ne_bytes());
        add.message(NEW_ADDRESS, ACK | CREATE | EXCLUSIVE, &fixed, |attributes| {
            attributes.put(IFA_ADDRESS, &bytes);
            attributes.put(IFA_LOCAL, &bytes);
        });
        there_already(netlink.apply(&add).map_err(io::Error::from)).at(Step::Address, address.to_string())?;
        let mut route = Batch::default();
        // struct rtmsg: family, destination and source prefix length, tos, table, protocol, scope, type, flags.
        let fixed = [family, 0, 0, 0, TABLE_LOCAL, PROTOCOL_BOOT, SCOPE_HOST, TYPE_LOCAL, 0, 0, 0, 0];
        route.message(NEW_ROUTE, ACK | CREATE | EXCLUSIVE, &fixed, |attributes| {
            attributes.put(RTA_OIF, &LOOPBACK_INDEX.to_ne_bytes());
            attributes.put(RTA_PREFERRED_SOURCE, &bytes);
        });
        there_already(netlink.apply(&route).map_err(io::Error::from)).at(Step::Route, address.to_string())?;
    }
    Ok(())
}

/// What an earlier proxy put into a namespace that outlived it is what we want.
fn there_already(applied: io::Result<()>) -> io::Result<()> {
    applied.or_else(|error| if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) })
}

/// `struct ifinfomsg` that sets IFF_UP on the loopback link.
fn link_up() -> Vec<u8> {
    let mut fixed = vec![0; 4];
    fixed.extend_from_slice(&LOOPBACK_INDEX.to_ne_bytes());
    fixed.extend_from_slice(&UP.to_ne_bytes());
    fixed.extend_from_slice(&UP.to_ne_bytes());
    fixed
}

fn parts(address: IpAddr) -> (u8, Vec<u8>) {
    match address {
        IpAddr::V4(address) => (AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (AF_INET6, address.octets().to_vec()),
    }
}

// <linux/rtnetlink.h>, <linux/if_addr.h>, <linux/if_link.h>
const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
const LOOPBACK_INDEX: u32 = 1;
const UP: u32 = 1;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const NO_DUPLICATE_DETECTION: u8 = 0x02;
const SCOPE_UNIVERSE: u8 = 0;
const SCOPE_HOST: u8 = 254;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const TABLE_LOCAL: u8 = 255;
const PROTOCOL_BOOT: u8 = 3;
const TYPE_LOCAL: u8 = 2;
const RTA_OIF: u16 = 4;
const RTA_PREFERRED_SOURCE: u16 = 7;
