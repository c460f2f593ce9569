//! AGT's regular expressions, found anywhere in a text as `re.search` and `RegExp.test` find them.
//!
//! A pattern becomes one of a linear-time engine's; the few with look-around or references to groups become one of an engine that tries and goes
//! back, under a limit of steps. Many patterns over one field are sifted first: of each, texts are known one of which it cannot match without,
//! and one walk over the field tells which of all these texts are in it.

mod literals;
mod set;
mod translate;
mod words;

use regex_automata::meta;

use super::course::Flaw;
use crate::limits;

pub(super) use set::{Prepared, Set};
pub(super) use translate::Flavour;

/// A pattern.
#[derive(Debug)]
pub(super) struct Pattern {
    engine: Engine,
    /// Whether texts are to be given with Python's word characters put in place.
    placed: bool,
    /// Whether an empty text has no certain answer.
    disputed: bool,
    /// Sets of texts, of each of which it cannot match without one.
    literals: Vec<Box<[Box<str>]>>,
}

#[derive(Debug)]
enum Engine {
    /// Linear time.
    Linear(Box<meta::Regex>),
    /// Steps forward and back, up to a limit. A text that the linear one, which is looser, does not match is not tried.
    Stepped(Box<meta::Regex>, Box<fancy_regex::Regex>),
}

impl Pattern {
    /// Compiles a pattern; the error says what is wrong with it.
    pub(super) fn new(text: &str, flavour: Flavour) -> Result<Pattern, String> {
        if text.len() > limits::AGT_PATTERN_BYTES_MAX {
            return Err(format!("the pattern is longer than {} octets", limits::AGT_PATTERN_BYTES_MAX));
        }
        let said = |spelt| {
            translate::translate(text, flavour, spelt)
                .map_err(|error| format!("{}, at character {} of the pattern", error.message, error.at))
        };
        let mut translated = said(false)?;
        // A text cannot be changed for a pattern that names characters beyond ASCII, so the pattern says what word characters are.
        let spelt = flavour == Flavour::Python && translated.words && translated.foreign;
        if spelt {
            translated = said(true)?;
        }
        let linear = |text: &str| {
            let config = meta::Config::new()
                .nfa_size_limit(Some(limits::POLICY_NFA_BYTES_MAX))
                .hybrid_cache_capacity(limits::AGT_REGEX_CACHE_BYTES)
                .which_captures(regex_automata::nfa::thompson::WhichCaptures::None);
            let built = meta::Regex::builder().configure(config).build(text);
            built.map(Box::new).map_err(|error| match error.size_limit() {
                Some(_) => "the pattern is too large; shorten its repetitions".to_owned(),
                None => format!("the pattern cannot be said in our engine's syntax: {error}"),
            })
        };
        let engine = match translated.stepped {
            false => Engine::Linear(linear(&translated.exact)?),
            true => Engine::Stepped(linear(&translated.loose)?, stepped(&translated.exact)?),
        };
        let placed = flavour == Flavour::Python && translated.words && !spelt;
        let disputed = translated.disputed;
        Ok(Pattern { engine, placed, disputed, literals: literals::required(&translated.loose) })
    }

    /// Whether the pattern matches somewhere.
    pub(super) fn is_match(&self, text: &str) -> Result<bool, Flaw> {
        if self.placed { self.runs(&words::placed(text)) } else { self.runs(text) }
    }

    fn runs(&self, text: &str) -> Result<bool, Flaw> {
        match &self.engine {
            _ if self.disputed && text.is_empty() => Err(Flaw),
            Engine::Linear(regex) => Ok(regex.is_match(text)),
            Engine::Stepped(loose, _) if !loose.is_match(text) => Ok(false),
            Engine::Stepped(_, regex) => regex.is_match(text).map_err(|_| Flaw),
        }
    }

    /// Whether only a backtracking engine knows the pattern.
    #[cfg(test)]
    pub(super) fn is_stepped(&self) -> bool {
        matches!(self.engine, Engine::Stepped(..))
    }

    pub(super) fn bytes(&self) -> usize {
        let (Engine::Linear(linear) | Engine::Stepped(linear, _)) = &self.engine;
        linear.memory_usage()
    }
}

fn stepped(text: &str) -> Result<Box<fancy_regex::Regex>, String> {
    let mut builder = fancy_regex::RegexBuilder::new(text);
    builder.backtrack_limit(limits::AGT_REGEX_STEPS_MAX).delegate_size_limit(limits::POLICY_NFA_BYTES_MAX);
    let built = builder.build().map(Box::new);
    built.map_err(|error| format!("the pattern cannot be said in our engine's syntax: {error}"))
}

#[cfg(test)]
mod tests;
