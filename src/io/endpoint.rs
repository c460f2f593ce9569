//! A declared MCP endpoint: what a client sends there is handed to the core before anything of it goes anywhere.
//!
//! The endpoint counts, not what a request says of itself: whatever goes to a declared URL is held as a whole, read as one JSON-RPC text and decided
//! message by message. It knows nothing of how messages are decided; [`crate::io::mcp`] does. What comes back is in [`response`].

mod answers;
mod asking;
mod back;
mod elsewhere;
mod events;
mod pieces;
mod response;
mod sessions;
mod still;
mod streams;

use std::borrow::Cow;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use crate::audit::{Credit, DecisionFacts, McpFacts, Nanos, OutcomeFacts, Protocol, Transport};
use crate::io::clock;
use crate::io::facts::{Fields, Parameters};
use crate::io::flow::Connection;
use crate::io::held::{Found as Body, Values, Want};
use crate::io::here;
use crate::io::judge::{Judged, Request, subject_host};
use crate::io::mcp::{Carrier, FromClient, Refusal, Session, Why};
use crate::io::media;
use crate::io::vet::{Missing, Way};
use crate::io::wire::{self, Codings};
use crate::parse::framing::{self, Framing};
use crate::parse::head::Version;
use crate::parse::json::{Layout, Pointers};
use crate::parse::rpc::{self, header};
use crate::policy::{Direction, Look, Mcp, Permit, Policy, Scheme, Subject, Vetted, Via};

pub(crate) use self::elsewhere::may_be_mcp;

pub(crate) use self::asking::{Asking, Begun};

use self::answers::{Owner, header_error};
use self::sessions::Sessions;
use self::streams::{Reserved, Streams, Target};

/// A recorded admission of what a client sent to a declared endpoint; head and body stand in `out`.
pub(crate) struct Message {
    permit: Permit,
    way: Way,
    session: Session,
    place: Place,
    /// Decisions on messages that nobody answers, or on the stream itself.
    told: Vec<Credit>,
    started: Instant,
    version: Version,
    persistent: bool,
    /// Where the client's answer has begun already.
    pub(crate) begun: Begun,
}

/// Where a conversation takes place, as far as its answers are decided and recorded by it.
struct Place {
    server: Box<str>,
    /// The id that the client sent, where its version has sessions.
    id: Option<Box<str>>,
    scheme: Scheme,
    host: Box<str>,
    port: u16,
    path: Box<str>,
    method: &'static str,
    has_sessions: bool,
    /// In the older transport, where the stream's messages are posted to: with a POST, and with the stream once it has said so.
    older: Option<Target>,
}

/// A declared server, as a request finds it.
pub(crate) struct Found<'p> {
    name: Cow<'p, str>,
    /// Not the declared URL, but where a stream of the older transport has told its client to post.
    is_older: bool,
}

/// The declared server at the target of a request, if it is one.
///
/// # Errors
/// Where the path can be read in another way that leads to another server, or to none.
pub(crate) fn server<'p>(policy: &'p Policy, scheme: Scheme, request: &Request<'_>) -> Result<Option<Found<'p>>, ()> {
    if policy.mcp_servers().is_empty() {
        return Ok(None);
    }
    let (host, port) = (subject_host(&request.target.host), request.target.port);
    let at = |path: &str| match policy.mcp_server(scheme, host, port, path) {
        Some(name) => Some((Cow::Borrowed(name), false)),
        None => {
            let name = Streams::server(scheme, request.host, port, path)?;
            policy.mcp_servers().iter().any(|server| server.name == name).then(|| (Cow::Owned(name.into()), true))
        }
    };
    let found = at(&request.target.path);
    let is_same = request.target.readings.iter().all(|reading| at(reading) == found);
    if is_same { Ok(found.map(|(name, is_older)| Found { name, is_older })) } else { Err(()) }
}

