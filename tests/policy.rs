//! `ringfence policy` as its users call it: exit codes, texts and shapes of the contract.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

fn ringfence(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringfence")).args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A folder with one file in it.
fn file(name: &str, content: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    (folder, path.to_str().unwrap().to_owned())
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

const POLICY: &str = "\
ringfence: v1
mcp_servers: { files: { url: \"https://mcp.example.com/mcp\" } }
rules:
  - allow: read
    host: api.example.com
    access: read-only
    when: { agent: coder, hours: \"08:00-18:00\" }
  - allow: file tools
    mcp: { server: files, tool: [search, \"read_*\"] }
    args: { path: { glob: \"/workspace/**\" } }
  - deny: secrets
    path: /secret/**
    reason: These are secret.
";

fn explain(policy: &str, request: &Value) -> Value {
    let output = ringfence(&["policy", "explain", policy, "--json", "--request", &request.to_string()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn explain_says_which_rules_matched_which_won_and_what_the_nearest_allow_missed() {
    let (_folder, policy) = file("policy.yaml", POLICY);
    let request = json!({"url": "https://api.example.com/x", "agent": "coder", "time": "2026-11-23T12:00:00Z"});
    let allowed = json!({"verdict": "allow", "enforced": true, "rule": "read", "matched": ["read"]});
    assert_eq!(explain(&policy, &request), allowed);
    let request = json!({"url": "https://api.example.com/x", "agent": "coder", "time": "2026-11-23T19:00:00Z"});
    let missed = json!({
        "verdict": "deny", "enforced": true, "code": "default", "matched": [],
        "missed": {"rule": "read", "condition": "when"},
    });
    assert_eq!(explain(&policy, &request), missed);
    let call = |tool: &str, path: &str| json!({"mcp": {"server": "files", "tool": tool, "args": {"path": path}}});
    let allowed = json!({"verdict": "allow", "enforced": true, "rule": "file tools", "matched": ["file tools"]});
    assert_eq!(explain(&policy, &call("read_file", "/workspace/a")), allowed);
    for path in ["/etc/passwd", "/workspace/../etc/passwd"] {
        let found = explain(&policy, &call("read_file", path));
        assert_eq!((&found["verdict"], &found["missed"]["condition"]), (&json!("deny"), &json!("args")), "{path}");
    }
    let found = explain(&policy, &call("write", "/workspace/a"));
    assert_eq!(found["missed"], json!({"rule": "file tools", "condition": "mcp"}));
    let found = explain(&policy, &json!({"mcp": {"server": "files", "method": "tools/list"}}));
    assert_eq!(found["verdict"], json!("allow"));
    let found = explain(&policy, &json!({"url": "https://mcp.example.com/secret/x"}));
    assert_eq!((&found["rule"], &found["reason"]), (&json!("secrets"), &json!("These are secret.")));
}

#[test]
fn explain_names_the_matching_rules_with_their_lines_for_a_person() {
    let (_folder, policy) = file("policy.yaml", POLICY);
    let request = r#"{"url": "https://api.example.com/secret/x", "agent": "coder", "time": "2026-11-23T12:00:00Z"}"#;
    let output = ringfence(&["policy", "explain", &policy, "--request", request]);
    assert_eq!(
        text(&output),
        "deny by the rule `secrets`\n  reason   These are secret.\n  matched  allow: `read` (line 4)\n  matched  deny: `secrets` (line 11)\n"
    );
}

#[test]
fn reach_answers_by_its_exit_code_whether_anything_may_get_there() {
    let (_folder, policy) = file("policy.yaml", POLICY);
    for (place, code, start) in [
        ("api.example.com", 1, "yes, by the rule `read` (line 4)"),
        ("api.example.com:8443", 0, "no"),
        ("api.example.com/secret/x", 0, "no"),
        ("mcp.example.com/mcp", 1, "yes, by the rule `file tools` (line 8)"),
        ("pastebin.com", 0, "no"),
    ] {
        let output = ringfence(&["policy", "check", &policy, "--reach", place]);
        assert_eq!(output.status.code(), Some(code), "{place}: {output:?}");
        assert!(text(&output).starts_with(&format!("{policy}: {start}")), "{output:?}");
    }
    assert_eq!(ringfence(&["policy", "check", &policy, "--reach", "a b"]).status.code(), Some(2));
    let (_folder, broken) = file("broken.yaml", "ringfence: v2\n");
    assert_eq!(ringfence(&["policy", "check", &broken, "--reach", "pastebin.com"]).status.code(), Some(2));
}

#[test]
fn test_decides_fixtures_and_tells_those_that_are_not_as_expected() {
    let (_folder, policy) = file("policy.yaml", POLICY);
    let (_more, fixtures) = file(
        "fixtures.yaml",
        "- name: reads\n  request: { url: \"https://api.example.com/x\", agent: coder, time: \"2026-11-23T12:00:00Z\" }\n  expect: { verdict: allow, rule: read }\n- name: nobody else\n  request: { url: \"https://api.example.com/x\" }\n  expect: { verdict: deny, rule: null }\n",
    );
    let output = ringfence(&["policy", "test", &policy, &fixtures]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(text(&output), "2 fixtures: 2 as expected, 0 not\n");
    let (_more, wrong) = file(
        "fixtures.json",
        r#"[{"name": "tool", "request": {"mcp": {"server": "files", "tool": "write"}}, "expect": {"verdict": "allow", "rule": "file tools"}}]"#,
    );
    let output = ringfence(&["policy", "test", &policy, &fixtures, &wrong]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let expected = format!(
        "{wrong}: `tool`: expected allow by `file tools`, found deny by no rule\n3 fixtures: 2 as expected, 1 not\n"
    );
    assert_eq!(text(&output), expected);
}

#[test]
fn test_refuses_what_are_no_fixtures() {
    let (_folder, policy) = file("policy.yaml", POLICY);
    for content in [
        "[]",
        "- name: a\n",
        "- { name: a, expect: { verdict: maybe } }",
        "- { name: a, request: { url: x }, expect: { verdict: deny } }",
    ] {
        let (_more, fixtures) = file("fixtures.yaml", content);
        let output = ringfence(&["policy", "test", &policy, &fixtures]);
        assert_eq!(output.status.code(), Some(2), "{content}: {output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1, "{output:?}");
    }
    let empty = tempfile::tempdir().unwrap();
    let output = ringfence(&["policy", "test", &policy, "--from-audit", empty.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn the_published_schema_is_the_one_that_the_program_prints() {
    let output = ringfence(&["policy", "schema"]);
    assert!(output.status.success());
    let published = std::fs::read_to_string(repository("docs/policy.schema.json")).unwrap();
    assert!(text(&output) == published, "run `ringfence policy schema > docs/policy.schema.json`");
}

#[test]
fn the_examples_decide_as_their_fixtures_say() {
    for (policy, fixtures) in [
        ("examples/policies/coding-agent.yaml", "examples/policies/coding-agent.fixtures.yaml"),
        ("examples/policies/research-agent.yaml", "examples/policies/research-agent.fixtures.yaml"),
        ("examples/policies/mcp-server.yaml", "examples/policies/mcp-server.fixtures.yaml"),
        ("examples/policies/agt-document.yaml", "examples/policies/agt-document.fixtures.yaml"),
        ("examples/policies/agt-toolkit.yaml", "examples/policies/agt-toolkit.fixtures.yaml"),
        ("examples/policies/agt-tools.yaml", "examples/policies/agt-tools.fixtures.yaml"),
        ("examples/policies/agt-egress.yaml", "examples/policies/agt-egress.fixtures.yaml"),
        ("examples/policies/acs/manifest.yaml", "examples/policies/acs/fixtures.yaml"),
    ] {
        let (policy, fixtures) = (repository(policy), repository(fixtures));
        let output = ringfence(&["policy", "test", policy.to_str().unwrap(), fixtures.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    }
}

/// The page's fenced blocks of one kind, each with what stands in front of it.
fn blocks<'p>(page: &'p str, kind: &str) -> Vec<(&'p str, &'p str)> {
    let fence = format!("```{kind}\n");
    let starts = page.match_indices(&fence).map(|(at, _)| at);
    starts.map(|at| (&page[..at], page[at + fence.len()..].split_once("```").unwrap().0)).collect()
}

#[test]
fn every_policy_of_the_documentation_decides_as_the_fixtures_below_it_say() {
    let page = std::fs::read_to_string(repository("docs/POLICY.md")).unwrap();
    let texts = blocks(&page, "yaml").into_iter().map(|(_, text)| text);
    let (policies, rest): (Vec<&str>, Vec<&str>) = texts.partition(|text| text.contains("ringfence: v1"));
    let fixtures: Vec<&str> = rest.into_iter().filter(|text| text.starts_with("- name: ")).collect();
    assert_eq!((policies.len(), fixtures.len()), (8, 8));
    for (policy, fixtures) in policies.iter().zip(&fixtures) {
        let (_folder, policy) = file("policy.yaml", policy);
        let (_more, fixtures) = file("fixtures.yaml", fixtures);
        let output = ringfence(&["policy", "test", &policy, &fixtures]);
        assert_eq!(output.status.code(), Some(0), "{}{}", text(&output), String::from_utf8_lossy(&output.stderr));
    }
    for name in ["coding-agent", "research-agent", "mcp-server"] {
        let example = std::fs::read_to_string(repository(&format!("examples/policies/{name}.yaml"))).unwrap();
        assert!(policies.contains(&example.as_str()), "{name}.yaml differs from what the page shows");
    }
}

#[test]
fn what_the_documentation_shows_of_a_console_is_what_the_program_prints() {
    let page = std::fs::read_to_string(repository("docs/POLICY.md")).unwrap();
    let shown = blocks(&page, "console");
    assert_eq!(shown.len(), 2);
    for (before, session) in shown {
        let (command, expected) = session.strip_prefix("$ ringfence ").unwrap().split_once('\n').unwrap();
        let mut policies = blocks(before, "yaml").into_iter().map(|(_, text)| text);
        let (folder, _) = file("policy.yaml", policies.rfind(|text| text.contains("ringfence: v1")).unwrap());
        std::os::unix::fs::symlink(repository("examples"), folder.path().join("examples")).unwrap();
        let script = format!("\"$0\" {command}");
        let program = env!("CARGO_BIN_EXE_ringfence");
        let output = Command::new("sh").args(["-c", &script, program]).current_dir(folder.path()).output().unwrap();
        assert_eq!(text(&output), expected, "{command}");
    }
}

#[test]
fn every_test_that_the_claims_of_the_language_name_exists() {
    let page = std::fs::read_to_string(repository("docs/POLICY-CLAIMS.md")).unwrap();
    let mut sources = String::new();
    let mut folders = vec![repository("src"), repository("tests")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            match entry.extension() {
                _ if entry.is_dir() => folders.push(entry),
                Some(kind) if kind == "rs" => sources += &std::fs::read_to_string(&entry).unwrap(),
                _ => {}
            }
        }
    }
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| ")).skip(2).collect();
    assert!(rows.len() > 30, "{}", rows.len());
    for row in rows {
        let (_, shown) = row.trim_end_matches(" |").rsplit_once(" | ").unwrap();
        for name in shown.split(", ").map(|name| name.trim_matches('`')) {
            assert!(sources.contains(&format!("fn {name}(")), "no test `{name}`");
        }
    }
}

#[test]
fn an_agt_policy_over_what_ringfence_cannot_supply_loads_only_where_that_is_named() {
    let text = "version: \"1.0\"\nname: d\ndefaults: {action: allow}\nrules:\n\
        - {name: injection, action: deny, condition: {field: user_input, operator: matches, value: ignore}}\n";
    let (_folder, policy) = file("agt.yaml", text);
    let output = ringfence(&["policy", "check", &policy]);
    assert_eq!(output.status.code(), Some(1));
    assert!(self::text(&output).contains("agt.yaml:5:54: error: ringfence cannot supply `user_input`"), "{output:?}");
    let output = ringfence(&["policy", "check", &policy, "--agt-unsupplied", "user_input"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(self::text(&output).contains("warning: `injection` never matches"), "{output:?}");
    let request = "{\"url\": \"https://example.com/\"}";
    let output = ringfence(&["policy", "explain", &policy, "--agt-unsupplied", "user_input", "--request", request]);
    assert_eq!(self::text(&output), "allow by default: no rule matches\n");
    let output = ringfence(&["policy", "explain", &policy, "--request", request]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let output = ringfence(&["run", "--policy", &policy, "--", "true"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn run_refuses_an_agt_policy_over_what_requests_do_not_have() {
    let text = "version: \"1.0\"\nname: d\ndefaults: {action: allow}\nrules:\n\
        - {name: leak, action: deny, condition: {field: tool_response, operator: contains, value: BEGIN}}\n";
    let (_folder, policy) = file("agt.yaml", text);
    let output = ringfence(&["policy", "check", &policy]);
    assert_eq!(self::text(&output), format!("{policy}: ok, 1 rule\n"));
    let output = ringfence(&["run", "--policy", &policy, "--", "true"]);
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("requests have no `tool_response`; with `--agt-unsupplied tool_response`"), "{told}");
}
