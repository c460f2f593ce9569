//! The decision function, and the permit that only it can make.
//!
//! Deny beats ask, ask beats allow, and order carries no meaning; of several rules of the winning kind the first in the file is named, and an allow
//! with a `cidr` before one without, because only the former may admit a private address. A deny that is not enforced does not stop a
//! request, and it does not admit one either: beneath it, an allow or `default: allow` must.

use std::net::IpAddr;

use super::asks::Approval;
use super::host;
use super::model::{Condition, Effect, Mode, Rule};
use super::subject::{Host, Subject};
use super::table::{Facts, Kind};
use super::{Policy, address};

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The request may go.
    Allow,
    /// The request is refused, or would be if denials were enforced.
    Deny,
}

impl Verdict {
    /// The word for records and explanations.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Allow => "allow",
            Verdict::Deny => "deny",
        }
    }
}

/// Why, where no rule decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// No rule matched: `default` decided.
    Default,
    /// The host is an instance metadata service, which is never reached.
    Metadata,
    /// A handshake or list message, under a policy of AGT's: these speak of calls, and some call could pass.
    Opening,
    /// The rules of an AGT policy could not be evaluated: a value of the wrong type, one that cannot be read, a limit of steps.
    Evaluation,
    /// The rule lets it go with somebody's leave alone, and nobody has given it.
    Unasked,
}

impl Code {
    /// The stable word for the refusal, the record and explanations.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::Default => "default",
            Code::Metadata => "metadata",
            Code::Opening => "opening",
            Code::Evaluation => "policy_error",
            Code::Unasked => "approval_unavailable",
        }
    }
}

/// The rule that decided, as refusals and records name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleView<'p> {
    /// Its unique name.
    pub name: &'p str,
    /// Why, in its author's words.
    pub reason: Option<&'p str>,
    /// What to do instead, in its author's words.
    pub remedy: Option<&'p str>,
}

/// One decision.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct Decision<'p> {
    /// Allow or deny.
    pub verdict: Verdict,
    /// False only for a denial that is recorded and forwarded.
    pub enforced: bool,
    /// The rule that decided, if one did.
    pub rule: Option<RuleView<'p>>,
    /// Why, if no rule decided.
    pub code: Option<Code>,
    /// Whose leave is needed for it to go; nothing where it may go without, or not at all.
    pub ask: Option<&'p str>,
    /// The rule that asks.
    pub(super) asks: Option<u32>,
    /// The allow that lets the request go, also beneath a denial that is not enforced.
    pub(super) allow: Option<u32>,
    /// The limit of an AGT rule under which an allow stands.
    pub(super) limit: Option<u32>,
    pub(super) address: Option<IpAddr>,
    pub(super) policy: &'p Policy,
}

/// The right to forward one decided request; only [`Decision::admit`] makes one.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    pub(super) allow: Option<u32>,
    pub(super) limit: Option<u32>,
    pub(super) address: Option<IpAddr>,
    pub(super) policy: [u8; 32],
}

/// A denial that is enforced.
#[derive(Debug, Clone, Copy)]
pub struct Denial<'p> {
    /// The rule that denied, if one did.
    pub rule: Option<RuleView<'p>>,
    /// Why, if no rule denied.
    pub code: Option<Code>,
}

impl<'p> Decision<'p> {
    /// The permit, for an allow and for a deny that is not enforced.
    ///
    /// # Errors
    /// The denial, if it is enforced, and if it takes somebody's leave.
    pub fn admit(self) -> Result<Permit, Denial<'p>> {
        if self.ask.is_some() {
            return Err(Denial { rule: self.rule, code: Some(Code::Unasked) });
        }
        self.admit_asked()
    }

    /// The permit for an action that somebody was asked about: `action` is the digest of what is to go now.
    ///
    /// # Errors
    /// The denial, if it is enforced, and if it takes another's leave or one for another action.
    pub fn admit_approved(self, approval: Approval, action: &[u8; 32]) -> Result<Permit, Denial<'p>> {
        if self.ask.is_some_and(|approver| !approval.is_for(approver, action)) {
            return Err(Denial { rule: self.rule, code: Some(Code::Unasked) });
        }
        self.admit_asked()
    }

    /// The permit for what is under way already: it was let go, and nobody is asked again.
    ///
    /// # Errors
    /// The denial, if it is enforced.
    pub fn admit_still(self) -> Result<Permit, Denial<'p>> {
        self.admit_asked()
    }

    fn admit_asked(self) -> Result<Permit, Denial<'p>> {
        if self.verdict == Verdict::Deny && self.enforced {
            return Err(Denial { rule: self.rule, code: self.code });
        }
        Ok(Permit { allow: self.allow, limit: self.limit, address: self.address, policy: *self.policy.digest() })
    }
}

