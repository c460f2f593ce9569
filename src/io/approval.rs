//! Asks for somebody's leave: a command or a webhook that the policy names, about one message, once, within a time.
//!
//! Each question has a thread of its own for as long as it is open, within a bound, so that nothing waits on a worker. What an approver is
//! told stands in its input alone: no part of a message is ever a word of a command line, a part of a URL or a variable. It knows nothing of
//! messages and decides nothing: that an answer fits the question, and whether the message may still go, is seen by whoever has asked.

mod command;
mod webhook;

use std::collections::HashMap;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use serde::Serialize;

use crate::io::clock;
use crate::io::tls::{self, Revocations, TlsFileError, Trust};
use crate::limits::{APPROVAL_ANSWER_BYTES_MAX, APPROVALS_MAX, APPROVALS_PER_AGENT_MAX};
use crate::parse::json::{self, Layout, Pointers, Value};
use crate::policy::{ApproverWay, Policy, Webhook};

/// What somebody is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    /// Who is asked.
    pub(crate) approver: Box<str>,
    /// The rule that asks, and its author's reason.
    pub(crate) rule: Box<str>,
    pub(crate) reason: Option<Box<str>>,
    /// What is to be done, as JSON in canonical form (RFC 8785).
    pub(crate) action: Vec<u8>,
    /// SHA-256 over it.
    pub(crate) digest: [u8; 32],
}

/// What has come of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Yes, to exactly this.
    Approved,
    /// No.
    Denied,
    /// Nothing in time, which is no.
    TimedOut,
    /// Nobody could be asked, or what came back is no answer to this.
    Unavailable,
}

/// Those that a policy names, ready to be asked.
#[derive(Default)]
pub(crate) struct Approvers {
    all: HashMap<Box<str>, Approver>,
}

#[derive(Clone)]
struct Approver {
    way: Way,
    wait: Duration,
}

#[derive(Clone)]
enum Way {
    Command(Box<[Box<str>]>),
    Webhook(Webhook, Option<Arc<rustls::ClientConfig>>),
}

/// An approver that could not be asked as the policy has it.
#[derive(Debug)]
pub enum ApproverError {
    /// No file at this path that can be run.
    Program(PathBuf),
    /// The trust anchors of a webhook.
    Trust(TlsFileError),
}

impl fmt::Display for ApproverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ApproverError::Program(path) => write!(f, "{}: is no program that can be run", path.display()),
            ApproverError::Trust(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ApproverError {}

/// Somebody is being asked. Dropped before there is an answer, the question is withdrawn: the command is ended, the connection closed.
#[derive(Debug)]
pub(crate) struct Asked(Arc<AtomicBool>);

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Approvers {
    /// Looks at those that `policy` names; relative paths count from `folder`. Without `system` its trust store is read where it is needed.
    ///
    /// # Errors
    /// If one of them cannot be asked.
    pub(crate) fn read(policy: &Policy, folder: &Path, system: Option<&Trust>) -> Result<Approvers, ApproverError> {
        let mut approvers = Approvers::default();
        for approver in policy.approvers() {
            let way = match &approver.way {
                ApproverWay::Command(words) => {
                    let program = PathBuf::from(words.first().map(|word| &**word).unwrap_or_default());
                    let runs = |found: std::fs::Metadata| found.is_file() && found.permissions().mode() & 0o111 != 0;
                    if !std::fs::metadata(&program).is_ok_and(runs) {
                        return Err(ApproverError::Program(program));
                    }
                    Way::Command(words.clone())
                }
                ApproverWay::Webhook(webhook) => {
                    let config = webhook.tls.then(|| client(webhook, folder, system)).transpose();
                    Way::Webhook(webhook.clone(), config.map_err(ApproverError::Trust)?)
                }
            };
            approvers.all.insert(approver.name.clone(), Approver { way, wait: approver.wait });
        }
        Ok(approvers)
    }

    /// Asks, on a thread of its own; `told` is called there with what comes of it, unless the question is withdrawn before.
    ///
    /// # Errors
    /// If nobody can be asked now: the approver is not known, or too many questions are open, of this agent or at all.
    pub(crate) fn ask(
        &self,
        question: &Question,
        agent: &str,
        told: impl FnOnce(Answer) + Send + 'static,
    ) -> Result<Asked, Answer> {
        let approver = self.all.get(&question.approver).cloned().ok_or(Answer::Unavailable)?;
        let slot = Slot::take(agent).ok_or(Answer::Unavailable)?;
        let mut id = [0; 16];
        rand::fill(&mut id).map_err(|_| Answer::Unavailable)?;
        let sent = Sent { id: hex(&id), digest: format!("sha256:{}", hex(&question.digest)) };
        let text = sent.text(question, agent, approver.wait).ok_or(Answer::Unavailable)?;
        let withdrawn = Arc::new(AtomicBool::new(false));
        let open = Open { until: Instant::now() + approver.wait, withdrawn: Arc::clone(&withdrawn) };
        let name = question.approver.clone();
        let started = thread::Builder::new().name("ringfence-approval".to_owned()).spawn(move || {
            let _slot = slot;
            let came = match &approver.way {
                Way::Command(words) => command::ask(words, &text, &open),
                Way::Webhook(webhook, config) => webhook::ask(webhook, config.as_ref(), &text, &open),
            };
            let answer = match came {
                Came::Withdrawn => return,
                Came::Nothing => Answer::TimedOut,
                Came::Said(text) => sent.judge(&text),
                Came::Yes => Answer::Approved,
                Came::No => Answer::Denied,
                Came::Failed(why) => {
                    tracing::error!(approver = &*name, why, "an approver could not be asked");
                    Answer::Unavailable
                }
            };
            told(answer);
        });
        started.map_err(|_| Answer::Unavailable)?;
        Ok(Asked(withdrawn))
    }
}

impl Answer {
    /// The stable word for a refusal.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Answer::Approved => "approved",
            Answer::Denied => "approval_denied",
            Answer::TimedOut => "approval_timeout",
            Answer::Unavailable => "approval_unavailable",
        }
    }
}

