//! What does not load, and what loads with a warning.

use super::*;

const FILES: [(&str, &str); 1] = [("policy/net.rego", MODULE)];

#[test]
fn a_manifest_loads_without_a_problem_under_any_version() {
    for version in ["0.3.1-beta", "0.3.0-alpha-agt", "0.4.0-alpha", "0.4.0-alpha.1", "0.4.0b1", "banana"] {
        let loaded = load(&MANIFEST.replace("0.3.1-beta", version), &folder(&FILES), &[]);
        assert!(loaded.policy.is_some() && loaded.problems.is_empty(), "{version}: {:?}", loaded.problems);
    }
    for version in ["\"\"", "\" \"", "0.3", "[]"] {
        let refused = error(&MANIFEST.replace("\"0.3.1-beta\"", version), &FILES, &[]);
        assert!(refused.contains("version is missing, or is no text"), "{refused}");
    }
}

#[test]
fn an_unknown_key_is_refused_where_the_schema_is_closed() {
    let at = |place: &str, more: &str| error(&MANIFEST.replace(place, &format!("{place}{more}")), &FILES, &[]);
    let top = at("metadata: {name: research-bot}\n", "polices: {}\n");
    assert!(
        top.contains("m.yaml:4:1") && top.contains("unknown key `polices`") && top.contains("`policies`?"),
        "{top}"
    );
    let point = at("    policy_target_kind: tool_args\n", "    polcy: {id: net}\n");
    assert!(point.contains("unknown key `polcy` in `pre_tool_call`") && point.contains("`policy`?"), "{point}");
    let name = error(&MANIFEST.replace("  pre_tool_call:", "  pre_tool_cal:"), &FILES, &[]);
    assert!(name.contains("unknown intervention point `pre_tool_cal`"), "{name}");
    let approval = at("  search: {}\n", "approval: {timeout: 3}\n");
    assert!(approval.contains("unknown key `timeout` in `approval`"), "{approval}");
    // Tools and metadata are open.
    let open = MANIFEST.replace("search: {}", "search: {anything: [1, {a: null}]}");
    assert!(load(&open, &folder(&FILES), &[]).policy.is_some());
}

#[test]
fn a_point_where_ringfence_does_not_stand_is_refused_unless_it_is_named() {
    let more = MANIFEST.replace(
        "intervention_points:\n",
        "intervention_points:\n  input: {policy_target: \"$.input\", policy: {id: net}}\n",
    );
    let refused = error(&more, &FILES, &[]);
    assert!(refused.contains("does not stand at the intervention point `input`"), "{refused}");
    assert!(refused.contains("--agt-unsupplied input"), "{refused}");
    assert!(load(&more, &folder(&FILES), &["input"]).policy.is_some());
}

#[test]
fn a_policy_that_is_not_rego_is_refused_with_its_remedy() {
    let of = |policy: &str| {
        let line = "{type: rego, bundle: ./policy, query: data.corp.net.verdict}";
        error(&MANIFEST.replace(line, policy), &FILES, &[])
    };
    assert!(
        of("{type: cedar, policy_set: \"permit(principal, action, resource);\"}").contains("write the policy in Rego")
    );
    assert!(of("{type: custom, adapter: mine}").contains("decided by an adapter"));
    assert!(of("{type: test}").contains("decides nothing"));
    assert!(of("{type: opa}").contains("of no type that is known"));
    assert!(of("{type: rego, bundle: ./policy, policy_path: x, query: data.a.b}").contains("a key of Cedar"));
    let url = "{type: rego, query: data.a.b, bundle_url: {url: \"https://x.example/b.tar.gz\", sha256: ab}}";
    assert!(of(url).contains("fetches no bundles"));
    assert!(of("{type: rego, bundle: b.tar.gz, query: data.a.b}").contains("packed bundle"));
    assert!(of("{type: rego, bundle: ./policy}").contains("no query that names a rule"));
    assert!(of("{type: rego, bundle: ./policy, query: data.corp.net.missing}").contains("cannot be prepared"));
    assert!(of("{type: rego, bundle: ./nowhere, query: data.corp.net.verdict}").contains("`nowhere` cannot be read"));
    assert!(of("{type: rego, bundle: ../policy, query: data.corp.net.verdict}").contains("leads out of"));
    assert!(of("{type: rego, bundle: 7, query: data.corp.net.verdict}").contains("is no path"));
    assert!(
        of("{type: rego, bundle: ./policy, query: data.corp.net.verdict, data: {a: 1}}")
            .contains("put the data into a file")
    );
}

#[test]
fn a_binding_to_nothing_or_a_path_with_a_slip_is_refused() {
    let unbound = error(&MANIFEST.replace("policy: {id: net}", "policy: {id: ned}"), &FILES, &[]);
    assert!(unbound.contains("there is no policy `ned`") && unbound.contains("`net`?"), "{unbound}");
    let none = error(&MANIFEST.replace("    policy: {id: net}\n", ""), &FILES, &[]);
    assert!(none.contains("has no policy"), "{none}");
    for (slip, from) in [("\"$tool.name\"", "\"$.tool_call.args\""), ("\"$.a[-1]\"", "\"$.tool_call.name\"")] {
        let refused = error(&MANIFEST.replace(from, slip), &FILES, &[]);
        assert!(refused.contains("is no path"), "{refused}");
    }
    let untargeted = error(&MANIFEST.replace("    policy_target: \"$.tool_call.args\"\n", ""), &FILES, &[]);
    assert!(untargeted.contains("no `policy_target`"), "{untargeted}");
}

