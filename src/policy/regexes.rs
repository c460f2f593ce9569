//! Regular expressions in linear time and without memory per match: many patterns share one deterministic automaton.
//!
//! Patterns over the same field are built into automata of bounded size. A walk over a text tells all patterns of an automaton that
//! match somewhere in it; a single pattern is asked by the same walk.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use regex_automata::dfa::{Automaton as _, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::{start, syntax};
use regex_automata::{Anchored, MatchKind, PatternID};

use super::matcher::{Matcher, Test};
use crate::limits;

/// A pattern, found anywhere in a text unless it is anchored by `^` and `$`.
#[derive(Debug, Clone)]
pub struct Regex {
    text: Box<str>,
    /// Set when the whole policy has been read; a pattern without one matches nothing, and its policy does not load.
    home: Option<Home>,
}

/// Which pattern of which automaton.
#[derive(Debug, Clone)]
struct Home {
    automaton: Arc<Automaton>,
    pattern: u32,
}

/// Some patterns over the same field.
#[derive(Debug)]
pub(super) struct Automaton {
    dfa: dense::DFA<Vec<u32>>,
}

/// Why a text is no pattern, or none that is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RegexError {
    /// Not well-formed; the library's words.
    Syntax(String),
    /// `\b` and its kin in their Unicode meaning, which no automaton knows.
    WordBoundary,
}

impl Regex {
    /// Checks a pattern.
    pub(super) fn read(text: &str) -> Result<Regex, RegexError> {
        let parsed = syntax::parse(text).map_err(|error| RegexError::Syntax(last_line(&error.to_string())))?;
        if parsed.properties().look_set().contains_word_unicode() {
            return Err(RegexError::WordBoundary);
        }
        Ok(Regex { text: text.into(), home: None })
    }

    /// The pattern.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the pattern matches somewhere in a text.
    pub(super) fn is_match(&self, text: &[u8]) -> bool {
        let Some(home) = &self.home else { return false };
        home.automaton.walk(text, |pattern| pattern == home.pattern)
    }

    /// The automaton, and the pattern's number in it.
    pub(super) fn home(&self) -> Option<(&Arc<Automaton>, u32)> {
        self.home.as_ref().map(|home| (&home.automaton, home.pattern))
    }
}

impl PartialEq for Regex {
    fn eq(&self, other: &Regex) -> bool {
        self.text == other.text
    }
}

impl Eq for Regex {}

impl Hash for Regex {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl Automaton {
    /// Walks over a text and tells each pattern that ends somewhere, possibly more than once, until `found` says that it is enough.
    /// Whether it did.
    pub(super) fn walk(&self, text: &[u8], mut found: impl FnMut(u32) -> bool) -> bool {
        let dfa = &self.dfa;
        let Ok(mut state) = dfa.start_state(&start::Config::new().anchored(Anchored::No)) else { return false };
        let mut enough = |state| {
            dfa.is_match_state(state)
                && (0..dfa.match_len(state)).any(|at| found(dfa.match_pattern(state, at).as_u32()))
        };
        for byte in text {
            state = dfa.next_state(state, *byte);
            if dfa.is_special_state(state) {
                if enough(state) {
                    return true;
                }
                if dfa.is_dead_state(state) {
                    return false;
                }
            }
        }
        state = dfa.next_eoi_state(state);
        enough(state)
    }

    pub(super) fn patterns(&self) -> usize {
        self.dfa.pattern_len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.dfa.memory_usage()
    }
}

/// Patterns by the field they are asked of.
#[derive(Debug, Default)]
pub(super) struct Regexes<'m> {
    by_field: BTreeMap<(u8, &'m str), Vec<&'m mut Regex>>,
}

impl<'m> Regexes<'m> {
    /// Gathers the patterns of a matcher.
    pub(super) fn gather(&mut self, source: u8, name: &'m str, matcher: &'m mut Matcher) {
        for test in matcher.0.iter_mut().flatten() {
            match test {
                Test::Regex(regex) => self.by_field.entry((source, name)).or_default().push(regex),
                Test::Any(inner) | Test::Not(inner) => self.gather(source, name, inner),
                _ => {}
            }
        }
    }

    /// Builds the automata; gives the patterns that are too large.
    pub(super) fn build(self) -> Vec<Box<str>> {
        let mut refused = Vec::new();
        let mut left = limits::POLICY_AUTOMATA_BYTES_MAX;
        for (_, mut regexes) in self.by_field {
            regexes.sort_by(|one, other| one.text.cmp(&other.text));
            let mut texts: Vec<Box<str>> = regexes.iter().map(|regex| regex.text.clone()).collect();
            texts.dedup();
            let mut homes: BTreeMap<&str, Home> = BTreeMap::new();
            for chunk in texts.chunks(limits::POLICY_AUTOMATON_PATTERNS) {
                build(chunk, &mut left, &mut homes, &mut refused);
            }
            for regex in regexes {
                regex.home = homes.get(&*regex.text).cloned();
            }
        }
        refused
    }
}

/// Builds one automaton of all patterns, or two of half of them each where that is too large.
fn build<'t>(
    texts: &'t [Box<str>],
    left: &mut usize,
    homes: &mut BTreeMap<&'t str, Home>,
    refused: &mut Vec<Box<str>>,
) {
    let most = limits::POLICY_AUTOMATON_BYTES_MAX.min(*left);
    match dfa(texts, most) {
        Some(dfa) => {
            *left = left.saturating_sub(dfa.memory_usage());
            let automaton = Arc::new(Automaton { dfa });
            for (text, pattern) in texts.iter().zip(0..) {
                homes.insert(text, Home { automaton: Arc::clone(&automaton), pattern });
            }
        }
        None if texts.len() > 1 => {
            let (one, other) = texts.split_at(texts.len() / 2);
            build(one, left, homes, refused);
            build(other, left, homes, refused);
        }
        None => refused.extend(texts.iter().cloned()),
    }
}

fn dfa(texts: &[Box<str>], bytes_max: usize) -> Option<dense::DFA<Vec<u32>>> {
    let config = dense::Config::new()
        .match_kind(MatchKind::All)
        .start_kind(StartKind::Unanchored)
        .dfa_size_limit(Some(bytes_max))
        .determinize_size_limit(Some(limits::POLICY_DETERMINIZE_BYTES_MAX));
    let nfa = thompson::Config::new().nfa_size_limit(Some(limits::POLICY_NFA_BYTES_MAX));
    dense::Builder::new().configure(config).thompson(nfa).build_many(texts).ok()
}

fn last_line(text: &str) -> String {
    let line = text.lines().last().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

const _: () = assert!(limits::POLICY_AUTOMATON_PATTERNS < PatternID::LIMIT);
