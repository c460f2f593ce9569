//! `governance.toolkit/v1`: rules with a condition in words, by priority.
//!
//! What AGT does and an author may not think of: a policy without `agents` applies to nobody, and denies all; only `allow` lets a call go, so
//! `warn` and `log` block; the first call of a window passes under every limit; a child cannot override what a parent denies.

use super::super::Outline;
use super::super::decide::RuleView;
use super::super::problem::{Place, Problems, did_you_mean};
use super::super::rate::{Buckets, Period};
use super::super::subject::Stage;
use super::super::yaml::{self, Entry, Node, Value};
use super::course::{Course, Flaw, Ruling, Truth};
use super::expression::{self, Expression};
use super::facts::Facts;
use super::reading::{Reading, find, list, map};
use crate::limits;

mod merge;

/// A policy.
#[derive(Debug)]
pub(super) struct Toolkit {
    /// By priority, equal ones in the order in which they were loaded.
    rules: Vec<Rule>,
    limits: Vec<Limit>,
    windows: Buckets,
    agents: Box<[Box<str>]>,
    default: bool,
}

#[derive(Debug)]
struct Rule {
    name: Box<str>,
    reason: Option<Box<str>>,
    action: &'static str,
    condition: Expression,
    stage: WhenAsked,
    priority: i128,
    is_enabled: bool,
    /// Of the rule itself, and then of the first of its name, which is the one that counts.
    limit: Option<Limit>,
    counts: Option<u32>,
    place: Place,
}

/// `30/minute`: a fixed window for each agent, from its first call.
#[derive(Debug, Clone)]
struct Limit {
    most: u32,
    per: Period,
    reason: Box<str>,
}

/// The stages of a call that AGT has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WhenAsked {
    Request,
    Response,
    /// Named with `--agt-unsupplied`.
    Never,
}

const ACTIONS: [&str; 5] = ["allow", "deny", "warn", "require_approval", "log"];
const VERSION: &str = "governance.toolkit/v1";

pub(super) fn read(entries: &[Entry], reading: &mut Reading<'_>) -> Option<Toolkit> {
    let start = Place { line: 1, column: 1 };
    let mut rules = merge::read(entries, reading, &mut vec![String::new()])?;
    if find(entries, "extends").is_some() {
        let message = "AGT's sidecar and policy server leave out the rules of files that are extended; here they hold";
        reading.problems.warning(find(entries, "extends").map_or(start, |entry| entry.place), message, "");
    }
    let agents = agents(entries, reading)?;
    let default = match find(entries, "default_action").map(|entry| (&entry.node.value, entry.node.place)) {
        None => false,
        Some((Value::Text(word), _)) if word == "allow" => true,
        Some((Value::Text(word), _)) if word == "deny" => false,
        Some((_, place)) => {
            reading.problems.error(place, "`default_action` is `allow` or `deny`", "");
            return None;
        }
    };
    if rules.len() > limits::AGT_RULES_MAX {
        reading.problems.error(start, format!("there are more than {} rules", limits::AGT_RULES_MAX), "");
        return None;
    }
    let limits = limits_by_name(&mut rules, reading);
    rules.sort_by_key(|rule| std::cmp::Reverse(rule.priority));
    let windows = Buckets::new(limits.len());
    Some(Toolkit { rules, limits, windows, agents, default })
}

/// Gives each rule the limit of the first rule of its name, as AGT does.
fn limits_by_name(rules: &mut [Rule], reading: &mut Reading<'_>) -> Vec<Limit> {
    let mut first = std::collections::HashMap::<Box<str>, Option<u32>>::new();
    let mut limits = Vec::new();
    for rule in rules {
        if let Some(counts) = first.get(&rule.name) {
            rule.counts = *counts;
            if rule.limit.is_some() || counts.is_some() {
                let message = format!("of several rules named `{}` the limit of the first holds for all", rule.name);
                reading.problems.warning(rule.place, message, "give each its own name");
            }
            continue;
        }
        if let Some(limit) = rule.limit.take() {
            rule.counts = u32::try_from(limits.len()).ok();
            limits.push(limit);
        }
        first.insert(rule.name.clone(), rule.counts);
    }
    limits
}

