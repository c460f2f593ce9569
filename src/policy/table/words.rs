//! Strings that are looked up, and the hash behind every lookup of the table.
//!
//! Keys come from the policy and only look-ups from the agent, so nobody outside can make keys collide, and a fast hash without a
//! secret is enough.

use std::hash::{BuildHasherDefault, Hasher};

use super::sets::{SetId, SetsBuilder, push};

/// A map from small integer keys.
pub(super) type IntMap<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<Fold>>;

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
const SEED: u64 = 0x243f_6a88_85a3_08d3;
/// The length of a slot without a string.
const VACANT: u32 = u32::MAX;

/// Strings and what stands for each: open addressing, at most half full. A slot holds what it stands for, and its string too if that has at
/// most `SHORT` bytes: a look-up touches one cache line, or one more for a long string. A string is known under a realm, so that one table
/// serves the edges of every node of a tree.
#[derive(Debug, Clone)]
pub(super) struct Words<V, const SHORT: usize = 44> {
    /// The strings that are longer.
    text: Vec<u8>,
    /// Power of two.
    slots: Vec<Slot<V, SHORT>>,
    count: u32,
    lengths: Lengths,
    longest: usize,
}

/// Which lengths occur, modulo 64: most strings that are not known are told by their length alone.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lengths(u64);

impl Lengths {
    pub(super) fn add(&mut self, len: usize) {
        self.0 |= 1 << (len % 64);
    }

    #[inline]
    pub(super) fn may_have(self, len: usize) -> bool {
        self.0 >> (len % 64) & 1 == 1
    }

    #[inline]
    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The lengths below `len` that may occur.
    #[inline]
    pub(super) fn below(self, len: usize) -> impl Iterator<Item = usize> {
        let mut left = self.0;
        let mut base = 0;
        std::iter::from_fn(move || {
            if left == 0 {
                (left, base) = (self.0, base + 64);
            }
            let next = base + left.trailing_zeros() as usize;
            left &= left.wrapping_sub(1);
            (next < len).then_some(next)
        })
    }
}

/// A string: with the default size of `SHORT` and four bytes that stand for it, a cache line.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Slot<V, const SHORT: usize> {
    /// Half of the hash; strings with another one are not compared.
    tag: u32,
    realm: u32,
    /// How long the string is, or [`VACANT`].
    len: u32,
    /// Where a string lies that is too long to be here.
    start: u32,
    value: V,
    short: [u8; SHORT],
}

const _: () = assert!(size_of::<Slot<u32, 44>>() == 64);

impl<V: Copy + Default, const SHORT: usize> Default for Words<V, SHORT> {
    fn default() -> Self {
        let (slots, lengths) = (vec![Slot::vacant(); 8], Lengths::default());
        Self { text: Vec::new(), slots, count: 0, lengths, longest: 0 }
    }
}

impl<V: Default, const SHORT: usize> Slot<V, SHORT> {
    fn vacant() -> Self {
        Slot { tag: 0, realm: 0, len: VACANT, start: 0, value: V::default(), short: [0; SHORT] }
    }
}

impl<V: Copy + Default, const SHORT: usize> Words<V, SHORT> {
    /// What stands for a string.
    #[inline]
    pub(super) fn find(&self, word: &[u8]) -> Option<&V> {
        let may_be = self.lengths.may_have(word.len()) && word.len() <= self.longest;
        if may_be { self.find_in(0, word) } else { None }
    }

