//! Interned strings and the hash behind every lookup of the table.
//!
//! Keys come from the policy and only look-ups from the agent, so nobody outside can make keys collide, and a fast hash without a
//! secret is enough.

use std::hash::{BuildHasherDefault, Hasher};

/// A number for an interned string, dense from 0.
pub(super) type Symbol = u32;

/// A map from small integer keys.
pub(super) type IntMap<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<Fold>>;

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
const SEED: u64 = 0x243f_6a88_85a3_08d3;
const EMPTY: u32 = u32::MAX;

/// Strings by number and numbers by string: open addressing over one block of text, at most half full.
#[derive(Debug, Clone)]
pub(super) struct Words {
    text: Vec<u8>,
    /// Where each string ends in `text`; it begins where the one before ends.
    ends: Vec<u32>,
    /// Power of two; symbols or [`EMPTY`].
    slots: Vec<Symbol>,
}

impl Default for Words {
    fn default() -> Self {
        Self { text: Vec::new(), ends: Vec::new(), slots: vec![EMPTY; 8] }
    }
}

impl Words {
    /// The symbol of a string that was interned.
    #[inline]
    pub(super) fn find(&self, word: &[u8]) -> Option<Symbol> {
        let mut at = self.slot(word);
        loop {
            let symbol = *self.slots.get(at)?;
            if symbol == EMPTY {
                return None;
            }
            if self.word(symbol) == word {
                return Some(symbol);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    /// The symbol of a string, which is interned if it was not.
    pub(super) fn intern(&mut self, word: &[u8]) -> Symbol {
        if let Some(symbol) = self.find(word) {
            return symbol;
        }
        let symbol = u32_of(self.ends.len());
        self.text.extend_from_slice(word);
        self.ends.push(u32_of(self.text.len()));
        if self.ends.len() * 2 > self.slots.len() {
            self.slots = vec![EMPTY; self.slots.len() * 2];
            for known in 0..symbol {
                self.place(known);
            }
        }
        self.place(symbol);
        symbol
    }

    /// Heap bytes.
    pub(super) fn bytes(&self) -> usize {
        self.text.capacity() + 4 * (self.ends.capacity() + self.slots.capacity())
    }

    fn place(&mut self, symbol: Symbol) {
        let mut at = self.slot(self.word(symbol));
        while let Some(slot) = self.slots.get_mut(at) {
            if *slot == EMPTY {
                *slot = symbol;
                return;
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    fn slot(&self, word: &[u8]) -> usize {
        // The mask keeps only bits that a usize has, also where it is narrower.
        #[allow(clippy::cast_possible_truncation)]
        let hash = hash(word) as usize;
        hash & (self.slots.len() - 1)
    }

    fn word(&self, symbol: Symbol) -> &[u8] {
        let index = symbol as usize;
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        let end = self.ends.get(index).copied().unwrap_or(start);
        self.text.get(start as usize..end as usize).unwrap_or_default()
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

#[inline]
fn hash(bytes: &[u8]) -> u64 {
    let mut state = SEED ^ bytes.len() as u64;
    let (chunks, rest) = bytes.as_chunks::<8>();
    for chunk in chunks {
        state = fold(state ^ u64::from_le_bytes(*chunk), MULTIPLIER);
    }
    let tail = rest.iter().fold(0, |tail, byte| tail << 8 | u64::from(*byte));
    fold(state ^ tail, MULTIPLIER)
}

/// The hasher of [`IntMap`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Fold(u64);

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = fold(self.0 ^ hash(bytes), MULTIPLIER);
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
