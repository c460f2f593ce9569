//! One policy in four languages: rule `n` allows GET and POST to `h{n}.example.com` below `/v1`, every tenth denies it.

use std::fmt::Write as _;

/// A request: host and path; the method is GET.
pub type Request = (String, String);

/// Requests over all rules, in an order that no branch predictor learns by heart.
pub fn requests(rules: usize) -> Vec<Request> {
    (0..1_024).map(|n| n * 7_919 % rules).map(|n| (format!("h{n}.example.com"), format!("/v1/items/{n}"))).collect()
}

/// Whether the policies allow rule `n`'s own request.
pub fn allows(n: usize) -> bool {
    n % 10 != 9
}

/// In ringfence's own language.
pub fn native(rules: usize) -> String {
    let mut text = String::from("ringfence: v1\nrules:\n");
    for n in 0..rules {
        let effect = if allows(n) { "allow" } else { "deny" };
        let _ = writeln!(
            text,
            "  - {effect}: rule {n}\n    host: h{n}.example.com\n    method: [GET, POST]\n    path: /v1/**"
        );
    }
    text
}

/// In Rego, one body of a rule for each rule, as people write it; the verdict is a manifest's.
pub fn rego(rules: usize) -> String {
    let mut text = String::from(
        "package peer\n\ndefault verdict := {\"decision\": \"deny\"}\n\n\
         verdict := {\"decision\": \"deny\"} if denied else := {\"decision\": \"allow\"} if allowed\n\n\
         args := input.policy_target.value\n\n",
    );
    for n in 0..rules {
        let name = if allows(n) { "allowed" } else { "denied" };
        let _ = writeln!(
            text,
            "{name} if {{ args.host == \"h{n}.example.com\"; args.method in {{\"GET\", \"POST\"}}; startswith(args.path, \"/v1/\") }}"
        );
    }
    text
}

/// The manifest around [`rego`], which lies beside it in the folder `policy`.
pub const MANIFEST: &str = r#"
agent_control_specification_version: "0.3.1-beta"
policies:
  peer: {type: rego, bundle: policy, query: data.peer.verdict}
intervention_points:
  pre_tool_call:
    policy_target: "$.tool_call.args"
    tool_name_from: "$.tool_call.name"
    policy: {id: peer}
tools: {http.request: {}}
"#;

/// In Cedar.
pub fn cedar(rules: usize) -> String {
    let mut text = String::new();
    for n in 0..rules {
        let effect = if allows(n) { "permit" } else { "forbid" };
        let _ = writeln!(
            text,
            "{effect} (principal, action == Action::\"request\", resource) when {{ context.host == \"h{n}.example.com\" \
             && [\"GET\", \"POST\"].contains(context.method) && context.path like \"/v1/*\" }};"
        );
    }
    text
}
