//! The v4 `PolicyDocument`: rules with a condition of field, operator and value; the first that matches by priority decides.
//!
//! What AGT does and an author may not think of: a field is one literal key; a missing one satisfies no operator, not even `ne`; `matches` searches
//! anywhere and minds case; a comparison of different types is an error, and an error denies at once; `audit` permits.

use std::borrow::Cow;
use std::cell::OnceCell;

use super::super::Outline;
use super::super::decide::RuleView;
use super::super::problem::{Place, did_you_mean};
use super::super::yaml::{Entry, Node, Value};
use super::course::{Course, Flaw, Ruling, Truth};
use super::facts::{Fact, Facts, Field};
use super::moment::{self, Moment};
use super::reading::{Reading, find, list, map};
use super::regex::{Flavour, Pattern, Prepared, Set};
use super::scalar::{self, Py};
use crate::limits;

pub(super) mod check;

/// A document.
#[derive(Debug)]
pub(super) struct Document {
    /// By priority, equal ones in the order of the file.
    rules: Vec<Rule>,
    fields: Vec<Asked>,
    default: bool,
}

/// A field and the patterns that are searched in it.
#[derive(Debug)]
struct Asked {
    field: Field,
    patterns: Set,
}

#[derive(Debug)]
struct Rule {
    name: Box<str>,
    message: Option<Box<str>>,
    allows: bool,
    action: &'static str,
    /// The number of its field.
    field: usize,
    test: Test,
    moment: Option<Moment>,
    place: Place,
}

#[derive(Debug)]
enum Test {
    Eq(Py),
    Ne(Py),
    Gt(Py),
    Lt(Py),
    Gte(Py),
    Lte(Py),
    In(Py),
    NotIn(Py),
    Contains(Py),
    /// A pattern of its field's set.
    Matches(u32),
}

const OPERATORS: [&str; 10] = ["eq", "ne", "gt", "lt", "gte", "lte", "in", "not_in", "contains", "matches"];
const ACTIONS: [(&str, bool); 4] = [("allow", true), ("deny", false), ("audit", true), ("block", false)];

/// A rule as it was read, before patterns are joined.
struct Draft {
    priority: i128,
    field: Field,
    pattern: Option<Pattern>,
    rule: Rule,
}

pub(super) fn read(entries: &[Entry], reading: &mut Reading<'_>) -> Option<Document> {
    check::keys(entries, reading);
    let default = check::default(entries, reading);
    let start = Place { line: 1, column: 1 };
    let nodes = find(entries, "rules").and_then(|entry| list(&entry.node)).unwrap_or_default();
    if nodes.len() > limits::AGT_RULES_MAX {
        reading.problems.error(start, format!("there are more than {} rules", limits::AGT_RULES_MAX), "");
        return None;
    }
    let mut drafts: Vec<Draft> = nodes.iter().filter_map(|node| draft(node, reading)).collect();
    // Stable: ties keep the order of the file.
    drafts.sort_by_key(|draft| std::cmp::Reverse(draft.priority));
    let mut fields: Vec<(Field, Vec<Pattern>)> = Vec::new();
    let mut rules = Vec::with_capacity(drafts.len());
    for Draft { field, pattern, mut rule, .. } in drafts {
        rule.field = match fields.iter().position(|(known, _)| *known == field) {
            Some(at) => at,
            None => {
                fields.push((field, Vec::new()));
                fields.len() - 1
            }
        };
        if let (Some(pattern), Some((_, patterns))) = (pattern, fields.get_mut(rule.field)) {
            rule.test = Test::Matches(u32::try_from(patterns.len()).ok()?);
            patterns.push(pattern);
        }
        rules.push(rule);
    }
    let mut asked = Vec::new();
    for (field, patterns) in fields {
        match Set::new(patterns) {
            Ok(patterns) => asked.push(Asked { field, patterns }),
            Err(why) => {
                reading.problems.error(start, format!("the patterns cannot be joined: {why}"), "split the policy")
            }
        }
    }
    let document = Document { rules, fields: asked, default };
    if document.bytes() > limits::AGT_REGEXES_BYTES_MAX {
        reading.problems.error(start, "the patterns are too large together", "split the policy");
    }
    Some(document)
}

