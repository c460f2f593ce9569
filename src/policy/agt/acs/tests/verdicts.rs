//! What calls come to.

use super::*;

#[test]
fn an_http_request_is_a_call_of_the_tool_http_request() {
    let policy = over(MANIFEST, MODULE);
    assert_eq!(told(&policy, &request("/v1/items")), "allow net -");
    assert_eq!(told(&policy, &request("/admin/users")), "deny net admin: Not there.");
    let module = "package corp.net\nverdict := {\"decision\": \"deny\", \"reason\": json.marshal(input)}";
    let policy = over(MANIFEST, module);
    let subject = Subject { port: 8443, time_ns: 1_767_225_600_000_000_000, ..request("/a/b") };
    let reason = policy.decide(&subject).rule.unwrap().reason.unwrap();
    let arguments = serde_json::json!({
        "method": "GET", "path": "/a/b", "url": "https://api.example.com:8443/a/b", "host": "api.example.com",
    });
    let expected = serde_json::json!({
        "intervention_point": "pre_tool_call",
        "policy_target": {"kind": "tool_args", "path": "$.tool_call.args", "value": arguments},
        "snapshot": {
            "envelope": {
                "agent": {"id": "coder", "name": "coder"},
                "intervention_point": "pre_tool_call",
                "timestamp": "2026-01-01T00:00:00Z",
            },
            "tool_call": {"name": "http.request", "args": arguments},
            "transport": {"protocol": "http"},
        },
        "annotations": {},
        "tool": {"name": "http.request", "clearance": "internal"},
    });
    assert_eq!(serde_json::from_str::<serde_json::Value>(reason).unwrap(), expected);
}

