//! One test for each sentence of the contract about decisions.

use super::super::{Look, Scheme, Source, load};
use super::*;

pub(super) fn policy(text: &str) -> Policy {
    let loaded = load(Source { name: "p", text });
    loaded.policy.unwrap_or_else(|| panic!("{:?}", loaded.problems))
}

/// `https://HOST:443` with GET.
pub(super) fn get<'a>(host: &'a str, paths: &'a [&'a str]) -> Subject<'a> {
    let host = host.parse().map_or(Host::Name(host), Host::Address);
    Subject { agent: "", scheme: Scheme::Https, host, port: 443, address: None, method: "GET", paths, ..Subject::EMPTY }
}

/// The decision in one line: `allow`, `deny` or `watch`, and by what.
pub(super) fn ask(policy: &Policy, subject: &Subject<'_>) -> String {
    let decision = policy.decide(subject);
    let verdict = if decision.enforced { decision.verdict.as_str() } else { "watch" };
    let by = decision.rule.map(|rule| rule.name).or(decision.code.map(Code::as_str));
    assert_eq!(decision.admit().is_ok(), verdict != "deny");
    format!("{verdict} {}", by.unwrap_or_default())
}

#[test]
fn deny_beats_allow_wherever_it_stands() {
    for rules in ["- allow: a\n- deny: d\n  host: x.example", "- deny: d\n  host: x.example\n- allow: a"] {
        let policy = policy(&format!("ringfence: v1\nrules:\n{rules}\n"));
        assert_eq!(ask(&policy, &get("x.example", &["/"])), "deny d");
        assert_eq!(ask(&policy, &get("y.example", &["/"])), "allow a");
    }
}

#[test]
fn default_decides_when_no_rule_matches() {
    assert_eq!(ask(&policy("ringfence: v1\nrules: []\n"), &get("x.example", &["/"])), "deny default");
    assert_eq!(ask(&policy("ringfence: v1\ndefault: allow\n"), &get("x.example", &["/"])), "allow default");
    assert_eq!(ask(&Policy::observe(), &get("x.example", &["/"])), "allow default");
}

#[test]
fn an_allow_without_port_means_the_default_port_and_a_deny_any() {
    let allow = policy("ringfence: v1\nrules:\n- allow: a\n");
    let deny = policy("ringfence: v1\ndefault: allow\nrules:\n- deny: d\n");
    let named = policy("ringfence: v1\nrules:\n- allow: a\n  port: 8080\n");
    for (scheme, port, usual) in [
        (Scheme::Https, 443, true),
        (Scheme::Http, 80, true),
        (Scheme::Https, 80, false),
        (Scheme::Http, 443, false),
        (Scheme::Https, 8080, false),
    ] {
        let subject = Subject { scheme, port, ..get("x.example", &["/"]) };
        assert_eq!(ask(&allow, &subject), if usual { "allow a" } else { "deny default" });
        assert_eq!(ask(&deny, &subject), "deny d");
        assert_eq!(ask(&named, &subject), if port == 8080 { "allow a" } else { "deny default" });
    }
}

#[test]
fn a_host_suffix_is_one_or_more_labels_and_never_the_apex() {
    let policy = policy("ringfence: v1\nrules:\n- allow: a\n  host: \"*.ok.example\"\n");
    for (host, allowed) in [
        ("a.ok.example", true),
        ("a.b.ok.example", true),
        ("ok.example", false),
        ("evilok.example", false),
        ("ok.example.evil", false),
        (".ok.example", false),
    ] {
        assert_eq!(ask(&policy, &get(host, &["/"])), if allowed { "allow a" } else { "deny default" }, "{host}");
    }
}

#[test]
fn an_address_is_matched_in_canonical_form() {
    let policy = policy("ringfence: v1\nrules:\n- allow: a\n  host: [192.0.2.1, \"[2001:DB8::1]\"]\n");
    for host in ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1"] {
        assert_eq!(ask(&policy, &get(host, &["/"])), "allow a");
    }
}

