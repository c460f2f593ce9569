//! The I/O engine: a single-threaded executor over io_uring, or over epoll where the kernel refuses rings.
//!
//! One [`Engine`] a thread. Inside [`Engine::run`] the free functions and types below work on the thread's engine; they behave the
//! same on both backends, and no other module names either. The tour:
//!
//! * `executor` polls tasks and takes turns with the kernel; `remote` is how other threads wake it; `timer` is its wheel.
//! * `stream`, `listener`, `datagram` are what the rest of the program uses; `socket` is what they share: an operation
//!   belongs to its socket, not to the future that waits for it, so a dropped future loses no byte.
//! * `driver` dispatches to `ring` (io_uring) or `poll` (epoll); `select` chooses; `buf` holds the receive buffers.
//! * `sys` has the few system calls that std and nix lack. All `unsafe` is in `sys`, `buf` and `ring`.

mod buf;
mod channel;
mod datagram;
mod driver;
mod executor;
mod listener;
mod poll;
mod race;
mod remote;
mod ring;
mod select;
mod slab;
mod socket;
mod stream;
mod sys;
mod timer;
mod watch;

use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

pub use buf::Buf;
pub use channel::{Answer, Receiver, Reply, Sender, TrySendError, channel, oneshot};
pub use datagram::Datagram;
pub use executor::{in_flight, now, spawn};
pub use listener::Listener;
pub use race::{Either, race};
pub use select::{Backend, Choice, Options, Selected, Spin, select};
pub use stream::Stream;
pub use timer::{Elapsed, sleep, timeout};

use executor::Core;
use remote::Remote;

/// One thread's engine. It stays on the thread that made it.
pub struct Engine {
    core: Rc<Core>,
    refused: Option<String>,
}

impl Engine {
    /// Sets an engine up on this thread. The error says which system call the kernel refused, and why it may have.
    pub fn new(options: &Options) -> io::Result<Engine> {
        let remote = Arc::new(Remote::new()?);
        let (driver, refused) = select::driver(options, &remote)?;
        Ok(Engine { core: Core::new(driver, remote, options.spin), refused })
    }

    /// What it runs on, and why not on io_uring if that was wanted.
    pub fn selected(&self) -> Selected {
        Selected { backend: self.backend(), refused: self.refused.clone() }
    }

    /// What it runs on.
    pub fn backend(&self) -> Backend {
        self.core.driver.backend()
    }

    /// Runs until `main` is done. Tasks that remain are dropped then, and every operation of theirs is reaped before this returns; so
    /// too when `main` panics. Streams that `main` returns stay open, with what they have received.
    pub fn run<F: Future>(&self, main: F) -> F::Output {
        self.core.run(main)
    }
}

#[cfg(test)]
mod tests;
