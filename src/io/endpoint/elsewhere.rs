//! MCP where nobody has declared it: recognised in what is posted as JSON, recorded message by message, and held against denies about messages.
//!
//! The decision on the request admits it; this can only take away. It is best effort: the declaration is the boundary. What cannot be JSON-RPC is
//! not waited for, unless a deny could concern what it may be for a server that reads less strictly. Answers pass as they are.

use std::cell::RefCell;
use std::rc::Rc;

use crate::audit::{DecisionFacts, OutcomeFacts, Transport};
use crate::io::census::Stage;
use crate::io::flow::Connection;
use crate::io::held::{self, Found as Body, Want};
use crate::io::judge::{Judged, Request, subject_host};
use crate::io::mcp::{Carrier, FromClient, Session};
use crate::io::vet::{Missing, Way};
use crate::io::wire::{self, Codings};
use crate::parse::framing::Framing;
use crate::parse::json::{Layout, Pointers};
use crate::parse::rpc::{self, header};
use crate::policy::{Permit, Policy, Subject};

use super::vet_each;

/// Whether a request may carry MCP's messages, by its head.
pub(crate) fn may_be_mcp(request: &Request<'_>) -> bool {
    request.head.method == "POST"
        && !matches!(request.framing, Framing::None | Framing::Length(0))
        && held::is_readable(request.head, request.framing)
}

impl Connection {
    /// Looks for messages in a request that is admitted as such. Nothing where there are none.
    pub(crate) fn elsewhere(
        &mut self,
        request: &Request<'_>,
        policy: &Policy,
        subject: &Subject<'_>,
    ) -> Option<Judged> {
        if !may_be_mcp(request) {
            return None;
        }
        let has_fields = header::read(request.head.headers.iter()).map_or(true, |fields| fields.any());
        let is_denied = || policy.may_deny_messages(request.host, subject);
        let text = match request.known.held.as_ref().map(|held| &held.found) {
            None if has_fields || is_denied() => return Some(request.hold_back(Want::Text)),
            None if self.cannot_be_envelope(request) => return None,
            None => return Some(request.hold_back(Want::Envelope)),
            Some(Body::Text { bytes, .. }) => bytes,
            // Too long for any message that is read here.
            Some(_) => return None,
        };
        let nothing = Pointers::new([]);
        match rpc::read(text, Layout::Free, &nothing) {
            Ok(body) if body.is_mcp() || has_fields => {}
            // What a strict reader refuses some lenient one takes.
            Err(error) if (has_fields || rpc::may_be_mcp_to_others(text, &error)) && is_denied() => {
                let known = Some((request.head, request.target));
                return Some(self.malformed(400, error.code(), &error, known));
            }
            _ => return None,
        }
        Some(self.recognised(request, policy, text, subject))
    }

    /// Whether what has come with the head is enough to tell that the body is no JSON-RPC: then nothing is waited for.
    fn cannot_be_envelope(&self, request: &Request<'_>) -> bool {
        let Framing::Length(length) = request.framing else { return false };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        self.client.received(|bytes| {
            let here = length.min(bytes.len());
            let told = rpc::Envelope::default().step(bytes.get(..here).unwrap_or_default(), here == length);
            told == crate::parse::Progress::Done(false)
        })
    }

    fn recognised(&mut self, request: &Request<'_>, policy: &Policy, text: &[u8], subject: &Subject<'_>) -> Judged {
        let upstream = policy.upstream(&subject_host(&request.target.host), request.target.port);
        let (mut way, held) = self.nearest(request, upstream);
        let (candidates, via) = match request.candidates(upstream, held) {
            Ok(found) => found,
            Err(Missing::Name(name)) => return Judged::Resolve(name),
            Err(Missing::Address(code)) => {
                return self.malformed(502, code, &"the server has no address", Some((request.head, request.target)));
            }
        };
        let worker = Rc::clone(&self.worker);
        let vetted = RefCell::new(Vec::new());
        let dials = matches!(way, Way::Dial(_));
        let vet =
            |permit: &Permit| vet_each(policy, permit, (candidates.as_slice(), via, dials), (&worker.own, &vetted));
        let address = candidates.as_slice().first().copied();
        let mut session = Session::new(request.host, false, Transport::Http, None);
        let arguments = worker.argument_pointers();
        let sent = session.client_sent(
            &Carrier {
                producer: &worker.producer,
                policy,
                arguments: &arguments,
                subject: Subject {
                    address: address.filter(|_| policy.needs_address()).map(|address| address.ip()),
                    ..*subject
                },
                facts: DecisionFacts { upstream: address, ..self.carrier_facts(request) },
                outcome: OutcomeFacts::default(),
                vet: &vet,
                started: request.started,
            },
            text,
        );
        let (permit, mut credits) = match sent {
            FromClient::Forward { permit, told } => (permit, told),
            FromClient::Refused(refusal) => {
                let place = self.place(request, request.host, ("POST", None, false));
                return self.refuse_message(request, &place, refusal);
            }
            // Only rules about declared servers ask.
            FromClient::Ask(_) => {
                let cause = "nobody is asked about what goes to a server that is not declared";
                let known = Some((request.head, request.target));
                return self.malformed(403, "approval_unavailable", &cause, known);
            }
        };
        credits.extend(session.into_credits());
        let Some(credit) = credits.pop() else {
            // A text has at least one message, and each that passes is on record.
            return self.malformed(400, "malformed", &"there is no message", Some((request.head, request.target)));
        };
        let vetted = vetted.into_inner();
        let address = vetted.first().map(|vetted| vetted.address());
        if let Way::Dial(dial) = &mut way {
            dial.addresses = vetted;
        }
        self.entry.is(Stage::Decided);
        // The body is where it was, and goes as any other does.
        wire::request(
            request.head,
            request.target,
            request.framing,
            (self.via(address), Codings::AsAsked),
            &mut self.out,
        );
        let mut forward = self.admission(request, permit, credit, way);
        forward.others = credits;
        Judged::Forward(forward)
    }
}
