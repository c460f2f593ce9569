//! What the client sends: requests, notifications, and answers to what the server has asked.
//!
//! A text passes as a whole or not at all. Everything is looked at before anything is put on record, so that one message that is refused
//! keeps back the batch that it is in.

use crate::audit::{Credit, DecisionId};
use crate::parse::rpc::{self, Body, Call, Id, Message, RpcError, Shape, Version};
use crate::policy::{Approval, Decision, Direction, Permit};

use super::answer::{self, Error};
use super::asking::{self, Held, Leave};
use super::ruling::{About, Arguments, Finding, Objection};
use super::{Carrier, Session};

/// What becomes of a text from the client.
#[derive(Debug)]
pub(crate) enum FromClient {
    /// It passes, byte for byte.
    Forward {
        /// The leave to do so.
        permit: Permit,
        /// The decisions on messages that nobody answers, each to get its outcome when the text is sent.
        told: Vec<Credit>,
    },
    /// It does not, and is on record as refused.
    Refused(Refusal),
    /// It is to be held until somebody was asked, and then to be given to [`Session::client_asked`]. Nothing is on record yet.
    Ask(Box<Held>),
}

/// Why a text does not pass, and what its sender is told.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// What kind of refusal it is.
    pub(crate) why: Why,
    /// One JSON text: an error, or one for each request of a batch. Where nobody waits for an answer it has no id.
    pub(crate) answer: Vec<u8>,
    /// Whether the sender waits for an answer: some message has an id that can be answered.
    pub(crate) is_awaited: bool,
    /// The decision that says why.
    pub(crate) decision: Option<DecisionId>,
}

/// Kinds of refusals, as a transport answers them differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// No strict message, or against the protocol.
    Malformed,
    /// Blocked: by policy, because a pinned tool has changed, because nobody has asked.
    Denied,
    /// It could not be put on record.
    Unrecorded,
}

/// One message and what was found about it.
pub(super) struct Judged<'b, 'p> {
    pub(super) message: &'b Message<'b>,
    pub(super) finding: Finding<'p>,
}

impl Session {
    /// A text from the client.
    pub(crate) fn client_sent(&mut self, carrier: &Carrier<'_>, bytes: &[u8]) -> FromClient {
        self.sent(carrier, bytes, None)
    }

    /// The same of a text to which somebody has said something, perhaps.
    pub(crate) fn sent(&mut self, carrier: &Carrier<'_>, bytes: &[u8], leave: Option<Leave>) -> FromClient {
        let body = match rpc::read(bytes, self.layout(), carrier.arguments) {
            Ok(body) => body,
            Err(error) => return FromClient::Refused(self.unreadable(carrier, bytes, &error)),
        };
        let against = self.against_protocol(&body);
        let mut judged: Vec<Judged<'_, '_>> = Vec::with_capacity(body.messages.len());
        for message in &body.messages {
            let finding = match &against {
                Some(objection) => Finding::refused(objection.clone()),
                None if judged.iter().any(|before| is_same_request(before.message, message)) => {
                    Finding::refused(twice())
                }
                None => self.judge(carrier, message),
            };
            judged.push(Judged { message, finding });
        }
        let approval = match self.consult(carrier, &body, &mut judged, leave) {
            Ok(approval) => approval,
            Err(held) => return FromClient::Ask(held),
        };
        let mut permit = None;
        if judged.iter().all(|judged| !judged.finding.is_refused()) {
            permit = self.admit(carrier, &mut judged, approval);
        }
        match permit {
            Some(permit) => self.pass(carrier, &body, &judged, permit),
            None => FromClient::Refused(self.refuse(carrier, &judged, body.is_batch)),
        }
    }

    /// What is against the version that is spoken, whatever the messages say.
    fn against_protocol(&self, body: &Body<'_>) -> Option<Objection> {
        // At an endpoint that nobody has declared it is for the server to say what it takes.
        if !self.declared {
            return None;
        }
        let invalid = |reason: &str| Some(Objection::new("malformed", answer::INVALID_REQUEST, reason));
        if body.is_batch && !self.version.is_some_and(Version::has_batches) {
            return invalid("this protocol version has no batches");
        }
        let has_answer = body.messages.iter().any(|message| matches!(message.shape, Shape::Response(..)));
        if has_answer && self.version.is_some_and(|version| !version.has_client_responses()) {
            return invalid("this protocol version has no responses of clients");
        }
        let unknown = |call: &Call<'_>| call.meta_version.as_deref().is_some_and(|name| Version::read(name).is_none());
        if body.messages.iter().filter_map(Message::call).any(unknown) {
            let reason = "the protocol version is not known";
            return Some(Objection::new("version_unsupported", answer::UNSUPPORTED_VERSION, reason));
        }
        None
    }

