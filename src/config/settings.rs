//! The settings of a long-running proxy: what [`super::read`] gives.
//!
//! Public fields, because the parts of the proxy each take theirs; what holds between them was checked when they were read.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::audit::{Durability, OnFull, Retention};
use crate::limits;

/// The settings of a long-running proxy. Paths are absolute; whatever is inconsistent was refused before such a value existed.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The file they were read from.
    pub file: PathBuf,
    /// At least one.
    pub listeners: Vec<Listen>,
    /// Where the DNS stub listens, over UDP and TCP.
    pub dns: Option<SocketAddr>,
    /// What `redirect apply` lets go straight out.
    pub exempt: Option<Exempt>,
    /// The policy file.
    pub policy: PathBuf,
    /// Fields of an AGT policy that cannot be supplied and count as missing.
    pub agt_unsupplied: Vec<String>,
    /// The audit log.
    pub audit: AuditSettings,
    /// The certificate authority.
    pub ca: CaSettings,
    /// Threads and engine.
    pub io: IoSettings,
    /// Health and metrics.
    pub admin: Option<AdminSettings>,
    /// Known agents. Sources do not overlap, and names are unique.
    pub agents: Vec<Agent>,
    /// Waits and counts that an operator may set, within the maxima of [`crate::limits`].
    pub bounds: Bounds,
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// nftables sends connections here; the kernel knows where they were meant to go.
    Redirect {
        /// A loopback address.
        address: SocketAddr,
    },
    /// Names resolve to us; SNI or `Host` tells where to.
    Gateway {
        /// May be the unspecified address.
        address: IpAddr,
        /// At least one.
        ports: Vec<u16>,
        /// Who may connect, besides [`Settings::agents`]. Empty only on loopback or where agents are named.
        from: Vec<IpNet>,
    },
    /// `HTTP_PROXY`: absolute form and CONNECT.
    Proxy {
        /// May be the unspecified address.
        address: SocketAddr,
        /// Who may connect, besides [`Settings::agents`]. Empty only on loopback or where agents are named.
        from: Vec<IpNet>,
    },
}

/// How the proxy's own connections are told from the agent's where both share a network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exempt {
    /// By the user that the proxy runs as.
    Uid(u32),
    /// By its control group, relative to the root of the version 2 hierarchy.
    Cgroup(PathBuf),
}

/// The audit log's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditSettings {
    /// The log's folder.
    pub dir: PathBuf,
    /// When the first byte of a request may go upstream.
    pub durability: Durability,
    /// What happens to a request for whose record there is no room.
    pub on_full: OnFull,
    /// Where its signed heads go besides.
    pub anchor: Option<Anchor>,
    /// How much of it is kept.
    pub retention: Retention,
}

/// Where each signed head of the log is written besides, as a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// A file, replaced as a whole.
    File(PathBuf),
    /// A unix socket: one connection for each.
    Socket(PathBuf),
    /// HTTPS POST.
    Post {
        /// Who to connect to, and whose certificate is expected.
        host: String,
        /// The port to connect to.
        port: u16,
        /// What `Host` says.
        authority: String,
        /// Path and query.
        target: String,
    },
}

/// The certificate authority's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaSettings {
    /// Where key and certificate live; the key is 0600.
    pub dir: PathBuf,
    /// Where the merged trust bundle for agents is written.
    pub bundle: Option<PathBuf>,
}

/// Threads and engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IoSettings {
    /// The I/O backend.
    pub engine: Engine,
    /// Worker threads.
    pub workers: NonZeroUsize,
    /// Whether a worker looks for work before it sleeps.
    pub spin: Spin,
}

/// Whether a worker looks for work for a moment before it sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spin {
    /// Where recent waits were short.
    Auto,
    /// Each time.
    Always,
    /// It sleeps at once.
    Never,
}

/// The I/O backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// io_uring, or epoll where the kernel refuses it.
    Auto,
    /// io_uring or nothing.
    Uring,
    /// epoll.
    Epoll,
}

/// Where health and metrics are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminSettings {
    /// A unix socket.
    pub socket: PathBuf,
    /// Metrics over TCP as well, at an address that no agent can reach.
    pub metrics: Option<SocketAddr>,
}

/// A known agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Its name in policies and on record.
    pub name: String,
    /// Where its connections come from.
    pub source: IpNet,
}

/// Waits and counts that an operator may set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// From the first byte of a request to the end of its head.
    pub head: Duration,
    /// From the first byte of a TLS connection to its finished handshake.
    pub handshake: Duration,
    /// A keep-alive connection without a request under way.
    pub idle: Duration,
    /// From the end of a request to the head of its response.
    pub response_head: Duration,
    /// A body, an event stream or a tunnel without a byte.
    pub body: Duration,
    /// From the head of a request whose body is needed for its decision to the end of that body.
    pub held_body: Duration,
    /// Until so much more of a request body has come as [`limits::REQUEST_BODY_BYTES_MIN`] says.
    pub request_body: Duration,
    /// Connecting to one upstream address.
    pub connect: Duration,
    /// How long a stopping worker lets connections end.
    pub drain: Duration,
    /// Open client connections of one worker.
    pub connections: usize,
    /// Open client connections of one agent at one worker.
    pub connections_per_agent: usize,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            head: limits::HEAD_WAIT,
            handshake: limits::HANDSHAKE_WAIT,
            idle: limits::IDLE_WAIT,
            response_head: limits::RESPONSE_HEAD_WAIT,
            body: limits::BODY_WAIT,
            held_body: limits::HELD_BODY_WAIT,
            request_body: limits::REQUEST_BODY_WAIT,
            connect: limits::CONNECT_WAIT,
            drain: limits::DRAIN_WAIT,
            connections: limits::CONNECTIONS_MAX,
            connections_per_agent: limits::CONNECTIONS_PER_AGENT_MAX,
        }
    }
}
