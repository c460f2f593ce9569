//! TLS that policy does not want opened: decided by where it goes, recorded as a tunnel, relayed byte by byte.
//!
//! What is said inside stays unknown, so three names have to be one: the server name of the hello, the authority of the CONNECT if there was one,
//! and the name that is resolved and dialled. Nothing is dialled before the decision is on record.

use std::cell::Cell;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustls::AlertDescription;

use crate::audit::{self, Credit, DecisionFacts, Inspected, Nanos, OutcomeFacts, Protocol, Topic};
use crate::io::admit::fatal;
use crate::io::clock;
use crate::io::door::Arrival;
use crate::io::engine::{self, Buf, Either, Stream};
use crate::io::here;
use crate::io::judge::nanos_since;
use crate::io::metrics::{self, Ending};
use crate::io::refuse::refuse;
use crate::io::relay::{self, Broken, Direction, Reframe};
use crate::io::transport::Transport;
use crate::io::upstream::{self, DialError};
use crate::io::worker::Worker;
use crate::policy::{self, Decision, Host, Permit, Policy, Scheme, Subject, UpstreamAddress, Verdict, Vetted, Via};

/// What a tunnel came to before a byte went up.
struct Refused {
    alert: AlertDescription,
}

/// A tunnel that is on record as admitted.
struct Admitted {
    permit: Permit,
    credit: Credit,
    addresses: Vec<Vetted>,
}

/// Whether this client is to be passed through, as far as the policy's patterns say.
pub(crate) fn is_wanted(worker: &Worker, sni: &str) -> bool {
    worker.policy().passes_through(Host::Name(sni))
}

/// Takes a connection whose hello, in `received`, has the server name of `arrival`, to its end.
pub(crate) async fn pass(stream: Stream, received: Vec<u8>, arrival: &Arrival, worker: &Rc<Worker>) {
    let started = Instant::now();
    let admitted = match admit(arrival.sni.as_deref().unwrap_or_default(), arrival, worker, started).await {
        Ok(admitted) => admitted,
        Err(Refused { alert }) => {
            let _ = engine::timeout(worker.bounds.handshake, stream.send_vec(fatal(alert))).await;
            return;
        }
    };
    let Admitted { permit, credit, addresses } = admitted;
    let traffic = Traffic::default();
    // With `durability: strict` nothing goes up before the disk has the decision.
    let dialled = match credit.durable().await {
        Ok(()) => dial(permit, &addresses, worker).await,
        Err(_) => Err(DialError { status: 503, code: "audit_unavailable", detail: String::new() }),
    };
    let (outcome_code, status, reached) = match dialled {
        Ok((upstream, address)) => {
            let client = Transport::plain(stream, Buf::default());
            let upstream = Transport::plain(upstream, Buf::default());
            (traffic.relay(&client, &upstream, received, worker.bounds.body).await, None, Some(address))
        }
        Err(error) => {
            let _ =
                engine::timeout(worker.bounds.handshake, stream.send_vec(fatal(AlertDescription::InternalError))).await;
            (Some(error.code), Some(error.status), None)
        }
    };
    let outcome = OutcomeFacts {
        upstream: reached,
        bytes_up: traffic.up.get(),
        bytes_down: traffic.down.get(),
        total_ns: nanos_since(started),
        code: outcome_code,
        ..OutcomeFacts::default()
    };
    credit.outcome(Nanos(clock::wall()), &outcome);
    let ending = match (status, outcome_code) {
        (Some(status), _) => Ending::failed(status),
        (None, None) => Ending::Delivered,
        (None, Some(_)) => Ending::Cut,
    };
    worker.counters.concluded(ending, &outcome);
}