#[test]
fn an_mcp_call_is_its_tool_with_its_arguments() {
    let policy = over(MANIFEST, MODULE);
    assert_eq!(told(&policy, &call("search", with(r#"{"limit": 10}"#))), "allow net -");
    assert_eq!(told(&policy, &call("search", with(r#"{"limit": 101}"#))), "deny net too many");
    assert_eq!(told(&policy, &call("search", with(r#"{"path": "/admin"}"#))), "deny net admin: Not there.");
    assert_eq!(told(&policy, &call("search", Look::Absent)), "allow net -");
    for unreadable in [Look::Unreadable, Look::NotLooked] {
        assert_eq!(told(&policy, &call("search", unreadable)), "deny net runtime_error:request_invalid");
    }
}

#[test]
fn a_tool_that_is_not_in_the_catalog_is_denied() {
    let policy = over(MANIFEST, MODULE);
    assert_eq!(told(&policy, &call("drop_table", Look::Absent)), "deny net runtime_error:tool_unknown");
    assert!(policy.ask(&call("drop_table", Look::NotLooked)).need().is_none(), "whatever its arguments are");
    assert!(policy.ask(&call("search", Look::NotLooked)).need().is_some());
    let without = over(&MANIFEST.replace("  http.request: {clearance: internal}\n", ""), MODULE);
    assert_eq!(told(&without, &request("/v1")), "deny net runtime_error:tool_unknown");
    assert!(!without.may_admit(Host::Name("api.example.com")));
    assert!(policy.may_admit(Host::Name("api.example.com")));
}

#[test]
fn a_catalog_that_is_not_looked_up_denies_nothing() {
    let unread = MANIFEST.replace("    tool_name_from: \"$.tool_call.name\"\n", "");
    let loaded = load(
        &unread,
        &folder(&[(
            "policy/net.rego",
            "package corp.net\nverdict := {\"decision\": \"allow\", \"reason\": type_name(input.tool)}",
        )]),
        &[],
    );
    let told_of = warnings(&loaded).concat();
    assert!(told_of.contains("not in the catalog are not denied"), "{told_of}");
    assert_eq!(told(&loaded.policy.unwrap(), &call("drop_table", Look::Absent)), "allow net null");
}

#[test]
fn a_path_that_leads_nowhere_or_through_another_type_denies() {
    let of = |target: &str, name: &str| {
        let manifest = MANIFEST.replace("\"$.tool_call.args\"", target).replace("\"$.tool_call.name\"", name);
        told(&over(&manifest, "package corp.net\nverdict := {\"decision\": \"allow\"}"), &request("/v1"))
    };
    assert_eq!(of("\"$.tool_call.args.path\"", "\"$snap.tool_call.name\""), "allow net -");
    assert_eq!(of("\"$.tool_call.args.query\"", "\"$.tool_call.name\""), "deny net runtime_error:path_missing");
    assert_eq!(of("\"$.tool_call.args.path[0]\"", "\"$.tool_call.name\""), "deny net runtime_error:path_type_mismatch");
    assert_eq!(of("\"$\"", "\"$.tool_call.args\""), "deny net runtime_error:path_type_mismatch");
    assert_eq!(of("\"$\"", "\"$.tool.name\""), "deny net runtime_error:path_missing");
}

#[test]
fn what_a_policy_cannot_evaluate_is_denied() {
    let of = |module: &str| told(&over(MANIFEST, &format!("package corp.net\n{module}")), &request("/v1"));
    // No rule holds; two rules give two verdicts; a function that does not exist here; something that is no verdict.
    assert_eq!(of("verdict := {\"decision\": \"allow\"} if false"), "deny net runtime_error:policy_invocation_failed");
    let twice = "verdict := {\"decision\": \"allow\"}\nverdict := {\"decision\": \"deny\"}";
    assert_eq!(of(twice), "deny net runtime_error:policy_invocation_failed");
    assert_eq!(
        of("verdict := {\"decision\": \"allow\"} if http.send({})"),
        "deny net runtime_error:policy_invocation_failed"
    );
    assert_eq!(of("verdict := true"), "deny net runtime_error:policy_output_invalid");
    let forged = "verdict := {\"decision\": \"allow\", \"reason\": \"runtime_error:mine\"}";
    assert_eq!(of(forged), "deny net runtime_error:policy_output_invalid");
}

#[test]
fn what_rego_cannot_do_with_a_value_leaves_its_rule_undefined_as_in_opa() {
    let policy = over(MANIFEST, MODULE);
    // A number is greater than no text: `limit > 100` compares types, and texts come after numbers.
    assert_eq!(told(&policy, &call("search", with(r#"{"limit": "1"}"#))), "deny net too many");
    // `startswith` of a number is an error, and `opa eval` goes on without the rule.
    assert_eq!(told(&policy, &call("search", with(r#"{"path": 7}"#))), "allow net -");
}

#[test]
fn a_warning_allows_and_an_escalation_or_a_transform_denies() {
    let of = |version: &str, verdict: &str| {
        let manifest = MANIFEST.replace("0.3.1-beta", version);
        let policy = over(&manifest, &format!("package corp.net\nverdict := {verdict}"));
        let remedy = policy.decide(&request("/v1")).rule.unwrap().remedy.unwrap_or("-");
        format!("{}; {remedy}", told(&policy, &request("/v1")))
    };
    assert_eq!(of("0.3.1-beta", r#"{"decision": "warn", "reason": "seldom"}"#), "allow net warning: seldom; -");
    let escalated = of("0.3.1-beta", r#"{"decision": "escalate", "reason": "payment"}"#);
    assert!(escalated.starts_with("deny net escalate: payment; A person"), "{escalated}");
    let transform = r#"{"decision": "transform", "transform": {"path": "$policy_target.path", "value": "/"}}"#;
    assert!(of("0.3.1-beta", transform).starts_with("deny net transform; The policy would change"));
    for version in ["0.4.0-alpha", "0.4.0-alpha.1", "0.4.0b1"] {
        assert!(of(version, &transform.replace("$policy_target", "$target")).starts_with("deny net transform; "));
        let warned = r#"{"decision": "allow", "warnings": [{"message": "Look."}]}"#;
        assert_eq!(of(version, warned), "allow net warning: Look.; -");
        let liftable = of(version, r#"{"decision": "deny", "reason": "big", "approval": {}}"#);
        assert!(liftable.starts_with("deny net escalate: big; A person"), "{liftable}");
    }
}

#[test]
fn a_sets_warnings_and_labels_are_lists_as_opa_prints_them() {
    let module = "package corp.net\nwarnings contains {\"message\": \"w\"}\nverdict := {\"decision\": \"allow\", \"warnings\": warnings, \"result_labels\": {\"a\"}}";
    assert_eq!(
        told(&over(&MANIFEST.replace("0.3.1-beta", "0.4.0-alpha.1"), module), &request("/v1")),
        "allow net warning: w"
    );
}

#[test]
fn a_path_with_two_readings_must_be_allowed_in_both() {
    let policy = over(MANIFEST, MODULE);
    let subject = |paths: &'static [&'static str]| Subject { paths, ..request("/v1") };
    assert_eq!(told(&policy, &subject(&["/x%2F..", "/v1"])), "allow net -");
    assert_eq!(told(&policy, &subject(&["/x", "/admin"])), "deny net admin: Not there.");
    assert_eq!(told(&policy, &subject(&["/admin", "/x"])), "deny net admin: Not there.");
    assert_eq!(told(&policy, &subject(&[])), "deny net runtime_error:request_invalid");
}

#[test]
fn a_call_too_large_or_too_deep_is_denied() {
    let policy = over(&format!("{MANIFEST}\nlimits: {{max_snapshot_bytes: 2000}}\n"), MODULE);
    let long: &'static str = Box::leak(format!("{{\"q\": \"{}\"}}", "x".repeat(2_000)).into_boxed_str());
    assert_eq!(told(&policy, &call("search", with(long))), "deny net runtime_error:resource_limit_exceeded");
    let deep: &'static str = Box::leak(format!("{{\"q\": {}1{}}}", "[".repeat(70), "]".repeat(70)).into_boxed_str());
    assert_eq!(told(&policy, &call("search", with(deep))), "deny net runtime_error:resource_limit_exceeded");
    assert_eq!(told(&policy, &call("search", with("{\"q\": [[1]]}"))), "allow net -");
}

#[test]
fn metadata_services_are_denied_whatever_the_policy_says() {
    let policy = over(MANIFEST, "package corp.net\nverdict := {\"decision\": \"allow\"}");
    let subject = Subject { host: Host::Name("metadata.google.internal"), ..request("/v1") };
    assert_eq!(policy.decide(&subject).code, Some(Code::Metadata));
}

#[test]
fn a_manifest_without_the_point_denies_every_call() {
    let manifest =
        MANIFEST.replace("pre_tool_call:", "output:").replace("    tool_name_from: \"$.tool_call.name\"\n", "");
    let loaded = load(&manifest, &folder(&[("policy/net.rego", MODULE)]), &["output"]);
    let told_of = warnings(&loaded).concat();
    assert!(told_of.contains("denies every call"), "{told_of}");
    let policy = loaded.policy.unwrap();
    let denied = "deny agent_control_specification_version runtime_error:intervention_point_unknown";
    assert_eq!(told(&policy, &request("/v1")), denied);
    assert!(!policy.may_admit(Host::Name("api.example.com")));
}

#[test]
fn handshakes_and_lists_pass_where_some_call_could() {
    let opening = |method: &'static str| {
        let mut subject = call("x", Look::Absent);
        subject.mcp = subject.mcp.map(|mcp| Mcp { method, tool: None, ..mcp });
        subject
    };
    let policy = over(MANIFEST, MODULE);
    assert_eq!(told(&policy, &opening("tools/list")), "allow (opening)");
    assert_eq!(told(&policy, &opening("resources/read")), "deny net runtime_error:tool_unknown");
    let without = over(&MANIFEST.replace("  search: {}\n", ""), MODULE);
    assert_eq!(told(&without, &opening("tools/list")), "deny (opening)");
}

#[test]
fn a_decision_is_explained_and_outlined_by_the_policys_id() {
    let policy = over(MANIFEST, MODULE);
    let explanation = explain(&policy, &request("/admin"));
    assert_eq!((explanation.verdict, explanation.rule.as_deref()), ("deny", Some("net")));
    assert_eq!(
        (explanation.reason.as_deref(), explanation.matched),
        (Some("admin: Not there."), vec!["net".to_owned()])
    );
    let outline = policy.outline();
    assert_eq!(outline.iter().map(|rule| (rule.name, rule.effect)).collect::<Vec<_>>(), [("net", "rego")]);
    assert_eq!(policy.files().len(), 1);
    // It may be put in force in front of requests and of messages.
    assert_eq!((policy.unsupplied(false), policy.unsupplied(true)), (None, None));
    let monitored = policy.monitored();
    let decision = monitored.decide(&request("/admin"));
    assert_eq!((decision.verdict, decision.enforced), (Decided::Deny, false));
}
