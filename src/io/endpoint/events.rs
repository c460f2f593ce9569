//! What goes on a stream besides the server's events, and how a text of the server's is handed to the core.
//!
//! A stream of the older HTTP+SSE transport tells its client first where to post: the client is told what that was taken for, and refusals of what
//! it posts come on the stream between the server's events.

use std::pin::pin;
use std::time::Instant;

use crate::audit::{DecisionFacts, Inspected, OutcomeFacts, Protocol};
use crate::io::clock;
use crate::io::engine::{self, Either};
use crate::io::exchange::End;
use crate::io::mcp::{Carrier, Session};
use crate::parse::json::{Layout, Pointers};
use crate::parse::rpc;
use crate::parse::sse;
use crate::policy::{Host, Look, Subject};

use super::Place;
use super::answers::Owner;
use super::pieces::{Broken, Pieces};
use super::response::Reply;
use super::streams::{Opened, Streams, Target};

impl Reply<'_> {
    /// Waits for more of the stream; meanwhile refusals go out on it. True at its end.
    pub(super) async fn wait(&self, pieces: &Pieces, older: Option<&mut Opened>, chunks: bool) -> Result<bool, End> {
        let told = |more| match more {
            Ok(closed) => Ok(closed),
            Err(Broken::Client) => Err(End::ClientGone),
            Err(Broken::Server(code)) => Err(End::Cut { code }),
        };
        let Some(older) = older else { return told(pieces.more(self.exchange).await) };
        let mut more = pin!(pieces.more(self.exchange));
        loop {
            match engine::race(more.as_mut(), older.refusals.recv()).await {
                Either::Left(more) => return told(more),
                Either::Right(Some(text)) => {
                    let mut ready = Vec::new();
                    message(&text, &mut ready);
                    self.send_events(&ready, chunks).await?;
                }
                // Another stream of the same agent's has taken its place.
                Either::Right(None) => return Err(End::Cut { code: "stream_replaced" }),
            }
        }
    }

    /// The first event of a stream of the older transport.
    pub(super) fn open(
        &self,
        session: &mut Session,
        (place, status): (&mut Place, u16),
        event: &sse::Event<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Opened, End> {
        let named = event.data.and_then(|data| Target::named(place, data));
        let agent = &self.connection.arrival.agent;
        let opened = named.and_then(|named| Streams::all().begin(named, &place.server, agent));
        let Some(opened) = opened else {
            let reason =
                "the server tells its client to post where this stream does not come from, or another agent does";
            self.carry(place, status, |carrier| session.garbled(carrier, "endpoint_foreign", reason));
            return Err(End::Cut { code: "endpoint_foreign" });
        };
        sse::Event { name: Some("endpoint"), data: Some(&opened.target.wire()), ..*event }.write(out);
        session.speaks(rpc::Version::V2024_11_05);
        place.older = Some(opened.target.clone());
        Ok(opened)
    }

    /// The stream cannot be read any further: whoever waits for an answer on it gets an error.
    pub(super) fn give_up(
        &self,
        session: &mut Session,
        (place, status): (&Place, u16),
        code: &'static str,
        out: &mut Vec<u8>,
    ) {
        Owner { place, agent: &self.connection.arrival.agent }.give_up(session);
        let errors = self.carry(place, status, |carrier| session.unreadable_from_here(carrier, code));
        for text in &errors {
            message(text, out);
        }
    }

    /// Lets something be decided and recorded under the policy of this moment.
    pub(super) fn carry<T>(&self, place: &Place, status: u16, then: impl FnOnce(&Carrier<'_>) -> T) -> T {
        let worker = &self.connection.worker;
        let arrival = &self.connection.arrival;
        let (policy, arguments) = (worker.policy(), worker.argument_pointers());
        let host = match place.host.parse() {
            Ok(address) => Host::Address(address),
            Err(_) => Host::Name(&place.host),
        };
        let paths = [&*place.path];
        then(&Carrier {
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
        })
    }
}

/// A text of ours as an event.
fn message(text: &[u8], out: &mut Vec<u8>) {
    if let Ok(data) = str::from_utf8(text) {
        sse::Event { name: Some("message"), data: Some(data), id: None, retry: None }.write(out);
    }
}

/// The ids of the answers in a text of the server's.
pub(super) fn responses(text: &[u8]) -> Vec<rpc::Id<'static>> {
    let nothing = Pointers::new([]);
    let Ok(body) = rpc::read(text, Layout::Free, &nothing) else { return Vec::new() };
    let id = |message: &rpc::Message<'_>| match &message.shape {
        rpc::Shape::Response(id, _) => id.clone().map(rpc::Id::into_owned),
        _ => None,
    };
    body.messages.iter().filter_map(id).collect()
}
