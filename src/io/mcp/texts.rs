//! What a server says in words, for policies that judge it: how it describes its tools, and what a tool answers.
//!
//! Native policies do not; AGT's can. All the texts of a definition or an answer are judged, not only those in the place where a text is expected:
//! a model reads them all.

use std::borrow::Cow;

use crate::audit::{Nanos, OutcomeFacts};
use crate::io::clock;
use crate::parse::json::{self, Kind, Layout};
use crate::parse::rpc::list::Fate;
use crate::parse::rpc::{Call, Id, Outcome};
use crate::policy::{Decision, Direction, Look, Mcp, Reply, Stage, Subject, Verdict};

use super::answer;
use super::book::Asked;
use super::ruling::{About, Finding, Objection};
use super::{Carrier, Session};

impl Session {
    /// A tool as its server describes it: whether the client is shown it.
    pub(super) fn judge_definition(&self, carrier: &Carrier<'_>, shown: &About<'_>, raw: &[u8]) -> Fate {
        if !carrier.policy.reads(Stage::Description("")) {
            return Fate::Keep;
        }
        let Some(text) = texts(raw) else { return Fate::Drop };
        let decision = self.decide_text(carrier, shown.tool, Stage::Description(&text));
        if decision.verdict == Verdict::Allow {
            return Fate::Keep;
        }
        if self.stays_here(carrier, shown, decision).is_some() { Fate::Drop } else { Fate::Keep }
    }

    /// What a tool has answered: gives the request back that it answers, or the error that the client gets instead.
    pub(super) fn pass_answer(
        &self,
        carrier: &Carrier<'_>,
        (id, asked): (&Id<'_>, Asked),
        outcome: &Outcome<'_>,
        length: usize,
    ) -> Result<Asked, Cow<'static, [u8]>> {
        let Some(tool) = asked.topic.tool.clone() else { return Ok(asked) };
        let about = About { tool: Some(&tool), ..About::method(Direction::ToClient, "tools/call") };
        let (raw, is_error) = match outcome {
            Outcome::Result { raw, .. } => (raw, false),
            Outcome::Error { raw } => (raw, true),
        };
        let Some(finding) = self.judge_answer(carrier, &about, (raw, is_error)) else { return Ok(asked) };
        asked.end(&OutcomeFacts { code: Some("answer_refused"), ..carrier.outcome }, length);
        Err(self.in_place_of(carrier, &about, &finding, id))
    }

    /// What refuses a notification about a task, which may have the answer of the task's tool in it.
    pub(super) fn judge_told<'c>(&self, carrier: &Carrier<'c>, call: &Call<'_>) -> Option<Finding<'c>> {
        let tool = self.topic(call).tool?;
        let about = About { tool: Some(&tool), ..About::method(Direction::ToClient, "tools/call") };
        self.judge_answer(carrier, &about, (call.params?, false))
    }

    /// What refuses an answer, if something does.
    fn judge_answer<'c>(
        &self,
        carrier: &Carrier<'c>,
        about: &About<'_>,
        (json, is_error): (&[u8], bool),
    ) -> Option<Finding<'c>> {
        if !carrier.policy.reads(Stage::Response(Reply::default())) {
            return None;
        }
        let Some(texts) = texts(json) else {
            let reason = "the answer cannot be read, and the policy judges it";
            return Some(Finding::refused(Objection::new("malformed", answer::BLOCKED, reason)));
        };
        let decision = self.decide_text(carrier, about.tool, Stage::Response(Reply { texts: &texts, json, is_error }));
        if decision.verdict == Verdict::Allow {
            return None;
        }
        // Its refusal is put on record with the error that stands in its place.
        if decision.enforced { Some(Finding::decided(decision)) } else { self.stays_here(carrier, about, decision) }
    }

    /// Puts a denial on record. Nothing where it is not enforced, and is on record as such.
    fn stays_here<'c>(&self, carrier: &Carrier<'_>, about: &About<'_>, decision: Decision<'c>) -> Option<Finding<'c>> {
        let finding = Finding::decided(decision);
        if finding.is_refused() {
            self.record_refusal(carrier, about, &finding);
            return Some(finding);
        }
        match self.record_passage(carrier, about, &finding) {
            Ok(credit) => {
                credit.outcome(Nanos(clock::wall()), &carrier.outcome);
                None
            }
            Err(_) => {
                let reason = "it cannot be recorded";
                Some(Finding::refused(Objection::new("audit_unavailable", answer::BLOCKED, reason)))
            }
        }
    }

    fn decide_text<'c>(&self, carrier: &Carrier<'c>, tool: Option<&str>, stage: Stage<'_>) -> Decision<'c> {
        let mcp = Mcp {
            server: &self.server,
            declared: self.declared,
            direction: Direction::ToServer,
            method: "tools/call",
            tool,
            resource: None,
            prompt: None,
            arguments: Look::Absent,
        };
        carrier.policy.decide(&Subject { mcp: Some(mcp), stage, ..carrier.subject })
    }
}

/// The strings of a JSON text, decoded, each on a line of its own; nothing if it is not strict.
fn texts(raw: &[u8]) -> Option<String> {
    let mut texts = String::new();
    json::each(raw, Layout::Free, |token| {
        if token.kind == Kind::String {
            if !texts.is_empty() {
                texts.push('\n');
            }
            texts.push_str(&json::decode(token.of(raw)));
        }
    })
    .ok()?;
    Some(texts)
}
