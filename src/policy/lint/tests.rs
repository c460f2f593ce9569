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
