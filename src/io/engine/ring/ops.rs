//! The operations of the io_uring driver: how each is started, and what its completions mean.
//!
//! An exchange is a send linked with the receive that follows it: one entry into the kernel for both. Its send half is silent when it
//! succeeds; when it fails (or sends only a part), it posts its own completion and the kernel posts none for the receive. Both
//! halves therefore share one `Op`, and either completion ends it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Context, Poll};

use io_uring::types::Fd;
use io_uring::{cqueue, opcode, squeue};
use nix::sys::socket::{Shutdown, SockaddrLike, SockaddrStorage, shutdown};

use super::{BUFFER_GROUP, Completion, Ring};
use crate::io::engine::buf::Buf;
use crate::io::engine::driver::Interest;
use crate::io::engine::listener::Accepted;
use crate::io::engine::slab::Key;
use crate::io::engine::socket::{Outgoing, RxState, Socket, TxState, renew};
use crate::io::engine::sys;
use crate::limits::{ACCEPTED_WAITING_MAX, SEND_BYTES_MAX};

/// What the kernel may read, write or complete; owned by the ring until the last completion.
pub(super) enum Op {
    Recv {
        socket: Rc<Socket>,
        /// A heap buffer, when the pool had none.
        into: Option<Vec<u8>>,
        /// The send this receive is linked behind.
        after: Option<First>,
    },
    Send {
        socket: Rc<Socket>,
        bytes: Outgoing,
        sent: usize,
    },
    Connect {
        socket: Rc<Socket>,
        _address: Box<SockaddrStorage>,
    },
    Accept {
        socket: Rc<Socket>,
        accepted: Rc<Accepted>,
    },
    Ready {
        socket: Rc<Socket>,
        interest: Interest,
    },
}

/// The first half of an exchange.
pub(super) struct First {
    to: Rc<Socket>,
    bytes: Outgoing,
    sent: usize,
    /// Another send waits for `to`: the halves are being taken apart.
    parting: bool,
}

/// The upper eight bits of a cookie: which completion of an operation this is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    Op = 0,
    /// The send half of an exchange; comes only if that failed.
    First = 1,
    /// The answer to cancelling a send half in order to part an exchange.
    Parting = 2,
    /// The remote's signal.
    Signal = 3,
    Nobody = 4,
}

impl Tag {
    fn on(self, key: Key) -> u64 {
        (self as u64) << 56 | key.cookie()
    }

    pub(super) fn bare(self) -> u64 {
        (self as u64) << 56
    }

    fn of(cookie: u64) -> Tag {
        match cookie >> 56 {
            0 => Tag::Op,
            1 => Tag::First,
            2 => Tag::Parting,
            3 => Tag::Signal,
            _ => Tag::Nobody,
        }
    }
}

/// Starting.
impl Ring {
    pub(in super::super) fn poll_recv(&self, socket: &Rc<Socket>, cx: &Context<'_>) -> Poll<io::Result<Buf>> {
        let mut rx = socket.rx.borrow_mut();
        match std::mem::replace(&mut rx.state, RxState::Idle) {
            RxState::Arrived(result) => return Poll::Ready(result),
            RxState::Armed(key) => rx.state = RxState::Armed(key),
            RxState::Idle => {
                let poll_first = !std::mem::take(&mut rx.more);
                rx.state = RxState::Armed(self.start_recv(socket, poll_first));
            }
        }
        renew(&mut rx.waker, cx);
        Poll::Pending
    }

    fn start_recv(&self, socket: &Rc<Socket>, poll_first: bool) -> Key {
        let op = Op::Recv { socket: socket.clone(), into: None, after: None };
        let key = self.ops.borrow_mut().insert(op);
        self.push(&[self.recv_entry(socket, poll_first).user_data(Tag::Op.on(key))]);
        key
    }