impl Connection {
    /// Judges what goes to the declared endpoint of `server`.
    pub(crate) fn message(&mut self, request: &Request<'_>, policy: &Policy, found: &Found<'_>) -> Judged {
        let server = &*found.name;
        let known = Some((request.head, request.target));
        let fields = match header::read(request.head.headers.iter()) {
            Ok(fields) => fields,
            Err(error) => return self.malformed(400, error.code(), &error, known),
        };
        let method = match request.head.method {
            "POST" => "POST",
            "GET" => "GET",
            "DELETE" => "DELETE",
            _ => return self.malformed(405, "method_unsupported", &"an MCP endpoint has POST, GET and DELETE", known),
        };
        let older = self.older(request, method);
        if older.is_none() && found.is_older {
            let (status, code) = if method == "POST" { (404, "session_unknown") } else { (405, "method_unsupported") };
            return self.malformed(status, code, &"the stream is not this agent's, or has ended", known);
        }
        // 2026-07-28 has no sessions: an id that is sent all the same means nothing.
        let has_sessions = !fields.version.and_then(rpc::Version::read).is_some_and(rpc::Version::is_stateless);
        let id = fields.session.filter(|_| has_sessions);
        if id.is_some_and(|id| !Sessions::all().is_of(server, id, &self.arrival.agent)) {
            return self.malformed(404, "session_unknown", &"the session is not this agent's, or has ended", known);
        }
        let text = match self.text(request, method) {
            Ok(text) => text,
            Err(judged) => return judged,
        };
        let upstream = policy.upstream(&subject_host(&request.target.host), request.target.port);
        let (way, held) = self.nearest(request, upstream);
        let (candidates, via) = match request.candidates(upstream, held) {
            Ok(found) => found,
            Err(Missing::Name(name)) => return Judged::Resolve(name),
            Err(Missing::Address(code)) => return self.malformed(502, code, &"the server has no address", known),
        };
        let id = id.map(Box::from);
        let place = Place { older, ..self.place(request, server, (method, id, has_sessions)) };
        let worker = Rc::clone(&self.worker);
        let vetted = RefCell::new(Vec::new());
        let dials = matches!(way, Way::Dial(_));
        let vet =
            |permit: &Permit| vet_each(policy, permit, (candidates.as_slice(), via, dials), (&worker.own, &vetted));
        let address = candidates.as_slice().first().copied();
        let admitted = match text {
            Some(text) => self.weigh_text(request, policy, (&place, &fields), (text, address), &vet),
            None => self.weigh_stream(request, policy, &place, address, &vet),
        };
        match admitted {
            Ok((permit, session, told)) => {
                let vetted = vetted.into_inner();
                self.message_admitted(request, Admitted { permit, session, told, place }, way, (vetted, text))
            }
            Err(judged) => {
                if let (Judged::Ask(_), Way::Pooled(route, upstream)) = (&judged, way) {
                    // Kept for whoever needs it while somebody is asked.
                    worker.pool.borrow_mut().put(route, upstream);
                }
                judged
            }
        }
    }

    fn conversation(&self, place: &Place) -> Session {
        Session::new(&place.server, true, Transport::Http, Some(Arc::clone(&self.worker.pins)))
    }

