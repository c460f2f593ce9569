//! The open connections of one worker: how many they are, and which of them wait for a request.
//!
//! A worker that stops lets exchanges end, but a connection that only waits for its next request would hold it up until its idle time
//! is over: such a connection is told that its client is done.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::rc::Rc;

use nix::sys::socket::{Shutdown, shutdown};

use crate::io::engine::Stream;

/// Who is there.
#[derive(Default)]
pub(crate) struct Census {
    open: RefCell<HashMap<RawFd, Rc<Cell<bool>>>>,
}

/// One connection's entry, for as long as it lives; also through a panic.
pub(crate) struct Entry {
    census: Rc<Census>,
    fd: RawFd,
    waiting: Rc<Cell<bool>>,
}

impl Census {
    /// Enters a connection.
    pub(crate) fn enter(self: &Rc<Census>, stream: &Stream) -> Entry {
        let fd = stream.as_fd().as_raw_fd();
        let waiting = Rc::new(Cell::new(false));
        self.open.borrow_mut().insert(fd, Rc::clone(&waiting));
        Entry { census: Rc::clone(self), fd, waiting }
    }

    /// How many connections are open.
    pub(crate) fn len(&self) -> usize {
        self.open.borrow().len()
    }

    /// Ends the waits for a next request: the read side is shut down, so the wait finds the end of the stream.
    pub(crate) fn dismiss_waiting(&self) {
        for (fd, waiting) in &*self.open.borrow() {
            if waiting.get() {
                // A client that has hung up meanwhile is what was wanted.
                let _ = shutdown(*fd, Shutdown::Read);
            }
        }
    }
}

impl Entry {
    /// Whether the connection only waits for its next request.
    pub(crate) fn waits(&self, waiting: bool) {
        self.waiting.set(waiting);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.census.open.borrow_mut().remove(&self.fd);
    }
}
