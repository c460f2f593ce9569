//! Sets of rules.
//!
//! Rules are numbered so that those with the same kind of conditions are neighbours (see [`super::compile`]). A small set is a sorted list; a
//! large one is a bitmap in blocks of 512 rules of which only those with a rule exist, with a summary of one bit for each block.
//! So a set costs what it holds, and intersecting sets looks only at blocks that all of them have.

use std::collections::HashMap;

use super::words::u32_of;
use crate::limits;

/// Rules in one block of a bitmap: one cache line.
pub(super) const BLOCK_RULES: u32 = 512;

/// One block of a bitmap.
pub(super) type Block = [u64; 8];

/// A set in [`Sets`]. A set of one rule, by far the most frequent, is the rule's number itself, marked by [`SetId::ONE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SetId(u32);

impl SetId {
    /// No set: the empty one.
    pub(super) const NONE: SetId = SetId(u32::MAX);

    /// Any value, for places that are not in use.
    pub(super) const FILLER: SetId = SetId(0);

    const ONE: u32 = 1 << 31;

    /// The only rule of a set of one.
    #[inline]
    pub(super) fn only(self) -> Option<u32> {
        (self.0 & SetId::ONE != 0 && !self.is_none()).then_some(self.0 & !SetId::ONE)
    }

    #[inline]
    pub(super) fn is_none(self) -> bool {
        self == SetId::NONE
    }
}

impl Default for SetId {
    fn default() -> Self {
        SetId::NONE
    }
}

/// All sets of a table.
#[derive(Debug, Clone, Default)]
pub(super) struct Sets {
    heads: Vec<Head>,
    lists: Vec<u32>,
    summaries: Vec<Summary>,
    blocks: Vec<Block>,
}

/// Where a set lies: in `lists` up to [`limits::POLICY_SET_LIST_MAX`] rules, else in `summaries` and `blocks`.
#[derive(Debug, Clone, Copy)]
struct Head {
    rules: u32,
    start: u32,
    first_block: u32,
}

/// One word of a summary: which of 64 blocks exist, and how many existed before.
#[derive(Debug, Clone, Copy)]
struct Summary {
    present: u64,
    before: u32,
}

/// Adds a rule to the rules under a key, which come in ascending order. A rule may name a key twice.
pub(super) fn push(list: &mut Vec<u32>, rule: u32) {
    if list.last() != Some(&rule) {
        list.push(rule);
    }
}

/// Collects sets, keeping equal ones once.
#[derive(Debug)]
pub(super) struct SetsBuilder {
    sets: Sets,
    known: HashMap<Box<[u32]>, SetId>,
    summary_words: usize,
}

impl SetsBuilder {
    /// For rules numbered below `rules`.
    pub(super) fn new(rules: u32) -> Self {
        let summary_words = rules.div_ceil(BLOCK_RULES * 64) as usize;
        Self { sets: Sets::default(), known: HashMap::new(), summary_words }
    }

    /// The set of these rules, which ascend.
    pub(super) fn add(&mut self, rules: &[u32]) -> SetId {
        match rules {
            [] => return SetId::NONE,
            [only] => return SetId(SetId::ONE | only),
            _ => {}
        }
        if let Some(known) = self.known.get(rules) {
            return *known;
        }
        let id = SetId(u32_of(self.sets.heads.len()));
        let small = rules.len() <= limits::POLICY_SET_LIST_MAX;
        let head = if small { self.list(rules) } else { self.bitmap(rules) };
        self.sets.heads.push(head);
        self.known.insert(rules.into(), id);
        id
    }

    pub(super) fn finish(mut self) -> Sets {
        self.sets.heads.shrink_to_fit();
        self.sets.lists.shrink_to_fit();
        self.sets.summaries.shrink_to_fit();
        self.sets.blocks.shrink_to_fit();
        self.sets
    }

    fn list(&mut self, rules: &[u32]) -> Head {
        let start = u32_of(self.sets.lists.len());
        self.sets.lists.extend_from_slice(rules);
        Head { rules: u32_of(rules.len()), start, first_block: 0 }
    }

    fn bitmap(&mut self, rules: &[u32]) -> Head {
        let start = u32_of(self.sets.summaries.len());
        let first_block = u32_of(self.sets.blocks.len());
        let mut present = vec![0u64; self.summary_words];
        let mut last = None;
        for rule in rules {
            let block = rule / BLOCK_RULES;
            if last != Some(block) {
                self.sets.blocks.push([0; 8]);
                last = Some(block);
            }
            if let Some(word) = present.get_mut(block as usize / 64) {
                *word |= 1 << (block % 64);
            }
            let within = rule % BLOCK_RULES;
            if let Some(word) = self.sets.blocks.last_mut().and_then(|block| block.get_mut(within as usize / 64)) {
                *word |= 1 << (within % 64);
            }
        }
        let mut before = 0;
        for word in present {
            self.sets.summaries.push(Summary { present: word, before });
            before += word.count_ones();
        }
        Head { rules: u32_of(rules.len()), start, first_block }
    }
}

