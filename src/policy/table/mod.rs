//! The compiled policy: each dimension of a subject is resolved once to sets of rules, and the sets are intersected.
//!
//! Rules are numbered by kind (denies that are enforced, denies that are watched, allows with `cidr`, allows), then by shape (which
//! dimensions they have a condition on), then by their place in the file; a kind and shape is a [`Group`]. Within a group every rule
//! has a condition on the same dimensions, so no set has to say "these rules do not care": a group is skipped at once when one of
//! its dimensions has no rule for the subject, and otherwise the smallest dimension leads. What an index cannot tell (globs within a
//! segment, further readings of a path, a second condition on a header, a dimension with very many sets) is asked of the candidates that
//! are left, one by one, in the model's own words ([`Rule::holds`]); so the index may be coarse, but never wrong.
//!
//! Nothing here allocates, locks or grows while deciding.

mod classes;
mod compile;
mod facts;
mod fields;
mod groups;
mod index;
mod leads;
mod openers;
mod paths;
mod search;
mod sets;
mod views;
mod words;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use self::classes::Classes;
use self::facts::{Reads, Refs, Tentative};
use self::groups::{Group, Groups};
use self::sets::Sets;
use super::decide::RuleView;
use super::model::{Condition, Rule};
use super::subject::{Direction, Mcp, Subject, embedded_v4};

pub(super) use facts::Facts;
pub(super) use words::hash_with;

/// Kinds of rules, in the order in which they are numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    /// A deny that is enforced.
    Deny,
    /// A deny with `monitor: true`.
    Watch,
    /// An allow with a `cidr`.
    Inside,
    /// Another allow.
    Allow,
}

/// What sets are kept by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dimension {
    Host,
    Endpoint,
    Path,
    Method,
    Address,
    /// The agent, names in an MCP message, a header field or a query parameter: of each rule the condition that fewest others share.
    Named,
    /// A body value or an argument, likewise; looked up only where all other dimensions leave rules over.
    Content,
}

const DIMENSIONS: usize = 7;
/// How many of them, the first, denies and allows read alike.
const SHARED: usize = 3;

/// Dimensions as bits, and marks.
type Shape = u16;

/// Some condition of the rule is in no index, and is asked of each candidate.
const REST: Shape = 1 << 7;
/// The rule has `mcp`.
const MESSAGE: Shape = 1 << 8;
/// The rule speaks of connections that are passed through.
const TUNNEL: Shape = 1 << 9;
/// The rule is in a class, so method and endpoint are answered for its whole group.
const CLASSED: Shape = 1 << 10;
/// The bits that are dimensions.
const INDEXED: Shape = (1 << DIMENSIONS) - 1;

impl Dimension {
    const ALL: [Dimension; DIMENSIONS] = [
        Dimension::Host,
        Dimension::Endpoint,
        Dimension::Path,
        Dimension::Method,
        Dimension::Address,
        Dimension::Named,
        Dimension::Content,
    ];

    #[inline]
    const fn bit(self) -> Shape {
        1 << self as u16
    }

    /// What the dimension is in the model's words.
    fn conditions(self) -> &'static [Condition] {
        match self {
            Dimension::Host => &[Condition::Host],
            Dimension::Endpoint => &[Condition::Scheme, Condition::Port],
            Dimension::Method => &[Condition::Method, Condition::Access],
            Dimension::Path => &[Condition::Path],
            Dimension::Address => &[Condition::Cidr],
            Dimension::Named | Dimension::Content => &REST_CONDITIONS,
        }
    }
}

/// What is asked of a rule that the index does not decide.
const REST_CONDITIONS: [Condition; 7] = [
    Condition::When,
    Condition::Mcp,
    Condition::Header,
    Condition::Query,
    Condition::Args,
    Condition::Body,
    Condition::Rate,
];

/// The table.
#[derive(Debug, Clone)]
pub(super) struct Table {
    /// By kind.
    groups: [Groups; 4],
    /// By number, the rule's place in the file; numbers between groups have none.
    rules: Vec<u32>,
    classes: Classes,
    sets: Sets,
    hosts: index::Hosts,
    endpoints: index::Endpoints,
    methods: index::Methods,
    paths: paths::Paths,
    blocks: index::Blocks,
    named: Vec<fields::Field>,
    content: Vec<fields::Field>,
    openers: [openers::Openers; 2],
    views: views::Views,
    /// Nothing here is read differently by denies and by allows: no method outside of classes, no address, no named value.
    plain: bool,
}

