//! Value matchers: what a rule may ask of a header field, a query parameter, a body value or an argument.
//!
//! An answer is yes, no, or unsure. Unsure is the answer about what cannot be read and about values of another type than the matcher
//! speaks of; a deny takes it for yes, an allow for no. An absent value satisfies only `not` and `present: false`.

use super::glob::Glob;
use super::number::Number;
use super::regexes::Regex;
use super::subject::{Look, Value};

/// Alternatives, each a list of tests that must all hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Matcher(pub(super) Box<[Box<[Test]>]>);

/// One test.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Test {
    /// A scalar, or `in`: equals one of these.
    In(Box<[Scalar]>),
    /// Alternatives among tests that must all hold.
    Any(Matcher),
    /// `not`.
    Not(Matcher),
    /// `glob`.
    Glob(Glob),
    /// `prefix`.
    Prefix(Box<str>),
    /// `regex`.
    Regex(Regex),
    /// `min`.
    Min(Number),
    /// `max`.
    Max(Number),
    /// `length`: characters of a text, items of a list; both bounds included.
    Length(u64, u64),
    /// `present`.
    Present(bool),
}

/// A value in a policy.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scalar {
    /// A text.
    Text(Box<str>),
    /// A number.
    Number(Number),
    /// `true` or `false`.
    Bool(bool),
}

/// What a test answers, in the order in which alternatives take the greatest and conjunctions the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Answer {
    No,
    Unsure,
    Yes,
}

use Answer::{No, Unsure, Yes};

/// Where values come from: header fields and parameters are all texts, JSON values have types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Typing {
    Text,
    Json,
}

impl Matcher {
    /// Whether the matcher holds for the values under a name: for all of them in an allow, for one in a deny.
    pub(super) fn holds(&self, look: Look<'_>, name: &str, typing: Typing, allow: bool) -> bool {
        let lookup = match look {
            Look::NotLooked => return allow,
            Look::Unreadable => return !allow,
            Look::Absent => return self.absent() == Yes,
            Look::At(lookup) => lookup,
        };
        let (mut least, mut greatest) = (Yes, No);
        let mut found = false;
        lookup.values(name, &mut |value| {
            let answer = self.value(value, typing);
            found = true;
            (least, greatest) = (least.min(answer), greatest.max(answer));
        });
        match found {
            false => self.absent() == Yes,
            true if allow => least == Yes,
            true => greatest != No,
        }
    }

    /// The answer when there is no value.
    pub(super) fn absent(&self) -> Answer {
        self.each(|test| match test {
            Test::Any(inner) => inner.absent(),
            Test::Not(inner) => inner.absent().inverse(),
            Test::Present(wanted) => Answer::from(!wanted),
            _ => No,
        })
    }

    /// The answer about one value.
    pub(super) fn value(&self, value: Value<'_>, typing: Typing) -> Answer {
        self.each(|test| test.value(value, typing))
    }

    /// Values in the matcher.
    pub(super) fn len(&self) -> usize {
        let test = |test: &Test| match test {
            Test::In(scalars) => scalars.len(),
            Test::Any(inner) | Test::Not(inner) => inner.len(),
            _ => 1,
        };
        self.0.iter().flatten().map(test).sum()
    }

    /// All regular expressions.
    pub(super) fn regexes(&self) -> Vec<&Regex> {
        let mut regexes = Vec::new();
        for test in self.0.iter().flatten() {
            match test {
                Test::Regex(regex) => regexes.push(regex),
                Test::Any(inner) | Test::Not(inner) => regexes.extend(inner.regexes()),
                _ => {}
            }
        }
        regexes
    }

    fn each(&self, answer: impl Fn(&Test) -> Answer) -> Answer {
        let conjunction = |tests: &[Test]| tests.iter().map(&answer).min().unwrap_or(Yes);
        self.0.iter().map(|tests| conjunction(tests)).max().unwrap_or(No)
    }
}

