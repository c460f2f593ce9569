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
mod index;
mod paths;
mod sets;
mod words;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use self::sets::{BLOCK_RULES, Block, SetId, Sets};
use super::model::{Condition, Rule};
use super::subject::{Subject, embedded_v4};
use crate::limits;

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

/// The sets of rules that one dimension of one subject unites.
#[derive(Debug, Clone, Copy)]
struct Refs {
    sets: [SetId; limits::POLICY_SETS_MAX],
    count: u8,
    /// Rules in all sets together.
    rules: u32,
    /// There were more sets than fit, so the dimension is asked of every candidate.
    overflowed: bool,
}

/// Which sets of the path dimension hold candidates only, by their place in [`Refs`].
#[derive(Debug, Clone, Copy, Default)]
struct Tentative(u32);

const _: () = assert!(limits::POLICY_SETS_MAX < 32);

/// One subject, resolved.
pub(super) struct Facts<'s> {
    subject: &'s Subject<'s>,
    refs: [Refs; DIMENSIONS],
    tentative: Tentative,
    /// Dimensions that hold whatever the rule says: the address of an allow while it is unknown.
    open: u8,
    /// Dimensions that every candidate is asked about: the path of an allow when there are several readings.
    confirm: u8,
}

impl Refs {
    const NONE: Refs = Refs { sets: [SetId::NONE; limits::POLICY_SETS_MAX], count: 0, rules: 0, overflowed: false };

    #[inline]
    fn add(&mut self, set: SetId, len: impl Fn(SetId) -> u32) {
        if set.is_none() {
            return;
        }
        match self.sets.get_mut(usize::from(self.count)) {
            Some(slot) => {
                *slot = set;
                self.count += 1;
                self.rules += len(set);
            }
            None => self.overflow(),
        }
    }

    #[inline]
    fn clear(&mut self) {
        (self.count, self.rules, self.overflowed) = (0, 0, false);
    }

    fn overflow(&mut self) {
        self.overflowed = true;
    }

    fn count(&self) -> u8 {
        self.count
    }

    #[inline]
    fn sets(&self) -> &[SetId] {
        self.sets.get(..usize::from(self.count)).unwrap_or_default()
    }
}

impl Tentative {
    fn mark(&mut self, place: u8) {
        self.0 |= 1u32.checked_shl(u32::from(place)).unwrap_or(0);
    }

    fn has(self, place: usize) -> bool {
        self.0 >> place & 1 == 1
    }
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

    /// The earliest match in the file over the groups of one kind, if it comes before `best`.
    fn best(&self, groups: &[Group], facts: &Facts<'_>, model: &[Rule], best: Option<u32>) -> Option<u32> {
        let mut best = best.unwrap_or(u32::MAX);
        for group in groups {
            let Some(first) = self.rules.get(group.first as usize) else { continue };
            if *first < best
                && let Some(rule) = self.search(group, facts, model).and_then(|id| self.rules.get(id as usize))
            {
                best = best.min(*rule);
            }
        }
        (best != u32::MAX).then_some(best)
    }

    /// The number of the first match in a group.
    #[inline]
    fn search(&self, group: &Group, facts: &Facts<'_>, model: &[Rule]) -> Option<u32> {
        let shape = group.shape & !facts.open;
        let mut lead: Option<(Dimension, u32)> = None;
        let (mut indexed, mut confirm) = (0, facts.confirm & shape);
        for dimension in dimensions(shape) {
            let refs = facts.refs(dimension);
            if refs.overflowed {
                confirm |= dimension.bit();
                continue;
            }
            if refs.count == 0 {
                return None;
            }
            indexed |= dimension.bit();
            if lead.is_none_or(|(_, fewest)| refs.rules < fewest) {
                lead = Some((dimension, refs.rules));
            }
        }
        let query = Query { table: self, facts, model, group, indexed, confirm };
        match lead {
            None if confirm == 0 => Some(group.first),
            None => (group.first..group.end).find(|id| query.confirms(*id)),
            Some((lead, rules)) if rules as usize <= limits::POLICY_SET_LIST_MAX => query.by_list(lead),
            Some(_) => query.by_block(),
        }
    }
}

impl Facts<'_> {
    #[inline]
    fn refs(&self, dimension: Dimension) -> &Refs {
        let [host, endpoint, method, path, address] = &self.refs;
        match dimension {
            Dimension::Host => host,
            Dimension::Endpoint => endpoint,
            Dimension::Method => method,
            Dimension::Path => path,
            Dimension::Address => address,
        }
    }
}

