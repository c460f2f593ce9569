//! An approver that is a command: it is started for one question, which it gets on its standard input.
//!
//! Exit status 0 is yes, 1 is no, anything else is no answer. What it prints is optional; if it prints something, that must be an answer that
//! repeats the question's id and digest. It has no environment but `PATH` and `HOME`, no working folder of the agent's, no terminal, and its
//! stderr goes nowhere: beside `ringfence mcp` it would go to the client.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::{Came, Open, is_too_long};
use crate::io::netns;
use crate::limits::APPROVAL_LOOK_EVERY;

/// Starts the command and waits for its end, or for that of the question.
pub(super) fn ask(words: &[Box<str>], question: &[u8], open: &Open) -> Came {
    let mut running = match Running::start(words) {
        Ok(running) => running,
        Err(error) => return Came::Failed(error.to_string()),
    };
    let mut left = question;
    loop {
        if open.is_withdrawn() {
            return Came::Withdrawn;
        }
        if open.left().is_zero() {
            return Came::Nothing;
        }
        running.wait_a_moment(open);
        left = running.tell(left);
        if let Err(error) = running.hear() {
            return Came::Failed(error.to_string());
        }
        match running.child.try_wait() {
            Ok(None) => {}
            Ok(Some(status)) => return running.ended(status),
            Err(error) => return Came::Failed(error.to_string()),
        }
    }
}

/// A command at work. Dropped, it and everything that it has started is ended.
struct Running {
    child: Child,
    stdin: Option<File>,
    stdout: Option<File>,
    said: Vec<u8>,
}

impl Running {
    fn start(words: &[Box<str>]) -> io::Result<Running> {
        let Some((program, words)) = words.split_first() else { return Err(io::ErrorKind::InvalidInput.into()) };
        let mut command = Command::new(&**program);
        command.args(words.iter().map(|word| &**word)).current_dir("/").env_clear().process_group(0);
        for name in ["PATH", "HOME"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        netns::inherit_three(&mut command);
        let mut child = command.spawn()?;
        let stdin = child.stdin.take().map(|stdin| File::from(OwnedFd::from(stdin)));
        let stdout = child.stdout.take().map(|stdout| File::from(OwnedFd::from(stdout)));
        // Made first, so that the child is ended whatever happens to its pipes.
        let running = Running { child, stdin, stdout, said: Vec::new() };
        for (pipe, mode) in [(&running.stdin, OFlag::O_WRONLY), (&running.stdout, OFlag::O_RDONLY)] {
            if let Some(pipe) = pipe {
                fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK | mode))?;
            }
        }
        Ok(running)
    }

    /// Waits until something can be done; not for long, because an exit and a withdrawal do not show here.
    fn wait_a_moment(&self, open: &Open) {
        let watched = [(&self.stdin, PollFlags::POLLOUT), (&self.stdout, PollFlags::POLLIN)];
        let mut fds: Vec<PollFd<'_>> =
            watched.iter().filter_map(|(pipe, flags)| Some(PollFd::new(pipe.as_ref()?.as_fd(), *flags))).collect();
        let patience = PollTimeout::try_from(APPROVAL_LOOK_EVERY.min(open.left())).unwrap_or(PollTimeout::ZERO);
        // Whatever it says, the pipes are tried without blocking.
        let _ = poll(&mut fds, patience);
    }

    /// Writes what the command takes of its question; gives the rest. One that does not want to know may answer all the same.
    fn tell<'q>(&mut self, left: &'q [u8]) -> &'q [u8] {
        let written = match self.stdin.as_mut().map(|stdin| stdin.write(left)) {
            Some(Ok(written)) => written,
            Some(Err(error)) if is_for_later(&error) => return left,
            Some(Err(_)) | None => left.len(),
        };
        let left = left.get(written..).unwrap_or_default();
        if left.is_empty() {
            self.stdin = None;
        }
        left
    }

    /// Reads what the command has said so far.
    fn hear(&mut self) -> io::Result<()> {
        let Some(stdout) = &mut self.stdout else { return Ok(()) };
        let mut room = [0; 4096];
        loop {
            match stdout.read(&mut room) {
                Ok(0) => break self.stdout = None,
                Ok(read) => self.said.extend_from_slice(room.get(..read).unwrap_or_default()),
                Err(error) if is_for_later(&error) => break,
                Err(error) => return Err(error),
            }
            if is_too_long(&self.said) {
                return Err(io::Error::other("it says more than an answer takes"));
            }
        }
        Ok(())
    }

    fn ended(&mut self, status: ExitStatus) -> Came {
        // What it said last may have come after the last look.
        if let Err(error) = self.hear() {
            return Came::Failed(error.to_string());
        }
        match status.code() {
            Some(0) if self.said.iter().all(u8::is_ascii_whitespace) => Came::Yes,
            Some(0) => Came::Said(std::mem::take(&mut self.said)),
            Some(1) => Came::No,
            _ => Came::Failed(format!("it ended with {status}")),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Its own group: also what it has started and left behind.
        let _ = killpg(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
