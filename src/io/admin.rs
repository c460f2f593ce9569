//! The admin socket: health, readiness, metrics and status over HTTP, for operators and their tools.
//!
//! One thread of its own, away from the workers: `answers` knows what is asked and answered, `serving` moves the bytes, `socket` keeps the
//! file. It reads what others tell it and changes nothing. Whoever may open the socket file may ask everything; a metrics address over TCP
//! answers `/metrics` alone, and only to sources that may ask.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crate::config::AdminSettings;
use crate::io::metrics::Metrics;
use crate::io::status::Status;

mod answers;
mod serving;
mod socket;

use serving::{Door, Serving};
use socket::SocketFile;

/// What is answered from.
#[derive(Clone, Debug)]
pub struct Board {
    /// What the proxy says of itself.
    pub status: Arc<Status>,
    /// What its workers count.
    pub metrics: Metrics,
}

/// The running admin thread. Dropped, it ends at once, and the socket file goes.
#[derive(Debug)]
pub struct Admin {
    /// Closing this wakes the thread for its end.
    wake: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
    metrics: Option<SocketAddr>,
    /// Removed last, when nobody listens any more.
    _socket: SocketFile,
}

/// Why the admin socket cannot be opened.
#[derive(Debug)]
pub enum AdminError {
    /// Another process serves this socket.
    Live(PathBuf),
    /// Something that is no socket stands there.
    NotASocket(PathBuf),
    /// The socket or its folder cannot be made.
    Socket(PathBuf, io::Error),
    /// The metrics address cannot be had.
    Metrics(SocketAddr, io::Error),
    /// There is no thread.
    Thread(io::Error),
}

impl Admin {
    /// Opens the socket and, where one is set, the metrics address, and starts the thread. Over TCP only sources that `admits` says yes to
    /// are served: agents are none.
    ///
    /// # Errors
    /// If the socket is another process's, or one of both cannot be had.
    pub fn open(
        settings: &AdminSettings,
        board: Board,
        admits: impl Fn(IpAddr) -> bool + Send + 'static,
    ) -> Result<Admin, AdminError> {
        let (file, listener) = SocketFile::bind(&settings.socket)?;
        let mut doors = vec![Door::Operators(listener)];
        let mut metrics = None;
        if let Some(address) = settings.metrics {
            let failed = |error| AdminError::Metrics(address, error);
            let listener = TcpListener::bind(address).map_err(failed)?;
            listener.set_nonblocking(true).map_err(failed)?;
            metrics = Some(listener.local_addr().map_err(failed)?);
            doors.push(Door::Scrapers(listener, Box::new(admits)));
        }
        let (wake, woken) = UnixStream::pair().map_err(AdminError::Thread)?;
        let serving = Serving::new(doors, woken, board);
        let thread = thread::Builder::new()
            .name("ringfence-admin".to_owned())
            .spawn(move || serving.run())
            .map_err(AdminError::Thread)?;
        Ok(Admin { wake: Some(wake), thread: Some(thread), metrics, _socket: file })
    }

    /// Where metrics are served over TCP, with the port that the system chose if it was to choose one.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        drop(self.wake.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdminError::Live(path) => {
                let path = path.display();
                write!(f, "admin.socket: {path}: another process serves it; stop that one or choose another path")
            }
            AdminError::NotASocket(path) => {
                let path = path.display();
                write!(f, "admin.socket: {path}: is there and is no socket; remove it or choose another path")
            }
            AdminError::Socket(path, error) => {
                let path = path.display();
                write!(f, "admin.socket: {path}: cannot be made ({error}); choose a folder that this user can write")
            }
            AdminError::Metrics(address, error) => {
                write!(f, "admin.metrics: {address}: cannot be had ({error}); choose a free address of this host")
            }
            AdminError::Thread(error) => write!(f, "the admin thread cannot be started: {error}"),
        }
    }
}

impl std::error::Error for AdminError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            AdminError::Live(_) | AdminError::NotASocket(_) => None,
            AdminError::Socket(_, error) | AdminError::Metrics(_, error) | AdminError::Thread(error) => Some(error),
        }
    }
}

#[cfg(test)]
mod tests;
