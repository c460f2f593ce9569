//! Which agent's a task is, and which tool's: what a call comes to later belongs to whoever has made the call, and is judged as its answer.
//!
//! A server answers a call with a task, and its result is asked for by the task's id, on any connection. The ids of one server are kept as long as
//! there is room, for all workers. A task that is not known, such as one from before the start, is decided by its method alone: what the server
//! says of a task that does not exist is the server's to say, and clients tell apart what it says.

use std::collections::{HashMap, VecDeque};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use crate::limits::MCP_TASKS_MAX;
use crate::parse::rpc::Call;

use super::ruling::Objection;
use super::{Carrier, Session, Topic, answer};

static ALL: LazyLock<Mutex<Tasks>> = LazyLock::new(Mutex::default);

/// The tasks of this process.
#[derive(Default)]
pub(super) struct Tasks {
    /// By server and id.
    open: HashMap<(Box<str>, Box<str>), Task>,
    /// Oldest first.
    order: VecDeque<(Box<str>, Box<str>)>,
}

/// Whose call a task has come of.
#[derive(Debug)]
struct Task {
    agent: Box<str>,
    tool: Option<Box<str>>,
}

impl Tasks {
    /// All of them, for one look-up.
    pub(super) fn all() -> MutexGuard<'static, Tasks> {
        ALL.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A server has made a task for an agent. An id that is another agent's stays that.
    pub(super) fn begin(&mut self, server: &str, id: &str, agent: &str, tool: Option<Box<str>>) {
        let key = (Box::from(server), Box::from(id));
        if self.open.contains_key(&key) {
            return;
        }
        if self.open.len() >= MCP_TASKS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.open.remove(&oldest);
        }
        self.order.push_back(key.clone());
        self.open.insert(key, Task { agent: agent.into(), tool });
    }

    /// Whose a task is, if it is known.
    fn owner(&self, server: &str, id: &str) -> Option<&str> {
        self.task(server, id).map(|task| &*task.agent)
    }

    fn task(&self, server: &str, id: &str) -> Option<&Task> {
        self.open.get(&(server.into(), id.into()))
    }
}

impl Session {
    /// What a message is about.
    pub(crate) fn topic(&self, call: &Call<'_>) -> Topic {
        let of_task = || match &call.tasks[..] {
            [task] => Tasks::all().task(&self.server, task)?.tool.clone(),
            _ => None,
        };
        let tool = call.tool.as_deref().map(Box::from).or_else(of_task);
        Topic { method: (&*call.method).into(), tool }
    }

    /// Whether a message is about a task of another agent's.
    pub(super) fn foreign(&self, carrier: &Carrier<'_>, call: &Call<'_>) -> Option<Objection> {
        let agent = carrier.subject.agent;
        let is_foreign = call.tasks.iter().any(|task| self.is_anothers(agent, task));
        is_foreign.then(anothers)
    }

    /// Whether a task is known, and another agent's.
    pub(super) fn is_anothers(&self, agent: &str, task: &str) -> bool {
        Tasks::all().owner(&self.server, task).is_some_and(|owner| owner != agent)
    }
}

pub(super) fn anothers() -> Objection {
    Objection::new("task_foreign", answer::BLOCKED, "the task is another agent's")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_of_the_agent_whose_call_it_was() {
        let mut tasks = Tasks::default();
        tasks.begin("files", "1", "a", None);
        tasks.begin("files", "1", "b", None);
        assert_eq!(tasks.owner("files", "1"), Some("a"));
        assert_eq!(tasks.owner("mail", "1"), None, "servers share no tasks");
        assert_eq!(tasks.owner("files", "2"), None);
    }

    #[test]
    fn the_oldest_task_makes_room() {
        let mut tasks = Tasks::default();
        for n in 0..=MCP_TASKS_MAX {
            tasks.begin("files", &n.to_string(), "a", None);
        }
        assert_eq!((tasks.owner("files", "0"), tasks.owner("files", "1")), (None, Some("a")));
        assert_eq!((tasks.open.len(), tasks.order.len()), (MCP_TASKS_MAX, MCP_TASKS_MAX));
    }
}