#[test]
fn an_allow_needs_every_reading_of_a_path_and_a_deny_one() {
    let allow = policy("ringfence: v1\nrules:\n- allow: a\n  path: /a/**\n");
    assert_eq!(ask(&allow, &get("x.example", &["/a%2Fb", "/a/b"])), "deny default");
    assert_eq!(ask(&allow, &get("x.example", &["/a/x%2Fb", "/a/x/b"])), "allow a");
    assert_eq!(ask(&allow, &get("x.example", &[])), "deny default");
    let deny = policy("ringfence: v1\ndefault: allow\nrules:\n- deny: d\n  path: /a/b\n");
    assert_eq!(ask(&deny, &get("x.example", &["/a%2Fb", "/a/b"])), "deny d");
    let list = policy("ringfence: v1\nrules:\n- allow: a\n  path: [/a%2Fb, /a/b]\n");
    assert_eq!(ask(&list, &get("x.example", &["/a%2Fb", "/a/b"])), "allow a");
}

#[test]
fn methods_are_exact_in_an_allow_and_caseless_in_a_deny() {
    let allow = policy("ringfence: v1\nrules:\n- allow: a\n  access: read-only\n");
    let deny = policy("ringfence: v1\ndefault: allow\nrules:\n- deny: d\n  method: DELETE\n");
    let with = |method| Subject { method, ..get("x.example", &["/"]) };
    for (method, allowed) in [("GET", true), ("HEAD", true), ("OPTIONS", true), ("get", false), ("POST", false)] {
        assert_eq!(ask(&allow, &with(method)), if allowed { "allow a" } else { "deny default" }, "{method}");
    }
    assert_eq!(ask(&deny, &with("DELETE")), "deny d");
    assert_eq!(ask(&deny, &with("dElEtE")), "deny d");
    assert_eq!(ask(&deny, &with("DELETES")), "allow default");
}

#[test]
fn access_presets_grow() {
    let write = policy("ringfence: v1\nrules:\n- allow: a\n  access: read-write\n");
    let full = policy("ringfence: v1\nrules:\n- allow: a\n  access: full\n");
    for (method, writes) in [("GET", true), ("PATCH", true), ("PUT", true), ("DELETE", false), ("PROPFIND", false)] {
        let subject = Subject { method, ..get("x.example", &["/"]) };
        assert_eq!(ask(&write, &subject), if writes { "allow a" } else { "deny default" });
        assert_eq!(ask(&full, &subject), "allow a");
    }
}

#[test]
fn a_watched_deny_is_recorded_and_forwarded_but_opens_nothing() {
    let rules = "rules:\n- deny: d\n  monitor: true\n- allow: a\n  host: x.example\n";
    let policy = policy(&format!("ringfence: v1\n{rules}"));
    assert_eq!(ask(&policy, &get("x.example", &["/"])), "watch d");
    assert_eq!(ask(&policy, &get("y.example", &["/"])), "deny default");
}

#[test]
fn an_enforced_deny_beats_a_watched_one() {
    let policy =
        policy("ringfence: v1\ndefault: allow\nrules:\n- deny: w\n  monitor: true\n- deny: d\n  host: x.example\n");
    assert_eq!(ask(&policy, &get("x.example", &["/"])), "deny d");
    assert_eq!(ask(&policy, &get("y.example", &["/"])), "watch w");
}

#[test]
fn under_mode_monitor_every_deny_is_forwarded() {
    let policy =
        policy("ringfence: v1\nmode: monitor\nrules:\n- deny: d\n  host: x.example\n- allow: a\n  host: y.example\n");
    assert_eq!(ask(&policy, &get("x.example", &["/"])), "watch d");
    assert_eq!(ask(&policy, &get("y.example", &["/"])), "allow a");
    assert_eq!(ask(&policy, &get("z.example", &["/"])), "watch default");
}

#[test]
fn metadata_is_denied_and_enforced_under_every_policy() {
    let policy = policy("ringfence: v1\nmode: monitor\ndefault: allow\n");
    for host in [
        "metadata.google.internal",
        "metadata",
        "instance-data",
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "fd00:ec2::254",
    ] {
        assert_eq!(ask(&policy, &get(host, &["/"])), "deny metadata", "{host}");
    }
    assert!(!policy.may_admit(Host::Name("metadata.google.internal")));
}

#[test]
fn before_resolution_an_allow_with_a_block_is_possible_and_a_deny_with_one_does_not_match() {
    let policy = policy("ringfence: v1\nrules:\n- allow: a\n  cidr: 10.0.0.0/8\n- deny: d\n  cidr: 10.1.0.0/16\n");
    let at =
        |address: Option<&str>| Subject { address: address.map(|a| a.parse().unwrap()), ..get("x.example", &["/"]) };
    assert_eq!(ask(&policy, &at(None)), "allow a");
    assert_eq!(ask(&policy, &at(Some("10.2.0.1"))), "allow a");
    assert_eq!(ask(&policy, &at(Some("10.1.0.1"))), "deny d");
    assert_eq!(ask(&policy, &at(Some("11.0.0.1"))), "deny default");
    // NAT64 carries an address inside: a deny sees it, an allow does not.
    assert_eq!(ask(&policy, &at(Some("64:ff9b::10.1.0.1"))), "deny d");
    assert_eq!(ask(&policy, &at(Some("64:ff9b::10.2.0.1"))), "deny default");
    assert_eq!(ask(&policy, &get("10.2.0.1", &["/"])), "allow a");
}

