//! Whether an address is one of this machine's own, as the kernel has it at this moment.
//!
//! Nothing is sent: a datagram socket that is connected has a source address, and to its own addresses a machine speaks from the same
//! address. That costs four system calls for each address of a new connection upstream, and no list of interfaces that grows old.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use crate::policy::Via;

/// Where an address comes from that is about to be dialled anew.
pub(crate) fn whence(via: Via, address: SocketAddr) -> Via {
    if via == Via::Resolved && is_here(address.ip().to_canonical()) { Via::Here } else { via }
}

fn is_here(ip: IpAddr) -> bool {
    let any = match ip {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    // Where there is no way to the address, dialling it fails as well.
    let from = UdpSocket::bind((any, 0)).and_then(|socket| socket.connect((ip, DISCARD)).and(socket.local_addr()));
    from.is_ok_and(|from| from.ip() == ip)
}

/// The port is of no importance; this one is discard (RFC 863).
const DISCARD: u16 = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_here_and_so_is_what_an_interface_has() {
        assert!(is_here(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        let interfaces = nix::ifaddrs::getifaddrs().unwrap();
        for address in interfaces.filter_map(|one| Some(one.address?.as_sockaddr_in()?.ip())) {
            assert!(is_here(IpAddr::V4(address)), "{address}");
        }
    }

    #[test]
    fn another_address_is_not() {
        assert!(!is_here("192.0.2.1".parse().unwrap()));
        assert!(!is_here("2001:db8::1".parse().unwrap()));
    }
}
