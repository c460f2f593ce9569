//! Why a request was decided as it was: all matching rules, and for a denial the nearest allow.
//!
//! Explanations walk the rules one by one; they are for people, not for the hot path.

use serde::Serialize;

use super::Policy;
use super::asks::asks_about;
use super::decide::{Code, Verdict};
use super::model::{Condition, Effect, Rule};
use super::subject::Subject;

/// The answer of `policy explain`, in the shape it has as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// `allow` or `deny`.
    pub verdict: &'static str,
    /// False only for a denial that would be recorded and forwarded.
    pub enforced: bool,
    /// The rule that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Its reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Its remedy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// Why, if no rule decided: `default`, `metadata`, and under AGT's policies `opening` and `policy_error`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// Whose leave is asked for each time; the verdict is what comes of it being given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asks: Option<String>,
    /// All rules that match, in the order of the file.
    pub matched: Vec<String>,
    /// For a denial that no matching allow stands beneath, the nearest allow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missed: Option<Missed>,
}

/// The allow that came nearest to admitting a denied request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missed {
    /// Its name.
    pub rule: String,
    /// The key of the condition that failed; the first of them if several did.
    pub condition: &'static str,
}

/// Explains what [`Policy::decide`] decides about a subject.
pub fn explain(policy: &Policy, subject: &Subject<'_>) -> Explanation {
    let subject = &subject.settled();
    if let Some(ruleset) = &policy.agt {
        return policy.explain_by(ruleset, subject);
    }
    let decision = policy.decide(subject);
    let matches = |rule: &&Rule| rule.failed(subject).is_none() || asks_about(rule, subject);
    let matched = policy.rules().iter().filter(matches);
    let missable = decision.verdict == Verdict::Deny && decision.code != Some(Code::Metadata);
    Explanation {
        verdict: decision.verdict.as_str(),
        enforced: decision.enforced,
        rule: decision.rule.map(|rule| rule.name.to_owned()),
        reason: decision.rule.and_then(|rule| rule.reason).map(str::to_owned),
        remedy: decision.rule.and_then(|rule| rule.remedy).map(str::to_owned),
        code: decision.code.map(|code| code.as_str()),
        asks: decision.ask.map(str::to_owned),
        matched: matched.map(|rule| rule.name.to_string()).collect(),
        missed: missable.then(|| nearest(policy, subject)).flatten(),
    }
}

/// The allow with the fewest failing conditions. Of equally near ones that whose host holds comes first, since a request is usually
/// meant for its host, then the first in the file. Nothing where something admits the request and only a deny stands in its way.
fn nearest(policy: &Policy, subject: &Subject<'_>) -> Option<Missed> {
    let allows = || policy.rules().iter().filter(|rule| rule.effect == Effect::Allow);
    if policy.default_effect() == Effect::Allow || allows().any(|rule| rule.failed(subject).is_none()) {
        return None;
    }
    let candidates = allows().filter_map(|rule| {
        let mut failed = Condition::ALL.into_iter().filter(|condition| !rule.holds(*condition, subject));
        let first = failed.next()?;
        Some((first == Condition::Host, failed.count(), rule, first))
    });
    let (_, _, rule, first) = candidates.min_by_key(|(host, more, ..)| (*host, *more))?;
    Some(Missed { rule: rule.name.to_string(), condition: first.as_str() })
}

#[cfg(test)]
mod tests;
