//! A policy as its author wrote it, checked and canonical: what the table is compiled from and what explanations speak of.
//!
//! A condition that is absent (`None`) holds for every subject. What a condition means stands in [`super::holds`].

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use super::approver::Approver;
use super::glob::Glob;
use super::host::{HostKey, HostPattern};
use super::matcher::Matcher;
use super::path::PathPattern;
use super::problem::Place;
use super::rate::Rate;
use super::regexes::Regexes;
use super::subject::{Host, Scheme};
use super::when::When;

/// Whether denials are enforced or only recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Denials are enforced.
    Enforce,
    /// Every denial is recorded and forwarded.
    Monitor,
}

/// What happens when no rule matches, and what a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// The request may go.
    Allow,
    /// The request is refused.
    Deny,
}

/// One rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The unique name: the text after `allow:` or `deny:`.
    pub name: Box<str>,
    /// Allow or deny.
    pub effect: Effect,
    /// A deny that is recorded and not enforced.
    pub monitor: bool,
    /// Why, in the author's words.
    pub reason: Option<Box<str>>,
    /// What to do instead, in the author's words.
    pub remedy: Option<Box<str>>,
    /// What must hold for the rule to match; all of it.
    pub when: Conditions,
    /// How often an allow may win; beyond, it does not match.
    pub rate: Option<Rate>,
    /// Whose leave an allow needs each time: an approver's name.
    pub ask: Option<Box<str>>,
    /// Where the rule stands in its file.
    pub place: Place,
}

/// The conditions of a rule: fields are ANDed, values within one are ORed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Conditions {
    /// `host`, with groups resolved.
    pub hosts: Option<Box<[HostPattern]>>,
    /// `scheme`.
    pub schemes: Option<Box<[Scheme]>>,
    /// `port`. Absent in an allow it means 443 for https and 80 for http, in a deny any.
    pub ports: Option<Box<[u16]>>,
    /// `cidr`.
    pub blocks: Option<Box<[IpNet]>>,
    /// `method`.
    pub methods: Option<Box<[Box<str>]>>,
    /// `access`.
    pub access: Option<Access>,
    /// `path`.
    pub paths: Option<Box<[PathPattern]>>,
    /// `header`, by lower-case name.
    pub headers: Option<Box<[Named]>>,
    /// `query`, by decoded name.
    pub query: Option<Box<[Named]>>,
    /// `body`, by JSON pointer.
    pub body: Option<Box<[Named]>>,
    /// `mcp`.
    pub mcp: Option<Box<McpNames>>,
    /// `args`, by JSON pointer.
    pub arguments: Option<Box<[Named]>>,
    /// `when`.
    pub moment: Option<Box<When>>,
}

/// What is asked of the values under one name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Named {
    /// The name or JSON pointer.
    pub name: Box<str>,
    /// What must hold.
    pub matcher: Matcher,
}

/// `mcp`: what a message must name. A part that is absent holds for every message from client to server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct McpNames {
    /// `server`.
    pub servers: Option<Box<[Glob]>>,
    /// `method`; only a rule that has one speaks about messages from server to client.
    pub methods: Option<Box<[Glob]>>,
    /// `tool`.
    pub tools: Option<Box<[Glob]>>,
    /// `resource`.
    pub resources: Option<Box<[Glob]>>,
    /// `prompt`.
    pub prompts: Option<Box<[Glob]>>,
}

/// Where named values come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Source {
    Header,
    Query,
    Body,
    Arguments,
}

impl Conditions {
    /// Every condition on named values.
    pub(super) fn all_named(&self) -> impl Iterator<Item = (Source, &Named)> {
        let lists = [
            (Source::Header, self.headers.as_deref()),
            (Source::Query, self.query.as_deref()),
            (Source::Body, self.body.as_deref()),
            (Source::Arguments, self.arguments.as_deref()),
        ];
        lists.into_iter().flat_map(|(source, list)| list.unwrap_or_default().iter().map(move |named| (source, named)))
    }

    /// Whether `host` holds, whatever else the rule asks.
    pub(super) fn names_host(&self, host: Host<'_>) -> bool {
        self.hosts.as_ref().is_none_or(|hosts| hosts.iter().any(|pattern| pattern.matches(host)))
    }
}

/// What `access` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// `read-only`: GET, HEAD, OPTIONS.
    ReadOnly,
    /// `read-write`: POST, PUT and PATCH as well.
    ReadWrite,
    /// `full`: every method.
    Full,
}

impl Access {
    /// The methods; `None` for all.
    pub fn methods(self) -> Option<&'static [&'static str]> {
        match self {
            Access::ReadOnly => Some(&["GET", "HEAD", "OPTIONS"]),
            Access::ReadWrite => Some(&["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH"]),
            Access::Full => None,
        }
    }
}

/// A condition by its key, in the order in which explanations name the one that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Condition {
    /// `host`
    Host,
    /// `scheme`
    Scheme,
    /// `port`
    Port,
    /// `cidr`
    Cidr,
    /// `method`
    Method,
    /// `access`
    Access,
    /// `path`
    Path,
    /// `header`
    Header,
    /// `query`
    Query,
    /// `when`
    When,
    /// `mcp`; also that a message needs a rule about messages, and a request one about requests.
    Mcp,
    /// `args`
    Args,
    /// `body`
    Body,
    /// `rate`
    Rate,
}

