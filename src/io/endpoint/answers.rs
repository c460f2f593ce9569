//! The answers in what a client sends, which belong to requests of the server's that came over another connection; and the error for header
//! fields that contradict their body.

use crate::io::mcp::{Refusal, Session, Topic, Why};
use crate::parse::rpc::{self, Body, Version, header};

use super::Place;
use super::sessions::Sessions;
use super::streams::{Reserved, Streams};

/// Whose conversation it is.
pub(super) struct Owner<'o> {
    pub(super) place: &'o Place,
    pub(super) agent: &'o str,
}

impl Owner<'_> {
    /// Lets the session know which of the server's requests these answers belong to: they came over another carrier.
    pub(super) fn expect_answers(&self, body: &Body<'_>, session: &mut Session) {
        for id in answers(body) {
            if let Some(method) = Sessions::all().asked(&self.place.key(self.agent), id) {
                session.expects(id.clone().into_owned(), &method);
            }
        }
    }

    /// Each of the server's requests is answered once.
    pub(super) fn note_answers(&self, body: &Body<'_>) {
        for id in answers(body) {
            Sessions::all().answered(&self.place.key(self.agent), id);
        }
        // What is cancelled is not waited for on the stream either.
        if let Some(target) = &self.place.older {
            for id in body.messages.iter().filter_map(|message| message.call()?.cancels.as_ref()) {
                Streams::all().take(target, id);
            }
        }
    }

    /// In the older transport answers come on the stream: it has to know what waits for one before anything is sent.
    pub(super) fn reserve(&self, body: &Body<'_>, session: &mut Session) -> Reserved {
        let Some(target) = &self.place.older else { return Reserved::Nothing };
        let requests: Vec<_> =
            requests(body).map(|(id, call)| (id.clone().into_owned(), session.topic(call))).collect();
        let reserved = Streams::all().reserve(target, &requests);
        match reserved {
            Reserved::Yes | Reserved::Gone | Reserved::Nothing => {}
            Reserved::Twice => requests.into_iter().for_each(|(id, topic)| session.asks(id, topic)),
            Reserved::Full => session.is_crowded(),
        }
        reserved
    }

    /// An exchange is over: what the server has not taken it does not answer.
    pub(super) fn note_unanswered(&self, session: &Session, status: Option<u16>) {
        let is_taken = status.is_some_and(|status| (200..300).contains(&status));
        if let Some(target) = self.place.older.as_ref().filter(|_| self.place.method == "POST" && !is_taken) {
            for (id, _) in session.open() {
                Streams::all().take(target, id);
            }
        }
    }

    /// The answers to what was asked are about to come as a stream. Streams end early, and what they owe then comes on another one that the client
    /// opens in the same session. When it ends is too late to note that: the client may have come back by then, at another worker.
    pub(super) fn note_stream(&self, session: &Session) {
        if self.place.has_sessions && self.place.older.is_none() {
            for (id, topic) in session.open() {
                Sessions::all().owe(self.place.key(self.agent), self.agent, id.clone(), topic.clone());
            }
        }
    }

    /// The request that an answer belongs to, where it was sent over another connection.
    pub(super) fn asked_elsewhere(&self, id: &rpc::Id<'_>) -> Option<Topic> {
        match &self.place.older {
            Some(target) => Streams::all().take(target, id),
            None if self.place.method == "GET" => Sessions::all().settle(&self.place.key(self.agent), id),
            None => None,
        }
    }

    /// The stream cannot be read any further: what is waited for on it is not answered on another one either.
    pub(super) fn give_up(&self, session: &mut Session) {
        if let Some(target) = &self.place.older {
            let waiting = Streams::all().take_all(target);
            waiting.into_iter().for_each(|(id, topic)| session.asks(id, topic));
        }
        for (id, _) in session.open() {
            Sessions::all().settle(&self.place.key(self.agent), id);
        }
    }

    /// What was reserved and is not sent.
    pub(super) fn release(&self, body: &Body<'_>) {
        let Some(target) = &self.place.older else { return };
        for (id, _) in requests(body) {
            Streams::all().take(target, id);
        }
    }
}

fn requests<'b>(body: &'b Body<'_>) -> impl Iterator<Item = (&'b rpc::Id<'b>, &'b rpc::Call<'b>)> {
    body.messages.iter().filter_map(|message| match &message.shape {
        rpc::Shape::Request(id, call) => Some((id, call)),
        _ => None,
    })
}

/// The ids of the answers in a text.
fn answers<'b>(body: &'b Body<'_>) -> impl Iterator<Item = &'b rpc::Id<'b>> {
    body.messages.iter().filter_map(|message| match &message.shape {
        rpc::Shape::Response(id, _) => id.as_ref(),
        _ => None,
    })
}

/// The error for header fields that do not agree with the body (2026-07-28, "Error Codes").
pub(super) fn header_error(body: &Body<'_>, fields: &header::Fields<'_>, error: &header::HeaderError) -> Refusal {
    let mut out = br#"{"jsonrpc":"2.0","#.to_vec();
    let mut is_awaited = false;
    if let [rpc::Message { shape: rpc::Shape::Request(id, _), .. }] = &body.messages[..] {
        is_awaited = true;
        out.extend_from_slice(b"\"id\":");
        id.write(&mut out);
        out.push(b',');
    }
    out.extend_from_slice(format!("\"error\":{{\"code\":{},\"message\":\"{error}\"", error.rpc_code()).as_bytes());
    if let (header::HeaderError::VersionUnknown, Some(requested)) = (error, fields.version) {
        // What a client goes on with: of versions without a handshake. The others it asks for with one.
        let supported: Vec<&str> =
            Version::ALL.into_iter().filter(|version| version.is_stateless()).map(Version::name).collect();
        let data = serde_json::json!({ "supported": supported, "requested": requested });
        out.extend_from_slice(format!(",\"data\":{data}").as_bytes());
    }
    out.extend_from_slice(b"}}");
    Refusal { why: Why::Malformed, answer: out, is_awaited, decision: None }
}
