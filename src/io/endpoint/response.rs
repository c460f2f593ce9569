//! What a declared MCP endpoint answers: JSON as one text, a stream event by event, each handed to the core before the client sees it.
//!
//! A text is held as a whole; of a stream nothing is held but the event that is arriving. Events leave in canonical form. What is no message
//! of MCP's (an error page, a demand for credentials) passes only with a status of 400 or more, which no client reads a message out of.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::time::Instant;

use crate::audit::{Nanos, OutcomeFacts};
use crate::io::clock;
use crate::io::engine;
use crate::io::exchange::{End, Exchange, Tally, failed};
use crate::io::flow::{Connection, Next};
use crate::io::forward::or_recalled;
use crate::io::held::Held;
use crate::io::judge::{Method, nanos_since};
use crate::io::mcp::Session;
use crate::io::media;
use crate::io::metrics::Ending;
use crate::io::refusal::Refusal;
use crate::io::wire::{self, Delivery};
use crate::limits::{INTERIM_RESPONSES_MAX, JSON_BYTES_MAX};
use crate::parse::framing::{self, ResponseFraming};
use crate::parse::head::{self, ResponseHead, Version};
use crate::parse::json::{Layout, Pointers};
use crate::parse::rpc::{self, header};
use crate::parse::sse;

use super::answers::Owner;
use super::asking::{self, Begun};
use super::events::responses;
use super::pieces::{Broken, Events, Pieces};
use super::sessions::{Key, Sessions};
use super::still::Still;
use super::streams::Streams;
use super::{Message, Place};

impl Place {
    /// Whose conversation this is part of.
    pub(super) fn key(&self, agent: &str) -> Key {
        if let Some(target) = &self.older {
            return Key::Stream(target.clone());
        }
        match &self.id {
            Some(id) => Key::Session { server: self.server.clone(), id: id.clone() },
            None => Key::Agent { server: self.server.clone(), agent: agent.into() },
        }
    }
}

impl Connection {
    /// Sends an admitted message and relays what the server answers.
    pub(crate) async fn converse(&mut self, message: Message, held: Option<&Held>) -> Next {
        let Message { permit, way, mut session, mut place, told, started, version, persistent, begun } = message;
        // An answer that has begun ends with its connection.
        let persistent = persistent && begun.is_none();
        let tally = Tally::default();
        let end = match self.reach(self.worker.producer.durable(), permit, way).await {
            Ok(()) => {
                let out = std::mem::take(&mut self.out);
                let still = Still::of(&place, held.and_then(Held::text));
                let asking = pin!(self.ask(out, (&mut session, &mut place), &tally, (version, persistent, &begun)));
                or_recalled(asking, self.recalled_unless(|| self.message_still_goes(&still)), &tally).await
            }
            Err(error) => failed(error.status, error.code, error.detail),
        };
        let upstream = self.upstream.as_ref().map(|(_, upstream)| upstream.vetted.address());
        let mut outcome = OutcomeFacts {
            status: tally.status.get(),
            upstream,
            bytes_up: tally.up.get(),
            bytes_down: tally.down.get(),
            upstream_ns: tally.upstream_ns.get(),
            total_ns: nanos_since(started),
            ..OutcomeFacts::default()
        };
        let (next, ending) = match &end {
            End::Delivered { upstream, client, .. } => {
                if !upstream {
                    self.upstream = None;
                }
                (if *client { Next::Again } else { Next::Close }, Ending::Delivered)
            }
            End::Failed { status, code, .. } => {
                self.upstream = None;
                (outcome.status, outcome.code) = (Some(*status), Some(*code));
                (Next::Close, Ending::failed(*status))
            }
            End::Cut { code } => {
                self.upstream = None;
                outcome.code = Some(code);
                (Next::Abort, Ending::Cut)
            }
            End::ClientGone | End::ClientStalled => {
                self.upstream = None;
                outcome.code = Some(if matches!(end, End::ClientGone) { "client_gone" } else { "client_stalled" });
                (Next::Abort, Ending::ClientGone)
            }
        };
        Owner { place: &place, agent: &self.arrival.agent }.note_unanswered(&session, outcome.status);
        session.end(&outcome);
        for credit in told {
            credit.outcome(Nanos(clock::wall()), &outcome);
        }
        self.worker.counters.concluded(ending, &outcome);
        self.out.clear();
        let End::Failed { status, code, .. } = end else { return next };
        Refusal { status, code: Some(code), close: true, ..Refusal::default() }.write(&mut self.out);
        if let Some(id) = &begun {
            self.refuse_in_events(id);
        }
        self.refused(true, true).await
    }

