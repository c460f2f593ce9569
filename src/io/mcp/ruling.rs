//! One message, decided and described.
//!
//! A message that names several resources, or one that can be read in several ways, is decided for each: the strictest decision holds.

use std::borrow::Cow;

use crate::audit::{Credit, DecisionFacts, DecisionId, Inspected, McpFacts, Nanos, Protocol, Refused, Verdict};
use crate::io::approval;
use crate::io::clock;
use crate::io::judge::nanos_since;
use crate::parse::json::{self, Facts};
use crate::parse::rpc::uri::Uri;
use crate::parse::rpc::{self, Call};
use crate::policy::{self, Answer, Decision, Direction, Look, Lookup, Mcp, Number, Subject, Value};

use super::answer::{self, Error};
use super::{Carrier, Session};

/// What a message is about, as policy sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct About<'a> {
    pub(super) direction: Direction,
    pub(super) method: &'a str,
    pub(super) tool: Option<&'a str>,
    pub(super) prompt: Option<&'a str>,
    pub(super) resources: &'a [Uri<'a>],
    pub(super) arguments: Look<'a>,
    /// The arguments as they were received.
    pub(super) raw: Option<&'a [u8]>,
    pub(super) version: Option<&'a str>,
}

/// What was found about a message.
#[derive(Debug)]
pub(super) struct Finding<'p> {
    /// What policy says; nothing where it was not asked.
    pub(super) decision: Option<Decision<'p>>,
    /// What refuses the message whatever policy says.
    pub(super) objection: Option<Objection>,
    /// Who has agreed to it, for the record.
    pub(super) approved: Option<String>,
}

/// A reason besides policy.
#[derive(Clone, Debug)]
pub(super) struct Objection {
    /// The stable word.
    pub(super) code: &'static str,
    /// The code of the JSON-RPC error.
    pub(super) rpc: i32,
    pub(super) reason: String,
    /// False where it is recorded and the message passes.
    pub(super) enforced: bool,
    /// Whether it is the rule that asks for it: the rule is named beside it.
    pub(super) is_rules: bool,
}

/// The values of arguments, as policy asks for them, and the arguments as they came.
#[derive(Debug)]
pub(super) struct Arguments<'f>(pub(super) &'f Facts<'f>, pub(super) Option<&'f [u8]>);

impl Lookup for Arguments<'_> {
    fn values(&self, name: &str, found: &mut dyn FnMut(Value<'_>)) {
        match self.0.value(name) {
            None => {}
            Some(json::Value::Text(text)) => found(Value::Text(text.as_bytes())),
            Some(json::Value::Number(digits)) => {
                found(Number::read(digits).map_or(Value::Unreadable, Value::Number));
            }
            Some(json::Value::Bool(flag)) => found(Value::Bool(flag)),
            Some(json::Value::Null) => found(Value::Null),
            Some(json::Value::List(length)) => found(Value::List(length)),
            Some(json::Value::Object) => found(Value::Object),
            Some(json::Value::Unreadable) => found(Value::Unreadable),
        }
    }

    fn text(&self) -> Option<Cow<'_, [u8]>> {
        self.1.map(Cow::Borrowed)
    }
}

impl Objection {
    pub(super) fn new(code: &'static str, rpc: i32, reason: impl Into<String>) -> Objection {
        Objection { code, rpc, reason: reason.into(), enforced: true, is_rules: false }
    }
}

impl<'a> About<'a> {
    /// A message about nothing but its method.
    pub(super) fn method(direction: Direction, method: &'a str) -> About<'a> {
        let (tool, prompt, resources) = (None, None, &[]);
        About { direction, method, tool, prompt, resources, arguments: Look::Absent, raw: None, version: None }
    }

    pub(super) fn of(direction: Direction, call: &'a Call<'a>, arguments: &'a Arguments<'a>) -> About<'a> {
        About {
            tool: call.tool.as_deref(),
            prompt: call.prompt.as_deref(),
            resources: &call.resources,
            arguments: call.arguments.map_or(Look::Absent, |_| Look::At(arguments)),
            raw: call.arguments,
            version: call.version.as_deref(),
            ..About::method(direction, &call.method)
        }
    }
}

impl<'p> Finding<'p> {
    pub(super) fn decided(decision: Decision<'p>) -> Finding<'p> {
        Finding { decision: Some(decision), objection: None, approved: None }
    }

    pub(super) fn refused(objection: Objection) -> Finding<'p> {
        Finding { decision: None, objection: Some(objection), approved: None }
    }

