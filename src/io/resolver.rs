//! The DNS stub: answers every query by itself and asks nobody.
//!
//! A name that some rule could allow, or whose denial would not be enforced, gets a synthetic address, or the address of the gateway that was
//! asked; every other name does not exist, which is recorded. Nothing a program puts into a name leaves the machine this way.

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::rc::Rc;
use std::sync::PoisonError;
use std::time::Instant;

use ipnet::IpNet;

use crate::audit::{DecisionFacts, DecisionId, Mode, Protocol, Topic, Verdict};
use crate::io::census::Shares;
use crate::io::engine::{self, Buf, Datagram, Listener, Stream};
use crate::io::quota::Granted;
use crate::io::worker::Worker;
use crate::limits::{
    DNS_CONNECTIONS_MAX, DNS_CONNECTIONS_PER_AGENT_MAX, DNS_IDLE_WAIT, DNS_MESSAGE_BYTES_MAX, SYNTHETIC_TTL_SECONDS,
};
use crate::parse::dns;
use crate::policy::Host;

/// The stub's sockets at one address, and what it is to answer there; it crosses into a worker's thread.
pub(crate) struct Stub {
    pub(crate) datagrams: UdpSocket,
    pub(crate) listener: TcpListener,
    pub(crate) service: Service,
}

/// What the stub answers, and whom.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    /// The mode that records name.
    pub(crate) mode: Mode,
    pub(crate) answers: Answers,
    /// Who may ask, besides the named agents; `None` where nobody else can reach the stub.
    pub(crate) from: Option<Vec<IpNet>>,
    /// Whose questions all of these are, where the stub and not the source tells.
    pub(crate) agent: Option<String>,
}

/// What stands for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answers {
    /// An address of its own, which no network routes: whatever goes there comes to us.
    Synthetic,
    /// The gateway's address that was asked.
    Gateway(IpAddr),
}

/// Serves UDP queries until the worker stops.
pub(crate) async fn serve_datagrams(socket: Datagram, service: Rc<Service>, worker: Rc<Worker>) {
    loop {
        match socket.recv_from().await {
            Ok((query, from)) => {
                if let Some(reply) = answer(&query, from, &service, &worker)
                    && let Err(error) = socket.send_to(&reply, from).await
                {
                    tracing::debug!(%error, "a DNS answer could not be sent");
                }
            }
            Err(error) => {
                tracing::debug!(%error, "a DNS query could not be received");
                engine::sleep(crate::limits::ACCEPT_BACKOFF).await;
            }
        }
    }
}

/// Serves TCP queries (RFC 7766) until the worker stops.
pub(crate) async fn serve_streams(listener: Listener, service: Rc<Service>, worker: Rc<Worker>) {
    let open = Rc::new(Shares::default());
    loop {
        let Ok(stream) = listener.accept().await else {
            engine::sleep(crate::limits::ACCEPT_BACKOFF).await;
            continue;
        };
        let Ok(from) = stream.peer_addr() else { continue };
        if open.total() >= DNS_CONNECTIONS_MAX || !worker.agents.admit(from.ip(), service.from.as_deref()) {
            continue;
        }
        // One that holds its share is turned away; it can ask over UDP, and on the connections that it has.
        let Ok(share) = open.take(&agent(&service, from, &worker), DNS_CONNECTIONS_PER_AGENT_MAX) else { continue };
        let (service, worker) = (Rc::clone(&service), Rc::clone(&worker));
        engine::spawn(async move {
            let _share = share;
            // Whatever ends the connection ends it: there is nothing to say to a client that hung up.
            let _ = engine::timeout(DNS_IDLE_WAIT, serve_stream(stream, from, &service, &worker)).await;
        });
    }
}

async fn serve_stream(stream: Stream, from: SocketAddr, service: &Service, worker: &Worker) -> std::io::Result<()> {
    let mut held: Vec<u8> = Vec::new();
    loop {
        let buf: Buf = stream.recv().await?;
        if buf.is_empty() {
            return Ok(());
        }
        held.extend_from_slice(&buf);
        drop(buf);
        while let Some(length) = held.first_chunk::<2>().map(|prefix| usize::from(u16::from_be_bytes(*prefix))) {
            if length > DNS_MESSAGE_BYTES_MAX {
                return Ok(());
            }
            if held.len() < 2 + length {
                break;
            }
            let Some(reply) = answer(&held[2..2 + length], from, service, worker) else { return Ok(()) };
            let Ok(reply_length) = u16::try_from(reply.len()) else { return Ok(()) };
            let mut framed = Vec::with_capacity(2 + reply.len());
            framed.extend_from_slice(&reply_length.to_be_bytes());
            framed.extend_from_slice(&reply);
            stream.send_vec(framed).await.0?;
            held.drain(..2 + length);
        }
    }
}

/// The answer to one message; `None` for what is no query at all, and for who may not ask: an answer would tell that somebody is here.
fn answer(message: &[u8], from: SocketAddr, service: &Service, worker: &Worker) -> Option<Vec<u8>> {
    if !worker.agents.admit(from.ip(), service.from.as_deref()) {
        return None;
    }
    let query = match dns::query(message) {
        Ok(query) => query,
        Err(error) => return error.response(),
    };
    let agent = agent(service, from, worker);
    let deny = |code| record_denial(&query, (&agent, from), code, service, worker);
    let now = Instant::now();
    // One record for a run of refusals; the counter has them all.
    match worker.quotas.borrow_mut().query(&agent, now) {
        Granted::Yes => {}
        Granted::No { first } => {
            if first {
                deny("dns_rate");
            }
            worker.counters.dns_refused();
            return Some(dns::answer_refused(&query));
        }
    }
    if !worker.policy().may_admit(Host::Name(&query.name)) {
        deny("name_not_admitted");
        worker.counters.dns_refused();
        return Some(dns::answer_nxdomain(&query));
    }
    match worker.quotas.borrow_mut().name(&agent, &query.name, now) {
        Granted::Yes => {}
        Granted::No { first } => {
            if first {
                deny("name_entropy");
            }
            worker.counters.dns_refused();
            return Some(dns::answer_refused(&query));
        }
    }
    worker.counters.dns_answered();
    let address = match (service.answers, query.kind) {
        (Answers::Synthetic, dns::Kind::A) => {
            let mut names = worker.synthetic.lock().unwrap_or_else(PoisonError::into_inner);
            IpAddr::V4(names.address(&query.name))
        }
        (Answers::Gateway(own @ IpAddr::V4(_)), dns::Kind::A)
        | (Answers::Gateway(own @ IpAddr::V6(_)), dns::Kind::Aaaa) => own,
        _ => return Some(dns::answer_empty(&query)),
    };
    Some(dns::answer_address(&query, address, SYNTHETIC_TTL_SECONDS))
}

/// Whose question it is.
fn agent(service: &Service, from: SocketAddr, worker: &Worker) -> Rc<str> {
    match &service.agent {
        Some(agent) => agent.as_str().into(),
        None => worker.agents.name(from.ip()),
    }
}

fn record_denial(
    query: &dns::Query,
    (agent, from): (&str, SocketAddr),
    code: &'static str,
    service: &Service,
    worker: &Worker,
) {
    let facts = DecisionFacts {
        topic: Topic::Dns,
        agent,
        mode: service.mode,
        protocol: Protocol::Dns,
        source: Some(from),
        host: Some(&query.name),
        verdict: Verdict::Deny,
        code: Some(code),
        policy: Some(*worker.policy().digest()),
        ..DecisionFacts::default()
    };
    let _: Option<DecisionId> = worker.record_denial(&facts);
}
