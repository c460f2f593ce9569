use proptest::prelude::*;

use super::super::{Policy, Source, load, properties};

fn policy(text: &str) -> Policy {
    let loaded = load(Source { name: "p", text: &format!("ringfence: v1\n{text}") });
    loaded.policy.unwrap_or_else(|| panic!("{:?}\n{text}", loaded.problems))
}

fn weakenings(old: &str, new: &str) -> Vec<String> {
    policy(new).weakenings(&policy(old)).iter().map(ToString::to_string).collect()
}

const NONE: [&str; 0] = [];

#[test]
fn the_same_rules_in_another_order_and_by_other_names_weaken_nothing() {
    let old =
        "rules:\n- allow: a\n  host: a.example\n- deny: d\n  path: /x/**\n- deny: w\n  path: /y\n  monitor: true\n";
    let new = "rules:\n- deny: e\n  path: /x/**\n  reason: so\n- allow: b\n  host: a.example\n";
    assert_eq!(weakenings(old, new), NONE);
}

#[test]
fn what_only_takes_away_weakens_nothing() {
    let old = "default: allow\nrules:\n- allow: a\n  host: \"*.a.example\"\n- deny: d\n  path: /x/y\n";
    for new in [
        "default: deny\nrules:\n- allow: a\n  host: \"*.a.example\"\n- deny: d\n  path: /x/y\n",
        "default: allow\nrules:\n- deny: d\n  path: /x/**\n- deny: e\n  method: POST\n",
        "rules:\n- allow: a\n  host: b.a.example\n  access: read-only\n- deny: d\n  path: [/x/y, /z]\n",
    ] {
        assert_eq!(weakenings(old, new), NONE, "{new}");
    }
    let rated = "rules:\n- allow: a\n  host: a.example\n  rate: 10/minute\n";
    assert_eq!(weakenings(rated, "rules:\n- allow: a\n  host: a.example\n  rate: 9/minute\n"), NONE);
}

#[test]
fn what_was_asked_about_is_asked_about_still_or_denied() {
    let head = "approvals: { ann: { command: [/bin/a] }, bob: { command: [/bin/b] } }\n";
    let rules = |rules: &str| format!("{head}rules:\n- allow: all\n  mcp: {{ server: s }}\n{rules}");
    let old = rules("- allow: push\n  mcp: { server: s, tool: push }\n  ask: ann\n");
    for new in [
        rules("- allow: more\n  mcp: { server: s, tool: \"p**\" }\n  ask: ann\n"),
        rules("- deny: push\n  mcp: { server: s, tool: push }\n"),
    ] {
        assert_eq!(weakenings(&old, &new), NONE, "{new}");
    }
    let gone = "what `push` asked about goes without its approver's leave";
    assert_eq!(weakenings(&old, &rules("")), [gone]);
    let another = rules("- allow: push\n  mcp: { server: s, tool: push }\n  ask: bob\n");
    assert_eq!(weakenings(&old, &another), [gone, "another approver may be asked than before"]);
    assert_eq!(weakenings(&old, &old.replace("/bin/a", "/bin/c")), ["the approver `ann` is asked otherwise"]);
}

#[test]
fn each_way_of_weakening_is_named() {
    let old = "rules:\n- allow: a\n  host: a.example\n  rate: 10/minute\n- allow: i\n  host: i.example\n  cidr: 10.0.0.0/8\n- deny: d\n  path: /x/**\n";
    let with = |change: &str, to: &str| weakenings(old, &old.replace(change, to));
    assert_eq!(with("rules:\n", "mode: monitor\nrules:\n"), ["`mode: monitor` enforces nothing"]);
    assert_eq!(with("rules:\n", "default: allow\nrules:\n"), ["`default` is now `allow`"]);
    let opened = ["`a` allows what no rule allowed"];
    assert_eq!(with("a.example", "\"*.a.example\""), opened);
    assert_eq!(with("  rate: 10/minute\n", ""), opened);
    assert_eq!(with("  rate: 10/minute\n", "  rate: 10/second\n"), opened);
    assert_eq!(with("  rate: 10/minute\n", "  rate: 10/minute\n  port: 8443\n"), opened);
    assert_eq!(with("  rate: 10/minute\n", "  rate: 10/minute\n  cidr: 10.0.0.0/8\n"), opened);
    assert_eq!(with("10.0.0.0/8", "10.0.0.0/7"), ["`i` allows what no rule allowed"]);
    assert_eq!(with("  cidr: 10.0.0.0/8\n", ""), ["`i` allows what no rule allowed"]);
    let lost = ["what `d` denied, no rule denies"];
    assert_eq!(with("- deny: d\n  path: /x/**\n", ""), lost);
    assert_eq!(with("/x/**", "/x"), lost);
    assert_eq!(with("/x/**\n", "/x/**\n  monitor: true\n"), lost);
    assert_eq!(with("/x/**\n", "/x/**\n  cidr: 10.0.0.0/8\n"), lost);
    let upstreams = "upstreams:\n  a.example: { address: \"10.1.2.3:8443\" }\nrules:\n";
    assert_eq!(with("rules:\n", upstreams), ["`a.example` is dialled elsewhere"]);
    let passthrough = "tls: { passthrough: [\"*.p.example\"] }\nrules:\n";
    assert_eq!(with("rules:\n", passthrough), ["`*.p.example` passes through unread"]);
    let servers = "mcp_servers:\n  files: { stdio: files }\nrules:\n";
    assert_eq!(with("rules:\n", servers), ["the MCP server `files` is declared otherwise"]);
}

#[test]
fn under_default_allow_only_a_new_block_opens_more() {
    let old = "default: allow\nrules:\n- deny: d\n  path: /x/**\n";
    assert_eq!(weakenings(old, &format!("{old}- allow: a\n  host: a.example\n")), NONE);
    let block = format!("{old}- allow: a\n  host: a.example\n  cidr: 10.0.0.0/8\n");
    assert_eq!(weakenings(old, &block), ["`a` allows what no rule allowed"]);
}

#[test]
fn a_reload_of_many_rules_is_compared_at_once() {
    let rules = |from: usize| {
        let rules = (from..3_000).map(|n| format!("- deny: r{n}\n  host: h{n}.example\n"));
        format!("rules:\n{}", rules.collect::<String>())
    };
    assert_eq!(
        weakenings(&rules(0), &rules(2)),
        ["what `r0` denied, no rule denies", "what `r1` denied, no rule denies"]
    );
    assert_eq!(weakenings(&rules(0), "rules: []\n").len(), 3_000);
    assert_eq!(weakenings(&rules(0), "rules:\n- deny: all\n  host: \"*.example\"\n"), NONE);
    assert_eq!(weakenings(&rules(0), &rules(1_500)), ["too many rules have changed to be compared"]);
}

/// Most changes weaken something, so few draws are in the claim: with a fixed seed they are counted.
#[test]
fn a_policy_that_weakens_nothing_lets_nothing_go_that_was_stopped() {
    let certain = (0..100_u32).filter(|seed| properties::weakens_or_says_so(&seed.to_le_bytes())).count();
    assert!(certain >= 10, "{certain}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn random_changes_weaken_nothing_or_are_named(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        properties::weakens_or_says_so(&bytes);
    }
}
