//! Random policies and subjects over one small vocabulary.

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::policy::{Direction, Host, Look, Lookup, Mcp, Number, Scheme, Subject, Value};

/// Choices drawn from bytes, and from a generator seeded by them when they run out.
pub(super) struct Dice<'b> {
    bytes: &'b [u8],
    state: u64,
}

impl<'b> Dice<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        let state =
            bytes.iter().fold(0x9e37_79b9, |state: u64, byte| (state ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
        Self { bytes, state: state | 1 }
    }

    /// A number below `sides`.
    pub(super) fn roll(&mut self, sides: usize) -> usize {
        let value = match self.bytes.split_first() {
            Some((first, rest)) => {
                self.bytes = rest;
                u64::from(*first)
            }
            None => {
                self.state ^= self.state << 13;
                self.state ^= self.state >> 7;
                self.state ^= self.state << 17;
                self.state >> 16
            }
        };
        usize::try_from(value % sides.max(1) as u64).unwrap_or_default()
    }

    pub(super) fn chance(&mut self, of: usize) -> bool {
        self.roll(of) == 0
    }

    pub(super) fn pick<'v>(&mut self, values: &[&'v str]) -> &'v str {
        values[self.roll(values.len())]
    }
}

const LABELS: [&str; 4] = ["a", "b", "api", "x-1"];
const TOPS: [&str; 3] = ["a", "example", "b.example"];
const METHODS: [&str; 6] = ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PURGE"];
const SEGMENTS: [&str; 5] = ["a", "b", "ab", "aab", ""];
const GLOBS: [&str; 10] = ["a", "b", "ab", "*", "*", "a*", "*b", "a*b", "**", "a**b"];
const ADDRESSES: [&str; 6] = ["10.0.0.1", "10.1.0.1", "93.184.216.34", "fd00::1", "2600::1", "192.0.2.7"];

fn host_text(dice: &mut Dice<'_>) -> String {
    // Deep names bring more suffixes than one dimension keeps.
    let depth = if dice.chance(6) { 20 + dice.roll(12) } else { dice.roll(4) };
    let same = dice.chance(2);
    let mut name = String::new();
    for _ in 0..depth {
        let label = if same { "a" } else { dice.pick(&LABELS) };
        let _ = write!(name, "{label}.");
    }
    name + dice.pick(&TOPS)
}

fn path_text(dice: &mut Dice<'_>, segments: &[&str]) -> String {
    // Long ones are of one literal: the reference tries everything, which many stars in a long pattern make too much.
    let same = dice.chance(3);
    let depth = if same && dice.chance(3) { 24 + dice.roll(8) } else { 1 + dice.roll(5) };
    let mut path = String::new();
    for _ in 0..depth {
        let segment = if same { segments[0] } else { dice.pick(segments) };
        let _ = write!(path, "/{segment}");
    }
    path
}

pub(super) fn policy_text(dice: &mut Dice<'_>) -> String {
    let mut text = String::from("ringfence: v1\n");
    let _ = writeln!(text, "default: {}", if dice.chance(3) { "allow" } else { "deny" });
    text.push_str("approvals: { ann: { command: [/bin/true] }, bob: { webhook: \"https://bob.example/\" } }\n");
    let _ = writeln!(text, "mode: {}", if dice.chance(6) { "monitor" } else { "enforce" });
    let rules = match dice.roll(8) {
        0 => 700,
        1 | 2 => 60,
        most => 2 * most,
    };
    // Long policies mostly hold one kind of rule, so that sets grow beyond lists.
    let plain = dice.chance(2) && rules > 12;
    text.push_str(if rules == 0 { "rules: []\n" } else { "rules:\n" });
    for number in 0..rules {
        let deny = dice.chance(3);
        let _ = writeln!(text, "  - {}: r{number}", if deny { "deny" } else { "allow" });
        if deny && dice.chance(3) {
            text.push_str("    monitor: true\n");
        }
        let rated = !deny && dice.chance(9);
        if rated {
            text.push_str("    rate: 10/minute\n");
        }
        conditions(dice, plain, &mut text);
        let message = named_conditions(dice, plain, &mut text);
        if message && !deny && !rated && dice.chance(2) {
            let _ = writeln!(text, "    ask: {}", dice.pick(&["ann", "bob"]));
        }
    }
    text
}

