//! The facts of one request or message that a policy may speak about.
//!
//! A subject is a bundle of borrowed, already canonical facts: the parse floor canonicalises, this floor decides. Nothing here is
//! decoded, lower-cased or resolved again. What costs work to find out (header fields, parameters, bodies, arguments) is asked for by
//! name through [`Lookup`], and only when a rule that could still win needs it.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use super::number::Number;
use crate::limits;

/// The scheme of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// The scheme as it stands in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// The port that a URL of this scheme means when it names none (RFC 9110 §4.2).
    pub fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// The host that a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Host<'a> {
    /// A canonical name: lower-case, letters, digits, hyphens and underscores, no trailing dot.
    Name(&'a str),
    /// An address literal.
    Address(IpAddr),
}

/// The facts of one request.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Who asks.
    pub agent: &'a str,
    /// The scheme of the request.
    pub scheme: Scheme,
    /// The host asked for.
    pub host: Host<'a>,
    /// The port asked for.
    pub port: u16,
    /// The address that would be dialled; `None` before resolution. A host that is an address stands for itself. While it is unknown,
    /// an allow with `cidr` counts as possible and a deny with `cidr` as not matching; a permit so made does not pass
    /// [`super::Permit::vet`] when some rule has a `cidr`.
    pub address: Option<IpAddr>,
    /// The method, as sent.
    pub method: &'a str,
    /// Every way the path may be read, the canonical one first. An empty list satisfies no path condition of an allow.
    pub paths: &'a [&'a str],
    /// Header fields by lower-case name; values without surrounding blanks.
    pub headers: Look<'a>,
    /// Query parameters by decoded name.
    pub query: Look<'a>,
    /// Values of a JSON body by JSON pointer (RFC 6901).
    pub body: Look<'a>,
    /// The MCP message that this is about, or that the request carries.
    pub mcp: Option<Mcp<'a>>,
    /// The connection is to be passed through unread, so that rules with other than address conditions say nothing about it.
    pub tunnel: bool,
    /// What of a call is decided. Native rules speak of requests and messages alone; AGT's policies of other stages too.
    pub stage: Stage<'a>,
    /// The time of the request: nanoseconds since the Unix epoch.
    pub time_ns: u64,
}

/// What of a call is decided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Stage<'a> {
    /// The request or message itself.
    #[default]
    Request,
    /// A tool as its server describes it, before a client is shown it; by its name and its description.
    Description(&'a str),
    /// What a tool has answered, before its caller gets it.
    Response(Reply<'a>),
}

/// What a tool has answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reply<'a> {
    /// Its texts, decoded, a line each.
    pub texts: &'a str,
    /// The result, or the error in its place, as JSON.
    pub json: &'a [u8],
    /// It is an error of the protocol's.
    pub is_error: bool,
}

/// What is known of facts that a policy asks for by name.
#[derive(Debug, Clone, Copy)]
pub enum Look<'a> {
    /// Nobody has looked yet. [`super::Policy::decide`] takes it for unreadable; [`super::Policy::ask`] says whether it matters.
    NotLooked,
    /// There is nothing: no body, no arguments.
    Absent,
    /// There is something that cannot be read: too large, encoded, not strictly valid. It satisfies every matcher of a deny and none of
    /// an allow.
    Unreadable,
    /// Ask here.
    At(&'a dyn Lookup),
}

/// Facts that are asked for by name.
pub trait Lookup: fmt::Debug {
    /// Calls `found` with every value under this name, in order; not at all when there is none.
    fn values(&self, name: &str, found: &mut dyn FnMut(Value<'_>));

    /// All of it as it came: the query as it was sent, arguments and bodies as one strict JSON text. Nothing where that is not kept.
    fn text(&self) -> Option<Cow<'_, [u8]>> {
        None
    }
}

/// One value of a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'v> {
    /// A text; bytes, since a header field may hold any.
    Text(&'v [u8]),
    /// A number.
    Number(Number),
    /// `true` or `false`.
    Bool(bool),
    /// JSON's null.
    Null,
    /// A list, by its length.
    List(usize),
    /// An object.
    Object,
    /// A value that cannot be read, such as a number beyond all bounds.
    Unreadable,
}

/// An MCP message.
#[derive(Debug, Clone, Copy)]
pub struct Mcp<'a> {
    /// The server's name in `mcp_servers`; for an endpoint that is not declared, its host name.
    pub server: &'a str,
    /// Whether `mcp_servers` declares the server. Elsewhere only denies look at messages, and the request's own rules admit them.
    pub declared: bool,
    /// Which way the message goes.
    pub direction: Direction,
    /// Its JSON-RPC method.
    pub method: &'a str,
    /// The tool that is called.
    pub tool: Option<&'a str>,
    /// The canonical URI of the resource.
    pub resource: Option<&'a str>,
    /// The prompt that is asked for.
    pub prompt: Option<&'a str>,
    /// The arguments, by JSON pointer.
    pub arguments: Look<'a>,
}

