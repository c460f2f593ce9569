use super::super::{Problem, Severity, Source, load};

fn problems(text: &str) -> Vec<Problem> {
    load(Source { name: "p.yaml", text }).problems
}

/// The problems as a user reads them.
fn lines(text: &str) -> Vec<String> {
    problems(text).iter().map(ToString::to_string).collect()
}

/// A policy whose only rule allows and has the given further lines.
fn rule(lines: &str) -> String {
    format!("ringfence: v1\nrules:\n  - allow: a\n    {lines}\n")
}

#[test]
fn loads_the_language_of_this_version_without_a_problem() {
    let text = r#"
ringfence: v1
mode: enforce
default: deny
hosts:
  llm: [api.openai.com, api.anthropic.com]
upstreams:
  intranet.example.com: { address: "10.1.2.3:8443", trust: ./intranet-ca.pem, client_cert: ./me.pem }
  "[fd00::1]:80": { address: "[::1]:8080" }
rules:
  - allow: model calls
    host: $llm
    method: POST
    path: /v1/**
  - allow: read our repositories
    host: api.github.com
    access: read-only
    path: [/repos/acme/**, /user]
  - deny: delete anything
    method: DELETE
    reason: Deletion needs a person.
    remedy: Open a pull request instead.
  - allow: inner service
    host: "*.internal.example"
    scheme: [http, https]
    port: [80, 8080]
    cidr: [10.0.0.0/8, "fd00::/8", 192.0.2.1]
  - deny: watched
    host: watched.example
    monitor: true
"#;
    assert_eq!(lines(text), Vec::<String>::new());
}

#[test]
fn names_every_mistake_of_a_file_with_its_place_and_remedy() {
    let text = "ringfence: v1\nmod: enforce\nrules:\n  - allow: a\n    hots: x.example\n    access: readonly\n  - deny: b\n    port: 0\n";
    assert_eq!(
        lines(text),
        [
            "p.yaml:2:1: error: unknown key `mod` in a policy (did you mean `mode`?)",
            "p.yaml:5:5: error: unknown key `hots` in a rule (did you mean `host`?)",
            "p.yaml:6:13: error: `access` cannot be `readonly` (did you mean `read-only`?)",
            "p.yaml:8:11: error: a port is a number from 1 to 65535, found the number `0`",
        ]
    );
}

#[test]
fn refuses_text_that_is_no_yaml_with_its_place() {
    let found = lines("ringfence: v1\nrules: [\n");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("p.yaml:"), "{found:?}");
    eprintln!("{found:?}");
    eprintln!("{:?}", lines("ringfence: v1\nringfence: v1\n"));
    eprintln!("{:?}", lines("a: &x [1]\nb: {<<: *x}"));
    eprintln!("{:?}", lines(""));
    eprintln!("{:?}", lines("\u{0}"));
    eprintln!("{:?}", lines("a: 1\n---\nb: 2\n"));
    eprintln!("{:?}", lines(&rule("host: !x y.example")));
    eprintln!("{:?}", lines(&"[".repeat(100)));
    eprintln!("{:?}", lines("ringfence: v1\n1: 2\n[a]: 3\n"));
}

#[test]
fn refuses_every_key_of_later_versions_by_name() {
    for key in ["header", "query", "body", "mcp", "args", "when", "rate"] {
        let found = lines(&rule(&format!("{key}: {{}}")));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(&format!("error: `{key}` is not supported by this version yet")), "{found:?}");
    }
    for key in ["mcp_servers", "tls"] {
        let found = lines(&format!("ringfence: v1\nrules: []\n{key}: {{}}\n"));
        assert!(found[0].contains(&format!("p.yaml:3:1: error: `{key}` is not supported")), "{found:?}");
    }
    let found = lines("ringfence: v1\nrules:\n  - ask: a\n");
    assert!(found[0].contains("`ask` is not supported"), "{found:?}");
}

#[test]
fn a_policy_exists_if_and_only_if_there_is_no_error() {
    let warned = load(Source { name: "p", text: "ringfence: v1\nhosts: { g: [a.example] }\nrules: []\n" });
    assert!(warned.policy.is_some() && warned.problems.iter().all(|p| p.severity == Severity::Warning));
    let refused = load(Source { name: "p", text: "ringfence: v2\nrules: []\n" });
    assert!(refused.policy.is_none() && refused.problems.iter().any(|p| p.severity == Severity::Error));
}