/// Decides, vets and records; on refusal the alert for the client, the record being made.
async fn admit(sni: &str, arrival: &Arrival, worker: &Worker, started: Instant) -> Result<Admitted, Refused> {
    if arrival.tunnel.as_ref().is_some_and(|(host, _)| host.name() != Some(sni)) {
        refuse(worker, arrival, Protocol::Tls, "authority_mismatch");
        return Err(Refused { alert: AlertDescription::UnrecognisedName });
    }
    // With `on_full: block` it waits here until it can be recorded; else nothing does.
    worker.producer.room().await;
    let policy = worker.policy();
    let subject = Subject {
        agent: &arrival.agent,
        scheme: Scheme::Https,
        host: Host::Name(sni),
        port: arrival.port,
        tunnel: true,
        time_ns: clock::wall(),
        ..Subject::EMPTY
    };
    let asked = Asked { worker, arrival, policy: &policy, sni, started };
    let first = policy.decide(&subject);
    if first.verdict == Verdict::Deny && first.enforced {
        return Err(asked.deny(&first, None));
    }
    let upstream = policy.upstream(&subject.host, subject.port);
    if upstream.is_some_and(|upstream| upstream.trust.is_some() || upstream.client_cert.is_some()) {
        // Such an upstream is ours to shake hands with, and this connection is not ours to open.
        return Err(asked.deny(&first, Some("passthrough_upstream")));
    }
    let (name, port) = match upstream.map(|upstream| &upstream.address) {
        Some(UpstreamAddress::Socket(address)) => return asked.vet(&subject, first, &[*address], Via::Upstream),
        Some(UpstreamAddress::Name(name, port)) => (&**name, *port),
        None => (sni, subject.port),
    };
    let via = if upstream.is_some() { Via::Upstream } else { Via::Resolved };
    match worker.resolve(&arrival.agent, name).await {
        Ok(found) => {
            let addresses: Vec<_> = found.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
            asked.vet(&subject, first, &addresses, via)
        }
        Err(code) => Err(asked.deny(&first, Some(code))),
    }
}

/// What is asked for, for its record.
struct Asked<'a> {
    worker: &'a Worker,
    arrival: &'a Arrival,
    policy: &'a Policy,
    sni: &'a str,
    started: Instant,
}

impl Asked<'_> {
    /// Lets policy see every address: the first decides where rules speak of addresses, else all that may be dialled are kept.
    fn vet(
        &self,
        subject: &Subject<'_>,
        first: Decision<'_>,
        candidates: &[SocketAddr],
        via: Via,
    ) -> Result<Admitted, Refused> {
        let mut refused = None;
        let mut admitted: Option<(Decision<'_>, Permit)> = None;
        let mut addresses = Vec::new();
        for candidate in candidates {
            let subject = Subject { address: Some(candidate.ip()), ..*subject };
            let decision = if self.policy.needs_address() { self.policy.decide(&subject) } else { first };
            let Ok(permit) = decision.admit() else {
                refused.get_or_insert((decision, None));
                continue;
            };
            match permit.vet(self.policy, *candidate, here::whence(via, *candidate), &self.worker.own) {
                Ok(vetted) => {
                    addresses.push(vetted);
                    admitted.get_or_insert((decision, permit));
                    if self.policy.needs_address() {
                        break;
                    }
                }
                Err(refusal) => {
                    refused.get_or_insert((decision, Some(refusal.code())));
                }
            }
        }
        let Some((decision, permit)) = admitted else {
            let (decision, code) = refused.unwrap_or((first, Some("name_not_found")));
            return Err(self.deny(&decision, code));
        };
        if !permit.take(self.policy, subject) {
            // Another worker took the last token meanwhile.
            return Err(self.deny(&decision, Some("rate")));
        }
        let upstream = addresses.first().map(|vetted| vetted.address());
        let facts = DecisionFacts { upstream, ..self.facts(&decision) };
        match self.worker.producer.allow(Nanos(clock::wall()), &facts) {
            Ok(credit) => {
                self.worker.counters.decided(metrics::Verdict::of(&decision), facts.decide_ns);
                Ok(Admitted { permit, credit, addresses })
            }
            Err(refused) => {
                self.worker.counters.unrecorded(refused);
                Err(Refused { alert: AlertDescription::InternalError })
            }
        }
    }

    fn deny(&self, decision: &Decision<'_>, code: Option<&'static str>) -> Refused {
        let rule = decision.rule.filter(|_| code.is_none());
        let facts = DecisionFacts {
            verdict: audit::Verdict::Deny,
            enforced: true,
            rule: rule.map(|rule| rule.name),
            reason: rule.and_then(|rule| rule.reason),
            code: code.or(decision.code.map(policy::Code::as_str)),
            ..self.facts(decision)
        };
        let _ = self.worker.record_denial(&facts);
        self.worker.counters.decided(metrics::Verdict::Deny, facts.decide_ns);
        Refused { alert: AlertDescription::AccessDenied }
    }

    fn facts<'f>(&'f self, decision: &'f Decision<'_>) -> DecisionFacts<'f> {
        DecisionFacts {
            topic: Topic::Tunnel,
            protocol: Protocol::Tls,
            scheme: Some(audit::Scheme::Https),
            sni: Some(self.sni),
            host: Some(self.sni),
            port: Some(self.arrival.port),
            verdict: match decision.verdict {
                Verdict::Allow => audit::Verdict::Allow,
                Verdict::Deny => audit::Verdict::Deny,
            },
            enforced: decision.enforced,
            rule: decision.rule.map(|rule| rule.name),
            reason: decision.rule.and_then(|rule| rule.reason),
            code: decision.code.map(policy::Code::as_str),
            policy: Some(*self.policy.digest()),
            inspected: Inspected::ADDRESS | Inspected::SNI,
            decide_ns: nanos_since(self.started),
            ..self.worker.facts(self.arrival)
        }
    }
}

