use super::super::{Host, Scheme, Source, load};
use super::*;

const POLICY: &str = "\
ringfence: v1
rules:
  - allow: read
    host: api.example
    access: read-only
    path: /repos/**
  - allow: write
    host: api.example
    method: POST
    path: /repos/*/pulls
  - deny: secrets
    path: /repos/secret/**
    reason: These are secret.
    remedy: Ask.
";

fn explained(text: &str, host: &str, method: &str, path: &str) -> String {
    let policy = load(Source { name: "p", text }).policy.unwrap();
    let subject = Subject {
        agent: "",
        scheme: Scheme::Https,
        host: Host::Name(host),
        port: 443,
        address: None,
        method,
        paths: &[path],
        ..Subject::EMPTY
    };
    serde_json::to_string(&explain(&policy, &subject)).unwrap()
}

#[test]
fn names_the_winner_and_everything_that_matched() {
    assert_eq!(
        explained(POLICY, "api.example", "GET", "/repos/a"),
        r#"{"verdict":"allow","enforced":true,"rule":"read","matched":["read"]}"#
    );
    assert_eq!(
        explained(POLICY, "api.example", "GET", "/repos/secret"),
        r#"{"verdict":"deny","enforced":true,"rule":"secrets","reason":"These are secret.","remedy":"Ask.","matched":["read","secrets"]}"#
    );
}

#[test]
fn names_the_nearest_allow_and_the_condition_that_failed() {
    assert_eq!(
        explained(POLICY, "api.example", "POST", "/repos/a"),
        r#"{"verdict":"deny","enforced":true,"code":"default","matched":[],"missed":{"rule":"read","condition":"access"}}"#
    );
    assert_eq!(
        explained(POLICY, "api.example", "POST", "/repos/a/b/pulls"),
        r#"{"verdict":"deny","enforced":true,"code":"default","matched":[],"missed":{"rule":"read","condition":"access"}}"#
    );
    assert_eq!(
        explained(POLICY, "other.example", "GET", "/repos/a"),
        r#"{"verdict":"deny","enforced":true,"code":"default","matched":[],"missed":{"rule":"read","condition":"host"}}"#
    );
}

#[test]
fn a_denial_under_monitor_says_that_it_is_not_enforced() {
    let found = explained("ringfence: v1\nmode: monitor\nrules: []\n", "x.example", "GET", "/");
    assert_eq!(found, r#"{"verdict":"deny","enforced":false,"code":"default","matched":[]}"#);
}
