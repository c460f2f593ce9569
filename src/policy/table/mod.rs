//! The compiled policy: each dimension of a subject is resolved once to sets of rules, and the sets are intersected.
//!
//! Rules are numbered by kind (denies that are enforced, denies that are watched, allows with `cidr`, allows), then by shape (which
//! dimensions they have a condition on), then by their place in the file; a kind and shape is a [`Group`]. Within a group every rule
//! has a condition on the same dimensions, so no set has to say "these rules do not care": a group is skipped at once when one of
//! its dimensions has no rule for the subject, and otherwise the smallest dimension leads. What an index cannot tell (globs within a
//! segment, further readings of a path, a dimension with very many sets) is asked of the candidates that are left, one by one, in the
//! model's own words ([`Rule::holds`]); so the index may be coarse, but never wrong.
//!
//! Nothing here allocates, locks or grows while deciding.

mod compile;
mod facts;
mod index;
mod paths;
mod search;
mod sets;
mod words;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use self::facts::{Facts, Refs, Tentative};
use self::sets::Sets;
use super::model::{Condition, Rule};
use super::subject::{Subject, embedded_v4};

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
    Method,
    Path,
    Address,
}

const DIMENSIONS: usize = 5;

impl Dimension {
    const ALL: [Dimension; DIMENSIONS] =
        [Dimension::Host, Dimension::Endpoint, Dimension::Method, Dimension::Path, Dimension::Address];

    fn bit(self) -> u8 {
        1 << self as u8
    }

    /// What the dimension is in the model's words.
    fn conditions(self) -> &'static [Condition] {
        match self {
            Dimension::Host => &[Condition::Host],
            Dimension::Endpoint => &[Condition::Scheme, Condition::Port],
            Dimension::Method => &[Condition::Method, Condition::Access],
            Dimension::Path => &[Condition::Path],
            Dimension::Address => &[Condition::Cidr],
        }
    }
}

/// Rules of one kind with conditions on the same dimensions, numbered `first..end` in the order of the file; `first` begins a block.
#[derive(Debug, Clone, Copy)]
struct Group {
    kind: Kind,
    shape: u8,
    first: u32,
    end: u32,
}

/// The table.
#[derive(Debug, Clone)]
pub(super) struct Table {
    groups: Vec<Group>,
    /// By number, the rule's place in the file; numbers between groups have none.
    rules: Vec<u32>,
    sets: Sets,
    hosts: index::Hosts,
    endpoints: index::Endpoints,
    methods: index::Methods,
    paths: paths::Paths,
    blocks: index::Blocks,
}

impl Table {
    /// Looks a subject up in every index, once for the whole decision.
    pub(super) fn resolve<'s>(&self, subject: &'s Subject<'s>) -> Facts<'s> {
        let len = |set| self.sets.len(set);
        let mut facts = Facts { subject, refs: [Refs::NONE; DIMENSIONS], tentative: Tentative(0), open: 0, confirm: 0 };
        let [host, endpoint, ..] = &mut facts.refs;
        self.hosts.resolve(subject.host, host, len);
        self.endpoints.resolve(subject.scheme, subject.port, endpoint, len);
        if let Some(first) = subject.paths.first() {
            self.read_path(&mut facts, first);
        }
        facts
    }

    /// The first rule in the file of this kind that matches.
    pub(super) fn first(&self, kind: Kind, facts: &mut Facts<'_>, model: &[Rule]) -> Option<u32> {
        let groups = self.groups_of(kind);
        if groups.is_empty() {
            return None;
        }
        let deny = matches!(kind, Kind::Deny | Kind::Watch);
        self.turn(deny, facts);
        let mut best = self.best(groups, facts, model, None);
        let readings = facts.subject.paths;
        if let [first, others @ ..] = readings
            && deny
            && !others.is_empty()
        {
            // A deny needs one reading of the path; an allow, which needs all, asks its candidates about the others.
            for reading in others {
                self.read_path(facts, reading);
                best = self.best(groups, facts, model, best);
            }
            self.read_path(facts, first);
        }
        best
    }

    /// Whether a rule of this kind could match a host by name, whatever else is asked. `alone` looks only at rules without other
    /// conditions.
    pub(super) fn may_match(&self, kind: Kind, host: super::Host<'_>, alone: bool, model: &[Rule]) -> bool {
        let mut refs = Refs::NONE;
        self.hosts.resolve(host, &mut refs, |set| self.sets.len(set));
        let groups = self.groups_of(kind).iter().filter(|group| !alone || group.shape & !Dimension::Host.bit() == 0);
        let mut groups = groups.copied();
        groups.any(|group| {
            if group.shape & Dimension::Host.bit() == 0 {
                return true;
            }
            let holds = |id: u32| {
                let rule = self.rules.get(id as usize).and_then(|rule| model.get(*rule as usize));
                rule.is_some_and(|rule| rule.when.names_host(host))
            };
            if refs.overflowed {
                return (group.first..group.end).any(holds);
            }
            refs.sets().iter().any(|set| self.sets.reaches(*set, group.first, group.end))
        })
    }

    /// Heap bytes, hash maps estimated.
    pub(super) fn bytes(&self) -> usize {
        self.groups.capacity() * size_of::<Group>()
            + self.rules.capacity() * 4
            + self.sets.bytes()
            + self.hosts.bytes()
            + self.endpoints.bytes()
            + self.methods.bytes()
            + self.paths.bytes()
            + self.blocks.bytes()
    }

    fn groups_of(&self, kind: Kind) -> &[Group] {
        let start = self.groups.partition_point(|group| group.kind < kind);
        let end = self.groups.partition_point(|group| group.kind <= kind);
        self.groups.get(start..end).unwrap_or_default()
    }

    /// Denies and allows read methods, addresses and paths differently.
    fn turn(&self, deny: bool, facts: &mut Facts<'_>) {
        let len = |set| self.sets.len(set);
        let subject = facts.subject;
        let [.., method, _, address] = &mut facts.refs;
        method.clear();
        address.clear();
        method
            .add(if deny { self.methods.caseless(subject.method) } else { self.methods.exactly(subject.method) }, len);
        (facts.open, facts.confirm) = (0, 0);
        match subject.dialled() {
            Some(dialled) => {
                self.blocks.resolve(dialled, address, len);
                if deny && let Some(inner) = embedded_v4(dialled) {
                    self.blocks.resolve(IpAddr::V4(inner), address, len);
                }
            }
            None if !deny => facts.open = Dimension::Address.bit(),
            None => {}
        }
        if !deny && subject.paths.len() > 1 {
            facts.confirm = Dimension::Path.bit();
        }
    }

    fn read_path(&self, facts: &mut Facts<'_>, reading: &str) {
        let [_, _, _, path, _] = &mut facts.refs;
        path.clear();
        facts.tentative = Tentative(0);
        self.paths.resolve(reading, path, &mut facts.tentative, |set| self.sets.len(set));
    }
}

#[inline]
fn dimensions(shape: u8) -> impl Iterator<Item = Dimension> {
    Dimension::ALL.into_iter().filter(move |dimension| shape & dimension.bit() != 0)
}
