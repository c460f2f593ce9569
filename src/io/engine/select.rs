//! Which driver: io_uring where the kernel grants it, epoll elsewhere. Containers commonly deny io_uring by seccomp.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::driver::Driver;
use super::poll::Poller;
use super::remote::Remote;
use super::ring::Ring;
use crate::limits::{RECEIVE_BUFFER_BYTES, RECEIVE_BUFFER_BYTES_MAX, RECEIVE_BUFFERS, RING_ENTRIES, RING_ENTRIES_MIN};

/// What the user asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice {
    /// io_uring if the kernel grants it, else epoll.
    #[default]
    Auto,
    /// io_uring or an error.
    Uring,
    /// epoll.
    Epoll,
}

/// What the engine runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// io_uring(7).
    Uring,
    /// epoll(7).
    Epoll,
}

impl std::fmt::Display for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Backend::Uring => "io_uring",
            Backend::Epoll => "epoll",
        })
    }
}

/// Whether an engine that has nothing to do watches for work before it parks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spin {
    /// It parks at once.
    Never,
    /// For as long as this, each time.
    Always(Duration),
    /// For as long as this where recent waits were no longer.
    AfterShortWaits(Duration),
}

/// How an engine is set up.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Which backend.
    pub choice: Choice,
    /// Whether to watch for work before parking.
    pub spin: Spin,
    /// Submission entries of the ring; rounded up to a power of two and kept within its bounds.
    pub entries: u32,
    /// Receive buffers; rounded up to a power of two, at most 32768.
    pub buffers: u16,
    /// Bytes of one receive buffer.
    pub buffer_bytes: u32,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            choice: Choice::Auto,
            spin: Spin::Never,
            entries: RING_ENTRIES,
            buffers: RECEIVE_BUFFERS,
            buffer_bytes: RECEIVE_BUFFER_BYTES,
        }
    }
}

/// The outcome of a choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selected {
    /// What it came to.
    pub backend: Backend,
    /// Why io_uring was refused, when it was wanted: for the log and for `--version`.
    pub refused: Option<String>,
}

/// Finds out what an engine with this choice would run on, by setting up a small one and dropping it.
pub fn select(choice: Choice) -> io::Result<Selected> {
    let options = Options { choice, entries: RING_ENTRIES_MIN, buffers: 1, buffer_bytes: 4096, ..Options::default() };
    let remote = Arc::new(Remote::new()?);
    let (driver, refused) = driver(&options, &remote)?;
    Ok(Selected { backend: driver.backend(), refused })
}

/// Sets the driver up on this thread. A ring that is granted but not its buffers counts as refused: seccomp may deny either.
pub(super) fn driver(options: &Options, remote: &Arc<Remote>) -> io::Result<(Driver, Option<String>)> {
    let buffers = options.buffers.clamp(1, BUFFERS_MAX).next_power_of_two();
    let bytes = options.buffer_bytes.clamp(1, RECEIVE_BUFFER_BYTES_MAX);
    let mut refused = None;
    if options.choice != Choice::Epoll {
        match Ring::new(options.entries, buffers, bytes, remote) {
            Ok(ring) => return Ok((Driver::Ring(ring), None)),
            Err(error) if options.choice == Choice::Uring => return Err(error),
            Err(error) => refused = Some(error.to_string()),
        }
    }
    Ok((Driver::Poller(Poller::new(buffers, bytes, remote)?), refused))
}

/// io_uring_register_buf_ring(3).
const BUFFERS_MAX: u16 = 1 << 15;
