//! The controlling terminal, if there is one, and who has it.
//!
//! The command gets a process group of its own, because `kill(0, …)` reaches the whole group of the caller across pid namespaces: in our
//! group it could signal ringfence and whatever script started it. So the terminal, which sends Ctrl-C and Ctrl-Z to its foreground group,
//! has to be handed over and taken back, as a shell does for its jobs.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::{FileTypeExt, OpenOptionsExt},
    },
};

use nix::unistd::{Pid, getpgrp, tcgetpgrp, tcsetpgrp};

/// Our controlling terminal.
#[derive(Debug)]
pub(super) struct Terminal {
    device: File,
    /// Whether the command is to be in the foreground when we are.
    pub(super) hand_over: bool,
    /// Whether the command has the terminal from us.
    holding: bool,
}

impl Terminal {
    /// `None` without a controlling terminal.
    ///
    /// The command starts in the foreground when we are there and are no part of a pipeline. In one, taking the terminal would stop the
    /// others (`ringfence run -- tool | less`); the command then gets it when it first asks, by the stop that the kernel answers.
    pub(super) fn find() -> Option<Self> {
        let device = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).open("/dev/tty").ok()?;
        let pipeline = is_pipe(io::stdin().as_fd()) || is_pipe(io::stdout().as_fd());
        let mut terminal = Self { device, hand_over: false, holding: false };
        terminal.hand_over = !pipeline && terminal.is_ours();
        Some(terminal)
    }

    /// Outside: whether our own process group is in the foreground.
    pub(super) fn is_ours(&self) -> bool {
        tcgetpgrp(&self.device).is_ok_and(|group| group == getpgrp())
    }

    /// Puts a process group in the foreground. SIGTTOU must be blocked, for a background process may be the one that asks.
    pub(super) fn give(&self, group: Pid) {
        // A terminal that hung up has no foreground; there is nothing to do about it, and nobody is waiting at it.
        let _ = tcsetpgrp(&self.device, group);
    }

    /// Outside: whether the command is to have the terminal now, which is what pid 1 is then told.
    pub(super) fn lend(&mut self) -> bool {
        let lend = self.hand_over && self.is_ours();
        self.holding |= lend;
        lend
    }

    /// Outside: puts our own group in the foreground if the command had it from us, and leaves the terminal alone otherwise, for then it is
    /// our shell's or another job's.
    pub(super) fn take_back(&mut self) {
        if std::mem::take(&mut self.holding) {
            self.give(getpgrp());
        }
    }
}

impl AsFd for Terminal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

fn is_pipe(stream: BorrowedFd<'_>) -> bool {
    let kind = stream.try_clone_to_owned().map(File::from).and_then(|file| file.metadata());
    kind.is_ok_and(|metadata| metadata.file_type().is_fifo() || metadata.file_type().is_socket())
}
