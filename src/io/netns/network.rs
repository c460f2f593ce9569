//! The network inside: loopback, AnyIP, the redirect, and the listeners that ringfence takes out of it.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, socket};

use super::{
    error::{At, FenceError, Step},
    nftables::{self, DNS_PORT, REDIRECT_PORT},
    routes,
};
use crate::limits::FENCE_BACKLOG;

/// The sockets that are made inside and used outside.
#[derive(Debug, Default)]
pub struct Sockets {
    /// Where redirected connections arrive.
    pub tcp: Vec<TcpListener>,
    /// Where redirected DNS questions arrive, in the same order of families.
    pub dns_udp: Vec<UdpSocket>,
    /// As `dns_udp`, over TCP.
    pub dns_tcp: Vec<TcpListener>,
}

impl Sockets {
    /// In the order in which [`Sockets::from_descriptors`] takes them: one triple a family.
    pub(super) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let triples = self.tcp.iter().zip(&self.dns_udp).zip(&self.dns_tcp);
        triples.flat_map(|((tcp, dns_udp), dns_tcp)| [tcp.as_fd(), dns_udp.as_fd(), dns_tcp.as_fd()]).collect()
    }

    pub(super) fn from_descriptors(descriptors: Vec<OwnedFd>) -> Self {
        let mut sockets = Self::default();
        for (position, descriptor) in descriptors.into_iter().enumerate() {
            match position % 3 {
                0 => sockets.tcp.push(descriptor.into()),
                1 => sockets.dns_udp.push(descriptor.into()),
                _ => sockets.dns_tcp.push(descriptor.into()),
            }
        }
        sockets
    }
}

/// Sets up the new network namespace of the caller and binds the listeners in it.
pub(super) fn raise() -> Result<Sockets, FenceError> {
    let v6 = has_v6();
    if v6 {
        // A host that switches IPv6 off by default hands that on to new namespaces.
        for conf in ["all", "lo"] {
            tune(&format!("ipv6/conf/{conf}/disable_ipv6"), "0");
        }
    }
    routes::set(v6)?;
    nftables::load()?;
    // Each agent connection is tracked twice over; the default of 120 s would let 2 200 connections a second fill the table for good.
    tune("netfilter/nf_conntrack_tcp_timeout_time_wait", "5");
    // 45 000 instead of 28 000 connections under way to one address, and still none of the ports that servers like.
    tune("ipv4/ip_local_port_range", "20000 65535");
    let mut sockets = Sockets::default();
    let families = [Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), v6.then_some(IpAddr::V6(Ipv6Addr::LOCALHOST))];
    for address in families.into_iter().flatten() {
        let tcp = SocketAddr::new(address, REDIRECT_PORT);
        let dns = SocketAddr::new(address, DNS_PORT);
        sockets.tcp.push(listener(tcp).at(Step::Listener, tcp.to_string())?);
        // Bound to the address that questions are redirected to, so that answers leave from it (a wildcard's would not).
        sockets.dns_udp.push(UdpSocket::bind(dns).at(Step::Listener, dns.to_string())?);
        sockets.dns_tcp.push(listener(dns).at(Step::Listener, dns.to_string())?);
    }
    Ok(sockets)
}

fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let descriptor = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    bind(descriptor.as_raw_fd(), &SockaddrStorage::from(address))?;
    listen(&descriptor, Backlog::new(FENCE_BACKLOG)?)?;
    Ok(descriptor.into())
}

/// Whether the kernel has IPv6 at all (`ipv6.disable=1` takes it away, and with it every way out over it).
fn has_v6() -> bool {
    socket(AddressFamily::Inet6, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).is_ok()
}

/// Sets a variable below `/proc/sys/net` of this namespace. They are for speed, so a kernel that has none of that name loses only that.
fn tune(name: &str, value: &str) {
    if let Err(error) = fs::write(format!("/proc/sys/net/{name}"), value) {
        tracing::debug!(name, %error, "a network variable of the fence keeps its default");
    }
}
