//! The sockets of a long-running proxy, one set for each worker, from its settings.
//!
//! With more than one worker every address is bound once for each (SO_REUSEPORT): the kernel spreads the connections, and only processes of
//! the same user may join in.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};

use ipnet::IpNet;
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, setsockopt, sockopt};

use crate::audit::Mode;
use crate::config::{Listen, Settings};
use crate::io::door::{Door, Entrance, Kind};
use crate::io::resolver::{Answers, Service, Stub};
use crate::limits::FENCE_BACKLOG;

/// What all workers listen on, by worker.
pub(crate) struct Sockets {
    pub(crate) doors: Vec<Vec<Door>>,
    pub(crate) stubs: Vec<Vec<Stub>>,
    /// Every address under which one of them can be reached.
    pub(crate) own: Vec<SocketAddr>,
}

/// An address that cannot be listened on.
#[derive(Debug)]
pub struct ListenError {
    key: &'static str,
    address: SocketAddr,
    source: io::Error,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ListenError { key, address, source } = self;
        let remedy = match source.kind() {
            io::ErrorKind::AddrInUse => "another process listens there: stop it, or choose another port",
            io::ErrorKind::AddrNotAvailable => "no interface here has this address: choose one that has",
            io::ErrorKind::PermissionDenied => {
                "ports below 1024 need CAP_NET_BIND_SERVICE, or the sysctl net.ipv4.ip_unprivileged_port_start"
            }
            _ => "choose another address",
        };
        write!(f, "{key}: cannot listen on {address} ({source}); {remedy}")
    }
}

impl std::error::Error for ListenError {}

impl Sockets {
    /// Adds doors that exist once: all workers accept at them. The stubs go to the first, for one reader is enough.
    ///
    /// # Errors
    /// If there are no descriptors left.
    pub(crate) fn share(&mut self, doors: Vec<Door>, stubs: Vec<Stub>) -> io::Result<()> {
        for door in &doors {
            self.own.push(door.listener.local_addr()?);
            for worker in self.doors.iter_mut().skip(1) {
                worker.push(Door { listener: door.listener.try_clone()?, entrance: door.entrance.clone() });
            }
        }
        if let (Some(first), Some(stub)) = (self.doors.first_mut(), self.stubs.first_mut()) {
            first.extend(doors);
            stub.extend(stubs);
        }
        Ok(())
    }
}

/// Binds everything; with a `container`, what is for redirected connections stands in there and not here.
///
/// # Errors
/// The first address that cannot be had.
pub(crate) fn bind(settings: &Settings, container: bool) -> Result<Sockets, ListenError> {
    let here = |listen: &&Listen| !(container && matches!(listen, Listen::Redirect { .. }));
    let dns = settings.dns.filter(|dns| !(container && dns.ip().is_loopback()));
    let workers = settings.io.workers.get();
    let mut sockets = Sockets { doors: Vec::new(), stubs: Vec::new(), own: Vec::new() };
    for _ in 0..workers {
        let mut doors = Vec::new();
        for listen in settings.listeners.iter().filter(here) {
            let entrance = entrance(listen, settings);
            for address in addresses(listen) {
                let listener = tcp(address, workers > 1).map_err(at("listen", address))?;
                doors.push(Door { listener, entrance: entrance.clone() });
            }
        }
        sockets.doors.push(doors);
        sockets.stubs.push(dns.map(|address| stubs(address, settings)).transpose()?.unwrap_or_default());
    }
    let interfaces = interfaces();
    for listen in settings.listeners.iter().filter(here) {
        for address in addresses(listen) {
            sockets.own.push(address);
            if address.ip().is_unspecified() {
                sockets.own.extend(interfaces.iter().map(|ip| SocketAddr::new(*ip, address.port())));
            }
        }
    }
    Ok(sockets)
}

/// The addresses of this machine's interfaces.
pub(crate) fn interfaces() -> Vec<IpAddr> {
    let Ok(found) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    found.filter_map(|interface| ip(&interface.address?)).collect()
}

