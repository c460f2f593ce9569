//! Which way an admitted request goes, and whether policy lets it go there: every address is vetted before anything is dialled.
//!
//! Without an await, between the decision and its record: what is vetted here is what is recorded and dialled.

use std::net::SocketAddr;

use crate::audit::{DecisionFacts, Inspected, Mode, Nanos};
use crate::io::census::Stage;
use crate::io::flow::Connection;
use crate::io::here;
use crate::io::judge::{Judged, Request};
use crate::io::metrics;
use crate::io::upstream::{Dial, Route, Upstream};
use crate::io::via;
use crate::io::wire::{self, Codings};
use crate::parse::host::Host;
use crate::policy::{Answer, Decision, Permit, Policy, Subject, Upstream as Override, UpstreamAddress, Via};

/// How the origin is reached.
pub(crate) enum Way {
    /// By the connection that the client's last exchange used.
    Sticky,
    /// By a connection from the pool.
    Pooled(Route, Upstream),
    /// By a new connection.
    Dial(Dial),
}

/// Addresses that may be dialled, if policy lets them.
pub(crate) enum Candidates {
    One(SocketAddr),
    Many(Vec<SocketAddr>),
}

/// Why there is no candidate.
pub(crate) enum Missing {
    /// This name has to be resolved first.
    Name(Box<str>),
    /// There is none; the stable word.
    Address(&'static str),
}

impl Candidates {
    pub(crate) fn as_slice(&self) -> &[SocketAddr] {
        match self {
            Candidates::One(address) => std::slice::from_ref(address),
            Candidates::Many(addresses) => addresses,
        }
    }
}

impl Request<'_> {
    /// Where the request could go: to where the connection at hand leads, else to what the policy's `upstreams` or the name says.
    pub(crate) fn candidates(
        &self,
        upstream: Option<&Override>,
        held: Option<SocketAddr>,
    ) -> Result<(Candidates, Via), Missing> {
        let via = if upstream.is_some() { Via::Upstream } else { Via::Resolved };
        let port = self.target.port;
        let (name, port) = match (held, upstream.map(|upstream| &upstream.address), &self.target.host) {
            (Some(address), ..) => return Ok((Candidates::One(address), via)),
            (None, Some(UpstreamAddress::Socket(address)), _) => return Ok((Candidates::One(*address), via)),
            (None, None, Host::V4(ip)) => return Ok((Candidates::One(SocketAddr::new((*ip).into(), port)), via)),
            (None, None, Host::V6(ip)) => return Ok((Candidates::One(SocketAddr::new((*ip).into(), port)), via)),
            (None, Some(UpstreamAddress::Name(name, port)), _) => (&**name, *port),
            (None, None, Host::Name(name)) => (&**name, port),
        };
        match &self.known.resolved {
            None => Err(Missing::Name(name.into())),
            Some(Err(code)) => Err(Missing::Address(code)),
            Some(Ok(found)) => Ok((Candidates::Many(found.iter().map(|ip| SocketAddr::new(*ip, port)).collect()), via)),
        }
    }
}

impl Connection {
    /// The decision admits the request as far as it goes without an address: find one, and let it be vetted.
    pub(crate) fn find_way(
        &mut self,
        request: &Request<'_>,
        policy: &Policy,
        (subject, decision): (&Subject<'_>, Decision<'_>),
    ) -> Judged {
        let upstream = policy.upstream(&subject.host, request.target.port);
        let (way, held) = self.nearest(request, upstream);
        match request.candidates(upstream, held) {
            Ok((candidates, via)) => self.vet(request, policy, (subject, decision), (candidates.as_slice(), via), way),
            Err(Missing::Name(name)) => Judged::Resolve(name),
            Err(Missing::Address(code)) => self.unresolved(request, policy, &decision, code),
        }
    }

    /// The connection at hand, and where it leads; a new one where there is none.
    pub(crate) fn nearest(&mut self, request: &Request<'_>, upstream: Option<&Override>) -> (Way, Option<SocketAddr>) {
        let (scheme, port) = (self.arrival.scheme, request.target.port);
        let generation = self.worker.generation();
        match &self.upstream {
            Some((route, upstream)) if route.is(scheme, request.host, port) && upstream.is_usable(generation) => {
                return (Way::Sticky, Some(upstream.vetted.address()));
            }
            _ => {}
        }
        if let Some((route, upstream)) = self.upstream.take() {
            self.worker.pool.borrow_mut().put(route, upstream);
        }
        let route = || Route { scheme, host: request.host.into(), port };
        if let Some(upstream) = self.worker.pool.borrow_mut().take(scheme, request.host, port) {
            let address = upstream.vetted.address();
            return (Way::Pooled(route(), upstream), Some(address));
        }
        let manner = self.worker.identities().manner(scheme, upstream, generation);
        (Way::Dial(Dial { route: route(), addresses: Vec::new(), manner }), None)
    }

