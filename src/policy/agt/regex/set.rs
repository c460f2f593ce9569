//! Many patterns over one field.

use std::borrow::Cow;

use aho_corasick::AhoCorasick;

use super::super::course::Flaw;
use super::{Pattern, literals, words};

/// Patterns over one field, and the texts by which they are sifted.
#[derive(Debug)]
pub(in super::super) struct Set {
    patterns: Vec<Pattern>,
    /// Finds every text that some pattern cannot match without; nothing where there is none.
    sieve: Option<AhoCorasick>,
    /// By the number of a text, the patterns that it stands for.
    stands_for: Vec<Box<[u32]>>,
    /// Patterns that are always asked, as bits.
    always: Box<[u64]>,
}

/// A text that a set has been sifted for.
#[derive(Debug)]
pub(in super::super) struct Prepared<'t> {
    text: Cow<'t, str>,
    /// Where it differs, the text with Python's word characters put in place.
    placed: Option<String>,
    /// The patterns that may match, as bits.
    may: Box<[u64]>,
}

impl Set {
    /// A set of patterns, which keep their numbers. The error says why their texts cannot be joined.
    pub(in super::super) fn new(patterns: Vec<Pattern>) -> Result<Set, String> {
        let mut always = vec![0_u64; patterns.len().div_ceil(64)];
        let mut texts = std::collections::BTreeMap::<&str, Vec<u32>>::new();
        for (pattern, number) in patterns.iter().zip(0_u32..) {
            match &pattern.literals {
                Some(literals) => literals.iter().for_each(|text| texts.entry(text).or_default().push(number)),
                None => mark(&mut always, number),
            }
        }
        let sieve = match texts.is_empty() {
            true => None,
            false => Some(AhoCorasick::new(texts.keys()).map_err(|error| error.to_string())?),
        };
        let stands_for = texts.into_values().map(Vec::into_boxed_slice).collect();
        Ok(Set { patterns, sieve, stands_for, always: always.into() })
    }

    /// Sifts the set for a text, in one walk over it.
    pub(in super::super) fn prepare<'t>(&self, text: Cow<'t, str>) -> Prepared<'t> {
        let mut may = self.always.clone();
        if let Some(sieve) = &self.sieve {
            let folded: String = text.chars().map(literals::folded).collect();
            for found in sieve.find_overlapping_iter(&folded) {
                let numbers = self.stands_for.get(found.pattern().as_usize());
                numbers.into_iter().flatten().for_each(|number| mark(&mut may, *number));
            }
        }
        let placed = match words::placed(&text) {
            Cow::Borrowed(_) => None,
            Cow::Owned(placed) => Some(placed),
        };
        Prepared { text, placed, may }
    }

    /// Whether one of the patterns matches somewhere in the text.
    pub(in super::super) fn is_match(&self, number: u32, prepared: &Prepared<'_>) -> Result<bool, Flaw> {
        let (word, bit) = (number as usize / 64, number % 64);
        if prepared.may.get(word).is_none_or(|bits| bits >> bit & 1 == 0) {
            return Ok(false);
        }
        let Some(pattern) = self.patterns.get(number as usize) else { return Err(Flaw) };
        match &prepared.placed {
            Some(placed) if pattern.placed => pattern.runs(placed),
            _ => pattern.runs(&prepared.text),
        }
    }

    pub(in super::super) fn bytes(&self) -> usize {
        self.patterns.iter().map(Pattern::bytes).sum::<usize>()
            + self.sieve.as_ref().map_or(0, AhoCorasick::memory_usage)
            + self.stands_for.iter().map(|numbers| numbers.len() * 4 + 16).sum::<usize>()
    }
}

fn mark(bits: &mut [u64], number: u32) {
    if let Some(bits) = bits.get_mut(number as usize / 64) {
        *bits |= 1 << (number % 64);
    }
}