#[inline]
fn dimensions(shape: u8) -> impl Iterator<Item = Dimension> {
    Dimension::ALL.into_iter().filter(move |dimension| shape & dimension.bit() != 0)
}

/// One group under one subject.
struct Query<'q> {
    table: &'q Table,
    facts: &'q Facts<'q>,
    model: &'q [Rule],
    group: &'q Group,
    /// Dimensions that the index answers.
    indexed: u8,
    /// Dimensions that each candidate is asked about.
    confirm: u8,
}

impl Query<'_> {
    /// Goes through the few rules of the leading dimension.
    #[inline]
    fn by_list(&self, lead: Dimension) -> Option<u32> {
        let mut best = self.group.end;
        for set in self.facts.refs(lead).sets() {
            let ids = self.table.sets.list(*set).iter().copied();
            for id in ids.skip_while(|id| *id < self.group.first).take_while(|id| *id < best) {
                if self.contains(id, lead) && self.confirms(id) {
                    best = id;
                    break;
                }
            }
        }
        (best < self.group.end).then_some(best)
    }

    /// Goes through the blocks that every dimension has.
    fn by_block(&self) -> Option<u32> {
        let sets = &self.table.sets;
        let blocks = self.group.first / BLOCK_RULES..self.group.end.div_ceil(BLOCK_RULES);
        for word in blocks.start / 64..blocks.end.div_ceil(64) {
            let mut present = within(word, &blocks);
            for dimension in dimensions(self.indexed) {
                let united =
                    self.facts.refs(dimension).sets().iter().fold(0, |all, set| all | sets.summary(*set, word));
                present &= united;
            }
            while present != 0 {
                let block = word * 64 + present.trailing_zeros();
                present &= present - 1;
                if let Some(id) = self.in_block(block) {
                    return Some(id);
                }
            }
        }
        None
    }

    #[inline]
    fn in_block(&self, block: u32) -> Option<u32> {
        let mut left: Block = [u64::MAX; 8];
        for dimension in dimensions(self.indexed) {
            let mut united: Block = [0; 8];
            for set in self.facts.refs(dimension).sets() {
                self.table.sets.unite_block(*set, block, &mut united);
            }
            let mut any = 0;
            for (left, united) in left.iter_mut().zip(united) {
                *left &= united;
                any |= *left;
            }
            if any == 0 {
                return None;
            }
        }
        for (word, mut bits) in (0..).zip(left) {
            while bits != 0 {
                let id = block * BLOCK_RULES + word * 64 + bits.trailing_zeros();
                bits &= bits - 1;
                if self.confirms(id) {
                    return Some(id);
                }
            }
        }
        None
    }

    /// Whether the other dimensions' sets hold the rule too.
    #[inline]
    fn contains(&self, id: u32, lead: Dimension) -> bool {
        let holds = |dimension| self.facts.refs(dimension).sets().iter().any(|set| self.table.sets.contains(*set, id));
        dimensions(self.indexed & !lead.bit()).all(holds)
    }

    /// Asks a candidate what the index left open.
    #[inline]
    fn confirms(&self, id: u32) -> bool {
        let mut ask = self.confirm;
        if self.indexed & Dimension::Path.bit() != 0 && self.facts.tentative.0 != 0 && !self.surely(id) {
            ask |= Dimension::Path.bit();
        }
        ask == 0 || self.ask(id, ask)
    }

    /// Whether a set of the path dimension that holds no mere candidates holds the rule.
    fn surely(&self, id: u32) -> bool {
        let sets = self.facts.refs(Dimension::Path).sets().iter().enumerate();
        sets.filter(|(place, _)| !self.facts.tentative.has(*place)).any(|(_, set)| self.table.sets.contains(*set, id))
    }

    #[cold]
    fn ask(&self, id: u32, dimensions_left: u8) -> bool {
        let rule = self.table.rules.get(id as usize).and_then(|rule| self.model.get(*rule as usize));
        let Some(rule) = rule else { return false };
        let mut conditions = dimensions(dimensions_left).flat_map(Dimension::conditions);
        conditions.all(|condition| rule.holds(*condition, self.facts.subject))
    }
}

/// The bits of a summary word that belong to a range of blocks.
#[inline]
fn within(word: u32, blocks: &std::ops::Range<u32>) -> u64 {
    let first = word * 64;
    let low = u64::MAX.checked_shl(blocks.start.saturating_sub(first)).unwrap_or(0);
    let high = u64::MAX.checked_shl(blocks.end.saturating_sub(first)).unwrap_or(0);
    low & !high
}
