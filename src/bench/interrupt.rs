//! SIGINT and SIGTERM while a run is under way: noticed between and during turns, so that what is done so far can be kept.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Watches for signals; while it lives they end nothing by themselves. What is started meanwhile gets them as ever: std clears the
/// mask of its children.
#[derive(Debug)]
pub(super) struct Interrupt {
    signals: SignalFd,
    before: SigSet,
}

/// How a wait ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Waited {
    /// What was waited for is there.
    Ready,
    /// This signal came first.
    Interrupted(i32),
    /// The time is over.
    Elapsed,
}

impl Interrupt {
    pub(super) fn watch() -> io::Result<Interrupt> {
        let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM].into_iter().collect();
        let before = signals.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK)?;
        let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Interrupt { signals, before })
    }

    /// Waits until `readable` has something, or has ended.
    pub(super) fn wait_for(&self, readable: &impl AsFd, limit: Option<Duration>) -> io::Result<Waited> {
        let until = limit.map(|limit| Instant::now() + limit);
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let timeout = match left {
                None => PollTimeout::NONE,
                // Up, so that the last round does not spin.
                Some(left) => PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX),
            };
            let mut watched = [
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
                PollFd::new(readable.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut watched, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            if let Some(signal) = self.signals.read_signal()? {
                return Ok(Waited::Interrupted(i32::try_from(signal.ssi_signo).unwrap_or(Signal::SIGINT as i32)));
            }
            if watched[1].any().unwrap_or(false) {
                return Ok(Waited::Ready);
            }
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(Waited::Elapsed);
            }
        }
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        // A mask that was in force can be put in force again.
        let _ = self.before.thread_set_mask();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::raise;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_signal_ends_a_wait_and_is_no_reason_to_die() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let interrupt = Interrupt::watch().unwrap();
        assert_eq!(interrupt.wait_for(&theirs, Some(Duration::ZERO)).unwrap(), Waited::Elapsed);
        ours.write_all(b"x").unwrap();
        assert_eq!(interrupt.wait_for(&theirs, None).unwrap(), Waited::Ready);
        raise(Signal::SIGINT).unwrap();
        assert_eq!(interrupt.wait_for(&theirs, None).unwrap(), Waited::Interrupted(2));
    }
}
