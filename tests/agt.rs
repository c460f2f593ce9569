//! Policies of AGT's, decided here and by AGT's own evaluators: random documents, rule files and patterns, random contexts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use ringfence::policy::{
    Direction, Host, Look, Lookup, Mcp, NoFiles, Policy, Scheme, Source, Stage, Subject, Terms, Value, load_with,
};
use serde_json::{Value as Json, json};

/// Choices from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 16) % sides as u64).unwrap()
    }

    fn chance(&mut self, of: usize) -> bool {
        self.roll(of) == 0
    }

    fn pick<'v>(&mut self, values: &[&'v str]) -> &'v str {
        values[self.roll(values.len())]
    }
}

/// A policy, and what is asked of it, here and there.
struct Case {
    kind: &'static str,
    policy: String,
    asked: Vec<Asked>,
}

enum Asked {
    Request { agent: &'static str, host: &'static str, method: &'static str, port: u16, path: &'static str, time: u64 },
    Description(String),
}

#[derive(Debug)]
struct Query;

impl Lookup for Query {
    fn values(&self, _name: &str, _found: &mut dyn FnMut(Value<'_>)) {}

    fn text(&self) -> Option<Cow<'_, [u8]>> {
        Some(b"q=1".as_slice().into())
    }
}

impl Asked {
    fn context(&self) -> Json {
        match self {
            Asked::Description(text) => {
                json!({"context": {"tool_name": "t", "tool_description": text}, "time": 0, "agent": "a"})
            }
            Asked::Request { agent, host, method, port, path, time } => {
                let port_text = if *port == 443 { String::new() } else { format!(":{port}") };
                let url = format!("https://{host}{port_text}{path}?q=1");
                json!({"agent": agent, "time": time, "context": {
                    "agent": agent, "host": host, "method": method, "port": port, "path": path, "url": url, "query": "q=1",
                    "scheme": "https", "tool_name": "http.request", "action": {"tool": "http.request", "path": path},
                }})
            }
        }
    }

    /// As AGT's evaluators answer.
    fn decide(&self, policy: &Policy) -> Json {
        let told = |subject: &Subject<'_>| {
            let decision = policy.decide(subject);
            let rule = match (decision.rule, decision.code.map(|code| code.as_str())) {
                (Some(rule), _) => json!(rule.name),
                (None, Some("policy_error")) => json!("error"),
                (None, _) => Json::Null,
            };
            json!([decision.verdict.as_str() == "allow", rule])
        };
        match self {
            Asked::Description(text) => {
                let mcp = Mcp {
                    server: "s",
                    declared: true,
                    direction: Direction::ToServer,
                    method: "tools/call",
                    tool: Some("t"),
                    resource: None,
                    prompt: None,
                    arguments: Look::Absent,
                };
                told(&Subject { agent: "a", mcp: Some(mcp), stage: Stage::Description(text), ..Subject::EMPTY })
            }
            Asked::Request { agent, host, method, port, path, time } => told(&Subject {
                agent,
                scheme: Scheme::Https,
                host: Host::Name(host),
                port: *port,
                method,
                paths: &[path],
                query: Look::At(&Query),
                time_ns: time * 1_000_000_000,
                ..Subject::EMPTY
            }),
        }
    }
}

fn request(dice: &mut Dice) -> Asked {
    Asked::Request {
        agent: dice.pick(&["coder", "other"]),
        host: dice.pick(&["a.example.com", "b.example.com", "example.org"]),
        method: dice.pick(&["GET", "PUT", "POST"]),
        port: [443, 80, 8443][dice.roll(3)],
        path: dice.pick(&["/", "/v1/a", "/v1/Secret", "/5"]),
        time: 1_790_000_000 + dice.roll(1_000_000) as u64,
    }
}

const SCALARS: [&str; 14] = [
    "GET",
    "\"GET\"",
    "443",
    "\"443\"",
    "80.5",
    "443.0",
    "yes",
    "\"yes\"",
    "null",
    "a.example.com",
    "\"\"",
    "1",
    "/v1",
    "true",
];