    fn recv_entry(&self, socket: &Socket, poll_first: bool) -> squeue::Entry {
        let length = u32::try_from(self.pool.buffer_bytes()).unwrap_or(u32::MAX);
        let recv = opcode::Recv::new(Fd(socket.raw()), std::ptr::null_mut(), length).buf_group(BUFFER_GROUP);
        recv.ioprio(if poll_first { POLL_FIRST } else { 0 }).build().flags(squeue::Flags::BUFFER_SELECT)
    }

    pub(in super::super) fn poll_send_idle(&self, socket: &Rc<Socket>, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let mut tx = socket.tx.borrow_mut();
        match tx.state {
            TxState::Idle => return Poll::Ready(tx.failed.take().map_or(Ok(()), Err)),
            TxState::Linked(key) => self.part(key),
            _ => {}
        }
        renew(&mut tx.waker, cx);
        Poll::Pending
    }

    pub(in super::super) fn start_send(&self, socket: &Rc<Socket>, bytes: Outgoing, sent: usize) {
        let entry = send_entry(socket, &bytes[sent..]);
        let key = self.ops.borrow_mut().insert(Op::Send { socket: socket.clone(), bytes, sent });
        socket.tx.borrow_mut().state = TxState::Busy(key);
        self.push(&[entry.user_data(Tag::Op.on(key))]);
    }

    /// Links the two halves if nothing of `from` is under way or waiting already; else sends only.
    pub(in super::super) fn start_exchange(&self, to: &Rc<Socket>, from: &Rc<Socket>, bytes: Outgoing) {
        if matches!(from.rx.borrow().state, RxState::Idle) && bytes.len() <= SEND_BYTES_MAX {
            self.link(from, First { to: to.clone(), bytes, sent: 0, parting: false });
        } else {
            self.start_send(to, bytes, 0);
        }
    }

    fn link(&self, from: &Rc<Socket>, first: First) {
        let send = send_entry(&first.to, &first.bytes[first.sent..]);
        let send = send.flags(squeue::Flags::IO_LINK | squeue::Flags::SKIP_SUCCESS);
        let recv = self.recv_entry(from, true);
        let to = first.to.clone();
        let key = self.ops.borrow_mut().insert(Op::Recv { socket: from.clone(), into: None, after: Some(first) });
        to.tx.borrow_mut().state = TxState::Linked(key);
        from.rx.borrow_mut().state = RxState::Armed(key);
        self.push(&[send.user_data(Tag::First.on(key)), recv.user_data(Tag::Op.on(key))]);
    }

    /// Finds out how far a silent send half is, by cancelling it: whatever it has not sent yet is sent on its own afterwards.
    fn part(&self, key: Key) {
        if let Some(Op::Recv { after: Some(first), .. }) = self.ops.borrow_mut().get_mut(key)
            && std::mem::replace(&mut first.parting, true)
        {
            return;
        }
        let cancel = opcode::AsyncCancel::new(Tag::First.on(key)).build();
        self.push(&[cancel.user_data(Tag::Parting.on(key))]);
    }

    pub(in super::super) fn start_connect(&self, socket: &Rc<Socket>, address: SocketAddr) {
        let address = Box::new(SockaddrStorage::from(address));
        let entry = opcode::Connect::new(Fd(socket.raw()), address.as_ptr(), address.len()).build();
        let op = Op::Connect { socket: socket.clone(), _address: address };
        let key = self.ops.borrow_mut().insert(op);
        socket.tx.borrow_mut().state = TxState::Busy(key);
        self.push(&[entry.user_data(Tag::Op.on(key))]);
    }

