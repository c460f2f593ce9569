//! The admin thread: a poll(2) loop over its listeners and a bounded number of connections, each with one request and a deadline.
//!
//! Nothing in it waits for one client: a client that dawdles holds its own place until the deadline, or until the place is needed.

use std::fmt;
use std::io;
use std::net::{IpAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, Shutdown, recv, send, shutdown};

use super::Board;
use super::answers::{self, Asker};
use crate::limits::{ADMIN_CONNECTIONS_MAX, ADMIN_HEAD_BYTES_MAX, ADMIN_WAIT};
use crate::parse::Progress;
use crate::parse::head::{HeadError, Scan};

/// Where connections come from.
pub(super) enum Door {
    /// The socket file.
    Operators(UnixListener),
    /// The metrics address, and whom it serves.
    Scrapers(TcpListener, Box<dyn Fn(IpAddr) -> bool + Send>),
}

/// The loop's state.
pub(super) struct Serving {
    doors: Vec<Door>,
    /// Ends the loop when its other end is closed.
    woken: UnixStream,
    board: Board,
    /// The oldest first.
    connections: Vec<Connection>,
    /// No connection is accepted before then.
    resting: Option<Instant>,
}

struct Connection {
    socket: OwnedFd,
    asker: Asker,
    deadline: Instant,
    step: Step,
}

/// How far a connection has come.
enum Step {
    /// The request, as far as it is here.
    Reading { received: Vec<u8>, scan: Scan },
    /// The response, and how much of it is sent.
    Writing { response: Vec<u8>, sent: usize },
    /// All is said; what still arrives is read so that the response is not lost in a reset (RFC 9112 §9.6).
    Ending,
}

impl Serving {
    pub(super) fn new(doors: Vec<Door>, woken: UnixStream, board: Board) -> Serving {
        Serving { doors, woken, board, connections: Vec::new(), resting: None }
    }

    /// Serves until woken for the end.
    pub(super) fn run(mut self) {
        loop {
            let now = Instant::now();
            self.connections.retain(|connection| connection.deadline > now);
            self.resting = self.resting.filter(|until| *until > now);
            let (ended, ready) = match self.wait(now) {
                Ok(woken) => woken,
                Err(Errno::EINTR) => continue,
                Err(error) => {
                    // The kernel lacks memory: who asks for health finds nobody, which is the right answer.
                    tracing::error!(%error, "the admin socket is not served any more");
                    return;
                }
            };
            if ended {
                return;
            }
            let (doors, connections) = ready.split_at(self.doors.len());
            let board = &self.board;
            let mut ready = connections.iter();
            self.connections.retain_mut(|connection| ready.next() != Some(&true) || connection.advance(board));
            for (index, _) in doors.iter().enumerate().filter(|(_, ready)| **ready) {
                self.accept(index);
            }
        }
    }

    /// Waits for something to do. Says whether the end has come, and which doors and then connections are ready.
    fn wait(&self, now: Instant) -> nix::Result<(bool, Vec<bool>)> {
        let listen = if self.resting.is_some() { PollFlags::empty() } else { PollFlags::POLLIN };
        let mut watched = vec![PollFd::new(self.woken.as_fd(), PollFlags::POLLIN)];
        watched.extend(self.doors.iter().map(|door| PollFd::new(door.as_fd(), listen)));
        watched.extend(self.connections.iter().map(|connection| {
            let flags = match connection.step {
                Step::Writing { .. } => PollFlags::POLLOUT,
                Step::Reading { .. } | Step::Ending => PollFlags::POLLIN,
            };
            PollFd::new(connection.socket.as_fd(), flags)
        }));
        let next = self.connections.iter().map(|connection| connection.deadline).chain(self.resting).min();
        poll(&mut watched, next.map_or(PollTimeout::NONE, |at| timeout(at.saturating_duration_since(now))))?;
        let mut ready = watched.iter().map(|watched| watched.any().unwrap_or(true));
        Ok((ready.next() == Some(true), ready.collect()))
    }

