//! The native language: a YAML tree in, a checked [`Model`] out, with every problem named and placed.
//!
//! A key that is not known is an error, never ignored: a misspelt condition would otherwise widen its rule.

mod approvals;
mod hosts;
mod matchers;
mod messages;
mod moments;
mod rules;
mod upstreams;
pub(crate) mod values;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::model::{Effect, Mode, Model};
use super::problem::{Place, Problems, did_you_mean};
use super::rate::Buckets;
use super::yaml::{self, Entry, Node, Value};
use crate::limits;

pub(super) use hosts::Groups;

const KEYS: [&str; 9] =
    ["ringfence", "mode", "default", "hosts", "upstreams", "mcp_servers", "approvals", "rules", "tls"];

/// The keys of a policy text, native or not. Problems go to `problems`.
pub(super) fn open(text: &str, problems: &mut Problems) -> Option<Vec<Entry>> {
    let start = Place { line: 1, column: 1 };
    if text.len() > limits::POLICY_BYTES_MAX {
        let most = limits::POLICY_BYTES_MAX / (1024 * 1024);
        problems.error(start, format!("the file is longer than {most} MiB"), "split the policy");
        return None;
    }
    let node = match yaml::read(text) {
        Ok(node) => node,
        Err(error) => {
            problems.error(error.place, error.message, "");
            return None;
        }
    };
    match node.value {
        Value::Map(entries) => Some(entries),
        other => {
            let message = format!("a policy is a map, this is {}", other.describe());
            problems.error(start, message, "begin with `ringfence: v1`");
            None
        }
    }
}

/// Reads a native policy. Without an error there is a model.
pub(super) fn read(entries: &[Entry], problems: &mut Problems) -> Option<Model> {
    let model = read_entries(entries, problems);
    (!problems.has_errors()).then_some(model)
}

fn read_entries(entries: &[Entry], problems: &mut Problems) -> Model {
    let mut model = Model::empty();
    for entry in entries {
        refuse_unknown(entry, &KEYS, &[], "a policy", problems);
    }
    let find = |key: &str| entries.iter().find(|entry| entry.key == key);
    version(find("ringfence"), problems);
    if let Some(entry) = find("mode") {
        let known = [("enforce", Mode::Enforce), ("monitor", Mode::Monitor)];
        model.mode = values::choice(&entry.node, "mode", &known, problems).unwrap_or(model.mode);
    }
    if let Some(entry) = find("default") {
        let known = [("deny", Effect::Deny), ("allow", Effect::Allow)];
        model.default = values::choice(&entry.node, "default", &known, problems).unwrap_or(model.default);
    }
    let mut groups = find("hosts").map(|entry| Groups::read(&entry.node, problems)).unwrap_or_default();
    if let Some(entry) = find("upstreams") {
        model.upstreams = upstreams::read(&entry.node, problems);
    }
    if let Some(entry) = find("mcp_servers") {
        model.servers = messages::servers(&entry.node, problems);
    }
    if let Some(entry) = find("approvals") {
        model.approvers = approvals::read(&entry.node, problems);
    }
    if let Some(entry) = find("tls") {
        model.passthrough_place = entry.place;
        model.passthrough = messages::passthrough(&entry.node, &mut groups, problems);
        model.revocations = messages::revocations(&entry.node, problems);
    }
    match find("rules") {
        Some(entry) => model.rules = rules::read(&entry.node, &mut groups, problems),
        None if model.default == Effect::Deny && !problems.has_errors() => {
            let place = Place { line: 1, column: 1 };
            problems.warning(place, "there are no rules, so everything is denied", "add `rules:`");
        }
        None => {}
    }
    groups.warn_unused(problems);
    messages::warn_unknown(&model.rules, &model.servers, problems);
    let declared = find("approvals").map(|entry| &entry.node.value);
    let declared = if let Some(Value::Map(entries)) = declared { entries.as_slice() } else { &[] };
    approvals::settle(&model.rules, &model.approvers, declared, problems);
    settle(&mut model, problems);
    model
}

/// What rules share: the automata of their patterns, and the buckets of their rates.
fn settle(model: &mut Model, problems: &mut Problems) {
    let refused = model.regexes().build();
    for rule in &model.rules {
        let mut own = rule.when.all_named().flat_map(|(_, named)| named.matcher.regexes());
        if let Some(regex) = own.find(|regex| refused.iter().any(|text| **text == *regex.as_str())) {
            problems.error(rule.place, format!("the regex `{}` is too large", regex.as_str()), matchers::LARGE);
        }
    }
    let count = model.rules.iter().filter(|rule| rule.rate.is_some()).count();
    let buckets = Arc::new(Buckets::new(count));
    for (rate, number) in model.rules.iter_mut().filter_map(|rule| rule.rate.as_mut()).zip(0..) {
        rate.settle(&buckets, number);
    }
}

fn version(entry: Option<&Entry>, problems: &mut Problems) {
    let Some(entry) = entry else {
        let place = Place { line: 1, column: 1 };
        problems.error(place, "the version is missing", "begin with `ringfence: v1`");
        return;
    };
    if !matches!(&entry.node.value, Value::Text(version) if version == "v1") {
        let found = entry.node.value.describe();
        problems.error(entry.node.place, format!("the version is `v1`, found {found}"), "write `ringfence: v1`");
    }
}

/// The keys of each part of the language, by the name of the type that stands for it in the schema.
#[cfg(test)]
pub(super) fn keys() -> [(Option<&'static str>, &'static [&'static str]); 8] {
    [
        (None, &KEYS),
        (Some("Rule"), &rules::KEYS),
        (Some("Tests"), &matchers::TESTS),
        (Some("Mcp"), &messages::NAMES),
        (Some("McpServer"), &messages::SERVER),
        (Some("When"), &moments::KEYS),
        (Some("Upstream"), &upstreams::KEYS),
        (Some("Approver"), &approvals::KEYS),
    ]
}

/// Refuses a key that is unknown, or (one of `later`) known but not evaluated by this version.
pub(crate) fn refuse_unknown(entry: &Entry, known: &[&str], later: &[&str], of: &str, problems: &mut Problems) {
    let key = entry.key.as_str();
    if known.contains(&key) {
        return;
    }
    if later.contains(&key) {
        let message = format!("`{key}` is not supported by this version yet");
        problems.error(entry.place, message, "remove it; it is refused so that no rule means less than it says");
        return;
    }
    let remedy = match did_you_mean(key, known.iter().chain(later).copied()) {
        near if !near.is_empty() => near,
        _ => format!("the keys are {}", known.join(", ")),
    };
    problems.error(entry.place, format!("unknown key `{key}` in {of}"), remedy);
}

/// The entries of a map, or a problem.
pub(crate) fn map<'n>(node: &'n Node, what: &str, problems: &mut Problems) -> &'n [Entry] {
    match &node.value {
        Value::Map(entries) => entries,
        other => {
            problems.error(node.place, format!("{what} is a map, found {}", other.describe()), "");
            &[]
        }
    }
}