    pub(in super::super) fn poll_accept(
        &self,
        socket: &Rc<Socket>,
        accepted: &Rc<Accepted>,
        cx: &Context<'_>,
    ) -> Poll<io::Result<OwnedFd>> {
        if let Some(result) = accepted.take() {
            return Poll::Ready(result);
        }
        let mut rx = socket.rx.borrow_mut();
        if let RxState::Idle = rx.state {
            let op = Op::Accept { socket: socket.clone(), accepted: accepted.clone() };
            let key = self.ops.borrow_mut().insert(op);
            rx.state = RxState::Armed(key);
            let entry = opcode::AcceptMulti::new(Fd(socket.raw())).flags(libc::SOCK_CLOEXEC).build();
            self.push(&[entry.user_data(Tag::Op.on(key))]);
        }
        renew(&mut rx.waker, cx);
        Poll::Pending
    }

    pub(in super::super) fn poll_ready(
        &self,
        socket: &Rc<Socket>,
        interest: Interest,
        cx: &Context<'_>,
    ) -> Poll<io::Result<()>> {
        let (mut rx, mut tx) = (socket.rx.borrow_mut(), socket.tx.borrow_mut());
        let ready = socket.ready.get();
        let (is_ready, is_idle, events) = match interest {
            Interest::Read => (ready.read, matches!(rx.state, RxState::Idle), libc::POLLIN),
            Interest::Write => (ready.write, matches!(tx.state, TxState::Idle), libc::POLLOUT),
        };
        if is_ready {
            return Poll::Ready(Ok(()));
        }
        let started = is_idle.then(|| self.ops.borrow_mut().insert(Op::Ready { socket: socket.clone(), interest }));
        if let Some(key) = started {
            let entry = opcode::PollAdd::new(Fd(socket.raw()), u32::try_from(events).unwrap_or(0)).build();
            self.push(&[entry.user_data(Tag::Op.on(key))]);
        }
        match interest {
            Interest::Read => {
                renew(&mut rx.waker, cx);
                rx.state = started.map_or_else(|| std::mem::replace(&mut rx.state, RxState::Idle), RxState::Armed);
            }
            Interest::Write => {
                renew(&mut tx.waker, cx);
                tx.state = started.map_or_else(|| std::mem::replace(&mut tx.state, TxState::Idle), TxState::Busy);
            }
        }
        Poll::Pending
    }

    /// Cancels what the socket has under way, both halves of an exchange. With `finish` the peer sees the end at once: the descriptor
    /// itself closes only after the last completion.
    pub(in super::super) fn release(&self, socket: &Rc<Socket>, finish: bool) {
        let mut under_way = false;
        if let RxState::Armed(key) = socket.rx.borrow().state {
            self.cancel(key);
            under_way = true;
        }
        if let TxState::Busy(key) | TxState::Linked(key) = socket.tx.borrow().state {
            self.cancel(key);
            under_way = true;
        }
        if under_way && finish {
            // A socket that was never connected, or is no longer, has nobody to tell.
            let _ = shutdown(socket.raw(), Shutdown::Both);
        }
    }

    fn cancel(&self, key: Key) {
        let linked = matches!(self.ops.borrow_mut().get_mut(key), Some(Op::Recv { after: Some(_), .. }));
        if linked {
            self.push(&[opcode::AsyncCancel::new(Tag::First.on(key)).build().user_data(Tag::Nobody.bare())]);
        }
        self.push(&[opcode::AsyncCancel::new(Tag::Op.on(key)).build().user_data(Tag::Nobody.bare())]);
    }
}

/// Completing.
impl Ring {
    pub(super) fn complete(&self, completion: Completion) {
        let key = Key::from_cookie(completion.cookie);
        match Tag::of(completion.cookie) {
            Tag::Op => self.complete_op(key, completion),
            Tag::First => self.complete_first(key, completion.result),
            Tag::Parting => self.complete_parting(key, completion.result),
            Tag::Signal => self.listening.set(cqueue::more(completion.flags)),
            Tag::Nobody => {}
        }
    }

