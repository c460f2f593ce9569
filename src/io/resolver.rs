//! The DNS stub: answers every query by itself and asks nobody.
//!
//! A name that some rule could allow, or whose denial would not be enforced, gets a synthetic address; every other name does not exist, which is
//! recorded. Nothing a program puts into a name leaves the machine this way.

use std::net::SocketAddr;
use std::rc::Rc;

use crate::audit::{DecisionFacts, Nanos, Protocol, Topic, Verdict};
use crate::io::clock;
use crate::io::engine::{self, Buf, Datagram, Listener, Stream};
use crate::io::worker::Worker;
use crate::limits::{DNS_CONNECTIONS_MAX, DNS_IDLE_WAIT, DNS_MESSAGE_BYTES_MAX, SYNTHETIC_TTL_SECONDS};
use crate::parse::dns;
use crate::policy::Host;

/// Serves UDP queries until the worker stops.
pub(crate) async fn serve_datagrams(socket: Datagram, worker: Rc<Worker>) {
    loop {
        match socket.recv_from().await {
            Ok((query, from)) => {
                if let Some(reply) = answer(&query, from, &worker)
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
pub(crate) async fn serve_streams(listener: Listener, worker: Rc<Worker>) {
    let open = Rc::new(std::cell::Cell::new(0_usize));
    loop {
        let Ok(stream) = listener.accept().await else {
            engine::sleep(crate::limits::ACCEPT_BACKOFF).await;
            continue;
        };
        if open.get() >= DNS_CONNECTIONS_MAX {
            continue;
        }
        open.set(open.get() + 1);
        let (worker, open) = (Rc::clone(&worker), Rc::clone(&open));
        engine::spawn(async move {
            // Whatever ends the connection ends it: there is nothing to say to a client that hung up.
            let _ = engine::timeout(DNS_IDLE_WAIT, serve_stream(stream, &worker)).await;
            open.set(open.get() - 1);
        });
    }
}

async fn serve_stream(stream: Stream, worker: &Worker) -> std::io::Result<()> {
    let from = stream.peer_addr()?;
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
            let Some(reply) = answer(&held[2..2 + length], from, worker) else { return Ok(()) };
            let Ok(reply_length) = u16::try_from(reply.len()) else { return Ok(()) };
            let mut framed = Vec::with_capacity(2 + reply.len());
            framed.extend_from_slice(&reply_length.to_be_bytes());
            framed.extend_from_slice(&reply);
            stream.send_vec(framed).await.0?;
            held.drain(..2 + length);
        }
    }
}

/// The answer to one message; `None` for what is no query at all.
fn answer(message: &[u8], from: SocketAddr, worker: &Worker) -> Option<Vec<u8>> {
    let query = match dns::query(message) {
        Ok(query) => query,
        Err(error) => return error.response(),
    };
    if !worker.policy().may_admit(Host::Name(&query.name)) {
        record_denial(&query, from, worker);
        return Some(dns::answer_nxdomain(&query));
    }
    match query.kind {
        dns::Kind::A => {
            let address = worker.synthetic.borrow_mut().address(&query.name);
            Some(dns::answer_address(&query, address, SYNTHETIC_TTL_SECONDS))
        }
        _ => Some(dns::answer_empty(&query)),
    }
}

fn record_denial(query: &dns::Query, from: SocketAddr, worker: &Worker) {
    let facts = DecisionFacts {
        topic: Topic::Dns,
        agent: &worker.agent,
        mode: worker.mode,
        protocol: Protocol::Dns,
        source: Some(from),
        host: Some(&query.name),
        verdict: Verdict::Deny,
        code: Some("name_not_admitted"),
        policy: Some(*worker.policy().digest()),
        ..DecisionFacts::default()
    };
    // A full ring counts the loss by itself; the name is refused either way.
    let _ = worker.producer.deny(Nanos(clock::wall()), &facts);
}
