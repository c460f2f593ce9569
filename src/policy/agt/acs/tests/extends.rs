//! Manifests that extend others.

use super::*;

const CHILD: &str = r#"
agent_control_specification_version: "0.3.1-beta"
extends: [base/net.yaml]
tools:
  search: {}
"#;

const BASE: &str = r#"
agent_control_specification_version: "0.3.1-beta"
policies:
  net: {type: rego, bundle: ./policy, query: data.corp.net.verdict}
intervention_points:
  pre_tool_call: {policy_target: "$.tool_call.args", tool_name_from: "$.tool_call.name", policy: {id: net}}
tools:
  http.request: {}
"#;

fn files(base: &str) -> Vec<(&str, &str)> {
    vec![("base/net.yaml", base), ("base/policy/net.rego", MODULE)]
}

#[test]
fn a_manifest_adds_to_the_one_it_extends_and_files_are_named_from_their_own_folder() {
    let loaded = load(CHILD, &folder(&files(BASE)), &[]);
    let policy = loaded.policy.unwrap_or_else(|| panic!("{:?}", loaded.problems));
    assert_eq!(told(&policy, &request("/v1")), "allow net -");
    assert_eq!(told(&policy, &call("search", Look::Absent)), "allow net -");
    assert_eq!(
        policy.files().iter().map(|path| &**path).collect::<Vec<_>>(),
        ["base/net.yaml", "base/policy/net.rego"]
    );
}

#[test]
fn what_stands_twice_must_be_the_same() {
    let same = CHILD.replace("search: {}", "http.request: {}");
    assert!(load(&same, &folder(&files(BASE)), &[]).policy.is_some());
    let clashes = [
        ("search: {}", "http.request: {clearance: secret}", "`tools.http.request` stands twice"),
        (
            "tools:\n",
            "policies: {net: {type: rego, bundle: ./policy, query: data.corp.net.verdict}}\ntools:\n",
            "`policies.net` stands twice",
        ),
        (
            "tools:\n",
            "intervention_points: {pre_tool_call: {policy_target: $}}\ntools:\n",
            "`intervention_points.pre_tool_call.policy_target` stands twice",
        ),
        ("\"0.3.1-beta\"", "\"0.4.0-alpha.1\"", "versions differ"),
    ];
    for (from, to, told) in clashes {
        let refused = error(&CHILD.replace(from, to), &files(BASE), &[]);
        assert!(refused.contains(told), "{refused}");
    }
}

#[test]
fn a_points_annotations_and_members_are_put_together() {
    let more = CHILD.replace(
        "tools:\n",
        "annotators: {a: {type: llm}, b: {type: llm}}\nintervention_points: {pre_tool_call: {policy_target_kind: args, annotations: {a: {from: $}}}}\ntools:\n",
    );
    let base = BASE.replace("policy: {id: net}}", "policy: {id: net}, annotations: {b: {from: $}}}");
    let loaded = load(&more, &folder(&files(&base)), &["annotations"]);
    assert!(loaded.policy.is_some(), "{:?}", loaded.problems);
    let clash = base.replace("b: {from: $}", "a: {from: $tool}");
    let refused = error(&more, &files(&clash), &["annotations"]);
    assert!(refused.contains("pre_tool_call.annotations.a` stands twice"), "{refused}");
}

#[test]
fn circles_urls_and_files_elsewhere_are_refused() {
    let round = files(BASE)
        .into_iter()
        .chain([("a.yaml", "agent_control_specification_version: \"0.3.1-beta\"\nextends: [./b.yaml]\n")]);
    let round: Vec<_> =
        round.chain([("b.yaml", "agent_control_specification_version: \"0.3.1-beta\"\nextends: [a.yaml]\n")]).collect();
    let refused = error(&CHILD.replace("base/net.yaml", "a.yaml"), &round, &[]);
    assert!(refused.contains("`a.yaml` extends itself"), "{refused}");
    for url in ["\"https://x.example/base.yaml\"", "{url: \"https://x.example/base.yaml\", sha256: ab}"] {
        let refused = error(&CHILD.replace("base/net.yaml", url), &files(BASE), &[]);
        assert!(refused.contains("fetches no manifests"), "{refused}");
    }
    let outside = error(&CHILD.replace("base/net.yaml", "../net.yaml"), &files(BASE), &[]);
    assert!(outside.contains("leads out of"), "{outside}");
    let missing = error(&CHILD.replace("base/net.yaml", "base/ned.yaml"), &files(BASE), &[]);
    assert!(missing.contains("`base/ned.yaml` cannot be read"), "{missing}");
    let broken = error(CHILD, &files(&BASE.replace("tools:", "tool:")), &[]);
    assert!(broken.contains("m.yaml:3:11") && broken.contains("base/net.yaml:7:1: unknown key `tool`"), "{broken}");
}

#[test]
fn a_file_may_name_its_neighbours_through_its_parent() {
    let files = [
        ("base/net.yaml", "agent_control_specification_version: \"0.3.1-beta\"\nextends: [../other/net.yaml]\n"),
        ("other/net.yaml", BASE),
        ("other/policy/net.rego", MODULE),
    ];
    assert!(load(CHILD, &folder(&files), &[]).policy.is_some());
}

#[test]
fn the_same_file_many_times_over_ends() {
    let twice = "agent_control_specification_version: \"0.3.1-beta\"\nextends: [NEXT, NEXT]\n";
    let mut files: Vec<(String, String)> =
        (0..15).map(|n| (format!("{n}.yaml"), twice.replace("NEXT", &format!("{}.yaml", n + 1)))).collect();
    files.push(("15.yaml".to_owned(), BASE.to_owned()));
    let files = Folder(files.into_iter().collect());
    let loaded = load(&CHILD.replace("base/net.yaml", "0.yaml"), &files, &[]);
    assert!(errors(&loaded).concat().contains("extended through too many others"));
}
