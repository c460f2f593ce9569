//! Messages that pass with somebody's leave: what is asked, and what comes of the answer.
//!
//! A message is held by whoever carries it, and comes back with an answer. It is then read and decided anew, under the policy of that moment,
//! and the answer counts only for what it was asked about: this approver, and these bytes in canonical form.

use crate::io::approval::{Answer, Question};
use crate::limits::APPROVAL_MESSAGE_BYTES_MAX;
use crate::parse::json::{self, Layout, Pointers, Value};
use crate::parse::rpc::{Body, Call, Id, Shape};
use crate::policy::{Approval, Decision};

use super::answer;
use super::client::Judged;
use super::ruling::{About, Finding, Objection};
use super::{Carrier, FromClient, Session};

/// A message that waits for somebody's leave.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) question: Question,
    /// The request's own id.
    pub(crate) id: Id<'static>,
    /// The token under which its sender wants to hear of progress, as JSON.
    pub(crate) progress: Option<Vec<u8>>,
}

/// What somebody has said to a message that was held.
#[derive(Debug)]
pub(crate) enum Leave {
    /// It may go, if it is this.
    Given(Approval),
    /// It may not; the stable word why.
    Refused(&'static str),
}

impl Leave {
    /// What an answer to a question means for the message.
    pub(crate) fn of(answer: Answer, question: &Question) -> Leave {
        match answer {
            Answer::Approved => Leave::Given(Approval::given(&question.approver, question.digest)),
            answer => Leave::Refused(answer.code()),
        }
    }
}

impl Held {
    /// A word for whoever waits: that it goes on, and nothing else.
    pub(crate) fn heartbeat(&self, count: u64) -> Option<Vec<u8>> {
        let token = self.progress.as_ref()?;
        // Small steps: what the server will tell of its own progress is more.
        let head = br#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"#;
        let tail = format!(",\"progress\":0.{count:09}}}}}");
        Some([head, token.as_slice(), tail.as_bytes()].concat())
    }
}

impl Session {
    /// A text that was held, and what was said to it.
    pub(crate) fn client_asked(
        &mut self,
        carrier: &Carrier<'_>,
        bytes: &[u8],
        id: &Id<'_>,
        leave: Leave,
    ) -> FromClient {
        self.held.remove(&id.clone().into_owned());
        self.sent(carrier, bytes, Some(leave))
    }

    /// Whether a request waits for somebody's leave still: it does not once its sender has cancelled it.
    pub(crate) fn is_held(&self, id: &Id<'_>) -> bool {
        self.held.contains(&id.clone().into_owned())
    }

    /// Looks whether somebody is to be asked, or was. `Err` with what is to be asked; else the findings say what is against the message, and
    /// an approval is what admits it.
    pub(super) fn consult(
        &mut self,
        carrier: &Carrier<'_>,
        body: &Body<'_>,
        judged: &mut [Judged<'_, '_>],
        leave: Option<Leave>,
    ) -> Result<Option<Approval>, Box<Held>> {
        let is_whole = judged.iter().all(|judged| !judged.finding.is_refused());
        if !is_whole {
            return Ok(None);
        }
        if let Some(Leave::Refused(code)) = leave {
            // Also where the policy would not ask any more: somebody has said no, or was given time in vain.
            judged.iter_mut().for_each(|judged| judged.finding.objection = Some(refused(code)));
            return Ok(None);
        }
        let several = |judged: &Judged<'_, '_>| {
            let several = |about: &About<'_>| self.asks_several(carrier, about);
            judged.finding.asks().is_some() && self.described_as(judged, several)
        };
        if judged.iter().any(several) {
            judged.iter_mut().for_each(|judged| judged.finding.objection = Some(cannot_be_held()));
            return Ok(None);
        }
        let approval = leave.and_then(|leave| if let Leave::Given(approval) = leave { Some(approval) } else { None });
        if approval.is_some() || judged.iter().all(|judged| judged.finding.asks().is_none()) {
            return Ok(approval);
        }
        if let [only] = &*judged
            && !body.is_batch
            && let Shape::Request(id, call) = &only.message.shape
            && let Some(decision) = &only.finding.decision
            && let Some(held) = self.hold(id, call, decision)
        {
            self.held.insert(held.id.clone());
            return Err(Box::new(held));
        }
        for judged in judged.iter_mut().filter(|judged| judged.finding.asks().is_some()) {
            judged.finding.objection = Some(cannot_be_held());
        }
        Ok(None)
    }