/// For how long a question is open.
struct Open {
    until: Instant,
    withdrawn: Arc<AtomicBool>,
}

impl Open {
    fn is_withdrawn(&self) -> bool {
        self.withdrawn.load(Ordering::Acquire)
    }

    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

/// What came of one attempt.
enum Came {
    /// Nobody wants to know any more.
    Withdrawn,
    /// Nothing in time.
    Nothing,
    /// A text that says yes or no, and to what.
    Said(Vec<u8>),
    /// A plain yes, from a command that was asked nothing else.
    Yes,
    No,
    Failed(String),
}

/// What an answer must repeat.
struct Sent {
    id: String,
    digest: String,
}

/// The question as it is sent, without the action.
#[derive(Serialize)]
struct Wire<'w> {
    approval_request_id: &'w str,
    action_digest: &'w str,
    approver: &'w str,
    agent: &'w str,
    rule: &'w str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'w str>,
    expires_at: String,
}

impl Sent {
    fn text(&self, question: &Question, agent: &str, wait: Duration) -> Option<Vec<u8>> {
        let expires = u128::from(clock::wall()) + wait.as_nanos();
        let expires = jiff::Timestamp::from_nanosecond(i128::try_from(expires).ok()?).ok()?;
        let wire = Wire {
            approval_request_id: &self.id,
            action_digest: &self.digest,
            approver: &question.approver,
            agent,
            rule: &question.rule,
            reason: question.reason.as_deref(),
            expires_at: expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        };
        let mut text = serde_json::to_vec(&wire).ok()?;
        // Last, and byte for byte what the digest is of.
        text.pop();
        text.extend_from_slice(b",\"action\":");
        text.extend_from_slice(&question.action);
        text.extend_from_slice(b"}\n");
        Some(text)
    }

    /// A yes counts only where it repeats what was asked.
    fn judge(&self, text: &[u8]) -> Answer {
        let pointers = Pointers::new(["/approval_request_id", "/action_digest", "/decision"]);
        let Ok(facts) = json::facts(text, Layout::Free, &pointers) else { return self.unfit("is no JSON") };
        let is = |pointer, wanted: &str| matches!(facts.value(pointer), Some(Value::Text(text)) if *text == *wanted);
        if !is("/approval_request_id", &self.id) || !is("/action_digest", &self.digest) {
            return self.unfit("does not repeat `approval_request_id` and `action_digest`");
        }
        match (is("/decision", "approve"), is("/decision", "deny")) {
            (true, _) => Answer::Approved,
            (_, true) => Answer::Denied,
            _ => self.unfit("has no `decision` of `approve` or `deny`"),
        }
    }

    fn unfit(&self, why: &str) -> Answer {
        tracing::error!(request = self.id, "the answer of an approver {why}");
        Answer::Unavailable
    }
}

/// Questions that are open, by agent.
static OPEN: LazyLock<Mutex<HashMap<Box<str>, usize>>> = LazyLock::new(Mutex::default);

/// One of them.
struct Slot(Box<str>);

impl Slot {
    fn take(agent: &str) -> Option<Slot> {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let own = open.get(agent).copied().unwrap_or_default();
        if own >= APPROVALS_PER_AGENT_MAX || open.values().sum::<usize>() >= APPROVALS_MAX {
            return None;
        }
        open.insert(agent.into(), own + 1);
        Some(Slot(agent.into()))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        match open.get_mut(&self.0) {
            Some(own) if *own > 1 => *own -= 1,
            _ => {
                open.remove(&self.0);
            }
        }
    }
}

fn client(webhook: &Webhook, folder: &Path, system: Option<&Trust>) -> Result<Arc<rustls::ClientConfig>, TlsFileError> {
    let own;
    let system = match system {
        Some(system) => system,
        None => {
            own = Trust::system();
            &own
        }
    };
    let trust = webhook.trust.as_ref().map(|file| system.and_file(&folder.join(file))).transpose()?;
    tls::client_config(trust.as_ref().unwrap_or(system), &Revocations::default(), None)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether an answer is longer than any that is read.
fn is_too_long(bytes: &[u8]) -> bool {
    bytes.len() > APPROVAL_ANSWER_BYTES_MAX
}

#[cfg(test)]
mod tests;
