//! The signals that the main thread waits for: as events, so that no handler runs anywhere.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// The signals that the main thread waits for.
pub(super) struct Signals(SignalFd);

/// Blocks the signals for this thread and those it starts, and waits for them in their stead.
pub(super) fn signals() -> io::Result<Signals> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        set.add(signal);
    }
    set.thread_block()?;
    Ok(Signals(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC)?))
}

impl Signals {
    /// The next signal; `None` when none came in time.
    pub(super) fn wait(&self, time: Duration) -> io::Result<Option<Signal>> {
        let time = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)], time) {
            Ok(0) | Err(Errno::EINTR) => return Ok(None),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let info = self.0.read_signal()?;
        Ok(info.and_then(|info| Signal::try_from(info.ssi_signo.cast_signed()).ok()))
    }
}