    /// Whether the message stays here.
    pub(super) fn is_refused(&self) -> bool {
        let objects = self.objection.as_ref().is_some_and(|objection| objection.enforced);
        objects || self.decision.is_none() || self.is_refused_by_policy()
    }

    fn is_refused_by_policy(&self) -> bool {
        let denied = |decision: &Decision<'_>| rank(decision) == rank_of_denial();
        self.decision.as_ref().is_some_and(denied)
    }

    /// The error that answers the message, when it stays here.
    pub(super) fn error(&self, decision: Option<DecisionId>) -> Error<'_> {
        match (&self.objection, &self.decision) {
            (Some(objection), policy) if objection.enforced => {
                let rule = policy.as_ref().and_then(|policy| policy.rule).filter(|_| objection.is_rules);
                Error {
                    code: objection.rpc,
                    decision,
                    rule: rule.map(|rule| rule.name),
                    word: Some(objection.code),
                    reason: Some(&objection.reason),
                    remedy: rule.and_then(|rule| rule.remedy),
                }
            }
            (_, Some(policy)) => Error {
                code: answer::BLOCKED,
                decision,
                rule: policy.rule.map(|rule| rule.name),
                reason: policy.rule.and_then(|rule| rule.reason),
                remedy: policy.rule.and_then(|rule| rule.remedy),
                word: policy.code.map(policy::Code::as_str),
            },
            _ => Error { code: answer::BLOCKED, decision, ..Error::default() },
        }
    }
}

impl Session {
    /// Decides a message, in every reading of what it names.
    pub(super) fn decide<'c>(&self, carrier: &Carrier<'c>, about: &About<'_>) -> Decision<'c> {
        let mut strictest: Option<Decision<'c>> = None;
        self.each_reading(carrier, about, |policy, subject| {
            let decision = policy.decide(subject);
            if strictest.as_ref().is_none_or(|so_far| rank(&decision) > rank(so_far)) {
                strictest = Some(decision);
            }
        });
        // There is always one reading; without any there would be no leave either.
        strictest.unwrap_or_else(|| carrier.policy.decide(&Subject::EMPTY))
    }

    /// Whether several are asked about a message, each about another reading of it.
    pub(super) fn asks_several(&self, carrier: &Carrier<'_>, about: &About<'_>) -> bool {
        let (mut first, mut several) = (None, false);
        self.each_reading(carrier, about, |policy, subject| {
            if let Some(approver) = policy.decide(subject).ask {
                several |= *first.get_or_insert(approver) != approver;
            }
        });
        several
    }

    /// Whether a message about this could pass, whatever its arguments are.
    pub(super) fn may_pass(&self, carrier: &Carrier<'_>, about: &About<'_>) -> bool {
        let mut may = true;
        self.each_reading(carrier, about, |policy, subject| {
            may &= match policy.ask(subject) {
                Answer::Needs(_) => true,
                Answer::Decided(decision) => rank(&decision) < rank_of_denial(),
            };
        });
        may
    }

    /// Whether what is under way would be admitted now: the messages of a text, or a stream.
    pub(crate) fn still_goes(&self, carrier: &Carrier<'_>, text: Option<&[u8]>) -> bool {
        let Some(text) = text else {
            return self.is_admitted_still(carrier, &About::method(Direction::ToServer, "ping"));
        };
        let Ok(body) = rpc::read(text, self.layout(), carrier.arguments) else { return false };
        body.messages.iter().filter_map(rpc::Message::call).all(|call| {
            let arguments = Arguments(&call.facts, call.arguments);
            self.is_admitted_still(carrier, &About::of(Direction::ToServer, call, &arguments))
        })
    }

    fn is_admitted_still(&self, carrier: &Carrier<'_>, about: &About<'_>) -> bool {
        let mut goes = true;
        self.each_reading(carrier, about, |policy, subject| {
            goes &= policy
                .admits_still(subject)
                .is_none_or(|decision| decision.admit_still().is_ok_and(|permit| (carrier.vet)(&permit).is_ok()));
        });
        goes
    }