    fn judge<'c>(&self, carrier: &Carrier<'c>, message: &Message<'_>) -> Finding<'c> {
        match &message.shape {
            Shape::Request(id, _) if self.asked.has(id) || self.is_held(id) => Finding::refused(twice()),
            Shape::Request(..) if self.asked.is_full() => {
                let reason = "too many requests wait for their answers";
                Finding::refused(Objection::new("too_many", answer::BLOCKED, reason))
            }
            Shape::Request(_, call) | Shape::Notification(call) => {
                let arguments = Arguments(&call.facts, call.arguments);
                let about = About::of(Direction::ToServer, call, &arguments);
                let objection = self.foreign(carrier, call).or_else(|| self.changed(carrier, call));
                Finding { decision: Some(self.decide(carrier, &about)), objection, approved: None }
            }
            // Nothing is known there of what the server has asked.
            Shape::Response(..) if !self.declared => {
                unheld(self.decide(carrier, &About::method(Direction::ToServer, "")))
            }
            Shape::Response(id, _) => match id.as_ref().and_then(|id| self.asked_back.method(id)) {
                // Whether the server may ask this is decided anew for the answer: it is what the server is after.
                Some(method) => unheld(self.decide(carrier, &About::method(Direction::ToClient, method))),
                None => Finding::refused(unsolicited()),
            },
        }
    }

    /// Takes what the decisions cost and lets the way be vetted. Nothing if one of them is refused by that; its finding then says so.
    fn admit<'c>(
        &self,
        carrier: &Carrier<'c>,
        judged: &mut [Judged<'_, 'c>],
        mut approval: Option<Approval>,
    ) -> Option<Permit> {
        let mut last = None;
        for judged in judged {
            let permit = loop {
                let Some(permit) = self.permit(judged, &mut approval) else {
                    if judged.finding.asks().is_some() {
                        judged.finding.objection = Some(asking::is_anothers());
                    }
                    return None;
                };
                if let Err(code) = (carrier.vet)(&permit) {
                    let reason = "the address of the server is refused";
                    judged.finding.objection = Some(Objection::new(code, answer::BLOCKED, reason));
                    return None;
                }
                let Some(call) = judged.message.call() else { break permit };
                let arguments = Arguments(&call.facts, call.arguments);
                let about = About::of(Direction::ToServer, call, &arguments);
                if self.take(carrier, &about, &permit) {
                    break permit;
                }
                // The last token went to somebody else in between, so that the rule does not match any more.
                judged.finding.decision = Some(self.decide(carrier, &about));
            };
            last = Some(permit);
        }
        last
    }

    /// The leave to let one message pass; an approval is used up by it.
    fn permit(&self, judged: &mut Judged<'_, '_>, approval: &mut Option<Approval>) -> Option<Permit> {
        let decision = judged.finding.decision?;
        let Some(approver) = decision.ask else { return decision.admit().ok() };
        let (_, digest) = judged.message.call().and_then(|call| self.action(call))?;
        let permit = decision.admit_approved(approval.take()?, &digest).ok()?;
        let approved = format!("approved by `{approver}`");
        if let Some(noticed) = &mut judged.finding.objection {
            noticed.reason = format!("{}; {approved}", noticed.reason);
        }
        judged.finding.approved = Some(approved);
        Some(permit)
    }

    /// Everything passes: recorded, then noted as asked.
    fn pass(
        &mut self,
        carrier: &Carrier<'_>,
        body: &Body<'_>,
        judged: &[Judged<'_, '_>],
        permit: Permit,
    ) -> FromClient {
        let mut credits = Vec::with_capacity(judged.len());
        for each in judged {
            match self.described_as(each, |about| self.record_passage(carrier, about, &each.finding)) {
                Ok(credit) => credits.push(credit),
                Err(_) => return FromClient::Refused(unrecorded(&body.messages, body.is_batch)),
            }
        }
        let mut told = Vec::new();
        for (each, credit) in judged.iter().zip(credits) {
            match &each.message.shape {
                Shape::Request(id, call) => {
                    if let Some(version) = call.meta_version.as_deref().and_then(Version::read) {
                        self.version = Some(version);
                    }
                    let (id, bytes) = (id.clone().into_owned(), each.message.raw.len());
                    self.asked.ask(id, self.topic(call), credit, bytes, carrier.started);
                }
                Shape::Notification(call) => {
                    // Whoever cancels wants no answer; one that comes all the same is nobody's.
                    if let Some(id) = &call.cancels {
                        self.held.remove(&id.clone().into_owned());
                    }
                    if let Some(asked) = call.cancels.as_ref().and_then(|id| self.asked.take(id)) {
                        asked.end(&crate::audit::OutcomeFacts { code: Some("cancelled"), ..carrier.outcome }, 0);
                    }
                    told.push(credit);
                }
                Shape::Response(id, _) => {
                    if let Some(asked) = id.as_ref().and_then(|id| self.asked_back.take(id)) {
                        asked.end(&carrier.outcome, each.message.raw.len());
                    }
                    told.push(credit);
                }
            }
        }
        FromClient::Forward { permit, told }
    }

    /// Some message is refused, and so all are: one error for each that waits for an answer.
    fn refuse(&self, carrier: &Carrier<'_>, judged: &[Judged<'_, '_>], is_batch: bool) -> Refusal {
        let mut answers = Vec::new();
        let (mut decision, mut is_malformed, mut bare) = (None, false, None);
        for each in judged {
            let with = Finding::refused(Objection::new(
                "batch",
                answer::BLOCKED,
                "another message of the same batch is refused",
            ));
            let finding = if each.finding.is_refused() { &each.finding } else { &with };
            let id = self.described_as(each, |about| self.record_refusal(carrier, about, finding));
            if each.finding.is_refused() {
                decision = decision.or(id);
                is_malformed |= finding.objection.as_ref().is_some_and(|objection| objection.rpc != answer::BLOCKED);
            }
            let error = finding.error(id);
            if let Shape::Request(request, _) = &each.message.shape {
                answers.push(error.write(Some(request)));
            } else if bare.is_none() {
                bare = Some(error.write(None));
            }
        }
        let is_awaited = !answers.is_empty();
        let answer = match (is_awaited, is_batch) {
            (true, true) => answer::batch(&answers),
            _ => answers.pop().or(bare).unwrap_or_default(),
        };
        Refusal { why: if is_malformed { Why::Malformed } else { Why::Denied }, answer, is_awaited, decision }
    }

    /// A text that is no strict message. It has an answer where its id can be told.
    fn unreadable(&self, carrier: &Carrier<'_>, bytes: &[u8], error: &RpcError) -> Refusal {
        let finding = Finding::refused(Objection::new(error.code(), error.rpc_code(), error.to_string()));
        let about = About::method(Direction::ToServer, "");
        let decision = self.record_refusal(carrier, &about, &finding);
        let id = rpc::recover_id(bytes, true);
        let answer = finding.error(decision).write(id.as_ref());
        Refusal { why: Why::Malformed, answer, is_awaited: id.is_some(), decision }
    }

    /// A text that cannot be read at all, such as one that is too long: nobody is named who could be answered.
    pub(crate) fn garbled_by_client(&self, carrier: &Carrier<'_>, code: &'static str) {
        let objection = Objection::new(code, answer::INVALID_REQUEST, "what the client sent cannot be read");
        self.record_refusal(carrier, &About::method(Direction::ToServer, ""), &Finding::refused(objection));
    }

    /// Hands `each` to `then` as policy and record see it.
    pub(super) fn described_as<T>(&self, each: &Judged<'_, '_>, then: impl FnOnce(&About<'_>) -> T) -> T {
        match &each.message.shape {
            Shape::Request(_, call) | Shape::Notification(call) => {
                let arguments = Arguments(&call.facts, call.arguments);
                then(&About::of(Direction::ToServer, call, &arguments))
            }
            Shape::Response(id, _) => {
                let method = id.as_ref().and_then(|id| self.asked_back.method(id)).unwrap_or_default();
                then(&About::method(Direction::ToClient, method))
            }
        }
    }
}

