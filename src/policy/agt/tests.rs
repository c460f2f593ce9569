//! What holds for every dialect: how a file is told, and that no answer of the policy is silently another one's.

use proptest::prelude::*;

use super::super::properties;
use super::super::{Host, ReachPlace, Source, Subject, Weakening, explain, load};

const DOCUMENT: &str = "version: \"1.0\"\nname: d\ndefaults: {action: deny}\nrules:\n\
    - {name: api, condition: {field: host, operator: eq, value: api.example.com}, action: allow}\n";
const TOOLKIT: &str = "apiVersion: governance.toolkit/v1\nname: t\nagents: [\"*\"]\nrules:\n\
    - {name: api, condition: \"host == 'api.example.com'\", action: allow}\n";
const TOOLS: &str = "version: \"1.0\"\nrules:\n\
    - {tool: http.request, action: allow, conditions: [{argument_matches: {host: \"^api\\\\.example\\\\.com$\"}}]}\n";
const EGRESS: &str = "rules:\n  - domain: api.example.com\n    ports: [443]\n    action: allow\n";

#[test]
fn each_dialect_is_told_by_its_keys_and_answers_every_question() {
    for (text, rule) in [(DOCUMENT, "api"), (TOOLKIT, "api"), (TOOLS, "http.request"), (EGRESS, "api.example.com")] {
        let loaded = load(Source { name: "p.yaml", text });
        let policy = loaded.policy.unwrap_or_else(|| panic!("{:?}", loaded.problems));
        assert!(policy.is_agt() && policy.outline().len() == 1 && policy.outline()[0].name == rule, "{text}");
        let get = |host| Subject { host: Host::Name(host), port: 443, method: "GET", paths: &["/"], ..Subject::EMPTY };
        let explained = explain(&policy, &get("api.example.com"));
        assert_eq!((explained.verdict, explained.rule.as_deref()), ("allow", Some(rule)), "{text}");
        assert_eq!(explained.matched, [rule], "{text}");
        assert_eq!(explain(&policy, &get("b.example.com")).code, Some("default"), "{text}");
        assert!(policy.may_admit(Host::Name("api.example.com")) && !policy.may_admit(Host::Name("b.example.com")));
        let reach = |place| policy.reach(&ReachPlace::read(place).unwrap()).is_some();
        assert!(reach("api.example.com:443/x") && !reach("b.example.com") && !reach("169.254.169.254"), "{text}");
        let old = load(Source { name: "p", text: "ringfence: v1\nrules: []\n" }).policy.unwrap();
        assert!(policy.weakenings(&old).contains(&Weakening::Dialect) && policy.weakenings(&policy).is_empty());
        assert_ne!(policy.digest(), old.digest());
        assert!(policy.clone().monitored().reach(&ReachPlace::read("b.example.com").unwrap()).is_some());
        let denied = policy.monitored();
        let denied = denied.decide(&get("b.example.com"));
        assert!(!denied.enforced && denied.admit().is_ok());
    }
}

#[test]
fn what_is_in_no_dialect_is_no_policy() {
    for text in ["rules: []\n", "rules: [{name: x}]\n", "policies: [{type: capability}]\n"] {
        let loaded = load(Source { name: "p.yaml", text });
        assert!(loaded.policy.is_none(), "{text}");
        let problems: String = loaded.problems.iter().map(ToString::to_string).collect();
        assert!(problems.contains("begin with `ringfence: v1`"), "{problems}");
    }
}

#[test]
fn an_egress_list_that_agt_reads_otherwise_is_refused() {
    for (text, word) in [
        ("rules:\n  - domain: a.example.com\n    ports:\n      - 443\n    action: allow\n", "line by line"),
        ("rules:\n  - action: deny\n    domain: a.example.com\n  - domain: b.example.com\n", "line by line"),
        ("rules:\n  - domain: a.example.com\n    action: allow # for now\n", "is no action"),
        ("rules:\n  - domain: a.example.com\n    protocol: icmp\n", "is no protocol"),
    ] {
        let loaded = load(Source { name: "p.yaml", text });
        let problems: String = loaded.problems.iter().map(ToString::to_string).collect();
        assert!(loaded.policy.is_none() && problems.contains(word), "{text}: {problems}");
    }
    let broad = "rules:\n  - domain: \"*openai.com\"\n    ports: [443]\n  - domain: x.example.com\n    protocol: udp\n";
    let loaded = load(Source { name: "p.yaml", text: broad });
    let problems: String = loaded.problems.iter().map(ToString::to_string).collect();
    assert!(problems.contains("names of strangers") && problems.contains("forwards no UDP"), "{problems}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn documents_and_rule_files_decide_as_plain_walks_do(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        properties::agt_decides_as_the_reference(&bytes);
    }
}

/// `cargo nextest run --run-ignored only -E 'test(ten_million_agt)'`
#[test]
#[ignore = "minutes"]
fn ten_million_agt_comparisons_show_no_difference() {
    let mut comparisons = 0;
    for seed in 0_u64.. {
        comparisons += properties::agt_decides_as_the_reference(&seed.to_le_bytes());
        if comparisons >= 10_000_000 {
            break;
        }
    }
}