/// The policy with some rules taken away, narrowed or joined by others.
pub(super) fn changed(dice: &mut Dice<'_>, text: &str) -> String {
    let (head, rules) = text.split_once("rules:").unwrap();
    let mut changed = String::new();
    for (number, rule) in (0..).zip(rules.split("  - ").skip(1)) {
        match dice.roll(16) {
            0 => continue,
            1 if rule.starts_with("allow") && !rule.contains("scheme:") => {
                let _ = writeln!(changed, "  - {rule}    scheme: https");
            }
            2 if rule.starts_with("allow") => {
                let _ = write!(changed, "  - deny: n{number}\n    path: /a/**\n  - {rule}");
            }
            3 if rule.contains("/**\"") => {
                let _ = write!(changed, "  - {}", rule.replace("/**\"", "/a\""));
            }
            _ => {
                let _ = write!(changed, "  - {rule}");
            }
        }
    }
    let rules = if changed.is_empty() { " []\n".to_owned() } else { format!("\n{changed}") };
    format!(
        "{}rules:{rules}",
        if dice.chance(2) { head.replace("default: allow", "default: deny") } else { head.to_owned() }
    )
}

fn conditions(dice: &mut Dice<'_>, plain: bool, text: &mut String) {
    let rare = if plain { 9 } else { 2 };
    if dice.chance(2) {
        let mut hosts = Vec::new();
        for _ in 0..=dice.roll(3) {
            hosts.push(match dice.roll(12) {
                0..5 => host_text(dice),
                5..10 => format!("*.{}", host_text(dice)),
                10 => dice.pick(&ADDRESSES).to_owned(),
                _ => "*".to_owned(),
            });
        }
        let _ = writeln!(text, "    host: [{}]", quoted(&hosts));
    }
    if dice.chance(rare) {
        let _ = writeln!(text, "    scheme: {}", dice.pick(&["http", "https", "[http, https]"]));
    }
    if dice.chance(2) {
        let _ = writeln!(text, "    port: {}", dice.pick(&["80", "443", "8080", "[80, 443]", "[443, 80, 8080]"]));
    }
    if dice.chance(rare) {
        let _ =
            writeln!(text, "    method: {}", dice.pick(&["GET", "[POST, GET]", "DELETE", "PURGE", "[OPTIONS, GET]"]));
    }
    if dice.chance(rare) {
        let _ = writeln!(text, "    access: {}", dice.pick(&["full", "full"]));
    } else if !text.trim_end().ends_with("PURGE") && !text.trim_end().ends_with("DELETE") && dice.chance(3) {
        let _ = writeln!(text, "    access: {}", dice.pick(&["read-write", "full", "read-write"]));
    }
    if dice.chance(rare) {
        let mut blocks = Vec::new();
        for _ in 0..=dice.roll(2) {
            let address: IpAddr = dice.pick(&ADDRESSES).parse().unwrap();
            let most = if address.is_ipv4() { 32 } else { 128 };
            let length = u8::try_from(dice.roll(most + 1)).unwrap();
            blocks.push(ipnet::IpNet::new(address, length).unwrap().trunc().to_string());
        }
        let _ = writeln!(text, "    cidr: [{}]", quoted(&blocks));
    }
    if dice.chance(2) {
        let mut paths = Vec::new();
        for _ in 0..=dice.roll(2) {
            let close = if dice.chance(3) { "/**" } else { "" };
            let segments = if dice.chance(2) { &SEGMENTS[..] } else { &GLOBS[..] };
            paths.push(path_text(dice, segments) + close);
        }
        let _ = writeln!(text, "    path: [{}]", quoted(&paths));
    }
}

fn quoted(values: &[String]) -> String {
    values.iter().map(|value| format!("\"{value}\"")).collect::<Vec<_>>().join(", ")
}

