//! Which records are asked for. `decode`, `stats` and `export` share these options.
//!
//! A filter selects records that have the fact it asks for. An outcome shares only its decision's `id`.

use clap::{Args, ValueEnum};
use jiff::{SignedDuration, Timestamp};

use crate::audit::record::{ArchivedDecision, Body, Schema};
use crate::audit::segment::Frame;
use crate::audit::times::Span;
use crate::audit::{DecisionId, Nanos, Verdict};

/// Options that select records.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Filter {
    /// Only decisions with this verdict
    #[arg(long, value_enum)]
    verdict: Option<VerdictArg>,
    /// Only records of this agent
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// Only decisions about this host
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Only decisions by this rule
    #[arg(long, value_name = "NAME")]
    rule: Option<String>,
    /// Only the decision with this id, and its outcome
    #[arg(long, value_name = "ID", value_parser = parse_id)]
    id: Option<DecisionId>,
    /// Only records from this time on: RFC 3339, or a duration before now such as 90s, 15m, 2h
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<Nanos>,
    /// Only records before this time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<Nanos>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum VerdictArg {
    Allow,
    Deny,
}

pub(super) fn parse_id(text: &str) -> Result<DecisionId, &'static str> {
    let digits = text.len() == 32 && text.bytes().all(|octet| octet.is_ascii_hexdigit());
    let id = u128::from_str_radix(text, 16).ok().filter(|_| digits);
    id.map(DecisionId).ok_or("a decision id has 32 hexadecimal digits")
}

fn parse_time(text: &str) -> Result<Nanos, &'static str> {
    let absolute = text.parse::<Timestamp>().ok();
    let before = || {
        let before = text.parse::<SignedDuration>().ok().filter(|duration| !duration.is_negative())?;
        Timestamp::now().checked_sub(before).ok()
    };
    let time = absolute.or_else(before);
    // Nothing was recorded before 1970.
    let nanos = time.map(|time| Nanos(u64::try_from(time.as_nanosecond()).unwrap_or(0)));
    nanos.ok_or("a time is RFC 3339 (2026-11-23T12:00:00Z) or a duration before now (15m)")
}

impl Filter {
    /// Only records from `since` on and before `until`.
    #[cfg(test)]
    pub(super) fn between(since: u64, until: u64) -> Self {
        Self { since: Some(Nanos(since)), until: Some(Nanos(until)), ..Self::default() }
    }

    /// This filter's times alone.
    pub(super) fn times(&self) -> Self {
        Self { since: self.since, until: self.until, ..Self::default() }
    }

    /// Whether a time is asked for, so that an index is of use.
    pub(super) fn has_time(&self) -> bool {
        self.since.is_some() || self.until.is_some()
    }

    /// Whether a stretch of a segment may hold what is asked for.
    pub(super) fn wants_span(&self, span: &Span) -> bool {
        span.may_hold(self.since.unwrap_or(Nanos(0)), self.until.unwrap_or(Nanos(u64::MAX)))
    }

    /// Whether facts of decisions are asked for, which outcomes and other records do not have.
    pub(super) fn is_about_decisions(&self) -> bool {
        self.verdict.is_some() || self.host.is_some() || self.rule.is_some() || self.agent.is_some()
    }

    /// Whether a record may be asked for, by what can be told without looking into it.
    pub(super) fn may_want(&self, frame: &Frame<'_>) -> bool {
        let decides = matches!(frame.schema, Schema::DECISION | Schema::MESSAGE | Schema::TUNNEL | Schema::DNS);
        self.since.is_none_or(|since| frame.time >= since)
            && self.until.is_none_or(|until| frame.time < until)
            && (decides || (self.verdict.is_none() && self.host.is_none() && self.rule.is_none()))
    }

    /// Whether the record has every fact that is asked for.
    pub(super) fn wants(&self, frame: &Frame<'_>, body: Body<'_>) -> bool {
        if !self.may_want(frame) {
            return false;
        }
        let id = self.id.map(|id| id.0.to_be_bytes());
        if let Some(decision) = body.decision() {
            return id.is_none_or(|id| decision.id == id) && self.wants_decision(decision);
        }
        match body {
            Body::Outcome(outcome) => !self.is_about_decisions() && id.is_none_or(|id| outcome.id == id),
            Body::Lifecycle(event) => {
                id.is_none() && self.agent.as_ref().is_none_or(|agent| event.agent == agent.as_str())
            }
            _ => id.is_none() && self.agent.is_none(),
        }
    }

    fn wants_decision(&self, decision: &ArchivedDecision<'_>) -> bool {
        let verdict = self.verdict.map(|verdict| match verdict {
            VerdictArg::Allow => Verdict::Allow.code(),
            VerdictArg::Deny => Verdict::Deny.code(),
        });
        verdict.is_none_or(|verdict| decision.verdict == verdict)
            && self.agent.as_ref().is_none_or(|agent| decision.agent == agent.as_str())
            && self.host.as_ref().is_none_or(|host| decision.host.eq_ignore_ascii_case(host))
            && self.rule.as_ref().is_none_or(|rule| decision.rule == rule.as_str())
    }
}
