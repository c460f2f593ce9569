//! Refusing, in the order that counts: recorded first, then answered.
//!
//! Every refusal that ringfence gives by itself is made here, whatever found it: a rule, an address, a head that cannot be understood, a name
//! without an address, a log that cannot be written, a connection that asks for nothing we speak.

use std::sync::PoisonError;

use crate::audit::{DecisionFacts, DecisionId, Inspected, Nanos, OutcomeFacts, Protocol, Refused, Verdict};
use crate::io::clock;
use crate::io::door::Arrival;
use crate::io::flow::{Connection, Next};
use crate::io::judge::{Judged, Request, nanos_since};
use crate::io::metrics;
use crate::io::refusal::Refusal;
use crate::io::worker::Worker;
use crate::parse::framing::{self, Framing};
use crate::parse::head::{HeadError, RequestHead};
use crate::parse::target::Canonical;
use crate::policy::{self, Decision, Policy};

impl Connection {
    /// An allowed request whose name has no address: recorded as the decision it is, with the outcome that nothing was dialled.
    pub(crate) fn unresolved(
        &mut self,
        request: &Request<'_>,
        policy: &Policy,
        decision: &Decision<'_>,
        code: &'static str,
    ) -> Judged {
        let facts = self.request_facts(request, policy, decision);
        let credit = match self.worker.producer.allow(Nanos(clock::wall()), &facts) {
            Ok(credit) => credit,
            Err(refused) => return self.unrecorded(request, refused),
        };
        self.worker.counters.decided(metrics::Verdict::of(decision), facts.decide_ns);
        let id = credit.id();
        let status = if code == "name_unanswered" { 504 } else { 502 };
        let outcome = OutcomeFacts {
            status: Some(status),
            total_ns: nanos_since(request.started),
            code: Some(code),
            ..Default::default()
        };
        credit.outcome(Nanos(clock::wall()), &outcome);
        self.worker.counters.concluded(metrics::Ending::failed(status), &outcome);
        self.answer(request, Refusal { status, code: Some(code), ..Refusal::default() }, Some(id))
    }

    /// Records a denial and writes the contract's answer. `code` says what refused where it was not the rule itself.
    pub(crate) fn deny(
        &mut self,
        request: &Request<'_>,
        policy: &Policy,
        decision: &Decision<'_>,
        code: Option<&'static str>,
    ) -> Judged {
        // An address is refused whatever the rules say, so no rule is named then.
        let rule = decision.rule.filter(|_| code.is_none());
        let code = code.or(decision.code.map(policy::Code::as_str));
        let facts = DecisionFacts {
            verdict: Verdict::Deny,
            enforced: true,
            rule: rule.map(|rule| rule.name),
            reason: rule.and_then(|rule| rule.reason),
            code,
            status: Some(403),
            ..self.request_facts(request, policy, decision)
        };
        // Denied also when it cannot be recorded: the loss is counted by the ring and shows as a gap.
        let id = self.worker.record_denial(&facts);
        self.worker.counters.decided(metrics::Verdict::Deny, facts.decide_ns);
        let refusal = Refusal {
            status: 403,
            rule: rule.map(|rule| rule.name),
            reason: rule.and_then(|rule| rule.reason),
            remedy: rule.and_then(|rule| rule.remedy),
            code,
            ..Refusal::default()
        };
        self.answer(request, refusal, id)
    }

    pub(crate) fn unrecorded(&mut self, request: &Request<'_>, refused: Refused) -> Judged {
        self.worker.counters.unrecorded(refused);
        self.answer(request, Refusal { status: 503, code: Some("audit_unavailable"), ..Refusal::default() }, None)
    }

    fn answer(&mut self, request: &Request<'_>, refusal: Refusal<'_>, id: Option<DecisionId>) -> Judged {
        let body = match request.framing {
            Framing::None | Framing::Length(0) => false,
            // A short body that is already here is dropped; the connection stays in step.
            Framing::Length(n) if usize::try_from(n).is_ok_and(|n| n <= self.client.pending()) => {
                self.client.consume(usize::try_from(n).unwrap_or(0));
                false
            }
            _ => true,
        };
        let close = body || !framing::persistent(request.head.version, &request.head.headers);
        let id = id.map(|id| id.to_string());
        let head_only = request.head.method == "HEAD";
        Refusal { decision: id.as_deref(), close, head_only, ..refusal }.write(&mut self.out);
        Judged::Refused { body, close }
    }

    /// A head that cannot be understood in exactly one way, or asks for what is not spoken: recorded, answered, closed.
    pub(crate) fn malformed(
        &mut self,
        status: u16,
        code: &'static str,
        cause: &dyn std::fmt::Display,
        known: Option<(&RequestHead<'_>, &Canonical<'_>)>,
    ) -> Judged {
        let policy = self.worker.policy();
        let cause = cause.to_string();
        let facts = DecisionFacts {
            sni: self.arrival.sni.as_deref(),
            host: known.and_then(|(_, target)| target.host.name()),
            port: known.map(|(_, target)| target.port),
            method: known.map(|(head, _)| head.method),
            path: known.map(|(_, target)| &*target.path),
            verdict: Verdict::Deny,
            code: Some(code),
            reason: Some(&cause),
            policy: Some(*policy.digest()),
            inspected: Inspected::HEAD,
            status: Some(status),
            ..self.worker.facts(&self.arrival)
        };
        let id = self.worker.record_denial(&facts).map(|id| id.to_string());
        self.worker.counters.malformed();
        let refusal = Refusal {
            status,
            decision: id.as_deref(),
            code: Some(code),
            reason: Some(&cause),
            close: true,
            ..Refusal::default()
        };
        refusal.write(&mut self.out);
        Judged::Refused { body: true, close: true }
    }

    /// Answers a head that is not even whole: too long, or broken before its end.
    pub(crate) async fn refuse_head(&mut self, error: &HeadError) -> Next {
        let _ = self.malformed(error.status(), error.code(), error, None);
        self.refused(true, true).await
    }
}

/// Records that a connection was refused before it could ask for anything.
pub(crate) fn refuse(worker: &Worker, arrival: &Arrival, protocol: Protocol, code: &'static str) {
    let policy = worker.policy();
    // Cold, and never held across an await: the lock waits for one lookup of another worker at most.
    let names = worker.synthetic.lock().unwrap_or_else(PoisonError::into_inner);
    // What the program meant when it asked the stub for this address, or what its CONNECT says.
    let asked = match &arrival.tunnel {
        Some((host, _)) => host.name(),
        None => arrival.destination.and_then(|destination| names.name(destination.ip())),
    };
    let facts = DecisionFacts {
        protocol,
        // Before a request only TLS says what its scheme is.
        scheme: (protocol == Protocol::Tls).then_some(crate::audit::Scheme::Https),
        sni: arrival.sni.as_deref(),
        host: asked,
        port: asked.map(|_| arrival.port),
        verdict: Verdict::Deny,
        enforced: true,
        code: Some(code),
        policy: Some(*policy.digest()),
        inspected: if protocol == Protocol::Tls { Inspected::SNI } else { Inspected::ADDRESS },
        ..worker.facts(arrival)
    };
    let _: Option<DecisionId> = worker.record_denial(&facts);
    worker.counters.refused();
}
