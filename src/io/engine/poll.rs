//! The epoll driver: the same operations by readiness.
//!
//! Each operation tries its system call first; a socket is registered, edge-triggered, only when one would block. A receive that fills
//! less than its buffer has drained the socket, so the next one waits for the next edge without asking. Sends that do not
//! fit are continued from here, whether or not their future still waits.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, SockFlag, SockaddrStorage, accept4, connect, getsockopt, recv, send, sockopt};

use super::buf::{Buf, Pool};
use super::driver::{Interest, Wait};
use super::remote::Remote;
use super::slab::{Key, Slab};
use super::socket::{Outgoing, Socket, TxState, renew, wake};
use super::sys::{self, Epoll, Event};
use crate::limits::READINESS_EVENTS_MAX;

pub(super) struct Poller {
    epoll: Epoll,
    pool: Rc<Pool>,
    /// Keeps the signal's descriptor open for as long as it is registered.
    _remote: Arc<Remote>,
    registered: RefCell<Slab<Weak<Socket>>>,
    events: RefCell<Vec<Event>>,
    /// Sends and connects that wait for their socket.
    writing: Cell<usize>,
}

impl Poller {
    pub(super) fn new(buffers: u16, buffer_bytes: u32, remote: &Arc<Remote>) -> io::Result<Poller> {
        let epoll = Epoll::new()?;
        epoll.add(remote.signal.as_fd(), SIGNAL)?;
        Ok(Poller {
            epoll,
            pool: Rc::new(Pool::listed(buffers, buffer_bytes)?),
            _remote: remote.clone(),
            registered: RefCell::new(Slab::new()),
            events: RefCell::new(Vec::with_capacity(READINESS_EVENTS_MAX)),
            writing: Cell::new(0),
        })
    }

    pub(super) fn in_flight(&self) -> usize {
        self.writing.get()
    }

    pub(super) fn enter(&self, wait: Wait) {
        let mut events = self.events.borrow_mut();
        let timeout = match wait {
            _ if !events.is_empty() => return,
            Wait::Not => Some(std::time::Duration::ZERO),
            Wait::AtMost(time) => Some(time),
            Wait::Forever => None,
        };
        if let Err(error) = self.epoll.wait(&mut events, timeout) {
            match error.kind() {
                io::ErrorKind::Interrupted => {}
                _ => unreachable!("epoll_wait: {error}"),
            }
        }
    }

    pub(super) fn has_news(&self) -> bool {
        self.enter(Wait::Not);
        !self.events.borrow().is_empty()
    }

    pub(super) fn dispatch(&self) {
        loop {
            let Some(Event { events, u64: token }) = self.events.borrow_mut().pop() else { return };
            // The signal is edge-triggered: having woken us is all it is for.
            if token == SIGNAL {
                continue;
            }
            let socket =
                self.registered.borrow_mut().get_mut(Key::from_cookie(token)).and_then(|socket| socket.upgrade());
            if let Some(socket) = socket {
                self.happen(&socket, events);
            }
        }
    }

    fn happen(&self, socket: &Rc<Socket>, events: u32) {
        let mut ready = socket.ready.get();
        ready.hung_up |= events & HUNG_UP != 0;
        ready.read |= events & READABLE != 0;
        ready.write |= events & WRITABLE != 0;
        socket.ready.set(ready);
        if events & (READABLE | HUNG_UP) != 0 {
            let waker = socket.rx.borrow_mut().waker.take();
            wake(waker);
        }
        if events & WRITABLE == 0 {
            return;
        }
        let mut tx = socket.tx.borrow_mut();
        match std::mem::replace(&mut tx.state, TxState::Idle) {
            TxState::Writing { bytes, sent } => {
                drop(tx);
                self.writing.set(self.writing.get() - 1);
                self.write(socket, bytes, sent);
            }
            state => {
                tx.state = state;
                let waker = tx.waker.take();
                drop(tx);
                wake(waker);
            }
        }
    }

