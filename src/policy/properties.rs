//! What must hold for every policy and every subject, shared by the tests and the fuzz targets.
//!
//! The reference evaluator walks the rules one by one and matches by plain recursion; it shares the parsed model with the table and
//! nothing else. Random policies and subjects draw from one small vocabulary, so that they meet often.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test support, compiled only for tests and fuzzing")]

use std::fmt::Write as _;
use std::net::IpAddr;

use super::{
    Access, Conditions, Effect, Host, HostPattern, Mode, Policy, Rule, Scheme, Source, Subject, Verdict, explain, load,
};

/// Loading any text gives problems or a policy, the latter exactly when no problem is an error; every problem stands inside the
/// file.
pub fn loads_or_says_why(text: &str) {
    let loaded = load(Source { name: "p.yaml", text });
    let errors = loaded.problems.iter().filter(|problem| problem.severity == super::Severity::Error).count();
    assert_eq!(loaded.policy.is_none(), errors > 0, "{:?}", loaded.problems);
    let lines = u32::try_from(text.split('\n').count()).unwrap_or(u32::MAX);
    for problem in &loaded.problems {
        // YAML breaks lines at a lone carriage return too.
        let returns = u32::try_from(text.matches('\r').count()).unwrap_or(u32::MAX);
        assert!(problem.place.line >= 1 && problem.place.line <= lines.saturating_add(returns), "{problem}");
        assert!(problem.place.column >= 1, "{problem}");
    }
}

/// The table decides as the reference does, for random policies and subjects drawn from `bytes`. Returns the comparisons made.
pub fn decides_as_the_reference(bytes: &[u8]) -> usize {
    let mut dice = Dice::new(bytes);
    let text = policy_text(&mut dice);
    let loaded = load(Source { name: "p.yaml", text: &text });
    let Some(policy) = loaded.policy else { panic!("{:?}\n{text}", loaded.problems) };
    let subjects = 100;
    for _ in 0..subjects {
        let drawn = Drawn::new(&mut dice);
        let paths: Vec<&str> = drawn.paths.iter().map(String::as_str).collect();
        let subject = drawn.subject(&paths);
        compare(&policy, &subject, &text);
    }
    subjects
}

fn compare(policy: &Policy, subject: &Subject<'_>, text: &str) {
    let expected = reference(policy, subject);
    let decision = policy.decide(subject);
    let found = Outcome {
        verdict: decision.verdict,
        enforced: decision.enforced,
        rule: decision.rule.map(|rule| rule.name.to_owned()),
    };
    assert_eq!(found, expected, "{subject:?}\n{text}");
    assert_eq!(decision.code.is_none(), decision.rule.is_some());
    let explained = explain(policy, subject);
    assert_eq!(explained.rule, expected.rule, "{subject:?}\n{text}");
    if let Some(rule) = &explained.rule {
        assert!(explained.matched.contains(rule), "{explained:?}\n{subject:?}\n{text}");
    }
    if let Host::Name(name) = subject.host {
        let goes = decision.verdict == Verdict::Allow || !decision.enforced;
        assert!(!goes || policy.may_admit(Host::Name(name)), "{name} may go, and has no name\n{text}");
    }
}

/// What a decision says, compared.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    verdict: Verdict,
    enforced: bool,
    rule: Option<String>,
}

/// The contract, read aloud.
fn reference(policy: &Policy, subject: &Subject<'_>) -> Outcome {
    let all = || policy.rules().iter().filter(|rule| matches(rule, subject));
    let deny = all().find(|rule| rule.effect == Effect::Deny && !rule.monitor);
    let watch = all().find(|rule| rule.effect == Effect::Deny && rule.monitor);
    let inside = all().find(|rule| rule.effect == Effect::Allow && rule.when.blocks.is_some());
    let allow = inside.or_else(|| all().find(|rule| rule.effect == Effect::Allow));
    let admitted = allow.is_some() || policy.default_effect() == Effect::Allow;
    let enforce = policy.mode() == Mode::Enforce;
    let (verdict, enforced, rule) = match (deny, watch) {
        (Some(deny), _) => (Verdict::Deny, enforce, Some(deny)),
        (None, Some(watch)) if admitted => (Verdict::Deny, false, Some(watch)),
        _ if admitted => (Verdict::Allow, true, allow),
        _ => (Verdict::Deny, enforce, None),
    };
    Outcome { verdict, enforced, rule: rule.map(|rule| rule.name.to_string()) }
}