impl Table {
    /// Looks a subject up in the indexes that denies and allows share, once for the whole decision.
    #[inline]
    pub(super) fn resolve(&self, facts: &mut Facts<'_>) {
        let subject = facts.subject;
        let len = |set| self.sets.len(set);
        facts.reads = self.reads(subject);
        facts.plain = self.plain && subject.mcp.is_none() && subject.paths.len() <= 1;
        facts.read = facts.plain;
        self.hosts.resolve(subject.host, facts.refs_mut(Dimension::Host), len);
        facts.note(Dimension::Host);
        if !self.endpoints.is_empty() {
            self.endpoints.resolve(subject.scheme, subject.port, facts.refs_mut(Dimension::Endpoint), len);
            facts.note(Dimension::Endpoint);
        }
        if !self.methods.is_empty() {
            facts.method = self.methods.find(subject.method);
        }
        if let Some(first) = subject.paths.first() {
            self.read_path(facts, first);
        } else {
            facts.note(Dimension::Path);
        }
    }

    /// By which classes and marks groups are chosen for a subject.
    #[inline]
    fn reads(&self, subject: &Subject<'_>) -> [Reads; 2] {
        let [allow, deny] = self.classes.of(subject);
        let (allowed, denied) = match &subject.mcp {
            _ if subject.tunnel => ((TUNNEL, MESSAGE), (TUNNEL, MESSAGE)),
            None => ((0, MESSAGE), (0, MESSAGE)),
            Some(mcp) if mcp.declared => ((MESSAGE, 0), (0, 0)),
            Some(_) => ((0, MESSAGE), (0, 0)),
        };
        let reads = |classes, (need, forbid)| Reads { classes, need, forbid };
        [reads(allow, allowed), reads(deny, denied)]
    }

    /// The first rule in the file of this kind that matches.
    #[inline]
    pub(super) fn first(&self, kind: Kind, facts: &mut Facts<'_>, model: &[Rule]) -> Option<u32> {
        let groups = self.groups_of(kind);
        match facts.plain {
            true if groups.are_out(facts.sole) => None,
            true => self.best(kind, facts, model, None),
            false if groups.groups.is_empty() => None,
            false => self.first_turned(kind, facts, model),
        }
    }

    #[inline(never)]
    fn first_turned(&self, kind: Kind, facts: &mut Facts<'_>, model: &[Rule]) -> Option<u32> {
        let deny = matches!(kind, Kind::Deny | Kind::Watch);
        if let Some(mcp) = &facts.subject.mcp
            && !deny
            && mcp.declared
            && mcp.opens()
        {
            let [inside, allow] = &self.openers;
            let openers = if kind == Kind::Inside { inside } else { allow };
            return openers.first(mcp.server, facts.subject, model);
        }
        self.turn(deny, facts);
        let mut best = self.best(kind, facts, model, None);
        let readings = facts.subject.paths;
        if let [first, others @ ..] = readings
            && deny
            && !others.is_empty()
        {
            // A deny needs one reading of the path; an allow, which needs all, asks its candidates about the others.
            for reading in others {
                self.read_path(facts, reading);
                best = self.best(kind, facts, model, best);
            }
            self.read_path(facts, first);
        }
        best
    }

