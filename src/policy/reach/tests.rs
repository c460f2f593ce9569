use super::super::{Source, load};
use super::*;

fn reach(rules: &str, place: &str) -> Option<String> {
    let text = format!("ringfence: v1\n{rules}");
    let policy = load(Source { name: "p", text: &text }).policy.unwrap();
    let way = policy.reach(&Place::read(place).unwrap())?;
    Some(way.rule.map_or("default".to_owned(), String::from))
}

const RULES: &str = "rules:\n- allow: a\n  host: api.example\n  method: [GET, POST]\n  path: /v1/**\n- deny: d\n  path: /v1/secret/**\n";

#[test]
fn something_reaches_a_place_that_a_rule_allows() {
    for (place, by) in [
        ("api.example", Some("a")),
        ("https://api.example/", None),
        ("api.example:443/v1/x", Some("a")),
        ("api.example:8443/v1/x", None),
        ("api.example/v1/secret/x", None),
        ("api.example/v2", None),
        ("other.example", None),
    ] {
        assert_eq!(reach(RULES, place).as_deref(), by, "{place}");
    }
}

#[test]
fn denies_count_only_where_they_leave_nothing_over() {
    let allow = "rules:\n- allow: a\n  host: x.example\n";
    for (deny, reached) in [
        ("host: x.example", false),
        ("host: x.example\n  path: /**", false),
        ("access: full", false),
        ("method: [GET, POST]", true),
        ("host: x.example\n  path: /a/**", true),
        ("host: x.example\n  header: { k: v }", true),
        ("host: x.example\n  when: { days: mon }", true),
        ("host: x.example\n  when: { agent: a }", true),
        ("host: x.example\n  monitor: true", true),
        ("host: x.example\n  scheme: https", true),
        ("host: x.example\n  scheme: [http, https]", false),
        ("host: x.example\n  cidr: 10.0.0.0/8", true),
    ] {
        assert_eq!(reach(&format!("{allow}- deny: d\n  {deny}\n"), "x.example").is_some(), reached, "{deny}");
    }
    // Two denies that leave nothing over together.
    let two = format!("{allow}  access: read-only\n- deny: d\n  method: [GET, HEAD]\n- deny: e\n  method: OPTIONS\n");
    assert_eq!(reach(&two, "x.example"), None);
}

#[test]
fn what_is_left_open_may_hold_in_an_allow() {
    for condition in [
        "header: { k: v }",
        "body: { /k: v }",
        "when: { agent: a, hours: \"01:00-02:00\" }",
        "rate: 1/day",
        "cidr: 10.0.0.0/8",
    ] {
        let rules = format!("rules:\n- allow: a\n  host: x.example\n  {condition}\n");
        assert_eq!(reach(&rules, "x.example").as_deref(), Some("a"), "{condition}");
    }
}

#[test]
fn metadata_and_private_addresses_are_reached_only_as_addresses_are_vetted() {
    let open = "default: allow\nmode: monitor\n";
    assert_eq!(reach(open, "metadata.google.internal"), None);
    assert_eq!(reach(open, "169.254.169.254"), None);
    assert_eq!(reach(open, "10.0.0.1"), None);
    assert_eq!(reach(open, "x.example").as_deref(), Some("default"));
    assert_eq!(reach("rules:\n- allow: a\n  cidr: 10.0.0.0/8\n", "10.0.0.1").as_deref(), Some("a"));
    assert_eq!(reach("rules:\n- allow: a\n  host: 10.0.0.1\n", "10.0.0.1"), None);
    let upstream = "upstreams: { 10.0.0.1: { address: \"10.0.0.1:80\" } }\nrules:\n- allow: a\n  host: 10.0.0.1\n";
    assert_eq!(reach(upstream, "10.0.0.1").as_deref(), Some("a"));
}

#[test]
fn a_message_reaches_a_declared_server() {
    let rules =
        "mcp_servers: { s: { url: \"https://mcp.example/mcp\" } }\nrules:\n- allow: a\n  mcp: { server: s, tool: t }\n";
    assert_eq!(reach(rules, "mcp.example/mcp").as_deref(), Some("a"));
    assert_eq!(reach(rules, "mcp.example").as_deref(), Some("a"));
    assert_eq!(reach(rules, "mcp.example/other"), None);
    assert_eq!(reach(rules, "mcp.example:80/mcp"), None);
}

#[test]
fn a_text_that_is_no_place_is_told() {
    for text in ["", "a b", "x.example:0", "x.example:http", "*.example", "x.example/../a", "x.example/*"] {
        assert_eq!(Place::read(text), None, "{text}");
    }
}