    pub(super) fn poll_recv(&self, socket: &Rc<Socket>, cx: &Context<'_>) -> Poll<io::Result<Buf>> {
        loop {
            ready!(self.poll_ready(socket, Interest::Read, cx))?;
            let receive = |room: &mut [u8]| Ok(recv(socket.raw(), room, MsgFlags::MSG_DONTWAIT)?);
            let Some(result) = self.pool.fill(receive) else {
                self.pool.starve(cx);
                return Poll::Pending;
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => socket.blocked(Interest::Read),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(buf) => {
                    // A short receive has drained the socket, and more bytes will be a new edge. The end is no edge once reported.
                    if buf.len() < self.pool.buffer_bytes() && socket.registration.get().is_some() && !buf.is_empty() {
                        socket.drained();
                    }
                    return Poll::Ready(Ok(buf));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    pub(super) fn poll_send_idle(&self, socket: &Rc<Socket>, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let mut tx = socket.tx.borrow_mut();
        if let TxState::Idle = tx.state {
            return Poll::Ready(tx.failed.take().map_or(Ok(()), Err));
        }
        renew(&mut tx.waker, cx);
        Poll::Pending
    }

    pub(super) fn start_send(&self, socket: &Rc<Socket>, bytes: Outgoing) {
        self.write(socket, bytes, 0);
    }

    /// Sends as much as the socket takes; the rest waits for its next edge.
    fn write(&self, socket: &Rc<Socket>, bytes: Outgoing, mut sent: usize) {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        while sent < bytes.len() {
            match send(socket.raw(), &bytes[sent..], flags) {
                Ok(count) => sent += count,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    socket.blocked(Interest::Write);
                    if let Err(error) = self.register(socket) {
                        return socket.finish_send(Err(error), bytes);
                    }
                    self.writing.set(self.writing.get() + 1);
                    socket.tx.borrow_mut().state = TxState::Writing { bytes, sent };
                    return;
                }
                Err(error) => return socket.finish_send(Err(error.into()), bytes),
            }
        }
        // An empty send and the end of a connect come here too: both ask how the socket is.
        let result = match bytes.is_empty() {
            true => connected(socket),
            false => Ok(()),
        };
        socket.finish_send(result, bytes);
    }

    pub(super) fn start_connect(&self, socket: &Rc<Socket>, address: SocketAddr) {
        let error = match connect(socket.raw(), &SockaddrStorage::from(address)) {
            Ok(()) => return socket.finish_send(Ok(()), Outgoing::nothing()),
            Err(Errno::EINPROGRESS) => match self.register(socket) {
                Ok(()) => {
                    self.writing.set(self.writing.get() + 1);
                    socket.tx.borrow_mut().state = TxState::Writing { bytes: Outgoing::nothing(), sent: 0 };
                    return;
                }
                Err(error) => error,
            },
            Err(error) => error.into(),
        };
        socket.finish_send(Err(error), Outgoing::nothing());
    }

    pub(super) fn poll_accept(&self, socket: &Rc<Socket>, cx: &Context<'_>) -> Poll<io::Result<OwnedFd>> {
        loop {
            ready!(self.poll_ready(socket, Interest::Read, cx))?;
            match accept4(socket.raw(), SockFlag::SOCK_CLOEXEC) {
                Ok(fd) => return Poll::Ready(sys::owned(fd)),
                Err(Errno::EAGAIN) => socket.blocked(Interest::Read),
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    pub(super) fn poll_ready(&self, socket: &Rc<Socket>, interest: Interest, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let ready = socket.ready.get();
        let is_ready = match interest {
            Interest::Read => ready.read || ready.hung_up,
            Interest::Write => ready.write,
        };
        if is_ready {
            return Poll::Ready(Ok(()));
        }
        match interest {
            Interest::Read => renew(&mut socket.rx.borrow_mut().waker, cx),
            Interest::Write => renew(&mut socket.tx.borrow_mut().waker, cx),
        }
        self.register(socket)?;
        Poll::Pending
    }

    /// The last receive took all there was, and no edge has come since.
    pub(super) fn knows_quiet(socket: &Socket) -> bool {
        let ready = socket.ready.get();
        socket.registration.get().is_some() && !ready.read && !ready.hung_up
    }

    /// Registers once. Readiness that was there already is reported by the first wait.
    fn register(&self, socket: &Rc<Socket>) -> io::Result<()> {
        if socket.registration.get().is_some() {
            return Ok(());
        }
        let key = self.registered.borrow_mut().insert(Rc::downgrade(socket));
        if let Err(error) = self.epoll.add(socket.as_fd(), key.cookie()) {
            self.registered.borrow_mut().remove(key);
            return Err(error);
        }
        socket.registration.set(Some(key));
        Ok(())
    }

    pub(super) fn release(&self, socket: &Rc<Socket>) {
        if let Some(key) = socket.registration.take() {
            self.registered.borrow_mut().remove(key);
            // Closing would do, if nobody had duplicated the descriptor.
            self.epoll.remove(socket.as_fd());
        }
        if let TxState::Writing { .. } = std::mem::replace(&mut socket.tx.borrow_mut().state, TxState::Idle) {
            self.writing.set(self.writing.get() - 1);
        }
    }
}

fn connected(socket: &Socket) -> io::Result<()> {
    match getsockopt(&socket.as_fd(), sockopt::SocketError)? {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// A token no key has: keys leave the upper bits clear.
const SIGNAL: u64 = u64::MAX;
/// EPOLLIN.
const READABLE: u32 = 0x001;
/// EPOLLOUT, and the ends after which a write no longer blocks.
const WRITABLE: u32 = 0x004 | 0x008 | 0x010;
/// EPOLLERR, EPOLLHUP and EPOLLRDHUP.
const HUNG_UP: u32 = 0x008 | 0x010 | 0x2000;
