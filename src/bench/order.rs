//! What driver and generator say to each other: one JSON object a line over a socket pair.

use std::io::{self, BufRead, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::origin::Behaviour;
use super::scenario::{Arrivals, Busy, Call, Connection};
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
    /// What stands there.
    pub route: Route,
    /// The origin's name: for `Host`, and under TLS for the server name.
    pub host: String,
    /// Under TLS if given; the origin serves with them.
    pub credentials: Option<Credentials>,
    /// Whose certificates to believe.
    pub trust: Trust,
    /// Whether the target has to refuse what no scenario asks for, which is tried once.
    pub enforcing: bool,
    /// What is asked for.
    pub call: Call,
    /// Connections, or streams.
    pub connections: usize,
    /// Whether they outlive a request.
    pub connection: Connection,
    /// What happens while all are busy.
    pub busy: Busy,
    /// Connections beside them that say nothing.
    pub idle: usize,
    /// How the origin behaves.
    pub behaviour: Behaviour,
    /// The cpu to stay on.
    pub cpu: Option<usize>,
    /// Whether to keep the cpu busy while waiting.
    pub spin: bool,
}

/// What a client takes the target for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// The origin.
    Origin,
    /// An explicit proxy: absolute form in the clear, CONNECT for TLS.
    Proxy,
}

/// Whose certificates a client believes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// Those of the credentials' authority.
    Authority,
    /// What `SSL_CERT_FILE` names.
    Environment,
    /// What this file holds.
    File(PathBuf),
}

/// One turn.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Slice {
    /// When requests are due.
    pub arrivals: Arrivals,
    /// Requests; a closed loop sends as long as they would take.
    pub count: u64,
    /// From one intended time to the next, on average, in nanoseconds.
    pub interval_ns: u64,
    /// How long after the last intended time an answer may still come.
    pub grace: Duration,
    /// Where random distances come from.
    pub seed: u64,
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
    /// Requests that were due; of streams, events.
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
    /// Connections opened within the turn.
    pub connected: u64,
    /// Of these, those whose TLS session continued an earlier one.
    pub resumed: u64,
    /// Of the connections that say nothing, those that are gone.
    pub silent_lost: u64,
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