const MATCHERS: [&str; 28] = [
    "a",
    "5",
    "[a, b]",
    "ab",
    "true",
    "{ not: a }",
    "{ not: [a, 5] }",
    "{ prefix: a }",
    "{ prefix: /w/ }",
    "{ glob: \"a*\" }",
    "{ glob: \"*b\" }",
    "{ glob: /w/** }",
    "{ glob: [\"/w/*\", b] }",
    "{ regex: \"^a\" }",
    "{ regex: b }",
    "{ regex: [\"a|5\", \"^$\"] }",
    "{ min: 5 }",
    "{ max: 5, min: 1 }",
    "{ length: 1 }",
    "{ length: { max: 2 } }",
    "{ present: true }",
    "{ present: false }",
    "{ in: [a, b, ab], regex: b }",
    "[a, { min: 10 }]",
    "[5, true]",
    "{ not: { prefix: a }, present: true }",
    "[{ glob: \"*\" }, { not: b }]",
    "{ not: { regex: a } }",
];
const NAMES: [&str; 3] = ["k", "l", "m"];
const TEXTS: [&str; 14] = ["a", "b", "ab", "ba", "5", "12", "true", "", "/w/a", "/w", "/w/../a", "/w//a", "aab", "é"];
const SERVERS: [&str; 4] = ["files", "fetch", "a.b.example", "f*"];
const METHODS_MCP: [&str; 9] = [
    "tools/call",
    "tools/list",
    "initialize",
    "ping",
    "resources/read",
    "prompts/get",
    "sampling/createMessage",
    "notifications/progress",
    "tasks/get",
];
const TOOLS: [&str; 5] = ["read", "read_file", "write", "re\u{430}d_file", "read_*"];
const RESOURCES: [&str; 3] = ["file:///w/a", "file:///x", "file:///w/**"];
const URIS: [&str; 3] = ["file:///w/a", "file:///w/../a", "file:///x"];
const AGENTS: [&str; 4] = ["coder", "bot", "coder-2", "coder*"];

/// Conditions on named values, messages and moments. Whether the rule is about messages to the server, so that it can ask.
fn named_conditions(dice: &mut Dice<'_>, plain: bool, text: &mut String) -> bool {
    let rare = if plain { 12 } else { 5 };
    let message = dice.chance(4);
    let mut to_server = true;
    for (key, slash) in [("header", ""), ("query", ""), ("body", "/"), ("args", "")] {
        if key == "args" && !message || !dice.chance(rare) {
            continue;
        }
        let _ = write!(text, "    {key}: {{ {slash}{}: {}", NAMES[0], dice.pick(&MATCHERS));
        if dice.chance(4) {
            let _ = write!(text, ", {slash}{}: {}", NAMES[1], dice.pick(&MATCHERS));
        }
        text.push_str(" }\n");
    }
    if message {
        let mut parts = Vec::new();
        if !dice.chance(4) {
            parts.push(format!("server: \"{}\"", dice.pick(&SERVERS)));
        }
        match dice.roll(6) {
            0 | 1 => parts.push(format!("tool: [\"{}\", \"{}\"]", dice.pick(&TOOLS), dice.pick(&TOOLS))),
            2 => parts.push(format!("resource: \"{}\"", dice.pick(&RESOURCES))),
            3 => {
                let method = dice.pick(&METHODS_MCP);
                to_server = !method.starts_with("sampling");
                parts.push(format!("method: [{method}, \"t*/**\"]"));
            }
            4 => parts.push("prompt: p".to_owned()),
            _ => {}
        }
        if parts.is_empty() {
            parts.push("server: \"*\"".to_owned());
        }
        let _ = writeln!(text, "    mcp: {{ {} }}", parts.join(", "));
    }
    if dice.chance(rare) {
        let agent = format!("agent: [{}]", quoted(&[dice.pick(&AGENTS).to_owned(), dice.pick(&AGENTS).to_owned()]));
        let times = [
            "days: [fri, sat]",
            "hours: \"22:00-04:00\"",
            "days: fri, hours: [\"00:00-06:00\", \"12:00-24:00\"], zone: Europe/Berlin",
        ];
        let when = match dice.roll(3) {
            0 => agent,
            1 => dice.pick(&times).to_owned(),
            _ => format!("{agent}, {}", dice.pick(&times)),
        };
        let _ = writeln!(text, "    when: {{ {when} }}");
    }
    message && to_server
}

/// Values by name, owned.
#[derive(Debug)]
pub(super) struct Values(Vec<(&'static str, Value<'static>)>);

impl Values {
    fn new(dice: &mut Dice<'_>, json: bool) -> Values {
        let values = (0..dice.roll(4)).map(|_| {
            let text = Value::Text(dice.pick(&TEXTS).as_bytes());
            let value = match dice.roll(12) {
                0 => Value::Unreadable,
                1 if json => Value::Null,
                2 if json => Value::Bool(dice.chance(2)),
                3 if json => Value::List(dice.roll(4)),
                4 | 5 if json => Value::Number(Number::Integer([1, 5, 12][dice.roll(3)])),
                _ => text,
            };
            (NAMES[dice.roll(2)], value)
        });
        let mut values: Vec<_> = values.collect();
        if json {
            values.dedup_by_key(|(name, _)| *name);
        }
        Values(values)
    }
}

