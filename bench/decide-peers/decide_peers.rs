//! The same policy and the same requests, decided by ringfence's table, by its rules walked one by one, by a manifest in Rego, by regorus alone and
//! by Cedar: `cargo bench --manifest-path bench/decide-peers/Cargo.toml`.
//!
//! Before anything is measured every peer decides every request, and all must agree with what the rules say. `regorus` is the interpreter
//! with an input that is made beforehand; `manifest` is what a request costs in ringfence, the making of its input included.

use std::hint::black_box;
use std::str::FromStr;

use cedar_policy::{Authorizer, Context, Decision, Entities, EntityUid, PolicySet, Request as CedarRequest};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ringfence::policy::{Files, Host, Policy, Source, Subject, Terms, Verdict, load, load_with};
use ringfence_decide_peers::{MANIFEST, Request, allows, cedar, native, rego, requests};

/// The folder of the manifest.
#[derive(Debug)]
struct Folder(String);

impl Files for Folder {
    fn read(&self, _path: &str) -> Result<Vec<u8>, String> {
        Ok(self.0.clone().into_bytes())
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, String> {
        Ok(vec![format!("{folder}/peer.rego")])
    }
}

fn peers(criterion: &mut Criterion) {
    for rules in [10, 100, 1_000] {
        let requests = requests(rules);
        let paths: Vec<[&str; 1]> = requests.iter().map(|(_, path)| [path.as_str()]).collect();
        let subjects: Vec<_> = requests.iter().zip(&paths).map(|((host, _), paths)| subject(host, paths)).collect();
        let expected: Vec<bool> = (0..requests.len()).map(|n| allows(n * 7_919 % rules)).collect();
        let mut group = criterion.benchmark_group("decide");
        let mut peer = |name: &str, decide: &mut dyn FnMut(usize) -> bool| {
            for (n, expected) in expected.iter().enumerate() {
                assert_eq!(decide(n), *expected, "{name}, {rules} rules, request {n}");
            }
            let mut n = 0;
            group.bench_with_input(BenchmarkId::new(name, rules), &rules, |bencher, _| {
                bencher.iter(|| {
                    n = (n + 1) % expected.len();
                    black_box(decide(black_box(n)))
                });
            });
        };
        let table = load(Source { name: "native", text: &native(rules) }).policy.expect("the native policy loads");
        peer("table", &mut |n| table.decide(&subjects[n]).verdict == Verdict::Allow);
        peer("walk", &mut |n| walk(&table, &subjects[n]));
        let folder = Folder(rego(rules));
        let loaded = load_with(Source { name: "manifest", text: MANIFEST }, &Terms { unsupplied: &[], files: &folder });
        let manifest = loaded.policy.expect("the manifest loads");
        peer("manifest", &mut |n| manifest.decide(&subjects[n]).verdict == Verdict::Allow);
        let (mut engine, inputs) = of_regorus(rules, &requests);
        peer("regorus", &mut |n| {
            engine.set_input(inputs[n].clone());
            let verdict = engine.eval_rule("data.peer.verdict".to_owned()).expect("the rule is evaluated");
            verdict["decision"] == regorus::Value::from("allow")
        });
        let (policies, entities, authorizer, asked) = of_cedar(rules, &requests);
        peer("cedar", &mut |n| authorizer.is_authorized(&asked[n], &policies, &entities).decision() == Decision::Allow);
        group.finish();
    }
}

/// The rules asked one by one: a deny that matches, else an allow that does.
fn walk(policy: &Policy, subject: &Subject<'_>) -> bool {
    let matching = policy.rules().iter().filter(|rule| rule.failed(subject).is_none());
    let mut allowed = false;
    for rule in matching {
        if rule.effect == ringfence::policy::Effect::Deny {
            return false;
        }
        allowed = true;
    }
    allowed
}

fn subject<'a>(host: &'a str, paths: &'a [&'a str]) -> Subject<'a> {
    Subject { agent: "bench", host: Host::Name(host), port: 443, method: "GET", paths, ..Subject::EMPTY }
}

/// Regorus with its inputs: no more than the policy reads.
fn of_regorus(rules: usize, requests: &[Request]) -> (regorus::Engine, Vec<regorus::Value>) {
    let mut engine = regorus::Engine::new();
    engine.add_policy("peer.rego".to_owned(), rego(rules)).expect("the module is Rego");
    let input = |(host, path): &Request| {
        let value = serde_json::json!({"host": host, "method": "GET", "path": path});
        regorus::Value::from(serde_json::json!({"policy_target": {"value": value}}))
    };
    (engine, requests.iter().map(input).collect())
}

fn of_cedar(rules: usize, requests: &[Request]) -> (PolicySet, Entities, Authorizer, Vec<CedarRequest>) {
    let policies = PolicySet::from_str(&cedar(rules)).expect("the policies are Cedar");
    let uid = |text: &str| EntityUid::from_str(text).expect("an entity");
    let asked = requests.iter().map(|(host, path)| {
        let facts = serde_json::json!({"host": host, "method": "GET", "path": path});
        let context = Context::from_json_value(facts, None).expect("a context");
        let (agent, action, resource) =
            (uid("Agent::\"bench\""), uid("Action::\"request\""), uid("Tool::\"http.request\""));
        CedarRequest::new(agent, action, resource, context, None).expect("a request")
    });
    (policies, Entities::empty(), Authorizer::new(), asked.collect())
}

criterion_group!(benches, peers);
criterion_main!(benches);
