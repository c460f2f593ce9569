//! What a replay makes of records.

use std::path::Path;

use super::replay::{Drift, replay};
use crate::audit::{DecisionFacts, Nanos, Protocol, Query, Scheme, Verdict, Writer, WriterOptions};
use crate::policy::{Policy, Source, load};

fn policy(rules: &str) -> Policy {
    let loaded = load(Source { name: "p", text: &format!("ringfence: v1\n{rules}") });
    loaded.policy.unwrap_or_else(|| panic!("{:?}", loaded.problems))
}

/// A log of these decisions, one a second.
fn log(root: &Path, records: &[DecisionFacts<'_>]) -> std::path::PathBuf {
    let dir = root.join("audit/run-1");
    let (writer, mut seats) = Writer::start(WriterOptions::new(&dir, root, 1)).unwrap();
    let producer = seats.pop().unwrap().take();
    for (facts, second) in records.iter().zip(1_700_000_000u64..) {
        let time = Nanos(second * 1_000_000_000);
        match facts.verdict {
            Verdict::Allow => drop(producer.allow(time, facts).unwrap()),
            Verdict::Deny => drop(producer.deny(time, facts).unwrap()),
        }
    }
    drop(producer);
    writer.finish().unwrap();
    dir
}

fn allowed() -> DecisionFacts<'static> {
    DecisionFacts {
        agent: "coder",
        protocol: Protocol::Http11,
        scheme: Some(Scheme::Https),
        host: Some("api.example"),
        port: Some(443),
        method: Some("GET"),
        path: Some("/v1/x"),
        verdict: Verdict::Allow,
        rule: Some("old"),
        ..DecisionFacts::default()
    }
}

/// Unchanged, changed, undecidable, and what was printed.
fn replayed(rules: &str, records: &[DecisionFacts<'_>]) -> ((usize, usize, usize), String) {
    let root = tempfile::tempdir().unwrap();
    let dir = log(root.path(), records);
    let (mut drift, mut out) = (Drift::default(), Vec::new());
    replay(&policy(rules), &dir, &mut drift, &mut out).unwrap().unwrap();
    ((drift.unchanged, drift.changed, drift.undecidable), String::from_utf8(out).unwrap())
}

#[test]
fn a_replay_tells_every_verdict_that_would_change() {
    let records = [
        allowed(),
        DecisionFacts { path: Some("/v2/x"), ..allowed() },
        DecisionFacts {
            host: Some("other.example"),
            verdict: Verdict::Deny,
            rule: None,
            code: Some("default"),
            ..allowed()
        },
    ];
    let (counts, printed) = replayed("rules:\n- allow: new\n  host: api.example\n  path: /v1/**\n", &records);
    assert_eq!(counts, (2, 1, 0));
    assert_eq!(printed, "2023-11-14T22:13:21Z GET api.example/v2/x: allow (`old`) -> deny (no rule)\n");
    let (counts, printed) = replayed("default: allow\n", &records);
    assert_eq!(counts, (2, 1, 0));
    assert_eq!(printed, "2023-11-14T22:13:22Z GET other.example/v1/x: deny (no rule) -> allow (no rule)\n");
}

#[test]
fn what_a_record_does_not_keep_is_undecidable_only_where_it_matters() {
    let records = [allowed(), DecisionFacts { query: Some(Query::Redacted), ..allowed() }];
    let rule = |condition: &str| {
        format!("rules:\n- allow: new\n  host: api.example\n- deny: d\n  path: /v1/**\n  {condition}\n")
    };
    assert_eq!(replayed(&rule("method: PUT"), &records).0, (2, 0, 0));
    assert_eq!(replayed(&rule("header: { k: v }"), &records).0, (0, 0, 2));
    assert_eq!(replayed(&rule("body: { /k: v }"), &records).0, (0, 0, 2));
    assert_eq!(replayed(&rule("query: { k: v }"), &records).0, (1, 0, 1));
    assert_eq!(replayed(&rule("method: PUT\n  body: { /k: v }"), &records).0, (2, 0, 0));
    let kept = [DecisionFacts { query: Some(Query::Kept("k=%76")), ..allowed() }];
    assert_eq!(replayed(&rule("query: { k: v }"), &kept).0, (0, 1, 0));
}

#[test]
fn a_rule_about_addresses_is_decided_for_the_address_that_was_dialled() {
    let rules = "rules:\n- allow: new\n  host: api.example\n- deny: d\n  cidr: 93.184.216.0/24\n";
    let dialled = DecisionFacts { upstream: Some("93.184.216.34:443".parse().unwrap()), ..allowed() };
    let elsewhere = DecisionFacts { upstream: Some("1.1.1.1:443".parse().unwrap()), ..allowed() };
    assert_eq!(replayed(rules, &[dialled, elsewhere, allowed()]).0, (1, 1, 1));
}

#[test]
fn rates_run_over_the_recorded_times() {
    let rules = "rules:\n- allow: new\n  host: api.example\n  rate: 2/day\n";
    assert_eq!(replayed(rules, &[allowed(), allowed(), allowed()]).0, (2, 1, 0));
}

#[test]
fn what_no_rule_decided_then_is_not_said_to_change() {
    let refused = |code, status| DecisionFacts {
        verdict: Verdict::Deny,
        rule: None,
        code: Some(code),
        status: Some(status),
        ..allowed()
    };
    let records = [refused("malformed", 400), refused("address", 403), refused("name_not_found", 502)];
    assert_eq!(replayed("default: allow\n", &records).0, (1, 0, 2));
    assert_eq!(replayed("rules: []\n", &records).0, (3, 0, 0));
}
