//! The one place where the two drivers meet: each operation is dispatched to whichever was chosen at start.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::buf::Buf;
use super::listener::Accepted;
use super::poll::Poller;
use super::ring::Ring;
use super::select::Backend;
use super::socket::{Outgoing, Socket};

/// One of these exists per engine, so their different sizes cost nothing.
#[expect(clippy::large_enum_variant, reason = "one per engine, never moved after start")]
pub(super) enum Driver {
    Ring(Ring),
    Poller(Poller),
}

/// How long an entry into the kernel may last.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wait {
    Not,
    AtMost(Duration),
    Forever,
}

/// Which way a socket is waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Interest {
    Read,
    Write,
}

impl Driver {
    pub(super) fn backend(&self) -> Backend {
        match self {
            Driver::Ring(_) => Backend::Uring,
            Driver::Poller(_) => Backend::Epoll,
        }
    }

    pub(super) fn poll_recv(&self, socket: &Rc<Socket>, cx: &Context<'_>) -> Poll<io::Result<Buf>> {
        match self {
            Driver::Ring(ring) => ring.poll_recv(socket, cx),
            Driver::Poller(poller) => poller.poll_recv(socket, cx),
        }
    }

    /// Ready once no earlier, abandoned send is under way; the error is that send's.
    pub(super) fn poll_send_idle(&self, socket: &Rc<Socket>, cx: &Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Driver::Ring(ring) => ring.poll_send_idle(socket, cx),
            Driver::Poller(poller) => poller.poll_send_idle(socket, cx),
        }
    }

    /// Starts a send on an idle sending side; [`Socket::poll_sent`] tells its end.
    pub(super) fn start_send(&self, socket: &Rc<Socket>, bytes: Outgoing) {
        match self {
            Driver::Ring(ring) => ring.send_now(socket, bytes),
            Driver::Poller(poller) => poller.start_send(socket, bytes),
        }
    }

    /// Starts a send on `to`, and where one submission can do both, the receive on `from` that is to follow it.
    pub(super) fn start_exchange(&self, to: &Rc<Socket>, from: &Rc<Socket>, bytes: Outgoing) {
        match self {
            Driver::Ring(ring) => ring.start_exchange(to, from, bytes),
            Driver::Poller(poller) => poller.start_send(to, bytes),
        }
    }

    /// Starts connecting; [`Socket::poll_sent`] tells its end.
    pub(super) fn start_connect(&self, socket: &Rc<Socket>, address: SocketAddr) {
        match self {
            Driver::Ring(ring) => ring.start_connect(socket, address),
            Driver::Poller(poller) => poller.start_connect(socket, address),
        }
    }

    pub(super) fn poll_accept(
        &self,
        socket: &Rc<Socket>,
        accepted: &Rc<Accepted>,
        cx: &Context<'_>,
    ) -> Poll<io::Result<OwnedFd>> {
        match self {
            Driver::Ring(ring) => ring.poll_accept(socket, accepted, cx),
            Driver::Poller(poller) => poller.poll_accept(socket, cx),
        }
    }

    /// Ready once the socket may be read from or written to; after an attempt that would block, [`Socket::blocked`] makes it wait.
    pub(super) fn poll_ready(&self, socket: &Rc<Socket>, interest: Interest, cx: &Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Driver::Ring(ring) => ring.poll_ready(socket, interest, cx),
            Driver::Poller(poller) => poller.poll_ready(socket, interest, cx),
        }
    }

    /// The owner is gone: cancels what is under way. With `finish` the peer is told so at once, even if the kernel still holds operations.
    pub(super) fn release(&self, socket: &Rc<Socket>, finish: bool) {
        if socket.released.replace(true) {
            return;
        }
        match self {
            Driver::Ring(ring) => ring.release(socket, finish),
            Driver::Poller(poller) => poller.release(socket),
        }
    }

    /// Enters the kernel: submits what there is, collects what has happened.
    pub(super) fn enter(&self, wait: Wait) {
        match self {
            Driver::Ring(ring) => ring.enter(wait),
            Driver::Poller(poller) => poller.enter(wait),
        }
    }

    /// Whether anything has happened; called in a tight loop. Free of system calls on io_uring.
    pub(super) fn has_news(&self) -> bool {
        match self {
            Driver::Ring(ring) => ring.has_news(),
            Driver::Poller(poller) => poller.has_news(),
        }
    }

    /// Hands out what `enter` collected.
    pub(super) fn dispatch(&self) {
        match self {
            Driver::Ring(ring) => ring.dispatch(),
            Driver::Poller(poller) => poller.dispatch(),
        }
    }

    /// Whether it is known, without asking the kernel, that nothing waits to be received.
    pub(super) fn knows_quiet(&self, socket: &Socket) -> bool {
        match self {
            // An operation that is not under way tells nothing.
            Driver::Ring(_) => false,
            Driver::Poller(_) => Poller::knows_quiet(socket),
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        match self {
            Driver::Ring(ring) => ring.in_flight(),
            Driver::Poller(poller) => poller.in_flight(),
        }
    }

    /// Cancels everything and waits until the kernel owns nothing of ours.
    pub(super) fn quiesce(&self) {
        match self {
            Driver::Ring(ring) => ring.quiesce(),
            Driver::Poller(_) => {}
        }
    }
}
