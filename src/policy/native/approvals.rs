//! `approvals`: who is asked about what a rule lets go only with a person's leave, and `ask` of a rule.

use std::path::PathBuf;
use std::time::Duration;

use super::super::approver::{Approver, ApproverWay, Webhook};
use super::super::glob::{self, Glob};
use super::super::host::HostKey;
use super::super::model::{Effect, Rule};
use super::super::problem::{Place, Problems, did_you_mean};
use super::super::yaml::{Entry, Node, Value};
use super::{map, refuse_unknown, upstreams, values};
use crate::limits;

pub(super) const KEYS: [&str; 4] = ["command", "webhook", "trust", "timeout"];

/// `approvals`.
pub(super) fn read(node: &Node, problems: &mut Problems) -> Vec<Approver> {
    let mut approvers = Vec::new();
    for entry in map(node, "`approvals`", problems) {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if entry.key.is_empty() || entry.key.len() > limits::POLICY_TEXT_BYTES_MAX || !entry.key.chars().all(fits) {
            let message = format!("`{}` is no name for an approver", entry.key.escape_debug());
            problems.error(entry.place, message, "use letters, digits, `_`, `-` and `.`");
            continue;
        }
        approvers.extend(approver(entry, problems));
    }
    approvers
}

fn approver(entry: &Entry, problems: &mut Problems) -> Option<Approver> {
    let entries = map(&entry.node, "an approver", problems);
    let before = problems.errors();
    for entry in entries {
        refuse_unknown(entry, &KEYS, &[], "an approver", problems);
    }
    let find = |key: &str| entries.iter().find(|entry| entry.key == key);
    let wait = match find("timeout") {
        Some(entry) => timeout(&entry.node, problems)?,
        None => limits::APPROVAL_WAIT,
    };
    let trust = find("trust");
    let way = match (find("command"), find("webhook")) {
        (Some(entry), None) => {
            if let Some(trust) = trust {
                problems.error(trust.place, "`trust` is for a `webhook`", "remove it");
            }
            ApproverWay::Command(command(&entry.node, problems)?)
        }
        (None, Some(entry)) => {
            let mut webhook = webhook(&entry.node, problems)?;
            if let Some(trust) = trust {
                webhook.trust = values::text(&trust.node, "trust", problems).map(PathBuf::from);
                if !webhook.tls {
                    problems.error(trust.place, "`trust` is for a `webhook` with `https://`", "remove it");
                }
            }
            ApproverWay::Webhook(webhook)
        }
        (Some(_), Some(second)) => {
            problems.error(second.place, "an approver has a `command` or a `webhook`", "make two approvers of it");
            return None;
        }
        (None, None) => {
            // A misspelt key has been told of.
            if matches!(entry.node.value, Value::Map(_)) && problems.errors() == before {
                let remedy = "add `command: [/PATH/PROGRAM]` or `webhook: https://…`";
                problems.error(entry.place, "the approver asks nobody", remedy);
            }
            return None;
        }
    };
    Some(Approver { name: entry.key.as_str().into(), way, wait })
}

/// A program by its absolute path and its words: nothing of a message is ever among them.
fn command(node: &Node, problems: &mut Problems) -> Option<Box<[Box<str>]>> {
    let before = problems.errors();
    let word = |node: &Node, problems: &mut Problems| values::text(node, "command", problems).map(Box::<str>::from);
    let words = values::list(node, "command", problems, word)?;
    if problems.errors() > before {
        return None;
    }
    if words.len() > limits::APPROVER_WORDS_MAX {
        let message = format!("`command` has more than {} words", limits::APPROVER_WORDS_MAX);
        problems.error(node.place, message, "put them into a script");
        return None;
    }
    let program = words.first().map(|word| &**word).unwrap_or_default();
    if !program.starts_with('/') {
        let remedy =
            "write it as `command: [/usr/local/bin/approve, WORD]`: the words are given as they are, without a shell";
        problems.error(node.place, format!("`{program}` is no absolute path of a program"), remedy);
        return None;
    }
    Some(words)
}

