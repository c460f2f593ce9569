//! Carries the audit log's checkpoints to their second place: a file, a unix socket, or an HTTPS server.
//!
//! One thread with blocking calls, each within a bound. It decides nothing and nobody waits for it: that delivery fails is told through the
//! outbox, which puts it on record.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::audit::outbox::Outbox;
use crate::config::Anchor;
use crate::io::tls::{self, Revocations, Trust};
use crate::limits::{
    AUDIT_ANCHOR_ANSWER_BYTES_MAX, AUDIT_ANCHOR_FINISH_WAIT, AUDIT_ANCHOR_RETRY_WAIT, AUDIT_ANCHOR_WAIT,
};

/// The carrier's thread.
#[derive(Debug)]
pub(crate) struct Carrier {
    outbox: Arc<Outbox>,
    done: Receiver<()>,
}

/// Where checkpoints go.
enum Place {
    File(PathBuf),
    Socket(PathBuf),
    Post { host: String, port: u16, authority: String, target: String, config: Arc<ClientConfig> },
}

impl Carrier {
    /// Starts carrying. What is left in the outbox goes to `anchor`; an HTTPS server is verified against `trust`.
    ///
    /// # Errors
    /// If the thread or a TLS configuration cannot be had.
    pub(crate) fn start(anchor: &Anchor, trust: &Trust) -> io::Result<Carrier> {
        let place = match anchor.clone() {
            Anchor::File(path) => Place::File(path),
            Anchor::Socket(path) => Place::Socket(path),
            Anchor::Post { host, port, authority, target } => {
                let config = tls::client_config(trust, &Revocations::default(), None)
                    .map_err(|error| io::Error::other(error.to_string()))?;
                Place::Post { host, port, authority, target, config }
            }
        };
        let outbox = Arc::<Outbox>::default();
        let (ended, done) = channel();
        let box_of_thread = Arc::clone(&outbox);
        thread::Builder::new().name("ringfence-anchor".to_owned()).spawn(move || {
            carry(&place, &box_of_thread);
            // Whoever waited may have given up; that is theirs to say.
            let _ = ended.send(());
        })?;
        Ok(Carrier { outbox, done })
    }

    /// Where the writer leaves checkpoints.
    pub(crate) fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// Delivers what is left, within a bound.
    pub(crate) fn finish(self) {
        self.outbox.close();
        let in_time = self.done.recv_timeout(AUDIT_ANCHOR_FINISH_WAIT).is_ok();
        match self.outbox.delivery().failure {
            None if in_time => {}
            why => tracing::error!(why, "the last checkpoint of the audit log has not reached its anchor"),
        }
    }
}

fn carry(place: &Place, outbox: &Outbox) {
    while let Some(note) = outbox.take() {
        match place.deliver(&note) {
            Ok(()) => {
                if outbox.delivery().failure.is_some() {
                    tracing::info!("checkpoints of the audit log reach their anchor again");
                }
                outbox.delivered();
            }
            Err(error) => {
                let why = format!("{place}: {error}");
                if outbox.delivery().failure.is_none() {
                    tracing::error!(why, "checkpoints of the audit log do not reach their anchor");
                }
                if !outbox.failed(note, why, AUDIT_ANCHOR_RETRY_WAIT) {
                    return;
                }
            }
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::File(path) => write!(f, "{}", path.display()),
            Place::Socket(path) => write!(f, "unix:{}", path.display()),
            Place::Post { authority, target, .. } => write!(f, "https://{authority}{target}"),
        }
    }
}

impl Place {
    fn deliver(&self, note: &str) -> io::Result<()> {
        match self {
            Place::File(path) => replace(path, note.as_bytes()),
            Place::Socket(path) => say(path, note.as_bytes()),
            Place::Post { host, port, authority, target, config } => {
                let request = format!(
                    "POST {target} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: text/plain; charset=utf-8\r\n\
                     Content-Length: {}\r\nConnection: close\r\n\r\n{note}",
                    note.len()
                );
                post(host, *port, config, request.as_bytes())
            }
        }
    }
}

/// A reader sees the old checkpoint or the new one.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    // A checkpoint is for others to read.
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// One connection for each checkpoint. That the other side closes it without a word says that it has been taken.
fn say(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_write_timeout(Some(AUDIT_ANCHOR_WAIT))?;
    stream.set_read_timeout(Some(AUDIT_ANCHOR_WAIT))?;
    stream.write_all(content)?;
    stream.shutdown(std::net::Shutdown::Write)?;
    match stream.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(io::Error::other("the other side answers instead of closing")),
    }
}

fn post(host: &str, port: u16, config: &Arc<ClientConfig>, request: &[u8]) -> io::Result<()> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in (host, port).to_socket_addrs()? {
        let stream = match TcpStream::connect_timeout(&address, AUDIT_ANCHOR_WAIT) {
            Ok(stream) => stream,
            Err(error) => {
                last = error;
                continue;
            }
        };
        stream.set_write_timeout(Some(AUDIT_ANCHOR_WAIT))?;
        stream.set_read_timeout(Some(AUDIT_ANCHOR_WAIT))?;
        let client = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(client, stream);
        stream.write_all(request)?;
        stream.flush()?;
        return answered(&mut stream);
    }
    Err(last)
}

/// Whether the answer's status is one of success (RFC 9112 §4).
fn answered(stream: &mut impl Read) -> io::Result<()> {
    let mut line = Vec::new();
    io::BufReader::new(stream).take(AUDIT_ANCHOR_ANSWER_BYTES_MAX).read_until(b'\n', &mut line)?;
    let line = String::from_utf8_lossy(&line);
    let line = line.trim_end();
    let status = line.strip_prefix("HTTP/1.1 ").or(line.strip_prefix("HTTP/1.0 "));
    match status {
        Some(status) if status.starts_with('2') && status.as_bytes().get(3).is_none_or(|after| *after == b' ') => {
            Ok(())
        }
        _ => Err(io::Error::other(format!("the server answers `{}`", line.escape_debug()))),
    }
}

#[cfg(test)]
mod tests;
