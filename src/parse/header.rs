//! The header section of one message: the fields in order, and the facts about those that have a meaning for a proxy.
//!
//! The section is validated once, in [`crate::parse::head`], which also gathers the facts, so that nothing on the way of a request
//! searches for a field again. [`Headers`] keeps no table of fields: it borrows the validated lines and splits them anew when they are
//! written out, which is cheaper than to carry a hundred slots along.

use memchr::memchr;

use super::head::HeadError;

/// The header section of a validated head.
#[derive(Debug, Clone, Copy)]
pub struct Headers<'b> {
    /// The field lines, each with its CRLF, without the empty line.
    lines: &'b [u8],
    direction: Direction,
    facts: Facts<'b>,
}

/// Which way a message travels. Some fields mean something in one direction only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Request,
    Response,
}

/// What the single pass over the fields keeps.
#[derive(Debug, Clone, Copy, Default)]
struct Facts<'b> {
    host: Option<&'b [u8]>,
    content_length: Option<&'b [u8]>,
    transfer_encoding: Option<&'b [u8]>,
    content_type: Option<&'b [u8]>,
    expect: Option<&'b [u8]>,
    upgrade: Option<&'b [u8]>,
    via: bool,
    connection: Connection,
}

/// The options of all `Connection` fields together (RFC 9110 §7.6.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Connection {
    /// `close`: no further message on this connection.
    pub close: bool,
    /// `keep-alive`: asked for by an HTTP/1.0 peer.
    pub keep_alive: bool,
    /// Some other field is nominated as hop-by-hop. Possible in responses only.
    nominates: bool,
}

/// A field that may stand once in a message stands there twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Duplicate;

impl<'b> Headers<'b> {
    /// Gathers the facts from fields that are valid one by one.
    pub(super) fn gather(
        lines: &'b [u8],
        direction: Direction,
        fields: &[httparse::Header<'b>],
    ) -> Result<Self, HeadError> {
        let mut facts = Facts::default();
        let mut seen = 0_u32;
        for field in fields {
            // RFC 9110 §5.1 allows "_", but programs behind CGI-like interfaces read "-" and "_" as the same.
            if direction == Direction::Request && memchr(b'_', field.name.as_bytes()).is_some() {
                return Err(HeadError::Underscore);
            }
            let Some(known) = Known::of(field.name.as_bytes()) else { continue };
            let twice = seen & known.bit() != 0;
            seen |= known.bit();
            facts.take(known, twice, field.value, direction)?;
        }
        Ok(Headers { lines, direction, facts })
    }

    /// Every field in order: its name as it was written, its value without surrounding blanks.
    pub fn iter(&self) -> Iter<'b> {
        Iter(Lines { rest: self.lines })
    }