fn matches(rule: &Rule, subject: &Subject<'_>) -> bool {
    let Conditions { hosts, schemes, ports, blocks, methods, access, paths } = &rule.when;
    let allow = rule.effect == Effect::Allow;
    let host = hosts.as_ref().is_none_or(|hosts| hosts.iter().any(|host| host_matches(host, &subject.host)));
    let scheme = schemes.as_ref().is_none_or(|schemes| schemes.contains(&subject.scheme));
    let port = match ports {
        Some(ports) => ports.contains(&subject.port),
        None if allow => matches!((subject.scheme, subject.port), (Scheme::Https, 443) | (Scheme::Http, 80)),
        None => true,
    };
    let upper = if allow { subject.method.to_owned() } else { subject.method.to_uppercase() };
    let method = methods.as_ref().is_none_or(|methods| methods.iter().any(|method| **method == *upper));
    let access = match access {
        Some(Access::ReadOnly) => ["GET", "HEAD", "OPTIONS"].contains(&upper.as_str()),
        Some(Access::ReadWrite) => ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH"].contains(&upper.as_str()),
        Some(Access::Full) | None => true,
    };
    let literal = if let Host::Address(address) = subject.host { Some(address) } else { None };
    let cidr = blocks.as_ref().is_none_or(|blocks| match subject.address.or(literal) {
        Some(address) => blocks.iter().any(|block| block.contains(&address.to_canonical())),
        None => allow,
    });
    let path = paths.as_ref().is_none_or(|patterns| {
        let reads = |path: &&str| patterns.iter().any(|pattern| glob(pattern.as_str(), path));
        if allow {
            !subject.paths.is_empty() && subject.paths.iter().all(reads)
        } else {
            subject.paths.iter().any(reads)
        }
    });
    host && scheme && port && method && access && cidr && path
}

fn host_matches(pattern: &HostPattern, host: &Host<'_>) -> bool {
    match (pattern, host) {
        (HostPattern::Any, _) => true,
        (HostPattern::Name(name), Host::Name(asked)) => name.split('.').eq(asked.split('.')),
        (HostPattern::Below(suffix), Host::Name(asked)) => {
            let (asked, suffix): (Vec<_>, Vec<_>) = (asked.split('.').collect(), suffix.split('.').collect());
            asked.len() > suffix.len() && asked.ends_with(&suffix)
        }
        (HostPattern::Address(address), Host::Address(asked)) => address == asked,
        _ => false,
    }
}

/// A pattern against a path, by trying everything.
fn glob(pattern: &str, path: &str) -> bool {
    if let Some(rest) = pattern.strip_prefix("/**")
        && (rest.is_empty() || rest.starts_with('/'))
    {
        let whole =
            |end: &usize| *end == 0 || path.starts_with('/') && (*end == path.len() || path[*end..].starts_with('/'));
        return (0..=path.len()).filter(whole).any(|end| glob(rest, &path[end..]));
    }
    if let Some(rest) = pattern.strip_prefix("**") {
        return (0..=path.len()).any(|end| glob(rest, &path[end..]));
    }
    if let Some(rest) = pattern.strip_prefix('*') {
        let most = path.find('/').unwrap_or(path.len());
        return (0..=most).any(|end| glob(rest, &path[end..]));
    }
    match (pattern.chars().next(), path.chars().next()) {
        (None, None) => true,
        (Some(a), Some(b)) if a == b => glob(&pattern[1..], &path[1..]),
        _ => false,
    }
}

/// Choices drawn from bytes, and from a generator seeded by them when they run out.
struct Dice<'b> {
    bytes: &'b [u8],
    state: u64,
}

impl<'b> Dice<'b> {
    fn new(bytes: &'b [u8]) -> Self {
        let state =
            bytes.iter().fold(0x9e37_79b9, |state: u64, byte| (state ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
        Self { bytes, state: state | 1 }
    }

    /// A number below `sides`.
    fn roll(&mut self, sides: usize) -> usize {
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

    fn chance(&mut self, of: usize) -> bool {
        self.roll(of) == 0
    }

    fn pick<'v>(&mut self, values: &[&'v str]) -> &'v str {
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

fn policy_text(dice: &mut Dice<'_>) -> String {
    let mut text = String::from("ringfence: v1\n");
    let _ = writeln!(text, "default: {}", if dice.chance(3) { "allow" } else { "deny" });
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
        conditions(dice, plain, &mut text);
    }
    text
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

/// A random subject, owned.
struct Drawn {
    name: Option<String>,
    literal: IpAddr,
    scheme: Scheme,
    port: u16,
    address: Option<IpAddr>,
    method: String,
    paths: Vec<String>,
}

impl Drawn {
    fn new(dice: &mut Dice<'_>) -> Self {
        let method = dice.pick(&METHODS);
        let readings = if dice.chance(3) { dice.roll(4) } else { 1 };
        Drawn {
            name: (!dice.chance(6)).then(|| host_text(dice)),
            literal: dice.pick(&ADDRESSES).parse().unwrap(),
            scheme: if dice.chance(3) { Scheme::Http } else { Scheme::Https },
            port: [443, 80, 8080, 443][dice.roll(4)],
            address: (!dice.chance(3)).then(|| dice.pick(&ADDRESSES).parse().unwrap()),
            method: if dice.chance(6) { method.to_lowercase() } else { method.to_owned() },
            paths: (0..readings).map(|_| path_text(dice, &SEGMENTS)).collect(),
        }
    }

    fn subject<'a>(&'a self, paths: &'a [&'a str]) -> Subject<'a> {
        Subject {
            agent: "agent",
            scheme: self.scheme,
            host: self.name.as_deref().map_or(Host::Address(self.literal), Host::Name),
            port: self.port,
            address: self.address,
            method: &self.method,
            paths,
        }
    }
}