impl Permit {
    /// The allow that admitted the request; `None` where `default: allow` or `mode: monitor` did.
    pub(super) fn allow<'p>(&self, policy: &'p Policy) -> Option<&'p Rule> {
        policy.rules().get(usize::try_from(self.allow?).ok()?)
    }

    /// Takes a token of the winning allow's rate; true as well where it has none. To be called once, when the request is about to be recorded as
    /// admitted: decisions only look. False when another worker took the last token since the decision, which is then to be made again.
    #[must_use]
    pub fn take(&self, policy: &Policy, subject: &Subject<'_>) -> bool {
        if let (Some(ruleset), Some(limit)) = (&policy.agt, self.limit) {
            return ruleset.take(limit, subject.agent, subject.time_ns);
        }
        let rate = self.allow(policy).filter(|rule| !rule.only_opens(subject)).and_then(|rule| rule.rate.as_ref());
        rate.is_none_or(|rate| rate.take(subject.agent, subject.time_ns))
    }
}

/// A decision, or what is needed to make one.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub enum Answer<'p> {
    /// Whatever has not been looked at does not matter.
    Decided(Decision<'p>),
    /// The outcome depends on this.
    Needs(Need),
}

impl Answer<'_> {
    /// What is needed, if something is.
    pub fn need(&self) -> Option<Need> {
        match self {
            Answer::Decided(_) => None,
            Answer::Needs(need) => Some(*need),
        }
    }
}

/// What has to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The header fields or the query.
    Head,
    /// The arguments of the MCP message.
    Arguments,
    /// The body.
    Body,
}

