//! What the data plane hands in: borrowed facts, no clock, no allocation.
//!
//! The enums carry a stable code for the archive and the word that the contract prints. Code 0 means absent.

use std::fmt;
use std::net::SocketAddr;

/// Wall-clock time in nanoseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub u64);

/// The name that a decision, its outcome and the denied caller share: 64 random bits of the producer, then its counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DecisionId(pub u128);

impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// An enum with a stable one-octet code and a word, as the archive and the contract want it.
macro_rules! coded {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $code:literal, $word:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$variant_doc])* $variant = $code,)+ }

        impl $name {
            /// The word that `decode` prints.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// The archived code; never 0.
            pub const fn code(self) -> u8 {
                self as u8
            }

            /// The value of an archived code; `None` for 0 and for codes of later versions.
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

coded!(
    /// How the traffic came to us.
    Mode {
        /// `ringfence run`.
        Run = 1, "run";
        /// A shared network namespace redirected by nftables.
        Redirect = 2, "redirect";
        /// Names resolve to us.
        Gateway = 3, "gateway";
        /// `HTTP_PROXY`.
        Proxy = 4, "proxy";
        /// An MCP server behind us on stdio.
        Stdio = 5, "stdio";
    }
);

coded!(
    /// What was spoken.
    Protocol {
        /// RFC 9112.
        Http11 = 1, "http/1.1";
        /// A message of the Model Context Protocol.
        Mcp = 2, "mcp";
        /// TLS that was not opened.
        Tls = 3, "tls";
        /// TCP that is neither TLS nor HTTP.
        Tcp = 4, "tcp";
        /// A question to the stub resolver.
        Dns = 5, "dns";
    }
);

coded!(
    /// The scheme of the connection.
    Scheme {
        /// In the clear.
        Http = 1, "http";
        /// Over TLS.
        Https = 2, "https";
    }
);

coded!(
    /// What the policy said.
    Verdict {
        /// Forwarded.
        Allow = 1, "allow";
        /// Refused, unless it is not enforced.
        Deny = 2, "deny";
    }
);

coded!(
    /// What kind of thing was decided: the `kind` of the record.
    Topic {
        /// A request or message.
        Decision = 1, "decision";
        /// A connection that is passed through unopened.
        Tunnel = 2, "tunnel";
        /// A name.
        Dns = 3, "dns";
    }
);

coded!(
    /// What happened to the recorder or its proxy.
    Lifecycle {
        /// A writer opened the log.
        Start = 1, "start";
        /// The writer closed the log in good order.
        Stop = 2, "stop";
        /// The log had not been closed by its last writer; `detail` says what was found.
        Recovered = 3, "recovered";
        /// Policy or configuration was replaced.
        Reload = 4, "reload";
        /// The disk refused for a while; a `gap` record counts what was refused meanwhile.
        Resumed = 5, "resumed";
        /// Checkpoints do not reach the anchor; `detail` says why.
        Unanchored = 6, "unanchored";
        /// Checkpoints reach the anchor again.
        Anchored = 7, "anchored";
        /// Old segments are removed; `detail` says which.
        Retired = 8, "retired";
        /// The wall clock was set, or the machine slept; `detail` says which way and how far.
        ClockStep = 9, "clock_step";
    }
);

coded!(
    /// How an MCP message travelled.
    Transport {
        /// The standard streams of a command.
        Stdio = 1, "stdio";
        /// Streamable HTTP.
        Http = 2, "http";
        /// HTTP with a separate event stream (2024-11-05).
        Sse = 3, "sse";
    }
);

/// What an MCP message is about. An empty text is an absent one.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the fields are the contract's, name by name")]
pub struct McpFacts<'a> {
    pub server: &'a str,
    pub transport: Transport,
    pub version: &'a str,
    pub method: &'a str,
    pub tool: &'a str,
    pub resource: &'a str,
    pub prompt: &'a str,
    /// SHA-256 over the canonical form (RFC 8785) of the arguments.
    pub arguments_digest: Option<[u8; 32]>,
}

