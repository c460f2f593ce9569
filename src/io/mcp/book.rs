//! What was asked in one direction and is not answered yet.

use std::collections::HashMap;
use std::time::Instant;

use crate::audit::{Credit, Nanos, OutcomeFacts};
use crate::io::clock;
use crate::limits::MCP_REQUESTS_MAX;
use crate::parse::rpc::Id;

/// Requests by their ids; at most [`MCP_REQUESTS_MAX`].
#[derive(Debug, Default)]
pub(super) struct Book {
    open: HashMap<Id<'static>, Asked>,
    /// There is no room, whatever is open here.
    is_closed: bool,
}

/// What a request is about, as far as its answer is judged by that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Topic {
    pub(crate) method: Box<str>,
    /// The tool that is called, or whose task is asked about.
    pub(crate) tool: Option<Box<str>>,
}

impl Topic {
    pub(crate) fn method(method: &str) -> Topic {
        Topic { method: method.into(), tool: None }
    }
}

/// A request that was passed on.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) topic: Topic,
    /// Nothing where the decision was recorded elsewhere.
    credit: Option<Credit>,
    bytes: u64,
    since: Instant,
}

impl Book {
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.is_closed || self.open.len() >= MCP_REQUESTS_MAX
    }

    pub(super) fn close(&mut self) {
        self.is_closed = true;
    }

    pub(super) fn each(&self) -> impl Iterator<Item = (&Id<'static>, &Topic)> {
        self.open.iter().map(|(id, asked)| (id, &asked.topic))
    }

    pub(super) fn has(&self, id: &Id<'_>) -> bool {
        // A look-up by a borrowed id: `Id<'static>` is an `Id<'_>`, but a map's key is invariant to the compiler.
        self.open.contains_key(&id.clone().into_owned())
    }

    pub(super) fn method(&self, id: &Id<'_>) -> Option<&str> {
        self.open.get(&id.clone().into_owned()).map(|asked| &*asked.topic.method)
    }

    pub(super) fn ask(&mut self, id: Id<'static>, topic: Topic, credit: Credit, bytes: usize, since: Instant) {
        self.open.insert(id, Asked { topic, credit: Some(credit), bytes: bytes as u64, since });
    }

    pub(super) fn expect(&mut self, id: Id<'static>, topic: Topic) {
        if !self.is_full() {
            self.open.insert(id, Asked { topic, credit: None, bytes: 0, since: Instant::now() });
        }
    }

    pub(super) fn take(&mut self, id: &Id<'_>) -> Option<Asked> {
        self.open.remove(&id.clone().into_owned())
    }

    /// The only open request, where there is exactly one.
    pub(super) fn only(&self) -> Option<Id<'static>> {
        let mut ids = self.open.keys();
        let only = ids.next().cloned();
        only.filter(|_| ids.next().is_none())
    }

    /// What is to get an outcome; nothing of it is waited for here.
    pub(super) fn into_credits(self) -> impl Iterator<Item = Credit> {
        self.open.into_values().filter_map(|asked| asked.credit)
    }

    pub(super) fn end(&mut self, outcome: &OutcomeFacts<'_>) {
        self.open.drain().for_each(|(_, asked)| asked.end(outcome, 0));
    }
}

impl Asked {
    /// Puts on record how it ended; `bytes_down` is the length of the answer.
    pub(super) fn end(self, outcome: &OutcomeFacts<'_>, bytes_down: usize) {
        let Some(credit) = self.credit else { return };
        let total_ns = u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let facts = OutcomeFacts {
            bytes_up: self.bytes,
            bytes_down: bytes_down as u64,
            upstream_ns: total_ns,
            total_ns,
            ..*outcome
        };
        credit.outcome(Nanos(clock::wall()), &facts);
    }
}
