//! The operations of the io_uring driver, and the cookies by which their completions are known.
//!
//! An exchange is a send linked with the receive that follows it: one entry into the kernel for both. Its send half is silent when it
//! succeeds; when it fails (or sends only a part), it posts its own completion and the kernel posts none for the receive. Both
//! halves therefore share one `Op`, and either completion ends it.

use std::rc::Rc;

use nix::sys::socket::SockaddrStorage;

use crate::io::engine::driver::Interest;
use crate::io::engine::listener::Accepted;
use crate::io::engine::slab::Key;
use crate::io::engine::socket::{Outgoing, Socket};

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
    pub(super) to: Rc<Socket>,
    pub(super) bytes: Outgoing,
    pub(super) sent: usize,
    /// Another send waits for `to`: the halves are being taken apart.
    pub(super) parting: bool,
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
    pub(super) fn on(self, key: Key) -> u64 {
        (self as u64) << 56 | key.cookie()
    }

    pub(super) fn bare(self) -> u64 {
        (self as u64) << 56
    }

    pub(super) fn of(cookie: u64) -> Tag {
        match cookie >> 56 {
            0 => Tag::Op,
            1 => Tag::First,
            2 => Tag::Parting,
            3 => Tag::Signal,
            _ => Tag::Nobody,
        }
    }
}