    async fn ask(
        &self,
        out: Vec<u8>,
        (session, place): (&mut Session, &mut Place),
        tally: &Tally,
        (version, persistent, begun): (Version, bool, &Begun),
    ) -> End {
        let Some((_, upstream)) = &self.upstream else { return failed(502, "upstream_closed", String::new()) };
        let exchange = Exchange {
            bounds: &self.worker.bounds,
            client: &self.client,
            upstream: &upstream.transport,
            tally,
            method: Method::Other,
            version,
            persistent,
            reusable: true,
            sent: Instant::now(),
            gone_up: Cell::new(None),
        };
        tally.up.set(out.len() as u64);
        match engine::timeout(self.worker.bounds.body, upstream.transport.send(out)).await {
            Ok((Ok(()), _)) => exchange.gone_up.set(Some(Instant::now())),
            Ok((Err(error), _)) => return failed(502, "upstream_closed", error.to_string()),
            Err(_) => return failed(504, "upstream_timeout", String::new()),
        }
        let address = upstream.vetted.address();
        let reply = Reply { connection: self, exchange: &exchange, address, back: Rc::default(), begun };
        match reply.read(session, place).await {
            Ok(end) | Err(end) => end,
        }
    }
}

/// An answer on its way down.
pub(super) struct Reply<'r> {
    pub(super) connection: &'r Connection,
    pub(super) exchange: &'r Exchange<'r>,
    pub(super) address: std::net::SocketAddr,
    /// Errors that are on their way back to the server.
    pub(super) back: Rc<Cell<usize>>,
    /// Where the client has the head of an event stream already.
    pub(super) begun: &'r Begun,
}

