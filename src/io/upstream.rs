//! The way to an origin: its route, the connections kept for it, and how a new one is made.
//!
//! A connection is dialled to a [`Vetted`] address only, which only policy can make. A connection that is not provably clean is never
//! used again: nothing unread, nothing owed, no sign of an end.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::config::Bounds;
use crate::io::approval::{ApproverError, Approvers};
use crate::io::engine::{self, Buf, Stream};
use crate::io::tls::{self, Revocations, TlsFileError, Trust};
use crate::io::transport::Transport;
use crate::limits::{POOL_CONNECTIONS_MAX, POOL_IDLE_WAIT, POOL_PER_ROUTE_MAX};
use crate::policy::{Policy, Scheme, Upstream as Override, Vetted};

/// Where an exchange goes, as the client asked for it. Connections are shared only within a route.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Route {
    pub(crate) scheme: Scheme,
    pub(crate) host: Box<str>,
    pub(crate) port: u16,
}

/// A connection that is to be made, under the policy of its moment.
pub(crate) struct Dial {
    pub(crate) route: Route,
    /// In the order in which they are tried.
    pub(crate) addresses: Vec<Vetted>,
    pub(crate) manner: Manner,
}

/// How an origin is spoken to.
#[derive(Clone)]
pub(crate) struct Manner {
    /// `None` in the clear.
    tls: Option<Arc<ClientConfig>>,
    /// The policy under which it was chosen. A connection is not used under another one, which may lead elsewhere or with another identity.
    generation: u64,
}

/// A connection to an origin.
pub(crate) struct Upstream {
    pub(crate) transport: Transport,
    /// Where it leads: the address that policy has vetted.
    pub(crate) vetted: Vetted,
    pub(crate) manner: Manner,
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) struct DialError {
    /// The stable word.
    pub(crate) code: &'static str,
    /// What the caller gets: 502 or 504.
    pub(crate) status: u16,
    /// What the system or the TLS library said.
    pub(crate) detail: String,
}

/// The client configurations that the policy's `upstreams` call for, and those who are asked, read once.
pub(crate) struct Identities {
    ordinary: Arc<ClientConfig>,
    special: HashMap<(Option<PathBuf>, Option<PathBuf>), Arc<ClientConfig>>,
    folder: PathBuf,
    approvers: Approvers,
}

/// What a policy names and cannot be used.
#[derive(Debug)]
pub enum NamedError {
    /// A certificate file of `upstreams` or `tls`.
    Tls(TlsFileError),
    /// Somebody of `approvals`.
    Approver(ApproverError),
}

impl fmt::Display for NamedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NamedError::Tls(error) => write!(f, "upstreams: {error}"),
            NamedError::Approver(error) => write!(f, "approvals: {error}"),
        }
    }
}

impl std::error::Error for NamedError {}

impl From<TlsFileError> for NamedError {
    fn from(error: TlsFileError) -> NamedError {
        NamedError::Tls(error)
    }
}

/// Idle connections of one worker.
#[derive(Default)]
pub(crate) struct Pool {
    generation: u64,
    idle: HashMap<Route, Vec<(Upstream, Instant)>>,
    count: usize,
}

impl Route {
    /// Whether this is the way to `host`.
    pub(crate) fn is(&self, scheme: Scheme, host: &str, port: u16) -> bool {
        self.port == port && self.scheme == scheme && *self.host == *host
    }
}

impl Identities {
    /// Reads what `policy` names; relative paths count from `folder`.
    ///
    /// # Errors
    /// If a file cannot be read or used.
    pub(crate) fn read(policy: &Policy, folder: &Path, system: &Trust) -> Result<Identities, NamedError> {
        let revocations = Revocations::read(policy.revocations().iter().map(|file| folder.join(file)))?;
        let mut identities = Identities {
            ordinary: tls::client_config(system, &revocations, None)?,
            special: HashMap::new(),
            folder: folder.to_owned(),
            approvers: Approvers::read(policy, folder, Some(system)).map_err(NamedError::Approver)?,
        };
        for (_, upstream) in policy.upstreams() {
            let key = identities.key(upstream);
            if key == (None, None) || identities.special.contains_key(&key) {
                continue;
            }
            let trust = key.0.as_ref().map(|file| system.and_file(file)).transpose()?;
            let config = tls::client_config(trust.as_ref().unwrap_or(system), &revocations, key.1.as_deref())?;
            identities.special.insert(key, config);
        }
        Ok(identities)
    }

    /// Those whose leave the policy asks for.
    pub(crate) fn approvers(&self) -> &Approvers {
        &self.approvers
    }

    /// How a route is spoken to. An upstream with `trust` or `client_cert` is dialled over TLS only.
    pub(crate) fn manner(&self, scheme: Scheme, upstream: Option<&Override>, generation: u64) -> Manner {
        let special = upstream.and_then(|upstream| self.special.get(&self.key(upstream)));
        let tls = match (special, scheme) {
            (Some(config), _) => Some(Arc::clone(config)),
            (None, Scheme::Https) => Some(Arc::clone(&self.ordinary)),
            (None, Scheme::Http) => None,
        };
        Manner { tls, generation }
    }

