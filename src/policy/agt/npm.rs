//! The npm proxy's dialect: `rules: [{tool, action, conditions}]`, the first that matches decides; without one the call is denied.
//!
//! What that proxy does and an author may not think of: an `allow` whose condition fails does not deny, the rules behind it go on; a `*` makes
//! a regular expression of a name, in which a dot is any character; rates are never enforced.

use super::super::Outline;
use super::super::decide::RuleView;
use super::super::model::Mode;
use super::super::number::Number;
use super::super::problem::Place;
use super::super::yaml::{Entry, Node, Value};
use super::course::{Course, Flaw, Ruling, Truth};
use super::facts::{Fact, Facts, Field, pointer};
use super::reading::{Reading, find, list, map};
use super::regex::{Flavour, Pattern};
use crate::limits;

/// A policy.
#[derive(Debug)]
pub(super) struct Tools {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    tool: Box<str>,
    /// Where the name has a star.
    pattern: Option<Pattern>,
    reason: Option<Box<str>>,
    allows: bool,
    conditions: Vec<Condition>,
    place: Place,
}

/// A condition; all of them must hold.
#[derive(Debug)]
enum Condition {
    PathStartsWith(Box<str>),
    /// In lower case.
    PathNotContains(Box<[Box<str>]>),
    Matches(Field, Pattern),
    NotMatches(Field, Pattern),
}

/// The arguments that are a call's path; the first that JavaScript takes for true.
const PATHS: [&str; 3] = ["/path", "/file_path", "/filename"];

pub(super) fn read(entries: &[Entry], reading: &mut Reading<'_>) -> Option<(Tools, Mode)> {
    let start = Place { line: 1, column: 1 };
    if !matches!(find(entries, "version").map(|entry| &entry.node.value), Some(Value::Text(version)) if version == "1.0")
    {
        reading.problems.error(start, "the version of this policy is \"1.0\"", "write `version: \"1.0\"`");
        return None;
    }
    let mode = match find(entries, "mode").map(|entry| (&entry.node.value, entry.node.place)) {
        None => Mode::Enforce,
        Some((Value::Text(word), _)) if word == "enforce" => Mode::Enforce,
        Some((Value::Text(word), place)) if word == "shadow" => {
            reading.problems.warning(place, "`mode: shadow` enforces nothing: denials are recorded and forwarded", "");
            Mode::Monitor
        }
        Some((_, place)) => {
            reading.problems.error(place, "`mode` is `enforce` or `shadow`", "");
            return None;
        }
    };
    if let Some(entry) = find(entries, "rate_limits") {
        reading.idle(entry, "the npm proxy never enforces it");
    }
    let nodes = find(entries, "rules").and_then(|entry| list(&entry.node)).unwrap_or_default();
    if nodes.len() > limits::AGT_RULES_MAX {
        reading.problems.error(start, format!("there are more than {} rules", limits::AGT_RULES_MAX), "");
        return None;
    }
    reading.field("tool_name", start);
    let rules: Vec<Rule> = nodes.iter().filter_map(|node| rule(node, reading)).collect();
    fall_through(&rules, reading);
    Some((Tools { rules }, mode))
}

/// Warns of an allow whose conditions keep nothing back, because a rule behind it allows the same.
fn fall_through(rules: &[Rule], reading: &mut Reading<'_>) {
    for (at, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.allows && !rule.conditions.is_empty()) {
        let behind = rules.iter().skip(at + 1);
        let mut same = behind.filter(|other| other.conditions.is_empty() && other.names(&rule.tool) == Ok(true));
        if let Some(other) = same.next().filter(|other| other.allows) {
            let message = format!(
                "the conditions of `{}` keep nothing back: where they fail, `{}` allows the call",
                rule.tool, other.tool
            );
            let remedy = format!("add a `deny` of `{}` behind it", rule.tool);
            reading.problems.warning(rule.place, message, remedy);
        }
    }
}

