//! The search for the first match: which rules of a group are in the sets of every dimension.

use super::facts::Facts;
use super::sets::{BLOCK_RULES, Block};
use super::{
    DIMENSIONS, Dimension, Group, INDEXED, Kind, MESSAGE, REST, REST_CONDITIONS, Shape, TUNNEL, Table, dimensions,
};
use crate::limits;
use crate::policy::model::Rule;
use crate::policy::subject::Subject;

impl Table {
    /// The earliest match in the file over the groups of one kind, if it comes before `best`.
    #[inline]
    pub(super) fn best(&self, kind: Kind, facts: &mut Facts<'_>, model: &[Rule], best: Option<u32>) -> Option<u32> {
        let mut best = best.unwrap_or(u32::MAX);
        let (need, forbid) = marks(facts.subject, matches!(kind, Kind::Deny | Kind::Watch));
        for group in self.groups_of(kind) {
            let asked = group.shape & !facts.open;
            if asked & facts.empty != 0 || group.shape & need != need || group.shape & forbid != 0 {
                continue;
            }
            let Some(first) = self.rules.get(group.first as usize) else { continue };
            if *first >= best {
                continue;
            }
            if asked & Dimension::Content.bit() != 0 && !facts.read {
                self.read_content(facts);
                if asked & facts.empty != 0 {
                    continue;
                }
            }
            if let Some(rule) = self.search(group, facts, model).and_then(|id| self.rules.get(id as usize)) {
                best = best.min(*rule);
            }
        }
        (best != u32::MAX).then_some(best)
    }

    /// The number of the first match in a group, none of whose dimensions is empty.
    #[inline]
    fn search(&self, group: &Group, facts: &Facts<'_>, model: &[Rule]) -> Option<u32> {
        let shape = group.shape & !facts.open;
        let indexed = shape & INDEXED & !facts.overflowed;
        let confirm = facts.confirm & (shape | REST) | shape & (INDEXED & facts.overflowed | REST);
        let mut lead: Option<(Dimension, u32)> = None;
        for dimension in dimensions(indexed) {
            let rules = facts.refs(dimension).rules;
            if lead.is_none_or(|(_, fewest)| rules < fewest) {
                lead = Some((dimension, rules));
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

/// The marks that a rule needs to speak of a subject, and those it must not have.
#[inline]
fn marks(subject: &Subject<'_>, deny: bool) -> (Shape, Shape) {
    match &subject.mcp {
        _ if subject.tunnel => (TUNNEL, MESSAGE),
        None => (0, MESSAGE),
        Some(_) if deny => (0, 0),
        Some(mcp) if mcp.declared => (MESSAGE, 0),
        Some(_) => (0, MESSAGE),
    }
}

/// One group under one subject.
struct Query<'q> {
    table: &'q Table,
    facts: &'q Facts<'q>,
    model: &'q [Rule],
    group: &'q Group,
    /// Dimensions that the index answers.
    indexed: Shape,
    /// Dimensions that each candidate is asked about.
    confirm: Shape,
}

impl Query<'_> {
    /// Goes through the few rules of the leading dimension.
    #[inline]
    fn by_list(&self, lead: Dimension) -> Option<u32> {
        let mut best = self.group.end;
        for set in self.facts.refs(lead).sets() {
            let ids = self.table.sets.small(*set);
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
        let mut order = Dimension::ALL;
        // Small sets first: most blocks are empty after two of them.
        order.sort_unstable_by_key(|dimension| self.facts.refs(*dimension).rules);
        let blocks = self.group.first / BLOCK_RULES..self.group.end.div_ceil(BLOCK_RULES);
        for word in blocks.start / 64..blocks.end.div_ceil(64) {
            let mut present = within(word, &blocks);
            for dimension in self.indexed_of(&order) {
                let united =
                    self.facts.refs(dimension).sets().iter().fold(0, |all, set| all | sets.summary(*set, word));
                present &= united;
            }
            while present != 0 {
                let block = word * 64 + present.trailing_zeros();
                present &= present - 1;
                if let Some(id) = self.in_block(block, &order) {
                    return Some(id);
                }
            }
        }
        None
    }

    #[inline]
    fn indexed_of(&self, order: &[Dimension; DIMENSIONS]) -> impl Iterator<Item = Dimension> {
        order.iter().copied().filter(|dimension| self.indexed & dimension.bit() != 0)
    }

    #[inline]
    fn in_block(&self, block: u32, order: &[Dimension; DIMENSIONS]) -> Option<u32> {
        let mut left: Block = [u64::MAX; 8];
        for dimension in self.indexed_of(order) {
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
    fn ask(&self, id: u32, left: Shape) -> bool {
        let rule = self.table.rules.get(id as usize).and_then(|rule| self.model.get(*rule as usize));
        let Some(rule) = rule else { return false };
        let rest = if left & REST != 0 { &REST_CONDITIONS[..] } else { &[] };
        let left = if rest.is_empty() { left } else { left & !(Dimension::Named.bit() | Dimension::Content.bit()) };
        let mut conditions = dimensions(left).flat_map(Dimension::conditions).chain(rest);
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