fn document(dice: &mut Dice) -> Case {
    let mut policy = String::from("version: \"1.0\"\nname: d\n");
    if !dice.chance(4) {
        let _ = writeln!(policy, "defaults: {{action: {}}}", dice.pick(&["allow", "deny", "audit", "block"]));
    }
    policy.push_str("rules:\n");
    for number in 0..1 + dice.roll(8) {
        let operator = dice.pick(&["eq", "ne", "gt", "lt", "gte", "lte", "in", "not_in", "contains", "matches"]);
        let field =
            dice.pick(&["host", "method", "port", "path", "url", "query", "agent", "tool_name", "tool_response"]);
        let value = match operator {
            "in" | "not_in" if !dice.chance(4) => {
                let items: Vec<&str> = (0..dice.roll(4)).map(|_| dice.pick(&SCALARS)).collect();
                format!("[{}]", items.join(", "))
            }
            "matches" => serde_json::to_string(&pattern(dice, 2)).unwrap(),
            _ => dice.pick(&SCALARS).to_owned(),
        };
        let (action, priority) = (dice.pick(&["allow", "deny", "audit", "block"]), dice.roll(3));
        let _ = writeln!(policy, "- name: r{number}\n  action: {action}\n  priority: {priority}");
        let _ = writeln!(policy, "  condition: {{field: {field}, operator: {operator}, value: {value}}}");
        if dice.chance(4) {
            let zone = dice.pick(&["UTC", "Europe/Berlin", "America/New_York", "utc", "No/Where"]);
            let (start, end) = (dice.roll(24), dice.roll(24));
            let days = dice.pick(&["", ", days_of_week: [1, 2, 3]", ", days_of_week: [6, 7]", ", days_of_week: []"]);
            let _ = writeln!(
                policy,
                "  dynamic_condition: {{type: time_window, timezone: {zone}, start_time: \"{start:02}:30\", end_time: \"{end}:00\"{days}}}"
            );
        }
    }
    Case { kind: "document", policy, asked: (0..12).map(|_| request(dice)).collect() }
}

fn toolkit(dice: &mut Dice) -> Case {
    let agents = dice.pick(&["[\"*\"]", "[coder]", "[]", "[other, coder]"]);
    let mut policy = format!(
        "apiVersion: governance.toolkit/v1\nname: t\nagents: {agents}\ndefault_action: {}\nrules:\n",
        dice.pick(&["allow", "deny"])
    );
    for number in 0..1 + dice.roll(6) {
        let action = dice.pick(&["allow", "deny", "warn", "log", "require_approval"]);
        let condition = serde_json::to_string(&condition(dice)).unwrap();
        let (priority, enabled) = (dice.roll(3), dice.pick(&["yes", "on", "true", "off"]));
        let _ = writeln!(
            policy,
            "- {{name: r{number}, action: {action}, priority: {priority}, enabled: {enabled}, condition: {condition}}}"
        );
    }
    Case { kind: "toolkit", policy, asked: (0..12).map(|_| request(dice)).collect() }
}

/// A condition made of pieces that AGT understands and of pieces that it does not.
fn condition(dice: &mut Dice) -> String {
    let mut text = dice.pick(&["", "", "", " ", "not ", "("]).to_owned();
    for number in 0..1 + dice.roll(3) {
        if number > 0 {
            text.push_str(dice.pick(&[" and ", " or ", " or", "\tand ", " && ", "  or  ", " and  and "]));
        }
        text.push_str(dice.pick(&[
            "host",
            "method",
            "port",
            "path",
            "action.tool",
            "action.path",
            "tool_name",
            "scheme",
            "query",
        ]));
        text.push_str(dice.pick(&[
            " == 'GET'",
            "=='a.example.com'",
            " == \"http.request'",
            " == 443",
            " == ''",
            " != 'GET'",
            " !='/v1/a' trailing",
            " in ['GET', \"PUT\"]",
            " in [443, a.example.com , '']",
            " in []",
            " not in ['GET']",
            " > 80",
            ">=443",
            " < 443.5x",
            " <= 5",
            " > -1",
            "",
            "",
            "\n",
            " == 'this or that'",
            " == 'https'",
        ]));
    }
    text
}

/// A regular expression: mostly well-formed, over a small alphabet with characters that engines take differently.
fn pattern(dice: &mut Dice, depth: usize) -> String {
    let mut text = match (depth, dice.roll(6)) {
        (3, 0) => "(?i)",
        (3, 1) => "(?im)",
        (3, 2) => "(?s)",
        _ => "",
    }
    .to_owned();
    for _ in 0..1 + dice.roll(4) {
        let atom = match dice.roll(if depth == 0 { 8 } else { 12 }) {
            0 => dice.pick(&["\\w", "\\W", "\\s", "\\S", "\\d", "\\D", "."]).to_owned(),
            1 => dice.pick(&["\\b", "\\B", "^", "$", "\\A", "\\Z"]).to_owned(),
            2 => dice
                .pick(&[
                    "[a-k]",
                    "[^i]",
                    "[]x]",
                    "[\\w-]",
                    "[\\s,]",
                    "[^\\W\\d]",
                    "[[a]",
                    "[a&&b]",
                    "[\\d\\-k]",
                    "[\\b]",
                    "[K-i]",
                ])
                .to_owned(),
            3 => dice
                .pick(&[
                    "\\n", "\\x41", "\\u0131", "\\.", "\\-", "\\<", "\\/", "\\101", "\\0", "{", "}", "]", "{,2}",
                    "{x}", "\u{e9}", "\u{301}", "#",
                ])
                .to_owned(),
            4..8 => dice.pick(&["a", "i", "k", "s", "K", "x", "1", " ", "-", "_", "ab", "ik"]).to_owned(),
            8 => format!("({})", pattern(dice, depth - 1)),
            9 => format!("(?:{}|{})", pattern(dice, depth - 1), pattern(dice, depth - 1)),
            10 => format!(
                "{}{})",
                dice.pick(&["(?=", "(?!", "(?<=", "(?<!", "(?i:", "(?>", "(?P<n>", "(?-i:"]),
                pattern(dice, depth - 1)
            ),
            _ => dice.pick(&["(a|i)\\1", "(?P<q>k)(?P=q)", "\\1", "(?#c)", "(", ")", "|", "\\"]).to_owned(),
        };
        text.push_str(&atom);
        if dice.chance(3) {
            text.push_str(dice.pick(&["*", "+", "?", "{2}", "{1,2}", "{,2}", "{1,}", "*?", "+?", "??", "++", "{2}?"]));
        }
    }
    text
}

