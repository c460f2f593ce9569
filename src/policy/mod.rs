//! Facts in, decision out.
//!
//! A policy file is read by [`native`] into a [`model`], problems by line and column; the model is compiled into a table; [`decide`]
//! asks the table about a [`subject`]. Only a decision makes a [`Permit`], and only a permit makes a [`Vetted`] address. This floor
//! knows no sockets, clocks, files or environment.

mod address;
mod agt;
mod approver;
mod asks;
mod cover;
mod decide;
pub(crate) mod document;
#[cfg(test)]
mod examples;
mod explain;
mod glob;
mod holds;
mod host;
mod lint;
mod matcher;
mod model;
mod native;
mod number;
mod path;
mod problem;
#[cfg(any(test, fuzzing))]
pub mod properties;
mod rate;
mod reach;
mod regexes;
mod schema;
mod servers;
mod subject;
mod table;
mod weaken;
mod when;
mod yaml;

pub use address::{AddressRefusal, Vetted, Via};
pub use approver::{Approver, ApproverWay, Webhook};
pub use asks::Approval;
pub use decide::{Answer, Code, Decision, Denial, Need, Permit, RuleView, Verdict};
pub use explain::{Explanation, Missed, explain};
pub use glob::Glob;
pub use host::{HostError, HostKey, HostPattern};
pub use matcher::{Matcher, Scalar, Test};
pub use model::{
    Access, Condition, Conditions, Effect, Hidden, McpEndpoint, McpNames, McpServer, Mode, Named, Pin, Rule, Upstream,
    UpstreamAddress, UpstreamKey,
};
pub use number::Number;
pub use path::{PathError, PathPattern};
pub use problem::{Place, Problem, Severity};
pub use rate::{Period, Rate};
pub use reach::{Place as ReachPlace, Way};
pub use regexes::Regex;
pub use schema::schema;
pub use subject::{Direction, Host, Look, Lookup, Mcp, Reply, Scheme, Stage, Subject, Value};
pub use weaken::Weakening;
pub use when::{Times, When};

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::limits;
use model::Model;
use problem::Problems;
use table::{Kind, Table};

/// A policy text and the name by which problems call it.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// A file name, for `file:line:col`.
    pub name: &'a str,
    /// The text.
    pub text: &'a str,
}

/// What a policy is read with besides its text. Only policies of AGT's ask for it.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'t> {
    /// `--agt-unsupplied`: fields that ringfence cannot supply and that count as missing.
    pub unsupplied: &'t [String],
    /// The files that the policy names beside its own.
    pub files: &'t dyn Files,
}

/// The files that a policy names beside its own, by plain paths from its folder: `/` between parts, none of them `.` or `..`.
pub trait Files: fmt::Debug {
    /// The contents of a file.
    ///
    /// # Errors
    /// Why it cannot be read, for people.
    fn read(&self, path: &str) -> Result<Vec<u8>, String>;

    /// The regular files in and below a folder, sorted.
    ///
    /// # Errors
    /// Why it cannot be read, for people.
    fn list(&self, folder: &str) -> Result<Vec<String>, String>;
}

/// For a text that stands alone.
#[derive(Debug, Clone, Copy)]
pub struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _path: &str) -> Result<Vec<u8>, String> {
        Err("other files are not read here".to_owned())
    }

    fn list(&self, _folder: &str) -> Result<Vec<String>, String> {
        Err("other files are not read here".to_owned())
    }
}

/// A rule as people are told of it, of whatever language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outline<'p> {
    /// Its name.
    pub name: &'p str,
    /// What it does, in its language's word.
    pub effect: &'p str,
    /// Where it stands in its file.
    pub place: Place,
}

/// What loading a policy gave.
#[derive(Debug)]
pub struct Loaded {
    /// Errors and warnings, in the order of the file.
    pub problems: Vec<Problem>,
    /// The policy; `None` if and only if there is an error.
    pub policy: Option<Policy>,
}

/// A compiled policy: immutable, and the same answer to the same subject always.
#[derive(Debug, Clone)]
pub struct Policy {
    digest: [u8; 32],
    model: Model,
    table: Table,
    /// Nothing where no rule asks.
    asks: Option<Box<asks::Asks>>,
    servers: servers::Servers,
    needs_address: bool,
    /// Sorted.
    body_pointers: Box<[Box<str>]>,
    /// The denies about messages, by their place.
    message_denies: Box<[u32]>,
    /// A policy in one of AGT's languages. Its model is empty but for the mode.
    agt: Option<Arc<agt::Ruleset>>,
}

/// The policy of `run` without `--policy`: everything public is allowed and recorded. Private, link-local and metadata addresses are
/// denied by [`Permit::vet`], as under every policy.
const OBSERVE: &str = "ringfence: v1\ndefault: allow\nrules: []\n";

/// Checks and compiles a policy that stands alone.
pub fn load(source: Source<'_>) -> Loaded {
    load_with(source, &Terms { unsupplied: &[], files: &NoFiles })
}