/// What was looked at for the decision, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inspected(pub u8);

impl Inspected {
    /// The destination address.
    pub const ADDRESS: Self = Self(1);
    /// The server name of the ClientHello.
    pub const SNI: Self = Self(2);
    /// The request head.
    pub const HEAD: Self = Self(4);
    /// The request body.
    pub const BODY: Self = Self(8);
    /// The MCP message.
    pub const MCP: Self = Self(16);

    /// The words of the set, in the contract's order.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        let named = [
            (Self::ADDRESS, "address"),
            (Self::SNI, "sni"),
            (Self::HEAD, "head"),
            (Self::BODY, "body"),
            (Self::MCP, "mcp"),
        ];
        named.into_iter().filter(move |(bit, _)| self.0 & bit.0 != 0).map(|(_, word)| word)
    }
}

impl std::ops::BitOr for Inspected {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl std::ops::BitOrAssign for Inspected {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// What of a query goes on record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query<'a> {
    /// There was one; its text is not kept.
    Redacted,
    /// Its text, because the configuration says so.
    Kept(&'a str),
}

/// Everything known when a decision falls. Start from `Default` and set what applies; an empty text is an absent one.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the fields are the contract's, name by name")]
pub struct DecisionFacts<'a> {
    pub topic: Topic,
    pub agent: &'a str,
    pub mode: Mode,
    pub connection: u64,
    pub protocol: Protocol,
    pub scheme: Option<Scheme>,
    pub source: Option<SocketAddr>,
    pub destination: Option<SocketAddr>,
    pub upstream: Option<SocketAddr>,
    pub sni: Option<&'a str>,
    pub host: Option<&'a str>,
    pub port: Option<u16>,
    pub method: Option<&'a str>,
    pub path: Option<&'a str>,
    pub query: Option<Query<'a>>,
    pub mcp: Option<McpFacts<'a>>,
    pub verdict: Verdict,
    /// False for a deny that is only watched.
    pub enforced: bool,
    pub rule: Option<&'a str>,
    pub reason: Option<&'a str>,
    pub code: Option<&'a str>,
    /// SHA-256 of the policy's source text.
    pub policy: Option<[u8; 32]>,
    pub inspected: Inspected,
    /// What the caller got, when we answered by ourselves.
    pub status: Option<u16>,
    pub decide_ns: u64,
}

impl Default for DecisionFacts<'_> {
    fn default() -> Self {
        Self {
            topic: Topic::Decision,
            agent: "",
            mode: Mode::Run,
            connection: 0,
            protocol: Protocol::Http11,
            scheme: None,
            source: None,
            destination: None,
            upstream: None,
            sni: None,
            host: None,
            port: None,
            method: None,
            path: None,
            query: None,
            mcp: None,
            verdict: Verdict::Deny,
            enforced: true,
            rule: None,
            reason: None,
            code: None,
            policy: None,
            inspected: Inspected(0),
            status: None,
            decide_ns: 0,
        }
    }
}

/// Everything known when an admitted exchange ends.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "the fields are the contract's, name by name")]
pub struct OutcomeFacts<'a> {
    pub status: Option<u16>,
    pub upstream: Option<SocketAddr>,
    pub bytes_up: u64,
    pub bytes_down: u64,
    /// From the first byte sent upstream to the response head; 0 when there was none.
    pub upstream_ns: u64,
    /// From the request head to the end of the exchange.
    pub total_ns: u64,
    pub code: Option<&'a str>,
    pub error: Option<&'a str>,
    /// The host that a redirect names. It is kept in the place of an error: a record has one of the two.
    pub location: Option<&'a str>,
}

/// What happened to the recorder or its proxy.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the fields are the contract's, name by name")]
pub struct LifecycleFacts<'a> {
    pub event: Lifecycle,
    /// The process that it happened to.
    pub process: u32,
    pub agent: &'a str,
    pub mode: Option<Mode>,
    pub policy: Option<[u8; 32]>,
    /// One sentence for the reader, possibly empty.
    pub detail: &'a str,
}