impl Sets {
    /// How many rules the set holds.
    #[inline]
    pub(super) fn len(&self, set: SetId) -> u32 {
        if set.only().is_some() { 1 } else { self.head(set).map_or(0, |head| head.rules) }
    }

    /// The rules of a small set, ascending; nothing for a large one.
    #[inline]
    pub(super) fn small(&self, set: SetId) -> impl Iterator<Item = u32> {
        set.only().into_iter().chain(self.list(set).iter().copied())
    }

    /// The rules of a small set of several, ascending.
    #[inline]
    pub(super) fn list(&self, set: SetId) -> &[u32] {
        self.head(set).filter(|head| is_list(head)).map_or(&[], |head| self.listed(head))
    }

    #[inline]
    fn listed(&self, head: &Head) -> &[u32] {
        let start = head.start as usize;
        self.lists.get(start..start + head.rules as usize).unwrap_or_default()
    }

    /// Whether the set holds a rule.
    #[inline]
    pub(super) fn contains(&self, set: SetId, rule: u32) -> bool {
        if let Some(only) = set.only() {
            return only == rule;
        }
        let Some(head) = self.head(set) else { return false };
        if is_list(head) {
            let rules = self.listed(head);
            // Rules of a group are neighbours, so that most lists end in a row of numbers.
            let back = rules.last().map_or(0, |last| last.wrapping_sub(rule)) as usize;
            let place = rules.len().wrapping_sub(back + 1);
            return rules.get(place) == Some(&rule) || rules.binary_search(&rule).is_ok();
        }
        let within = rule % BLOCK_RULES;
        let word = self.find_block(head, rule / BLOCK_RULES).and_then(|block| block.get(within as usize / 64));
        word.is_some_and(|word| word >> (within % 64) & 1 == 1)
    }

    /// Which of the 64 blocks from `64 * word` on hold a rule of the set.
    #[inline]
    pub(super) fn summary(&self, set: SetId, word: u32) -> u64 {
        if let Some(head) = self.bitmap_of(set) {
            return self.summaries.get((head.start + word) as usize).map_or(0, |summary| summary.present);
        }
        let blocks = self.small(set).map(|rule| rule / BLOCK_RULES);
        blocks.filter(|block| block / 64 == word).fold(0, |present, block| present | 1 << (block % 64))
    }

    /// Adds the set's rules of one block to `to`.
    #[inline]
    pub(super) fn unite_block(&self, set: SetId, block: u32, to: &mut Block) {
        let Some(head) = self.bitmap_of(set) else {
            for rule in self.small(set).filter(|rule| rule / BLOCK_RULES == block) {
                let within = rule % BLOCK_RULES;
                if let Some(word) = to.get_mut(within as usize / 64) {
                    *word |= 1 << (within % 64);
                }
            }
            return;
        };
        if let Some(words) = self.find_block(head, block) {
            for (to, word) in to.iter_mut().zip(words) {
                *to |= word;
            }
        }
    }

    /// A block of a large set, where it lies.
    #[inline]
    pub(super) fn block(&self, set: SetId, block: u32) -> Option<&Block> {
        self.bitmap_of(set).and_then(|head| self.find_block(head, block))
    }

    /// Whether the set holds a rule numbered in `first..end`, both at block borders or past the last rule.
    pub(super) fn reaches(&self, set: SetId, first: u32, end: u32) -> bool {
        let Some(head) = self.bitmap_of(set) else { return self.small(set).any(|rule| (first..end).contains(&rule)) };
        (first / BLOCK_RULES..end.div_ceil(BLOCK_RULES)).any(|block| self.find_block(head, block).is_some())
    }

    /// Heap bytes.
    pub(super) fn bytes(&self) -> usize {
        self.heads.capacity() * size_of::<Head>()
            + self.lists.capacity() * 4
            + self.summaries.capacity() * size_of::<Summary>()
            + self.blocks.capacity() * size_of::<Block>()
    }

    #[inline]
    fn bitmap_of(&self, set: SetId) -> Option<&Head> {
        self.head(set).filter(|head| !is_list(head))
    }

    #[inline]
    fn head(&self, set: SetId) -> Option<&Head> {
        self.heads.get(set.0 as usize)
    }

    #[inline]
    fn find_block(&self, head: &Head, block: u32) -> Option<&Block> {
        let summary = self.summaries.get((head.start + block / 64) as usize)?;
        let bit = 1u64 << (block % 64);
        if summary.present & bit == 0 {
            return None;
        }
        let rank = summary.before + (summary.present & (bit - 1)).count_ones();
        self.blocks.get((head.first_block + rank) as usize)
    }
}

fn is_list(head: &Head) -> bool {
    head.rules as usize <= limits::POLICY_SET_LIST_MAX
}

#[cfg(test)]
mod tests;
