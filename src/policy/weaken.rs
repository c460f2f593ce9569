//! What a policy lets go that another one did not: the static answer that a reload reports.
//!
//! An empty list is certain: whatever request, message or connection the old policy stops, the new one stops, as far as both look into the
//! same connections. A list may name what weakens nothing, because rules are compared one with one and not in sum. Rates count as they
//! are written; that new buckets are full is not reported.

use std::collections::HashSet;
use std::fmt;

use super::asks;
use super::cover;
use super::model::{Conditions, Effect, Mode, Model, Rule};
use super::rate::Rate;
use crate::limits;

/// One way in which a policy is weaker than the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Weakening {
    /// `mode: monitor`: nothing is enforced any more.
    Monitor,
    /// `default: allow`.
    Default,
    /// No allow of the old policy says as much as this one.
    Allow(Box<str>),
    /// No enforced deny of the new policy says as much as this one of the old.
    Deny(Box<str>),
    /// What this rule of the old policy asked about goes without, or with somebody else's leave.
    Ask(Box<str>),
    /// An approver is asked in another way.
    Approver(Box<str>),
    /// Where several could be asked, it may be another one.
    Approvers,
    /// A host is dialled at another address than before, possibly a private one.
    Upstream(Box<str>),
    /// A host's TLS is not looked into any more.
    Passthrough(Box<str>),
    /// An MCP server is declared that was not, or not any more, so that other rules speak of its messages.
    Server(Box<str>),
    /// There are too many changed rules to compare.
    Many,
    /// The policy, or the one before, is AGT's, in which order carries meaning: such policies are not compared rule by rule.
    Dialect,
}

impl fmt::Display for Weakening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Monitor => f.write_str("`mode: monitor` enforces nothing"),
            Self::Default => f.write_str("`default` is now `allow`"),
            Self::Allow(name) => write!(f, "`{name}` allows what no rule allowed"),
            Self::Deny(name) => write!(f, "what `{name}` denied, no rule denies"),
            Self::Ask(name) => write!(f, "what `{name}` asked about goes without its approver's leave"),
            Self::Approver(name) => write!(f, "the approver `{name}` is asked otherwise"),
            Self::Approvers => f.write_str("another approver may be asked than before"),
            Self::Upstream(host) => write!(f, "`{host}` is dialled elsewhere"),
            Self::Passthrough(host) => write!(f, "`{host}` passes through unread"),
            Self::Server(name) => write!(f, "the MCP server `{name}` is declared otherwise"),
            Self::Dialect => f.write_str("an AGT policy has changed, and what it lets go is not compared"),
            Self::Many => f.write_str("too many rules have changed to be compared"),
        }
    }
}

/// How `new` is weaker than `old`.
pub(super) fn weakenings(old: &Model, new: &Model) -> Vec<Weakening> {
    let mut found = Vec::new();
    let monitored = old.mode == Mode::Monitor;
    if !monitored && new.mode == Mode::Monitor {
        found.push(Weakening::Monitor);
    }
    if !monitored && old.default == Effect::Deny && new.default == Effect::Allow {
        found.push(Weakening::Default);
    }
    // Where the old policy let everything go, only an allow with an address block opens more: it admits private addresses.
    let open = monitored || old.default == Effect::Allow;
    let allow = |rule: &&Rule| rule.effect == Effect::Allow;
    let deny = |rule: &&Rule| rule.effect == Effect::Deny && !rule.monitor;
    let opens = |rule: &&Rule| allow(rule) && (!open || rule.when.blocks.is_some());
    uncovered(new.rules.iter().filter(opens), old.rules.iter().filter(allow), allows_all, Weakening::Allow, &mut found);
    if !monitored {
        uncovered(
            old.rules.iter().filter(deny),
            new.rules.iter().filter(deny),
            denies_all,
            Weakening::Deny,
            &mut found,
        );
        questions(old, new, &mut found);
    }
    for (key, _) in changed(&old.upstreams, &new.upstreams) {
        let port = key.port.map(|port| format!(":{port}")).unwrap_or_default();
        found.push(Weakening::Upstream(format!("{}{port}", key.host).into()));
    }
    for pattern in &new.passthrough {
        if !old.passthrough.iter().any(|known| cover::covers_host(known, pattern)) {
            found.push(Weakening::Passthrough(pattern.to_string().into()));
        }
    }
    found.extend(changed(&old.servers, &new.servers).map(|server| Weakening::Server(server.name.clone())));
    found.dedup();
    found
}