    /// Lets policy see every candidate address. With rules about addresses the first that is admitted decides; without, all that may be
    /// dialled are kept.
    fn vet(
        &mut self,
        request: &Request<'_>,
        policy: &Policy,
        (subject, first): (&Subject<'_>, Decision<'_>),
        (candidates, via): (&[SocketAddr], Via),
        mut way: Way,
    ) -> Judged {
        let mut refused = None;
        let mut admitted: Option<(Decision<'_>, Permit)> = None;
        for candidate in candidates {
            // Only rules about addresses can tell one candidate from another.
            let answer = if policy.needs_address() {
                policy.ask(&Subject { address: Some(candidate.ip()), ..*subject })
            } else {
                Answer::Decided(first)
            };
            let Answer::Decided(decision) = answer else { return self.hold_on(request, way) };
            let permit = match decision.admit() {
                Ok(permit) => permit,
                Err(_) => {
                    refused.get_or_insert((decision, None));
                    continue;
                }
            };
            // A connection at hand was asked about when it was made.
            let via = if let Way::Dial(_) = way { here::whence(via, *candidate) } else { via };
            match permit.vet(policy, *candidate, via, &self.worker.own) {
                Ok(vetted) => {
                    if let Way::Dial(dial) = &mut way {
                        dial.addresses.push(vetted);
                    }
                    admitted.get_or_insert((decision, permit));
                    if policy.needs_address() {
                        break;
                    }
                }
                Err(refusal) => {
                    refused.get_or_insert((decision, Some(refusal.code())));
                }
            }
        }
        let Some((decision, permit)) = admitted else {
            return match refused {
                Some((decision, code)) => self.deny(request, policy, &decision, code),
                None => self.unresolved(request, policy, &first, "name_not_found"),
            };
        };
        if !permit.take(policy, subject) {
            // Another worker took the last token in between, so that the rule does not match any more.
            if let Way::Dial(dial) = &mut way {
                dial.addresses.clear();
            }
            let Answer::Decided(again) = policy.ask(subject) else { return self.hold_on(request, way) };
            return self.vet(request, policy, (subject, again), (candidates, via), way);
        }
        self.record_admission(request, policy, (decision, permit, Nanos(subject.time_ns)), way)
    }

    /// Puts the decision on record, with the time that it was made at, and writes the head for the origin.
    fn record_admission(
        &mut self,
        request: &Request<'_>,
        policy: &Policy,
        (decision, permit, time): (Decision<'_>, Permit, Nanos),
        way: Way,
    ) -> Judged {
        let address = match &way {
            Way::Sticky => self.upstream.as_ref().map(|(_, upstream)| upstream.vetted.address()),
            Way::Pooled(_, upstream) => Some(upstream.vetted.address()),
            Way::Dial(dial) => dial.addresses.first().map(|vetted| vetted.address()),
        };
        let facts = self.request_facts(request, policy, &decision);
        let facts = DecisionFacts { upstream: address, inspected: facts.inspected | Inspected::ADDRESS, ..facts };
        match self.worker.producer.allow(time, &facts) {
            Ok(credit) => {
                self.entry.is(Stage::Decided);
                self.worker.counters.decided(metrics::Verdict::of(&decision), facts.decide_ns);
                wire::request(
                    request.head,
                    request.target,
                    request.framing,
                    (self.via(address), Codings::AsAsked),
                    &mut self.out,
                );
                Judged::Forward(self.admission(request, permit, credit, way))
            }
            Err(refused) => self.unrecorded(request, refused),
        }
    }

    /// Only now it shows that the decision needs the body: what was found of a way is kept for the next attempt.
    fn hold_on(&self, request: &Request<'_>, way: Way) -> Judged {
        if let Way::Pooled(route, upstream) = way {
            self.worker.pool.borrow_mut().put(route, upstream);
        }
        request.hold()
    }

    /// The pseudonym for `Via`, where a loop is possible: nothing outside the fence leads to a listener of `run`. (And nginx compresses
    /// nothing for who comes through a proxy.)
    pub(crate) fn via(&self, upstream: Option<SocketAddr>) -> Option<&'static str> {
        let fenced = self.arrival.mode == Mode::Run;
        upstream.filter(|address| !fenced && via::may_lead_back(*address)).map(|_| via::pseudonym())
    }
}
