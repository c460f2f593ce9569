//! Many patterns over one field.

use std::borrow::Cow;
use std::collections::BTreeMap;

use aho_corasick::AhoCorasick;

use super::super::course::Flaw;
use super::{Pattern, literals, words};

/// Patterns over one field, and the texts by which they are sifted.
#[derive(Debug)]
pub(in super::super) struct Set {
    patterns: Vec<Pattern>,
    /// Finds every text that some pattern cannot match without; nothing where there is none.
    sieve: Option<AhoCorasick>,
    /// By the number of a text, the patterns and which of their sets it is in.
    stands_for: Vec<Box<[(u32, u8)]>>,
    /// By pattern, one bit for each of its sets.
    sets: Box<[u8]>,
}

/// A text that a set has been sifted for.
#[derive(Debug)]
pub(in super::super) struct Prepared<'t> {
    text: Cow<'t, str>,
    /// Where it differs, the text with Python's word characters put in place.
    placed: Option<String>,
    /// By pattern, the bits of the sets of which no text was found. A pattern that has none left may match.
    lacks: Box<[u8]>,
}

impl Set {
    /// A set of patterns, which keep their numbers. The error says why their texts cannot be joined.
    pub(in super::super) fn new(patterns: Vec<Pattern>) -> Result<Set, String> {
        let mut sets = Vec::with_capacity(patterns.len());
        let mut texts = BTreeMap::<&str, Vec<(u32, u8)>>::new();
        for (pattern, number) in patterns.iter().zip(0_u32..) {
            let mut bits = 0;
            for (texts_of_set, bit) in pattern.literals.iter().zip((0..).map(|at| 1_u8 << at)) {
                bits |= bit;
                texts_of_set.iter().for_each(|text| texts.entry(text).or_default().push((number, bit)));
            }
            sets.push(bits);
        }
        let sieve = match texts.is_empty() {
            true => None,
            false => Some(AhoCorasick::new(texts.keys()).map_err(|error| error.to_string())?),
        };
        let stands_for = texts.into_values().map(Vec::into_boxed_slice).collect();
        Ok(Set { patterns, sieve, stands_for, sets: sets.into() })
    }

    /// Sifts the set for a text, in one walk over it.
    pub(in super::super) fn prepare<'t>(&self, text: Cow<'t, str>) -> Prepared<'t> {
        let mut lacks = self.sets.clone();
        if let Some(sieve) = &self.sieve {
            let folded: String = text.chars().map(literals::folded).collect();
            for found in sieve.find_overlapping_iter(&folded) {
                let numbers = self.stands_for.get(found.pattern().as_usize());
                for (number, bit) in numbers.into_iter().flatten() {
                    if let Some(lacks) = lacks.get_mut(*number as usize) {
                        *lacks &= !bit;
                    }
                }
            }
        }
        let placed = match words::placed(&text) {
            Cow::Borrowed(_) => None,
            Cow::Owned(placed) => Some(placed),
        };
        Prepared { text, placed, lacks }
    }

    /// Whether one of the patterns matches somewhere in the text.
    pub(in super::super) fn is_match(&self, number: u32, prepared: &Prepared<'_>) -> Result<bool, Flaw> {
        if prepared.lacks.get(number as usize).is_none_or(|lacks| *lacks != 0) {
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
            + self.stands_for.iter().map(|numbers| numbers.len() * 8 + 16).sum::<usize>()
    }
}

const _: () = assert!(literals::SETS_MAX <= 8);
