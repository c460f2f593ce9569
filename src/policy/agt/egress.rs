//! The egress dialect: `rules: [{domain, ports, protocol, action}]`, the first that matches decides.
//!
//! AGT does not read such a file as YAML but line by line, and knows four keys; a file that YAML reads otherwise is refused. `domain` is a shell
//! pattern over the whole host name, in which `*` stands for dots too. Nothing matches: AGT's default, which no file can change, denies.

use super::super::Outline;
use super::super::decide::RuleView;
use super::super::number::Number;
use super::super::problem::Place;
use super::super::yaml::{Entry, Node, Value};
use super::course::{Course, Flaw, Ruling, Truth};
use super::facts::{Fact, Facts, Field};
use super::reading::{Reading, find, list, map};
use super::shell::Pattern;
use crate::limits;

/// An egress list.
#[derive(Debug)]
pub(super) struct Egress {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    lines: Lines,
    pattern: Pattern,
    place: Place,
}

/// What a rule says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Lines {
    domain: String,
    ports: Vec<i128>,
    protocol: String,
    action: String,
}

pub(super) fn read(entries: &[Entry], reading: &mut Reading<'_>) -> Option<Egress> {
    let start = Place { line: 1, column: 1 };
    for entry in entries.iter().filter(|entry| !matches!(&*entry.key, "rules" | "version" | "name" | "description")) {
        let why = "AGT does not read it from the file; where no rule matches, it denies";
        reading.idle(entry, why);
    }
    for name in ["host", "port"] {
        reading.field(name, start);
    }
    let nodes = find(entries, "rules").and_then(|entry| list(&entry.node)).unwrap_or_default();
    if nodes.len() > limits::AGT_RULES_MAX {
        reading.problems.error(start, format!("there are more than {} rules", limits::AGT_RULES_MAX), "");
        return None;
    }
    let as_lines = match by_lines(reading.text) {
        Ok(rules) => rules,
        Err(message) => {
            reading.problems.error(start, format!("AGT reads this file line by line, and refuses it: {message}"), "");
            return None;
        }
    };
    let mut rules = Vec::new();
    for (at, node) in nodes.iter().enumerate() {
        let Some(found) = as_yaml(node, reading) else { continue };
        if as_lines.get(at) != Some(&found) {
            let read = as_lines.get(at).map_or("not at all".to_owned(), |lines| format!("as {lines}"));
            let message = format!("AGT reads this file line by line, and this rule {read}");
            let remedy = "begin with `- domain:`, write `ports: [443]` on one line, and no comment behind a value";
            reading.problems.error(node.place, message, remedy);
            continue;
        }
        warn(&found, node.place, reading);
        rules.push(Rule { pattern: Pattern::new(&found.domain.to_lowercase()), lines: found, place: node.place });
    }
    if as_lines.len() > nodes.len() {
        reading.problems.error(
            start,
            "AGT reads this file line by line, and finds more rules in it than YAML does",
            "",
        );
    }
    Some(Egress { rules })
}

fn warn(rule: &Lines, place: Place, reading: &mut Reading<'_>) {
    let Lines { domain, ports, protocol, action } = rule;
    if let Some(rest) = domain.strip_prefix('*').filter(|rest| !rest.starts_with('.') && !rest.is_empty())
        && action == "allow"
    {
        let message = format!("`{domain}` is also the end of names of strangers, such as `x{rest}`");
        reading.problems.warning(place, message, "write `*.` and the apex as two rules");
    }
    if protocol == "udp" {
        reading.problems.warning(place, "this rule never matches: ringfence forwards no UDP", "");
    }
    if ports.is_empty() {
        reading.problems.warning(place, "this rule never matches: it has no ports", "write `ports: [443]`");
    }
}

/// A rule as YAML has it.
fn as_yaml(node: &Node, reading: &mut Reading<'_>) -> Option<Lines> {
    let Some(entries) = map(node) else {
        reading.problems.error(node.place, "a rule is a map with `domain`", "");
        return None;
    };
    for entry in entries {
        if !matches!(&*entry.key, "domain" | "ports" | "protocol" | "action") {
            reading.idle(entry, "AGT does not know it");
        }
    }
    let text = |key: &str, default: &str| match find(entries, key).map(|entry| &entry.node.value) {
        None => Some(default.to_owned()),
        Some(Value::Text(text)) => Some(text.clone()),
        Some(_) => None,
    };
    let ports = match find(entries, "ports") {
        None => Some(vec![443]),
        Some(entry) => list(&entry.node).and_then(|nodes| nodes.iter().map(integer).collect()),
    };
    let lines = (text("domain", ""), ports, text("protocol", "tcp"), text("action", "allow"));
    let (Some(domain), Some(ports), Some(protocol), Some(action)) = lines else {
        let remedy = "`domain`, `protocol` and `action` are texts, `ports` a list of numbers";
        reading.problems.error(node.place, "this is no rule", remedy);
        return None;
    };
    Some(Lines { domain, ports, protocol, action })
}

