//! Messages that pass only with somebody's leave.
//!
//! A rule with `ask` is two things. As an allow it admits what it matches, and stands in the table like any other. As a question it holds
//! back what it matches, whichever allow admits it; so it is read there as a deny is: whatever cannot be read, or can be read in several
//! ways, is asked about. The questions have a table of their own, which only messages look at.

use super::model::{Effect, Rule};
use super::subject::Subject;
use super::table::{Facts, Kind, Table};

/// The questions of a policy.
#[derive(Debug, Clone)]
pub(super) struct Asks {
    /// As denies, in the order of the file.
    rules: Vec<Rule>,
    /// The place in the file of each.
    places: Vec<u32>,
    table: Table,
}

/// Somebody's leave for one message. It is given up when it is used.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Approval {
    approver: Box<str>,
    action: [u8; 32],
}

impl Asks {
    /// The questions of some rules, if there are any.
    pub(super) fn of(rules: &[Rule]) -> Option<Box<Asks>> {
        let asking = (0..).zip(rules).filter(|(_, rule)| rule.ask.is_some());
        let (places, rules): (Vec<u32>, Vec<Rule>) = asking.map(|(place, rule)| (place, question(rule))).unzip();
        if rules.is_empty() {
            return None;
        }
        let table = Table::compile(&rules);
        Some(Box::new(Asks { rules, places, table }))
    }

    /// The place of the first rule that asks about a message. Handshakes and lists are never asked about, nor is what goes to a server that
    /// nobody has declared: no allow speaks of that.
    pub(super) fn first(&self, subject: &Subject<'_>) -> Option<u32> {
        if !may_ask(subject) {
            return None;
        }
        let mut facts = Facts::new(subject);
        self.table.resolve(&mut facts);
        let first = self.table.first(Kind::Deny, &mut facts, &self.rules)?;
        self.places.get(first as usize).copied()
    }

    /// Heap bytes of the table.
    pub(super) fn bytes(&self) -> usize {
        self.table.bytes() + self.places.capacity() * 4
    }
}

/// Whether a rule asks about a message: what [`Asks::first`] finds, of one rule.
pub(super) fn asks_about(rule: &Rule, subject: &Subject<'_>) -> bool {
    rule.ask.is_some() && may_ask(subject) && question(rule).failed(subject).is_none()
}

/// A rule that asks, as the deny that it is until somebody has answered. Its `cidr` says where it lets things go, not what it asks about:
/// an address may be unknown for long.
pub(super) fn question(rule: &Rule) -> Rule {
    let mut question = Rule { effect: Effect::Deny, ..rule.clone() };
    question.when.blocks = None;
    question
}

fn may_ask(subject: &Subject<'_>) -> bool {
    subject.mcp.is_some_and(|mcp| mcp.declared && !mcp.opens())
}

impl Approval {
    /// The leave that an approver has given for the action with this digest.
    pub fn given(approver: &str, action: [u8; 32]) -> Approval {
        Approval { approver: approver.into(), action }
    }

    /// Whether it is this approver's, for this action.
    pub(super) fn is_for(&self, approver: &str, action: &[u8; 32]) -> bool {
        *self.approver == *approver && self.action == *action
    }
}
