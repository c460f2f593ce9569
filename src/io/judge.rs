//! From the bytes of a head to a recorded decision, without an await: parse, canonicalise, decide, vet, record.
//!
//! What was decided is what is recorded and what is written for the origin, because all three come from one parse on one stack frame.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Instant;

use crate::audit::{Credit, DecisionFacts, Inspected, Mode, Nanos, Protocol, Query, Verdict};
use crate::io::clock;
use crate::io::facts::{self, Fields, Parameters};
use crate::io::flow::Connection;
use crate::io::metrics;
use crate::io::upstream::{Dial, Route, Upstream};
use crate::io::via;
use crate::io::wire;
use crate::parse::framing::{self, Framing};
use crate::parse::head::{self, RequestHead, Version};
use crate::parse::host::Host;
use crate::parse::target::{self, Asked, Canonical};
use crate::policy::{self, Decision, Look, Permit, Policy, Scheme, Subject, UpstreamAddress, Via};

/// The addresses of a name, or the word for why there are none.
pub(crate) type Resolution = Result<Vec<IpAddr>, &'static str>;

/// What a head came to.
#[expect(clippy::large_enum_variant, reason = "moved once, on the stack; a box would cost every request an allocation")]
pub(crate) enum Judged {
    /// The addresses of this host are needed first; nothing was recorded.
    Resolve(Box<str>),
    /// The answer stands in `out`. `body`: request body bytes may still be arriving.
    Refused { body: bool, close: bool },
    /// A CONNECT to this authority is granted.
    Tunnel(Host<'static>, u16),
    /// Recorded as admitted, and the head for the origin stands in `out`.
    Forward(Forward),
}

/// A recorded admission: everything that forwarding needs, and the permit without which nothing is forwarded.
pub(crate) struct Forward {
    pub(crate) permit: Permit,
    pub(crate) credit: Credit,
    pub(crate) way: Way,
    pub(crate) started: Instant,
    pub(crate) framing: Framing,
    /// Method facts that decide how the response ends and whether it may be asked again.
    pub(crate) method: Method,
    pub(crate) version: Version,
    pub(crate) expects_continue: bool,
    /// Whether the client's connection may carry another request after this.
    pub(crate) persistent: bool,
}

/// How the origin is reached.
pub(crate) enum Way {
    /// By the connection that the client's last exchange used.
    Sticky,
    /// By a connection from the pool.
    Pooled(Route, Upstream),
    /// By a new connection.
    Dial(Dial),
}

/// What of a method outlives its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// Responses have no body.
    Head,
    /// May be sent again on a new connection when a kept one turns out to be dead (RFC 9110 §9.2.1).
    Safe,
    /// Everything else.
    Other,
}

/// One request as judged: the parse and the time it arrived.
pub(crate) struct Request<'r> {
    pub(crate) head: &'r RequestHead<'r>,
    pub(crate) target: &'r Canonical<'r>,
    /// The host as text; an address literal is written out.
    pub(crate) host: &'r str,
    pub(crate) framing: Framing,
    pub(crate) started: Instant,
}

impl Connection {
    /// Judges the head in `bytes`.
    pub(crate) fn judge(&mut self, bytes: &[u8], started: Instant, resolved: Option<&Resolution>) -> Judged {
        let head = match head::request(bytes) {
            Ok(head) => head,
            Err(error) => return self.malformed(error.status(), error.code(), &error, None),
        };
        if via::is_ours(&head.headers) {
            return self.malformed(508, "loop", &"the request came back to us", None);
        }
        let asked = Asked {
            scheme: match self.arrival.scheme {
                Scheme::Http => target::Scheme::Http,
                Scheme::Https => target::Scheme::Https,
            },
            head: &head,
            sni: self.arrival.sni.as_deref(),
            default_port: self.arrival.port,
            form: self.arrival.form,
            connect_authority: self.arrival.tunnel.as_ref().map(|(host, port)| (host, *port)),
        };
        let target = match target::canonical(&asked) {
            Ok(target) => target,
            Err(error) => return self.malformed(error.status(), error.code(), &error, None),
        };
        let framing = match framing::request(&head) {
            Ok(framing) => framing,
            Err(error) => return self.malformed(error.status(), error.code(), &error, Some((&head, &target))),
        };
        let literal;
        // A host that is an address literal costs one small allocation.
        let host: &str = match &target.host {
            Host::Name(name) => name,
            Host::V4(address) => {
                literal = address.to_string();
                &literal
            }
            Host::V6(address) => {
                literal = address.to_string();
                &literal
            }
        };
        let request = Request { head: &head, target: &target, host, framing, started };
        match head.method {
            "CONNECT" => self.decide_tunnel(&request),
            _ => self.decide(&request, resolved),
        }
    }

