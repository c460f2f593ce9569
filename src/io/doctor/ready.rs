//! Is the proxy ready? One question over the admin socket: quick, and with nothing but the socket, for a health check has no more.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, setsockopt, socket, sockopt::SendTimeout};
use nix::sys::time::TimeVal;
use serde::Deserialize;

use crate::config::AdminSettings;
use crate::limits::{READY_BYTES_MAX, READY_WAIT};

/// Why the proxy is not ready.
#[derive(Debug)]
pub enum NotReady {
    /// The socket does not answer.
    Silent(PathBuf, io::Error),
    /// It says so itself.
    Says(String),
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotReady::Silent(socket, error) => {
                write!(
                    f,
                    "{}: {error}; is `ringfence proxy` running, and may this user open its socket?",
                    socket.display()
                )
            }
            NotReady::Says(why) => write!(f, "not ready: {why}"),
        }
    }
}

impl std::error::Error for NotReady {}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    why: Vec<String>,
}

/// Asks the admin socket.
///
/// # Errors
/// If the proxy is not ready, or does not say that it is within [`READY_WAIT`].
pub fn ready(admin: &AdminSettings) -> Result<(), NotReady> {
    let answer = ask(&admin.socket).map_err(|error| NotReady::Silent(admin.socket.clone(), error))?;
    judge(&answer)
}

fn ask(path: &Path) -> io::Result<Vec<u8>> {
    let end = Instant::now() + READY_WAIT;
    let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", READY_WAIT.as_secs()));
    let mut stream = connect(path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => late(),
        _ => error,
    })?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut some = [0; 4096];
    while (answer.len() as u64) < READY_BYTES_MAX {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(late());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut some) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&some[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(late()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Err(error),
        }
    }
    Ok(answer)
}

/// Connects within [`READY_WAIT`]: a socket whose queue is full would keep us for as long as it stays so.
fn connect(path: &Path) -> io::Result<UnixStream> {
    let stream = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&stream, SendTimeout, &TimeVal::new(READY_WAIT.as_secs().cast_signed(), 0))?;
    nix::sys::socket::connect(stream.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(UnixStream::from(stream))
}

fn judge(answer: &[u8]) -> Result<(), NotReady> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    match (words.next(), words.next()) {
        (Some("HTTP/1.1"), Some("200")) => Ok(()),
        (Some("HTTP/1.1"), Some("503")) => {
            let why = serde_json::from_str::<Answer>(body).map(|answer| answer.why).unwrap_or_default();
            Err(NotReady::Says(if why.is_empty() { "it does not say why".to_owned() } else { why.join("; ") }))
        }
        (Some("HTTP/1.1"), Some(status)) => Err(NotReady::Says(format!("the admin socket answers {status}"))),
        _ => Err(NotReady::Says("what answers on the admin socket does not speak HTTP/1.1".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_200_is_ready_and_503_says_why() {
        assert!(judge(b"HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\n{\"ready\":true}").is_ok());
        let says = |answer: &[u8]| judge(answer).unwrap_err().to_string();
        let busy =
            b"HTTP/1.1 503 Service Unavailable\r\n\r\n{\"ready\":false,\"why\":[\"canary passed\",\"no policy\"]}";
        assert_eq!(says(busy), "not ready: canary passed; no policy");
        assert!(says(b"HTTP/1.1 404 Not Found\r\n\r\n").contains("404"));
        assert!(says(b"").contains("HTTP/1.1"));
        assert!(says(b"SSH-2.0-OpenSSH\r\n").contains("HTTP/1.1"));
    }
}
