//! Where the agent wanted to go: the destination that the redirect rules rewrote, kept by the kernel's connection tracking.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    os::fd::{AsRawFd, BorrowedFd},
};

use nix::sys::socket::{
    SockaddrLike, SockaddrStorage, getsockname, getsockopt,
    sockopt::{Ip6tOriginalDst, OriginalDst},
};

/// The address that the peer of an accepted connection dialled.
///
/// # Errors
///
/// [`io::ErrorKind::AddrNotAvailable`] when the connection was not redirected: it was made straight to the listener, so there is nowhere it
/// could be forwarded to. Otherwise the kernel's answer (ENOENT where connection tracking does not know the connection). Either
/// way the connection is to be closed.
pub fn original_destination(accepted: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    let local = getsockname::<SockaddrStorage>(accepted.as_raw_fd())?;
    let (original, listener) = match (local.as_sockaddr_in(), local.as_sockaddr_in6()) {
        (Some(listener), _) => {
            let raw = getsockopt(&accepted, OriginalDst)?;
            let address = Ipv4Addr::from(u32::from_be(raw.sin_addr.s_addr));
            let original = SocketAddrV4::new(address, u16::from_be(raw.sin_port));
            (SocketAddr::V4(original), SocketAddr::V4((*listener).into()))
        }
        (None, Some(listener)) => {
            let raw = getsockopt(&accepted, Ip6tOriginalDst)?;
            let original = SocketAddrV6::new(Ipv6Addr::from(raw.sin6_addr.s6_addr), u16::from_be(raw.sin6_port), 0, 0);
            (SocketAddr::V6(original), SocketAddr::new((*listener).ip().into(), (*listener).port()))
        }
        (None, None) => return Err(not_redirected(&local)),
    };
    if original == listener { Err(not_redirected(&local)) } else { Ok(original) }
}

#[cold]
fn not_redirected(local: &SockaddrStorage) -> io::Error {
    let family = local.family();
    io::Error::new(
        io::ErrorKind::AddrNotAvailable,
        format!("no original destination: {family:?} {local} was dialled itself"),
    )
}
