//! Bytes on their way out of a descriptor that must never block us.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::limits::STDIO_WRITE_BYTES;

/// A descriptor and what waits for it.
#[derive(Debug)]
pub(super) struct Outlet {
    /// Nothing once it is closed.
    file: Option<File>,
    waiting: Vec<u8>,
    /// How much of `waiting` is gone already.
    written: usize,
    /// Bytes of one write.
    at_once: usize,
    closes: bool,
}

impl Outlet {
    /// A descriptor whose description is ours alone.
    pub(super) fn own(file: File) -> io::Result<Outlet> {
        fcntl(&file, FcntlArg::F_SETFL(OFlag::O_NONBLOCK | OFlag::O_WRONLY))?;
        Ok(Outlet { at_once: usize::MAX, ..Outlet::shared(file) })
    }

    /// A descriptor whose description others share, so that its flags are not ours to set. A pipe or socket that is ready takes
    /// [`STDIO_WRITE_BYTES`] without blocking (pipe(7): `PIPE_BUF`).
    pub(super) fn shared(file: File) -> Outlet {
        Outlet { file: Some(file), waiting: Vec::new(), written: 0, at_once: STDIO_WRITE_BYTES, closes: false }
    }

    /// Adds a line.
    pub(super) fn line(&mut self, text: &[u8]) {
        if self.file.is_some() {
            self.waiting.extend_from_slice(text);
            self.waiting.push(b'\n');
        }
    }

    /// Bytes that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len() - self.written
    }

    /// The descriptor, while something waits for it.
    pub(super) fn wants(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().filter(|_| self.waiting() > 0).map(AsFd::as_fd)
    }

    /// Writes what the descriptor takes.
    ///
    /// # Errors
    /// If nobody reads there any more; nothing waits then.
    pub(super) fn write(&mut self) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let rest = self.waiting.get(self.written..).unwrap_or_default();
        match file.write(rest.get(..self.at_once).unwrap_or(rest)) {
            Ok(written) => self.written += written,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => {
                self.abandon();
                return Err(error);
            }
        }
        if self.waiting() == 0 {
            self.waiting.clear();
            self.written = 0;
            if self.closes {
                self.file = None;
            }
        }
        Ok(())
    }

    /// Closes the descriptor as soon as nothing waits.
    pub(super) fn close_when_empty(&mut self) {
        self.closes = true;
        if self.waiting() == 0 {
            self.file = None;
        }
    }

    /// Closes it now.
    pub(super) fn abandon(&mut self) {
        (self.file, self.written) = (None, 0);
        self.waiting.clear();
    }
}