    /// A CONNECT is granted where some rule could allow a request to its host: what is forwarded is decided request by request, inside. Nothing
    /// is dialled for it, and only its refusal is on record.
    fn decide_tunnel(&mut self, request: &Request<'_>) -> Judged {
        if request.framing != Framing::None {
            return self.malformed(400, "malformed", &"CONNECT has no body", Some((request.head, request.target)));
        }
        let policy = self.worker.policy();
        let host = subject_host(&request.target.host);
        if policy.may_admit(host) {
            return Judged::Tunnel(request.target.host.clone().into_owned(), request.target.port);
        }
        let agent = Rc::clone(&self.arrival.agent);
        let decision = policy.decide(&Subject {
            agent: &agent,
            scheme: Scheme::Https,
            host,
            port: request.target.port,
            address: None,
            method: request.head.method,
            paths: &[""],
            time_ns: clock::wall(),
            ..Subject::EMPTY
        });
        // A rule that speaks of CONNECT itself may allow it, but nothing could follow.
        let code = (decision.verdict == policy::Verdict::Allow).then_some("not_admitted");
        self.deny(request, &policy, &decision, code)
    }

    fn decide(&mut self, request: &Request<'_>, resolved: Option<&Resolution>) -> Judged {
        let policy = self.worker.policy();
        let agent = Rc::clone(&self.arrival.agent);
        let readings: Vec<&str>;
        let paths: &[&str] = if request.target.readings.is_empty() {
            &[&request.target.path]
        } else {
            // Only a path that can be read in more than one way costs an allocation.
            readings = std::iter::once(&*request.target.path).chain(request.target.readings.iter()).collect();
            &readings
        };
        let parameters = Parameters(request.target.query.unwrap_or_default());
        let subject = Subject {
            agent: &agent,
            scheme: self.arrival.scheme,
            host: subject_host(&request.target.host),
            port: request.target.port,
            address: None,
            method: request.head.method,
            paths,
            headers: Look::At(&Fields(request.head)),
            query: request.target.query.map_or(Look::Absent, |_| Look::At(&parameters)),
            body: facts::body(request.framing != Framing::None),
            time_ns: clock::wall(),
            ..Subject::EMPTY
        };
        let decision = policy.decide(&subject);
        if decision.verdict == policy::Verdict::Deny && decision.enforced {
            return self.deny(request, &policy, &decision, None);
        }
        self.find_way(request, &policy, (&subject, decision), resolved)
    }

