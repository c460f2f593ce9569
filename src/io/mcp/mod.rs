//! MCP, whatever carries it: each message is parsed, decided and put on record before it is passed on.
//!
//! A [`Session`] is one conversation of a client with a server. It has two entrances: [`Session::client_sent`] and [`Session::server_sent`] take the
//! bytes of one text (a body, a line, an event's data) and say what becomes of them: on to the other side as they are, back to the sender as an
//! error, or nowhere. It knows no sockets and waits for nothing; what carries the text is described by a [`Carrier`].
//!
//! Invariants: no message passes without a decision on record; what a client sends passes as the bytes that came or not at all; an answer
//! passes only to who has asked, once.

mod answer;
mod asking;
mod book;
mod client;
mod lists;
pub mod pins;
mod ruling;
mod server;
mod tasks;
#[cfg(test)]
mod tests;
mod texts;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use crate::audit::{Credit, DecisionFacts, OutcomeFacts, Producer, Transport};
use crate::parse::json::{Layout, Pointers};
use crate::parse::rpc::{Id, Version};
use crate::policy::{Permit, Policy, Subject};

pub(crate) use self::asking::{Held, Leave};
pub(crate) use self::client::{FromClient, Refusal, Why};
pub(crate) use self::server::FromServer;

use self::book::Book;
pub(crate) use self::book::Topic;
use self::pins::Pins;

/// One conversation.
pub(crate) struct Session {
    /// The server's name in `mcp_servers`; elsewhere its host name, or what `--server` says.
    server: Box<str>,
    /// Whether the policy's rules about this server admit messages. Elsewhere only denies look at them.
    declared: bool,
    transport: Transport,
    /// The version that was agreed on, or that the text's header fields name.
    version: Option<Version>,
    /// What the client has asked of the server.
    asked: Book,
    /// What the server has asked of the client.
    asked_back: Book,
    /// Requests of the client that wait for somebody's leave.
    held: HashSet<Id<'static>>,
    pins: Option<Arc<Pins>>,
}

/// What carries one text, and under which policy it is decided.
pub(crate) struct Carrier<'c> {
    /// Where decisions are put on record.
    pub(crate) producer: &'c Producer,
    /// The policy of this moment.
    pub(crate) policy: &'c Policy,
    /// The pointers of that policy's conditions on arguments ([`Policy::argument_pointers`]).
    pub(crate) arguments: &'c Pointers,
    /// What policy may know of the carrier: the agent, the time, and over HTTP the request. `mcp` is added here.
    pub(crate) subject: Subject<'c>,
    /// What is put on record of the carrier. Everything about the message is added here.
    pub(crate) facts: DecisionFacts<'c>,
    /// What is put on record of the carrier when an exchange ends.
    pub(crate) outcome: OutcomeFacts<'c>,
    /// Whether the address that would be dialled may be; the stable word if not. `Ok` where nothing is dialled.
    pub(crate) vet: &'c dyn Fn(&Permit) -> Result<(), &'static str>,
    /// When the text was there.
    pub(crate) started: Instant,
}

impl Session {
    /// The beginning of a conversation. Without `pins` no tool is pinned.
    pub(crate) fn new(server: &str, declared: bool, transport: Transport, pins: Option<Arc<Pins>>) -> Session {
        let (asked, asked_back) = (Book::default(), Book::default());
        Session {
            server: server.into(),
            declared,
            transport,
            version: None,
            asked,
            asked_back,
            held: HashSet::new(),
            pins,
        }
    }

    /// The version that header fields name, where the transport has such fields.
    pub(crate) fn speaks(&mut self, version: Version) {
        self.version = Some(version);
    }

    /// The version that is spoken, as far as it is known.
    pub(crate) fn version(&self) -> Option<Version> {
        self.version
    }

    /// Ends what is under way: every request that was passed on and is not answered has this outcome. Without it they end `aborted`.
    pub(crate) fn end(&mut self, outcome: &OutcomeFacts<'_>) {
        self.asked.end(outcome);
        self.asked_back.end(outcome);
    }

    /// Requests of the client that wait for their answers.
    pub(crate) fn waiting(&self) -> usize {
        self.asked.len()
    }

    /// A server's request that this client was sent over another carrier of the same conversation: its answer is expected.
    pub(crate) fn expects(&mut self, id: Id<'static>, method: &str) {
        self.asked_back.expect(id, Topic::method(method));
    }

    /// A request of this client's that was passed on over another carrier of the same conversation: its answer may come here, and its id is
    /// taken.
    pub(crate) fn asks(&mut self, id: Id<'static>, topic: Topic) {
        self.asked.expect(id, topic);
    }

    /// The conversation has no room for another request.
    pub(crate) fn is_crowded(&mut self) {
        self.asked.close();
    }

    /// What was passed on and nobody here waits for.
    pub(crate) fn into_credits(self) -> impl Iterator<Item = Credit> {
        self.asked.into_credits()
    }

    /// What was passed on and is not answered.
    pub(crate) fn open(&self) -> impl Iterator<Item = (&Id<'static>, &Topic)> {
        self.asked.each()
    }

    /// Lines end at blanks that some readers take for line ends, so a line has none of them.
    fn layout(&self) -> Layout {
        if self.transport == Transport::Stdio { Layout::Line } else { Layout::Free }
    }
}
