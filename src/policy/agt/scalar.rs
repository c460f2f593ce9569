//! Values as Python has them, read as PyYAML reads them.
//!
//! PyYAML is YAML 1.1: `yes` and `off` are booleans there, `12:30` is a number and `2026-01-01` a date. Booleans are read so; whatever else the two
//! versions read differently is refused, with the remedy that makes them agree.

use super::super::number::Number;
use super::super::problem::Place;
use super::super::yaml::{Node, Value};
use super::course::Flaw;
use super::facts::Fact;

/// A value in a policy, or a fact.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Py {
    None,
    Bool(bool),
    Number(Number),
    Text(Box<str>),
    List(Box<[Py]>),
    /// A map, by its keys.
    Map(Box<[Py]>),
}

/// Reads a value; the error says what is ambiguous about it, and where.
pub(super) fn read(node: &Node, text: &str) -> Result<Py, (Place, String)> {
    let refused = |message: &str| Err((node.place, message.to_owned()));
    let raw = plain(text, node.place);
    // A number ends where a blank or the mark of a collection is.
    let token = raw.split([',', ']', '}', ' ', '\t']).next().unwrap_or_default();
    match &node.value {
        Value::Null => Ok(Py::None),
        Value::Bool(flag) => Ok(Py::Bool(*flag)),
        Value::Integer(integer) => {
            let digits = token.trim_start_matches(['-', '+']);
            let odd = digits.contains(['_', 'o', 'b'])
                || digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0x");
            match odd && digits.starts_with(|first: char| first.is_ascii_digit()) {
                true => refused("the two versions of YAML read this number differently; write it in plain decimals"),
                false => Ok(Py::Number(Number::Integer(*integer))),
            }
        }
        Value::Float(float) => {
            let exponent = token.find(['e', 'E']);
            let signed = exponent.is_none_or(|at| matches!(token.as_bytes().get(at + 1), Some(b'+' | b'-')));
            match (
                Number::from_float(*float),
                token.contains('.') && signed || !token.starts_with(|c: char| c.is_ascii_digit()),
            ) {
                (Some(number), true) => Ok(Py::Number(number)),
                _ => refused("the two versions of YAML read this number differently; write it in plain decimals"),
            }
        }
        Value::Text(value) => match (raw.starts_with(value.as_str()) && !value.is_empty(), value.as_str()) {
            (true, "yes" | "Yes" | "YES" | "on" | "On" | "ON") => Ok(Py::Bool(true)),
            (true, "no" | "No" | "NO" | "off" | "Off" | "OFF") => Ok(Py::Bool(false)),
            (true, value) if is_number_or_date(value) => {
                refused("PyYAML reads this as a number or a date; put it in quotes")
            }
            (_, value) => Ok(Py::Text(value.into())),
        },
        Value::List(items) => Ok(Py::List(items.iter().map(|item| read(item, text)).collect::<Result<_, _>>()?)),
        Value::Map(entries) => Ok(Py::Map(entries.iter().map(|entry| Py::Text(entry.key.as_str().into())).collect())),
    }
}

/// The text from a place to the end of its line.
fn plain(text: &str, place: Place) -> &str {
    let line = text.lines().nth(place.line.saturating_sub(1) as usize).unwrap_or_default();
    let start = line.char_indices().nth(place.column.saturating_sub(1) as usize).map_or(line.len(), |(at, _)| at);
    line.get(start..).unwrap_or_default()
}

/// Numbers to the base of sixty, with underscores or in octal, and dates.
fn is_number_or_date(text: &str) -> bool {
    let digits = text.trim_start_matches(['-', '+']);
    let starts = digits.starts_with(|first: char| first.is_ascii_digit());
    let all = |allowed: &str| digits.chars().all(|character| character.is_ascii_digit() || allowed.contains(character));
    let sixty = digits.contains(':') && !digits.starts_with('0') && all(":_.");
    let date =
        digits.get(4..5) == Some("-") && digits.get(..4).is_some_and(|year| year.bytes().all(|b| b.is_ascii_digit()));
    starts && (sixty || date || all("_") || all("_.") && digits.matches('.').count() < 2)
}

impl Py {
    /// Python's `str`, of what has a certain one.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Py::None => Some("None".to_owned()),
            Py::Bool(true) => Some("True".to_owned()),
            Py::Bool(false) => Some("False".to_owned()),
            Py::Number(Number::Integer(integer)) => Some(integer.to_string()),
            Py::Text(text) => Some(text.to_string()),
            Py::Number(Number::Float(_)) | Py::List(_) | Py::Map(_) => None,
        }
    }

    /// The number that a value counts as: booleans are numbers in Python.
    fn number(&self) -> Option<Number> {
        match self {
            Py::Bool(flag) => Some(Number::Integer((*flag).into())),
            Py::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// Python's `==`.
    pub(super) fn equals(&self, other: &Py) -> bool {
        match (self.number(), other.number()) {
            (Some(one), Some(other)) => one == other,
            _ => self == other,
        }
    }

    /// Python's ordering; a flaw where it raises.
    pub(super) fn compare(&self, other: &Py) -> Result<std::cmp::Ordering, Flaw> {
        match (self, other) {
            (Py::Text(one), Py::Text(other)) => Ok(one.cmp(other)),
            _ => Ok(self.number().ok_or(Flaw)?.cmp(&other.number().ok_or(Flaw)?)),
        }
    }

    /// Python's `self in container`; a flaw where it raises.
    pub(super) fn is_in(&self, container: &Py) -> Result<bool, Flaw> {
        match (container, self) {
            (Py::List(items) | Py::Map(items), _) => Ok(items.iter().any(|item| item.equals(self))),
            (Py::Text(text), Py::Text(part)) => Ok(text.contains(&**part)),
            _ => Err(Flaw),
        }
    }
}

/// A fact as a value. Of a list and an object the members are not known, and a flaw is the only certain answer.
pub(super) fn of_fact(fact: &Fact<'_>) -> Result<Py, Flaw> {
    match fact {
        Fact::Missing | Fact::Null => Ok(Py::None),
        Fact::Text(text) => Ok(Py::Text((&**text).into())),
        Fact::Number(number) => Ok(Py::Number(*number)),
        Fact::Bool(flag) => Ok(Py::Bool(*flag)),
        Fact::Open | Fact::Unreadable | Fact::List(_) | Fact::Object => Err(Flaw),
    }
}