impl Lookup for Values {
    fn values(&self, name: &str, found: &mut dyn FnMut(Value<'_>)) {
        let name = name.trim_start_matches('/');
        self.0.iter().filter(|(known, _)| *known == name).for_each(|(_, value)| found(*value));
    }
}

/// A random subject, owned.
#[derive(Debug)]
pub(super) struct Drawn {
    agent: &'static str,
    name: Option<String>,
    literal: IpAddr,
    scheme: Scheme,
    port: u16,
    address: Option<IpAddr>,
    method: String,
    paths: Vec<String>,
    headers: Values,
    query: Values,
    pub(super) body: Values,
    pub(super) arguments: Values,
    /// Of body and arguments: not looked, absent, unreadable, there.
    looks: (usize, usize),
    mcp: Option<(&'static str, &'static str, bool)>,
    tool: Option<&'static str>,
    resource: Option<&'static str>,
    stdio: bool,
    tunnel: bool,
    time_ns: u64,
}

impl Drawn {
    pub(super) fn new(dice: &mut Dice<'_>) -> Self {
        let method = dice.pick(&METHODS);
        let readings = if dice.chance(3) { dice.roll(4) } else { 1 };
        let stdio = dice.chance(8);
        let mcp = dice.chance(3).then(|| (SERVERS[dice.roll(3)], METHODS_MCP[dice.roll(9)], !dice.chance(4)));
        Drawn {
            agent: ["coder", "bot", "coder-2", ""][dice.roll(4)],
            name: (!dice.chance(6)).then(|| host_text(dice)),
            literal: dice.pick(&ADDRESSES).parse().unwrap(),
            scheme: if dice.chance(3) { Scheme::Http } else { Scheme::Https },
            port: [443, 80, 8080, 443][dice.roll(4)],
            address: (!dice.chance(3)).then(|| dice.pick(&ADDRESSES).parse().unwrap()),
            method: if dice.chance(6) { method.to_lowercase() } else { method.to_owned() },
            paths: (0..readings).map(|_| path_text(dice, &SEGMENTS)).collect(),
            headers: Values::new(dice, false),
            query: Values::new(dice, false),
            body: Values::new(dice, true),
            arguments: Values::new(dice, true),
            looks: (dice.roll(6), dice.roll(6)),
            mcp,
            tool: TOOLS.get(dice.roll(6)).copied().filter(|_| mcp.is_some_and(|(_, method, _)| method == "tools/call")),
            resource: URIS.get(dice.roll(4)).copied(),
            stdio: stdio && mcp.is_some(),
            tunnel: mcp.is_none() && dice.chance(10),
            // Hours around a weekend, summer time on and off.
            time_ns: ([1_763_640_000, 1_784_000_000][dice.roll(2)] + dice.roll(72) as u64 * 3_600) * 1_000_000_000,
        }
    }

    pub(super) fn with_subject<R>(&self, then: impl FnOnce(&Subject<'_>) -> R) -> R {
        let paths: Vec<&str> = self.paths.iter().map(String::as_str).collect();
        let look = |values, which| match which {
            0 => Look::NotLooked,
            1 => Look::Absent,
            2 => Look::Unreadable,
            _ => Look::At(values),
        };
        let mcp = self.mcp.map(|(server, method, declared)| Mcp {
            server,
            declared,
            direction: if method.starts_with("sampling") { Direction::ToClient } else { Direction::ToServer },
            method,
            tool: self.tool,
            resource: self.resource.filter(|_| method == "resources/read"),
            prompt: (method == "prompts/get").then_some("p"),
            arguments: look(&self.arguments, self.looks.1),
        });
        let (body, time_ns, agent) = (look(&self.body, self.looks.0), self.time_ns, self.agent);
        if self.stdio {
            return then(&Subject { agent, mcp, time_ns, ..Subject::EMPTY });
        }
        then(&Subject {
            agent,
            scheme: self.scheme,
            host: self.name.as_deref().map_or(Host::Address(self.literal), Host::Name),
            port: self.port,
            address: self.address,
            method: if self.tunnel { "" } else { &self.method },
            paths: if self.tunnel { &[] } else { &paths },
            headers: Look::At(&self.headers),
            query: Look::At(&self.query),
            body,
            mcp,
            tunnel: self.tunnel,
            time_ns,
            ..Subject::EMPTY
        })
    }
}