impl Condition {
    /// All of them.
    pub const ALL: [Condition; 14] = [
        Condition::Host,
        Condition::Scheme,
        Condition::Port,
        Condition::Cidr,
        Condition::Method,
        Condition::Access,
        Condition::Path,
        Condition::Header,
        Condition::Query,
        Condition::When,
        Condition::Mcp,
        Condition::Args,
        Condition::Body,
        Condition::Rate,
    ];

    /// The key in the policy file.
    pub fn as_str(self) -> &'static str {
        match self {
            Condition::Host => "host",
            Condition::Scheme => "scheme",
            Condition::Port => "port",
            Condition::Cidr => "cidr",
            Condition::Method => "method",
            Condition::Access => "access",
            Condition::Path => "path",
            Condition::Header => "header",
            Condition::Query => "query",
            Condition::When => "when",
            Condition::Mcp => "mcp",
            Condition::Args => "args",
            Condition::Body => "body",
            Condition::Rate => "rate",
        }
    }
}

/// Where connections for a host go instead of to what DNS says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// What is dialled.
    pub address: UpstreamAddress,
    /// A file of trust anchors; it makes the connection TLS only. Relative paths count from the policy file's folder.
    pub trust: Option<PathBuf>,
    /// A file with a client certificate and its key; it makes the connection TLS only.
    pub client_cert: Option<PathBuf>,
}

/// The address of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamAddress {
    /// An address and a port.
    Socket(SocketAddr),
    /// A name, which the proxy resolves, and a port.
    Name(Box<str>, u16),
}

/// The host or host and port that an upstream stands for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UpstreamKey {
    /// The host.
    pub host: HostKey,
    /// The port, when the key names one.
    pub port: Option<u16>,
}

/// An MCP server that the policy declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct McpServer {
    /// Its name.
    pub name: Box<str>,
    /// Where it is.
    pub endpoint: McpEndpoint,
    /// `pin`
    pub pin: Pin,
    /// `hidden`
    pub hidden: Hidden,
}

/// What becomes of a tool whose definition has changed since it was pinned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pin {
    /// It is hidden and its calls are denied.
    #[default]
    Enforce,
    /// The change is recorded.
    Warn,
    /// Tools are not pinned.
    Off,
}

/// What becomes of a description with characters that nobody sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Hidden {
    /// Whatever it describes is hidden.
    #[default]
    Refuse,
    /// It goes on without them.
    Strip,
}

/// Where an MCP server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum McpEndpoint {
    /// `url`, in parts; the path is canonical.
    Http {
        /// The scheme.
        scheme: Scheme,
        /// The host.
        host: HostKey,
        /// The port.
        port: u16,
        /// The path.
        path: Box<str>,
    },
    /// `stdio`: the name that `ringfence mcp --server` gives it.
    Stdio(Box<str>),
}

/// A whole policy file.
#[derive(Debug, Clone)]
pub(super) struct Model {
    /// `mode`.
    pub(super) mode: Mode,
    /// `default`.
    pub(super) default: Effect,
    /// `rules`, in the order of the file.
    pub(super) rules: Vec<Rule>,
    /// `upstreams`, in the order of their keys.
    pub(super) upstreams: Vec<(UpstreamKey, Upstream)>,
    /// `mcp_servers`, in the order of the file.
    pub(super) servers: Vec<McpServer>,
    /// `approvals`, in the order of the file.
    pub(super) approvers: Vec<Approver>,
    /// `tls.passthrough`.
    pub(super) passthrough: Vec<HostPattern>,
    /// `tls.crl`, as written.
    pub(super) revocations: Vec<PathBuf>,
    /// Where `tls` stands.
    pub(super) passthrough_place: Place,
}

impl McpNames {
    /// The lists in the order of their keys' meaning: server, method, tool, resource, prompt.
    pub(super) fn lists(&self) -> [Option<&[Glob]>; 5] {
        let McpNames { servers, methods, tools, resources, prompts } = self;
        [servers.as_deref(), methods.as_deref(), tools.as_deref(), resources.as_deref(), prompts.as_deref()]
    }

    /// Values in all lists.
    pub(super) fn len(&self) -> usize {
        self.lists().into_iter().flatten().map(<[Glob]>::len).sum()
    }
}

impl Model {
    /// A policy without rules.
    pub(super) fn empty() -> Model {
        Model {
            mode: Mode::Enforce,
            default: Effect::Deny,
            rules: Vec::new(),
            upstreams: Vec::new(),
            servers: Vec::new(),
            approvers: Vec::new(),
            passthrough: Vec::new(),
            revocations: Vec::new(),
            passthrough_place: Place::default(),
        }
    }

    /// Every regular expression, to be built.
    pub(super) fn regexes(&mut self) -> Regexes<'_> {
        let mut regexes = Regexes::default();
        for rule in &mut self.rules {
            let Conditions { headers, query, body, arguments, .. } = &mut rule.when;
            let lists = [headers, query, body, arguments].into_iter().zip(0..);
            for (list, source) in lists {
                for Named { name, matcher } in list.iter_mut().flatten() {
                    regexes.gather(source, name, matcher);
                }
            }
        }
        regexes
    }
}
