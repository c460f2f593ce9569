use super::super::{Severity, Source, load};

/// The warnings about a list of rules, with their lines.
fn warnings(rules: &str) -> Vec<String> {
    let loaded = load(Source { name: "p", text: &format!("ringfence: v1\nrules:\n{rules}") });
    assert!(loaded.policy.is_some(), "{:?}", loaded.problems);
    assert!(loaded.problems.iter().all(|problem| problem.severity == Severity::Warning));
    loaded.problems.iter().map(|problem| format!("{}: {}", problem.place.line, problem.message)).collect()
}

#[test]
fn warns_of_an_allow_that_a_deny_covers() {
    let found = warnings(
        "- allow: a\n  host: [a.x.example, \"*.b.x.example\"]\n  path: /p/q\n- deny: d\n  host: \"*.x.example\"\n  path: /p/**\n",
    );
    assert_eq!(found, ["3: `a` can never win: `d` (line 6) denies all of it"]);
}

#[test]
fn does_not_warn_where_something_of_the_allow_is_left() {
    for deny in [
        "host: b.x.example",
        "host: a.x.example\n  method: POST",
        "host: a.x.example\n  path: /p",
        "host: a.x.example\n  monitor: true",
        "host: a.x.example\n  cidr: 10.0.0.0/8",
        "host: a.x.example\n  port: 443",
        "host: a.x.example\n  scheme: https",
    ] {
        let found = warnings(&format!("- allow: a\n  host: a.x.example\n  path: [/p, /q]\n- deny: d\n  {deny}\n"));
        assert_eq!(found, Vec::<String>::new(), "{deny}");
    }
}

#[test]
fn warns_of_rules_that_say_the_same() {
    let found = warnings("- deny: a\n  path: /x\n- deny: b\n  path: /x\n- deny: c\n  path: /x\n  monitor: true\n");
    assert_eq!(found, ["5: `b` can never win: `a` (line 3) says the same"]);
}

#[test]
fn warns_of_allows_that_admit_strangers() {
    assert_eq!(warnings("- allow: a\n"), ["3: `a` allows sending to every host"]);
    assert_eq!(warnings("- allow: a\n  host: \"*\"\n  method: POST\n").len(), 1);
    assert_eq!(warnings("- allow: a\n  access: read-only\n"), Vec::<String>::new());
    assert_eq!(warnings("- allow: a\n  host: \"*.amazonaws.com\"\n").len(), 1);
    assert_eq!(warnings("- allow: a\n  host: \"*.com\"\n").len(), 1);
    assert_eq!(warnings("- allow: a\n  host: x.example\n  cidr: 0.0.0.0/0\n").len(), 1);
    assert_eq!(warnings("- allow: a\n  host: \"*.x.example\"\n  path: /a//b\n").len(), 1);
}

/// The warnings about a whole policy, with their lines.
fn of_policy(text: &str) -> Vec<String> {
    let loaded = load(Source { name: "p", text: &format!("ringfence: v1\n{text}") });
    assert!(loaded.policy.is_some(), "{:?}", loaded.problems);
    loaded.problems.iter().map(|problem| format!("{}: {}", problem.place.line, problem.message)).collect()
}

#[test]
fn warns_of_a_rule_under_an_earlier_one_that_says_more() {
    let wide = "- allow: a\n  host: \"*.x.example\"\n";
    for (rule, warned) in [
        ("host: a.x.example", true),
        ("host: a.x.example\n  header: { k: v }", true),
        ("host: a.x.example\n  when: { agent: a }", true),
        ("host: a.x.example\n  rate: 1/day", true),
        ("host: x.example", false),
        ("host: a.x.example\n  port: 443", false),
        ("host: a.x.example\n  cidr: 10.0.0.0/8", false),
    ] {
        let found = warnings(&format!("{wide}- allow: b\n  {rule}\n"));
        let expected: &[&str] = if warned { &["5: `b` can never win: `a` (line 3) says more"] } else { &[] };
        assert_eq!(found, expected, "{rule}");
        // The other way round both can win.
        assert_eq!(warnings(&format!("- allow: b\n  {rule}\n{wide}")), Vec::<String>::new(), "{rule}");
    }
    for wide in [
        "rate: 1/day",
        "header: { k: v }",
        "body: { /k: v }",
        "query: { k: v }",
        "when: { agent: a }",
        "mcp: { server: s }",
    ] {
        let found =
            warnings(&format!("- allow: a\n  host: \"*.x.example\"\n  {wide}\n- allow: b\n  host: a.x.example\n"));
        assert_eq!(found.iter().filter(|line| line.contains("never win")).count(), 0, "{wide}");
    }
}

#[test]
fn warns_of_messages_that_a_deny_covers_only_where_it_covers_the_handshake_too() {
    let servers = "mcp_servers: { s: { stdio: s } }\nrules:\n- allow: a\n  mcp: { server: s, tool: t }\n- deny: d\n";
    assert_eq!(of_policy(&format!("{servers}  mcp: {{ server: s }}\n")).len(), 1);
    assert_eq!(of_policy(&format!("{servers}  monitor: false\n")).len(), 1);
    assert_eq!(of_policy(&format!("{servers}  mcp: {{ server: s, tool: t }}\n")), Vec::<String>::new());
    assert_eq!(of_policy(&format!("{servers}  mcp: {{ server: s }}\n  args: {{ k: v }}\n")), Vec::<String>::new());
}

#[test]
fn warns_of_denies_that_passthrough_escapes_and_of_passthrough_that_nothing_allows() {
    let found = of_policy(
        "rules:\n- deny: d\n  method: DELETE\n- deny: e\n  host: other.example\n  path: /x\n- allow: a\n  host: www.pinned.example\n  path: /x\ntls: { passthrough: [\"*.pinned.example\"] }\n",
    );
    assert_eq!(
        found,
        [
            "3: `d` does not see what goes to `*.pinned.example`, which `tls.passthrough` leaves unread",
            "11: no rule lets `*.pinned.example` pass through unread",
        ]
    );
}

#[test]
fn warns_of_an_allow_of_what_is_never_reached() {
    let found = warnings("- allow: a\n  host: [169.254.169.254, metadata.google.internal]\n");
    assert_eq!(found, ["3: `a` can never win: instance metadata is never reached"]);
}