    fn accept(&mut self, door: usize) {
        let Some(door) = self.doors.get(door) else { return };
        match door.accept() {
            Ok(Some((socket, asker))) => {
                if self.connections.len() >= ADMIN_CONNECTIONS_MAX {
                    // An honest client is served within a turn or two: the oldest is a dawdler.
                    self.connections.remove(0);
                }
                let step = Step::Reading { received: Vec::new(), scan: Scan::default() };
                self.connections.push(Connection { socket, asker, deadline: Instant::now() + ADMIN_WAIT, step });
            }
            Ok(None) => {}
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                _ => {
                    tracing::warn!(%error, "the admin socket could not accept a connection");
                    self.resting = Some(Instant::now() + ADMIN_WAIT);
                }
            },
        }
    }
}

impl Door {
    /// The next connection; `None` for one that is not served.
    fn accept(&self) -> io::Result<Option<(OwnedFd, Asker)>> {
        match self {
            Door::Operators(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok(Some((stream.into(), Asker::Operator)))
            }
            Door::Scrapers(listener, admits) => {
                let (stream, from) = listener.accept()?;
                if !admits(from.ip().to_canonical()) {
                    return Ok(None);
                }
                stream.set_nonblocking(true)?;
                Ok(Some((stream.into(), Asker::Scraper)))
            }
        }
    }
}

impl AsFd for Door {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Door::Operators(listener) => listener.as_fd(),
            Door::Scrapers(listener, _) => listener.as_fd(),
        }
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving").field("connections", &self.connections.len()).finish_non_exhaustive()
    }
}

impl Connection {
    /// Goes on as far as it can; false when the connection is done with.
    fn advance(&mut self, board: &Board) -> bool {
        let went_on = match &mut self.step {
            Step::Reading { .. } => self.read(board),
            Step::Writing { .. } => self.write(),
            Step::Ending => receive(&self.socket, &mut [0; 1024]).map(|received| received > 0),
        };
        match went_on {
            Ok(on) => on,
            Err(Errno::EAGAIN | Errno::EINTR) => true,
            Err(_) => false,
        }
    }

    fn read(&mut self, board: &Board) -> nix::Result<bool> {
        let Step::Reading { received, scan } = &mut self.step else { return Ok(true) };
        let mut some = [0; 1024];
        let count = receive(&self.socket, &mut some)?;
        if count == 0 {
            return Ok(false);
        }
        received.extend_from_slice(some.get(..count).unwrap_or_default());
        let response = match scan.find(received) {
            Ok(Progress::More) if received.len() <= ADMIN_HEAD_BYTES_MAX => return Ok(true),
            Ok(Progress::More) => answers::refuse(&HeadError::TooLarge),
            Ok(Progress::Done(length)) => {
                answers::answer(received.get(..length).unwrap_or_default(), self.asker, board)
            }
            Err(error) => answers::refuse(&error),
        };
        self.step = Step::Writing { response, sent: 0 };
        self.write()
    }

    fn write(&mut self) -> nix::Result<bool> {
        let Step::Writing { response, sent } = &mut self.step else { return Ok(true) };
        while let Some(rest) = response.get(*sent..).filter(|rest| !rest.is_empty()) {
            *sent += send(self.socket.as_raw_fd(), rest, MsgFlags::MSG_NOSIGNAL)?;
        }
        shutdown(self.socket.as_raw_fd(), Shutdown::Write)?;
        self.step = Step::Ending;
        Ok(true)
    }
}

fn receive(socket: &OwnedFd, into: &mut [u8]) -> nix::Result<usize> {
    recv(socket.as_raw_fd(), into, MsgFlags::empty())
}

/// Rounded up, so that a deadline has passed when the wait for it ends.
fn timeout(wait: Duration) -> PollTimeout {
    let milliseconds = wait.as_millis().saturating_add(1);
    PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX)
}
