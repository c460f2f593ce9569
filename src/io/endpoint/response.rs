//! What a declared MCP endpoint answers: JSON as one text, a stream event by event, each handed to the core before the client sees it.
//!
//! A text is held as a whole; of a stream nothing is held but the event that is arriving. Events leave in canonical form. What is no message
//! of MCP's (an error page, a demand for credentials) passes only with a status of 400 or more, which no client reads a message out of.

use std::cell::Cell;
use std::time::Instant;

use crate::audit::{DecisionFacts, Inspected, Nanos, OutcomeFacts, Protocol};
use crate::io::clock;
use crate::io::engine;
use crate::io::exchange::{End, Exchange, Tally, failed};
use crate::io::flow::{Connection, Next};
use crate::io::judge::{Method, nanos_since};
use crate::io::mcp::{Carrier, Session};
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
use crate::policy::{Host, Look, Subject};

use super::pieces::{Broken, Events, Pieces};
use super::resumed::{self, Waiting};
use super::sessions::{Key, Sessions};
use super::{Message, Place};

impl Place {
    /// Whose conversation this is part of.
    pub(super) fn key(&self, agent: &str) -> Key {
        match &self.id {
            Some(id) => Key::Session { server: self.server.clone(), id: id.clone() },
            None => Key::Agent { server: self.server.clone(), agent: agent.into() },
        }
    }
}

