//! The server's process: started with three descriptors, told the signals that we get, waited for.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{self, Command, ExitStatus, Stdio};

use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use crate::io::netns;

/// The server's process.
pub(super) struct Child(process::Child);

impl Child {
    /// Starts the command; gives the ends of the pipes to its stdin and from its stdout.
    pub(super) fn start(command: &[OsString]) -> io::Result<(Child, File, File)> {
        let Some((program, arguments)) = command.split_first() else { return Err(io::ErrorKind::InvalidInput.into()) };
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        netns::inherit_three(&mut command);
        let mut child = command.spawn()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (Some(stdin), Some(stdout)) = (stdin, stdout) else { return Err(io::ErrorKind::BrokenPipe.into()) };
        Ok((Child(child), File::from(OwnedFd::from(stdin)), File::from(OwnedFd::from(stdout))))
    }

    /// Its status, once it has ended.
    pub(super) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.0.try_wait()
    }

    fn signal(&self, signal: Signal) {
        // It may have ended in this moment; then there is nobody to tell.
        let _ = kill(Pid::from_raw(self.0.id().cast_signed()), signal);
    }
}

/// The exit status as a shell counts it.
pub(super) fn as_a_shell_counts(status: ExitStatus) -> i32 {
    status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(125)
}

/// Signals as events, so that no handler runs anywhere.
pub(super) struct Signals(SignalFd);

impl Signals {
    /// Blocks the signals for this thread and those it starts; the child's mask is reset by its start.
    pub(super) fn new() -> io::Result<Signals> {
        let mut set = SigSet::empty();
        for signal in PASSED.into_iter().chain([Signal::SIGCHLD]) {
            set.add(signal);
        }
        set.thread_block()?;
        Ok(Signals(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?))
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Passes on what has come; true when the child may have ended.
    pub(super) fn pass(&self, child: &Child) -> io::Result<bool> {
        let mut may_have_ended = false;
        while let Some(info) = self.0.read_signal()? {
            match Signal::try_from(info.ssi_signo.cast_signed()) {
                Ok(Signal::SIGCHLD) => may_have_ended = true,
                // A terminal's signal went to the child as well: it is in the same foreground group.
                Ok(signal) if info.ssi_code != libc::SI_KERNEL => child.signal(signal),
                _ => {}
            }
        }
        Ok(may_have_ended)
    }
}

/// What is passed on.
const PASSED: [Signal; 6] =
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];