/// A text under a key; an error where it is missing or another value.
fn text<'n>(entries: &'n [Entry], key: &str, place: Place, reading: &mut Reading<'_>) -> Option<&'n str> {
    let entry = find(entries, key);
    if let Some(Value::Text(text)) = entry.map(|entry| &entry.node.value) {
        return Some(text);
    }
    let place = entry.map_or(place, |entry| entry.node.place);
    reading.problems.error(place, format!("a rule needs `{key}`, a text"), "");
    None
}

fn draft(node: &Node, reading: &mut Reading<'_>) -> Option<Draft> {
    let entries = map(node).unwrap_or_default();
    let name = text(entries, "name", node.place, reading)?;
    let action = text(entries, "action", node.place, reading)?;
    let known = ACTIONS.into_iter().find(|(known, _)| *known == action);
    let Some((action, allows)) = known else {
        let remedy = did_you_mean(action, ACTIONS.map(|(known, _)| known));
        reading.problems.error(
            node.place,
            format!("`{action}` is no action; they are allow, deny, audit and block"),
            remedy,
        );
        return None;
    };
    let condition = find(entries, "condition");
    let Some(condition) = condition.and_then(|entry| map(&entry.node)) else {
        let remedy = "`condition: {field, operator, value}`; in one file all conditions are of this kind";
        reading.problems.error(node.place, format!("the condition of `{name}` is no map"), remedy);
        return None;
    };
    let priority = check::priority(entries, reading)?;
    let message = match find(entries, "message").map(|entry| (&entry.node.value, entry.node.place)) {
        None => None,
        Some((Value::Text(message), _)) => Some(message.as_str()).filter(|message| !message.is_empty()),
        Some((_, place)) => {
            reading.problems.error(place, "`message` is a text", "put it in quotes");
            return None;
        }
    };
    let moment = match find(entries, "dynamic_condition") {
        None => None,
        Some(entry) if matches!(entry.node.value, Value::Null) => None,
        Some(entry) => Some(moment::read(&entry.node, reading)?),
    };
    let field_name = text(condition, "field", node.place, reading)?;
    let operator = text(condition, "operator", node.place, reading)?;
    let field = reading.field(field_name, find(condition, "field").map_or(node.place, |entry| entry.node.place));
    let Some(value) = find(condition, "value") else {
        reading.problems.error(node.place, format!("the condition of `{name}` needs `value`"), "");
        return None;
    };
    let (test, pattern) = test(operator, &value.node, reading)?;
    check::traps((name, allows, operator, field_name), &field, value.node.place, reading);
    let name = check::bounded(name, node.place, reading)?;
    let message = message.map(|message| check::shortened(message).into());
    let rule = Rule { name, message, allows, action, field: 0, test, moment, place: node.place };
    Some(Draft { priority, field, pattern, rule })
}

fn test(operator: &str, node: &Node, reading: &mut Reading<'_>) -> Option<(Test, Option<Pattern>)> {
    let value = match scalar::read(node, reading.text) {
        Ok(value) => value,
        Err((place, message)) => {
            reading.problems.error(place, message, "");
            return None;
        }
    };
    let test = match operator {
        "eq" => Test::Eq(value),
        "ne" => Test::Ne(value),
        "gt" => Test::Gt(value),
        "lt" => Test::Lt(value),
        "gte" => Test::Gte(value),
        "lte" => Test::Lte(value),
        "in" => Test::In(value),
        "not_in" => Test::NotIn(value),
        "contains" => Test::Contains(value),
        "matches" => {
            let Some(pattern) = value.text() else {
                reading.problems.error(node.place, "a pattern is a text", "");
                return None;
            };
            return match Pattern::new(&pattern, Flavour::Python) {
                Ok(pattern) => Some((Test::Matches(0), Some(pattern))),
                Err(why) => {
                    reading.problems.error(node.place, format!("this pattern is not taken: {why}"), "");
                    None
                }
            };
        }
        other => {
            let remedy = did_you_mean(other, OPERATORS);
            reading.problems.error(node.place, format!("`{other}` is no operator"), remedy);
            return None;
        }
    };
    Some((test, None))
}

/// A field's fact, and what sifting the patterns for it gave.
struct Seen<'f> {
    fact: Fact<'f>,
    prepared: Option<Prepared<'f>>,
}