    /// The fields that travel end to end, in order, as received.
    ///
    /// Left out is what belongs to one connection only (RFC 9110 §7.6.1) and what a proxy writes from its own parse: `Connection` and what it
    /// nominates, `Keep-Alive`, `Proxy-*`, `TE`, `Trailer`, `Transfer-Encoding`, `Upgrade`, `Content-Length`; in requests also `Host`,
    /// `Expect`, `HTTP2-Settings` and what would tell an origin another client, path or method than was decided on; in responses
    /// also `Alt-Svc`, which would lead the client around the proxy.
    pub fn end_to_end(&self) -> impl Iterator<Item = (&'b [u8], &'b [u8])> + use<'b> {
        let headers = *self;
        Lines { rest: self.lines }.filter(move |(name, _)| !headers.is_rewritten(name))
    }

    /// Whether the field belongs to this connection only: by its definition, or because a `Connection` field nominates it.
    pub fn is_hop_by_hop(&self, name: &[u8]) -> bool {
        Known::of(name).is_some_and(Known::is_hop_by_hop) || is_prefixed(name, b"proxy-") || self.is_nominated(name)
    }

    /// The value of a field that may stand there once. Comma-separated lists are not taken apart.
    pub fn one(&self, name: &str) -> Result<Option<&'b [u8]>, Duplicate> {
        let mut values = self.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        let first = values.next();
        if values.next().is_some() { Err(Duplicate) } else { Ok(first) }
    }

    /// `Host`. In requests present at most once.
    pub fn host(&self) -> Option<&'b [u8]> {
        self.facts.host
    }

    /// `Content-Length` as received; present at most once. [`crate::parse::framing`] reads it.
    pub fn content_length(&self) -> Option<&'b [u8]> {
        self.facts.content_length
    }

    /// `Transfer-Encoding` as received; present at most once. [`crate::parse::framing`] reads it.
    pub fn transfer_encoding(&self) -> Option<&'b [u8]> {
        self.facts.transfer_encoding
    }

    /// The first `Content-Type`; in requests the only one.
    pub fn content_type(&self) -> Option<&'b [u8]> {
        self.facts.content_type
    }

    /// `Expect`; in requests present at most once.
    pub fn expect(&self) -> Option<&'b [u8]> {
        self.facts.expect
    }

    /// The first `Upgrade`.
    pub fn upgrade(&self) -> Option<&'b [u8]> {
        self.facts.upgrade
    }

    /// Whether there is a `Via`: the message has come through another proxy, or through us.
    pub fn has_via(&self) -> bool {
        self.facts.via
    }

    /// The options of the `Connection` fields.
    pub fn connection(&self) -> Connection {
        self.facts.connection
    }

    fn is_rewritten(&self, name: &[u8]) -> bool {
        let by_definition = Known::of(name).is_some_and(|known| match known {
            Known::ContentLength => true,
            Known::Host | Known::Expect => self.direction == Direction::Request,
            Known::AltSvc => self.direction == Direction::Response,
            other => other.is_hop_by_hop(),
        });
        by_definition
            || is_prefixed(name, b"proxy-")
            || self.direction == Direction::Request && contradicts(name)
            || self.is_nominated(name)
    }

    fn is_nominated(&self, name: &[u8]) -> bool {
        self.facts.connection.nominates
            && self
                .iter()
                .filter(|(field, _)| field.eq_ignore_ascii_case("connection"))
                .any(|(_, value)| options(value).any(|option| option.eq_ignore_ascii_case(name)))
    }
}

impl<'b> Facts<'b> {
    fn take(&mut self, known: Known, twice: bool, value: &'b [u8], direction: Direction) -> Result<(), HeadError> {
        let request = direction == Direction::Request;
        if twice && (known.frames() || request && known.is_singleton()) {
            return Err(HeadError::Duplicate(known.name()));
        }
        // Recipients differ in whether they trim or decode octets above 127 (NEL, NBSP), and these fields decide.
        if request && known.decides() && !value.is_ascii() {
            return Err(HeadError::ObsText(known.name()));
        }
        match known {
            Known::Host => self.host = self.host.or(Some(value)),
            Known::ContentLength => self.content_length = Some(value),
            Known::TransferEncoding => self.transfer_encoding = Some(value),
            Known::ContentType => self.content_type = self.content_type.or(Some(value)),
            Known::Expect => self.expect = self.expect.or(Some(value)),
            Known::Upgrade => self.upgrade = self.upgrade.or(Some(value)),
            Known::Via => self.via = true,
            Known::Connection => return self.connection.take(value, request),
            _ => {}
        }
        Ok(())
    }
}

impl Connection {
    /// RFC 9110 §7.6.1: a nominated field is removed by the next hop, which lets a client decide which fields an origin sees. A request
    /// may therefore nominate only fields that are always removed.
    fn take(&mut self, value: &[u8], request: bool) -> Result<(), HeadError> {
        for option in options(value) {
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if !request {
                self.nominates = true;
            } else if ![b"te".as_slice(), b"upgrade", b"http2-settings"]
                .iter()
                .any(|harmless| option.eq_ignore_ascii_case(harmless))
            {
                return Err(HeadError::Nomination);
            }
        }
        Ok(())
    }
}

