//! A policy as its author wrote it, checked and canonical: what the table is compiled from and what explanations speak of.
//!
//! A condition that is absent (`None`) holds for every subject. Later conditions join [`Conditions`] as further fields and
//! [`Condition`] as further variants.

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use super::host::{HostKey, HostPattern};
use super::path::PathPattern;
use super::problem::Place;
use super::subject::{Host, Scheme, Subject, embedded_v4};

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
}

impl Conditions {
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
}

impl Condition {
    /// All of them.
    pub const ALL: [Condition; 7] = [
        Condition::Host,
        Condition::Scheme,
        Condition::Port,
        Condition::Cidr,
        Condition::Method,
        Condition::Access,
        Condition::Path,
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
}

impl Rule {
    /// Whether one condition of the rule holds for the subject. This is the plain meaning of the language: the table gives the same
    /// answers, and falls back to this where its index does not reach.
    pub fn holds(&self, condition: Condition, subject: &Subject<'_>) -> bool {
        let when = &self.when;
        let allow = self.effect == Effect::Allow;
        match condition {
            Condition::Host => when.names_host(subject.host),
            Condition::Scheme => when.schemes.as_ref().is_none_or(|schemes| schemes.contains(&subject.scheme)),
            Condition::Port => match &when.ports {
                Some(ports) => ports.contains(&subject.port),
                None => !allow || subject.port == subject.scheme.default_port(),
            },
            Condition::Cidr => when.blocks.as_ref().is_none_or(|blocks| self.block_holds(blocks, subject)),
            Condition::Method => {
                when.methods.as_ref().is_none_or(|methods| methods.iter().any(|method| self.is_method(method, subject)))
            }
            Condition::Access => when
                .access
                .and_then(Access::methods)
                .is_none_or(|methods| methods.iter().any(|method| self.is_method(method, subject))),
            Condition::Path => when.paths.as_ref().is_none_or(|patterns| {
                let mut readings = subject.paths.iter();
                let matched = |path: &&str| patterns.iter().any(|pattern| pattern.matches(path));
                if allow { !subject.paths.is_empty() && readings.all(matched) } else { readings.any(matched) }
            }),
        }
    }

    /// The first condition that fails, if any: the rule matches when there is none.
    pub fn failed(&self, subject: &Subject<'_>) -> Option<Condition> {
        Condition::ALL.into_iter().find(|condition| !self.holds(*condition, subject))
    }

    /// Some origins read methods without regard to case, so a deny does too; an allow takes them as they are.
    fn is_method(&self, method: &str, subject: &Subject<'_>) -> bool {
        method == subject.method || self.effect == Effect::Deny && method.eq_ignore_ascii_case(subject.method)
    }

    fn block_holds(&self, blocks: &[IpNet], subject: &Subject<'_>) -> bool {
        let Some(address) = subject.dialled() else { return self.effect == Effect::Allow };
        let inside = |address| blocks.iter().any(|block| block.contains(&address));
        // An address inside an address (NAT64, 6to4 …) ends where the inner one says, so a deny looks at both.
        inside(address)
            || self.effect == Effect::Deny
                && embedded_v4(address).is_some_and(|inner| inside(std::net::IpAddr::V4(inner)))
    }
}