#[test]
fn a_name_is_worth_an_address_when_some_request_to_it_could_go() {
    let rules = "rules:\n- allow: a\n  host: \"*.ok.example\"\n  method: POST\n- deny: d\n  host: bad.ok.example\n- deny: p\n  host: part.ok.example\n  path: /x\n";
    let enforced = policy(&format!("ringfence: v1\n{rules}"));
    let open = policy(&format!("ringfence: v1\ndefault: allow\n{rules}"));
    let monitored = policy(&format!("ringfence: v1\nmode: monitor\n{rules}"));
    for (name, of_enforced, of_open) in [
        ("a.ok.example", true, true),
        ("bad.ok.example", false, false),
        ("part.ok.example", true, true),
        ("other.example", false, true),
    ] {
        assert_eq!(enforced.may_admit(Host::Name(name)), of_enforced, "{name}");
        assert_eq!(open.may_admit(Host::Name(name)), of_open, "{name}");
        assert!(monitored.may_admit(Host::Name(name)));
    }
}

#[test]
fn an_upstream_of_host_and_port_comes_before_one_of_the_host() {
    let policy = policy(
        "ringfence: v1\nrules: []\nupstreams:\n  x.example: { address: \"10.0.0.1:1\" }\n  \"x.example:8080\": { address: \"inner.example:2\", trust: ca.pem }\n  \"[::1]:9\": { address: \"[::1]:10\" }\n",
    );
    let at = |host: Host<'static>, port| policy.upstream(&host, port).map(|upstream| format!("{:?}", upstream.address));
    assert_eq!(at(Host::Name("x.example"), 443).as_deref(), Some("Socket(10.0.0.1:1)"));
    assert_eq!(at(Host::Name("x.example"), 8080).as_deref(), Some("Name(\"inner.example\", 2)"));
    assert_eq!(at(Host::Address("::1".parse().unwrap()), 9).as_deref(), Some("Socket([::1]:10)"));
    assert_eq!(at(Host::Address("::1".parse().unwrap()), 10), None);
    assert_eq!(at(Host::Name("y.example"), 443), None);
}

#[test]
fn of_several_winners_the_first_in_the_file_is_named_and_an_allow_with_a_block_before_others() {
    let policy = policy(
        "ringfence: v1\nrules:\n- allow: b\n- allow: a\n  host: x.example\n- allow: c\n  cidr: 192.0.2.0/24\n- deny: e\n  path: /n\n- deny: d\n  path: /n\n  method: GET\n",
    );
    let at = |address: &str| Subject { address: Some(address.parse().unwrap()), ..get("x.example", &["/"]) };
    assert_eq!(ask(&policy, &at("1.1.1.1")), "allow b");
    assert_eq!(ask(&policy, &at("192.0.2.1")), "allow c");
    assert_eq!(ask(&policy, &get("x.example", &["/n"])), "deny e");
}

#[test]
fn a_request_under_way_has_its_token_and_stops_where_a_new_rule_denies_it() {
    let rated = policy("ringfence: v1\nrules:\n- allow: a\n  host: x.example\n  rate: 1/day\n");
    let subject = get("x.example", &["/"]);
    assert!(rated.decide(&subject).admit().is_ok_and(|permit| permit.take(&rated, &subject)));
    assert_eq!(ask(&rated, &subject), "deny default");
    assert!(rated.admits_still(&subject).unwrap().admit().is_ok());
    assert!(rated.admits_still(&get("y.example", &["/"])).unwrap().admit().is_err());
    let denied = policy("ringfence: v1\nrules:\n- allow: a\n  host: x.example\n  rate: 1/day\n- deny: d\n");
    assert_eq!(denied.admits_still(&subject).unwrap().rule.map(|rule| rule.name), Some("d"));
    let body = policy("ringfence: v1\nrules:\n- allow: a\n  body: { /k: a }\n");
    assert!(body.admits_still(&Subject { body: Look::NotLooked, ..subject }).is_none());
}
