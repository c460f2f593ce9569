//! What driver and generator say to each other: one JSON object a line over a socket pair.

use std::io::{self, BufRead, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::origin::Behaviour;
use super::tls::Credentials;

/// What the driver asks for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    /// Serve the origin and connect.
    Open(Box<Setup>),
    /// Send for a while.
    Slice(Slice),
}

/// What a generator is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Setup {
    /// Where to connect: `host:port`, resolved by the generator.
    pub target: String,
    /// The origin's name: for `Host`, and under TLS for the server name.
    pub host: String,
    /// Under TLS if given; the origin serves with them.
    pub credentials: Option<Credentials>,
    /// Whether to trust what `SSL_CERT_FILE` names instead of the credentials' authority.
    pub trust_environment: bool,
    /// Keep-alive connections.
    pub connections: usize,
    /// How the origin behaves.
    pub behaviour: Behaviour,
    /// The cpu to stay on.
    pub cpu: Option<usize>,
    /// Whether to keep the cpu busy while waiting.
    pub spin: bool,
}

/// One turn: `count` requests, `interval` apart.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Slice {
    /// Requests.
    pub count: u64,
    /// From one intended time to the next, in nanoseconds.
    pub interval_ns: u64,
    /// How long after the last intended time an answer may still come.
    pub grace: Duration,
}

/// What the generator answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Ready,
    Done(Box<Measured>),
    Failed(String),
}

/// What one turn came to. Histograms travel as pairs of a value in nanoseconds and its count, which is what they are made of.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Measured {
    /// Requests that were due.
    pub requests: u64,
    /// Those that were not answered, or not with the right status and body.
    pub errors: u64,
    /// The first of them, in words.
    pub first_error: Option<String>,
    /// From the intended time to the end of the response: every right answer, and for what was never answered the time waited.
    pub latency: Vec<(u64, u64)>,
    /// How late the generator itself was: from the intended time, or from when a connection was free if that was later, to the send.
    pub lag: Vec<(u64, u64)>,
    /// Requests sent more than one interval late because every connection was busy. That wait is in their latency.
    pub late: u64,
    /// Requests never sent because the turn was over. The time they waited is in the latency.
    pub missed: u64,
    /// From the first intended time to the last answer, in nanoseconds.
    pub elapsed_ns: u64,
    /// CPU time of the generator, in nanoseconds.
    pub cpu_ns: u64,
}

/// Writes one line.
pub(super) fn say(mut stream: &UnixStream, what: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// Reads one line; `None` when the other end is gone.
pub(super) fn hear<T: DeserializeOwned>(stream: &mut impl BufRead) -> io::Result<Option<T>> {
    let mut line = String::new();
    match stream.read_line(&mut line)? {
        0 => Ok(None),
        _ => Ok(Some(serde_json::from_str(&line)?)),
    }
}
