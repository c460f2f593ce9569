//! A connected TCP stream.

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::task::ready;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, Shutdown, SockFlag, SockType, SockaddrStorage, getpeername, getsockname, recv, setsockopt,
    shutdown, socket, sockopt,
};
use nix::{setsockopt_impl, sockopt_impl};

use super::buf::Buf;
use super::executor::{Core, current, proceed};
use super::select::Backend;
use super::socket::{Outgoing, RxState, Socket};
use crate::limits::{KEEP_ALIVE_IDLE_SECONDS, KEEP_ALIVE_PROBE_SECONDS, KEEP_ALIVE_PROBES, UNSENT_BYTES_MAX};

// tcp(7) of Linux 3.12 and later; not in nix.
sockopt_impl!(TcpNotsentLowat, SetOnly, libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, u32);

/// A connected TCP stream with `TCP_NODELAY` and keep-alive probes. One receive and one send may be under way at once.
///
/// Dropping a future never loses a byte: what an abandoned receive brings is what the next one returns, and an abandoned send
/// goes on until it is done, before the next one begins. Dropping the stream cancels both and sends FIN (RST if received bytes
/// were never read, as TCP has it); its descriptor closes after its last completion.
pub struct Stream {
    core: Rc<Core>,
    socket: Rc<Socket>,
}

impl Stream {
    /// Connects to `address`. Dropping the future gives up.
    pub async fn connect(address: SocketAddr) -> io::Result<Stream> {
        let core = current();
        let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let mut flags = SockFlag::SOCK_CLOEXEC;
        flags.set(SockFlag::SOCK_NONBLOCK, core.driver.backend() == Backend::Epoll);
        let fd = socket(family, SockType::Stream, flags, None)?;
        furnish(&fd)?;
        let stream = Stream::adopt(core, fd);
        let claim = stream.socket.claim_tx()?;
        stream.core.driver.start_connect(&stream.socket, address);
        let (result, _) = poll_fn(|cx| stream.socket.poll_sent(cx)).await;
        drop(claim);
        result.map(|()| stream)
    }

    /// Takes up a connected stream.
    pub fn from_std(stream: TcpStream) -> io::Result<Stream> {
        furnish(&stream)?;
        let core = current();
        stream.set_nonblocking(core.driver.backend() == Backend::Epoll)?;
        Ok(Stream::adopt(core, stream.into()))
    }

    pub(super) fn adopt(core: Rc<Core>, fd: OwnedFd) -> Stream {
        Stream { core, socket: Socket::new(fd) }
    }

    /// The next bytes; empty at the end of the stream.
    pub async fn recv(&self) -> io::Result<Buf> {
        let _claim = self.socket.claim_rx()?;
        self.received().await
    }

    /// Sends all of `bytes`.
    pub async fn send(&self, bytes: Buf) -> io::Result<()> {
        self.send_outgoing(Outgoing::Buf(bytes)).await.0
    }

    /// Sends all of `bytes` and gives the vector back for reuse.
    pub async fn send_vec(&self, bytes: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        let (result, bytes) = self.send_outgoing(Outgoing::Vec(bytes)).await;
        (result, bytes.into_vec())
    }

    /// Sends all of `bytes`, then receives from `from`, which may be this stream. On io_uring both are one submission, so a
    /// request and the wait for its response cost one entry into the kernel.
    pub async fn send_vec_then_recv(&self, bytes: Vec<u8>, from: &Stream) -> (io::Result<Buf>, Vec<u8>) {
        let claims = (self.socket.claim_tx(), from.socket.claim_rx());
        let (Ok(sending), Ok(_receiving)) = claims else {
            return (claims.0.map(drop).and(claims.1.map(drop)).map(|()| Buf::default()), bytes);
        };
        if let Err(error) = self.idle().await {
            return (Err(error), bytes);
        }
        let bytes = Outgoing::Vec(bytes);
        if bytes.is_empty() {
            return (from.received().await, bytes.into_vec());
        }
        self.core.driver.start_exchange(&self.socket, &from.socket, bytes);
        let (result, bytes) = poll_fn(|cx| self.socket.poll_sent(cx)).await;
        drop(sending);
        let bytes = bytes.into_vec();
        match result {
            Ok(()) => (from.received().await, bytes),
            Err(error) => (Err(error), bytes),
        }
    }