/// Checks and compiles a policy: a native one, or one of AGT's by its keys.
pub fn load_with(source: Source<'_>, terms: &Terms<'_>) -> Loaded {
    let mut problems = Problems::new(source.name);
    let policy = native::open(source.text, &mut problems).and_then(|entries| match agt::recognise(&entries) {
        Some(kind) => agt::read(kind, (source.text, &entries), terms, &mut problems).map(Policy::of_agt),
        None => native::read(&entries, &mut problems).map(|model| {
            lint::lint(&model, &mut problems);
            Policy::compile(model, source.text)
        }),
    });
    Loaded { problems: problems.into_sorted(), policy }
}

impl Policy {
    /// The embedded policy of `run` without `--policy`.
    pub fn observe() -> Policy {
        Policy::compile(Model { default: Effect::Allow, ..Model::empty() }, OBSERVE)
    }

    fn compile(model: Model, text: &str) -> Policy {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(digest.as_ref()) {
            *to = *from;
        }
        let needs_address = model.rules.iter().any(|rule| rule.when.blocks.is_some());
        let bodies = model.rules.iter().filter_map(|rule| rule.when.body.as_deref());
        let body_pointers: BTreeSet<_> = bodies.flatten().map(|named| named.name.clone()).collect();
        let body_pointers = body_pointers.into_iter().collect();
        let is_about = |rule: &Rule| rule.effect == Effect::Deny && rule.when.mcp.is_some();
        let message_denies =
            (0..).zip(&model.rules).filter(|(_, rule)| is_about(rule)).map(|(place, _)| place).collect();
        let table = Table::compile(&model.rules);
        let asks = asks::Asks::of(&model.rules);
        let servers = servers::Servers::of(&model);
        Policy { digest: bytes, model, table, asks, servers, needs_address, body_pointers, message_denies, agt: None }
    }

    fn of_agt(read: agt::Read) -> Policy {
        let model = Model { mode: read.mode, ..Model::empty() };
        let policy = Policy::compile(model, "");
        Policy { digest: read.digest, agt: Some(Arc::new(read.ruleset)), ..policy }
    }

    /// SHA-256 of the policy's text; where it names other files, over these too.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// The same policy under `mode: monitor`.
    #[must_use]
    pub fn monitored(mut self) -> Policy {
        self.model.mode = Mode::Monitor;
        self
    }

    /// `mode`.
    pub fn mode(&self) -> Mode {
        self.model.mode
    }

    /// `default`.
    pub fn default_effect(&self) -> Effect {
        self.model.default
    }

    /// The rules in the order of the file. A policy of AGT's has none of these; see [`Policy::outline`].
    pub fn rules(&self) -> &[Rule] {
        &self.model.rules
    }