fn entrance(listen: &Listen, settings: &Settings) -> Entrance {
    let guard = |address: IpAddr, from: &[IpNet]| {
        // On loopback nobody else comes by, unless it is said who may.
        let open = address.is_loopback() && from.is_empty() && settings.agents.is_empty();
        (!open).then(|| from.to_vec())
    };
    match listen {
        Listen::Redirect { .. } => Entrance { mode: Mode::Redirect, kind: Kind::Redirect, from: None, agent: None },
        Listen::Gateway { address, from, .. } => {
            Entrance { mode: Mode::Gateway, kind: Kind::Gateway, from: guard(*address, from), agent: None }
        }
        Listen::Proxy { address, from } => {
            Entrance { mode: Mode::Proxy, kind: Kind::Proxy, from: guard(address.ip(), from), agent: None }
        }
    }
}

fn addresses(listen: &Listen) -> Vec<SocketAddr> {
    match listen {
        Listen::Redirect { address } => match address.ip() {
            // A redirect in the output hook leads to 127.0.0.1 or ::1, by the family of the connection.
            IpAddr::V4(_) if has_ipv6() => {
                vec![*address, SocketAddr::new(Ipv6Addr::LOCALHOST.into(), address.port())]
            }
            _ => vec![*address],
        },
        Listen::Gateway { address, ports, .. } => ports.iter().map(|port| SocketAddr::new(*address, *port)).collect(),
        Listen::Proxy { address, .. } => vec![*address],
    }
}

/// The stub at one address; at each of the machine's when the address is unspecified, so that an answer leaves from where it was asked.
fn stubs(address: SocketAddr, settings: &Settings) -> Result<Vec<Stub>, ListenError> {
    let redirected = settings.listeners.iter().any(|listen| matches!(listen, Listen::Redirect { .. }));
    let at_each = match address.ip() {
        ip if ip.is_unspecified() => interfaces().into_iter().filter(|found| found.is_ipv4() == ip.is_ipv4()).collect(),
        ip if redirected && ip.is_loopback() && has_ipv6() => vec![ip, Ipv6Addr::LOCALHOST.into()],
        ip => vec![ip],
    };
    let reuse = settings.io.workers.get() > 1;
    let mut stubs = Vec::new();
    for ip in at_each {
        let address = SocketAddr::new(ip, address.port());
        let service = match gateway_of(ip, settings) {
            Some(from) => Service { mode: Mode::Gateway, answers: Answers::Gateway(ip), from: Some(from), agent: None },
            None => Service { mode: Mode::Redirect, answers: Answers::Synthetic, from: None, agent: None },
        };
        // Synthetic addresses lead nowhere without a redirect; off loopback, nobody is served by them.
        if service.answers == Answers::Synthetic && !ip.is_loopback() {
            continue;
        }
        let datagrams = udp(address, reuse).map_err(at("dns.address", address))?;
        let listener = tcp(address, reuse).map_err(at("dns.address", address))?;
        stubs.push(Stub { datagrams, listener, service });
    }
    Ok(stubs)
}

/// Whom the gateway at `ip` is for, if there is one.
fn gateway_of(ip: IpAddr, settings: &Settings) -> Option<Vec<IpNet>> {
    let mut sources = None;
    for listen in &settings.listeners {
        if let Listen::Gateway { address, from, .. } = listen
            && (*address == ip || address.is_unspecified() && !ip.is_loopback())
        {
            sources.get_or_insert_with(Vec::new).extend_from_slice(from);
        }
    }
    sources
}

fn tcp(address: SocketAddr, reuse: bool) -> io::Result<TcpListener> {
    let fd = open(address, SockType::Stream, reuse)?;
    socket::listen(&fd, Backlog::new(FENCE_BACKLOG)?)?;
    Ok(fd.into())
}

fn udp(address: SocketAddr, reuse: bool) -> io::Result<UdpSocket> {
    Ok(open(address, SockType::Datagram, reuse)?.into())
}

fn open(address: SocketAddr, kind: SockType, reuse: bool) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket::socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
    if kind == SockType::Stream {
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    }
    if reuse {
        setsockopt(&fd, sockopt::ReusePort, &true)?;
    }
    if address.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    socket::bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(fd)
}

fn has_ipv6() -> bool {
    UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

fn ip(storage: &SockaddrStorage) -> Option<IpAddr> {
    match (storage.as_sockaddr_in(), storage.as_sockaddr_in6()) {
        (Some(v4), _) => Some(v4.ip().into()),
        (_, Some(v6)) => Some(v6.ip().into()),
        _ => None,
    }
}

fn at(key: &'static str, address: SocketAddr) -> impl FnOnce(io::Error) -> ListenError {
    move |source| ListenError { key, address, source }
}