/// What was asked about must be denied, or asked about, still: of the same approver, in the same way.
fn questions(old: &Model, new: &Model, found: &mut Vec<Weakening>) {
    let stops = |rule: &&Rule| rule.effect == Effect::Deny && !rule.monitor || rule.ask.is_some();
    let stops: Vec<Rule> = new.rules.iter().filter(stops).map(as_written).collect();
    let asked: Vec<Rule> = old.rules.iter().filter(|rule| rule.ask.is_some()).map(asks::question).collect();
    uncovered(asked.iter(), stops.iter(), asks_all, Weakening::Ask, found);
    let told =
        |model: &Model| model.rules.iter().filter_map(|rule| Some((rule.when.clone(), rule.ask.clone()?))).collect();
    let [before, after]: [Vec<(Conditions, Box<str>)>; 2] = [told(old), told(new)];
    let mut names = before.iter().chain(&after).map(|(_, name)| name);
    let first = names.next();
    // The first of them in the file is asked.
    if before != after && !before.is_empty() && names.any(|name| Some(name) != first) {
        found.push(Weakening::Approvers);
    }
    for approver in &old.approvers {
        if new.approvers.iter().any(|other| other.name == approver.name && other != approver) {
            found.push(Weakening::Approver(approver.name.clone()));
        }
    }
}

fn as_written(rule: &Rule) -> Rule {
    if rule.ask.is_some() { asks::question(rule) } else { rule.clone() }
}

/// Whether a deny or a question of the new policy stops all that a question of the old did.
fn asks_all(new: &Rule, old: &Rule) -> bool {
    (new.ask.is_none() || new.ask == old.ask) && denies_all(new, old)
}

/// What stands in one list and not in the other.
fn changed<'t, T: PartialEq>(old: &'t [T], new: &'t [T]) -> impl Iterator<Item = &'t T> {
    let gone = old.iter().filter(|one| !new.contains(one));
    gone.chain(new.iter().filter(|one| !old.contains(one)))
}

/// Reports each of `rules` that none of `others` covers.
fn uncovered<'r>(
    rules: impl Iterator<Item = &'r Rule>,
    others: impl Iterator<Item = &'r Rule>,
    covers: fn(&Rule, &Rule) -> bool,
    weakening: fn(Box<str>) -> Weakening,
    found: &mut Vec<Weakening>,
) {
    let others: Vec<&Rule> = others.collect();
    // Most rules of most reloads have not changed.
    let same: HashSet<(&Conditions, Limit<'_>)> = others.iter().map(|rule| (&rule.when, limit(rule))).collect();
    let changed: Vec<&Rule> = rules.filter(|rule| !same.contains(&(&rule.when, limit(rule)))).collect();
    if changed.len().saturating_mul(others.len()) > limits::POLICY_LINT_PAIRS_MAX {
        return found.push(Weakening::Many);
    }
    let lost = changed.into_iter().filter(|rule| !others.iter().any(|other| covers(other, rule)));
    found.extend(lost.map(|rule| weakening(rule.name.clone())));
}

type Limit<'r> = (Option<&'r str>, Option<(u32, super::rate::Period)>);

fn limit(rule: &Rule) -> Limit<'_> {
    (rule.ask.as_deref(), rule.rate.as_ref().map(|rate| (rate.count, rate.per)))
}

/// Whether a deny of the new policy stops all that one of the old did.
fn denies_all(new: &Rule, old: &Rule) -> bool {
    // A deny with a block does not match while the address is unknown, and then the other is not needed either.
    let blocks = cover::covers_blocks(&new.when.blocks, &old.when.blocks);
    blocks && cover::covers(new, old)
}

/// Whether an allow of the old policy let go all that one of the new does.
fn allows_all(old: &Rule, new: &Rule) -> bool {
    // An allow without a block admits no private address, so it says less than one with a block as well as more.
    let blocks = old.when.blocks.is_some() == new.when.blocks.is_some();
    let blocks = blocks && cover::covers_blocks(&old.when.blocks, &new.when.blocks);
    let ports = old.when.ports.is_some() == new.when.ports.is_some();
    blocks && ports && covers_rate(old.rate.as_ref(), new.rate.as_ref()) && cover::covers(old, new)
}

fn covers_rate(old: Option<&Rate>, new: Option<&Rate>) -> bool {
    match (old, new) {
        (None, _) => true,
        (Some(old), Some(new)) => old.per == new.per && old.count >= new.count,
        (Some(_), None) => false,
    }
}

#[cfg(test)]
mod tests;