/// In the clear only to this machine itself: what comes back is somebody's leave.
fn webhook(node: &Node, problems: &mut Problems) -> Option<Webhook> {
    let text = values::text(node, "webhook", problems)?;
    let (tls, rest) = match text.split_once("://") {
        Some(("https", rest)) => (true, rest),
        Some(("http", rest)) => (false, rest),
        _ => return wrong(text, node.place, problems),
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at_checked(end)?;
    let plain = |text: &str| text.bytes().all(|octet| octet.is_ascii_graphic() && !matches!(octet, b'@' | b'#'));
    if !plain(rest) || authority.is_empty() || target.starts_with('?') {
        return wrong(text, node.place, problems);
    }
    let (host, port) = upstreams::authority(authority, node.place, problems)?;
    let is_local = match &host {
        HostKey::Name(name) => **name == *"localhost",
        HostKey::Address(address) => address.is_loopback(),
    };
    if !tls && !is_local {
        let remedy = "write `https://`; `http://` is for 127.0.0.1, [::1] and localhost";
        problems.error(node.place, "a webhook in the clear could be answered by anyone on the way", remedy);
        return None;
    }
    let port = port.unwrap_or(if tls { 443 } else { 80 });
    let target = if target.is_empty() { "/" } else { target };
    let host = match host {
        HostKey::Name(name) => name,
        HostKey::Address(address) => address.to_string().into(),
    };
    Some(Webhook { tls, host, port, authority: authority.into(), target: target.into(), trust: None })
}

fn wrong(text: &str, place: Place, problems: &mut Problems) -> Option<Webhook> {
    let remedy = "write it as `https://approvals.example.com/ringfence`, without a user";
    problems.error(place, format!("`{text}` is no URL of a webhook"), remedy);
    None
}

/// A time with its unit, or seconds.
fn timeout(node: &Node, problems: &mut Problems) -> Option<Duration> {
    let wait = match &node.value {
        Value::Integer(seconds) => u64::try_from(*seconds).ok(),
        Value::Text(text) => {
            let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            let number = text.get(..end).and_then(|digits| digits.parse::<u64>().ok());
            let unit = text.get(end..).map(str::trim);
            match (number, unit) {
                (Some(number), Some("s")) => Some(number),
                (Some(number), Some("m")) => number.checked_mul(60),
                (Some(number), Some("h")) => number.checked_mul(3600),
                _ => None,
            }
        }
        _ => None,
    };
    let most = limits::APPROVAL_WAIT_MAX;
    let wait = wait.map(Duration::from_secs).filter(|wait| !wait.is_zero() && *wait <= most);
    if wait.is_none() {
        let found = node.value.describe();
        let remedy = format!("write it as `5m`, up to {}m", most.as_secs() / 60);
        problems.error(node.place, format!("`timeout` is a time to wait, found {found}"), remedy);
    }
    wait
}

/// `ask` of a rule.
pub(super) fn ask(entries: &[Entry], effect: Effect, problems: &mut Problems) -> Option<Box<str>> {
    let entry = entries.iter().find(|entry| entry.key == "ask")?;
    let name = values::text(&entry.node, "ask", problems)?;
    if effect == Effect::Deny {
        // Said already: it belongs to an allow.
        return None;
    }
    if !entries.iter().any(|entry| entry.key == "mcp") {
        let remedy = "add `mcp: { server: NAME, tool: NAME }`; a request as such is not held";
        problems.error(entry.place, "`ask` is about an MCP message", remedy);
    }
    if let Some(rate) = entries.iter().find(|entry| entry.key == "rate") {
        let message = "`rate` and `ask` do not go together: with an empty bucket nobody would be asked";
        problems.error(rate.place, message, "remove `rate`");
    }
    Some(name.into())
}

/// What only shows when the rules are read: names that nobody has declared, messages that cannot be held, approvers whom no rule asks.
pub(super) fn settle(rules: &[Rule], approvers: &[Approver], places: &[Entry], problems: &mut Problems) {
    for rule in rules {
        let Some(name) = &rule.ask else { continue };
        if !approvers.iter().any(|approver| approver.name == *name) {
            let known = places.iter().map(|entry| entry.key.as_str());
            let remedy = match did_you_mean(name, known) {
                near if near.is_empty() => "declare it under `approvals:`".to_owned(),
                near => near,
            };
            // An approver that stands there and could not be read has its own problem.
            if !places.iter().any(|entry| *entry.key == **name) {
                let message = format!("`{}` asks `{name}`, whom `approvals` does not declare", rule.name);
                problems.error(rule.place, message, remedy);
            }
        }
        let methods = rule.when.mcp.as_ref().and_then(|names| names.methods.as_deref());
        let to_client = ["sampling/createMessage", "elicitation/create", "roots/list"];
        let speaks_to_client = |methods: &[Glob]| to_client.iter().any(|method| glob::any(methods, Some(method), true));
        if methods.is_some_and(speaks_to_client) {
            let message = format!("`{}` asks about messages to the client, which are not held", rule.name);
            problems.error(rule.place, message, "name methods to the server alone, such as `tools/call`");
        }
    }
    for approver in approvers {
        if !rules.iter().any(|rule| rule.ask.as_ref() == Some(&approver.name))
            && let Some(entry) = places.iter().find(|entry| *entry.key == *approver.name)
        {
            let message = format!("no rule asks `{}`", approver.name);
            problems.warning(entry.place, message, "remove it, or name it in a rule: `ask: NAME`");
        }
    }
}