    fn each_reading<'c>(
        &self,
        carrier: &Carrier<'c>,
        about: &About<'_>,
        mut each: impl FnMut(&'c policy::Policy, &Subject<'_>),
    ) {
        let mut one = |resource: Option<&str>| {
            let mcp = Mcp {
                server: &self.server,
                declared: self.declared,
                direction: about.direction,
                method: about.method,
                tool: about.tool,
                resource,
                prompt: about.prompt,
                arguments: about.arguments,
            };
            each(carrier.policy, &Subject { mcp: Some(mcp), ..carrier.subject });
        };
        if about.resources.is_empty() {
            one(None);
        }
        for uri in about.resources {
            one(Some(&uri.canonical));
            uri.readings.iter().for_each(|reading| one(Some(reading)));
        }
    }

    /// Takes a token of the rate that a permit stands under.
    pub(super) fn take(&self, carrier: &Carrier<'_>, about: &About<'_>, permit: &policy::Permit) -> bool {
        let mut taken = None;
        self.each_reading(carrier, about, |policy, subject| {
            // One message takes one token, however many resources it names.
            taken.get_or_insert_with(|| permit.take(policy, subject));
        });
        taken.unwrap_or(false)
    }

    /// Puts a message that passes on record.
    pub(super) fn record_passage(
        &self,
        carrier: &Carrier<'_>,
        about: &About<'_>,
        finding: &Finding<'_>,
    ) -> Result<Credit, Refused> {
        self.described(carrier, about, finding, |facts| carrier.producer.allow(Nanos(clock::wall()), facts))
    }

    /// Puts a message that does not pass on record. What is refused stays refused when it cannot be recorded: the loss shows as a gap.
    pub(super) fn record_refusal(
        &self,
        carrier: &Carrier<'_>,
        about: &About<'_>,
        finding: &Finding<'_>,
    ) -> Option<DecisionId> {
        self.described(carrier, about, finding, |facts| {
            let facts = DecisionFacts { verdict: Verdict::Deny, enforced: true, ..*facts };
            carrier.producer.deny(Nanos(clock::wall()), &facts).ok()
        })
    }

    fn described<T>(
        &self,
        carrier: &Carrier<'_>,
        about: &About<'_>,
        finding: &Finding<'_>,
        put: impl FnOnce(&DecisionFacts<'_>) -> T,
    ) -> T {
        // What policy refuses by itself is policy's, whatever else was noticed.
        let objection =
            finding.objection.as_ref().filter(|objection| objection.enforced || !finding.is_refused_by_policy());
        let decision = finding.decision.as_ref().filter(|_| objection.is_none_or(|objection| objection.is_rules));
        let rule = decision.and_then(|decision| decision.rule);
        let (verdict, enforced) = match (objection, &finding.decision) {
            (Some(objection), _) => (Verdict::Deny, objection.enforced),
            (None, Some(decision)) if decision.verdict == policy::Verdict::Allow => (Verdict::Allow, true),
            (None, Some(decision)) => (Verdict::Deny, decision.enforced),
            (None, None) => (Verdict::Deny, true),
        };
        let mcp = McpFacts {
            server: &self.server,
            transport: self.transport,
            version: about.version.or(self.version.map(|version| version.name())).unwrap_or_default(),
            method: about.method,
            tool: about.tool.unwrap_or_default(),
            resource: about.resources.first().map(|uri| &*uri.canonical).unwrap_or_default(),
            prompt: about.prompt.unwrap_or_default(),
            arguments_digest: about.raw.and_then(|raw| json::digest(raw).ok()),
        };
        put(&DecisionFacts {
            protocol: Protocol::Mcp,
            mcp: Some(mcp),
            verdict,
            enforced,
            rule: rule.map(|rule| rule.name),
            reason: objection
                .map(|objection| &*objection.reason)
                .or(finding.approved.as_deref())
                .or(rule.and_then(|rule| rule.reason)),
            code: objection
                .map(|objection| objection.code)
                .or(decision.and_then(|decision| decision.code).map(policy::Code::as_str))
                .or(finding.approved.as_ref().map(|_| approval::Answer::Approved.code())),
            policy: Some(*carrier.policy.digest()),
            inspected: carrier.facts.inspected | Inspected::MCP,
            decide_ns: nanos_since(carrier.started),
            ..carrier.facts
        })
    }
}

/// How strict a decision is.
fn rank(decision: &Decision<'_>) -> u8 {
    match (decision.verdict, decision.enforced) {
        (policy::Verdict::Deny, true) => rank_of_denial(),
        _ if decision.ask.is_some() => 2,
        (policy::Verdict::Deny, false) => 1,
        (policy::Verdict::Allow, _) => 0,
    }
}

const fn rank_of_denial() -> u8 {
    3
}