impl Test {
    fn value(&self, value: Value<'_>, typing: Typing) -> Answer {
        if value == Value::Unreadable {
            return Unsure;
        }
        match (self, value) {
            (Test::Present(wanted), _) => Answer::from(*wanted),
            (Test::Any(inner), _) => inner.value(value, typing),
            (Test::Not(inner), _) => inner.value(value, typing).inverse(),
            (Test::In(scalars), _) => is_in(scalars, value, typing),
            (Test::Glob(glob), Value::Text(text)) => glob.answer(text),
            (Test::Prefix(prefix), Value::Text(text)) if prefix.contains('/') && is_winding(text) => Unsure,
            (Test::Prefix(prefix), Value::Text(text)) => Answer::from(text.starts_with(prefix.as_bytes())),
            (Test::Regex(regex), Value::Text(text)) => Answer::from(regex.is_match(text)),
            (Test::Min(least), _) => number(value, typing).map_or(Unsure, |number| Answer::from(number >= *least)),
            (Test::Max(most), _) => number(value, typing).map_or(Unsure, |number| Answer::from(number <= *most)),
            (Test::Length(least, most), _) => {
                length(value).map_or(Unsure, |len| Answer::from((*least..=*most).contains(&len)))
            }
            (Test::Glob(_) | Test::Prefix(_) | Test::Regex(_), _) => Unsure,
        }
    }
}

impl Answer {
    pub(super) fn inverse(self) -> Answer {
        match self {
            No => Yes,
            Unsure => Unsure,
            Yes => No,
        }
    }
}

impl From<bool> for Answer {
    fn from(holds: bool) -> Answer {
        if holds { Yes } else { No }
    }
}

/// Equality with one of some scalars. A value of a type that none of them has is of the wrong type.
fn is_in(scalars: &[Scalar], value: Value<'_>, typing: Typing) -> Answer {
    let texts = scalars.iter().any(|scalar| matches!(scalar, Scalar::Text(_)));
    let of_type = scalars.iter().filter_map(|scalar| match (scalar, value) {
        (Scalar::Text(wanted), Value::Text(text)) => Some(wanted.as_bytes() == text),
        (Scalar::Number(wanted), _) => number(value, typing).map(|number| number == *wanted),
        (Scalar::Bool(wanted), Value::Bool(flag)) => Some(flag == *wanted),
        (Scalar::Bool(wanted), Value::Text(text)) if typing == Typing::Text => match text {
            b"true" => Some(*wanted),
            b"false" => Some(!*wanted),
            _ => None,
        },
        _ => None,
    });
    let unknown = if texts && matches!(value, Value::Text(_)) { No } else { Unsure };
    of_type.map(Answer::from).max().unwrap_or(unknown)
}

fn number(value: Value<'_>, typing: Typing) -> Option<Number> {
    match value {
        Value::Number(number) => Some(number),
        Value::Text(text) if typing == Typing::Text => Number::read(text),
        _ => None,
    }
}

fn length(value: Value<'_>) -> Option<u64> {
    let length = match value {
        Value::Text(text) => std::str::from_utf8(text).ok()?.chars().count(),
        Value::List(items) => items,
        _ => return None,
    };
    u64::try_from(length).ok()
}

/// Whether a text can be read as a path that goes elsewhere than it says: dot segments, empty segments, backslashes, NUL.
pub(super) fn is_winding(text: &[u8]) -> bool {
    if memchr::memchr2(b'\\', 0, text).is_some() {
        return true;
    }
    let mut rest = text;
    if let Some(at) = memchr::memmem::find(text, b"://") {
        rest = text.get(at + 3..).unwrap_or_default();
    }
    let mut segments = rest.split(|byte| *byte == b'/').enumerate();
    let last = rest.iter().filter(|byte| **byte == b'/').count();
    segments
        .any(|(place, segment)| matches!(segment, b"." | b"..") || segment.is_empty() && place != 0 && place != last)
}

#[cfg(test)]
mod tests;
