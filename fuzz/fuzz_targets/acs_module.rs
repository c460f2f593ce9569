//! Any text as the Rego module of an ACS manifest: no panic when it is read and none when it decides.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ringfence::policy::{Files, Host, Source, Subject, Terms, load_with};

const MANIFEST: &str = r#"
agent_control_specification_version: "0.4.0-alpha.1"
policies: {p: {type: rego, bundle: p, query: data.p.verdict}}
intervention_points: {pre_tool_call: {policy_target: $, policy: {id: p}}}
"#;

#[derive(Debug)]
struct Module<'m>(&'m str);

impl Files for Module<'_> {
    fn read(&self, _path: &str) -> Result<Vec<u8>, String> {
        Ok(self.0.as_bytes().to_vec())
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, String> {
        Ok(vec![format!("{folder}/p.rego")])
    }
}

fuzz_target!(|text: &str| {
    let module = format!("package p\n{text}");
    let unsupplied = ["snapshot".to_owned(), "annotations".to_owned()];
    let loaded =
        load_with(Source { name: "m", text: MANIFEST }, &Terms { unsupplied: &unsupplied, files: &Module(&module) });
    if let Some(policy) = loaded.policy {
        let subject = Subject { method: "GET", host: Host::Name("h.example"), paths: &["/"], ..Subject::EMPTY };
        let decision = policy.decide(&subject);
        assert!(decision.rule.is_some(), "a manifest names its policy");
    }
});
