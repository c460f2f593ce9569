//! The list of rules.

use std::collections::HashMap;

use super::super::model::{Access, Conditions, Effect, Rule};
use super::super::problem::{Place, Problems};
use super::super::subject::Scheme;
use super::super::yaml::{Entry, Node, Value};
use super::matchers::Names;
use super::{Groups, approvals, map, matchers, messages, moments, refuse_unknown, values};
use crate::limits;

pub(super) const KEYS: [&str; 20] = [
    "allow", "deny", "host", "port", "scheme", "cidr", "method", "access", "path", "header", "query", "body", "mcp",
    "args", "when", "rate", "ask", "reason", "remedy", "monitor",
];

pub(super) fn read(node: &Node, groups: &mut Groups, problems: &mut Problems) -> Vec<Rule> {
    let Value::List(nodes) = &node.value else {
        let message = format!("`rules` is a list, found {}", node.value.describe());
        problems.error(node.place, message, "write `rules: []` for no rules");
        return Vec::new();
    };
    if nodes.len() > limits::POLICY_RULES_MAX {
        let message = format!("there are more than {} rules", limits::POLICY_RULES_MAX);
        problems.error(node.place, message, "merge rules that differ in one value into one with a list");
        return Vec::new();
    }
    let mut rules = Vec::with_capacity(nodes.len());
    let mut names: HashMap<Box<str>, Place> = HashMap::with_capacity(nodes.len());
    let mut values_left = limits::POLICY_VALUES_MAX;
    for node in nodes {
        let Some(rule) = rule(node, groups, problems) else { continue };
        if let Some(first) = names.get(&rule.name) {
            let message = format!("the name `{}` is taken by the rule in line {}", rule.name, first.line);
            problems.error(rule.place, message, "give every rule its own name");
        }
        let Some(left) = values_left.checked_sub(count(&rule.when)) else {
            let message = format!("the rules up to here hold more than {} values", limits::POLICY_VALUES_MAX);
            problems.error(rule.place, message, "use `*.` patterns or path globs instead of long lists");
            break;
        };
        values_left = left;
        names.insert(rule.name.clone(), rule.place);
        rules.push(rule);
    }
    rules
}

fn count(when: &Conditions) -> usize {
    let hosts = when.hosts.as_ref().map_or(0, |list| list.len());
    let ports = when.ports.as_ref().map_or(0, |list| list.len());
    let paths = when.paths.as_ref().map_or(0, |list| list.len());
    let named: usize = when.all_named().map(|(_, named)| named.matcher.len()).sum();
    let mcp = when.mcp.as_ref().map_or(0, |names| names.len());
    hosts + ports + paths + named + mcp + when.blocks.as_ref().map_or(0, |list| list.len()) + 1
}

fn rule(node: &Node, groups: &mut Groups, problems: &mut Problems) -> Option<Rule> {
    let entries = map(node, "a rule", problems);
    if entries.is_empty() {
        if matches!(node.value, Value::Map(_)) {
            problems.error(node.place, "the rule is empty", "begin it with `allow: NAME` or `deny: NAME`");
        }
        return None;
    }
    for entry in entries {
        refuse_unknown(entry, &KEYS, &[], "a rule", problems);
    }
    let (effect, name, place) = effect(node.place, entries, problems)?;
    let find = |key: &str| entries.iter().find(|entry| entry.key == key);
    let mut sentence = |key: &str| find(key).and_then(|entry| values::text(&entry.node, key, problems)).map(Box::from);
    let (reason, remedy) = (sentence("reason"), sentence("remedy"));
    let monitor = monitor(find("monitor"), effect, problems);
    let allow_only = entries.iter().filter(|entry| matches!(entry.key.as_str(), "rate" | "ask"));
    for entry in allow_only.filter(|_| effect == Effect::Deny) {
        problems.error(entry.place, format!("`{}` belongs to an allow", entry.key), "remove it");
    }
    let rate = find("rate").and_then(|entry| moments::rate(&entry.node, problems));
    let ask = approvals::ask(entries, effect, problems);
    let when = conditions(entries, groups, problems);
    Some(Rule { name, effect, monitor, reason, remedy, when, rate, ask, place })
}

fn effect(place: Place, entries: &[Entry], problems: &mut Problems) -> Option<(Effect, Box<str>, Place)> {
    let mut effects = entries.iter().filter_map(|entry| match entry.key.as_str() {
        "allow" => Some((Effect::Allow, entry)),
        "deny" => Some((Effect::Deny, entry)),
        _ => None,
    });
    let Some((effect, entry)) = effects.next() else {
        problems.error(place, "the rule neither allows nor denies", "begin it with `allow: NAME` or `deny: NAME`");
        return None;
    };
    if let Some((_, second)) = effects.next() {
        problems.error(second.place, "the rule both allows and denies", "make two rules of it");
        return None;
    }
    let name = values::text(&entry.node, &entry.key, problems)?;
    Some((effect, name.into(), entry.place))
}

fn monitor(entry: Option<&Entry>, effect: Effect, problems: &mut Problems) -> bool {
    let Some(entry) = entry else { return false };
    let monitor = values::boolean(&entry.node, "monitor", problems).unwrap_or_default();
    if effect == Effect::Allow {
        problems.error(entry.place, "`monitor` belongs to a deny", "remove it, or make the rule a deny");
    }
    monitor
}

fn conditions(entries: &[Entry], groups: &mut Groups, problems: &mut Problems) -> Conditions {
    let mut when = Conditions::default();
    for Entry { key, node, .. } in entries {
        match key.as_str() {
            "host" => when.hosts = groups.hosts(node, problems),
            "port" => when.ports = values::list(node, key, problems, values::port),
            "scheme" => {
                let known = [("http", Scheme::Http), ("https", Scheme::Https)];
                when.schemes = values::list(node, key, problems, |node, p| values::choice(node, "scheme", &known, p));
            }
            "cidr" => when.blocks = values::list(node, key, problems, values::block),
            "method" => when.methods = values::list(node, key, problems, values::method),
            "access" => {
                let known =
                    [("read-only", Access::ReadOnly), ("read-write", Access::ReadWrite), ("full", Access::Full)];
                when.access = values::choice(node, key, &known, problems);
            }
            "path" => when.paths = values::list(node, key, problems, values::path),
            "header" => when.headers = matchers::named(key, Names::Fields, node, problems),
            "query" => when.query = matchers::named(key, Names::Parameters, node, problems),
            "body" => when.body = matchers::named(key, Names::Pointers, node, problems),
            "args" => when.arguments = matchers::named(key, Names::Arguments, node, problems),
            "mcp" => when.mcp = messages::names(node, problems),
            "when" => when.moment = moments::when(node, problems),
            _ => {}
        }
    }
    if let Some(access) = entries.iter().find(|entry| entry.key == "access") {
        refuse_disjoint(&when, access.node.place, problems);
    }
    let find = |key: &str| entries.iter().find(|entry| entry.key == key);
    if let (Some(args), None) = (find("args"), find("mcp")) {
        problems.error(args.place, "`args` are those of an MCP message", "add `mcp: { server: NAME, tool: NAME }`");
    }
    when
}

/// A rule whose `method` and `access` have no method in common cannot match.
fn refuse_disjoint(when: &Conditions, place: Place, problems: &mut Problems) {
    let access = when.access.and_then(Access::methods);
    let Some((methods, access)) = when.methods.as_ref().zip(access) else { return };
    if !methods.iter().any(|method| access.contains(&&**method)) {
        problems.error(
            place,
            "no method satisfies both `method` and `access`",
            "a rule needs both; remove one of them",
        );
    }
}
