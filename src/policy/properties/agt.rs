//! AGT's rules walked plainly, beside the compiled ones: random documents and rule files, random subjects.
//!
//! What is shared with the code under test is the text of the policy and nothing else: a context is a map of names to values, patterns are asked of
//! another engine, and conditions are taken apart by hand.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write as _;

use regex_automata::meta;

use super::draw::Dice;
use crate::policy::{Host, Look, Lookup, Policy, Reply, Scheme, Source, Stage, Subject, Value, load};

/// A request as a context of AGT's.
struct Request {
    host: &'static str,
    method: &'static str,
    port: u16,
    path: &'static str,
    header: Option<&'static str>,
    agent: &'static str,
    stage: Option<&'static str>,
}

/// A value of a context, or of a policy.
#[derive(Debug, Clone, PartialEq)]
enum Plain {
    Text(String),
    Number(i64),
    List(Vec<Plain>),
}

/// A rule of a document.
struct Drawn {
    name: String,
    action: &'static str,
    priority: i64,
    field: &'static str,
    operator: &'static str,
    value: Plain,
}

#[derive(Debug)]
struct Header(Option<&'static str>);

impl Lookup for Header {
    fn values(&self, name: &str, found: &mut dyn FnMut(Value<'_>)) {
        if name == "x-note" {
            self.0.into_iter().for_each(|text| found(Value::Text(text.as_bytes())));
        }
    }
}

const HOSTS: [&str; 4] = ["a.example.com", "b.example.com", "api.example.com", "example.org"];
const METHODS: [&str; 4] = ["GET", "PUT", "POST", "HEAD"];
const PATHS: [&str; 5] = ["/", "/v1/a", "/v1/secret=abcdefgh", "/V1/Ignore previous", "/x/../y"];
const NOTES: [&str; 5] = ["note", "key\u{301} in", "IGNORE all previous", "1", "caf\u{e9} \u{b2}"];
const FIELDS: [&str; 7] = ["host", "method", "port", "path", "header.x-note", "tool_name", "tool_response"];
const OPERATORS: [&str; 10] = ["eq", "ne", "gt", "lt", "gte", "lte", "in", "not_in", "contains", "matches"];
/// Patterns that mean the same to Python and to the reference's engine, over the texts above.
const PATTERNS: [&str; 10] = [
    "(?i)ignore (all )?previous",
    "secret=[a-z]{8,}",
    "^/v1/",
    "example",
    "[0-9]+",
    "GET|PUT",
    "no.e",
    "(?i)API",
    "^$",
    "e",
];
const TEXTS: [&str; 8] = ["GET", "a.example.com", "example", "note", "/v1/a", "1", "443", "http.request"];

impl Request {
    fn draw(dice: &mut Dice<'_>) -> Request {
        Request {
            host: dice.pick(&HOSTS),
            method: dice.pick(&METHODS),
            port: [443, 80, 8443][dice.roll(3)],
            path: dice.pick(&PATHS),
            header: (!dice.chance(3)).then(|| dice.pick(&NOTES)),
            agent: dice.pick(&["coder", "other"]),
            stage: dice.chance(4).then(|| dice.pick(&NOTES)),
        }
    }

    fn context(&self) -> HashMap<&'static str, Plain> {
        let text = |text: &str| Plain::Text(text.to_owned());
        let mut context = HashMap::from([
            ("host", text(self.host)),
            ("method", text(self.method)),
            ("port", Plain::Number(self.port.into())),
            ("path", text(self.path)),
            ("tool_name", text("http.request")),
            ("agent", text(self.agent)),
        ]);
        context.extend(self.header.map(|note| ("header.x-note", text(note))));
        context.extend(self.stage.map(|answer| ("tool_response", text(answer))));
        context
    }

    fn with_subject<T>(&self, then: impl FnOnce(&Subject<'_>) -> T) -> T {
        let header = Header(self.header);
        then(&Subject {
            agent: self.agent,
            scheme: Scheme::Https,
            host: Host::Name(self.host),
            port: self.port,
            method: self.method,
            paths: &[self.path],
            headers: Look::At(&header),
            stage: self.stage.map_or(Stage::Request, |texts| Stage::Response(Reply { texts, ..Reply::default() })),
            ..Subject::EMPTY
        })
    }
}

/// Documents and rule files drawn from `bytes` decide as plain walks over their rules do. Returns the comparisons made.
pub fn agt_decides_as_the_reference(bytes: &[u8]) -> usize {
    let mut dice = Dice::new(bytes);
    let requests = 50;
    let (text, rules, default) = document(&mut dice);
    let policy = policy(&text);
    for _ in 0..requests {
        let request = Request::draw(&mut dice);
        let expected = decide_document(&rules, default, &request);
        compare(&policy, &request, expected, &text);
    }
    let (text, rules, default) = toolkit(&mut dice);
    let policy = self::policy(&text);
    for _ in 0..requests {
        let request = Request::draw(&mut dice);
        let expected = decide_toolkit(&rules, default, &request);
        compare(&policy, &request, expected, &text);
    }
    2 * requests
}

fn policy(text: &str) -> Policy {
    let loaded = load(Source { name: "p.yaml", text });
    loaded.policy.unwrap_or_else(|| panic!("{:?}\n{text}", loaded.problems))
}

/// Whether it is allowed, and what decided.
type Outcome = (bool, String);

fn compare(policy: &Policy, request: &Request, expected: Outcome, text: &str) {
    // Where no rule matches an answer, the decision on the call stands.
    let stands = request.stage.is_some() && expected.1 == "default";
    let expected = if stands { (true, "default".to_owned()) } else { expected };
    request.with_subject(|subject| {
        let decision = policy.decide(subject);
        let by = decision.rule.map(|rule| rule.name).or(decision.code.map(|code| code.as_str())).unwrap_or_default();
        assert_eq!((decision.verdict.as_str() == "allow", by.to_owned()), expected, "{subject:?}\n{text}");
        let (late, early) = (decision.verdict, policy.ask(&Subject { headers: Look::NotLooked, ..*subject }));
        if let crate::policy::Answer::Decided(early) = early {
            assert_eq!(early.verdict, late, "decided without the header fields\n{subject:?}\n{text}");
        }
        let goes = decision.verdict.as_str() == "allow" && request.stage.is_none();
        assert!(!goes || policy.may_admit(Host::Name(request.host)), "{subject:?}\n{text}");
    });
}

fn document(dice: &mut Dice<'_>) -> (String, Vec<Drawn>, bool) {
    let default = dice.pick(&["allow", "deny", "audit", "block"]);
    let mut text = format!("version: \"1.0\"\nname: d\ndefaults: {{action: {default}}}\nrules:\n");
    let mut rules = Vec::new();
    for number in 0..1 + dice.roll(12) {
        let operator = dice.pick(&OPERATORS);
        let value = match operator {
            "matches" => Plain::Text(dice.pick(&PATTERNS).to_owned()),
            "in" | "not_in" if !dice.chance(4) => Plain::List((0..dice.roll(4)).map(|_| scalar(dice)).collect()),
            _ => scalar(dice),
        };
        let rule = Drawn {
            name: format!("r{number}"),
            action: dice.pick(&["allow", "deny", "audit", "block"]),
            priority: i64::try_from(dice.roll(4)).unwrap(),
            field: dice.pick(&FIELDS),
            operator,
            value,
        };
        let Drawn { name, action, priority, field, .. } = &rule;
        let _ = writeln!(
            text,
            "- {{name: {name}, action: {action}, priority: {priority}, condition: {{field: {field}, operator: {operator}, value: {}}}}}",
            rule.value.yaml()
        );
        rules.push(rule);
    }
    (text, rules, matches!(default, "allow" | "audit"))
}

fn scalar(dice: &mut Dice<'_>) -> Plain {
    if dice.chance(3) {
        Plain::Number([1, 80, 443, 444][dice.roll(4)])
    } else {
        Plain::Text(dice.pick(&TEXTS).to_owned())
    }
}

impl Plain {
    fn yaml(&self) -> String {
        match self {
            Plain::Text(text) => serde_json::to_string(text).unwrap(),
            Plain::Number(number) => number.to_string(),
            Plain::List(items) => format!("[{}]", items.iter().map(Plain::yaml).collect::<Vec<_>>().join(", ")),
        }
    }

    fn text(&self) -> String {
        match self {
            Plain::Text(text) => text.clone(),
            Plain::Number(number) => number.to_string(),
            Plain::List(_) => String::new(),
        }
    }
}

fn decide_document(rules: &[Drawn], default: bool, request: &Request) -> Outcome {
    let context = request.context();
    let mut order: Vec<&Drawn> = rules.iter().collect();
    order.sort_by_key(|rule| std::cmp::Reverse(rule.priority));
    for rule in order {
        match condition(rule, context.get(rule.field)) {
            None => return (false, "policy_error".to_owned()),
            Some(true) => return (matches!(rule.action, "allow" | "audit"), rule.name.clone()),
            Some(false) => {}
        }
    }
    (default, "default".to_owned())
}

/// Whether a condition holds; nothing where Python raises.
fn condition(rule: &Drawn, fact: Option<&Plain>) -> Option<bool> {
    let Some(fact) = fact else { return Some(false) };
    let less = || match (fact, &rule.value) {
        (Plain::Text(one), Plain::Text(other)) => Some(one < other),
        (Plain::Number(one), Plain::Number(other)) => Some(one < other),
        _ => None,
    };
    let within = |item: &Plain, whole: &Plain| match (item, whole) {
        (_, Plain::List(items)) => Some(items.contains(item)),
        (Plain::Text(part), Plain::Text(text)) => Some(text.contains(part.as_str())),
        _ => None,
    };
    let equal = *fact == rule.value;
    match rule.operator {
        "eq" => Some(equal),
        "ne" => Some(!equal),
        "lt" => less(),
        "gte" => less().map(|less| !less),
        "lte" => less().map(|less| less || equal),
        "gt" => less().map(|less| !less && !equal),
        "in" => within(fact, &rule.value),
        "not_in" => within(fact, &rule.value).map(|within| !within),
        "contains" => within(&rule.value, fact),
        _ => Some(finds(&rule.value.text(), &fact.text())),
    }
}

fn finds(pattern: &str, text: &str) -> bool {
    thread_local! {
        static KNOWN: RefCell<HashMap<String, meta::Regex>> = RefCell::default();
    }
    KNOWN.with_borrow_mut(|known| {
        known.entry(pattern.to_owned()).or_insert_with(|| meta::Regex::new(pattern).unwrap()).is_match(text)
    })
}

/// A rule of a rule file.
struct Worded {
    name: String,
    action: &'static str,
    priority: i64,
    condition: String,
    stage: &'static str,
}

fn toolkit(dice: &mut Dice<'_>) -> (String, Vec<Worded>, Option<bool>) {
    let agents = dice.pick(&["[\"*\"]", "[coder]", "[\"*\"]", "[]"]);
    let default = dice.pick(&["allow", "deny"]);
    let mut text =
        format!("apiVersion: governance.toolkit/v1\nname: t\nagents: {agents}\ndefault_action: {default}\nrules:\n");
    let mut rules = Vec::new();
    for number in 0..1 + dice.roll(8) {
        let rule = Worded {
            name: format!("r{number}"),
            action: dice.pick(&["allow", "deny", "warn", "log", "require_approval"]),
            priority: i64::try_from(dice.roll(4)).unwrap(),
            condition: worded(dice),
            stage: dice.pick(&["pre_tool", "pre_tool", "post_tool"]),
        };
        let condition = serde_json::to_string(&rule.condition).unwrap();
        let Worded { name, action, priority, stage, .. } = &rule;
        let _ = writeln!(
            text,
            "- {{name: {name}, action: {action}, priority: {priority}, stage: {stage}, condition: {condition}}}"
        );
        rules.push(rule);
    }
    let applies_to = match agents {
        "[coder]" => Some(false),
        "[]" => None,
        _ => Some(true),
    };
    // Who it applies to is told to the reference by a rule that nobody draws.
    let marker = applies_to.map_or("nobody", |all| if all { "all" } else { "coder" });
    rules.push(Worded { name: marker.to_owned(), action: "", priority: 0, condition: String::new(), stage: "" });
    (text, rules, Some(default == "allow"))
}

fn worded(dice: &mut Dice<'_>) -> String {
    let mut text = String::new();
    for number in 0..1 + dice.roll(3) {
        if number > 0 {
            text.push_str(dice.pick(&[" and ", " or ", " and", "  or  ", " && "]));
        }
        let field = dice.pick(&["host", "method", "port", "path", "header.x-note", "tool_name", "agent"]);
        let field = if field.contains('-') { "resource" } else { field };
        let value = dice.pick(&TEXTS);
        let _ = match dice.roll(9) {
            0 => write!(text, "{field} == '{value}'"),
            1 => write!(text, "{field} != \"{value}\""),
            2 => write!(text, "{field} in ['{value}', 'PUT',GET]"),
            3 => write!(text, "{field} > 80"),
            4 => write!(text, "{field} <= 443.5"),
            5 => write!(text, "{field}"),
            6 => write!(text, "{field} == 443"),
            7 => write!(text, "not {field}"),
            _ => write!(text, "{field}=='{value} or x'"),
        };
    }
    text
}

fn decide_toolkit(rules: &[Worded], default: Option<bool>, request: &Request) -> Outcome {
    let mut context = request.context();
    let (port, path) = (request.port, request.path);
    let port = if port == 443 { String::new() } else { format!(":{port}") };
    context.insert("resource", Plain::Text(format!("https://{}{port}{path}", request.host)));
    let (marker, rules) = rules.split_last().unwrap();
    if marker.name == "nobody" || marker.name == "coder" && request.agent != "coder" {
        return (false, "default".to_owned());
    }
    let stage = if request.stage.is_some() { "post_tool" } else { "pre_tool" };
    let matching = rules.iter().filter(|rule| rule.stage == stage && expression(&rule.condition, &context));
    // Of the highest priority the first.
    match matching.rev().max_by_key(|rule| rule.priority) {
        Some(rule) => (rule.action == "allow", rule.name.clone()),
        None => (default.unwrap_or(false), "default".to_owned()),
    }
}

/// A condition taken apart by hand.
fn expression(text: &str, context: &HashMap<&str, Plain>) -> bool {
    for (word, any) in [(" or ", true), (" and ", false)] {
        if text.contains(word) {
            let mut parts = text.split(word).map(|part| expression(part.trim(), context));
            return if any { parts.any(|holds| holds) } else { parts.all(|holds| holds) };
        }
    }
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.')).unwrap_or(text.len());
    let (path, rest) = text.split_at(end);
    if path.is_empty() {
        return false;
    }
    let fact = context.get(path);
    let bare = rest.trim_start();
    let quoted = |rest: &str| {
        let inner = rest.trim_start().strip_prefix(['\'', '"'])?;
        let end = inner.find(['\'', '"']).filter(|end| *end > 0)?;
        Some(inner[..end].to_owned())
    };
    if let Some(value) = bare.strip_prefix("==").and_then(quoted) {
        return fact == Some(&Plain::Text(value));
    }
    if let Some(value) = bare.strip_prefix("!=").and_then(quoted) {
        return fact != Some(&Plain::Text(value));
    }
    if let Some(list) = rest.strip_prefix(" in [").and_then(|list| list.split_once(']')) {
        let mut items = list.0.split(',').map(|item| item.trim().trim_matches(['\'', '"']).to_owned());
        return items.any(|item| fact == Some(&Plain::Text(item)));
    }
    let number = match fact {
        None => Some(0.0),
        Some(Plain::Number(number)) => Some(*number as f64),
        Some(Plain::Text(text)) => text.trim().parse().ok(),
        Some(Plain::List(_)) => None,
    };
    if bare.starts_with("> 80") {
        return number.is_some_and(|number| number > 80.0);
    }
    if bare.starts_with("<= 443.5") {
        return number.is_some_and(|number| number <= 443.5);
    }
    rest.is_empty()
        && fact.is_some_and(|fact| !matches!(fact, Plain::Text(text) if text.is_empty()) && *fact != Plain::Number(0))
}