/// The elements of a comma-separated list, empty ones left out (RFC 9110 §5.6.1.2).
fn options(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim).filter(|option| !option.is_empty())
}

/// Without surrounding spaces and tabs, and without regard to anything else that some languages call white space.
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Whether a request field claims another origin of the request than the connection shows, or another target or method than the request
/// line: some origins, and the frameworks on them, believe such a field more than what was decided on.
fn contradicts(name: &[u8]) -> bool {
    // Few fields begin like that, so that most cost one comparison.
    matches!(name.first(), Some(b'x' | b'X' | b'f' | b'F'))
        && (is_prefixed(name, b"x-forwarded-")
            || CONTRADICTING.iter().any(|field| name.len() == field.len() && is_same_name(name, field)))
}

/// Fields that some origin takes for where the request came from or what it asks for.
const CONTRADICTING: [&str; 9] = [
    "forwarded",
    "x-forwarded",
    "x-real-ip",
    "x-original-url",
    "x-original-host",
    "x-rewrite-url",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
];

fn is_prefixed(name: &[u8], prefix: &[u8]) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// Whether `name` is `lower` in any case. Both are tokens of one length, among which setting bit 5 only folds case where `lower` has letters,
/// digits and hyphens; without branches it takes half the time of a comparison that stops at the first difference.
fn is_same_name(name: &[u8], lower: &str) -> bool {
    name.iter().zip(lower.bytes()).fold(0, |difference, (byte, other)| difference | (byte | 0x20) ^ other) == 0
}

/// The fields of a header section in order. See [`Headers::iter`].
#[derive(Debug, Clone)]
pub struct Iter<'b>(Lines<'b>);

impl<'b> Iterator for Iter<'b> {
    type Item = (&'b str, &'b [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, value) = self.0.next()?;
        // A token is ASCII.
        Some((std::str::from_utf8(name).ok()?, value))
    }
}

/// The field lines, split: to write them nobody needs to know again that a name is text.
#[derive(Debug, Clone)]
struct Lines<'b> {
    rest: &'b [u8],
}

impl<'b> Iterator for Lines<'b> {
    type Item = (&'b [u8], &'b [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        // The lines are valid: each ends in CRLF, holds no other CR, and has a colon after a name of token characters.
        let end = memchr(b'\r', self.rest)?;
        let (line, rest) = self.rest.split_at(end);
        self.rest = rest.get(2..)?;
        let colon = memchr(b':', line)?;
        Some((line.get(..colon)?, trim(line.get(colon + 1..)?)))
    }
}

/// The fields that mean something to a proxy, or whose repetition does to an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Known {
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    Upgrade,
    Expect,
    ContentType,
    ContentEncoding,
    // What follows is singleton by its definition and has no meaning for framing.
    Authorization,
    Origin,
    LastEventId,
    McpMethod,
    McpName,
    McpProtocolVersion,
    McpSessionId,
    WebSocketAccept,
    WebSocketExtensions,
    WebSocketKey,
    WebSocketProtocol,
    WebSocketVersion,
    // Hop-by-hop, and of no other interest.
    KeepAlive,
    ProxyAuthenticate,
    ProxyAuthorization,
    ProxyConnection,
    Te,
    Trailer,
    Http2Settings,
    AltSvc,
    Via,
}

const _: () = assert!((Known::Via as u32) < u32::BITS);

