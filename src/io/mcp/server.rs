//! What the server sends: answers, and its own requests and notifications.
//!
//! An answer belongs to the request whose id it has and ends that request's record. What a server asks of the client is decided like everything else,
//! also where it stands inside of an answer (`inputRequests`, 2026-07-28).

use std::borrow::Cow;

use crate::audit::OutcomeFacts;
use crate::parse::json::Pointers;
use crate::parse::rpc::{self, Id, Message, Outcome, RpcError, Shape, Version};
use crate::policy::Direction;

use super::answer;
use super::client::{unheld, unsolicited};
use super::ruling::{About, Arguments, Finding, Objection};
use super::tasks::Tasks;
use super::{Carrier, Session, Topic};

/// What becomes of a text from the server.
#[derive(Debug, Default)]
pub(crate) struct FromServer<'b> {
    /// What the client gets: the text as it came, or what is left of it, or an error in its place.
    pub(crate) to_client: Option<Cow<'b, [u8]>>,
    /// What the server gets: an error for a request of its own that is refused.
    pub(crate) to_server: Option<Vec<u8>>,
}

impl Session {
    /// A text from the server.
    pub(crate) fn server_sent<'b>(&mut self, carrier: &Carrier<'_>, bytes: &'b [u8]) -> FromServer<'b> {
        let nothing = Pointers::new([]);
        let body = match rpc::read(bytes, self.layout(), &nothing) {
            Ok(body) => body,
            Err(error) => return self.misspoken(carrier, bytes, &error),
        };
        if body.is_batch && !self.version.is_some_and(Version::has_batches) {
            return self.misspoken(carrier, bytes, &RpcError::Batch);
        }
        let mut back = Vec::new();
        let mut kept: Vec<Cow<'_, [u8]>> = Vec::with_capacity(body.messages.len());
        let mut is_whole = true;
        for message in &body.messages {
            let told = self.hear(carrier, message, &mut back);
            is_whole &= matches!(&told, Some(Cow::Borrowed(raw)) if raw.len() == message.raw.len());
            kept.extend(told);
        }
        let to_server = match back.len() {
            0 => None,
            _ if body.is_batch => Some(answer::batch(&back)),
            _ => back.pop(),
        };
        let to_client = match kept.len() {
            _ if is_whole => Some(Cow::Borrowed(bytes)),
            0 => None,
            _ if body.is_batch => {
                let kept: Vec<Vec<u8>> = kept.into_iter().map(Cow::into_owned).collect();
                Some(Cow::Owned(answer::batch(&kept)))
            }
            _ => kept.pop().map(|only| Cow::Owned(only.into_owned())),
        };
        FromServer { to_client, to_server }
    }