fn patterns(dice: &mut Dice) -> Case {
    let pattern = pattern(dice, 3);
    // In an empty text `\\B` holds for some versions of Python.
    let least = usize::from(pattern.contains("\\B"));
    let pattern = serde_json::to_string(&pattern).unwrap();
    let policy = format!(
        "version: \"1.0\"\nname: p\ndefaults: {{action: allow}}\nrules:\n- {{name: r, action: deny, condition: {{field: tool_description, operator: matches, value: {pattern}}}}}\n"
    );
    let text = |dice: &mut Dice| {
        let characters = [
            "a", "i", "k", "s", "I", "K", "x", "1", " ", "-", "_", "\n", "\u{131}", "\u{130}", "\u{17f}", "\u{212a}",
            "\u{e9}", "\u{301}", "\u{b2}", "\u{1c}", "\u{a0}", "\u{203f}", "\u{663}", "ab", "{", "]", ",", "A",
            "\u{8}", "\u{85}", "\r",
        ];
        (0..least + dice.roll(9)).map(|_| dice.pick(&characters)).collect()
    };
    Case { kind: "document", policy, asked: (0..24).map(|_| Asked::Description(text(dice))).collect() }
}

/// What AGT answers to each case.
fn agt(cases: &[Case]) -> Vec<Json> {
    let target = Path::new(env!("CARGO_BIN_EXE_ringfence")).ancestors().nth(2).unwrap();
    let python = target.join("agt-venv/bin/python");
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/agt/decide_agt.py");
    let mut child = Command::new(python)
        .arg(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("scripts/test has made target/agt-venv");
    let mut stdin = child.stdin.take().unwrap();
    let lines: String = cases
        .iter()
        .map(|case| {
            let asked: Vec<Json> = case.asked.iter().map(Asked::context).collect();
            format!("{}\n", json!({"kind": case.kind, "policy": case.policy, "asked": asked}))
        })
        .collect();
    let writing = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap().unwrap();
    assert!(output.status.success());
    let told = String::from_utf8(output.stdout).unwrap();
    told.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Decides cases here and there; of policies that do not load here, says how many. Returns the decisions compared.
fn compare(cases: &[Case]) -> (usize, usize) {
    let (mut compared, mut refused) = (0, 0);
    let unsupplied = ["tool_response".to_owned()];
    let terms = Terms { unsupplied: &unsupplied, files: &NoFiles };
    for (case, theirs) in cases.iter().zip(agt(cases)) {
        let loaded = load_with(Source { name: "p.yaml", text: &case.policy }, &terms);
        let Some(policy) = loaded.policy else {
            refused += 1;
            continue;
        };
        let theirs = theirs.as_array().unwrap_or_else(|| panic!("AGT does not load what loads here\n{}", case.policy));
        for (asked, theirs) in case.asked.iter().zip(theirs) {
            assert_eq!(asked.decide(&policy), *theirs, "ours, and AGT's\n{}\n{}", asked.context(), case.policy);
            compared += 1;
        }
    }
    (compared, refused)
}

#[test]
#[ignore = "needs the packages of tests/agt/requirements.txt; scripts/test installs them and runs it"]
fn documents_decide_as_agt_decides_them() {
    let mut dice = Dice(0x5eed_0001);
    let cases: Vec<Case> = (0..4_000).map(|_| document(&mut dice)).collect();
    let (compared, refused) = compare(&cases);
    println!("{compared} decisions alike; {refused} of {} documents are refused here", cases.len());
    assert!(compared > 10_000);
}

#[test]
#[ignore = "needs the packages of tests/agt/requirements.txt; scripts/test installs them and runs it"]
fn rule_files_decide_as_agt_decides_them() {
    let mut dice = Dice(0x5eed_0002);
    let cases: Vec<Case> = (0..4_000).map(|_| toolkit(&mut dice)).collect();
    let (compared, refused) = compare(&cases);
    println!("{compared} decisions alike; {refused} of {} rule files are refused here", cases.len());
    assert!(compared > 40_000 && refused == 0);
}

#[test]
#[ignore = "needs the packages of tests/agt/requirements.txt; scripts/test installs them and runs it"]
fn patterns_find_what_pythons_find() {
    let mut dice = Dice(0x5eed_0003);
    let cases: Vec<Case> = (0..10_000).map(|_| patterns(&mut dice)).collect();
    let (compared, refused) = compare(&cases);
    println!("{compared} searches alike; {refused} of {} patterns are refused here", cases.len());
    assert!(compared > 50_000);
}