    /// What stands for a string in a realm.
    #[inline(always)]
    pub(super) fn find_in(&self, realm: u32, word: &[u8]) -> Option<&V> {
        let (mut at, tag) = self.probe(hash_with(word, u64::from(realm)));
        loop {
            let slot = self.slots.get(at)?;
            if slot.len == VACANT {
                return None;
            }
            if slot.tag == tag && slot.realm == realm && same(self.word(slot), word) {
                return Some(&slot.value);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    /// How many strings there are, in all realms.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Which lengths strings have.
    #[inline]
    pub(super) fn lengths(&self) -> Lengths {
        self.lengths
    }

    /// What stands for a string: `value` from now on, if nothing did.
    pub(super) fn intern(&mut self, word: &[u8], value: V) -> V {
        self.intern_in(0, word, value)
    }

    /// See [`Words::intern`].
    pub(super) fn intern_in(&mut self, realm: u32, word: &[u8], value: V) -> V {
        if let Some(known) = self.find_in(realm, word) {
            return *known;
        }
        self.count += 1;
        self.lengths.add(word.len());
        self.longest = self.longest.max(word.len());
        if self.count as usize * 2 > self.slots.len() {
            let doubled = vec![Slot::vacant(); self.slots.len() * 2];
            for slot in std::mem::replace(&mut self.slots, doubled) {
                if slot.len != VACANT {
                    self.place(hash_with(self.word(&slot), u64::from(slot.realm)), slot);
                }
            }
        }
        let (mut short, start) = ([0; SHORT], u32_of(self.text.len()));
        match short.get_mut(..word.len()) {
            Some(short) => short.copy_from_slice(word),
            None => self.text.extend_from_slice(word),
        }
        let hash = hash_with(word, u64::from(realm));
        self.place(hash, Slot { tag: 0, realm, len: u32_of(word.len()), start, value, short });
        value
    }

    /// The same strings, and other values for them.
    pub(super) fn map<W: Default>(self, of: impl Fn(V) -> W) -> Words<W, SHORT> {
        let Words { text, slots, count, lengths, longest } = self;
        let map = |Slot { tag, realm, len, start, value, short }| {
            let value = if len == VACANT { W::default() } else { of(value) };
            Slot { tag, realm, len, start, value, short }
        };
        Words { text, slots: slots.into_iter().map(map).collect(), count, lengths, longest }
    }

    /// The length of every string.
    pub(super) fn lens(&self) -> Vec<usize> {
        self.slots.iter().filter(|slot| slot.len != VACANT).map(|slot| slot.len as usize).collect()
    }

    /// Heap bytes.
    pub(super) fn bytes(&self) -> usize {
        self.text.capacity() + self.slots.capacity() * size_of::<Slot<V, SHORT>>()
    }

    fn place(&mut self, hash: u64, slot: Slot<V, SHORT>) {
        let (mut at, tag) = self.probe(hash);
        while let Some(free) = self.slots.get_mut(at) {
            if free.len == VACANT {
                *free = Slot { tag, ..slot };
                return;
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    /// Where a hash begins to look, and its tag.
    #[inline]
    fn probe(&self, hash: u64) -> (usize, u32) {
        // The place comes from the low half, the tag is the high one.
        #[allow(clippy::cast_possible_truncation)]
        let (place, tag) = (hash as usize, (hash >> 32) as u32);
        (place & (self.slots.len() - 1), tag)
    }

    #[inline]
    fn word<'w>(&'w self, slot: &'w Slot<V, SHORT>) -> &'w [u8] {
        let len = slot.len as usize;
        slot.short.get(..len).unwrap_or_else(|| self.long(slot.start as usize, len))
    }

    #[cold]
    fn long(&self, start: usize, len: usize) -> &[u8] {
        self.text.get(start..start + len).unwrap_or_default()
    }
}

/// Rules by string, while they are collected; they come in ascending order.
#[derive(Debug, Default)]
pub(super) struct WordLists {
    /// By string, the place of its rules.
    words: Words<u32>,
    lists: Vec<Vec<u32>>,
}

impl WordLists {
    pub(super) fn add(&mut self, word: &[u8], rule: u32) {
        let place = self.words.intern(word, self.words.count()) as usize;
        if place == self.lists.len() {
            self.lists.push(Vec::new());
        }
        if let Some(list) = self.lists.get_mut(place) {
            push(list, rule);
        }
    }

    pub(super) fn lens(&self) -> Vec<usize> {
        self.words.lens()
    }

    pub(super) fn finish(self, sets: &mut SetsBuilder) -> Words<SetId> {
        let lists: Vec<SetId> = self.lists.iter().map(|list| sets.add(list)).collect();
        self.words.map(|place| lists.get(place as usize).copied().unwrap_or_default())
    }
}

/// Whether two strings are equal. Most are short, and for those a call costs more than the comparison.
#[inline]
fn same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let ends = |word: &[u8]| Some((*word.first_chunk::<8>()?, *word.last_chunk::<8>()?));
    let halves = |word: &[u8]| Some((*word.first_chunk::<4>()?, *word.last_chunk::<4>()?));
    let wide = |word: &[u8]| Some((*word.first_chunk::<16>()?, *word.last_chunk::<16>()?));
    match one.len() {
        0..4 => one.iter().eq(other),
        4..8 => halves(one) == halves(other),
        8..16 => ends(one) == ends(other),
        16..=32 => wide(one) == wide(other),
        _ => one == other,
    }
}

/// Multiplies to 128 bits and folds the halves: every input bit reaches every output bit.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    let [low, high] = [product & u128::from(u64::MAX), product >> 64];
    // Both halves fit by construction.
    #[allow(clippy::cast_possible_truncation)]
    let (low, high) = (low as u64, high as u64);
    low ^ high
}

/// A hash of some bytes and a number. The number comes last: in a walk along a path it is known last.
#[inline]
pub(in crate::policy) fn hash_with(bytes: &[u8], salt: u64) -> u64 {
    let mut state = SEED ^ bytes.len() as u64;
    let last = match (bytes.last_chunk::<8>(), bytes.first_chunk::<4>().zip(bytes.last_chunk::<4>())) {
        (Some(last), _) => {
            let (chunks, _) = bytes.as_chunks::<8>();
            // The last chunk, if it is whole, is the last eight bytes anyway.
            let whole = chunks.len() - usize::from(bytes.len().is_multiple_of(8));
            for chunk in chunks.iter().take(whole) {
                state = fold(state ^ u64::from_le_bytes(*chunk), MULTIPLIER);
            }
            u64::from_le_bytes(*last)
        }
        (None, Some((first, last))) => {
            u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last))
        }
        (None, None) => bytes.iter().fold(0, |tail, byte| tail << 8 | u64::from(*byte)),
    };
    fold(fold(state ^ last, MULTIPLIER) ^ salt, MULTIPLIER)
}

/// The hasher of [`IntMap`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Fold(u64);

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = fold(self.0 ^ hash_with(bytes, 0), MULTIPLIER);
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = fold(self.0 ^ value ^ SEED, MULTIPLIER);
    }

    fn write_u128(&mut self, value: u128) {
        #[allow(clippy::cast_possible_truncation)]
        let (low, high) = (value as u64, (value >> 64) as u64);
        self.write_u64(low);
        self.write_u64(high);
    }

    fn write_u16(&mut self, value: u16) {
        self.write_u64(u64::from(value));
    }
}

/// Narrows an index that the bounds of a policy keep far below 2³². A policy beyond them does not load.
pub(super) fn u32_of(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
