//! From the bytes of a head to a recorded decision, without an await: parse, canonicalise, decide, vet, record.
//!
//! What was decided is what is recorded and what is written for the origin, because all three come from one parse on one stack frame.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

use crate::audit::{Credit, DecisionFacts, Inspected, Protocol, Query, Verdict};
use crate::io::clock;
use crate::io::endpoint::{self, Asking, Message};
use crate::io::facts::{Fields, Parameters};
use crate::io::flow::Connection;
use crate::io::held::{self, Found, Held, Hold, Values, Want};
use crate::io::mcp::Leave;
use crate::io::vet::Way;
use crate::io::via;
use crate::parse::framing::{self, Framing};
use crate::parse::head::{self, RequestHead, Version};
use crate::parse::host::Host;
use crate::parse::json::Pointers;
use crate::parse::target::{self, Asked, Canonical};
use crate::policy::{self, Answer, Decision, Look, Permit, Policy, Scheme, Subject};

/// The addresses of a name, or the word for why there are none.
pub(crate) type Resolution = Result<Vec<IpAddr>, &'static str>;

/// What was found out for a request after its head had come.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) resolved: Option<Resolution>,
    pub(crate) held: Option<Box<Held>>,
    /// What somebody has said to the message, to be used once.
    pub(crate) leave: Cell<Option<Leave>>,
}

/// What a head came to.
#[expect(clippy::large_enum_variant, reason = "moved once, on the stack; a box would cost every request an allocation")]
pub(crate) enum Judged {
    /// The addresses of this host are needed first; nothing was recorded.
    Resolve(Box<str>),
    /// The body is needed first; nothing was recorded.
    Hold(Hold),
    /// Somebody's leave is needed first; nothing was recorded.
    Ask(Box<Asking>),
    /// The answer stands in `out`. `body`: request body bytes may still be arriving.
    Refused { body: bool, close: bool },
    /// A CONNECT to this authority is granted.
    Tunnel(Host<'static>, u16),
    /// Recorded as admitted, and the head for the origin stands in `out`.
    Forward(Forward),
    /// The same of what goes to a declared MCP endpoint; the body stands in `out`, too.
    Message(Box<Message>),
}

/// A recorded admission: everything that forwarding needs, and the permit without which nothing is forwarded.
pub(crate) struct Forward {
    pub(crate) permit: Permit,
    pub(crate) credit: Credit,
    /// Of the other messages that it carries; empty nearly always, which costs nothing.
    pub(crate) others: Vec<Credit>,
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
    pub(crate) known: &'r Known,
    pub(crate) started: Instant,
}

impl Request<'_> {
    /// The values of a body that is here as a whole.
    fn values(&self, pointers: &Pointers) -> Option<Values> {
        self.known.held.as_ref().and_then(|held| held.text()).and_then(|text| Values::read(text, pointers))
    }

    /// What is known of the body.
    fn body<'l>(&'l self, policy: &Policy, values: Option<&'l Values>) -> Look<'l> {
        match &self.known.held {
            Some(_) if values.is_some() => values.map_or(Look::Unreadable, |values| Look::At(values)),
            // What has not been waited for as a whole may still be: only where nobody asks does it make no difference.
            Some(held) if matches!(held.found, Found::Other) && !policy.body_pointers().is_empty() => Look::NotLooked,
            Some(held) => held.look(),
            None if matches!(self.framing, Framing::None | Framing::Length(0)) => Look::Absent,
            // Where nobody asks it makes no difference, and this is decided in one go.
            None if policy.body_pointers().is_empty() || !held::is_readable(self.head, self.framing) => {
                Look::Unreadable
            }
            None => Look::NotLooked,
        }
    }

    /// The decision needs the body.
    pub(crate) fn hold(&self) -> Judged {
        // Where it may be MCP it is wanted for that, too.
        self.hold_back(if endpoint::may_be_mcp(self) { Want::Text } else { Want::Values })
    }

    /// The body is needed, or as much of it as is wanted.
    pub(crate) fn hold_back(&self, want: Want) -> Judged {
        let expects_continue = framing::expects_continue(self.head);
        Judged::Hold(Hold { framing: self.framing, expects_continue, want })
    }

    /// Every way the path may be read, the canonical one first.
    pub(crate) fn readings(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&*self.target.path).chain(self.target.readings.iter())
    }

    fn inspected(&self) -> Inspected {
        let is_read = self.known.held.as_ref().is_some_and(|held| !matches!(held.found, Found::Other));
        if is_read { Inspected::BODY } else { Inspected::default() }
    }
}

