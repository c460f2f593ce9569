//! Ids of decisions. What a record costs is measured by `cargo bench --bench audit`.

use super::super::ring;
use super::*;
use crate::audit::{Inspected, Scheme, Verdict};

fn facts() -> DecisionFacts<'static> {
    DecisionFacts {
        agent: "coder",
        connection: 7,
        scheme: Some(Scheme::Https),
        source: Some(([127, 0, 0, 1], 40_000).into()),
        destination: Some(([10, 1, 2, 3], 443).into()),
        sni: Some("api.example.com"),
        host: Some("api.example.com"),
        port: Some(443),
        method: Some("POST"),
        path: Some("/v1/chat/completions"),
        verdict: Verdict::Allow,
        rule: Some("model calls"),
        policy: Some([7; 32]),
        inspected: Inspected::SNI | Inspected::HEAD,
        decide_ns: 850,
        ..DecisionFacts::default()
    }
}

fn desk() -> (Producer, ring::Head) {
    let (tail, head) = ring::ring(crate::limits::AUDIT_RING_BYTES);
    let digests = crate::audit::head::Key::generate().unwrap().0.digest_key();
    let seat = Seat { tail, health: Arc::default(), durable: None, block: None, prefix: 1, digests };
    (seat.take(), head)
}

#[test]
fn gives_every_decision_an_id_of_its_own() {
    let (producer, _head) = desk();
    let first = producer.deny(Nanos(1), &facts()).unwrap();
    let second = producer.allow(Nanos(1), &facts()).unwrap();
    assert_ne!(first, second.id());
    assert_eq!(first.to_string(), "00000000000000010000000000000000");
}
