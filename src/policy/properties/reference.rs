//! The contract, read aloud: the plain evaluator that the table is compared with.

use std::cell::RefCell;
use std::collections::HashMap;

use jiff::Timestamp;
use regex_automata::meta;

use super::Outcome;
use crate::policy::{
    Access, Conditions, Direction, Effect, Glob, Host, HostPattern, Look, Matcher, Mcp, Mode, Named, Number, Policy,
    Rule, Scalar, Scheme, Subject, Test, Times, Value, Verdict,
};

/// What the policy decides about a subject without open ends.
pub(super) fn outcome(policy: &Policy, subject: &Subject<'_>) -> Outcome {
    let all: Vec<&Rule> = policy.rules().iter().filter(|rule| matches(rule, subject)).collect();
    let first = |wanted: &dyn Fn(&Rule) -> bool| all.iter().copied().find(|rule| wanted(rule));
    let deny = first(&|rule| rule.effect == Effect::Deny && !rule.monitor);
    let watch = first(&|rule| rule.effect == Effect::Deny && rule.monitor);
    let inside = first(&|rule| rule.effect == Effect::Allow && rule.when.blocks.is_some());
    let allow = inside.or_else(|| first(&|rule| rule.effect == Effect::Allow));
    let admitted = allow.is_some() || policy.default_effect() == Effect::Allow;
    let enforce = policy.mode() == Mode::Enforce;
    let may_ask = enforce && admitted && deny.is_none();
    let asks = policy.rules().iter().find(|rule| may_ask && asks(rule, subject));
    let (verdict, enforced, rule) = match (deny, watch) {
        (Some(deny), _) => (Verdict::Deny, enforce, Some(deny)),
        (None, Some(watch)) if admitted => (Verdict::Deny, false, Some(watch)),
        _ if admitted => (Verdict::Allow, true, asks.or(allow)),
        _ => (Verdict::Deny, enforce, None),
    };
    let ask = asks.and_then(|rule| rule.ask.as_deref()).map(str::to_owned);
    Outcome { verdict, enforced, rule: rule.map(|rule| rule.name.to_string()), ask }
}

/// A rule asks about what it would stop as a deny, wherever it goes: no handshakes and no lists.
fn asks(rule: &Rule, subject: &Subject<'_>) -> bool {
    if rule.ask.is_none() || subject.mcp.is_none_or(|mcp| !mcp.declared || opens(&mcp)) {
        return false;
    }
    let mut stop = Rule { effect: Effect::Deny, ..rule.clone() };
    stop.when.blocks = None;
    matches(&stop, subject)
}

fn matches(rule: &Rule, subject: &Subject<'_>) -> bool {
    if !applies(rule, subject) {
        return false;
    }
    let Conditions { hosts, schemes, ports, blocks, methods, access, paths, .. } = &rule.when;
    let allow = rule.effect == Effect::Allow;
    let host = || hosts.as_ref().is_none_or(|hosts| hosts.iter().any(|host| host_matches(host, &subject.host)));
    let scheme = || schemes.as_ref().is_none_or(|schemes| subject.port > 0 && schemes.contains(&subject.scheme));
    let port = || match ports {
        Some(ports) => ports.contains(&subject.port),
        None if allow && rule.when.mcp.is_none() => {
            matches!((subject.scheme, subject.port), (Scheme::Https, 443) | (Scheme::Http, 80))
        }
        None => true,
    };
    let is = |name: &str| if allow { subject.method == name } else { subject.method.to_uppercase() == name };
    let method = || methods.as_ref().is_none_or(|methods| methods.iter().any(|method| is(method)));
    let access = || match access {
        Some(Access::ReadOnly) => ["GET", "HEAD", "OPTIONS"].into_iter().any(is),
        Some(Access::ReadWrite) => ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH"].into_iter().any(is),
        Some(Access::Full) | None => true,
    };
    let literal = if let Host::Address(address) = subject.host { Some(address) } else { None };
    let cidr = || {
        blocks.as_ref().is_none_or(|blocks| match subject.address.or(literal) {
            Some(address) => blocks.iter().any(|block| block.contains(&address.to_canonical())),
            None => allow,
        })
    };
    let path = || {
        paths.as_ref().is_none_or(|patterns| {
            let reads = |path: &&str| patterns.iter().any(|pattern| glob(pattern.as_str(), path));
            if allow {
                !subject.paths.is_empty() && subject.paths.iter().all(reads)
            } else {
                subject.paths.iter().any(reads)
            }
        })
    };
    host() && scheme() && port() && method() && access() && cidr() && path() && named(rule, subject)
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

/// A pattern against a text, by trying everything.
fn glob(pattern: &str, text: &str) -> bool {
    glob_bytes(pattern.as_bytes(), text.as_bytes())
}

fn glob_bytes(pattern: &[u8], text: &[u8]) -> bool {
    if let Some(rest) = pattern.strip_prefix(b"/**")
        && (rest.is_empty() || rest.starts_with(b"/"))
    {
        let whole =
            |end: &usize| *end == 0 || text.starts_with(b"/") && (*end == text.len() || text[*end..].starts_with(b"/"));
        return (0..=text.len()).filter(whole).any(|end| glob_bytes(rest, &text[end..]));
    }
    if let Some(rest) = pattern.strip_prefix(b"**") {
        return (0..=text.len()).any(|end| glob_bytes(rest, &text[end..]));
    }
    if let Some(rest) = pattern.strip_prefix(b"*") {
        let most = text.iter().position(|byte| *byte == b'/').unwrap_or(text.len());
        return (0..=most).any(|end| glob_bytes(rest, &text[end..]));
    }
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((a, pattern)), Some((b, text))) if a == b => glob_bytes(pattern, text),
        _ => false,
    }
}

