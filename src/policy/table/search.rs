//! The search for the first match: which rules of a group are in the sets of every dimension.

use super::facts::{Facts, Reads};
use super::groups::Group;
use super::sets::{BLOCK_RULES, Block};
use super::words::u32_of;
use super::{DIMENSIONS, Dimension, INDEXED, Kind, REST, REST_CONDITIONS, Shape, Table, dimensions};
use crate::limits;
use crate::policy::model::Rule;

impl Table {
    /// The earliest match in the file over the groups of one kind, if it comes before `best`.
    #[inline]
    pub(super) fn best(&self, kind: Kind, facts: &mut Facts<'_>, model: &[Rule], best: Option<u32>) -> Option<u32> {
        let mut best = best.unwrap_or(u32::MAX);
        let deny = matches!(kind, Kind::Deny | Kind::Watch);
        let [allow, denial] = &facts.reads;
        let Reads { classes, need, forbid } = *if deny { denial } else { allow };
        for group in &self.groups_of(kind).groups {
            let asked = group.shape & !facts.open;
            let marked = group.shape & (need | forbid) == need;
            if group.class & classes == 0 || asked & facts.empty != 0 || !marked || group.place >= best {
                continue;
            }
            if asked & Dimension::Content.bit() != 0 && !facts.read {
                self.read_content(facts);
                if asked & facts.empty != 0 {
                    continue;
                }
            }
            let (bit, id) = facts.sole;
            if asked & bit != 0 && !(group.first..group.end).contains(&id) {
                continue;
            }
            if let Some(rule) = self.search(group, facts, model).and_then(|id| self.rules.get(id as usize)) {
                best = best.min(*rule);
            }
        }
        (best != u32::MAX).then_some(best)
    }

    /// The number of the first match in a group, none of whose dimensions is empty, and which has the sole rule of its dimension.
    #[inline]
    fn search(&self, group: &Group, facts: &Facts<'_>, model: &[Rule]) -> Option<u32> {
        let shape = group.shape & !facts.open;
        let indexed = shape & INDEXED & !facts.overflowed;
        let confirm = facts.confirm & (shape | REST) | shape & (INDEXED & facts.overflowed | REST);
        let query = Query { table: self, facts, model, group, indexed, confirm };
        match facts.sole {
            (sole, id) if indexed & sole != 0 => query.matches(id, sole.trailing_zeros()).then_some(id),
            _ => query.first(),
        }
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
    /// Goes through the smallest dimension.
    #[inline(never)]
    fn first(&self) -> Option<u32> {
        if self.indexed == 0 {
            return if self.confirm == 0 {
                Some(self.group.first)
            } else {
                (self.group.first..self.group.end).find(|id| self.confirms(*id))
            };
        }
        let (mut lead, mut fewest) = (0, u32::MAX);
        for dimension in dimensions(self.indexed) {
            let rules = self.facts.at(dimension).rules;
            if rules < fewest {
                (lead, fewest) = (dimension, rules);
            }
        }
        if fewest as usize <= limits::POLICY_SET_LIST_MAX { self.by_list(lead) } else { self.by_block() }
    }

    /// Goes through the few rules of the leading dimension.
    #[inline]
    fn by_list(&self, lead: u32) -> Option<u32> {
        let first = self.group.first;
        let mut best = self.group.end;
        for set in self.facts.at(lead).sets() {
            if let Some(id) = set.only() {
                if id >= first && id < best && self.matches(id, lead) {
                    best = id;
                }
                continue;
            }
            for id in self.table.sets.list(*set) {
                if *id >= best {
                    break;
                }
                if *id >= first && self.matches(*id, lead) {
                    best = *id;
                    break;
                }
            }
        }
        (best < self.group.end).then_some(best)
    }

    /// Goes through the blocks that every dimension has.
    fn by_block(&self) -> Option<u32> {
        let sets = &self.table.sets;
        let mut order: [u32; DIMENSIONS] = std::array::from_fn(u32_of);
        // Small sets first: most blocks are empty after two of them.
        order.sort_unstable_by_key(|dimension| self.facts.at(*dimension).rules);
        let blocks = self.group.first / BLOCK_RULES..self.group.end.div_ceil(BLOCK_RULES);
        for word in blocks.start / 64..blocks.end.div_ceil(64) {
            let mut present = within(word, &blocks);
            for dimension in self.indexed_of(&order) {
                let united = self.facts.at(dimension).sets().iter().fold(0, |all, set| all | sets.summary(*set, word));
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
    fn indexed_of(&self, order: &[u32; DIMENSIONS]) -> impl Iterator<Item = u32> {
        order.iter().copied().filter(|dimension| self.indexed >> dimension & 1 == 1)
    }

    #[inline]
    fn in_block(&self, block: u32, order: &[u32; DIMENSIONS]) -> Option<u32> {
        let sets = &self.table.sets;
        let mut left: Block = [u64::MAX; 8];
        for dimension in self.indexed_of(order) {
            let mut united: Block = [0; 8];
            // Most dimensions have one large set, which is read where it lies.
            let words = match self.facts.at(dimension).sets() {
                [only] if let Some(words) = sets.block(*only, block) => words,
                several => {
                    several.iter().for_each(|set| sets.unite_block(*set, block, &mut united));
                    &united
                }
            };
            // Whole vectors at a time: a block is a cache line.
            left = std::array::from_fn(|at| left[at] & words[at]);
            if left.iter().fold(0, |any, word| any | word) == 0 {
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

    #[inline]
    fn matches(&self, id: u32, lead: u32) -> bool {
        self.contains(id, lead) && self.confirms(id)
    }

    /// Whether the other dimensions' sets hold the rule too.
    #[inline]
    fn contains(&self, id: u32, lead: u32) -> bool {
        let sets = &self.table.sets;
        dimensions(self.indexed & !(1 << lead)).all(|dimension| match self.facts.at(dimension).sets() {
            [only] => sets.contains(*only, id),
            several => several.iter().any(|set| sets.contains(*set, id)),
        })
    }

    /// Asks a candidate what the index left open.
    #[inline(always)]
    fn confirms(&self, id: u32) -> bool {
        self.confirm == 0 && self.facts.tentative.0 == 0 || self.confirms_open(id)
    }

    #[inline(never)]
    fn confirms_open(&self, id: u32) -> bool {
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
        let asked = Dimension::ALL.into_iter().filter(|dimension| left & dimension.bit() != 0);
        let mut conditions = asked.flat_map(Dimension::conditions).chain(rest);
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
