//! What a client is shown of a server's tools, resources and prompts: what it may use, as its owner has seen it; and of its tasks: not those of others.
//!
//! An entry that no message could pass for is left out, and so is one without a name or with the name of an entry before it. Descriptions with
//! characters that nobody sees are refused or stripped, and a tool that is not the one that was pinned is hidden, as the policy says.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::parse::json;
use crate::parse::rpc::list::{self, Entry, Fate, Of};
use crate::parse::rpc::{Call, RpcError, hidden, uri};
use crate::policy::{Direction, Hidden, Look, Mode, Pin};

use super::pins::Met;
use super::ruling::{About, Finding, Objection};
use super::tasks::anothers;
use super::{Carrier, Session, answer};

impl Session {
    /// The lists of an answer as the client gets them.
    pub(super) fn filter<'b>(&self, carrier: &Carrier<'_>, message: &'b [u8]) -> Result<Cow<'b, [u8]>, RpcError> {
        let entries = list::read(message)?;
        let mut names = HashSet::new();
        Ok(list::retain(message, &entries, |entry| {
            let is_twin = !names.insert((entry.of.list(), entry.name.clone()));
            self.fate(carrier, entry, is_twin)
        }))
    }

    fn fate(&self, carrier: &Carrier<'_>, entry: &Entry<'_>, is_twin: bool) -> Fate {
        let Some(name) = entry.name.as_deref() else { return Fate::Drop };
        if entry.of == Of::Tasks {
            return self.own_task(carrier, name);
        }
        let uri = match entry.of {
            Of::Resources | Of::ResourceTemplates => match uri::read(Cow::Borrowed(name)) {
                Ok(uri) => Some(uri),
                Err(_) => return Fate::Drop,
            },
            Of::Tools | Of::Prompts | Of::Tasks => None,
        };
        let (method, tool, prompt) = match entry.of {
            Of::Tools => ("tools/call", Some(name), None),
            Of::Prompts => ("prompts/get", None, Some(name)),
            Of::Resources | Of::ResourceTemplates => ("resources/read", None, None),
            Of::Tasks => ("tasks/get", None, None),
        };
        let resources = uri.as_slice();
        let arguments = if uri.is_some() { Look::Absent } else { Look::NotLooked };
        let about = About { tool, prompt, resources, arguments, ..About::method(Direction::ToServer, method) };
        if !self.may_pass(carrier, &about) {
            return Fate::Drop;
        }
        let shown = About { direction: Direction::ToClient, method: entry.of.method(), ..about };
        if is_twin {
            let reason = "the server lists two entries of this name";
            return self.hide(carrier, &shown, Objection::new("duplicate_name", answer::BLOCKED, reason));
        }
        if entry.of == Of::Tools
            && let Some(objection) = self.meet(carrier, name, entry.raw)
            && self.hide(carrier, &shown, objection) == Fate::Drop
        {
            return Fate::Drop;
        }
        if entry.of == Of::Tools && self.judge_definition(carrier, &shown, entry.raw) == Fate::Drop {
            return Fate::Drop;
        }
        self.seen(carrier, &shown, entry.raw)
    }

    /// A task in a list.
    fn own_task(&self, carrier: &Carrier<'_>, task: &str) -> Fate {
        if !self.is_anothers(carrier.subject.agent, task) {
            return Fate::Keep;
        }
        let about = About::method(Direction::ToClient, Of::Tasks.method());
        self.hide(carrier, &about, anothers())
    }

    /// An entry whose texts have hidden characters.
    fn seen(&self, carrier: &Carrier<'_>, about: &About<'_>, raw: &[u8]) -> Fate {
        if !matches!(hidden::find_in_json(raw), Ok(Some(_))) {
            return Fate::Keep;
        }
        let reason = "the description has characters that nobody sees";
        let objection = Objection::new("hidden_characters", answer::BLOCKED, reason);
        let stripped = match carrier.policy.hidden(&self.server) {
            Hidden::Refuse => None,
            Hidden::Strip => hidden::strip_json(raw).ok().flatten(),
        };
        let is_stripped = stripped.is_some();
        let fate = self.hide(carrier, about, Objection { enforced: !is_stripped, ..objection });
        stripped.map_or(fate, |stripped| Fate::Replace(stripped.into_owned()))
    }

    /// Puts on record that an entry is hidden, or only would be.
    fn hide(&self, carrier: &Carrier<'_>, about: &About<'_>, objection: Objection) -> Fate {
        let enforced = objection.enforced;
        let finding = Finding::refused(objection);
        if enforced {
            self.record_refusal(carrier, about, &finding);
            return Fate::Drop;
        }
        match self.record_passage(carrier, about, &finding) {
            Ok(credit) => {
                credit.outcome(crate::audit::Nanos(crate::io::clock::wall()), &carrier.outcome);
                Fate::Keep
            }
            Err(_) => Fate::Drop,
        }
    }

    /// Whether a definition is another than the one that was pinned; a new tool is pinned.
    fn meet(&self, carrier: &Carrier<'_>, tool: &str, raw: &[u8]) -> Option<Objection> {
        let pins = self.pins.as_ref()?;
        let pin = carrier.policy.pin(&self.server);
        if pin == Pin::Off {
            return None;
        }
        let Ok(definition) = json::canonical(raw) else { return Some(changed("cannot be pinned", true)) };
        match pins.meet(&self.server, tool, &definition) {
            Met::Known => None,
            Met::Full => Some(changed("cannot be pinned: the server has too many", pin == Pin::Enforce)),
            Met::Changed { pinned, seen } => {
                let enforced = pin == Pin::Enforce && carrier.policy.mode() == Mode::Enforce;
                Some(changed(&format!("has changed since it was pinned: was {pinned}, is {seen}"), enforced))
            }
        }
    }

    /// Whether a call is to a tool that has changed since it was pinned.
    pub(super) fn changed(&self, carrier: &Carrier<'_>, call: &Call<'_>) -> Option<Objection> {
        let (pins, tool) = (self.pins.as_ref()?, call.tool.as_deref()?);
        let enforced = match carrier.policy.pin(&self.server) {
            Pin::Off => return None,
            Pin::Warn => false,
            Pin::Enforce => carrier.policy.mode() == Mode::Enforce,
        };
        let (pinned, seen) = pins.changed(&self.server, tool)?;
        Some(changed(&format!("has changed since it was pinned: was {pinned}, is {seen}"), enforced))
    }
}

fn changed(how: &str, enforced: bool) -> Objection {
    let reason = format!("the tool's definition {how}; review it with `ringfence mcp pins list`");
    Objection { enforced, ..Objection::new("tool_changed", answer::BLOCKED, reason) }
}