/// Requests have rules about requests, messages those about messages, connections that pass unread those about addresses.
fn applies(rule: &Rule, subject: &Subject<'_>) -> bool {
    let when = &rule.when;
    if subject.tunnel {
        let unread = [
            when.schemes.is_some(),
            when.methods.is_some(),
            !matches!(when.access, None | Some(Access::Full)),
            when.paths.is_some(),
        ];
        let named = [&when.headers, &when.query, &when.body, &when.arguments].iter().any(|list| list.is_some());
        return !unread.contains(&true) && !named && when.mcp.is_none();
    }
    match subject.mcp {
        None => when.mcp.is_none(),
        Some(_) if rule.effect == Effect::Deny => true,
        Some(mcp) => when.mcp.is_some() == mcp.declared,
    }
}

fn named(rule: &Rule, subject: &Subject<'_>) -> bool {
    let when = &rule.when;
    let allow = rule.effect == Effect::Allow;
    let all = |list: &Option<Box<[Named]>>, look: Look<'_>, json: bool| {
        list.iter().flatten().all(|named| look_holds(&named.matcher, look, &named.name, json, allow))
    };
    let moment = || {
        when.moment.as_ref().is_none_or(|moment| {
            let agent = moment.agents.as_ref().is_none_or(|agents| names(agents, Some(subject.agent), true));
            let known = moment.agents.is_none() || !subject.agent.is_empty();
            agent && known && moment.times.as_ref().is_none_or(|times| in_time(times, subject.time_ns))
        })
    };
    let opening = subject.mcp.is_some_and(|mcp| allow && mcp.declared && opens(&mcp));
    let arguments = || opening || all(&when.arguments, subject.arguments(), true);
    let message = || match (&when.mcp, subject.mcp) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(wanted), Some(mcp)) => {
            let part = |globs: &Option<Box<[Glob]>>, name| globs.as_ref().is_none_or(|globs| names(globs, name, allow));
            let said = part(&wanted.methods, Some(mcp.method))
                && match mcp.tool {
                    Some(tool) if allow && !is_usual(tool) => {
                        let mut spelt =
                            wanted.tools.iter().flatten().map(Glob::as_str).filter(|glob| !glob.contains('*'));
                        spelt.any(|glob| glob == tool)
                    }
                    tool => part(&wanted.tools, tool),
                }
                && part(&wanted.resources, mcp.resource)
                && part(&wanted.prompts, mcp.prompt)
                && (mcp.direction == Direction::ToServer || wanted.methods.is_some());
            part(&wanted.servers, Some(mcp.server)) && (opening || said)
        }
    };
    all(&when.headers, subject.headers, false)
        && all(&when.query, subject.query, false)
        && all(&when.body, subject.body, true)
        && arguments()
        && message()
        && moment()
}

/// Whether a tool's name is of the characters and the length that MCP asks for.
fn is_usual(name: &str) -> bool {
    let usual = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    (1..=128).contains(&name.len()) && name.chars().all(usual)
}

fn opens(mcp: &Mcp<'_>) -> bool {
    let lists =
        ["initialize", "server/discover", "tools/list", "resources/list", "resources/templates/list", "prompts/list"];
    mcp.method == "ping"
        || mcp.method.starts_with("notifications/")
        || mcp.direction == Direction::ToServer && lists.contains(&mcp.method)
}

fn names(globs: &[Glob], name: Option<&str>, allow: bool) -> bool {
    let Some(name) = name else { return false };
    let answers: Vec<Option<bool>> = globs.iter().map(|glob| glob_answer(glob.as_str(), name)).collect();
    answers.contains(&Some(true)) || !allow && answers.contains(&None)
}

/// Whether a text is one of a glob; nothing where it can be read as another place.
fn glob_answer(pattern: &str, text: &str) -> Option<bool> {
    if pattern.contains('/') && winds(text) { None } else { Some(glob(pattern, text)) }
}

fn winds(text: &str) -> bool {
    let path = text.split_once("://").map_or(text, |(_, path)| path);
    let segments: Vec<&str> = path.split('/').collect();
    let inner = segments.get(1..segments.len().saturating_sub(1)).unwrap_or_default();
    text.contains(['\\', '\0']) || segments.contains(&".") || segments.contains(&"..") || inner.contains(&"")
}