    fn complete_op(&self, key: Key, completion: Completion) {
        let accept = match self.ops.borrow_mut().get_mut(key) {
            Some(Op::Accept { socket, accepted }) => Some((socket.clone(), accepted.clone())),
            _ => None,
        };
        if let Some((socket, accepted)) = accept {
            return self.complete_accept(key, &socket, &accepted, completion);
        }
        let op = self.ops.borrow_mut().remove(key);
        let result = completion.result;
        match op {
            Some(Op::Recv { socket, into, after }) => {
                if let Some(first) = after {
                    first.to.finish_send(Ok(()), first.bytes);
                }
                self.complete_recv(&socket, into, completion);
            }
            Some(Op::Send { socket, bytes, sent }) => self.complete_send(&socket, bytes, sent, result),
            Some(Op::Connect { socket, .. }) => socket.finish_send(check(result).map(drop), Outgoing::nothing()),
            Some(Op::Ready { socket, interest }) => complete_ready(&socket, interest),
            // A late completion must still not take its buffer along.
            Some(Op::Accept { .. }) | None => drop(self.buffer_of(completion)),
        }
    }

    fn complete_recv(&self, socket: &Rc<Socket>, into: Option<Vec<u8>>, completion: Completion) {
        let result = completion.result;
        socket.rx.borrow_mut().more = cqueue::sock_nonempty(completion.flags);
        if let Some(bytes) = into {
            let buf = self.pool.overflowed(bytes, usize::try_from(result).unwrap_or(0));
            let state = if result == CANCELED { RxState::Idle } else { RxState::Arrived(check(result).map(|_| buf)) };
            return socket.arrive(state);
        }
        let buf = self.buffer_of(completion);
        match result {
            CANCELED => socket.arrive(RxState::Idle),
            NO_BUFFER if self.closing.get() || socket.released.get() => socket.arrive(RxState::Idle),
            NO_BUFFER => self.recv_without_buffer(socket),
            _ => socket.arrive(RxState::Arrived(check(result).map(|_| buf))),
        }
    }

    /// Every pool buffer was taken when bytes came: takes one from the heap, or waits for one to come back.
    #[cold]
    fn recv_without_buffer(&self, socket: &Rc<Socket>) {
        if self.pool.has_free() {
            let key = self.start_recv(socket, false);
            socket.rx.borrow_mut().state = RxState::Armed(key);
            return;
        }
        let Some(mut bytes) = self.pool.overflow() else {
            // The waiter starts over when a buffer has come back; without a waiter, the next one does.
            let mut rx = socket.rx.borrow_mut();
            (rx.state, rx.more) = (RxState::Idle, true);
            if let Some(waker) = &rx.waker {
                self.pool.starve_waker(waker);
            }
            return;
        };
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let entry = opcode::Recv::new(Fd(socket.raw()), bytes.as_mut_ptr(), length).build();
        let op = Op::Recv { socket: socket.clone(), into: Some(bytes), after: None };
        let key = self.ops.borrow_mut().insert(op);
        socket.rx.borrow_mut().state = RxState::Armed(key);
        self.push(&[entry.user_data(Tag::Op.on(key))]);
    }

    fn complete_send(&self, socket: &Rc<Socket>, bytes: Outgoing, sent: usize, result: i32) {
        let outcome = match check(result) {
            Ok(0) if sent < bytes.len() => Err(io::ErrorKind::WriteZero.into()),
            Ok(count) if sent + count < bytes.len() && !self.is_over(socket) => {
                return self.start_send(socket, bytes, sent + count);
            }
            Ok(count) if sent + count < bytes.len() => Err(io::Error::from_raw_os_error(libc::ECANCELED)),
            result => result.map(drop),
        };
        socket.finish_send(outcome, bytes);
    }

