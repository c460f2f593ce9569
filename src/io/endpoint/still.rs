//! A message or a stream that is under way is asked about again when the policy is replaced, as [`crate::io::recall`] does for requests: one that
//! the new policy stops is ended.

use std::time::Instant;

use crate::audit::{DecisionFacts, OutcomeFacts, Transport};
use crate::io::clock;
use crate::io::facts::{Fields, Parameters};
use crate::io::flow::Connection;
use crate::io::held::Values;
use crate::io::judge::subject_host;
use crate::io::mcp::{Carrier, Session};
use crate::parse::head;
use crate::parse::target;
use crate::policy::{Look, McpEndpoint, Permit, Subject, Via};

use super::Place;

/// What is under way.
pub(super) struct Still<'m> {
    server: Box<str>,
    is_older: bool,
    /// Nothing where a stream is opened or a session ended.
    text: Option<&'m [u8]>,
}

impl<'m> Still<'m> {
    pub(super) fn of(place: &Place, text: Option<&'m [u8]>) -> Still<'m> {
        Still { server: place.server.clone(), is_older: place.older.is_some(), text }
    }
}

impl Connection {
    /// Whether it would be admitted now, to the address that it went to.
    pub(super) fn message_still_goes(&self, still: &Still<'_>) -> bool {
        // The head was parsed before, so that none of these fails.
        let Ok(head) = head::request(&self.asked) else { return false };
        let Ok(target) = target::canonical(&self.asks(&head)) else { return false };
        let Some((_, upstream)) = &self.upstream else { return true };
        let (worker, address) = (&self.worker, upstream.vetted.address());
        let (policy, arguments, pointers) = (worker.policy(), worker.argument_pointers(), worker.body_pointers());
        let (host, port) = (subject_host(&target.host), target.port);
        let is_declared = match still.is_older {
            false => policy.mcp_server(self.arrival.scheme, host, port, &target.path) == Some(&*still.server),
            true => policy
                .mcp_servers()
                .iter()
                .any(|server| server.name == still.server && matches!(server.endpoint, McpEndpoint::Http { .. })),
        };
        if !is_declared {
            return false;
        }
        let via = if policy.upstream(&host, port).is_some() { Via::Upstream } else { Via::Resolved };
        let vet = |permit: &Permit| {
            permit.vet(&policy, address, via, &worker.own).map(|_| ()).map_err(|refusal| refusal.code())
        };
        let paths: Vec<&str> = std::iter::once(&*target.path).chain(target.readings.iter()).collect();
        let parameters = Parameters(target.query.unwrap_or_default());
        let values = still.text.and_then(|text| Values::read(text, &pointers));
        let carrier = Carrier {
            producer: &worker.producer,
            policy: &policy,
            arguments: &arguments,
            subject: Subject {
                agent: &self.arrival.agent,
                scheme: self.arrival.scheme,
                host,
                port,
                address: policy.needs_address().then(|| address.ip()),
                method: head.method,
                paths: &paths,
                headers: Look::At(&Fields(&head)),
                query: target.query.map_or(Look::Absent, |_| Look::At(&parameters)),
                body: match (&values, still.text) {
                    (Some(values), _) => Look::At(values),
                    (None, Some(_)) => Look::Unreadable,
                    (None, None) => Look::Absent,
                },
                time_ns: clock::wall(),
                ..Subject::EMPTY
            },
            facts: DecisionFacts::default(),
            outcome: OutcomeFacts::default(),
            vet: &vet,
            started: Instant::now(),
        };
        Session::new(&still.server, true, Transport::Http, None).still_goes(&carrier, still.text)
    }
}