    /// The rules of whatever language as people are told of them, in the order of the file.
    pub fn outline(&self) -> Vec<Outline<'_>> {
        if let Some(ruleset) = &self.agt {
            return ruleset.outline();
        }
        let outlines = self.rules().iter().map(|rule| Outline {
            name: &rule.name,
            effect: match (rule.effect, rule.monitor) {
                (Effect::Allow, _) if rule.ask.is_some() => "allow, asks",
                (Effect::Allow, _) => "allow",
                (Effect::Deny, false) => "deny",
                (Effect::Deny, true) => "deny, watched",
            },
            place: rule.place,
        });
        outlines.collect()
    }

    /// Whether the policy is in one of AGT's languages.
    pub fn is_agt(&self) -> bool {
        self.agt.is_some()
    }

    /// The files that were read besides the policy's own, by paths from its folder.
    pub fn files(&self) -> &[Box<str>] {
        self.agt.as_ref().map(|ruleset| ruleset.files()).unwrap_or_default()
    }

    /// A field that some rule of an AGT policy reads and that subjects never have: HTTP requests, or with `messages` MCP messages.
    pub fn unsupplied(&self, messages: bool) -> Option<&str> {
        let origin = if messages { agt::Origin::Message } else { agt::Origin::Request };
        self.agt.as_ref()?.unsupplied(origin)
    }

    /// Whether some rule reads what is decided at this stage, whatever its text.
    pub fn reads(&self, stage: Stage<'_>) -> bool {
        self.agt.as_ref().map_or(stage == Stage::Request, |ruleset| ruleset.reads(stage))
    }

    /// Whether some rule has a `cidr`, so that a request must be decided again for the address that would be dialled.
    pub fn needs_address(&self) -> bool {
        self.needs_address
    }

    /// The JSON pointers of all `body` conditions, each once. Where there are none, no decision needs a body.
    pub fn body_pointers(&self) -> &[Box<str>] {
        &self.body_pointers
    }

    /// Where to dial instead of asking DNS: the entry for host and port before the one for the host.
    pub fn upstream(&self, host: &Host<'_>, port: u16) -> Option<&Upstream> {
        let upstreams = &self.model.upstreams;
        let of = |port: Option<u16>| {
            let found = upstreams.binary_search_by(|(key, _)| key.host.compare(*host).then(key.port.cmp(&port))).ok();
            found.and_then(|at| upstreams.get(at)).map(|(_, upstream)| upstream)
        };
        of(Some(port)).or_else(|| of(None))
    }

    /// All upstreams in the order of their keys.
    pub fn upstreams(&self) -> impl Iterator<Item = (&UpstreamKey, &Upstream)> {
        self.model.upstreams.iter().map(|(key, upstream)| (key, upstream))
    }

    /// Whether a host is worth an address or a certificate: some rule could allow a request to it, or its denial would not be enforced. The DNS stub
    /// and the TLS handshake ask before there is a request.
    pub fn may_admit(&self, host: Host<'_>) -> bool {
        if decide::is_metadata(host) {
            return false;
        }
        if self.model.mode == Mode::Monitor {
            return true;
        }
        if let Some(ruleset) = &self.agt {
            return self.may_reach_by(ruleset, &Subject { host, ..Subject::EMPTY }, (false, false)).0;
        }
        let may = |kind, alone| self.table.may_match(kind, host, alone, &self.model.rules);
        let admits = self.model.default == Effect::Allow || self.servers.admits(host);
        let allowed = admits || may(Kind::Allow, false) || may(Kind::Inside, false);
        allowed && !may(Kind::Deny, true)
    }

    /// The declared MCP server at an endpoint, by its name. `path` is canonical.
    pub fn mcp_server(&self, scheme: Scheme, host: Host<'_>, port: u16, path: &str) -> Option<&str> {
        self.servers.at(scheme, host, port, path)
    }

    /// The declared MCP server that speaks over the standard streams of a command, by its name: `stdio` is what `--server` says.
    pub fn mcp_stdio_server(&self, stdio: &str) -> Option<&str> {
        self.servers.stdio(stdio)
    }

    /// The declared MCP servers, in the order of the file.
    pub fn mcp_servers(&self) -> &[McpServer] {
        &self.model.servers
    }

    /// Those whose leave some rules ask for, in the order of the file.
    pub fn approvers(&self) -> &[Approver] {
        &self.model.approvers
    }

    /// What becomes of changed tools of a server. Of one that is not declared a change is recorded only.
    pub fn pin(&self, server: &str) -> Pin {
        self.declared(server).map_or(Pin::Warn, |declared| declared.pin)
    }

    /// What becomes of hidden characters in a server's descriptions.
    pub fn hidden(&self, server: &str) -> Hidden {
        self.declared(server).map_or(Hidden::Strip, |declared| declared.hidden)
    }

    fn declared(&self, server: &str) -> Option<&McpServer> {
        self.model.servers.iter().find(|declared| *declared.name == *server)
    }

    /// Whether some deny about messages could concern one that this request carries to `server`, which nobody has declared. Certain where not.
    pub fn may_deny_messages(&self, server: &str, subject: &Subject<'_>) -> bool {
        const ABOUT_CARRIER: [Condition; 6] =
            [Condition::Host, Condition::Scheme, Condition::Port, Condition::Method, Condition::Path, Condition::When];
        let concerns = |rule: &Rule| {
            let names = rule.when.mcp.as_ref();
            let is_named = names.is_some_and(|names| names.may_name(server));
            is_named && ABOUT_CARRIER.iter().all(|condition| rule.holds(*condition, subject))
        };
        // Where there are many, looking at each would take longer than looking at the message.
        let rules = self.message_denies.iter().filter_map(|place| self.model.rules.get(*place as usize));
        self.message_denies.len() > limits::POLICY_SET_LIST_MAX || rules.into_iter().any(concerns)
    }

    /// The JSON pointers of the arguments of messages that some rule speaks about.
    pub fn argument_pointers(&self) -> impl Iterator<Item = &str> {
        let named = self.model.rules.iter().flat_map(|rule| rule.when.arguments.iter().flatten());
        let of_agt = self.agt.iter().flat_map(|ruleset| ruleset.arguments());
        named.map(|named| &*named.name).chain(of_agt.map(|pointer| &**pointer))
    }

    /// Whether TLS to a host is passed through unread, where a decision about a [`Subject::tunnel`] allows it.
    pub fn passes_through(&self, host: Host<'_>) -> bool {
        self.model.passthrough.iter().any(|pattern| pattern.matches(host))
    }

    /// The patterns of `tls.passthrough`.
    pub fn passthrough(&self) -> &[HostPattern] {
        &self.model.passthrough
    }

    /// The files of `tls.crl`, as written: lists of certificates that upstreams must not show any more.
    pub fn revocations(&self) -> &[std::path::PathBuf] {
        &self.model.revocations
    }

    /// How this policy is weaker than another; certain where it is not at all.
    pub fn weakenings(&self, old: &Policy) -> Vec<Weakening> {
        let mut found = weaken::weakenings(&old.model, &self.model);
        if (self.is_agt() || old.is_agt()) && self.digest != old.digest {
            found.push(Weakening::Dialect);
        }
        found
    }

    /// Heap bytes of the compiled table; the rules' own texts are not counted.
    pub fn table_bytes(&self) -> usize {
        let asks = self.asks.as_ref().map_or(0, |asks| asks.bytes());
        self.table.bytes() + asks + self.agt.as_ref().map_or(0, |ruleset| ruleset.bytes())
    }
}
