//! Facts into archives, in place: no allocation, and the length known before.

use std::mem::size_of;

use rkyv::api::low;
use rkyv::rancor::Failure;
use rkyv::ser::allocator::SubAllocator;
use rkyv::ser::writer::Buffer;

use super::super::facts::{
    DecisionFacts, DecisionId, LifecycleFacts, McpFacts, Mode, OutcomeFacts, Query, Scheme, Verdict,
};
use super::super::ring;
use super::emplace::Fixed;
use super::{ArchivedEvent, ArchivedOutcome, Decision, Event, Gap, IndexedSeal, Message, Outcome, flag};
use crate::limits::{
    AUDIT_CREDIT_BYTES, AUDIT_OUTCOME_TEXT_BYTES_MAX, AUDIT_TEXT_BYTES_MAX, HOST_BYTES_MAX, METHOD_BYTES_MAX,
    TARGET_BYTES_MAX,
};

/// Cuts `text` to at most `max` octets, at a character, and notes it.
#[inline(always)]
fn cut<'a>(text: &'a str, max: usize, flags: &mut u8) -> &'a str {
    if text.len() <= max {
        return text;
    }
    *flags |= flag::CUT;
    cut_long(text, max)
}

#[cold]
fn cut_long(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

impl<'a> Decision<'a> {
    // Inlined by force, here and below: the record is built where it is archived, not copied there (p50 70 → 60 ns).
    #[inline(always)]
    pub(in super::super) fn new(id: DecisionId, facts: &DecisionFacts<'a>) -> Self {
        let mut flags = 0;
        let query = match facts.query {
            None => "",
            Some(Query::Redacted) => {
                flags |= flag::QUERY_REDACTED;
                ""
            }
            Some(Query::Kept(text)) => {
                flags |= flag::QUERY_KEPT;
                cut(text, TARGET_BYTES_MAX, &mut flags)
            }
        };
        if facts.verdict == Verdict::Deny && !facts.enforced {
            flags |= flag::WATCHED;
        }
        if facts.policy.is_some() {
            flags |= flag::POLICY;
        }
        let mut text = |text: Option<&'a str>, max| cut(text.unwrap_or(""), max, &mut flags);
        Self {
            agent: text(Some(facts.agent), AUDIT_TEXT_BYTES_MAX),
            sni: text(facts.sni, HOST_BYTES_MAX),
            host: text(facts.host, HOST_BYTES_MAX),
            method: text(facts.method, METHOD_BYTES_MAX),
            path: text(facts.path, TARGET_BYTES_MAX),
            rule: text(facts.rule, AUDIT_TEXT_BYTES_MAX),
            reason: text(facts.reason, AUDIT_TEXT_BYTES_MAX),
            code: text(facts.code, AUDIT_TEXT_BYTES_MAX),
            query,
            flags,
            id: id.0.to_be_bytes(),
            connection: facts.connection,
            decide_ns: facts.decide_ns,
            policy: facts.policy.unwrap_or([0; 32]),
            source: facts.source.into(),
            destination: facts.destination.into(),
            upstream: facts.upstream.into(),
            port: facts.port.unwrap_or(0),
            status: facts.status.unwrap_or(0),
            mode: facts.mode.code(),
            protocol: facts.protocol.code(),
            scheme: facts.scheme.map_or(0, Scheme::code),
            verdict: facts.verdict.code(),
            inspected: facts.inspected.0,
        }
    }
}

impl<'a> Message<'a> {
    pub(in super::super) fn new(decision: Decision<'a>, facts: &McpFacts<'a>) -> Self {
        let mut flags = if facts.arguments_digest.is_some() { flag::ARGUMENTS } else { 0 };
        let mut text = |text: &'a str| cut(text, AUDIT_TEXT_BYTES_MAX, &mut flags);
        Self {
            server: text(facts.server),
            version: text(facts.version),
            method: text(facts.method),
            tool: text(facts.tool),
            resource: text(facts.resource),
            prompt: text(facts.prompt),
            arguments_digest: facts.arguments_digest.unwrap_or([0; 32]),
            transport: facts.transport.code(),
            flags,
            decision,
        }
    }
}

impl<'a> Outcome<'a> {
    pub(in super::super) fn new(id: DecisionId, facts: &OutcomeFacts<'a>) -> Self {
        let mut flags = 0;
        let code = cut(facts.code.unwrap_or(""), AUDIT_OUTCOME_TEXT_BYTES_MAX, &mut flags);
        let error = cut(facts.error.or(facts.location).unwrap_or(""), AUDIT_OUTCOME_TEXT_BYTES_MAX, &mut flags);
        if facts.error.is_none() && facts.location.is_some() {
            flags |= flag::LOCATION;
        }
        Self {
            id: id.0.to_be_bytes(),
            bytes_up: facts.bytes_up,
            bytes_down: facts.bytes_down,
            upstream_ns: facts.upstream_ns,
            total_ns: facts.total_ns,
            upstream: facts.upstream.into(),
            status: facts.status.unwrap_or(0),
            flags,
            code,
            error,
        }
    }

    pub(in super::super) fn aborted(id: DecisionId) -> Self {
        let facts = OutcomeFacts { code: Some("aborted"), ..OutcomeFacts::default() };
        let outcome = Self::new(id, &facts);
        Self { flags: outcome.flags | flag::ABORTED, ..outcome }
    }
}

// The longest outcome fits the room that is held back for it.
const _: () = assert!(
    ring::HEADER + 2 * AUDIT_OUTCOME_TEXT_BYTES_MAX + 8 + size_of::<ArchivedOutcome<'_>>() + ring::HEADER
        <= AUDIT_CREDIT_BYTES
);

impl<'a> Event<'a> {
    pub(in super::super) fn new(facts: &LifecycleFacts<'a>) -> Self {
        let mut flags = if facts.policy.is_some() { flag::POLICY } else { 0 };
        let agent = cut(facts.agent, AUDIT_TEXT_BYTES_MAX, &mut flags);
        let detail = cut(facts.detail, AUDIT_TEXT_BYTES_MAX, &mut flags);
        Self {
            policy: facts.policy.unwrap_or([0; 32]),
            process: facts.process,
            event: facts.event.code(),
            mode: facts.mode.map_or(0, Mode::code),
            flags,
            version: env!("CARGO_PKG_VERSION"),
            agent,
            detail,
        }
    }

    pub(in super::super) fn bytes_max(&self) -> usize {
        self.version.len() + self.agent.len() + self.detail.len() + 8 + size_of::<ArchivedEvent<'_>>()
    }
}

/// Length and octets of the records that every request makes.
macro_rules! emplaced {
    ($($record:ident),+) => {
        $(impl $record<'_> {
            /// Octets that the archive takes.
            #[inline(always)]
            pub(in super::super) fn bytes(&self) -> usize {
                Fixed::bytes(self)
            }

            /// Writes the archive into `out`, whose start is aligned to 8. `None` when it does not fit.
            #[inline(always)]
            pub(in super::super) fn encode(&self, out: &mut [u8]) -> Option<usize> {
                self.write(out)
            }
        })+
    };
}

emplaced!(Decision, Message, Outcome);

/// Has rkyv write the archive of a record into `out`, whose start is aligned to 8. `None` when it does not fit. Allocates nothing.
macro_rules! encode {
    ($record:expr, $out:expr) => {
        low::to_bytes_in_with_alloc::<_, _, Failure>($record, Buffer::from(&mut *$out), SubAllocator::new(&mut []))
            .ok()
            .map(|written| written.len())
    };
}

impl Event<'_> {
    pub(in super::super) fn encode(&self, out: &mut [u8]) -> Option<usize> {
        encode!(self, out)
    }
}

impl Gap {
    pub(in super::super) fn encode(&self, out: &mut [u8]) -> Option<usize> {
        encode!(self, out)
    }
}

impl IndexedSeal {
    pub(in super::super) fn encode(&self, out: &mut [u8]) -> Option<usize> {
        encode!(self, out)
    }
}
