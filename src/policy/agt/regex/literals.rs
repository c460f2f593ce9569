//! What a pattern cannot match without: texts of which every text that it matches has one.
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

/// What is known of a part of a pattern.
struct Known {
    /// All texts that the part matches, folded, where these are few.
    exact: Option<BTreeSet<String>>,
    /// Texts of which one is in whatever the part matches.
    within: Option<BTreeSet<String>>,
}

const NOTHING: Known = Known { exact: None, within: None };

/// The texts of which one is in whatever the pattern matches; nothing where there are none, or too many.
pub(super) fn required(pattern: &str) -> Option<Box<[Box<str>]>> {
    let known = of(&syntax::parse(pattern).ok()?);
    let found = better(known.exact, known.within)?;
    Some(found.into_iter().map(Box::from).collect())
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
        HirKind::Empty | HirKind::Look(_) => Known { exact: Some([String::new()].into()), within: None },
        HirKind::Literal(literal) => match std::str::from_utf8(&literal.0) {
            Ok(text) if text.is_ascii() && text.len() <= LENGTH_MAX => {
                Known { exact: Some([text.chars().map(folded).collect()].into()), within: None }
            }
            Ok(text) => Known { exact: None, within: longest(text) },
            Err(_) => NOTHING,
        },
        HirKind::Class(class) => Known { exact: few(class), within: None },
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
                    within: None,
                },
                (0, _) => NOTHING,
                _ => Known { exact: None, within: better(inner.exact, inner.within) },
            }
        }
        HirKind::Concat(parts) => sequence(parts),
        HirKind::Alternation(parts) => {
            let known: Vec<Known> = parts.iter().map(of).collect();
            let exact: Option<Vec<_>> = known.iter().map(|known| known.exact.clone()).collect();
            let exact = exact.map(|sets| sets.into_iter().flatten().collect::<BTreeSet<String>>());
            let within: Option<Vec<_>> = known.into_iter().map(|known| better(known.exact, known.within)).collect();
            let within = within.map(|sets| sets.into_iter().flatten().collect::<BTreeSet<String>>());
            Known {
                exact: exact.filter(|exact| exact.len() <= ALTERNATIVES_MAX),
                within: within.filter(|within| within.len() <= ALTERNATIVES_MAX),
            }
        }
    }
}

/// Neighbours that are known exactly are joined; of all that is known in between, the best is kept.
fn sequence(parts: &[Hir]) -> Known {
    let mut run: BTreeSet<String> = [String::new()].into();
    let mut best = None;
    let mut is_exact = true;
    for part in parts {
        let known = of(part);
        let joined = known.exact.as_ref().and_then(|exact| joined(&run, exact));
        match (joined, known.exact) {
            (Some(joined), _) => run = joined,
            (None, exact) => {
                is_exact = false;
                best = better(Some(std::mem::take(&mut run)), best);
                best = better(known.within, best);
                run = exact.unwrap_or_else(|| [String::new()].into());
            }
        }
    }
    match is_exact {
        true => Known { exact: Some(run), within: None },
        false => Known { exact: None, within: better(Some(run), best) },
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

/// The set that sifts better: the one whose shortest text is longer, and of equally long ones the smaller. A set with an empty text sifts nothing.
fn better(one: Option<BTreeSet<String>>, other: Option<BTreeSet<String>>) -> Option<BTreeSet<String>> {
    let worth = |set: &BTreeSet<String>| {
        let shortest = set.iter().map(String::len).min().unwrap_or(0);
        (shortest.min(6), usize::MAX - set.len())
    };
    let sifts = |set: &BTreeSet<String>| set.len() <= ALTERNATIVES_MAX && worth(set).0 > 0;
    [one, other].into_iter().flatten().filter(sifts).max_by_key(worth)
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