    /// The send half of an exchange failed or fell short; the kernel says nothing about the receive half, which never started.
    fn complete_first(&self, key: Key, result: i32) {
        let Some(Op::Recv { socket: from, after: Some(mut first), .. }) = self.ops.borrow_mut().remove(key) else {
            return;
        };
        let to = first.to.clone();
        let outcome = match check(result) {
            Err(error) if first.parting && error.raw_os_error() == Some(libc::ECANCELED) => Ok(0),
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            outcome => outcome,
        };
        match outcome {
            Ok(count) if !self.is_over(&to) => {
                first.sent += count;
                if first.sent < first.bytes.len() && !first.parting && !self.is_over(&from) {
                    return self.link(&from, first);
                }
                if first.sent < first.bytes.len() {
                    self.start_send(&to, first.bytes, first.sent);
                } else {
                    to.finish_send(Ok(()), first.bytes);
                }
            }
            Ok(_) => to.finish_send(Err(io::Error::from_raw_os_error(libc::ECANCELED)), first.bytes),
            Err(error) => to.finish_send(Err(error), first.bytes),
        }
        // Whoever waits for the receive starts it anew.
        from.arrive(RxState::Idle);
    }

    fn complete_parting(&self, key: Key, result: i32) {
        let mut ops = self.ops.borrow_mut();
        let Some(Op::Recv { after, .. }) = ops.get_mut(key) else { return };
        match result {
            // There was no send half any more: it has succeeded, and the receive goes on by itself.
            NOT_FOUND => {
                let first = after.take();
                drop(ops);
                if let Some(first) = first {
                    first.to.finish_send(Ok(()), first.bytes);
                }
            }
            // It was being executed just then; ask again.
            ALREADY_RUNNING => {
                if let Some(first) = after {
                    first.parting = false;
                }
                drop(ops);
                self.part(key);
            }
            // Cancelled: its own completion tells how far it came.
            _ => {}
        }
    }

    fn complete_accept(&self, key: Key, socket: &Rc<Socket>, accepted: &Accepted, completion: Completion) {
        let waiting = accepted.put(check(completion.result).and_then(|_| sys::owned(completion.result)));
        if !cqueue::more(completion.flags) {
            self.ops.borrow_mut().remove(key);
            socket.arrive(RxState::Idle);
            return;
        }
        if waiting == ACCEPTED_WAITING_MAX {
            self.cancel(key);
        }
        let waker = socket.rx.borrow_mut().waker.take();
        crate::io::engine::socket::wake(waker);
    }

    fn buffer_of(&self, completion: Completion) -> Buf {
        match cqueue::buffer_select(completion.flags) {
            Some(index) => self.pool.filled(index, usize::try_from(completion.result).unwrap_or(0)),
            None => Buf::default(),
        }
    }

    fn is_over(&self, socket: &Socket) -> bool {
        self.closing.get() || socket.released.get()
    }
}

fn complete_ready(socket: &Socket, interest: Interest) {
    let mut ready = socket.ready.get();
    match interest {
        Interest::Read => {
            ready.read = true;
            socket.ready.set(ready);
            socket.arrive(RxState::Idle);
        }
        Interest::Write => {
            ready.write = true;
            socket.ready.set(ready);
            let mut tx = socket.tx.borrow_mut();
            tx.state = TxState::Idle;
            let waker = tx.waker.take();
            drop(tx);
            crate::io::engine::socket::wake(waker);
        }
    }
}

fn send_entry(socket: &Socket, bytes: &[u8]) -> squeue::Entry {
    let length = u32::try_from(bytes.len().min(SEND_BYTES_MAX)).unwrap_or(0);
    // WAITALL makes the kernel go on after a partial send by itself; what remains partial all the same is continued by us.
    opcode::Send::new(Fd(socket.raw()), bytes.as_ptr(), length).flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL).build()
}

fn check(result: i32) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}

/// IORING_RECVSEND_POLL_FIRST of io_uring_enter(2): do not try before the socket is readable.
const POLL_FIRST: u16 = 1;
const CANCELED: i32 = -libc::ECANCELED;
const NO_BUFFER: i32 = -libc::ENOBUFS;
const NOT_FOUND: i32 = -libc::ENOENT;
const ALREADY_RUNNING: i32 = -libc::EALREADY;