    /// Sends FIN; receiving goes on.
    pub fn shutdown_write(&self) -> io::Result<()> {
        Ok(shutdown(self.socket.raw(), Shutdown::Write)?)
    }

    /// Closes with RST instead of FIN, dropping unsent bytes.
    pub fn reset(self) {
        self.abort();
    }

    /// Whether nothing has come since the last receive: no byte, no end, no error. Only such a stream may be used again. As of this turn on
    /// epoll, which tells of all that comes once a socket was found empty; as of this moment elsewhere.
    pub fn is_quiet(&self) -> bool {
        self.core.driver.dispatch();
        if let RxState::Arrived(_) = self.socket.rx.borrow().state {
            return false;
        }
        if self.core.driver.knows_quiet(&self.socket) {
            return true;
        }
        let peek = recv(self.socket.raw(), &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT);
        peek == Err(Errno::EAGAIN)
    }

    /// The other end's address.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        address(getpeername(self.socket.raw())?)
    }

    /// This end's address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        address(getsockname(self.socket.raw())?)
    }

    fn abort(&self) {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        if let Err(error) = setsockopt(&self.socket.as_fd(), sockopt::Linger, &linger) {
            tracing::debug!(%error, "SO_LINGER");
        }
        self.core.driver.release(&self.socket, false);
    }

    async fn received(&self) -> io::Result<Buf> {
        poll_fn(|cx| {
            ready!(proceed(cx));
            self.core.driver.poll_recv(&self.socket, cx)
        })
        .await
    }

    async fn send_outgoing(&self, bytes: Outgoing) -> (io::Result<()>, Outgoing) {
        let _claim = match self.socket.claim_tx() {
            Ok(claim) => claim,
            Err(error) => return (Err(error), bytes),
        };
        let idle = self.idle().await;
        if idle.is_err() || bytes.is_empty() {
            return (idle, bytes);
        }
        self.core.driver.start_send(&self.socket, bytes);
        poll_fn(|cx| self.socket.poll_sent(cx)).await
    }

    /// Waits for an earlier, abandoned send.
    async fn idle(&self) -> io::Result<()> {
        poll_fn(|cx| {
            ready!(proceed(cx));
            self.core.driver.poll_send_idle(&self.socket, cx)
        })
        .await
    }
}

impl AsFd for Stream {
    /// For socket options and addresses; reading or writing behind the engine's back would lose bytes.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Whatever was on its way was cut by a fault of ours, and must not look like its end.
            self.abort();
        }
        self.core.driver.release(&self.socket, true);
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stream({})", self.socket.raw())
    }
}

/// Sets what every connection of ours has; a listener's are inherited by what it accepts. Keep-alive lets the kernel find out that the peer
/// of a silent stream is gone, which nothing else would show for as long as the stream may be silent.
pub(super) fn furnish(socket: &impl AsFd) -> io::Result<()> {
    setsockopt(socket, sockopt::TcpNoDelay, &true)?;
    setsockopt(socket, TcpNotsentLowat, &UNSENT_BYTES_MAX)?;
    setsockopt(socket, sockopt::KeepAlive, &true)?;
    setsockopt(socket, sockopt::TcpKeepIdle, &KEEP_ALIVE_IDLE_SECONDS)?;
    setsockopt(socket, sockopt::TcpKeepInterval, &KEEP_ALIVE_PROBE_SECONDS)?;
    Ok(setsockopt(socket, sockopt::TcpKeepCount, &KEEP_ALIVE_PROBES)?)
}

pub(super) fn address(storage: SockaddrStorage) -> io::Result<SocketAddr> {
    if let Some(&address) = storage.as_sockaddr_in() {
        return Ok(SocketAddr::V4(address.into()));
    }
    match storage.as_sockaddr_in6() {
        Some(&address) => Ok(SocketAddr::V6(address.into())),
        None => Err(io::ErrorKind::Unsupported.into()),
    }
}
