use serde_json::{Value as Json, json};

use super::super::super::subject::{Direction, Host, Look, Lookup, Mcp, Scheme, Subject, Value as Found};
use super::super::super::{Mode, Policy, Source, load};
use super::Number;

#[derive(Debug)]
struct Arguments(Json);

impl Lookup for Arguments {
    fn values(&self, pointer: &str, found: &mut dyn FnMut(Found<'_>)) {
        let number = |text: &str| Number::read(text.as_bytes()).map_or(Found::Unreadable, Found::Number);
        match self.0.pointer(pointer) {
            None => {}
            Some(Json::String(text)) => found(Found::Text(text.as_bytes())),
            Some(Json::Number(digits)) => found(number(&digits.to_string())),
            Some(Json::Bool(flag)) => found(Found::Bool(*flag)),
            Some(Json::Null) => found(Found::Null),
            Some(Json::Array(items)) => found(Found::List(items.len())),
            Some(Json::Object(_)) => found(Found::Object),
        }
    }
}

fn loaded(rules: &str) -> (Policy, String) {
    let text = format!("version: \"1.0\"\nmode: enforce\nrules:\n{rules}");
    let loaded = load(Source { name: "p.yaml", text: &text });
    let problems: String = loaded.problems.iter().map(|problem| format!("{problem}\n")).collect();
    (loaded.policy.unwrap_or_else(|| panic!("{problems}")), problems)
}

fn ask(policy: &Policy, tool: &str, arguments: Json) -> String {
    let arguments = Arguments(arguments);
    let mcp = Mcp {
        server: "files",
        declared: true,
        direction: Direction::ToServer,
        method: "tools/call",
        tool: Some(tool),
        resource: None,
        prompt: None,
        arguments: Look::At(&arguments),
    };
    let decision = policy.decide(&Subject { agent: "x", host: Host::Name(""), mcp: Some(mcp), ..Subject::EMPTY });
    let by = decision.rule.map(|rule| rule.name).or(decision.code.map(|code| code.as_str())).unwrap_or_default();
    format!("{} {by}", decision.verdict.as_str())
}

#[test]
fn the_first_rule_that_matches_decides_and_without_one_the_call_is_denied() {
    let (policy, _) = loaded(
        "- {tool: run_shell, action: deny}\n- {tool: \"read_*\", action: allow}\n- {tool: run_shell, action: allow}\n",
    );
    assert_eq!(ask(&policy, "run_shell", json!({})), "deny run_shell");
    assert_eq!(ask(&policy, "read_file", json!({})), "allow read_*");
    assert_eq!(ask(&policy, "unread_file", json!({})), "deny default");
}

#[test]
fn an_allow_whose_condition_fails_falls_through_and_that_is_warned_of() {
    let rules = "- tool: read_file\n  action: allow\n  conditions:\n  - path_not_contains: [.env]\n- {tool: \"*\", action: allow}\n";
    let (policy, problems) = loaded(rules);
    assert!(problems.contains("keep nothing back"), "{problems}");
    assert_eq!(ask(&policy, "read_file", json!({"path": "/app/.ENV"})), "allow *");
    assert_eq!(ask(&policy, "read_file", json!({"path": "/app/x"})), "allow read_file");
}

#[test]
fn conditions_read_arguments_as_javascript_does() {
    let rules = "- tool: w\n  action: allow\n  conditions:\n  - path_starts_with: /workspace/\n  - path_not_contains: [/etc/]\n\
                 - tool: m\n  action: allow\n  conditions:\n  - argument_matches: {n: \"^1[0-9]$\"}\n    argument_not_matches: {s: bad}\n";
    let (policy, _) = loaded(rules);
    for (tool, arguments, expected) in [
        ("w", json!({"path": "/workspace/a"}), "allow w"),
        ("w", json!({"file_path": "/workspace/a"}), "allow w"),
        ("w", json!({"path": "", "filename": "/workspace/a"}), "allow w"),
        ("w", json!({"path": null, "filename": "/workspace/a"}), "allow w"),
        ("w", json!({"path": "/workspace/../ETC/x"}), "deny default"),
        ("w", json!({}), "deny default"),
        ("w", json!({"path": ["/workspace/a"]}), "deny policy_error"),
        ("w", json!({"path": 5}), "deny policy_error"),
        ("m", json!({"n": 12}), "allow m"),
        ("m", json!({"n": "12", "s": "good"}), "allow m"),
        ("m", json!({"n": 12, "s": "a bad one"}), "deny default"),
        ("m", json!({"s": "good"}), "deny default"),
        ("m", json!({"n": [12]}), "deny policy_error"),
    ] {
        assert_eq!(ask(&policy, tool, arguments.clone()), expected, "{tool} {arguments}");
    }
}

#[test]
fn stars_make_regular_expressions_and_rates_are_not_enforced_and_both_are_warned_of() {
    let rules = "- {tool: \"fs.*\", action: allow, rate_limit: {requests: 1, per: minute}}\n";
    let (policy, problems) = loaded(rules);
    assert!(problems.contains("`.` is any character") && problems.contains("never enforces"), "{problems}");
    assert_eq!(ask(&policy, "fsxread", json!({})), "allow fs.*");
}

#[test]
fn an_http_request_is_a_call_of_a_tool_with_four_arguments() {
    let rules = "- tool: http.request\n  action: allow\n  conditions:\n  - argument_matches: {host: \"^api\\\\.example\\\\.com$\", method: \"^GET$\"}\n    path_starts_with: /v1/\n";
    let (policy, _) = loaded(rules);
    let get = |host, method, path: &[&str]| {
        let subject =
            Subject { scheme: Scheme::Https, host: Host::Name(host), port: 443, method, paths: path, ..Subject::EMPTY };
        policy.decide(&subject).verdict.as_str()
    };
    assert_eq!(get("api.example.com", "GET", &["/v1/x"]), "allow");
    assert_eq!(get("api.example.com", "GET", &["/v1/x", "/v2/x"]), "deny", "every reading of a path is decided");
    assert_eq!(get("api.example.com", "POST", &["/v1/x"]), "deny");
    assert!(policy.may_admit(Host::Name("api.example.com")) && !policy.may_admit(Host::Name("other.example.com")));
}

#[test]
fn shadow_mode_enforces_nothing() {
    let text = "version: \"1.0\"\nmode: shadow\nrules:\n- {tool: x, action: deny}\n";
    let policy = load(Source { name: "p", text }).policy.unwrap();
    assert_eq!(policy.mode(), Mode::Monitor);
}