fn in_time(times: &Times, time_ns: u64) -> bool {
    let zoned = Timestamp::from_nanosecond(time_ns.into()).unwrap().in_tz(times.zone_name()).unwrap();
    let second = u32::try_from(zoned.hour()).unwrap() * 3_600
        + u32::try_from(zoned.minute()).unwrap() * 60
        + u32::try_from(zoned.second()).unwrap();
    let on = |day: jiff::civil::Weekday| times.days >> day.to_monday_zero_offset() & 1 == 1;
    let (today, yesterday) = (zoned.weekday(), zoned.weekday().previous());
    let window = |(start, end): &(u32, u32)| {
        if start < end {
            on(today) && second >= *start && second < *end
        } else {
            on(today) && second >= *start || on(yesterday) && second < *end
        }
    };
    if times.hours.is_empty() { on(today) } else { times.hours.iter().any(window) }
}

fn look_holds(matcher: &Matcher, look: Look<'_>, name: &str, json: bool, allow: bool) -> bool {
    let mut answers = Vec::new();
    match look {
        Look::Unreadable => return !allow,
        Look::NotLooked => unreachable!("settled before"),
        Look::Absent => {}
        Look::At(lookup) => lookup.values(name, &mut |value| answers.push(answer(matcher, Some(value), json))),
    }
    if answers.is_empty() {
        answers.push(answer(matcher, None, json));
    }
    if allow {
        answers.iter().all(|answer| *answer == Some(true))
    } else {
        answers.iter().any(|answer| *answer != Some(false))
    }
}

/// Yes, no, or nothing where nobody can say.
fn answer(matcher: &Matcher, value: Option<Value<'_>>, json: bool) -> Option<bool> {
    let alternatives: Vec<Option<bool>> = matcher
        .0
        .iter()
        .map(|tests| {
            let answers: Vec<Option<bool>> = tests.iter().map(|test| one(test, value, json)).collect();
            if answers.contains(&Some(false)) {
                Some(false)
            } else if answers.contains(&None) {
                None
            } else {
                Some(true)
            }
        })
        .collect();
    if alternatives.contains(&Some(true)) {
        Some(true)
    } else if alternatives.contains(&None) {
        None
    } else {
        Some(false)
    }
}

fn one(test: &Test, value: Option<Value<'_>>, json: bool) -> Option<bool> {
    let Some(value) = value else {
        return match test {
            Test::Any(inner) => answer(inner, None, json),
            Test::Not(inner) => answer(inner, None, json).map(|holds| !holds),
            Test::Present(wanted) => Some(!wanted),
            _ => Some(false),
        };
    };
    if value == Value::Unreadable {
        return None;
    }
    let text = if let Value::Text(bytes) = value { Some(std::str::from_utf8(bytes).unwrap()) } else { None };
    let number = match value {
        Value::Number(number) => Some(number),
        Value::Text(bytes) if !json => Number::read(bytes),
        _ => None,
    };
    match test {
        Test::Any(inner) => answer(inner, Some(value), json),
        Test::Not(inner) => answer(inner, Some(value), json).map(|holds| !holds),
        Test::Present(wanted) => Some(*wanted),
        Test::In(scalars) => {
            let equal: Vec<bool> = scalars
                .iter()
                .filter_map(|scalar| match scalar {
                    Scalar::Text(wanted) => text.map(|text| **wanted == *text),
                    Scalar::Number(wanted) => number.map(|number| number == *wanted),
                    Scalar::Bool(wanted) => match (value, text) {
                        (Value::Bool(flag), _) => Some(flag == *wanted),
                        (_, Some("true")) if !json => Some(*wanted),
                        (_, Some("false")) if !json => Some(!*wanted),
                        _ => None,
                    },
                })
                .collect();
            (!equal.is_empty()).then(|| equal.contains(&true))
        }
        Test::Glob(glob) => text.and_then(|text| glob_answer(glob.as_str(), text)),
        Test::Prefix(prefix) => {
            text.filter(|text| !(prefix.contains('/') && winds(text))).map(|text| text.starts_with(&**prefix))
        }
        Test::Regex(regex) => text.map(|text| regex_matches(regex.as_str(), text)),
        Test::Min(least) => number.map(|number| number >= *least),
        Test::Max(most) => number.map(|number| number <= *most),
        Test::Length(least, most) => {
            let length = match (text, value) {
                (Some(text), _) => Some(text.chars().count() as u64),
                (_, Value::List(items)) => Some(items as u64),
                _ => None,
            };
            length.map(|length| length >= *least && length <= *most)
        }
    }
}

/// By another engine than the table's.
fn regex_matches(pattern: &str, text: &str) -> bool {
    thread_local! {
        static KNOWN: RefCell<HashMap<String, meta::Regex>> = RefCell::default();
    }
    KNOWN.with_borrow_mut(|known| {
        let regex = known.entry(pattern.to_owned()).or_insert_with(|| meta::Regex::new(pattern).unwrap());
        regex.is_match(text)
    })
}