impl Connection {
    /// Judges the head in `bytes`.
    pub(crate) fn judge(&mut self, bytes: &[u8], started: Instant, known: &Known) -> Judged {
        let head = match head::request(bytes) {
            Ok(head) => head,
            Err(error) => return self.malformed(error.status(), error.code(), &error, None),
        };
        if via::is_ours(&head.headers) {
            return self.malformed(508, "loop", &"the request came back to us", None);
        }
        let target = match target::canonical(&self.asks(&head)) {
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
        let request = Request { head: &head, target: &target, host, framing, known, started };
        match head.method {
            "CONNECT" => self.decide_tunnel(&request),
            _ => self.decide(&request),
        }
    }

    /// A head, with what its connection says of where it goes.
    pub(crate) fn asks<'a, 'b>(&'a self, head: &'a RequestHead<'b>) -> Asked<'a, 'b> {
        Asked {
            scheme: match self.arrival.scheme {
                Scheme::Http => target::Scheme::Http,
                Scheme::Https => target::Scheme::Https,
            },
            head,
            sni: self.arrival.sni.as_deref(),
            default_port: self.arrival.port,
            form: self.arrival.form,
            connect_authority: self.arrival.tunnel.as_ref().map(|(host, port)| (host, *port)),
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

    fn decide(&mut self, request: &Request<'_>) -> Judged {
        if let Some(Found::Broken { status, code }) = request.known.held.as_ref().map(|held| &held.found) {
            let cause = "the body did not come as its head says";
            return self.malformed(*status, code, &cause, Some((request.head, request.target)));
        }
        let policy = self.worker.policy();
        match endpoint::server(&policy, self.arrival.scheme, request) {
            // Somebody was asked about a message that the policy does not take for one any more.
            Ok(None) if request.known.leave.take().is_some() => {
                let cause = "the policy has changed while somebody was asked";
                return self.malformed(403, "approval_unavailable", &cause, Some((request.head, request.target)));
            }
            Ok(None) => {}
            Ok(Some(found)) => return self.message(request, &policy, &found),
            Err(()) => {
                let cause = "the path can be read as that of an MCP endpoint, and otherwise";
                return self.malformed(400, "endpoint_ambiguous", &cause, Some((request.head, request.target)));
            }
        }
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
        let values = request.values(&self.worker.body_pointers());
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
            body: request.body(&policy, values.as_ref()),
            time_ns: clock::wall(),
            ..Subject::EMPTY
        };
        let decision = match policy.ask(&subject) {
            Answer::Decided(decision) => decision,
            Answer::Needs(_) => return request.hold(),
        };
        if decision.verdict == policy::Verdict::Deny && decision.enforced {
            return self.deny(request, &policy, &decision, None);
        }
        if let Some(judged) = self.elsewhere(request, &policy, &subject) {
            return judged;
        }
        self.find_way(request, &policy, (&subject, decision))
    }

    pub(crate) fn admission(&self, request: &Request<'_>, permit: Permit, credit: Credit, way: Way) -> Forward {
        Forward {
            permit,
            credit,
            others: Vec::new(),
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
            verdict: match decision.verdict {
                policy::Verdict::Allow => Verdict::Allow,
                policy::Verdict::Deny => Verdict::Deny,
            },
            enforced: decision.enforced,
            rule: rule.map(|rule| rule.name),
            reason: rule.and_then(|rule| rule.reason),
            code: decision.code.map(policy::Code::as_str),
            policy: Some(*policy.digest()),
            decide_ns: nanos_since(request.started),
            ..self.carrier_facts(request)
        }
    }

    /// What is known of a request whatever was decided about it.
    pub(crate) fn carrier_facts<'r>(&'r self, request: &'r Request<'_>) -> DecisionFacts<'r> {
        DecisionFacts {
            protocol: Protocol::Http11,
            sni: self.arrival.sni.as_deref(),
            host: Some(request.host),
            port: Some(request.target.port),
            method: Some(request.head.method),
            path: Some(&request.target.path),
            query: request.target.query.map(|_| Query::Redacted),
            inspected: self.inspected() | request.inspected(),
            ..self.worker.facts(&self.arrival)
        }
    }
}

/// Nanoseconds from `start` to now.
pub(crate) fn nanos_since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// The host as policy speaks of it.
pub(crate) fn subject_host<'h>(host: &'h Host<'_>) -> policy::Host<'h> {
    match host {
        Host::Name(name) => policy::Host::Name(name),
        Host::V4(ip) => policy::Host::Address((*ip).into()),
        Host::V6(ip) => policy::Host::Address((*ip).into()),
    }
}