    fn key(&self, upstream: &Override) -> (Option<PathBuf>, Option<PathBuf>) {
        let rooted = |path: Option<&Path>| path.map(|path| self.folder.join(path));
        (rooted(upstream.trust.as_deref()), rooted(upstream.client_cert.as_deref()))
    }
}

impl Upstream {
    /// Whether it was made under the policy of `generation` and can carry another exchange.
    pub(crate) fn is_usable(&self, generation: u64) -> bool {
        self.manner.generation == generation && self.transport.is_quiet()
    }
}

impl Pool {
    /// Closes everything: another policy is in force.
    pub(crate) fn renew(&mut self, generation: u64) {
        *self = Pool { generation, ..Pool::default() };
    }

    /// A clean connection for the route, the one used last first.
    pub(crate) fn take(&mut self, scheme: Scheme, host: &str, port: u16) -> Option<Upstream> {
        if self.count == 0 {
            return None;
        }
        // One small allocation, only when a client connection needs its first upstream and there are idle ones.
        let route = Route { scheme, host: host.into(), port };
        let waiting = self.idle.get_mut(&route)?;
        let mut found = None;
        while let Some((upstream, since)) = waiting.pop() {
            self.count -= 1;
            if since.elapsed() < POOL_IDLE_WAIT && upstream.is_usable(self.generation) {
                found = Some(upstream);
                break;
            }
        }
        if waiting.is_empty() {
            self.idle.remove(&route);
        }
        found
    }

    /// Keeps a connection for the next exchange, if there is room and it is clean.
    pub(crate) fn put(&mut self, route: Route, upstream: Upstream) {
        if self.count >= POOL_CONNECTIONS_MAX || !upstream.is_usable(self.generation) {
            return;
        }
        let waiting = self.idle.entry(route).or_default();
        if waiting.len() < POOL_PER_ROUTE_MAX {
            waiting.push((upstream, Instant::now()));
            self.count += 1;
        }
    }

    /// Closes what has waited for too long.
    pub(crate) fn sweep(&mut self) {
        self.idle.retain(|_, waiting| {
            waiting.retain(|(_, since)| since.elapsed() < POOL_IDLE_WAIT);
            !waiting.is_empty()
        });
        self.count = self.idle.values().map(Vec::len).sum();
    }
}

/// Dials the addresses in turn and, where the manner asks for it, shakes hands with the origin as `host`.
///
/// # Errors
/// The last address's failure. TLS that fails is never retried in the clear.
pub(crate) async fn dial(
    vetted: &[Vetted],
    host: &str,
    manner: &Manner,
    bounds: &Bounds,
) -> Result<Upstream, DialError> {
    let mut last = DialError { code: "name_not_found", status: 502, detail: String::new() };
    for vetted in vetted {
        let stream = match connect(*vetted, bounds).await {
            Ok(stream) => stream,
            Err(error) => {
                last = error;
                continue;
            }
        };
        let transport = match &manner.tls {
            None => Transport::plain(stream, Buf::default()),
            Some(config) => secure(stream, host, config, bounds).await?,
        };
        return Ok(Upstream { transport, vetted: *vetted, manner: manner.clone() });
    }
    Err(last)
}

/// Connects to one address.
///
/// # Errors
/// Why there is no connection.
pub(crate) async fn connect(vetted: Vetted, bounds: &Bounds) -> Result<Stream, DialError> {
    match engine::timeout(bounds.connect, Stream::connect(vetted.address())).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(DialError { code: connect_code(&error), status: 502, detail: error.to_string() }),
        Err(_) => Err(DialError { code: "upstream_timeout", status: 504, detail: String::new() }),
    }
}

async fn secure(
    stream: Stream,
    host: &str,
    config: &Arc<ClientConfig>,
    bounds: &Bounds,
) -> Result<Transport, DialError> {
    let refuse = |code, detail: String| DialError { code, status: 502, detail };
    let name = ServerName::try_from(host.to_owned()).map_err(|error| refuse("tls_name", error.to_string()))?;
    let session = rustls::ClientConnection::new(Arc::clone(config), name)
        .map_err(|error| refuse("tls_handshake", error.to_string()))?;
    let transport = Transport::tls(stream, rustls::Connection::Client(session));
    match engine::timeout(bounds.handshake, transport.handshake(&[])).await {
        Ok(Ok(())) => Ok(transport),
        Ok(Err(error)) => {
            let code = tls::cause(&error).map_or("tls_handshake", tls::upstream_code);
            Err(refuse(code, error.to_string()))
        }
        Err(_) => Err(DialError { code: "upstream_timeout", status: 504, detail: String::new() }),
    }
}

fn connect_code(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "upstream_refused",
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => "upstream_unreachable",
        _ => "upstream_connect",
    }
}