impl Reply<'_> {
    async fn read(&self, session: &mut Session, place: &mut Place) -> Result<End, End> {
        let upstream = self.exchange.upstream;
        let mut interim = 0;
        let bytes = loop {
            let length = self.exchange.response_head().await?;
            let bytes = upstream.received(|bytes| bytes[..length].to_vec());
            upstream.consume(length);
            match head::response(&bytes).map_err(|error| failed(502, error.code(), String::new()))?.status {
                101 => return Err(failed(502, "response_upgrade", String::new())),
                100..200 if interim == INTERIM_RESPONSES_MAX => {
                    return Err(failed(502, "response_interim", String::new()));
                }
                100..200 => interim += 1,
                _ => break bytes,
            }
        };
        let head = head::response(&bytes).map_err(|error| failed(502, error.code(), String::new()))?;
        let framing = framing::response(&head, "POST").map_err(|error| failed(502, error.code(), String::new()))?;
        self.exchange.tally.upstream_ns.set(nanos_since(self.exchange.sent));
        self.exchange.tally.status.set(Some(head.status));
        if !media::is_identity(&head.headers) {
            return Err(failed(502, "response_encoded", String::new()));
        }
        self.remember(&head, place)?;
        let kind = head.headers.content_type().unwrap_or_default();
        let pieces = Pieces::new(framing);
        let reusable = framing::persistent(head.version, &head.headers) && framing != ResponseFraming::UntilClose;
        match head.status {
            200..300 if place.older.is_none() && media::is(kind, "text/event-stream") => {
                self.stream(&head, pieces, reusable, session, place).await
            }
            _ => self.text(&head, pieces, reusable, session, place).await,
        }
    }

    /// Notes a session that begins or ends with this answer.
    fn remember(&self, head: &ResponseHead<'_>, place: &mut Place) -> Result<(), End> {
        if !(200..300).contains(&head.status) || !place.has_sessions {
            return Ok(());
        }
        let agent = &self.connection.arrival.agent;
        if place.method == "DELETE" {
            Sessions::all().end(&place.key(agent));
            return Ok(());
        }
        let given = head.headers.one("mcp-session-id").ok().and_then(|id| id.map(header::session));
        match given {
            None => Ok(()),
            Some(Ok(id)) => {
                if place.id.as_deref() != Some(id) {
                    place.id = Some(id.into());
                }
                let is_its = Sessions::all().begin(place.key(agent), agent);
                if is_its { Ok(()) } else { Err(failed(502, "session_foreign", String::new())) }
            }
            Some(Err(_)) => Err(failed(502, "malformed", String::new())),
        }
    }

    /// One text, or none.
    async fn text(
        &self,
        head: &ResponseHead<'_>,
        mut pieces: Pieces,
        reusable: bool,
        session: &mut Session,
        place: &Place,
    ) -> Result<End, End> {
        let mut text = Vec::new();
        while !pieces.take(self.exchange.upstream, &mut text).map_err(|code| failed(502, code, String::new()))? {
            if text.len() > JSON_BYTES_MAX {
                return Err(failed(502, "response_too_large", String::new()));
            }
            match pieces.more(self.exchange).await {
                Ok(true) => break,
                Ok(false) => {}
                Err(Broken::Client) => return Err(End::ClientGone),
                Err(Broken::Server(code)) => return Err(failed(502, code, String::new())),
            }
        }
        let is_json = head.headers.content_type().is_some_and(|kind| media::is(kind, "application/json"));
        let is_message = is_json && (head.status < 400 || rpc::read(&text, Layout::Free, &Pointers::new([])).is_ok());
        let shown = match head.status {
            _ if text.is_empty() => Vec::new(),
            // Accepted: there is nothing to say, whatever a server says. In the older transport that is all a POST is ever answered.
            202 => Vec::new(),
            200..300 if place.older.is_some() => Vec::new(),
            _ if is_message => self.hear(session, place, head.status, &text).unwrap_or_default(),
            400.. => text,
            _ => return Err(failed(502, "response_type", String::new())),
        };
        if shown.is_empty() && head.status == 200 && session.waiting() > 0 && place.older.is_none() {
            return Err(failed(502, "response_unsolicited", String::new()));
        }
        let mut out = Vec::with_capacity(shown.len() + 512);
        let client = self.exchange.persistent && self.exchange.version == Version::Http11;
        let delivery = if head.status == 204 || head.status == 304 {
            Delivery::Bare(None)
        } else {
            Delivery::Length(shown.len() as u64)
        };
        match self.begun {
            None => {
                wire::response(head, delivery, !client, &mut out);
                out.extend_from_slice(&shown);
            }
            Some(id) => out.extend_from_slice(&asking::last_words(id, &shown)),
        }
        self.send(out).await?;
        self.exchange.tally.down.set(shown.len() as u64);
        let upstream = reusable && self.exchange.upstream.pending() == 0;
        Ok(End::Delivered { upstream, client, whole: true })
    }

    /// Events, each as soon as it is there.
    async fn stream(
        &self,
        head: &ResponseHead<'_>,
        mut pieces: Pieces,
        reusable: bool,
        session: &mut Session,
        place: &mut Place,
    ) -> Result<End, End> {
        Owner { place, agent: &self.connection.arrival.agent }.note_stream(session);
        let chunks = self.exchange.version == Version::Http11;
        let mut out = Vec::new();
        let delivery = if chunks { Delivery::Chunked } else { Delivery::UntilClose };
        let client = self.exchange.persistent && chunks;
        if self.begun.is_none() {
            wire::response(head, delivery, !client, &mut out);
            self.send(out).await?;
        }
        let cut = |code| End::Cut { code };
        let mut decoder = sse::Decoder::new();
        let mut events = Events::default();
        let mut arrived = Vec::new();
        // Only the first event of a client's own stream can say where to post, and only where there is no session of the newer kind.
        let mut may_open = place.method == "GET" && place.id.is_none() && place.has_sessions;
        let mut older = None;
        loop {
            arrived.clear();
            let ended = pieces.take(self.exchange.upstream, &mut arrived).map_err(cut)?;
            let mut ready = Vec::new();
            let mut at = 0;
            loop {
                let step = match decoder.step(&arrived[at..]) {
                    Ok(step) => step,
                    Err(error) => {
                        self.give_up(session, (place, head.status), error.code(), &mut ready);
                        self.send_events(&ready, chunks).await?;
                        return self.end_of_stream((false, false), chunks).await;
                    }
                };
                match step {
                    sse::Step::Event { consumed, event } => {
                        at += consumed;
                        if may_open && event.kind() == "endpoint" {
                            older = Some(self.open(session, (place, head.status), &event, &mut ready)?);
                        } else {
                            self.event(session, (place, head.status), &event, &mut ready);
                        }
                        may_open &= event.data.is_none();
                    }
                    sse::Step::Comment { consumed } => {
                        at += consumed;
                        events.comment(&mut ready);
                    }
                    sse::Step::More => break,
                }
            }
            self.send_events(&ready, chunks).await?;
            if ended || self.wait(&pieces, older.as_mut(), chunks).await? {
                break;
            }
        }
        let upstream = reusable && self.exchange.upstream.pending() == 0;
        self.end_of_stream((upstream, client), chunks).await
    }

    async fn end_of_stream(&self, (upstream, client): (bool, bool), chunks: bool) -> Result<End, End> {
        if chunks {
            self.send(wire::LAST_CHUNK.to_vec()).await?;
        }
        Ok(End::Delivered { upstream, client, whole: true })
    }

    /// What the client gets of one event.
    fn event(&self, session: &mut Session, (place, status): (&Place, u16), event: &sse::Event<'_>, out: &mut Vec<u8>) {
        let Some(data) = event.data.filter(|data| !data.is_empty()) else {
            // A point from which a stream can be resumed, without a message.
            return event.write(out);
        };
        let shown = self.hear(session, place, status, data.as_bytes());
        // There is no other kind of event: some clients would take one for a message, and others not.
        let Some(shown) = shown.filter(|_| event.kind() == "message") else { return };
        if let Ok(data) = str::from_utf8(&shown) {
            sse::Event { data: Some(data), ..*event }.write(out);
        }
    }

    /// Hands a text of the server's to the core; what the client gets of it.
    fn hear(&self, session: &mut Session, place: &Place, status: u16, text: &[u8]) -> Option<Vec<u8>> {
        let owner = Owner { place, agent: &self.connection.arrival.agent };
        if place.method == "GET" {
            // What was asked with a POST may be answered here.
            for id in responses(text) {
                if let Some(topic) = owner.asked_elsewhere(&id) {
                    session.asks(id, topic);
                }
            }
        }
        let (shown, back) = self.carry(place, status, |carrier| {
            let told = session.server_sent(carrier, text);
            (told.to_client.map(std::borrow::Cow::into_owned), told.to_server)
        });
        if let Some(target) = &place.older {
            Streams::all().agree(target, session.version());
        }
        if let Some(error) = back {
            self.tell_server(place, &error);
        }
        let shown = shown?;
        // What the server asks is answered by a POST of its own.
        if let Ok(body) = rpc::read(&shown, Layout::Free, &Pointers::new([])) {
            let agent = &self.connection.arrival.agent;
            for message in &body.messages {
                match &message.shape {
                    rpc::Shape::Request(id, call) => {
                        Sessions::all().ask(place.key(agent), agent, id.clone().into_owned(), &call.method);
                    }
                    rpc::Shape::Response(Some(id), _) => drop(Sessions::all().settle(&place.key(agent), id)),
                    _ => {}
                }
            }
        }
        Some(shown)
    }

    pub(super) async fn send_events(&self, ready: &[u8], chunks: bool) -> Result<(), End> {
        if ready.is_empty() {
            return Ok(());
        }
        let tally = self.exchange.tally;
        tally.down.set(tally.down.get() + ready.len() as u64);
        let mut out = Vec::with_capacity(ready.len() + 16);
        if chunks {
            wire::chunk_size(ready.len(), &mut out);
        }
        out.extend_from_slice(ready);
        if chunks {
            out.extend_from_slice(b"\r\n");
        }
        self.send(out).await
    }

    pub(super) async fn send(&self, out: Vec<u8>) -> Result<(), End> {
        match engine::timeout(self.exchange.bounds.body, self.exchange.client.send(out)).await {
            Ok((Ok(()), _)) => Ok(()),
            Ok((Err(_), _)) => Err(End::ClientGone),
            Err(_) => Err(End::ClientStalled),
        }
    }
}