/// What has been looked up for one decision. The cells cost it an allocation.
struct Sight<'d, 'f> {
    document: &'d Document,
    facts: &'f Facts<'f>,
    seen: Vec<OnceCell<Seen<'f>>>,
}

impl<'d, 'f> Sight<'d, 'f> {
    fn new(document: &'d Document, facts: &'f Facts<'f>) -> Sight<'d, 'f> {
        Sight { document, facts, seen: document.fields.iter().map(|_| OnceCell::new()).collect() }
    }

    fn matches(&self, rule: &Rule) -> Result<Truth, Flaw> {
        let (Some(asked), Some(seen)) = (self.document.fields.get(rule.field), self.seen.get(rule.field)) else {
            return Err(Flaw);
        };
        let seen = seen.get_or_init(|| asked.look(self.facts));
        let holds = match (&seen.fact, &rule.test) {
            (Fact::Missing | Fact::Null, _) => Truth::No,
            (Fact::Open, _) => Truth::Maybe,
            (Fact::Unreadable, _) => return Err(Flaw),
            (_, Test::Matches(number)) => match &seen.prepared {
                Some(prepared) => Truth::from(asked.patterns.is_match(*number, prepared)?),
                None => return Err(Flaw),
            },
            (fact, test) => Truth::from(test.holds(fact)?),
        };
        // AGT asks for the time only where the condition holds.
        let moment = rule.moment.as_ref().filter(|_| holds != Truth::No);
        Ok(moment.map_or(holds, |moment| holds.min(moment.holds(self.facts))))
    }
}

impl Asked {
    fn look<'f>(&self, facts: &Facts<'f>) -> Seen<'f> {
        let fact = facts.get(&self.field);
        let text: Option<Cow<'f, str>> = match &fact {
            Fact::Text(text) => Some(text.clone()),
            other => scalar::of_fact(other).ok().and_then(|value| value.text()).map(Cow::Owned),
        };
        Seen { prepared: text.map(|text| self.patterns.prepare(text)), fact }
    }
}

impl Test {
    /// Whether a fact that is not missing satisfies the test.
    fn holds(&self, fact: &Fact<'_>) -> Result<bool, Flaw> {
        let fact = &scalar::of_fact(fact)?;
        match self {
            Test::Eq(value) => Ok(fact.equals(value)),
            Test::Ne(value) => Ok(!fact.equals(value)),
            Test::Gt(value) => Ok(fact.compare(value)?.is_gt()),
            Test::Lt(value) => Ok(fact.compare(value)?.is_lt()),
            Test::Gte(value) => Ok(fact.compare(value)?.is_ge()),
            Test::Lte(value) => Ok(fact.compare(value)?.is_le()),
            Test::In(value) => fact.is_in(value),
            Test::NotIn(value) => Ok(!fact.is_in(value)?),
            Test::Contains(value) => value.is_in(fact),
            Test::Matches(_) => Err(Flaw),
        }
    }
}

impl Document {
    pub(super) fn course(&self, facts: &Facts<'_>) -> Course<'_> {
        let sight = Sight::new(self, facts);
        let default = Ruling::by_default(self.default);
        Course::first_match(&self.rules, |rule| sight.matches(rule), |rule| rule.ruling(), default)
    }

    pub(super) fn matching(&self, facts: &Facts<'_>) -> Vec<String> {
        let sight = Sight::new(self, facts);
        let matching = self.rules.iter().filter(|rule| sight.matches(rule) == Ok(Truth::Yes));
        matching.map(|rule| rule.name.to_string()).collect()
    }

    pub(super) fn outline(&self) -> Vec<Outline<'_>> {
        let each = self.rules.iter().map(|rule| Outline { name: &rule.name, effect: rule.action, place: rule.place });
        each.collect()
    }

    pub(super) fn bytes(&self) -> usize {
        self.rules.capacity() * size_of::<Rule>()
            + self.fields.iter().map(|asked| asked.patterns.bytes()).sum::<usize>()
    }
}

impl Rule {
    fn ruling(&self) -> Ruling<'_> {
        let view = RuleView { name: &self.name, reason: self.message.as_deref(), remedy: None };
        Ruling::by_rule(self.allows, view)
    }
}

#[cfg(test)]
mod tests;
