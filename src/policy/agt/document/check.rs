//! What an author of a document should know, and keys that are read leniently.

use super::super::super::problem::{Place, did_you_mean};
use super::super::super::yaml::{Entry, Value};
use super::super::facts::Field;
use super::super::reading::{Reading, find, map};
use super::ACTIONS;
use crate::limits;

/// Keys that look as if they decided something, and that AGT's rule engine leaves to others.
const IDLE: [&str; 4] = ["scope", "network_allowlist", "tool_allowlist", "sandbox_mounts"];
const IDLE_DEFAULTS: [&str; 4] = ["max_tokens", "max_tool_calls", "confidence_threshold", "network_default"];

/// Warns of keys without effect.
pub(super) fn keys(entries: &[Entry], reading: &mut Reading<'_>) {
    for entry in entries.iter().filter(|entry| IDLE.contains(&&*entry.key)) {
        reading.idle(entry, "AGT's rule engine does not read it");
    }
    let defaults = find(entries, "defaults").and_then(|entry| map(&entry.node)).unwrap_or_default();
    for entry in defaults.iter().filter(|entry| IDLE_DEFAULTS.contains(&&*entry.key)) {
        reading.idle(entry, "AGT's rule engine does not read it");
    }
    let version = find(entries, "version");
    if let Some(entry) = version
        && !matches!(&entry.node.value, Value::Text(version) if version == "1.0" || version == "1")
    {
        let message = format!("the version of a policy document is \"1.0\", found {}", entry.node.value.describe());
        reading.problems.error(entry.node.place, message, "write `version: \"1.0\"`, with quotes");
    }
}

/// Whether `defaults` allows what no rule matches.
pub(super) fn default(entries: &[Entry], reading: &mut Reading<'_>) -> bool {
    let start = Place { line: 1, column: 1 };
    let defaults = find(entries, "defaults");
    let action = defaults.and_then(|entry| map(&entry.node)).and_then(|defaults| find(defaults, "action"));
    let Some(action) = action else {
        let message =
            "without `defaults: {action}` what no rule matches is denied, as AGT 5 does; AGT up to 4.1 allowed it";
        reading.problems.warning(defaults.map_or(start, |entry| entry.place), message, "write the action");
        return false;
    };
    let word = if let Value::Text(word) = &action.node.value { word.as_str() } else { "" };
    match ACTIONS.into_iter().find(|(known, _)| *known == word) {
        Some((_, allows)) => allows,
        None => {
            let remedy = did_you_mean(word, ACTIONS.map(|(known, _)| known));
            let message = "the default action is allow, deny, audit or block";
            reading.problems.error(action.node.place, message, remedy);
            false
        }
    }
}

/// `priority`: a whole number, also one in quotes.
pub(in super::super) fn priority(entries: &[Entry], reading: &mut Reading<'_>) -> Option<i128> {
    let Some(entry) = find(entries, "priority") else { return Some(0) };
    let number = match &entry.node.value {
        Value::Integer(number) => Some(*number),
        Value::Text(text) => text.trim().parse().ok(),
        _ => None,
    };
    if number.is_none() {
        reading.problems.error(entry.node.place, "`priority` is a whole number", "the highest is asked first");
    }
    number
}

/// A name that fits records.
pub(in super::super) fn bounded(name: &str, place: Place, reading: &mut Reading<'_>) -> Option<Box<str>> {
    if name.len() > limits::POLICY_TEXT_BYTES_MAX {
        let message = format!("the name is longer than {} octets", limits::POLICY_TEXT_BYTES_MAX);
        reading.problems.error(place, message, "");
        return None;
    }
    Some(name.into())
}

/// A message, cut where it would not fit refusals and records.
pub(in super::super) fn shortened(message: &str) -> &str {
    let mut end = message.len().min(limits::POLICY_TEXT_BYTES_MAX);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message.get(..end).unwrap_or_default()
}

/// Warns where AGT's semantics are not what the words suggest.
pub(super) fn traps(
    (name, allows, operator, field_name): (&str, bool, &str, &str),
    field: &Field,
    place: Place,
    reading: &mut Reading<'_>,
) {
    if *field == Field::Nothing {
        let message = format!("`{name}` never matches: `{field_name}` counts as missing");
        reading.problems.warning(place, message, "");
    } else if matches!(operator, "ne" | "not_in") && !allows && !matches!(field, Field::Agent | Field::Tool) {
        let message = format!(
            "`{name}` does not match where `{field_name}` is missing: then no operator holds, not even `{operator}`"
        );
        reading.problems.warning(place, message, "deny by default, and allow what is meant");
    }
    if field_name.contains('.') && *field != Field::Nothing {
        let message = format!(
            "`{field_name}` is one literal key to AGT, not a path; its own hosts must supply it under this name"
        );
        reading.problems.warning(place, message, "");
    }
    if operator == "contains" && allows {
        let message = format!("`{name}` allows wherever the value is part of `{field_name}`, as in `xVALUEx`");
        reading.problems.warning(place, message, "use `eq` or `in`");
    }
    if operator == "matches" && allows {
        let message = format!("`{name}` allows wherever its pattern is found in `{field_name}`");
        reading.problems.warning(place, message, "begin it with `\\A` and end it with `\\Z`");
    }
}
