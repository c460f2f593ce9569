//! What each completion means.

use std::io;
use std::rc::Rc;

use io_uring::cqueue;

use super::ops::{Op, Tag};
use super::{Completion, Ring};
use crate::io::engine::buf::Buf;
use crate::io::engine::driver::Interest;
use crate::io::engine::listener::Accepted;
use crate::io::engine::slab::Key;
use crate::io::engine::socket::{Outgoing, RxState, Socket, TxState, wake};
use crate::io::engine::sys;
use crate::limits::ACCEPTED_WAITING_MAX;

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
        let Some(bytes) = self.pool.overflow() else {
            // The waiter starts over when a buffer has come back; without a waiter, the next one does.
            let mut rx = socket.rx.borrow_mut();
            (rx.state, rx.more) = (RxState::Idle, true);
            if let Some(waker) = &rx.waker {
                self.pool.starve_waker(waker);
            }
            return;
        };
        self.start_recv_into(socket, bytes);
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
        wake(waker);
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
            wake(waker);
        }
    }
}

fn check(result: i32) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}

const CANCELED: i32 = -libc::ECANCELED;
const NO_BUFFER: i32 = -libc::ENOBUFS;
const NOT_FOUND: i32 = -libc::ENOENT;
const ALREADY_RUNNING: i32 = -libc::EALREADY;