/// No record, no passage.
fn unrecorded(messages: &[Message<'_>], is_batch: bool) -> Refusal {
    let error = Error { code: answer::BLOCKED, word: Some("audit_unavailable"), ..Error::default() };
    let requests = messages.iter().filter_map(|message| match &message.shape {
        Shape::Request(id, _) => Some(error.write(Some(id))),
        _ => None,
    });
    let mut answers: Vec<Vec<u8>> = requests.collect();
    let is_awaited = !answers.is_empty();
    let answer = match (is_awaited, is_batch) {
        (true, true) => answer::batch(&answers),
        _ => answers.pop().unwrap_or_else(|| error.write(None)),
    };
    Refusal { why: Why::Unrecorded, answer, is_awaited, decision: None }
}

fn is_same_request(one: &Message<'_>, other: &Message<'_>) -> bool {
    let id = |message: &Message<'_>| match &message.shape {
        Shape::Request(id, _) => Some(id.clone().into_owned()),
        _ => None,
    };
    id(one).is_some_and(|first: Id<'static>| id(other) == Some(first))
}

/// What is decided about a message that nobody holds: one that takes somebody's leave does not pass.
pub(super) fn unheld(decision: Decision<'_>) -> Finding<'_> {
    let objection = decision.ask.map(|_| asking::cannot_be_held());
    Finding { objection, ..Finding::decided(decision) }
}

fn twice() -> Objection {
    Objection::new("duplicate_id", answer::INVALID_REQUEST, "a request with this id waits for its answer")
}

pub(super) fn unsolicited() -> Objection {
    Objection::new("unsolicited", answer::BLOCKED, "nobody has asked for this answer")
}