    fn place(
        &self,
        request: &Request<'_>,
        server: &str,
        (method, id, has_sessions): (&'static str, Option<Box<str>>, bool),
    ) -> Place {
        Place {
            server: server.into(),
            id,
            scheme: self.arrival.scheme,
            host: request.host.into(),
            port: request.target.port,
            path: (*request.target.path).into(),
            method,
            has_sessions,
            older: None,
        }
    }

    /// The stream of this agent's that a message is for, where it is posted in the way of the older transport.
    fn older(&self, request: &Request<'_>, method: &str) -> Option<Target> {
        if method != "POST" || !Streams::are_open() {
            return None;
        }
        let target = Target::of(self.arrival.scheme, request);
        let is_its = Streams::all().is_of(&target, &self.arrival.agent);
        is_its.then_some(target)
    }

    /// The body of a POST as one text; nothing for a GET and a DELETE, which have none.
    #[expect(clippy::result_large_err, reason = "as what it stands for: moved once, on the stack")]
    fn text<'r>(&mut self, request: &Request<'r>, method: &str) -> Result<Option<&'r [u8]>, Judged> {
        let known = Some((request.head, request.target));
        if method != "POST" {
            return match request.framing {
                Framing::None | Framing::Length(0) => Ok(None),
                _ => Err(self.malformed(400, "malformed", &"this request has no body at an MCP endpoint", known)),
            };
        }
        match request.known.held.as_ref().map(|held| &held.found) {
            Some(Body::Text { bytes, .. }) => Ok(Some(bytes)),
            Some(_) => Err(self.malformed(413, "body_unreadable", &"the message is too long", known)),
            None => {
                let is_json =
                    request.head.headers.content_type().is_some_and(|kind| media::is(kind, "application/json"));
                if !is_json || !media::is_identity(&request.head.headers) {
                    let cause = "an MCP message is application/json in UTF-8, not encoded";
                    return Err(self.malformed(415, "media_type", &cause, known));
                }
                Err(request.hold_back(Want::Text))
            }
        }
    }

    /// Hands a POST's text to the core.
    #[expect(clippy::result_large_err, reason = "as what it stands for: moved once, on the stack")]
    fn weigh_text(
        &mut self,
        request: &Request<'_>,
        policy: &Policy,
        (place, fields): (&Place, &header::Fields<'_>),
        (text, address): (&[u8], Option<SocketAddr>),
        vet: &dyn Fn(&Permit) -> Result<(), &'static str>,
    ) -> Result<Weighed, Judged> {
        let mut session = self.conversation(place);
        let (worker, arrival) = (Rc::clone(&self.worker), self.arrival.clone());
        let (body_pointers, arguments) = (worker.body_pointers(), worker.argument_pointers());
        let values = Values::read(text, &body_pointers);
        let parameters = Parameters(request.target.query.unwrap_or_default());
        let paths: Vec<&str> = request.readings().collect();
        let carrier = Carrier {
            producer: &worker.producer,
            policy,
            arguments: &arguments,
            subject: Subject {
                address: address.filter(|_| policy.needs_address()).map(|address| address.ip()),
                headers: Look::At(&Fields(request.head)),
                query: request.target.query.map_or(Look::Absent, |_| Look::At(&parameters)),
                body: values.as_ref().map_or(Look::Unreadable, |values| Look::At(values)),
                ..self.subject_of(request, &arrival.agent, &paths)
            },
            facts: DecisionFacts { upstream: address, ..self.carrier_facts(request) },
            outcome: OutcomeFacts::default(),
            vet,
            started: request.started,
        };
        let owner = Owner { place, agent: &arrival.agent };
        let nothing = Pointers::new([]);
        let body = rpc::read(text, Layout::Free, &nothing).ok();
        let mut reserved = Reserved::Nothing;
        if let Some(body) = &body {
            match fields.check(body) {
                Ok(version) => session.speaks(place.version(fields, version)),
                Err(error) => {
                    session.garbled_by_client(&carrier, error.code());
                    return Err(self.refuse_message(request, place, header_error(body, fields, &error)));
                }
            }
            owner.expect_answers(body, &mut session);
            reserved = owner.reserve(body, &mut session);
        }
        if reserved == Reserved::Gone {
            let known = Some((request.head, request.target));
            return Err(self.malformed(404, "session_unknown", &"the stream has ended", known));
        }
        let sent = session.sent(&carrier, text, request.known.leave.take());
        match &body {
            Some(body) if matches!(sent, FromClient::Forward { .. }) => {
                owner.note_answers(body);
                asking::cancel(body, &place.key(&arrival.agent));
            }
            Some(body) if reserved == Reserved::Yes => owner.release(body),
            _ => {}
        }
        match sent {
            FromClient::Forward { permit, told } => Ok((permit, session, told)),
            FromClient::Refused(refusal) => Err(self.refuse_message(request, place, refusal)),
            FromClient::Ask(held) => {
                // In the older transport a POST is never answered by more than that it was taken.
                let takes_events = place.older.is_none() && takes_events(request);
                Err(Judged::Ask(Box::new(Asking { held, key: place.key(&arrival.agent), takes_events })))
            }
        }
    }

    /// Decides a GET, which opens the server's own stream, or a DELETE, which ends a session: part of the handshake, so that they are admitted as soon as
    /// something of the server is.
    #[expect(clippy::result_large_err, reason = "as what it stands for: moved once, on the stack")]
    fn weigh_stream(
        &mut self,
        request: &Request<'_>,
        policy: &Policy,
        place: &Place,
        address: Option<SocketAddr>,
        vet: &dyn Fn(&Permit) -> Result<(), &'static str>,
    ) -> Result<Weighed, Judged> {
        let (worker, agent) = (Rc::clone(&self.worker), Rc::clone(&self.arrival.agent));
        let parameters = Parameters(request.target.query.unwrap_or_default());
        let paths: Vec<&str> = request.readings().collect();
        let mcp = Mcp {
            server: &place.server,
            declared: true,
            direction: Direction::ToServer,
            method: "ping",
            tool: None,
            resource: None,
            prompt: None,
            arguments: Look::Absent,
        };
        let decision = policy.decide(&Subject {
            address: address.filter(|_| policy.needs_address()).map(|address| address.ip()),
            headers: Look::At(&Fields(request.head)),
            query: request.target.query.map_or(Look::Absent, |_| Look::At(&parameters)),
            mcp: Some(mcp),
            ..self.subject_of(request, &agent, &paths)
        });
        let Ok(permit) = decision.admit() else { return Err(self.deny(request, policy, &decision, None)) };
        if let Err(code) = vet(&permit) {
            return Err(self.deny(request, policy, &decision, Some(code)));
        }
        let facts = DecisionFacts {
            upstream: address,
            protocol: Protocol::Mcp,
            mcp: Some(McpFacts {
                server: &place.server,
                transport: Transport::Http,
                version: "",
                method: "",
                tool: "",
                resource: "",
                prompt: "",
                arguments_digest: None,
            }),
            ..self.request_facts(request, policy, &decision)
        };
        match worker.producer.allow(Nanos(clock::wall()), &facts) {
            Ok(credit) => Ok((permit, self.conversation(place), vec![credit])),
            Err(refused) => Err(self.unrecorded(request, refused)),
        }
    }

    /// Writes what goes to the server.
    fn message_admitted(
        &mut self,
        request: &Request<'_>,
        admitted: Admitted,
        mut way: Way,
        (vetted, text): (Vec<Vetted>, Option<&[u8]>),
    ) -> Judged {
        let address = vetted.first().map(|vetted| vetted.address());
        if let Way::Dial(dial) = &mut way {
            dial.addresses = vetted;
        }
        let framing = text.map_or(Framing::None, |text| Framing::Length(text.len() as u64));
        wire::request(request.head, request.target, framing, (self.via(address), Codings::Identity), &mut self.out);
        if let Some(Body::Text { bytes, wire }) = request.known.held.as_ref().map(|held| &held.found) {
            self.out.extend_from_slice(bytes);
            self.client.consume(*wire);
        }
        let Admitted { permit, session, told, place } = admitted;
        Judged::Message(Box::new(Message {
            permit,
            way,
            session,
            place,
            told,
            started: request.started,
            version: request.head.version,
            persistent: framing::persistent(request.head.version, &request.head.headers) && !self.worker.stopping(),
            begun: None,
        }))
    }

    fn subject_of<'s>(&self, request: &'s Request<'_>, agent: &'s str, paths: &'s [&'s str]) -> Subject<'s> {
        Subject {
            agent,
            scheme: self.arrival.scheme,
            host: subject_host(&request.target.host),
            port: request.target.port,
            method: request.head.method,
            paths,
            time_ns: clock::wall(),
            ..Subject::EMPTY
        }
    }

    /// Answers a text that the core has refused and put on record, in the shape that no client takes for a missing server or a lost session.
    fn refuse_message(&mut self, request: &Request<'_>, place: &Place, refusal: Refusal) -> Judged {
        // In the older transport a client takes any status of failure for the end of everything, and its answer comes on the stream.
        let is_told = match (&place.older, refusal.why) {
            (Some(target), _) if refusal.is_awaited => Streams::all().answer(target, refusal.answer.clone()),
            (Some(_), Why::Denied) => true,
            _ => false,
        };
        if is_told {
            return self.rpc_answer(request, 202, b"");
        }
        let status = match refusal.why {
            Why::Malformed => 400,
            Why::Denied | Why::Unrecorded if refusal.is_awaited => 200,
            Why::Denied => 403,
            Why::Unrecorded => 503,
        };
        self.rpc_answer(request, status, &refusal.answer)
    }

    /// An answer of ours. The body has been held, so that the connection stays in step.
    fn rpc_answer(&mut self, request: &Request<'_>, status: u16, answer: &[u8]) -> Judged {
        if let Some(Body::Text { wire, .. }) = request.known.held.as_ref().map(|held| &held.found) {
            self.client.consume(*wire);
        }
        let close = !framing::persistent(request.head.version, &request.head.headers);
        wire::answer(status, "application/json", answer, close, &mut self.out);
        Judged::Refused { body: false, close }
    }
}

