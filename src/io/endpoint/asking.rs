//! A request that waits for somebody's leave: who is asked, and what ends the wait.
//!
//! Nothing of it has gone anywhere meanwhile, and its connection carries nothing else. Its client may hang up, or cancel it over another
//! connection, which may end at another worker; both withdraw the question. A client that takes an event stream gets one when the wait is
//! long: first signs of life, then the answer as its last event.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{LazyLock, Mutex, PoisonError};

use crate::io::approval::Answer;
use crate::io::engine::{self, Either, Reply};
use crate::io::flow::Connection;
use crate::io::mcp::{Held, Leave};
use crate::io::transport::Filled;
use crate::io::wire;
use crate::limits::{APPROVAL_HEARTBEAT_EVERY, HELD_WIRE_BYTES_MAX};
use crate::parse::json::{self, Layout, Pointers};
use crate::parse::rpc::{self, Body, Id};
use crate::parse::sse;

use super::sessions::Key;

/// A request that is to be held until somebody was asked about it.
pub(crate) struct Asking {
    pub(super) held: Box<Held>,
    /// Whose conversation it is part of: who may cancel it.
    pub(super) key: Key,
    /// Whether its client takes an event stream for an answer.
    pub(super) takes_events: bool,
}

/// The id of the request whose answer has begun as an event stream.
pub(crate) type Begun = Option<Id<'static>>;

impl Connection {
    /// Asks, and waits for the answer. Says whether the client's answer has begun meanwhile.
    pub(crate) async fn ask_somebody(&self, asking: &Asking) -> (Leave, Begun) {
        let Asking { held, key, takes_events } = asking;
        let (reply, answer) = engine::oneshot();
        let approvers = self.worker.identities();
        let asked = approvers.approvers().ask(&held.question, &self.arrival.agent, move |answer| reply.send(answer));
        let _asked = match asked {
            Ok(asked) => asked,
            Err(answer) => return (Leave::of(answer, &held.question), None),
        };
        let (cancel, cancelled) = engine::oneshot();
        let _entry = Entry::enter((key.clone(), held.id.clone()), self.arrival.connection, cancel);
        let over = async {
            let gone = pin!(self.client_gone());
            engine::race(cancelled, gone).await
        };
        let mut waits = pin!(engine::race(answer, over));
        let mut beats = 0;
        let end = loop {
            match engine::timeout(APPROVAL_HEARTBEAT_EVERY, waits.as_mut()).await {
                Ok(end) => break end,
                Err(_) if *takes_events => {
                    beats += 1;
                    if !self.beat(held, beats).await {
                        return (Leave::Refused("approval_withdrawn"), Some(held.id.clone()));
                    }
                }
                Err(_) => {}
            }
        };
        let leave = match end {
            // Without an answer its thread has ended otherwise than it should.
            Either::Left(answer) => Leave::of(answer.unwrap_or(Answer::Unavailable), &held.question),
            Either::Right(_) => Leave::Refused("approval_withdrawn"),
        };
        (leave, (beats > 0).then(|| held.id.clone()))
    }

    /// Tells the client that it goes on; false if it does not take that.
    async fn beat(&self, held: &Held, count: u64) -> bool {
        let mut out = if count == 1 { HEAD.to_vec() } else { Vec::new() };
        match held.heartbeat(count) {
            Some(told) => chunk(&event(&told), &mut out),
            None => chunk(sse::COMMENT, &mut out),
        }
        let sent = engine::timeout(self.worker.bounds.body, self.client.send(out)).await;
        matches!(sent, Ok((Ok(()), _)))
    }

    /// A refusal of ours, as the last event of an answer that has begun.
    pub(crate) fn refuse_in_events(&mut self, id: &Id<'_>) {
        let body = self.out.windows(4).position(|four| four == b"\r\n\r\n").map_or(0, |at| at + 4);
        self.out = last_words(id, self.out.get(body..).unwrap_or_default());
    }

    /// Returns when the client has hung up. What it sends meanwhile waits behind the request's body.
    async fn client_gone(&self) {
        while matches!(self.client.fill_within(HELD_WIRE_BYTES_MAX).await, Ok(Filled::Bytes)) {}
        if self.client.pending() >= HELD_WIRE_BYTES_MAX {
            // Somebody who sends that much is still there.
            std::future::pending::<()>().await;
        }
    }
}

/// The head of an answer that begins before anybody knows what it is.
const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\
    Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n";

/// The rest of an answer that has begun: a text of JSON-RPC, or what else it would have been as the details of an error.
pub(super) fn last_words(id: &Id<'_>, text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    if rpc::read(text, Layout::Free, &Pointers::new([])).is_ok() {
        chunk(&event(text), &mut out);
    } else {
        let mut error = b"{\"jsonrpc\":\"2.0\",\"id\":".to_vec();
        id.write(&mut error);
        // JSON-RPC 2.0 §5.1: an internal error, with whatever is known of it.
        error.extend_from_slice(b",\"error\":{\"code\":-32603,\"message\":\"The request has failed.\"");
        if let Ok(details) = json::canonical(text) {
            error.extend_from_slice(b",\"data\":");
            error.extend_from_slice(&details);
        }
        error.extend_from_slice(b"}}");
        chunk(&event(&error), &mut out);
    }
    out.extend_from_slice(wire::LAST_CHUNK);
    out
}

fn event(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let data = str::from_utf8(text).ok();
    sse::Event { name: None, data, id: None, retry: None }.write(&mut out);
    out
}

fn chunk(bytes: &[u8], out: &mut Vec<u8>) {
    wire::chunk_size(bytes.len(), out);
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// Withdraws what the notifications in a text cancel.
pub(super) fn cancel(body: &Body<'_>, key: &Key) {
    let cancelled = body.messages.iter().filter_map(|message| message.call()?.cancels.clone());
    for id in cancelled {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = open.remove(&(key.clone(), id.into_owned())).unwrap_or_default();
        waiting.into_iter().for_each(|(_, cancel)| cancel.send(()));
    }
}

type Name = (Key, Id<'static>);
type Waiting = Vec<(u64, Reply<()>)>;

/// Requests that wait, by whose they are, each with its connection's number: without a session two programs of one agent may use the same
/// id. There are at most as many as there are questions.
static OPEN: LazyLock<Mutex<HashMap<Name, Waiting>>> = LazyLock::new(Mutex::default);

/// One of them, for as long as it waits.
struct Entry(Name, u64);

impl Entry {
    fn enter(name: Name, connection: u64, cancel: Reply<()>) -> Entry {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        open.entry(name.clone()).or_default().push((connection, cancel));
        Entry(name, connection)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = open.get_mut(&self.0) {
            waiting.retain(|(connection, _)| *connection != self.1);
            if waiting.is_empty() {
                open.remove(&self.0);
            }
        }
    }
}