    fn hold(&self, id: &Id<'_>, call: &Call<'_>, decision: &Decision<'_>) -> Option<Held> {
        let (action, digest) = self.action(call)?;
        let rule = decision.rule?;
        let question = Question {
            approver: decision.ask?.into(),
            rule: rule.name.into(),
            reason: rule.reason.map(Box::from),
            action,
            digest,
        };
        Some(Held { question, id: id.clone().into_owned(), progress: call.params.and_then(progress_token) })
    }

    /// What a request is to do, in canonical form, and its digest: server, method, what it names, and its arguments. Of methods without
    /// arguments the parameters take their place. Nothing if it is longer than anybody reads.
    pub(super) fn action(&self, call: &Call<'_>) -> Option<(Vec<u8>, [u8; 32])> {
        let mut text = b"{\"server\":".to_vec();
        json::encode(&self.server, &mut text);
        text.extend_from_slice(b",\"method\":");
        json::encode(&call.method, &mut text);
        for (key, name) in [("tool", &call.tool), ("prompt", &call.prompt)] {
            if let Some(name) = name {
                text.extend_from_slice(format!(",\"{key}\":").as_bytes());
                json::encode(name, &mut text);
            }
        }
        let has_arguments = matches!(&*call.method, "tools/call" | "prompts/get");
        let (key, value) = if has_arguments { ("arguments", call.arguments) } else { ("params", call.params) };
        if let Some(value) = value {
            text.extend_from_slice(format!(",\"{key}\":").as_bytes());
            text.extend_from_slice(value);
        }
        text.push(b'}');
        let action = json::canonical(&text).ok().filter(|action| action.len() <= APPROVAL_MESSAGE_BYTES_MAX)?;
        let digest = json::digest(&action).ok()?;
        Some((action, digest))
    }
}

impl Finding<'_> {
    /// Whose leave it takes.
    pub(super) fn asks(&self) -> Option<&str> {
        self.decision.as_ref().and_then(|decision| decision.ask)
    }
}

/// What an approver refuses is the rule's all the same, which stays on record.
fn refused(code: &'static str) -> Objection {
    let reason = match code {
        "approval_denied" => "The approver has refused it.",
        "approval_timeout" => "No approver has answered in time.",
        "approval_withdrawn" => "It was cancelled before it was approved.",
        _ => "It needs an approval, and nobody could be asked.",
    };
    Objection { is_rules: true, ..Objection::new(code, answer::BLOCKED, reason) }
}

/// A message that is no single request, or longer than anybody reads.
pub(super) fn cannot_be_held() -> Objection {
    let reason = "It needs an approval, and can only be held as a request of its own, within a length.";
    Objection { is_rules: true, ..Objection::new("approval_unavailable", answer::BLOCKED, reason) }
}

/// Another policy is in force, in which another approver is asked.
pub(super) fn is_anothers() -> Objection {
    let reason = "The policy has changed, and another approval is needed.";
    Objection { is_rules: true, ..Objection::new("approval_unavailable", answer::BLOCKED, reason) }
}

/// The token as it came: a string or a number.
fn progress_token(params: &[u8]) -> Option<Vec<u8>> {
    let pointers = Pointers::new(["/_meta/progressToken"]);
    let facts = json::facts(params, Layout::Free, &pointers).ok()?;
    match facts.value("/_meta/progressToken")? {
        Value::Text(text) => {
            let mut token = Vec::new();
            json::encode(&text, &mut token);
            Some(token)
        }
        Value::Number(digits) => Some(digits.to_vec()),
        _ => None,
    }
}