#[test]
fn an_annotator_is_refused_unless_it_is_named() {
    let annotated = MANIFEST.replace(
        "    policy: {id: net}\n",
        "    policy: {id: net}\n    annotations: {cls: {from: \"$policy_target\"}}\n",
    ) + "annotators: {cls: {type: classifier}}\n";
    let refused = error(&annotated, &FILES, &[]);
    assert!(refused.contains("cannot supply `annotations.cls`"), "{refused}");
    assert!(load(&annotated, &folder(&FILES), &["annotations.cls"]).policy.is_some());
    assert!(load(&annotated, &folder(&FILES), &["annotations"]).policy.is_some());
    let undeclared = error(&annotated.replace("{cls: {type", "{other: {type"), &FILES, &["annotations"]);
    assert!(undeclared.contains("there is no annotator `cls`"), "{undeclared}");
    let untyped = error(&annotated.replace("type: classifier", "type: magic"), &FILES, &["annotations"]);
    assert!(untyped.contains("has no `type`"), "{untyped}");
}

#[test]
fn a_module_over_what_ringfence_cannot_supply_is_refused_unless_that_is_named() {
    let module = "package corp.net\ndefault verdict := {\"decision\": \"allow\"}\n\
        verdict := {\"decision\": \"deny\"} if input.snapshot.envelope.budgets.tool_call_count > 10\n";
    let files = [("policy/net.rego", module)];
    let refused = error(MANIFEST, &files, &[]);
    assert!(refused.contains("cannot supply `snapshot.envelope.budgets.tool_call_count`"), "{refused}");
    let loaded = load(MANIFEST, &folder(&files), &["snapshot.envelope.budgets"]);
    assert_eq!(told(&loaded.policy.unwrap(), &request("/v1")), "allow net -");
    // Tests of a bundle are not asked, so what they read does not matter.
    let tests = [FILES[0], ("policy/net_test.rego", "package corp.net_test\ntest_a if input.x\n")];
    assert!(load(MANIFEST, &folder(&tests), &[]).problems.is_empty());
}

#[test]
fn what_comes_to_nothing_here_is_warned_of() {
    let approving = format!(
        "{MANIFEST}approval: {{default_resolver: hook, on_timeout: allow, resolvers: {{hook: {{type: webhook}}}}}}\n"
    );
    let told = warnings(&load(&approving, &folder(&FILES), &[])).concat();
    assert!(told.contains("asks no resolver"), "{told}");
    let limited = format!("{MANIFEST}limits: {{max_extends_depth: 8}}\n");
    let told = warnings(&load(&limited, &folder(&FILES), &[])).concat();
    assert!(told.contains("`limits.max_extends_depth` has no effect"), "{told}");
    let sending = "package corp.net\nverdict := http.send({\"url\": \"https://x\"}).body\ns := input.snapshot\n";
    let told = warnings(&load(MANIFEST, &folder(&[("policy/net.rego", sending)]), &[])).concat();
    assert!(told.contains("calls `http.send`") && told.contains("as a whole"), "{told}");
    let stock = "package agt.egress\n\nx := 1\n";
    let files = folder(&[FILES[0], ("policy/lib/egress.rego", stock)]);
    let told = warnings(&load(MANIFEST, &files, &[])).concat();
    assert!(told.contains("allows calls in which it finds no destination"), "{told}");
    let without = MANIFEST.replace("  http.request: {clearance: internal}\n", "");
    let told = warnings(&load(&without, &folder(&FILES), &[])).concat();
    assert!(told.contains("every HTTP request is denied"), "{told}");
}

#[test]
fn data_and_libraries_come_from_the_bundle() {
    let module = "package corp.net\nimport data.lib.hosts\n\
        default verdict := {\"decision\": \"deny\"}\n\
        verdict := {\"decision\": \"allow\"} if hosts.known(input.snapshot.tool_call.args.host)\n";
    let library = "package lib.hosts\nknown(host) if host in data.lists.hosts\nknown(host) if host in data.more\n";
    let manifest = MANIFEST.replace("query: data.corp.net.verdict", "query: data.corp.net.verdict, data: more.json");
    let of = |hosts: &str, more: &str| {
        let files = folder(&[
            ("policy/net.rego", module),
            ("policy/lib/hosts.rego", library),
            ("policy/lists/data.yaml", hosts),
            ("policy/lists/other.json", "not read: a bundle's data is called data.json"),
            ("more.json", more),
        ]);
        let loaded = load(&manifest, &files, &[]);
        told(&loaded.policy.unwrap_or_else(|| panic!("{:?}", loaded.problems)), &request("/v1"))
    };
    assert_eq!(of("hosts: [api.example.com]", "{\"more\": []}"), "allow net -");
    assert_eq!(of("hosts: []", "{\"more\": [\"api.example.com\"]}"), "allow net -");
    assert_eq!(of("hosts: []", "{\"more\": []}"), "deny net -");
    // Without its library the policy cannot be evaluated, and denies.
    assert_eq!(told(&over(MANIFEST, module), &request("/v1")), "deny net runtime_error:policy_invocation_failed");
}

#[test]
fn the_digest_covers_the_modules() {
    let digest = |module: &str| *over(MANIFEST, module).digest();
    assert_eq!(digest(MODULE), digest(MODULE));
    assert_ne!(digest(MODULE), digest(&format!("{MODULE}\n# other\n")));
}