impl Policy {
    /// Decides a request. Allocates nothing, takes no lock and reads no clock; memory is constant, time nearly independent of the
    /// number of rules. A manifest in Rego does allocate, and takes microseconds. What nobody has looked at counts as unreadable.
    #[inline]
    pub fn decide(&self, subject: &Subject<'_>) -> Decision<'_> {
        if subject.is_open() { self.decide_as_given(&subject.settled()) } else { self.decide_as_given(subject) }
    }

    /// Decides a request as far as that needs nothing that nobody has looked at.
    ///
    /// What has not been looked at makes denies and allows at most more, so the outcome is the same whatever it holds if it is the same at
    /// both ends: with it unreadable, which every deny and no allow takes, and the other way round.
    pub fn ask(&self, subject: &Subject<'_>) -> Answer<'_> {
        if let Some(ruleset) = &self.agt
            && !is_metadata(subject.host)
        {
            return self.ask_by(ruleset, subject, false);
        }
        if !subject.is_open() {
            return Answer::Decided(self.decide_as_given(subject));
        }
        let worst = self.decide_as_given(&subject.settled());
        let best = self.decide_as_given(subject);
        if (worst.verdict, worst.enforced, worst.asks) != (best.verdict, best.enforced, best.asks) {
            return Answer::Needs(match subject {
                _ if subject.headers.is_open() || subject.query.is_open() => Need::Head,
                _ if subject.arguments().is_open() => Need::Arguments,
                _ => Need::Body,
            });
        }
        // Each names rules that match whatever there is to see: the worst case its allow, the best its denies, and both the same question.
        let certain = if best.verdict == Verdict::Allow { worst } else { Decision { allow: worst.allow, ..best } };
        Answer::Decided(certain)
    }

    /// Decides again about a request that was admitted and is under way; nothing where that depends on what nobody has looked at. Its token is
    /// taken already, so a bucket that is empty now stops nothing.
    pub fn admits_still(&self, subject: &Subject<'_>) -> Option<Decision<'_>> {
        if let Some(ruleset) = &self.agt
            && !is_metadata(subject.host)
        {
            let Answer::Decided(decision) = self.ask_by(ruleset, subject, true) else { return None };
            return Some(decision);
        }
        let Answer::Decided(decision) = self.ask(subject) else { return None };
        if decision.rule.is_some() || decision.verdict == Verdict::Allow || decision.code != Some(Code::Default) {
            return Some(decision);
        }
        let rated = |rule: &&Rule| rule.effect == Effect::Allow && rule.rate.is_some();
        let mut rules = (0..).zip(&self.model.rules).filter(|(_, rule)| rated(rule));
        let subject = subject.settled();
        let spent = rules.find(|(_, rule)| rule.failed(&subject) == Some(Condition::Rate));
        Some(match spent {
            Some((place, _)) => Decision {
                verdict: Verdict::Allow,
                enforced: true,
                rule: self.table.view(place),
                code: None,
                allow: Some(place),
                ..decision
            },
            None => decision,
        })
    }

    /// What has not been looked at satisfies every allow and no deny, as an address does before it is known.
    fn decide_as_given(&self, subject: &Subject<'_>) -> Decision<'_> {
        let mut decision = Decision {
            verdict: Verdict::Deny,
            enforced: true,
            rule: None,
            code: None,
            ask: None,
            asks: None,
            allow: None,
            limit: None,
            address: None,
            policy: self,
        };
        if is_metadata(subject.host) {
            decision.address = subject.dialled();
            decision.code = Some(Code::Metadata);
            return decision;
        }
        if let Some(ruleset) = &self.agt {
            return self.decide_by(ruleset, subject);
        }
        let enforce = self.model.mode == Mode::Enforce;
        let rules = &self.model.rules;
        let mut facts = Facts::new(subject);
        self.table.resolve(&mut facts);
        decision.address = facts.dialled();
        let deny = self.table.first(Kind::Deny, &mut facts, rules);
        if let Some(deny) = deny
            && enforce
        {
            decision.rule = self.table.view(deny);
            return decision;
        }
        let watch = self.table.first(Kind::Watch, &mut facts, rules);
        let inside = self.table.first(Kind::Inside, &mut facts, rules);
        // Where nothing is enforced nobody is asked.
        let asks = self.asks.as_ref().filter(|_| enforce).and_then(|asks| asks.first(subject));
        // As an allow the rule that asks comes before others, but only an allow with a `cidr` admits a private address.
        let own = asks.filter(|place| rules.get(*place as usize).is_some_and(|rule| rule.failed(subject).is_none()));
        decision.allow = inside.or(own).or_else(|| self.table.first(Kind::Allow, &mut facts, rules));
        let admitted = decision.allow.is_some() || self.model.default == Effect::Allow;
        if let Some(place) = asks.filter(|_| admitted) {
            decision.asks = Some(place);
            decision.ask = rules.get(place as usize).and_then(|rule| rule.ask.as_deref());
        }
        let (verdict, enforced, rule) = match (deny, watch, decision.asks.or(decision.allow)) {
            (Some(deny), ..) => (Verdict::Deny, enforce, Some(deny)),
            (None, Some(watch), _) if admitted => (Verdict::Deny, false, Some(watch)),
            (None, _, allow) if admitted => (Verdict::Allow, true, allow),
            _ => (Verdict::Deny, enforce, None),
        };
        decision.verdict = verdict;
        decision.enforced = enforced;
        decision.rule = rule.and_then(|rule| self.table.view(rule));
        decision.code = decision.rule.is_none().then_some(Code::Default);
        decision
    }
}

/// Whether the host serves instance metadata, by name or by address.
pub(super) fn is_metadata(host: Host<'_>) -> bool {
    match host {
        Host::Name(name) => host::is_metadata_name(name),
        Host::Address(ip) => address::is_metadata(ip),
    }
}

#[cfg(test)]
mod asks;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod tests;