fn integer(node: &Node) -> Option<i128> {
    if let Value::Integer(value) = node.value { Some(value) } else { None }
}

/// The rules as AGT's reader finds them.
fn by_lines(text: &str) -> Result<Vec<Lines>, String> {
    let mut rules = Vec::new();
    let mut current: Vec<(&str, String)> = Vec::new();
    for line in text.lines().map(str::trim) {
        let value = || line.split_once(':').map(|(_, value)| value.trim()).unwrap_or_default();
        let unquoted = || value().trim_matches(['"', '\'']).to_owned();
        if line.is_empty() || line.starts_with('#') || line == "rules:" || line == "rules" {
            continue;
        }
        if line.starts_with("- domain:") {
            if !current.is_empty() {
                rules.push(of_lines(&std::mem::take(&mut current))?);
            }
            current.push(("domain", unquoted()));
        } else if line.starts_with("ports:") {
            current.push(("ports", value().to_owned()));
        } else if let Some(key) = ["domain", "protocol", "action"]
            .into_iter()
            .find(|key| line.strip_prefix(key).is_some_and(|rest| rest.starts_with(':')))
        {
            current.push((key, unquoted()));
        }
    }
    if !current.is_empty() {
        rules.push(of_lines(&current)?);
    }
    Ok(rules)
}

fn of_lines(found: &[(&str, String)]) -> Result<Lines, String> {
    let last = |key: &str, default: &str| {
        let value = found.iter().rev().find(|(found, _)| *found == key).map(|(_, value)| value.as_str());
        value.unwrap_or(default).to_owned()
    };
    let raw = last("ports", "[443]");
    let ports = raw.trim().trim_matches(['[', ']']).split(',').map(str::trim).filter(|port| !port.is_empty());
    let ports = ports.map(|port| port.parse().map_err(|_| format!("`{port}` is no port"))).collect::<Result<_, _>>()?;
    let lines =
        Lines { domain: last("domain", ""), ports, protocol: last("protocol", "tcp"), action: last("action", "allow") };
    match (&*lines.action, &*lines.protocol) {
        ("allow" | "deny", "tcp" | "udp") => Ok(lines),
        ("allow" | "deny", protocol) => Err(format!("`{protocol}` is no protocol")),
        (action, _) => Err(format!("`{action}` is no action")),
    }
}

impl std::fmt::Display for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Lines { domain, ports, protocol, action } = self;
        write!(f, "`{action}` for `{domain}`, ports {ports:?}, {protocol}")
    }
}

impl Egress {
    pub(super) fn course(&self, facts: &Facts<'_>) -> Course<'_> {
        // Every subject goes somewhere over TCP; a message over standard streams goes nowhere, and no rule is about it.
        let (host, port) = (facts.get(&Field::Host), facts.get(&Field::Port));
        let matches = |rule: &&Rule| rule.matches(&host, &port);
        Course::first_match(&self.rules, matches, |rule| rule.ruling(), Ruling::by_default(false))
    }

    pub(super) fn matching(&self, facts: &Facts<'_>) -> Vec<String> {
        let (host, port) = (facts.get(&Field::Host), facts.get(&Field::Port));
        let matching = self.rules.iter().filter(|rule| rule.matches(&host, &port) == Ok(Truth::Yes));
        matching.map(|rule| rule.lines.domain.clone()).collect()
    }

    pub(super) fn outline(&self) -> Vec<Outline<'_>> {
        let outlines = self.rules.iter().map(|rule| Outline {
            name: &rule.lines.domain,
            effect: &rule.lines.action,
            place: rule.place,
        });
        outlines.collect()
    }

    pub(super) fn bytes(&self) -> usize {
        self.rules.capacity() * size_of::<Rule>()
    }
}

impl Rule {
    fn matches(&self, host: &Fact<'_>, port: &Fact<'_>) -> Result<Truth, Flaw> {
        if self.lines.protocol != "tcp" {
            return Ok(Truth::No);
        }
        let port = match port {
            Fact::Number(Number::Integer(port)) => Truth::from(self.lines.ports.contains(port)),
            Fact::Open if self.lines.ports.is_empty() => Truth::No,
            Fact::Open => Truth::Maybe,
            _ => Truth::No,
        };
        let host = match host {
            Fact::Text(host) => Truth::from(self.pattern.matches(&host.to_lowercase())),
            Fact::Open => Truth::Maybe,
            _ => Truth::No,
        };
        Ok(port.min(host))
    }

    fn ruling(&self) -> Ruling<'_> {
        let view = RuleView { name: &self.lines.domain, reason: None, remedy: None };
        Ruling::by_rule(self.lines.action == "allow", view)
    }
}