impl Connection {
    /// Sends an admitted message and relays what the server answers.
    pub(crate) async fn converse(&mut self, message: Message) -> Next {
        let Message { permit, way, mut session, mut place, told, started, version, persistent } = message;
        let tally = Tally::default();
        let end = match self.reach(self.worker.producer.durable(), permit, way).await {
            Ok(()) => self.ask(&mut session, &mut place, &tally, (version, persistent)).await,
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
        session.end(&outcome);
        for credit in told {
            credit.outcome(Nanos(clock::wall()), &outcome);
        }
        self.worker.counters.concluded(ending, &outcome);
        self.out.clear();
        let End::Failed { status, code, .. } = end else { return next };
        Refusal { status, code: Some(code), close: true, ..Refusal::default() }.write(&mut self.out);
        self.refused(true, true).await
    }

    async fn ask(
        &mut self,
        session: &mut Session,
        place: &mut Place,
        tally: &Tally,
        (version, persistent): (Version, bool),
    ) -> End {
        let out = std::mem::take(&mut self.out);
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
        let reply = Reply { connection: self, exchange: &exchange, address: upstream.vetted.address() };
        match reply.read(session, place).await {
            Ok(end) | Err(end) => end,
        }
    }
}

/// An answer on its way down.
struct Reply<'r> {
    connection: &'r Connection,
    exchange: &'r Exchange<'r>,
    address: std::net::SocketAddr,
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
            200..300 if media::is(kind, "text/event-stream") => {
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
            Waiting::all().end(&place.key(agent));
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
            // Accepted: there is nothing to say, whatever a server says.
            202 => Vec::new(),
            _ if is_message => self.hear(session, place, head.status, &text).unwrap_or_default(),
            400.. => text,
            _ => return Err(failed(502, "response_type", String::new())),
        };
        if shown.is_empty() && head.status == 200 && session.waiting() > 0 {
            return Err(failed(502, "response_unsolicited", String::new()));
        }
        let mut out = Vec::with_capacity(shown.len() + 512);
        let client = self.exchange.persistent && self.exchange.version == Version::Http11;
        let delivery = if head.status == 204 || head.status == 304 {
            Delivery::Bare(None)
        } else {
            Delivery::Length(shown.len() as u64)
        };
        wire::response(head, delivery, !client, &mut out);
        out.extend_from_slice(&shown);
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
        place: &Place,
    ) -> Result<End, End> {
        if place.has_sessions {
            Waiting::all().note(&place.key(&self.connection.arrival.agent), session.asked());
        }
        let chunks = self.exchange.version == Version::Http11;
        let mut out = Vec::new();
        let delivery = if chunks { Delivery::Chunked } else { Delivery::UntilClose };
        let client = self.exchange.persistent && chunks;
        wire::response(head, delivery, !client, &mut out);
        self.send(out).await?;
        let cut = |code| End::Cut { code };
        let mut decoder = sse::Decoder::new();
        let mut events = Events::default();
        let mut arrived = Vec::new();
        loop {
            arrived.clear();
            let ended = pieces.take(self.exchange.upstream, &mut arrived).map_err(cut)?;
            let mut ready = Vec::new();
            let mut at = 0;
            loop {
                match decoder.step(&arrived[at..]).map_err(|error| cut(error.code()))? {
                    sse::Step::Event { consumed, event } => {
                        at += consumed;
                        self.event(session, (place, head.status), &event, &mut ready);
                    }
                    sse::Step::Comment { consumed } => {
                        at += consumed;
                        events.comment(&mut ready);
                    }
                    sse::Step::More => break,
                }
            }
            self.send_events(&ready, chunks).await?;
            let is_over = ended
                || match pieces.more(self.exchange).await {
                    Ok(closed) => closed,
                    Err(Broken::Client) => return Err(End::ClientGone),
                    Err(Broken::Server(code)) => return Err(cut(code)),
                };
            if is_over {
                break;
            }
        }
        if chunks {
            self.send(wire::LAST_CHUNK.to_vec()).await?;
        }
        let upstream = reusable && self.exchange.upstream.pending() == 0;
        Ok(End::Delivered { upstream, client, whole: true })
    }

    /// What the client gets of one event.
    fn event(&self, session: &mut Session, (place, status): (&Place, u16), event: &sse::Event<'_>, out: &mut Vec<u8>) {
        let Some(data) = event.data.filter(|data| !data.is_empty()) else {
            // A point from which a stream can be resumed, without a message.
            return event.write(out);
        };
        let shown = self.hear(session, place, status, data.as_bytes());
        // Streamable HTTP has no other kind of event: some clients would take one for a message, and others not.
        let Some(shown) = shown.filter(|_| event.kind() == "message") else { return };
        if let Ok(data) = str::from_utf8(&shown) {
            sse::Event { data: Some(data), ..*event }.write(out);
        }
    }

    /// Hands a text of the server's to the core; what the client gets of it.
    fn hear(&self, session: &mut Session, place: &Place, status: u16, text: &[u8]) -> Option<Vec<u8>> {
        let worker = &self.connection.worker;
        let arrival = &self.connection.arrival;
        let (policy, arguments) = (worker.policy(), worker.argument_pointers());
        let host = match place.host.parse() {
            Ok(address) => Host::Address(address),
            Err(_) => Host::Name(&place.host),
        };
        let paths = [&*place.path];
        let carrier = Carrier {
            producer: &worker.producer,
            policy: &policy,
            arguments: &arguments,
            // The head was decided on with the request: nothing of it is left that a rule could look at.
            subject: Subject {
                agent: &arrival.agent,
                scheme: place.scheme,
                host,
                port: place.port,
                address: policy.needs_address().then(|| self.address.ip()),
                method: place.method,
                paths: &paths,
                headers: Look::Absent,
                time_ns: clock::wall(),
                ..Subject::EMPTY
            },
            facts: DecisionFacts {
                protocol: Protocol::Mcp,
                host: Some(&place.host),
                port: Some(place.port),
                path: Some(&place.path),
                method: Some(place.method),
                upstream: Some(self.address),
                inspected: Inspected::ADDRESS | Inspected::HEAD,
                sni: arrival.sni.as_deref(),
                ..worker.facts(arrival)
            },
            outcome: OutcomeFacts { status: Some(status), upstream: Some(self.address), ..OutcomeFacts::default() },
            vet: &|_| Ok(()),
            started: Instant::now(),
        };
        let key = place.key(&arrival.agent);
        if place.method == "GET" {
            resumed::expect(session, &key, text);
        }
        let shown = session.server_sent(&carrier, text).to_client?.into_owned();
        // What the server asks is answered by a POST of its own.
        if let Ok(body) = rpc::read(&shown, Layout::Free, &Pointers::new([])) {
            for message in &body.messages {
                match &message.shape {
                    rpc::Shape::Request(id, call) => {
                        Sessions::all().ask(key.clone(), &arrival.agent, id.clone().into_owned(), &call.method);
                    }
                    rpc::Shape::Response(Some(id), _) => drop(Waiting::all().take(&key, id)),
                    _ => {}
                }
            }
        }
        Some(shown)
    }

    async fn send_events(&self, ready: &[u8], chunks: bool) -> Result<(), End> {
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

    async fn send(&self, out: Vec<u8>) -> Result<(), End> {
        match engine::timeout(self.exchange.bounds.body, self.exchange.client.send(out)).await {
            Ok((Ok(()), _)) => Ok(()),
            Ok((Err(_), _)) => Err(End::ClientGone),
            Err(_) => Err(End::ClientStalled),
        }
    }
}
