//! What must be on record, and what a refused caller must have been told.

use super::harness::Site;
use super::programs::Answer;
use serde_json::Value;

/// The contract's answer, and the same facts on record under the same id.
pub(crate) fn refused(site: &Site, answer: &Answer, (method, path): (&str, &str), rule: Option<[&str; 3]>) {
    assert_eq!(answer.status, 403, "{answer:?}");
    assert_eq!(answer.headers.get("content-type").map(String::as_str), Some("application/problem+json"));
    let id = answer.headers.get("ringfence-decision").unwrap_or_else(|| panic!("no id: {answer:?}"));
    let body = answer.json(site);
    assert_eq!((&body["type"], &body["title"]), (&"about:blank".into(), &"Blocked by policy".into()));
    assert_eq!((&body["status"], &body["decision"]), (&403.into(), &id.as_str().into()));

    let records = site.records();
    let record = records.iter().find(|record| record["kind"] == "decision" && record["id"] == id.as_str());
    let record = record.unwrap_or_else(|| panic!("{id} is not on record: {records:?}"));
    assert_eq!((&record["verdict"], &record["status"]), (&"deny".into(), &403.into()));
    assert_eq!((&record["method"], &record["path"]), (&method.into(), &path.into()));
    match rule {
        Some([rule, reason, remedy]) => {
            assert_eq!([&body["rule"], &body["reason"], &body["remedy"]], [rule, reason, remedy]);
            assert_eq!((&record["rule"], &record["reason"]), (&rule.into(), &reason.into()));
        }
        None => {
            assert_eq!((body.get("rule"), &body["code"]), (None, &"default".into()));
            assert_eq!((record.get("rule"), &record["code"]), (None, &"default".into()));
        }
    }
}

pub(crate) fn reached_nothing(site: &Site) {
    let seen = site.seen();
    assert!(seen.is_empty(), "the origin has seen {seen:?}");
}

/// A call that was allowed, as its records must tell it.
pub(crate) struct Call {
    method: &'static str,
    path: String,
    /// Bytes that came down and went up at least; heads and framing may come on top.
    down: u64,
    up: u64,
}

impl Call {
    pub(crate) fn new(method: &'static str, path: String, down: u64, up: u64) -> Call {
        Call { method, path, down, up }
    }
}

/// Under a fence: these calls, in this order, and no others are on record, each with the outcome that the client saw.
pub(crate) fn all_on_record(site: &Site, calls: &[Call]) {
    if !site.is_fenced() {
        return;
    }
    let records = site.records();
    let decisions = decisions(&records);
    assert_eq!(decisions.len(), calls.len(), "{decisions:?}");
    for (decision, call) in decisions.iter().zip(calls) {
        assert_eq!((&decision["method"], &decision["path"]), (&call.method.into(), &call.path.as_str().into()));
        assert_eq!((&decision["verdict"], decision.get("enforced")), (&"allow".into(), None));
        let outcome = records.iter().find(|record| record["kind"] == "outcome" && record["id"] == decision["id"]);
        let outcome = outcome.unwrap_or_else(|| panic!("no outcome of {decision}"));
        assert_eq!(outcome["status"], 200, "{outcome}");
        let bytes = |name: &str| outcome[name].as_u64().unwrap_or(0);
        assert!(bytes("bytes_down") >= call.down && bytes("bytes_up") >= call.up, "{outcome}");
    }
}

/// The decisions about requests; names and connections are decided apart.
pub(crate) fn decisions(records: &[Value]) -> Vec<&Value> {
    records.iter().filter(|record| record["kind"] == "decision" && record["protocol"] == "http/1.1").collect()
}