impl Known {
    fn of(name: &[u8]) -> Option<Known> {
        // Length and first letter leave one candidate, or none, which is how most fields end here.
        let first = name.first()? | 0x20;
        let candidate = match (name.len(), first) {
            (2, b't') => Known::Te,
            (3, b'v') => Known::Via,
            (4, b'h') => Known::Host,
            (6, b'e') => Known::Expect,
            (6, b'o') => Known::Origin,
            (7, b'u') => Known::Upgrade,
            (7, b't') => Known::Trailer,
            (7, b'a') => Known::AltSvc,
            (8, b'm') => Known::McpName,
            (10, b'c') => Known::Connection,
            (10, b'k') => Known::KeepAlive,
            (10, b'm') => Known::McpMethod,
            (12, b'c') => Known::ContentType,
            (13, b'a') => Known::Authorization,
            (13, b'l') => Known::LastEventId,
            (14, b'c') => Known::ContentLength,
            (14, b'm') => Known::McpSessionId,
            (14, b'h') => Known::Http2Settings,
            (16, b'c') => Known::ContentEncoding,
            (16, b'p') => Known::ProxyConnection,
            (17, b't') => Known::TransferEncoding,
            (17, b's') => Known::WebSocketKey,
            (18, b'p') => Known::ProxyAuthenticate,
            (19, b'p') => Known::ProxyAuthorization,
            (20, b'm') => Known::McpProtocolVersion,
            (20, b's') => Known::WebSocketAccept,
            (21, b's') => Known::WebSocketVersion,
            (22, b's') => Known::WebSocketProtocol,
            (24, b's') => Known::WebSocketExtensions,
            _ => return None,
        };
        is_same_name(name, candidate.name()).then_some(candidate)
    }

    const fn name(self) -> &'static str {
        match self {
            Known::Host => "host",
            Known::ContentLength => "content-length",
            Known::TransferEncoding => "transfer-encoding",
            Known::Connection => "connection",
            Known::Upgrade => "upgrade",
            Known::Expect => "expect",
            Known::ContentType => "content-type",
            Known::ContentEncoding => "content-encoding",
            Known::Authorization => "authorization",
            Known::Origin => "origin",
            Known::LastEventId => "last-event-id",
            Known::McpMethod => "mcp-method",
            Known::McpName => "mcp-name",
            Known::McpProtocolVersion => "mcp-protocol-version",
            Known::McpSessionId => "mcp-session-id",
            Known::WebSocketAccept => "sec-websocket-accept",
            Known::WebSocketExtensions => "sec-websocket-extensions",
            Known::WebSocketKey => "sec-websocket-key",
            Known::WebSocketProtocol => "sec-websocket-protocol",
            Known::WebSocketVersion => "sec-websocket-version",
            Known::KeepAlive => "keep-alive",
            Known::ProxyAuthenticate => "proxy-authenticate",
            Known::ProxyAuthorization => "proxy-authorization",
            Known::ProxyConnection => "proxy-connection",
            Known::Te => "te",
            Known::Trailer => "trailer",
            Known::Http2Settings => "http2-settings",
            Known::AltSvc => "alt-svc",
            Known::Via => "via",
        }
    }

    const fn bit(self) -> u32 {
        1 << self as u8
    }

    /// Two of these make the end of the body ambiguous, in either direction.
    const fn frames(self) -> bool {
        matches!(self, Known::ContentLength | Known::TransferEncoding)
    }

    /// May stand once in a request: the proxy, the policy and the origin could each take another one of two.
    const fn is_singleton(self) -> bool {
        matches!(self, Known::Host | Known::Expect | Known::ContentType | Known::ContentEncoding)
            || (Known::Authorization as u8 <= self as u8 && self as u8 <= Known::WebSocketVersion as u8)
    }

    /// Fields on which framing, routing or inspection depend.
    const fn decides(self) -> bool {
        self as u8 <= Known::ContentEncoding as u8
    }

    const fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Known::Connection
                | Known::TransferEncoding
                | Known::Upgrade
                | Known::KeepAlive
                | Known::ProxyAuthenticate
                | Known::ProxyAuthorization
                | Known::ProxyConnection
                | Known::Te
                | Known::Trailer
                | Known::Http2Settings
        )
    }
}

#[cfg(test)]
mod tests;