    /// The decision admits the request as far as it goes without an address: find one, and let it be vetted.
    fn find_way(
        &mut self,
        request: &Request<'_>,
        policy: &Policy,
        (subject, decision): (&Subject<'_>, Decision<'_>),
        resolved: Option<&Resolution>,
    ) -> Judged {
        let (scheme, port) = (self.arrival.scheme, request.target.port);
        let generation = self.worker.generation();
        let upstream = policy.upstream(&subject.host, port);
        let mut way = Way::Sticky;
        let mut held = None;
        match &self.upstream {
            Some((route, upstream)) if route.is(scheme, request.host, port) && upstream.is_usable(generation) => {
                held = Some(upstream.vetted.address());
            }
            _ => {
                if let Some((route, upstream)) = self.upstream.take() {
                    self.worker.pool.borrow_mut().put(route, upstream);
                }
                let route = || Route { scheme, host: request.host.into(), port };
                if let Some(upstream) = self.worker.pool.borrow_mut().take(scheme, request.host, port) {
                    held = Some(upstream.vetted.address());
                    way = Way::Pooled(route(), upstream);
                } else {
                    let manner = self.worker.identities().manner(scheme, upstream, generation);
                    way = Way::Dial(Dial { route: route(), addresses: Vec::new(), manner });
                }
            }
        }
        let via = if upstream.is_some() { Via::Upstream } else { Via::Resolved };
        let candidates: Vec<SocketAddr>;
        let candidates: &[SocketAddr] =
            match (held, upstream.map(|upstream| &upstream.address), &request.target.host, resolved) {
                (Some(address), ..) => &[address],
                (None, Some(UpstreamAddress::Socket(address)), ..) => &[*address],
                (None, Some(UpstreamAddress::Name(_, port)), _, Some(Ok(found))) => {
                    candidates = found.iter().map(|ip| SocketAddr::new(*ip, *port)).collect();
                    &candidates
                }
                (None, Some(UpstreamAddress::Name(name, _)), _, None) => return Judged::Resolve(name.clone()),
                (None, None, Host::V4(ip), _) => &[SocketAddr::new((*ip).into(), port)],
                (None, None, Host::V6(ip), _) => &[SocketAddr::new((*ip).into(), port)],
                (None, None, Host::Name(_), Some(Ok(found))) => {
                    candidates = found.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
                    &candidates
                }
                (None, None, Host::Name(name), None) => return Judged::Resolve((**name).into()),
                (None, .., Some(Err(code))) => return self.unresolved(request, policy, &decision, code),
            };
        self.vet(request, policy, (subject, decision), (candidates, via), way)
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
            let decision = if policy.needs_address() {
                policy.decide(&Subject { address: Some(candidate.ip()), ..*subject })
            } else {
                first
            };
            let permit = match decision.admit() {
                Ok(permit) => permit,
                Err(_) => {
                    refused.get_or_insert((decision, None));
                    continue;
                }
            };
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
            return self.vet(request, policy, (subject, policy.decide(subject)), (candidates, via), way);
        }
        let address = match &way {
            Way::Sticky => self.upstream.as_ref().map(|(_, upstream)| upstream.vetted.address()),
            Way::Pooled(_, upstream) => Some(upstream.vetted.address()),
            Way::Dial(dial) => dial.addresses.first().map(|vetted| vetted.address()),
        };
        let facts = self.request_facts(request, policy, &decision);
        let facts = DecisionFacts { upstream: address, inspected: facts.inspected | Inspected::ADDRESS, ..facts };
        match self.worker.producer.allow(Nanos(clock::wall()), &facts) {
            Ok(credit) => {
                self.worker.counters.decided(metrics::Verdict::of(&decision), facts.decide_ns);
                wire::request(request.head, request.target, request.framing, self.via(address), &mut self.out);
                Judged::Forward(self.admission(request, permit, credit, way))
            }
            Err(refused) => self.unrecorded(request, refused),
        }
    }

    /// The pseudonym for `Via`, where a loop is possible: nothing outside the fence leads to a listener of `run`. (And nginx compresses
    /// nothing for who comes through a proxy.)
    fn via(&self, upstream: Option<SocketAddr>) -> Option<&'static str> {
        let fenced = self.arrival.mode == Mode::Run;
        upstream.filter(|address| !fenced && via::may_lead_back(*address)).map(|_| via::pseudonym())
    }

    fn admission(&self, request: &Request<'_>, permit: Permit, credit: Credit, way: Way) -> Forward {
        Forward {
            permit,
            credit,
            way,
            started: request.started,
            framing: request.framing,
            method: match request.head.method {
                "HEAD" => Method::Head,
                "GET" | "OPTIONS" => Method::Safe,
                _ => Method::Other,
            },
            version: request.head.version,
            expects_continue: framing::expects_continue(request.head),
            persistent: framing::persistent(request.head.version, &request.head.headers) && !self.worker.stopping(),
        }
    }

    /// What a decision on a head has looked at.
    fn inspected(&self) -> Inspected {
        match self.arrival.scheme {
            Scheme::Http => Inspected::HEAD,
            Scheme::Https => Inspected::HEAD | Inspected::SNI,
        }
    }

    /// What is known of a request, for its record.
    pub(crate) fn request_facts<'r>(
        &'r self,
        request: &'r Request<'_>,
        policy: &Policy,
        decision: &'r Decision<'_>,
    ) -> DecisionFacts<'r> {
        let rule = decision.rule;
        DecisionFacts {
            protocol: Protocol::Http11,
            sni: self.arrival.sni.as_deref(),
            host: Some(request.host),
            port: Some(request.target.port),
            method: Some(request.head.method),
            path: Some(&request.target.path),
            query: request.target.query.map(|_| Query::Redacted),
            verdict: match decision.verdict {
                policy::Verdict::Allow => Verdict::Allow,
                policy::Verdict::Deny => Verdict::Deny,
            },
            enforced: decision.enforced,
            rule: rule.map(|rule| rule.name),
            reason: rule.and_then(|rule| rule.reason),
            code: decision.code.map(policy::Code::as_str),
            policy: Some(*policy.digest()),
            inspected: self.inspected(),
            decide_ns: nanos_since(request.started),
            ..self.worker.facts(&self.arrival)
        }
    }
}

/// Nanoseconds from `start` to now.
pub(crate) fn nanos_since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

fn subject_host<'h>(host: &'h Host<'_>) -> policy::Host<'h> {
    match host {
        Host::Name(name) => policy::Host::Name(name),
        Host::V4(ip) => policy::Host::Address((*ip).into()),
        Host::V6(ip) => policy::Host::Address((*ip).into()),
    }
}