    /// A server's text that cannot be read, or cannot have been meant for us: nobody waits for it any longer than for this.
    pub(crate) fn garbled(&mut self, carrier: &Carrier<'_>, code: &'static str, reason: &str) -> FromServer<'static> {
        let finding = Finding::refused(Objection::new(code, answer::BLOCKED, reason));
        let decision = self.record_refusal(carrier, &About::method(Direction::ToClient, ""), &finding);
        let to_client = self.asked.only().map(|id| {
            self.fail(carrier, &id, code);
            Cow::Owned(finding.error(decision).write(Some(&id)))
        });
        FromServer { to_client, to_server: None }
    }

    /// Nothing of the server's can be read any more: everything that waits for an answer has failed. The errors, one for each.
    pub(crate) fn unreadable_from_here(&mut self, carrier: &Carrier<'_>, code: &'static str) -> Vec<Vec<u8>> {
        let reason = "the server's stream cannot be read any further";
        let finding = Finding::refused(Objection::new(code, answer::BLOCKED, reason));
        let decision = self.record_refusal(carrier, &About::method(Direction::ToClient, ""), &finding);
        let waiting: Vec<Id<'static>> = self.open().map(|(id, _)| id.clone()).collect();
        let failed = |id| {
            self.fail(carrier, &id, code);
            finding.error(decision).write(Some(&id))
        };
        waiting.into_iter().map(failed).collect()
    }

    /// One message: what of it the client gets.
    fn hear<'m>(
        &mut self,
        carrier: &Carrier<'_>,
        message: &'m Message<'m>,
        back: &mut Vec<Vec<u8>>,
    ) -> Option<Cow<'m, [u8]>> {
        match &message.shape {
            Shape::Response(id, outcome) => self.answered(carrier, message, id.as_ref(), outcome),
            Shape::Request(id, call) => {
                let arguments = Arguments(&call.facts, call.arguments);
                let about = About::of(Direction::ToClient, call, &arguments);
                let finding = if self.asked_back.has(id) || self.asked_back.is_full() {
                    let reason = "a request with this id waits for its answer, or too many do";
                    Finding::refused(Objection::new("duplicate_id", answer::INVALID_REQUEST, reason))
                } else {
                    self.weigh(carrier, &about)
                };
                if finding.is_refused() {
                    let decision = self.record_refusal(carrier, &about, &finding);
                    back.push(finding.error(decision).write(Some(id)));
                    return None;
                }
                let Ok(credit) = self.record_passage(carrier, &about, &finding) else {
                    let objection = Objection::new("audit_unavailable", answer::BLOCKED, "it cannot be recorded");
                    back.push(Finding::refused(objection).error(None).write(Some(id)));
                    return None;
                };
                let (id, length) = (id.clone().into_owned(), message.raw.len());
                self.asked_back.ask(id, Topic::method(&call.method), credit, length, carrier.started);
                Some(Cow::Borrowed(message.raw))
            }
            Shape::Notification(call) => {
                let arguments = Arguments(&call.facts, call.arguments);
                let about = About::of(Direction::ToClient, call, &arguments);
                let finding = match self.foreign(carrier, call) {
                    Some(objection) => Finding::refused(objection),
                    None => self.judge_told(carrier, call).unwrap_or_else(|| self.weigh(carrier, &about)),
                };
                if finding.is_refused() {
                    self.record_refusal(carrier, &about, &finding);
                    return None;
                }
                let credit = self.record_passage(carrier, &about, &finding).ok()?;
                let outcome = OutcomeFacts { bytes_down: message.raw.len() as u64, ..carrier.outcome };
                credit.outcome(crate::audit::Nanos(crate::io::clock::wall()), &outcome);
                if let Some(asked) = call.cancels.as_ref().and_then(|id| self.asked_back.take(id)) {
                    asked.end(&OutcomeFacts { code: Some("cancelled"), ..carrier.outcome }, 0);
                }
                Some(Cow::Borrowed(message.raw))
            }
        }
    }

    /// Decides a message to the client and takes what that costs.
    fn weigh<'c>(&self, carrier: &Carrier<'c>, about: &About<'_>) -> Finding<'c> {
        loop {
            let decision = self.decide(carrier, about);
            match decision.admit() {
                Ok(permit) if !self.take(carrier, about, &permit) => {}
                _ => return unheld(decision),
            }
        }
    }

    /// An answer.
    fn answered<'m>(
        &mut self,
        carrier: &Carrier<'_>,
        message: &'m Message<'m>,
        id: Option<&Id<'m>>,
        outcome: &Outcome<'m>,
    ) -> Option<Cow<'m, [u8]>> {
        // An error without an id is about a text that the server could not read: that of the only request, where there is one.
        let id = id.cloned().or_else(|| self.asked.only());
        let Some((id, asked)) = id.and_then(|id| Some((id.clone(), self.asked.take(&id)?))) else {
            let finding = Finding::refused(unsolicited());
            self.record_refusal(carrier, &About::method(Direction::ToClient, ""), &finding);
            return None;
        };
        let ended = |code: Option<&'static str>| OutcomeFacts { code, ..carrier.outcome };
        let asked = match self.pass_answer(carrier, (&id, asked), outcome, message.raw.len()) {
            Ok(asked) => asked,
            Err(error) => return Some(error),
        };
        let Outcome::Result { input_requests, has_list, version, task, .. } = outcome else {
            asked.end(&ended(None), message.raw.len());
            return Some(Cow::Borrowed(message.raw));
        };
        if let Some(name) = version.as_deref().filter(|_| &*asked.topic.method == "initialize") {
            let Some(version) = Version::read(name) else {
                asked.end(&ended(Some("version_unsupported")), message.raw.len());
                let reason = "the server speaks a version of MCP that is not known";
                let finding = Finding::refused(Objection::new("version_unsupported", answer::BLOCKED, reason));
                let about = About::method(Direction::ToClient, "initialize");
                return Some(self.in_place_of(carrier, &about, &finding, &id));
            };
            self.version = Some(version);
        }
        if let Some(task) = task.as_deref().filter(|_| !asked.topic.method.starts_with("tasks/")) {
            Tasks::all().begin(&self.server, task, carrier.subject.agent, asked.topic.tool.clone());
        }
        for input in input_requests {
            let about = About::method(Direction::ToClient, &input.method);
            let finding = self.weigh(carrier, &about);
            if finding.is_refused() {
                asked.end(&ended(Some("input_refused")), message.raw.len());
                return Some(self.in_place_of(carrier, &about, &finding, &id));
            }
            // What is asked inside of an answer is answered inside of another request, which is decided then.
            let Ok(credit) = self.record_passage(carrier, &about, &finding) else {
                let objection = Objection::new("audit_unavailable", answer::BLOCKED, "it cannot be recorded");
                return Some(Cow::Owned(Finding::refused(objection).error(None).write(Some(&id))));
            };
            credit.outcome(crate::audit::Nanos(crate::io::clock::wall()), &carrier.outcome);
        }
        if !has_list {
            asked.end(&ended(None), message.raw.len());
            return Some(Cow::Borrowed(message.raw));
        }
        match self.filter(carrier, message.raw) {
            Ok(shown) => {
                asked.end(&ended(None), shown.len());
                Some(shown)
            }
            Err(error) => {
                asked.end(&ended(Some("malformed")), message.raw.len());
                let objection = Objection::new(error.code(), answer::BLOCKED, error.to_string());
                let (finding, about) = (Finding::refused(objection), About::method(Direction::ToClient, ""));
                Some(self.in_place_of(carrier, &about, &finding, &id))
            }
        }
    }

    /// Records a refusal, and gives the error that the client gets in place of an answer.
    pub(super) fn in_place_of(
        &self,
        carrier: &Carrier<'_>,
        about: &About<'_>,
        finding: &Finding<'_>,
        id: &Id<'_>,
    ) -> Cow<'static, [u8]> {
        let decision = self.record_refusal(carrier, about, finding);
        Cow::Owned(finding.error(decision).write(Some(id)))
    }

    /// A text that is no strict message: recorded, and where the id of a request can be told, that request has failed.
    fn misspoken(&mut self, carrier: &Carrier<'_>, bytes: &[u8], error: &RpcError) -> FromServer<'static> {
        let reason = format!("what the server sent is refused: {error}");
        let finding = Finding::refused(Objection::new(error.code(), answer::BLOCKED, reason));
        let decision = self.record_refusal(carrier, &About::method(Direction::ToClient, ""), &finding);
        let id = rpc::recover_id(bytes, false).filter(|id| self.asked.has(id));
        let to_client = id.map(|id| {
            self.fail(carrier, &id, error.code());
            Cow::Owned(finding.error(decision).write(Some(&id)))
        });
        FromServer { to_client, to_server: None }
    }

    fn fail(&mut self, carrier: &Carrier<'_>, id: &Id<'_>, code: &'static str) {
        if let Some(asked) = self.asked.take(id) {
            asked.end(&OutcomeFacts { code: Some(code), ..carrier.outcome }, 0);
        }
    }
}