    /// What is said of the rule at a place in the file.
    #[inline]
    pub(super) fn view(&self, place: u32) -> Option<RuleView<'_>> {
        self.views.at(place)
    }

    /// Whether a rule of this kind could match a request to a host by name, whatever else is asked. `alone` looks only at rules without other
    /// conditions. Rules about messages count for nothing: a message is found inside a request.
    pub(super) fn may_match(&self, kind: Kind, host: super::Host<'_>, alone: bool, model: &[Rule]) -> bool {
        let mut refs = Refs::none();
        self.hosts.resolve(host, &mut refs, |set| self.sets.len(set));
        let beyond = (INDEXED | REST | CLASSED) & !Dimension::Host.bit();
        let asked = |group: &&Group| group.shape & MESSAGE == 0 && (!alone || group.shape & beyond == 0);
        self.groups_of(kind).groups.iter().filter(asked).any(|group| {
            if group.shape & Dimension::Host.bit() == 0 {
                return true;
            }
            let holds = |id: u32| {
                let rule = self.rules.get(id as usize).and_then(|rule| model.get(*rule as usize));
                rule.is_some_and(|rule| rule.when.names_host(host))
            };
            if refs.is_overflowed() {
                return (group.first..group.end).any(holds);
            }
            refs.sets().iter().any(|set| self.sets.reaches(*set, group.first, group.end))
        })
    }

    /// Heap bytes, hash maps estimated.
    pub(super) fn bytes(&self) -> usize {
        self.groups.iter().map(|kind| kind.groups.capacity() * size_of::<Group>()).sum::<usize>()
            + self.rules.capacity() * 4
            + self.classes.bytes()
            + self.sets.bytes()
            + self.hosts.bytes()
            + self.endpoints.bytes()
            + self.methods.bytes()
            + self.paths.bytes()
            + self.blocks.bytes()
            + self.named.iter().chain(&self.content).map(fields::Field::bytes).sum::<usize>()
            + self.views.bytes()
            + self.openers.iter().map(openers::Openers::bytes).sum::<usize>()
    }

    #[inline]
    fn groups_of(&self, kind: Kind) -> &Groups {
        let [deny, watch, inside, allow] = &self.groups;
        match kind {
            Kind::Deny => deny,
            Kind::Watch => watch,
            Kind::Inside => inside,
            Kind::Allow => allow,
        }
    }

    /// Denies and allows read methods, addresses, paths and named values differently.
    #[inline]
    fn turn(&self, deny: bool, facts: &mut Facts<'_>) {
        if facts.turned == Some(deny) {
            return;
        }
        facts.turned = Some(deny);
        let subject = facts.subject;
        if !self.methods.is_empty() {
            let (exactly, caseless) = facts.method;
            let method = facts.refs_mut(Dimension::Method);
            method.clear();
            method.add(if deny { caseless } else { exactly }, |set| self.sets.len(set));
            facts.note(Dimension::Method);
        }
        (facts.open, facts.confirm) = (0, 0);
        if !self.blocks.is_empty() {
            self.turn_address(deny, facts);
        }
        if !deny && subject.paths.len() > 1 {
            facts.confirm = Dimension::Path.bit();
        }
        // Only a rule that names the method speaks about messages to the client, and only one that spells a name out admits an unusual one; no
        // index knows which those are.
        let asked = |mcp: &Mcp<'_>| mcp.direction == Direction::ToClient || !deny && mcp.has_unusual_tool();
        if subject.mcp.as_ref().is_some_and(asked) {
            facts.confirm |= REST;
        }
        if !self.named.is_empty() {
            self.turn_fields(Dimension::Named, &self.named, deny, facts);
        }
        facts.read = self.content.is_empty();
        facts.empty &= !Dimension::Content.bit();
    }

    fn turn_address(&self, deny: bool, facts: &mut Facts<'_>) {
        let len = |set| self.sets.len(set);
        let dialled = facts.dialled;
        let address = facts.refs_mut(Dimension::Address);
        address.clear();
        match dialled {
            Some(dialled) => {
                self.blocks.resolve(dialled, address, len);
                if deny && let Some(inner) = embedded_v4(dialled) {
                    self.blocks.resolve(IpAddr::V4(inner), address, len);
                }
            }
            None if !deny => facts.open = Dimension::Address.bit(),
            None => {}
        }
        facts.note(Dimension::Address);
    }

    fn turn_fields(&self, dimension: Dimension, fields: &[fields::Field], deny: bool, facts: &mut Facts<'_>) {
        let subject = facts.subject;
        let refs = facts.refs_mut(dimension);
        refs.clear();
        let mut several = false;
        for field in fields {
            several |= field.resolve(subject, deny, refs, |set| self.sets.len(set));
        }
        // An allow needs all values under a name, and the index says what some of them satisfy.
        if several && !deny {
            facts.confirm |= dimension.bit();
        }
        facts.note(dimension);
    }

    /// Looks the content dimension up.
    #[cold]
    #[inline(never)]
    fn read_content(&self, facts: &mut Facts<'_>) {
        facts.read = true;
        self.turn_fields(Dimension::Content, &self.content, facts.turned == Some(true), facts);
    }

    #[inline]
    fn read_path(&self, facts: &mut Facts<'_>, reading: &str) {
        let mut tentative = Tentative(0);
        let path = facts.refs_mut(Dimension::Path);
        path.clear();
        self.paths.resolve(reading, path, &mut tentative, |set| self.sets.len(set));
        facts.tentative = tentative;
        facts.note(Dimension::Path);
    }
}

/// The numbers of the dimensions in a shape.
#[inline]
fn dimensions(shape: Shape) -> impl Iterator<Item = u32> {
    let mut left = shape & INDEXED;
    std::iter::from_fn(move || {
        let next = (left != 0).then(|| left.trailing_zeros());
        left &= left.wrapping_sub(1);
        next
    })
}