impl Place {
    /// The version of a text that is taken for one of `version`: on the older transport the handshake's, where nothing names another.
    fn version(&self, fields: &header::Fields<'_>, version: rpc::Version) -> rpc::Version {
        match &self.older {
            Some(target) if fields.version.is_none() => Streams::all().version(target),
            _ => version,
        }
    }
}

/// Lets policy see every address; those that may be dialled are kept. The last one's word where there is none.
fn vet_each(
    policy: &Policy,
    permit: &Permit,
    (candidates, via, dials): (&[SocketAddr], Via, bool),
    (own, kept): (&[SocketAddr], &RefCell<Vec<Vetted>>),
) -> Result<(), &'static str> {
    let mut refused = "name_not_found";
    let mut kept = kept.borrow_mut();
    kept.clear();
    for candidate in candidates {
        // A connection at hand was asked about when it was made.
        let via = if dials { here::whence(via, *candidate) } else { via };
        match permit.vet(policy, *candidate, via, own) {
            Ok(one) => kept.push(one),
            Err(refusal) => refused = refusal.code(),
        }
    }
    if kept.is_empty() { Err(refused) } else { Ok(()) }
}

/// Whether an answer may come as an event stream.
fn takes_events(request: &Request<'_>) -> bool {
    let accept = request.head.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("accept"));
    let mut kinds = accept.flat_map(|(_, value)| value.split(|octet| *octet == b','));
    request.head.version == Version::Http11 && kinds.any(|kind| media::is(kind.trim_ascii(), "text/event-stream"))
}

type Weighed = (Permit, Session, Vec<Credit>);

struct Admitted {
    permit: Permit,
    session: Session,
    told: Vec<Credit>,
    place: Place,
}