fn rule(node: &Node, reading: &mut Reading<'_>) -> Option<Rule> {
    let entries = map(node).unwrap_or_default();
    let text = |key: &str| match find(entries, key).map(|entry| &entry.node.value) {
        Some(Value::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    let Some(tool) = text("tool").filter(|tool| !tool.is_empty()) else {
        reading.problems.error(node.place, "a rule needs `tool`, a text", "");
        return None;
    };
    let allows = match text("action") {
        Some("allow") => true,
        Some("deny") => false,
        _ => {
            reading.problems.error(node.place, "`action` is `allow` or `deny`", "");
            return None;
        }
    };
    for entry in entries {
        match &*entry.key {
            "rate_limit" => reading.idle(entry, "the npm proxy never enforces it"),
            "tool" | "action" | "reason" | "conditions" | "mitigates" | "description" => {}
            _ => reading.idle(entry, "the npm proxy does not know it"),
        }
    }
    let pattern = match tool.contains('*') && tool != "*" {
        false => None,
        true => Some(wildcard(tool, node.place, reading)?),
    };
    let mut conditions = Vec::new();
    if let Some(entry) = find(entries, "conditions").filter(|entry| !matches!(entry.node.value, Value::Null)) {
        let Some(nodes) = list(&entry.node) else {
            reading.problems.error(entry.node.place, "`conditions` is a list", "begin each with `-`");
            return None;
        };
        for node in nodes {
            condition(node, &mut conditions, reading)?;
        }
    }
    let tool = super::document::check::bounded(tool, node.place, reading)?;
    let reason = text("reason").map(|reason| super::document::check::shortened(reason).into());
    Some(Rule { tool, pattern, reason, allows, conditions, place: node.place })
}

/// A name with stars, which become `.*` in a regular expression.
fn wildcard(tool: &str, place: Place, reading: &mut Reading<'_>) -> Option<Pattern> {
    if tool.contains(['.', '+', '?', '[', '(', '{', '|', '\\', '^', '$']) {
        let message = format!(
            "with a star `{tool}` is a regular expression: `.` is any character in it, and others are special too"
        );
        reading.problems.warning(place, message, "name the tools one by one");
    }
    match Pattern::new(&format!("^{}$", tool.replace('*', ".*")), Flavour::JavaScript) {
        Ok(pattern) => Some(pattern),
        Err(why) => {
            reading.problems.error(place, format!("this name is not taken: {why}"), "");
            None
        }
    }
}

fn condition(node: &Node, conditions: &mut Vec<Condition>, reading: &mut Reading<'_>) -> Option<()> {
    let Some(entries) = map(node) else {
        reading.problems.error(node.place, "a condition is a map", "");
        return None;
    };
    for entry in entries {
        let place = entry.node.place;
        match (&*entry.key, &entry.node.value) {
            ("path_starts_with", Value::Text(prefix)) if prefix.is_empty() => {
                reading.problems.warning(place, "an empty prefix asks for nothing", "");
            }
            ("path_starts_with", Value::Text(prefix)) => {
                conditions.push(Condition::PathStartsWith(prefix.as_str().into()))
            }
            ("path_not_contains", Value::List(nodes)) => {
                let words = nodes.iter().map(|node| match &node.value {
                    Value::Text(text) => Some(text.to_lowercase().into()),
                    _ => None,
                });
                let Some(words) = words.collect::<Option<Vec<Box<str>>>>() else {
                    reading.problems.error(place, "`path_not_contains` is a list of texts", "");
                    return None;
                };
                conditions.push(Condition::PathNotContains(words.into()));
            }
            ("argument_matches" | "argument_not_matches", Value::Map(patterns)) => {
                for pattern in patterns {
                    conditions.push(argument(&entry.key, pattern, reading)?);
                }
            }
            ("path_starts_with" | "path_not_contains" | "argument_matches" | "argument_not_matches", other) => {
                let message = format!("`{}` cannot be {}", entry.key, other.describe());
                let remedy = "`path_starts_with` is a text, `path_not_contains` a list of texts, the others map arguments to patterns";
                reading.problems.error(place, message, remedy);
                return None;
            }
            _ => reading.idle(entry, "the npm proxy does not know it, so this condition holds always"),
        }
    }
    for pointer in PATHS.into_iter().filter(|_| !entries.is_empty()) {
        reading.field(&format!("args.{}", pointer.trim_start_matches('/')), node.place);
    }
    Some(())
}

fn argument(key: &str, entry: &Entry, reading: &mut Reading<'_>) -> Option<Condition> {
    let Value::Text(text) = &entry.node.value else {
        reading.problems.error(entry.node.place, "a pattern is a text", "put it in quotes");
        return None;
    };
    let pattern = match Pattern::new(text, Flavour::JavaScript) {
        Ok(pattern) => pattern,
        Err(why) => {
            reading.problems.error(entry.node.place, format!("this pattern is not taken: {why}"), "");
            return None;
        }
    };
    reading.field(&format!("args.{}", entry.key), entry.place);
    let field = Field::Argument(pointer(&entry.key).into());
    Some(if key == "argument_matches" {
        Condition::Matches(field, pattern)
    } else {
        Condition::NotMatches(field, pattern)
    })
}

impl Tools {
    pub(super) fn course(&self, facts: &Facts<'_>) -> Course<'_> {
        let matches = |rule: &&Rule| rule.matches(facts);
        Course::first_match(&self.rules, matches, |rule| rule.ruling(), Ruling::by_default(false))
    }

    pub(super) fn matching(&self, facts: &Facts<'_>) -> Vec<String> {
        let matching = self.rules.iter().filter(|rule| rule.matches(facts) == Ok(Truth::Yes));
        matching.map(|rule| rule.tool.to_string()).collect()
    }

    pub(super) fn outline(&self) -> Vec<Outline<'_>> {
        let effect = |allows| if allows { "allow" } else { "deny" };
        let each =
            self.rules.iter().map(|rule| Outline { name: &rule.tool, effect: effect(rule.allows), place: rule.place });
        each.collect()
    }

    pub(super) fn bytes(&self) -> usize {
        self.rules.capacity() * size_of::<Rule>()
    }
}

impl Rule {
    fn names(&self, tool: &str) -> Result<bool, Flaw> {
        match &self.pattern {
            _ if *self.tool == *"*" || *self.tool == *tool => Ok(true),
            Some(pattern) => pattern.is_match(tool),
            None => Ok(false),
        }
    }

    fn matches(&self, facts: &Facts<'_>) -> Result<Truth, Flaw> {
        let named = match facts.get(&Field::Tool) {
            Fact::Text(tool) => Truth::from(self.names(&tool)?),
            Fact::Open if *self.tool == *"*" => Truth::Yes,
            Fact::Open => Truth::Maybe,
            _ => Truth::No,
        };
        let mut least = named;
        for condition in &self.conditions {
            if least == Truth::No {
                break;
            }
            least = least.min(condition.holds(facts)?);
        }
        Ok(least)
    }

    fn ruling(&self) -> Ruling<'_> {
        let view = RuleView { name: &self.tool, reason: self.reason.as_deref(), remedy: None };
        Ruling::by_rule(self.allows, view)
    }
}

impl Condition {
    fn holds(&self, facts: &Facts<'_>) -> Result<Truth, Flaw> {
        match self {
            Condition::PathStartsWith(prefix) => {
                Ok(path(facts)?.map_or(Truth::Maybe, |path| Truth::from(path.starts_with(&**prefix))))
            }
            Condition::PathNotContains(words) => Ok(path(facts)?.map_or(Truth::Maybe, |path| {
                let path = path.to_lowercase();
                Truth::from(!words.iter().any(|word| path.contains(&**word)))
            })),
            Condition::Matches(field, pattern) => match facts.get(field) {
                Fact::Missing => Ok(Truth::No),
                Fact::Open => Ok(Truth::Maybe),
                fact => Ok(Truth::from(pattern.is_match(&string(&fact)?)?)),
            },
            Condition::NotMatches(field, pattern) => match facts.get(field) {
                Fact::Missing => Ok(Truth::Yes),
                Fact::Open => Ok(Truth::Maybe),
                fact => Ok(Truth::from(!pattern.is_match(&string(&fact)?)?)),
            },
        }
    }
}

/// The path of a call, empty where it has none; nothing where that is open. What is no text raises in JavaScript.
fn path(facts: &Facts<'_>) -> Result<Option<String>, Flaw> {
    for pointer in PATHS {
        match facts.get(&Field::Argument(pointer.into())) {
            Fact::Missing | Fact::Null | Fact::Bool(false) => {}
            Fact::Number(Number::Integer(0)) => {}
            Fact::Text(text) if text.is_empty() => {}
            Fact::Text(text) => return Ok(Some(text.into_owned())),
            Fact::Open => return Ok(None),
            _ => return Err(Flaw),
        }
    }
    Ok(Some(String::new()))
}

/// JavaScript's `String`, of what has a certain one.
fn string(fact: &Fact<'_>) -> Result<String, Flaw> {
    match fact {
        Fact::Text(text) => Ok(text.to_string()),
        Fact::Null => Ok("null".to_owned()),
        Fact::Bool(flag) => Ok(flag.to_string()),
        Fact::Number(Number::Integer(integer)) if integer.unsigned_abs() < 1 << 53 => Ok(integer.to_string()),
        Fact::Number(Number::Float(float)) if (1e-6..1e21).contains(&float.abs()) => Ok(float.to_string()),
        _ => Err(Flaw),
    }
}

#[cfg(test)]
mod tests;
