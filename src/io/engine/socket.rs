//! What one descriptor has under way, whichever driver moves its bytes.
//!
//! Operations belong to the socket, never to the future that waits for them: a dropped `recv` leaves its receive in place, and the
//! next `recv` takes up whatever it brings; a dropped `send` is finished in the background, so that no message is left with a hole.
//! Only dropping the stream itself cancels. Every operation the kernel owns holds an `Rc<Socket>`, so the descriptor closes after
//! the last completion and not before.

use std::cell::{Cell, RefCell};
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::buf::Buf;
use super::driver::Interest;
use super::slab::Key;

pub(super) struct Socket {
    fd: OwnedFd,
    pub(super) rx: RefCell<Rx>,
    pub(super) tx: RefCell<Tx>,
    /// What epoll (or a poll operation) last reported; unused by ring streams.
    pub(super) ready: Cell<Ready>,
    /// Its registration with epoll, made at the first wait.
    pub(super) registration: Cell<Option<Key>>,
    /// Its owner is gone: nothing is started for it any more.
    pub(super) released: Cell<bool>,
}

/// The receiving side.
pub(super) struct Rx {
    pub(super) state: RxState,
    pub(super) waker: Option<Waker>,
    pub(super) claimed: bool,
    /// The kernel said that more bytes are waiting, so the next receive should look before it polls.
    pub(super) more: bool,
}

pub(super) enum RxState {
    Idle,
    /// A receive (or poll, or accept) is with the kernel.
    Armed(Key),
    /// Completed, not yet taken.
    Arrived(io::Result<Buf>),
}

/// The sending side.
pub(super) struct Tx {
    pub(super) state: TxState,
    pub(super) waker: Option<Waker>,
    pub(super) claimed: bool,
    /// Whoever waited for the send under way is gone.
    pub(super) abandoned: bool,
    /// How an abandoned send ended, if badly; the next send reports it.
    pub(super) failed: Option<io::Error>,
}

pub(super) enum TxState {
    Idle,
    /// A send, connect or poll is with the kernel.
    Busy(Key),
    /// A send is with the kernel, linked with a receive and silent unless it fails.
    Linked(Key),
    /// epoll: the rest of a send waits until the socket takes more.
    Writing {
        bytes: Outgoing,
        sent: usize,
    },
    /// Completed, not yet taken.
    Sent(io::Result<()>, Outgoing),
}

/// Readiness as last reported. A fresh socket counts as ready: trying is cheaper than asking.
#[derive(Clone, Copy)]
pub(super) struct Ready {
    pub(super) read: bool,
    pub(super) write: bool,
    /// The peer has finished or the connection failed: reading never blocks again.
    pub(super) hung_up: bool,
}

/// Bytes on their way out, kept until the kernel is done with them.
pub(super) enum Outgoing {
    Buf(Buf),
    Vec(Vec<u8>),
}

impl Deref for Outgoing {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Outgoing::Buf(buf) => buf,
            Outgoing::Vec(vec) => vec,
        }
    }
}

impl Outgoing {
    pub(super) fn nothing() -> Outgoing {
        Outgoing::Buf(Buf::default())
    }

    pub(super) fn into_vec(self) -> Vec<u8> {
        match self {
            Outgoing::Vec(vec) => vec,
            Outgoing::Buf(_) => Vec::new(),
        }
    }
}

impl Socket {
    pub(super) fn new(fd: OwnedFd) -> Rc<Socket> {
        let rx = Rx { state: RxState::Idle, waker: None, claimed: false, more: false };
        let tx = Tx { state: TxState::Idle, waker: None, claimed: false, abandoned: false, failed: None };
        Rc::new(Socket {
            fd,
            rx: RefCell::new(rx),
            tx: RefCell::new(tx),
            ready: Cell::new(Ready { read: true, write: true, hung_up: false }),
            registration: Cell::new(None),
            released: Cell::new(false),
        })
    }

    pub(super) fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Claims the receiving side for one future.
    pub(super) fn claim_rx(&self) -> io::Result<RxClaim<'_>> {
        if std::mem::replace(&mut self.rx.borrow_mut().claimed, true) {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "another receive waits on this socket"));
        }
        Ok(RxClaim(self))
    }

    /// Claims the sending side for one future.
    pub(super) fn claim_tx(&self) -> io::Result<TxClaim<'_>> {
        if std::mem::replace(&mut self.tx.borrow_mut().claimed, true) {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "another send waits on this socket"));
        }
        Ok(TxClaim(self))
    }

    /// The last call would have blocked: only the next report makes the socket ready again.
    pub(super) fn blocked(&self, interest: Interest) {
        let mut ready = self.ready.get();
        match interest {
            Interest::Read => (ready.read, ready.hung_up) = (false, false),
            Interest::Write => ready.write = false,
        }
        self.ready.set(ready);
    }

    /// The last receive took all there was. An end that has been reported stays reported.
    pub(super) fn drained(&self) {
        self.ready.set(Ready { read: false, ..self.ready.get() });
    }

    /// A receive has ended: its result waits for whoever asks next.
    pub(super) fn arrive(&self, state: RxState) {
        let mut rx = self.rx.borrow_mut();
        rx.state = state;
        let waker = rx.waker.take();
        drop(rx);
        wake(waker);
    }

    /// A send has ended. Its waiter gets the bytes back; without a waiter only a failure is remembered.
    pub(super) fn finish_send(&self, result: io::Result<()>, bytes: Outgoing) {
        let mut tx = self.tx.borrow_mut();
        if std::mem::take(&mut tx.abandoned) {
            tx.state = TxState::Idle;
            tx.failed = result.err();
        } else {
            tx.state = TxState::Sent(result, bytes);
        }
        let waker = tx.waker.take();
        drop(tx);
        wake(waker);
    }

    /// The end of the send that this claim's holder started.
    pub(super) fn poll_sent(&self, cx: &Context<'_>) -> Poll<(io::Result<()>, Outgoing)> {
        let mut tx = self.tx.borrow_mut();
        match std::mem::replace(&mut tx.state, TxState::Idle) {
            TxState::Sent(result, bytes) => Poll::Ready((result, bytes)),
            state => {
                tx.state = state;
                renew(&mut tx.waker, cx);
                Poll::Pending
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Held by the one future that waits to receive.
pub(super) struct RxClaim<'a>(&'a Socket);

impl Drop for RxClaim<'_> {
    fn drop(&mut self) {
        let mut rx = self.0.rx.borrow_mut();
        rx.claimed = false;
        rx.waker = None;
    }
}

/// Held by the one future that waits to send.
pub(super) struct TxClaim<'a>(&'a Socket);

impl Drop for TxClaim<'_> {
    fn drop(&mut self) {
        let mut tx = self.0.tx.borrow_mut();
        tx.claimed = false;
        tx.waker = None;
        match std::mem::replace(&mut tx.state, TxState::Idle) {
            TxState::Idle => {}
            TxState::Sent(result, _) => tx.failed = result.err(),
            under_way => {
                tx.state = under_way;
                tx.abandoned = true;
            }
        }
    }
}

/// Remembers whom to wake; clones a waker only when it changes.
pub(super) fn renew(waker: &mut Option<Waker>, cx: &Context<'_>) {
    match waker {
        Some(known) if known.will_wake(cx.waker()) => {}
        _ => *waker = Some(cx.waker().clone()),
    }
}

pub(super) fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