/// Whom the policy applies to.
fn agents(entries: &[Entry], reading: &mut Reading<'_>) -> Option<Box<[Box<str>]>> {
    let mut agents: Vec<Box<str>> = Vec::new();
    for key in ["agent", "agents"] {
        let Some(entry) = find(entries, key) else { continue };
        let nodes = match (&entry.node.value, key) {
            (Value::Null, "agent") => &[],
            (Value::Text(_), "agent") => std::slice::from_ref(&entry.node),
            (Value::List(nodes), "agents") => nodes.as_slice(),
            _ => {
                reading.problems.error(entry.node.place, "`agent` is a text, `agents` a list of texts", "");
                return None;
            }
        };
        for node in nodes {
            let Value::Text(name) = &node.value else {
                reading.problems.error(node.place, "an agent is a text", "");
                return None;
            };
            match (key, name.as_str()) {
                ("agent", "*") => {
                    reading.problems.warning(
                        node.place,
                        "`agent: \"*\"` names an agent of this name",
                        "write `agents: [\"*\"]`",
                    );
                    agents.push("\0*".into());
                }
                ("agent", "") => {}
                (_, name) => agents.push(name.into()),
            }
        }
    }
    if agents.is_empty() {
        let message = "without `agents` the policy applies to nobody, and everything is denied";
        reading.problems.warning(Place { line: 1, column: 1 }, message, "write `agents: [\"*\"]`");
    }
    Some(agents.into())
}

/// One rule.
fn rule(node: &Node, reading: &mut Reading<'_>) -> Option<Rule> {
    let entries = map(node).unwrap_or_default();
    let mut text = |key: &str| match find(entries, key).map(|entry| (&entry.node.value, entry.node.place)) {
        None | Some((Value::Null, _)) => Ok(None),
        Some((Value::Text(text), _)) => Ok(Some(text.as_str())),
        Some((_, place)) => {
            reading.problems.error(place, format!("`{key}` is a text"), "put it in quotes");
            Err(())
        }
    };
    let (name, condition) = (text("name").ok()?, text("condition").ok()?);
    let (action, stage) = (text("action").ok()?, text("stage").ok()?);
    let (description, limit) = (text("description").ok()?, text("limit").ok()?);
    let (Some(name), Some(condition)) = (name, condition) else {
        reading.problems.error(node.place, "a rule needs `name` and `condition`, both texts", "");
        return None;
    };
    for entry in entries.iter().filter(|entry| matches!(&*entry.key, "ruleAction" | "effect")) {
        let message = format!("AGT's Python engine does not read `{}`; without `action` a rule denies", entry.key);
        reading.problems.warning(entry.place, message, "write `action`");
    }
    let word = action.unwrap_or("deny");
    let Some(action) = ACTIONS.into_iter().find(|known| *known == word) else {
        let remedy = did_you_mean(word, ACTIONS);
        reading.problems.error(node.place, format!("`{word}` is no action; they are {}", ACTIONS.join(", ")), remedy);
        return None;
    };
    if matches!(action, "warn" | "log" | "require_approval") {
        let message = format!("`{name}` blocks: to AGT's Python engine only `allow` lets a call go, not `{action}`");
        reading.problems.warning(node.place, message, "write `allow` or `deny`");
    }
    let stage = self::stage(stage.unwrap_or("pre_tool"), node.place, reading)?;
    let limit = match limit {
        None => None,
        Some(limit) => Some(self::limit(limit, node.place, reading)?),
    };
    let place = find(entries, "condition").map_or(node.place, |entry| entry.node.place);
    let is_enabled = flag(find(entries, "enabled"), reading)?;
    let condition = expression::read(condition, place, reading)?;
    let priority = super::document::check::priority(entries, reading)?;
    let name = super::document::check::bounded(name, node.place, reading)?;
    let reason = description.map(|text| super::document::check::shortened(text).into());
    let place = node.place;
    Some(Rule { name, reason, action, condition, stage, priority, is_enabled, limit, counts: None, place })
}

fn stage(word: &str, place: Place, reading: &mut Reading<'_>) -> Option<WhenAsked> {
    match word {
        "pre_tool" => Some(WhenAsked::Request),
        "post_tool" => {
            // What is asked after the call is asked of its answer.
            reading.field("tool_response", place);
            Some(WhenAsked::Response)
        }
        "pre_input" | "pre_output" => {
            if reading.is_unsupplied(word) {
                return Some(WhenAsked::Never);
            }
            reading.refuse_unsupplied(word, place, "");
            None
        }
        other => {
            let remedy = did_you_mean(other, ["pre_input", "pre_tool", "post_tool", "pre_output"]);
            reading.problems.error(place, format!("`{other}` is no stage"), remedy);
            None
        }
    }
}

/// A boolean as pydantic takes it.
fn flag(entry: Option<&Entry>, reading: &mut Reading<'_>) -> Option<bool> {
    let Some(entry) = entry else { return Some(true) };
    let word = match &entry.node.value {
        Value::Bool(flag) => return Some(*flag),
        Value::Integer(number @ (0 | 1)) => return Some(*number == 1),
        Value::Text(word) => word.to_ascii_lowercase(),
        _ => String::new(),
    };
    match word.as_str() {
        "yes" | "y" | "on" | "t" | "true" | "1" => Some(true),
        "no" | "n" | "off" | "f" | "false" | "0" => Some(false),
        _ => {
            reading.problems.error(entry.node.place, format!("`{}` is true or false", entry.key), "");
            None
        }
    }
}

