//! A peer: another program's proxy, brought up by a script of its own.
//!
//! The script `start` gets all that it needs in its environment, says on stdout when and where the peer is ready, and ends with
//! everything it started when its process group is told to. bench/README.md has the whole of the agreement.

use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::driver::HOST;
use super::order::Route;
use super::place;
use super::tls::Credentials;
use crate::limits::{BENCH_END_WAIT, BENCH_PEER_WAIT};

/// What a peer is told.
#[derive(Debug)]
pub(super) struct Order<'o> {
    /// The folder with its script.
    pub(super) home: &'o Path,
    /// An empty folder for it to write in.
    pub(super) folder: PathBuf,
    pub(super) origin: SocketAddr,
    pub(super) credentials: Option<&'o Credentials>,
    pub(super) rules: usize,
    pub(super) connections: usize,
    pub(super) cpu: Option<usize>,
}

/// A peer that is up.
#[derive(Debug)]
pub(super) struct Peer {
    script: Group,
    pub(super) ready: Ready,
}

/// What it says when it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) route: Route,
    pub(super) address: SocketAddr,
    /// It claims to have a policy, which is tried.
    pub(super) enforcing: bool,
}

/// Why it is not.
#[derive(Debug)]
pub(super) enum PeerError {
    Io(io::Error),
    /// The script says that the peer is not installed.
    Missing,
    /// It ended without a word.
    Ended(ExitStatus),
    /// It said nothing in time.
    Silent,
}

impl From<io::Error> for PeerError {
    fn from(error: io::Error) -> PeerError {
        PeerError::Io(error)
    }
}

impl Peer {
    /// Starts the script and waits for its word.
    pub(super) fn start(order: &Order<'_>) -> Result<Peer, PeerError> {
        let mut command = Command::new(order.home.join(START));
        command.current_dir(order.home).stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
        environment(&mut command, order)?;
        let mut script = Group(place::spawn_on(order.cpu, &mut command)?);
        let words = words(script.0.stdout.take());
        match words.recv_timeout(BENCH_PEER_WAIT) {
            Ok(ready) => Ok(Peer { script, ready }),
            Err(mpsc::RecvTimeoutError::Timeout) => Err(PeerError::Silent),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let ended = place::ended_within(&mut script.0, BENCH_END_WAIT)?.ok_or(PeerError::Silent)?;
                Err(if ended.code() == Some(NOT_INSTALLED) { PeerError::Missing } else { PeerError::Ended(ended) })
            }
        }
    }

    /// CPU time of everything that the script started.
    pub(super) fn cpu_ns(&self) -> io::Result<u64> {
        place::cpu_ns_of_family(self.script.0.id())
    }
}

/// Whether there is a peer of this name.
pub fn exists(peers: &Path, name: &str) -> bool {
    peers.join(name).join(START).is_file()
}

/// What `start --version` says.
pub(super) fn version(home: &Path) -> Option<String> {
    let said = Command::new(home.join(START)).arg("--version").current_dir(home).stdin(Stdio::null()).output().ok()?;
    let line = String::from_utf8_lossy(&said.stdout).lines().next()?.trim().to_owned();
    (said.status.success() && !line.is_empty()).then_some(line)
}

fn environment(command: &mut Command, order: &Order<'_>) -> io::Result<()> {
    std::fs::create_dir_all(&order.folder)?;
    // Free a moment ago: the peer listens there at once, and whoever takes it first makes the peer fail, not the figures.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    command
        .env("BENCH_ORIGIN", order.origin.to_string())
        .env("BENCH_ORIGIN_ADDRESS", order.origin.ip().to_string())
        .env("BENCH_ORIGIN_PORT", order.origin.port().to_string())
        .env("BENCH_HOST", HOST)
        .env("BENCH_TLS", if order.credentials.is_some() { "1" } else { "0" })
        .env("BENCH_LISTEN", format!("127.0.0.1:{port}"))
        .env("BENCH_PORT", port.to_string())
        .env("BENCH_FOLDER", &order.folder)
        .env("BENCH_RULES", order.rules.to_string())
        .env("BENCH_CONNECTIONS", order.connections.to_string());
    let Some(Credentials { authority, authority_key, leaf, key }) = order.credentials else { return Ok(()) };
    let files = [
        ("BENCH_AUTHORITY", "authority.pem", authority.clone()),
        ("BENCH_AUTHORITY_KEY", "authority.key", authority_key.clone()),
        ("BENCH_AUTHORITY_BOTH", "authority-both.pem", format!("{authority_key}{authority}")),
        ("BENCH_LEAF", "leaf.pem", leaf.clone()),
        ("BENCH_LEAF_KEY", "leaf.key", key.clone()),
        ("BENCH_LEAF_BOTH", "leaf-both.pem", format!("{leaf}{key}")),
    ];
    for (variable, name, text) in files {
        let path = order.folder.join(name);
        std::fs::write(&path, text)?;
        command.env(variable, path);
    }
    Ok(())
}

/// Reads what a script says for as long as it lives; the first line that says it is ready comes back. Its end is the channel's.
fn words(stdout: Option<ChildStdout>) -> mpsc::Receiver<Ready> {
    let (say, hear) = mpsc::channel();
    if let Some(stdout) = stdout {
        thread::spawn(move || {
            let mut say = Some(say);
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { break };
                if let (Some(ready), Some(first)) = (ready(&line), &say) {
                    // Nobody who listens any more has given it up.
                    let _ = first.send(ready);
                    say = None;
                }
            }
        });
    }
    hear
}

/// `ready reverse|proxy ADDRESS:PORT [enforcing]`.
fn ready(line: &str) -> Option<Ready> {
    let mut words = line.split_whitespace();
    if words.next() != Some("ready") {
        return None;
    }
    let route = match words.next()? {
        "reverse" => Route::Origin,
        "proxy" => Route::Proxy,
        _ => return None,
    };
    let address = words.next()?.parse().ok()?;
    let enforcing = match words.next() {
        None => false,
        Some("enforcing") => true,
        Some(_) => return None,
    };
    Some(Ready { route, address, enforcing })
}

/// A child that leads a process group, which ends with this value.
#[derive(Debug)]
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        let Ok(group) = i32::try_from(self.0.id()) else { return };
        // The group outlives its leader while a member does; where none is left, there is nobody to tell.
        let _ = killpg(Pid::from_raw(group), Signal::SIGTERM);
        let _ = place::ended_within(&mut self.0, BENCH_END_WAIT);
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

/// The script's name.
const START: &str = "start";
/// What a script exits with whose peer is not installed; as automake has it for tests that cannot be run.
const NOT_INSTALLED: i32 = 77;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ready_line_says_how_and_where() {
        let said = |route, enforcing| Ready { route, address: "127.0.0.1:80".parse().unwrap(), enforcing };
        assert_eq!(ready("ready reverse 127.0.0.1:80"), Some(said(Route::Origin, false)));
        assert_eq!(ready("ready proxy 127.0.0.1:80 enforcing"), Some(said(Route::Proxy, true)));
        for line in ["", "ready", "ready reverse", "ready reverse 80", "ready forward 127.0.0.1:80", "listening on 80"]
        {
            assert_eq!(ready(line), None, "{line}");
        }
    }
}
