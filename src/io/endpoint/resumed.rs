//! Answers that come on another stream than the one that was asked on: a client whose stream has ended, which a server may do at any time, reads on
//! with GET and `Last-Event-ID` (2025-11-25, "Resumability and Redelivery").
//!
//! What was asked is noted when the answer turns out to be a stream, before the client sees any of it, and is there until it is answered: when
//! the stream breaks is too late, because the client may have come back by then, at another worker. An answer passes once, as everywhere.

use std::collections::{HashMap, VecDeque};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use crate::io::mcp::Session;
use crate::limits::{MCP_REQUESTS_MAX, MCP_SESSIONS_MAX};
use crate::parse::json::{Layout, Pointers};
use crate::parse::rpc::{self, Id, Shape};

use super::sessions::Key;

static ALL: LazyLock<Mutex<Waiting>> = LazyLock::new(Mutex::default);

/// The requests of each session that were passed on and have a stream for an answer.
#[derive(Default)]
pub(super) struct Waiting {
    open: HashMap<Key, VecDeque<(Id<'static>, Box<str>)>>,
    /// Oldest first.
    order: VecDeque<Key>,
}

impl Waiting {
    /// All of them, for one look-up.
    pub(super) fn all() -> MutexGuard<'static, Waiting> {
        ALL.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answers to these requests come on a stream. Where there are too many the oldest can be resumed no longer.
    pub(super) fn note(&mut self, key: &Key, asked: impl Iterator<Item = (Id<'static>, Box<str>)>) {
        for request in asked {
            if !self.open.contains_key(key) {
                if self.order.len() >= MCP_SESSIONS_MAX
                    && let Some(oldest) = self.order.pop_front()
                {
                    self.open.remove(&oldest);
                }
                self.order.push_back(key.clone());
            }
            let of_session = self.open.entry(key.clone()).or_default();
            of_session.retain(|(id, _)| *id != request.0);
            if of_session.len() >= MCP_REQUESTS_MAX {
                of_session.pop_front();
            }
            of_session.push_back(request);
        }
    }

    /// The method of a request that waits, and waits no longer.
    pub(super) fn take(&mut self, key: &Key, id: &Id<'_>) -> Option<Box<str>> {
        let of_session = self.open.get_mut(key)?;
        let at = of_session.iter().position(|(other, _)| other == id)?;
        let (_, method) = of_session.remove(at)?;
        if of_session.is_empty() {
            self.end(key);
        }
        Some(method)
    }

    /// A session has ended.
    pub(super) fn end(&mut self, key: &Key) {
        if self.open.remove(key).is_some() {
            self.order.retain(|other| other != key);
        }
    }
}

/// Lets a stream that was opened with GET bring the answers that are in `text`, if somebody of this session waits for them.
pub(super) fn expect(session: &mut Session, key: &Key, text: &[u8]) {
    let nothing = Pointers::new([]);
    let Ok(body) = rpc::read(text, Layout::Free, &nothing) else { return };
    for message in &body.messages {
        if let Shape::Response(Some(id), _) = &message.shape
            && let Some(method) = Waiting::all().take(key, id)
        {
            session.waits_for(id.clone().into_owned(), &method);
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

    fn asked(id: usize) -> (Id<'static>, Box<str>) {
        (Id::Number(Cow::Owned(id.to_string())), "tools/call".into())
    }

    #[test]
    fn what_was_asked_is_answered_once_and_in_its_own_session() {
        let mut waiting = Waiting::default();
        waiting.note(&key("1"), [asked(7), asked(8)].into_iter());
        assert_eq!(waiting.take(&key("2"), &asked(7).0), None);
        assert_eq!(waiting.take(&key("1"), &asked(7).0).as_deref(), Some("tools/call"));
        assert_eq!(waiting.take(&key("1"), &asked(7).0), None);
        waiting.end(&key("1"));
        assert_eq!(waiting.take(&key("1"), &asked(8).0), None);
        assert!(waiting.open.is_empty() && waiting.order.is_empty());
    }

    #[test]
    fn the_oldest_make_room() {
        let mut waiting = Waiting::default();
        waiting.note(&key("1"), (0..=MCP_REQUESTS_MAX).map(asked));
        assert_eq!(waiting.take(&key("1"), &asked(0).0), None);
        assert!(waiting.take(&key("1"), &asked(1).0).is_some());
        for n in 0..=MCP_SESSIONS_MAX {
            waiting.note(&key(&format!("of {n}")), [asked(1)].into_iter());
        }
        assert_eq!((waiting.open.len(), waiting.order.len()), (MCP_SESSIONS_MAX, MCP_SESSIONS_MAX));
        assert!(waiting.take(&key("of 0"), &asked(1).0).is_none());
    }
}
