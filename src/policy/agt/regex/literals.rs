//! What a pattern cannot match without: sets of texts, of each of which every text that it matches has one.
//!
//! Texts are compared folded: ASCII letters in lower case, and the few letters beyond ASCII that stand for one of them without regard to case. Folding
//! both sides can only find more, so a pattern that is passed over certainly does not match.

use std::collections::BTreeSet;

use regex_automata::util::syntax;
use regex_syntax::hir::{Class, Hir, HirKind};

/// Alternatives that are kept; a pattern with more is better asked itself.
const ALTERNATIVES_MAX: usize = 128;
/// Combinations that a sequence is spelt out to.
const SPELT_MAX: usize = 32;
/// Longer texts sift no better.
const LENGTH_MAX: usize = 24;

/// Sets that are kept of one pattern: each must have a text in whatever it matches.
pub(super) const SETS_MAX: usize = 3;

/// What is known of a part of a pattern.
struct Known {
    /// All texts that the part matches, folded, where these are few.
    exact: Option<BTreeSet<String>>,
    /// Sets of texts: of each, one text is in whatever the part matches.
    within: Vec<BTreeSet<String>>,
}

const NOTHING: Known = Known { exact: None, within: Vec::new() };

/// Sets of texts, of each of which one is in whatever the pattern matches; none where none are known, or too many.
pub(super) fn required(pattern: &str) -> Vec<Box<[Box<str>]>> {
    let Ok(hir) = syntax::parse(pattern) else { return Vec::new() };
    let known = of(&hir);
    let sets = best(known.exact, known.within);
    sets.into_iter().map(|set| set.into_iter().map(Box::from).collect()).collect()
}

/// The character that a character is folded to.
pub(super) fn folded(character: char) -> char {
    match character {
        '\u{130}' | '\u{131}' => 'i',
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    }
}

fn of(hir: &Hir) -> Known {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Known { exact: Some([String::new()].into()), within: Vec::new() },
        HirKind::Literal(literal) => match std::str::from_utf8(&literal.0) {
            Ok(text) if text.is_ascii() && text.len() <= LENGTH_MAX => {
                Known { exact: Some([text.chars().map(folded).collect()].into()), within: Vec::new() }
            }
            Ok(text) => Known { exact: None, within: longest(text).into_iter().collect() },
            Err(_) => NOTHING,
        },
        HirKind::Class(class) => Known { exact: few(class), within: Vec::new() },
        HirKind::Capture(capture) => of(&capture.sub),
        HirKind::Repetition(repetition) => {
            let inner = of(&repetition.sub);
            match (repetition.min, repetition.max) {
                (1, Some(1)) => inner,
                (0, Some(1)) => Known {
                    exact: inner.exact.map(|mut exact| {
                        exact.insert(String::new());
                        exact
                    }),
                    within: Vec::new(),
                },
                (0, _) => NOTHING,
                _ => Known { exact: None, within: best(inner.exact, inner.within) },
            }
        }
        HirKind::Concat(parts) => sequence(parts),
        HirKind::Alternation(parts) => {
            let known: Vec<Known> = parts.iter().map(of).collect();
            let exact: Option<Vec<_>> = known.iter().map(|known| known.exact.clone()).collect();
            let exact = exact.map(|sets| sets.into_iter().flatten().collect::<BTreeSet<String>>());
            // Of each branch the best set; one of all these texts is there, whichever branch it is.
            let within: Option<Vec<_>> =
                known.into_iter().map(|known| best(known.exact, known.within).into_iter().next()).collect();
            let within = within.map(|sets| sets.into_iter().flatten().collect::<BTreeSet<String>>());
            Known {
                exact: exact.filter(|exact| exact.len() <= ALTERNATIVES_MAX),
                within: within.filter(|within| within.len() <= ALTERNATIVES_MAX).into_iter().collect(),
            }
        }
    }
}

/// Neighbours that are known exactly are joined; of all that is known in between, the best is kept.
fn sequence(parts: &[Hir]) -> Known {
    let mut run: BTreeSet<String> = [String::new()].into();
    let mut sets = Vec::new();
    let mut is_exact = true;
    for part in parts {
        let known = of(part);
        let joined = known.exact.as_ref().and_then(|exact| joined(&run, exact));
        match (joined, known.exact) {
            (Some(joined), _) => run = joined,
            (None, exact) => {
                is_exact = false;
                sets.push(std::mem::take(&mut run));
                sets.extend(known.within);
                run = exact.unwrap_or_else(|| [String::new()].into());
            }
        }
    }
    match is_exact {
        true => Known { exact: Some(run), within: Vec::new() },
        false => Known { exact: None, within: best(Some(run), sets) },
    }
}

fn joined(before: &BTreeSet<String>, behind: &BTreeSet<String>) -> Option<BTreeSet<String>> {
    if before.len() * behind.len() > SPELT_MAX {
        return None;
    }
    let pairs = before.iter().flat_map(|first| behind.iter().map(move |second| format!("{first}{second}")));
    let joined: BTreeSet<String> = pairs.collect();
    joined.iter().all(|text| text.len() <= LENGTH_MAX).then_some(joined)
}

/// The sets that sift best, best first: those whose shortest text is longer, and of equally long ones the smaller. A set with an empty text
/// sifts nothing.
fn best(exact: Option<BTreeSet<String>>, within: Vec<BTreeSet<String>>) -> Vec<BTreeSet<String>> {
    let shortest = |set: &BTreeSet<String>| set.iter().map(String::len).min().unwrap_or(0);
    let mut sets: Vec<BTreeSet<String>> = exact.into_iter().chain(within).collect();
    sets.retain(|set| set.len() <= ALTERNATIVES_MAX && shortest(set) > 0);
    sets.sort_by_key(|set| (std::cmp::Reverse(shortest(set).min(6)), set.len()));
    sets.dedup();
    sets.truncate(SETS_MAX);
    sets
}

/// The longest run of ASCII in a text.
fn longest(text: &str) -> Option<BTreeSet<String>> {
    let run = text.split(|character: char| !character.is_ascii()).max_by_key(|run| run.len())?;
    let run: String = run.chars().take(LENGTH_MAX).map(folded).collect();
    (!run.is_empty()).then(|| [run].into())
}

/// The characters of a class, folded, where these are few and all ASCII.
fn few(class: &Class) -> Option<BTreeSet<String>> {
    let Class::Unicode(class) = class else { return None };
    let mut characters = BTreeSet::new();
    for range in class.ranges() {
        if range.len() > SPELT_MAX {
            return None;
        }
        characters.extend((range.start()..=range.end()).map(folded));
    }
    let small = characters.len() <= SPELT_MAX && characters.iter().all(char::is_ascii);
    (small && !characters.is_empty()).then(|| characters.into_iter().map(String::from).collect())
}