/// Connects to the first address that answers. Taking the permit here is what ties dialling to a decision.
async fn dial(_permit: Permit, addresses: &[Vetted], worker: &Worker) -> Result<(Stream, SocketAddr), DialError> {
    let mut last = DialError { code: "name_not_found", status: 502, detail: String::new() };
    for vetted in addresses {
        match upstream::connect(*vetted, &worker.bounds).await {
            Ok(stream) => {
                worker.counters.dialled();
                return Ok((stream, vetted.address()));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Bytes that went through, either way.
#[derive(Default)]
struct Traffic {
    up: Cell<u64>,
    down: Cell<u64>,
}

impl Traffic {
    /// Relays both ways until both are done; the word for an end that is not one in good order.
    async fn relay(
        &self,
        client: &Transport,
        upstream: &Transport,
        first: Vec<u8>,
        wait: Duration,
    ) -> Option<&'static str> {
        let mut first = first;
        self.up.set(first.len() as u64);
        let up = Direction { from: client, to: upstream, count: &self.up, watched: false, wait, pace: None };
        let down = Direction { from: upstream, to: client, count: &self.down, watched: false, wait, pace: None };
        let mut nothing = Vec::new();
        let mut up = pin!(self.one_way(&up, &mut first));
        let mut down = pin!(self.one_way(&down, &mut nothing));
        let broken = match engine::race(up.as_mut(), down.as_mut()).await {
            Either::Left(Ok(())) => down.await,
            Either::Right(Ok(())) => up.await,
            Either::Left(broken) | Either::Right(broken) => broken,
        };
        match broken {
            Ok(()) => None,
            Err(Broken::Sender("body_timeout")) => Some("tunnel_idle"),
            Err(_) => Some("tunnel_broken"),
        }
    }

    /// One way, to its end, which the other side is told. Silence counts only where the other way is silent too.
    async fn one_way(&self, way: &Direction<'_>, first: &mut Vec<u8>) -> Result<(), Broken> {
        loop {
            let before = (self.up.get(), self.down.get());
            match relay::until_close(way, Reframe::Bare, first).await {
                Err(Broken::Sender("body_timeout")) if before != (self.up.get(), self.down.get()) => {}
                Ok(()) => {
                    way.to.close().await;
                    return Ok(());
                }
                broken => return broken,
            }
        }
    }
}