/// Which way an MCP message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From client to server.
    ToServer,
    /// From server to client.
    ToClient,
}

impl Mcp<'_> {
    /// Whether the tool's name is not of the characters and the length that MCP asks for, so that it can look like another: an allow has to
    /// spell it out.
    #[inline]
    pub fn has_unusual_tool(&self) -> bool {
        let usual = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        self.tool.is_some_and(|name| {
            name.is_empty() || name.len() > limits::MCP_TOOL_BYTES_USUAL || !name.as_bytes().iter().all(usual)
        })
    }

    /// Whether the message belongs to a handshake or asks for a list: such messages pass as soon as some rule allows anything of the
    /// server, and what a list shows is decided entry by entry.
    pub fn opens(&self) -> bool {
        match self.direction {
            _ if self.method == "ping" || self.method.starts_with("notifications/") => true,
            Direction::ToServer => matches!(
                self.method,
                "initialize"
                    | "server/discover"
                    | "tools/list"
                    | "resources/list"
                    | "resources/templates/list"
                    | "prompts/list"
            ),
            Direction::ToClient => false,
        }
    }
}

impl Subject<'static> {
    /// A subject without any fact, to be filled in. Without a port there is no connection, and no condition on one holds.
    pub const EMPTY: Subject<'static> = Subject {
        agent: "",
        scheme: Scheme::Https,
        host: Host::Name(""),
        port: 0,
        address: None,
        method: "",
        paths: &[],
        headers: Look::Absent,
        query: Look::Absent,
        body: Look::Absent,
        mcp: None,
        tunnel: false,
        stage: Stage::Request,
        time_ns: 0,
    };
}

impl<'a> Look<'a> {
    pub(super) fn settled(self) -> Look<'a> {
        if matches!(self, Look::NotLooked) { Look::Unreadable } else { self }
    }

    pub(super) fn is_open(self) -> bool {
        matches!(self, Look::NotLooked)
    }
}

impl<'a> Subject<'a> {
    /// The same subject, with what nobody has looked at taken for unreadable.
    pub(super) fn settled(self) -> Subject<'a> {
        let mcp = self.mcp.map(|mcp| Mcp { arguments: mcp.arguments.settled(), ..mcp });
        let (headers, query, body) = (self.headers.settled(), self.query.settled(), self.body.settled());
        Subject { headers, query, body, mcp, ..self }
    }

    /// Whether something has not been looked at.
    pub(super) fn is_open(&self) -> bool {
        self.headers.is_open() || self.query.is_open() || self.body.is_open() || self.arguments().is_open()
    }

    /// The arguments of the MCP message.
    pub(super) fn arguments(&self) -> Look<'a> {
        self.mcp.map_or(Look::Absent, |mcp| mcp.arguments)
    }

    /// The address that `cidr` conditions look at.
    #[inline]
    pub(super) fn dialled(&self) -> Option<IpAddr> {
        let address = match (self.address, self.host) {
            (Some(address), _) | (None, Host::Address(address)) => address,
            (None, Host::Name(_)) => return None,
        };
        Some(address.to_canonical())
    }
}

/// The IPv4 address that an IPv6 address carries inside, if it is of a kind that does: IPv4-mapped, IPv4-compatible and
/// IPv4-translated (RFC 4291 §2.5.5, RFC 2765), NAT64 (RFC 6052, RFC 8215), 6to4 (RFC 3056), Teredo (RFC 4380) and ISATAP (RFC 5214).
pub(super) fn embedded_v4(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(v6) = address else { return None };
    let s = v6.segments();
    let join = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    };
    match s {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => Some(join(high, low)),
        [0, 0, 0, 0, 0xffff, 0, high, low] => Some(join(high, low)),
        [0x64, 0xff9b, 0 | 1, _, _, _, high, low] => Some(join(high, low)),
        [0x2002, high, low, ..] => Some(join(high, low)),
        [0x2001, 0, _, _, _, _, high, low] => Some(join(!high, !low)),
        [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => Some(join(high, low)),
        _ => None,
    }
}
