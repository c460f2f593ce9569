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
}

/// A request that was passed on.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) method: Box<str>,
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
        self.open.len() >= MCP_REQUESTS_MAX
    }

    pub(super) fn has(&self, id: &Id<'_>) -> bool {
        // A look-up by a borrowed id: `Id<'static>` is an `Id<'_>`, but a map's key is invariant to the compiler.
        self.open.contains_key(&id.clone().into_owned())
    }

    pub(super) fn method(&self, id: &Id<'_>) -> Option<&str> {
        self.open.get(&id.clone().into_owned()).map(|asked| &*asked.method)
    }

    pub(super) fn ask(&mut self, id: Id<'static>, method: &str, credit: Credit, bytes: usize, since: Instant) {
        let asked = Asked { method: method.into(), credit: Some(credit), bytes: bytes as u64, since };
        self.open.insert(id, asked);
    }

    pub(super) fn expect(&mut self, id: Id<'static>, method: &str) {
        if !self.is_full() {
            let asked = Asked { method: method.into(), credit: None, bytes: 0, since: Instant::now() };
            self.open.insert(id, asked);
        }
    }

    pub(super) fn open(&self) -> impl Iterator<Item = (Id<'static>, Box<str>)> {
        self.open.iter().map(|(id, asked)| (id.clone(), asked.method.clone()))
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
