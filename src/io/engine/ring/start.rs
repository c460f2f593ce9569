//! How each operation is started, and how it is cancelled.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Context, Poll};

use io_uring::types::Fd;
use io_uring::{opcode, squeue};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, Shutdown, SockaddrLike, SockaddrStorage, send, shutdown};

use super::ops::{First, Op, Tag};
use super::{BUFFER_GROUP, Ring};
use crate::io::engine::buf::Buf;
use crate::io::engine::driver::Interest;
use crate::io::engine::listener::Accepted;
use crate::io::engine::slab::Key;
use crate::io::engine::socket::{Outgoing, RxState, Socket, TxState, renew};
use crate::limits::SEND_BYTES_MAX;

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

    pub(super) fn start_recv(&self, socket: &Rc<Socket>, poll_first: bool) -> Key {
        let op = Op::Recv { socket: socket.clone(), into: None, after: None };
        let key = self.ops.borrow_mut().insert(op);
        self.push(&[self.recv_entry(socket, poll_first).user_data(Tag::Op.on(key))]);
        key
    }

    /// Receives into a heap buffer that stands in for a pool one.
    pub(super) fn start_recv_into(&self, socket: &Rc<Socket>, mut bytes: Vec<u8>) {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let entry = opcode::Recv::new(Fd(socket.raw()), bytes.as_mut_ptr(), length).build();
        let op = Op::Recv { socket: socket.clone(), into: Some(bytes), after: None };
        let key = self.ops.borrow_mut().insert(op);
        socket.rx.borrow_mut().state = RxState::Armed(key);
        self.push(&[entry.user_data(Tag::Op.on(key))]);
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

    /// Sends at once what the socket takes, which nearly always is everything: then there is nothing to wait for, and the task goes on within its
    /// turn. Only the rest is the ring's.
    pub(in super::super) fn send_now(&self, socket: &Rc<Socket>, bytes: Outgoing) {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let sent = match send(socket.raw(), &bytes[..bytes.len().min(SEND_BYTES_MAX)], flags) {
            Ok(sent) if sent == bytes.len() => return socket.finish_send(Ok(()), bytes),
            Ok(sent) => sent,
            Err(Errno::EAGAIN | Errno::EINTR) => 0,
            // Reported once: the ring would find another error, or none.
            Err(error) => return socket.finish_send(Err(error.into()), bytes),
        };
        self.start_send(socket, bytes, sent);
    }

    pub(super) fn start_send(&self, socket: &Rc<Socket>, bytes: Outgoing, sent: usize) {
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

    pub(super) fn link(&self, from: &Rc<Socket>, first: First) {
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
    pub(super) fn part(&self, key: Key) {
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

    pub(super) fn cancel(&self, key: Key) {
        let linked = matches!(self.ops.borrow_mut().get_mut(key), Some(Op::Recv { after: Some(_), .. }));
        if linked {
            self.push(&[opcode::AsyncCancel::new(Tag::First.on(key)).build().user_data(Tag::Nobody.bare())]);
        }
        self.push(&[opcode::AsyncCancel::new(Tag::Op.on(key)).build().user_data(Tag::Nobody.bare())]);
    }
}

fn send_entry(socket: &Socket, bytes: &[u8]) -> squeue::Entry {
    let length = u32::try_from(bytes.len().min(SEND_BYTES_MAX)).unwrap_or(0);
    // WAITALL makes the kernel go on after a partial send by itself; what remains partial all the same is continued by us.
    opcode::Send::new(Fd(socket.raw()), bytes.as_ptr(), length).flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL).build()
}

/// IORING_RECVSEND_POLL_FIRST of io_uring_enter(2): do not try before the socket is readable.
const POLL_FIRST: u16 = 1;
