//! The intervention point after a call: what a tool's answer comes to.

use super::*;

const AFTER: &str = r#"  post_tool_call:
    policy_target: "$.tool_result.value"
    tool_name_from: "$.tool_call.name"
    policy: {id: out}
tools:
"#;

const OUT: &str = r#"
package corp.out

default verdict := {"decision": "allow"}

verdict := {"decision": "deny", "reason": "key", "message": "Keys stay here."} if {
    some block in input.policy_target.value.content
    contains(block.text, "PRIVATE KEY")
}

verdict := {"decision": "deny", "reason": "flat"} if input.snapshot.tool_result.structuredContent.secret == true

verdict := {"decision": "warn", "reason": "failed"} if input.snapshot.tool_result.error.code == -1

verdict := {"decision": "transform", "transform": {"path": "$policy_target", "value": {}}} if {
    input.intervention_point == "post_tool_call"
    input.tool.name == "redacted"
}
"#;

fn manifest() -> String {
    let with_policy = MANIFEST.replace(
        "intervention_points:\n",
        "  out: {type: rego, bundle: ./out, query: data.corp.out.verdict}\nintervention_points:\n",
    );
    with_policy.replace("tools:\n", AFTER) + "  redacted: {}\n"
}

fn loaded(module: &str, unsupplied: &[&str]) -> Loaded {
    load(&manifest(), &folder(&[("policy/net.rego", MODULE), ("out/out.rego", module)]), unsupplied)
}

fn answered(tool: &'static str, json: &'static str, is_error: bool) -> Subject<'static> {
    let reply = Reply { texts: "", json: json.as_bytes(), is_error };
    Subject { stage: Stage::Response(reply), ..call(tool, Look::Absent) }
}

#[test]
fn an_answer_is_decided_after_the_call() {
    let loaded = loaded(OUT, &[]);
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    let policy = loaded.policy.unwrap();
    assert!(policy.reads(Stage::Response(Reply::default())) && !policy.reads(Stage::Description("")));
    let of = |tool, json| told(&policy, &answered(tool, json, false));
    assert_eq!(of("search", r#"{"content":[{"type":"text","text":"fine"}]}"#), "allow out -");
    let leak = of("search", r#"{"content":[{"type":"text","text":"BEGIN PRIVATE KEY"}]}"#);
    assert_eq!(leak, "deny out key: Keys stay here.");
    assert_eq!(of("search", r#"{"content":[],"structuredContent":{"secret":true}}"#), "deny out flat");
    assert_eq!(of("redacted", r#"{"content":[]}"#), "deny out transform");
    let failed = told(&policy, &answered("search", r#"{"code":-1,"message":"m"}"#, true));
    assert_eq!(failed, "allow out warning: failed");
    assert_eq!(told(&policy, &call("search", with("{}"))), "allow net -", "the call itself is the other policy's");
}

#[test]
fn an_answer_that_cannot_be_told_in_both_shapes_is_denied() {
    let policy = loaded(OUT, &[]).policy.unwrap();
    let invalid = "deny out runtime_error:request_invalid";
    for json in [r#"{"value":1}"#, r#"{"error":{}}"#, "[]", "{", "7"] {
        assert_eq!(told(&policy, &answered("search", json, false)), invalid, "{json}");
    }
    assert_eq!(told(&policy, &answered("unlisted", "{}", false)), "deny out runtime_error:tool_unknown");
    let long: &'static str = format!(r#"{{"x":"{}"}}"#, "x".repeat(600_000)).leak();
    assert_eq!(told(&policy, &answered("search", long, false)), "deny out runtime_error:resource_limit_exceeded");
}

#[test]
fn what_is_not_known_after_a_call_is_refused_when_it_is_loaded() {
    let reads =
        "package corp.out\nverdict := {\"decision\": \"allow\"} if input.snapshot.tool_call.args.path == \"/\"\n";
    let told = errors(&loaded(reads, &[])).concat();
    assert!(told.contains("cannot supply `snapshot.tool_call.args.path`"), "{told}");
    assert!(loaded(reads, &["snapshot.tool_call.args"]).policy.is_some());
    let before = error(
        MANIFEST,
        &[(
            "policy/net.rego",
            "package corp.net\nverdict := {\"decision\": \"allow\"} if input.snapshot.tool_result.value\n",
        )],
        &[],
    );
    assert!(before.contains("cannot supply `snapshot.tool_result.value`"), "{before}");
    // One policy at both points: a rule over arguments holds at one of them alone, and that is said.
    let both = manifest().replace("policy: {id: out}", "policy: {id: net}");
    let loaded = load(&both, &folder(&[("policy/net.rego", MODULE), ("out/out.rego", OUT)]), &[]);
    assert!(
        loaded.policy.is_some() && warnings(&loaded).concat().contains("not supplied after the call"),
        "{loaded:?}"
    );
}

#[test]
fn without_it_answers_pass_unjudged() {
    let policy = loaded(OUT, &["post_tool_call"]).policy.unwrap();
    assert!(!policy.reads(Stage::Response(Reply::default())));
    assert_eq!(policy.unsupplied(false), None);
    let policy = loaded(OUT, &[]).policy.unwrap();
    assert_eq!((policy.unsupplied(false), policy.unsupplied(true)), (Some("post_tool_call"), None));
}
