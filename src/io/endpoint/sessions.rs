//! Which session belongs to whom, and what servers have asked their clients that is not answered yet.
//!
//! A client's connections end at any worker, so this is shared by all of them. Each look-up is short and nothing waits within one.

use std::collections::{HashMap, VecDeque};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use crate::io::mcp::Topic;
use crate::limits::{MCP_REQUESTS_MAX, MCP_SESSIONS_MAX};
use crate::parse::rpc::Id;

use super::streams::Target;

static ALL: LazyLock<Mutex<Sessions>> = LazyLock::new(Mutex::default);

/// The sessions of this process.
#[derive(Default)]
pub(super) struct Sessions {
    open: HashMap<Key, Entry>,
    /// Oldest first.
    order: VecDeque<Key>,
}

/// A server and the id of a session with it; where there is none, the agent in its place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Session {
        server: Box<str>,
        id: Box<str>,
    },
    Agent {
        server: Box<str>,
        agent: Box<str>,
    },
    /// The older transport: where the stream's messages are posted to.
    Stream(Target),
}

struct Entry {
    agent: Box<str>,
    /// The server's requests by their ids.
    asked: HashMap<Id<'static>, Box<str>>,
    /// The client's requests whose answers come on a stream: where that one ends early, on another.
    owed: HashMap<Id<'static>, Topic>,
}

impl Sessions {
    /// All of them, for one look-up.
    pub(super) fn all() -> MutexGuard<'static, Sessions> {
        ALL.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a session is this agent's.
    pub(super) fn is_of(&self, server: &str, id: &str, agent: &str) -> bool {
        let key = Key::Session { server: server.into(), id: id.into() };
        self.open.get(&key).is_some_and(|entry| *entry.agent == *agent)
    }

    /// A server has given a session to an agent; false if it is another one's.
    pub(super) fn begin(&mut self, key: Key, agent: &str) -> bool {
        if let Some(entry) = self.open.get(&key) {
            return *entry.agent == *agent;
        }
        if self.open.len() >= MCP_SESSIONS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            // Its client is told that it is unknown, and begins a new one.
            self.open.remove(&oldest);
        }
        self.order.push_back(key.clone());
        self.open.insert(key, Entry { agent: agent.into(), asked: HashMap::new(), owed: HashMap::new() });
        true
    }

    /// A session has ended.
    pub(super) fn end(&mut self, key: &Key) {
        if self.open.remove(key).is_some() {
            self.order.retain(|other| other != key);
        }
    }

    /// A server's request was passed on to the client.
    pub(super) fn ask(&mut self, key: Key, agent: &str, id: Id<'static>, method: &str) {
        if self.begin(key.clone(), agent)
            && let Some(entry) = self.open.get_mut(&key)
            && entry.asked.len() < MCP_REQUESTS_MAX
        {
            entry.asked.insert(id, method.into());
        }
    }

    /// The answer to a request of the client's is to come on a stream.
    pub(super) fn owe(&mut self, key: Key, agent: &str, id: Id<'static>, topic: Topic) {
        if self.begin(key.clone(), agent)
            && let Some(entry) = self.open.get_mut(&key)
            && entry.owed.len() < MCP_REQUESTS_MAX
        {
            entry.owed.insert(id, topic);
        }
    }

    /// What is owed under this id; it is not owed any more.
    pub(super) fn settle(&mut self, key: &Key, id: &Id<'_>) -> Option<Topic> {
        self.open.get_mut(key)?.owed.remove(&id.clone().into_owned())
    }

    /// What a server has asked under this id.
    pub(super) fn asked(&self, key: &Key, id: &Id<'_>) -> Option<Box<str>> {
        self.open.get(key)?.asked.get(&id.clone().into_owned()).cloned()
    }

    /// The client has answered.
    pub(super) fn answered(&mut self, key: &Key, id: &Id<'_>) {
        if let Some(entry) = self.open.get_mut(key) {
            entry.asked.remove(&id.clone().into_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn key(id: &str) -> Key {
        Key::Session { server: "s".into(), id: id.into() }
    }

    #[test]
    fn a_session_is_of_one_agent_until_it_ends() {
        let mut sessions = Sessions::default();
        assert!(!sessions.is_of("s", "1", "a"));
        assert!(sessions.begin(key("1"), "a") && sessions.begin(key("1"), "a") && !sessions.begin(key("1"), "b"));
        assert!(sessions.is_of("s", "1", "a") && !sessions.is_of("s", "1", "b") && !sessions.is_of("t", "1", "a"));
        sessions.end(&key("1"));
        assert!(!sessions.is_of("s", "1", "a") && sessions.order.is_empty());
    }

    #[test]
    fn a_request_of_the_server_is_answered_once() {
        let mut sessions = Sessions::default();
        let id = || Id::Number(Cow::Borrowed("7"));
        sessions.ask(key("1"), "a", id(), "roots/list");
        assert_eq!(sessions.asked(&key("1"), &id()).as_deref(), Some("roots/list"));
        assert_eq!(sessions.asked(&key("2"), &id()), None);
        sessions.answered(&key("1"), &id());
        assert_eq!(sessions.asked(&key("1"), &id()), None);
    }

    #[test]
    fn an_answer_that_is_owed_is_owed_once_and_in_its_session() {
        let mut sessions = Sessions::default();
        let id = || Id::Number(Cow::Borrowed("7"));
        sessions.begin(key("1"), "a");
        sessions.owe(key("1"), "b", id(), Topic::method("tools/call"));
        assert_eq!(sessions.settle(&key("1"), &id()), None, "another agent's");
        sessions.owe(key("1"), "a", id(), Topic::method("tools/call"));
        assert_eq!(sessions.settle(&key("2"), &id()), None);
        assert_eq!(sessions.settle(&key("1"), &id()), Some(Topic::method("tools/call")));
        assert_eq!(sessions.settle(&key("1"), &id()), None);
    }

    #[test]
    fn the_oldest_session_makes_room() {
        let mut sessions = Sessions::default();
        for n in 0..=MCP_SESSIONS_MAX {
            assert!(sessions.begin(key(&n.to_string()), "a"));
        }
        assert!(!sessions.is_of("s", "0", "a") && sessions.is_of("s", "1", "a"));
        assert_eq!(sessions.open.len(), MCP_SESSIONS_MAX);
    }
}
