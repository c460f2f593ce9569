//! Manifests as a whole: what loads, what is refused, and what each call comes to.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::super::super::decide::{Code, Verdict as Decided};
use super::super::super::problem::Severity;
use super::super::super::subject::{Direction, Host, Look, Lookup, Mcp, Reply, Stage, Subject, Value};
use super::super::super::{Files, Loaded, Policy, Source, Terms, explain, load_with};

mod answers;
mod example;
mod extends;
mod refusals;
mod verdicts;

/// Files by path.
#[derive(Debug, Default)]
struct Folder(BTreeMap<String, String>);

impl Files for Folder {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        self.0.get(path).map(|text| text.clone().into_bytes()).ok_or_else(|| "there is no such file".to_owned())
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, String> {
        let paths: Vec<_> = self.0.keys().filter(|path| path.starts_with(&format!("{folder}/"))).cloned().collect();
        if paths.is_empty() { Err("there is no such folder".to_owned()) } else { Ok(paths) }
    }
}

/// The arguments of a call.
#[derive(Debug)]
struct Arguments(&'static str);

impl Lookup for Arguments {
    fn values(&self, _name: &str, _found: &mut dyn FnMut(Value<'_>)) {}

    fn text(&self) -> Option<Cow<'_, [u8]>> {
        Some(self.0.as_bytes().into())
    }
}

const MANIFEST: &str = r#"
agent_control_specification_version: "0.3.1-beta"
metadata: {name: research-bot}
policies:
  net: {type: rego, bundle: ./policy, query: data.corp.net.verdict}
intervention_points:
  pre_tool_call:
    policy_target: "$.tool_call.args"
    policy_target_kind: tool_args
    tool_name_from: "$.tool_call.name"
    policy: {id: net}
tools:
  http.request: {clearance: internal}
  search: {}
"#;

/// Everything but what names a path below `/admin` or asks for too much.
const MODULE: &str = r#"
package corp.net

default verdict := {"decision": "allow"}

verdict := {"decision": "deny", "reason": "admin", "message": "Not there."} if {
    startswith(input.policy_target.value.path, "/admin")
}

verdict := {"decision": "deny", "reason": "too many"} if input.snapshot.tool_call.args.limit > 100
"#;

fn folder(files: &[(&str, &str)]) -> Folder {
    Folder(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect())
}

fn load(text: &str, files: &Folder, unsupplied: &[&str]) -> Loaded {
    let unsupplied: Vec<String> = unsupplied.iter().map(|name| (*name).to_owned()).collect();
    load_with(Source { name: "m.yaml", text }, &Terms { unsupplied: &unsupplied, files })
}

/// A manifest over one module.
fn over(manifest: &str, module: &str) -> Policy {
    let loaded = load(manifest, &folder(&[("policy/net.rego", module)]), &[]);
    loaded.policy.unwrap_or_else(|| panic!("{:?}", loaded.problems))
}

fn errors(loaded: &Loaded) -> Vec<String> {
    let errors = loaded.problems.iter().filter(|problem| problem.severity == Severity::Error);
    errors.map(ToString::to_string).collect()
}

fn warnings(loaded: &Loaded) -> Vec<String> {
    let warnings = loaded.problems.iter().filter(|problem| problem.severity == Severity::Warning);
    warnings.map(ToString::to_string).collect()
}

/// The only error.
fn error(manifest: &str, files: &[(&str, &str)], unsupplied: &[&str]) -> String {
    let loaded = load(manifest, &folder(files), unsupplied);
    assert!(loaded.policy.is_none());
    let errors = errors(&loaded);
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors.concat()
}

fn request(path: &'static str) -> Subject<'static> {
    let paths: &'static [&'static str] = Box::leak(Box::new([path]));
    let (host, headers, query) = (Host::Name("api.example.com"), Look::Absent, Look::Absent);
    Subject { agent: "coder", method: "GET", host, port: 443, paths, headers, query, ..Subject::EMPTY }
}

fn call(tool: &'static str, arguments: Look<'static>) -> Subject<'static> {
    let mcp = Mcp {
        server: "files",
        declared: true,
        direction: Direction::ToServer,
        method: "tools/call",
        tool: Some(tool),
        resource: None,
        prompt: None,
        arguments,
    };
    Subject { agent: "coder", mcp: Some(mcp), ..Subject::EMPTY }
}

fn with(arguments: &'static str) -> Look<'static> {
    Look::At(Box::leak(Box::new(Arguments(arguments))))
}

/// What is decided, in one text: the verdict, the rule, its reason.
fn told(policy: &Policy, subject: &Subject<'_>) -> String {
    let decision = policy.decide(subject);
    let verdict = decision.verdict.as_str();
    let rule = decision.rule.map(|rule| format!(" {} {}", rule.name, rule.reason.unwrap_or("-"))).unwrap_or_default();
    format!("{verdict}{rule}{}", decision.code.map(|code| format!(" ({})", code.as_str())).unwrap_or_default())
}