fn limit(text: &str, place: Place, reading: &mut Reading<'_>) -> Option<Limit> {
    let parts: Vec<&str> = text.split('/').map(str::trim).collect();
    let found = if let [count, period] = parts.as_slice() {
        let period = period.to_lowercase();
        let per = Period::WORDS.into_iter().find(|(word, _)| *word == period).map(|(_, per)| per);
        count.parse::<u32>().ok().zip(per)
    } else {
        None
    };
    let Some((most, per)) = found.filter(|(most, _)| *most <= limits::POLICY_RATE_COUNT_MAX) else {
        let remedy = "write it like 30/minute: second, minute, hour or day";
        reading.problems.error(place, format!("`{text}` is no limit"), remedy);
        return None;
    };
    if most == 0 {
        reading.problems.warning(
            place,
            "the first call of a window passes under every limit, also under 0",
            "deny instead",
        );
    }
    Some(Limit { most: most.max(1), per, reason: format!("Rate limited: {text}").into() })
}

impl Toolkit {
    pub(super) fn course(&self, facts: &Facts<'_>) -> Course<'_> {
        let applies = self.applies_to(facts);
        if applies == Truth::No {
            return Course::settled(Ruling::by_default(false));
        }
        let matches = |rule: &&Rule| rule.matches(facts);
        let course = Course::first_match(
            &self.rules,
            matches,
            |rule| self.ruling(rule, facts),
            Ruling::by_default(self.default),
        );
        if applies == Truth::Maybe {
            Course { is_open: true, last: Ruling::by_default(false), ..course }
        } else {
            course
        }
    }

    fn applies_to(&self, facts: &Facts<'_>) -> Truth {
        let is = |name: &str| self.agents.iter().any(|agent| **agent == *name);
        match facts.agent() {
            _ if self.agents.is_empty() => Truth::No,
            _ if is("*") => Truth::Yes,
            None => Truth::Maybe,
            Some("*") => Truth::from(is("\0*")),
            Some(agent) => Truth::from(is(agent)),
        }
    }

    /// What a rule that wins rules: its action, unless its limit is used up.
    fn ruling<'r>(&'r self, rule: &'r Rule, facts: &Facts<'_>) -> Ruling<'r> {
        let limit = rule.counts.and_then(|number| Some((number, self.limits.get(number as usize)?)));
        let view = RuleView { name: &rule.name, reason: rule.reason.as_deref(), remedy: None };
        match (limit, facts.agent()) {
            (Some((number, limit)), Some(agent))
                if !facts.under_way && !self.windows.has_place((number, agent), limit.most, facts.subject.time_ns) =>
            {
                Ruling::by_rule(false, RuleView { reason: Some(&limit.reason), ..view })
            }
            (limit, _) => {
                let allows = rule.action == "allow";
                let limit = limit.map(|(number, _)| number).filter(|_| allows && facts.subject.stage == Stage::Request);
                Ruling { limit, ..Ruling::by_rule(allows, view) }
            }
        }
    }

    /// Counts a call; false where others have filled the window in between.
    pub(super) fn take(&self, number: u32, agent: &str, time_ns: u64) -> bool {
        let limit = self.limits.get(number as usize);
        limit.is_none_or(|limit| self.windows.take_place((number, agent), (limit.most, limit.per), time_ns))
    }

    pub(super) fn matching(&self, facts: &Facts<'_>) -> Vec<String> {
        if self.applies_to(facts) != Truth::Yes {
            return Vec::new();
        }
        let matching = self.rules.iter().filter(|rule| rule.matches(facts) == Ok(Truth::Yes));
        matching.map(|rule| rule.name.to_string()).collect()
    }

    pub(super) fn outline(&self) -> Vec<Outline<'_>> {
        let each = self.rules.iter().map(|rule| Outline { name: &rule.name, effect: rule.action, place: rule.place });
        each.collect()
    }

    pub(super) fn bytes(&self) -> usize {
        self.rules.capacity() * size_of::<Rule>() + self.windows.bytes()
    }
}

impl Rule {
    fn matches(&self, facts: &Facts<'_>) -> Result<Truth, Flaw> {
        let stage = match facts.subject.stage {
            Stage::Request => WhenAsked::Request,
            Stage::Response(_) => WhenAsked::Response,
            // AGT has no stage at which tools are described.
            Stage::Description(_) => return Ok(Truth::No),
        };
        if self.is_enabled && self.stage == stage { self.condition.holds(facts) } else { Ok(Truth::No) }
    }
}

#[cfg(test)]
mod tests;
