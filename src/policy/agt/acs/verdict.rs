//! What a Rego query gave, as a verdict: `{decision, reason?, message?, …}`. Whatever is not exactly that is a denial.

use serde_json::{Map, Value as Json};

use super::fault::Fault;
use super::path;

/// Which words a manifest's version has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Words {
    /// Up to 0.3: `warn` and `escalate` are decisions.
    Beta,
    /// From 0.4 on: `warnings` go with `allow`, `approval` goes with `deny`. Policies may go on using the older words.
    Hooks,
}

/// What a policy decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) decision: Decision,
    /// Its reason and its message, in one text.
    pub(super) reason: Option<String>,
}

/// A decision as far as ringfence tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    Allow,
    /// An allow with a warning.
    Warn,
    Deny,
    /// A person is to be asked.
    Escalate,
    /// The call is to go with something else in place of the policy target.
    Transform,
}

impl Words {
    /// A version is any text that is not empty; one that nobody knows is held to the newer, stricter shape.
    pub(super) fn of(version: &str) -> Words {
        if version.trim().starts_with("0.3.") { Words::Beta } else { Words::Hooks }
    }
}

impl Verdict {
    /// Reads what the query gave.
    pub(super) fn read(output: &Json, words: Words) -> Result<Verdict, Fault> {
        let Json::Object(output) = output else { return Err(Fault::OutputInvalid) };
        let decision = match text(output, "decision")?.as_deref() {
            Some("allow") => Decision::Allow,
            Some("warn") => Decision::Warn,
            Some("deny") => Decision::Deny,
            Some("escalate") => Decision::Escalate,
            Some("transform") => Decision::Transform,
            Some(_) | None => return Err(Fault::OutputInvalid),
        };
        // Effects became one transform in 0.3; a policy that still gives them would be taken for one that changes nothing.
        if output.contains_key("effects") {
            return Err(Fault::OutputInvalid);
        }
        let (reason, message) = (text(output, "reason")?, text(output, "message")?);
        if reason.as_deref().is_some_and(|reason| is_reserved(reason, words)) {
            return Err(Fault::OutputInvalid);
        }
        transform(output, decision)?;
        evidence(output)?;
        labels(output)?;
        let (mut decision, mut message) = (decision, message);
        if words == Words::Hooks {
            if let Some(warning) = warnings(output)?
                && decision == Decision::Allow
            {
                decision = Decision::Warn;
                message = message.or(warning);
            }
            match (member(output, "approval"), decision) {
                (None, _) => {}
                (Some(Json::Object(_)), Decision::Deny | Decision::Escalate) => decision = Decision::Escalate,
                (Some(_), _) => return Err(Fault::OutputInvalid),
            }
        }
        let reason = match (reason, message) {
            (Some(reason), Some(message)) => Some(format!("{reason}: {message}")),
            (reason, message) => reason.or(message),
        };
        Ok(Verdict { decision, reason })
    }
}

/// A member that is there and not null.
fn member<'v>(object: &'v Map<String, Json>, name: &str) -> Option<&'v Json> {
    object.get(name).filter(|value| !value.is_null())
}

fn text(object: &Map<String, Json>, name: &str) -> Result<Option<String>, Fault> {
    match member(object, name) {
        None => Ok(None),
        Some(Json::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Fault::OutputInvalid),
    }
}

fn is_reserved(reason: &str, words: Words) -> bool {
    reason.starts_with("runtime_error:") || (words == Words::Hooks && reason.starts_with("host_error:"))
}

/// A transform stands with the decision of that name and with no other.
fn transform(output: &Map<String, Json>, decision: Decision) -> Result<(), Fault> {
    let found = member(output, "transform");
    if decision != Decision::Transform {
        return if found.is_none() { Ok(()) } else { Err(Fault::OutputInvalid) };
    }
    let Some(Json::Object(transform)) = found else { return Err(Fault::OutputInvalid) };
    let Some(Json::String(path)) = transform.get("path") else { return Err(Fault::OutputInvalid) };
    if !path::is_of_target(path) {
        return Err(Fault::TransformForbidden);
    }
    if transform.contains_key("value") { Ok(()) } else { Err(Fault::TransformInvalid) }
}

/// Evidence for an auditor is checked in shape and goes no further.
fn evidence(output: &Map<String, Json>) -> Result<(), Fault> {
    let Some(evidence) = member(output, "evidence") else { return Ok(()) };
    if evidence.to_string().len() > EVIDENCE_BYTES_MAX {
        return Err(Fault::OutputInvalid);
    }
    let Json::Object(evidence) = evidence else { return Err(Fault::OutputInvalid) };
    text(evidence, "artefact")?;
    match member(evidence, "verification_pointers") {
        None => Ok(()),
        Some(Json::Object(pointers)) if pointers.values().all(Json::is_string) => Ok(()),
        Some(_) => Err(Fault::OutputInvalid),
    }
}

/// Labels of what the call produces are for a host that keeps them; ringfence does not.
fn labels(output: &Map<String, Json>) -> Result<(), Fault> {
    match member(output, "result_labels") {
        None => Ok(()),
        Some(Json::Array(labels)) if labels.iter().all(Json::is_string) => Ok(()),
        Some(_) => Err(Fault::OutputInvalid),
    }
}

/// The first warning, in one text; the outer `None` where there is none.
fn warnings(output: &Map<String, Json>) -> Result<Option<Option<String>>, Fault> {
    let warnings = match member(output, "warnings") {
        None => return Ok(None),
        Some(Json::Array(warnings)) => warnings,
        Some(_) => return Err(Fault::OutputInvalid),
    };
    let mut first = None;
    for warning in warnings {
        let Json::Object(warning) = warning else { return Err(Fault::OutputInvalid) };
        let told = text(warning, "message")?.or(text(warning, "reason")?);
        first = first.or(Some(told));
    }
    Ok(first)
}

/// AGT's bound.
const EVIDENCE_BYTES_MAX: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(output: serde_json::Value, words: Words) -> Result<(Decision, Option<String>), Fault> {
        Verdict::read(&output, words).map(|verdict| (verdict.decision, verdict.reason))
    }

    #[test]
    fn a_verdict_of_either_version_is_understood() {
        for words in [Words::Beta, Words::Hooks] {
            assert_eq!(read(json!({"decision": "allow"}), words), Ok((Decision::Allow, None)));
            let warned = json!({"decision": "warn", "reason": "seldom", "message": "Look again."});
            assert_eq!(read(warned, words), Ok((Decision::Warn, Some("seldom: Look again.".to_owned()))));
            let denied = json!({"decision": "deny", "message": "No.", "reason": null, "result_labels": []});
            assert_eq!(read(denied, words), Ok((Decision::Deny, Some("No.".to_owned()))));
            assert_eq!(read(json!({"decision": "escalate"}), words), Ok((Decision::Escalate, None)));
            for path in ["$policy_target.q", "$target"] {
                let changed = json!({"decision": "transform", "transform": {"path": path, "value": null}});
                assert_eq!(read(changed, words), Ok((Decision::Transform, None)));
            }
        }
    }

    #[test]
    fn from_0_4_on_warnings_go_with_allow_and_an_approval_with_deny() {
        let warned = json!({"decision": "allow", "warnings": [{"reason": "r", "message": "m"}, {}]});
        assert_eq!(read(warned.clone(), Words::Hooks), Ok((Decision::Warn, Some("m".to_owned()))));
        assert_eq!(read(warned, Words::Beta), Ok((Decision::Allow, None)), "0.3 does not know them");
        let liftable = json!({"decision": "deny", "reason": "r", "approval": {"group": "ops"}});
        assert_eq!(read(liftable.clone(), Words::Hooks), Ok((Decision::Escalate, Some("r".to_owned()))));
        assert_eq!(read(liftable, Words::Beta), Ok((Decision::Deny, Some("r".to_owned()))));
        for invalid in [
            json!({"decision": "allow", "approval": {}}),
            json!({"decision": "deny", "approval": true}),
            json!({"decision": "allow", "warnings": "w"}),
            json!({"decision": "allow", "warnings": ["w"]}),
            json!({"decision": "deny", "reason": "host_error:x"}),
        ] {
            assert_eq!(read(invalid.clone(), Words::Hooks), Err(Fault::OutputInvalid), "{invalid}");
        }
        assert_eq!(Words::of("0.3.1-beta"), Words::Beta);
        assert_eq!(Words::of("0.3.0-alpha-agt"), Words::Beta);
        for newer in ["0.4.0-alpha", "0.4.0-alpha.1", "0.4.0b1", "0.5.0-alpha.1", "banana"] {
            assert_eq!(Words::of(newer), Words::Hooks);
        }
    }

    #[test]
    fn what_is_no_verdict_is_a_denial() {
        for words in [Words::Beta, Words::Hooks] {
            for invalid in [
                json!(true),
                json!([]),
                json!({}),
                json!({"decision": "Allow"}),
                json!({"decision": true}),
                json!({"decision": "allow", "effects": []}),
                json!({"decision": "allow", "effects": null}),
                json!({"decision": "allow", "reason": "runtime_error:mine"}),
                json!({"decision": "allow", "reason": 1}),
                json!({"decision": "allow", "message": {}}),
                json!({"decision": "allow", "transform": {"path": "$policy_target", "value": 1}}),
                json!({"decision": "transform"}),
                json!({"decision": "transform", "transform": {"value": 1}}),
                json!({"decision": "allow", "evidence": "x"}),
                json!({"decision": "allow", "evidence": {"artefact": "x".repeat(5000)}}),
                json!({"decision": "allow", "evidence": {"verification_pointers": {"a": 1}}}),
                json!({"decision": "allow", "result_labels": ["a", 1]}),
            ] {
                assert_eq!(read(invalid.clone(), words), Err(Fault::OutputInvalid), "{invalid}");
            }
            let elsewhere = json!({"decision": "transform", "transform": {"path": "$snap.tool_call", "value": 1}});
            assert_eq!(read(elsewhere, words), Err(Fault::TransformForbidden));
            let nothing = json!({"decision": "transform", "transform": {"path": "$target"}});
            assert_eq!(read(nothing, words), Err(Fault::TransformInvalid));
        }
    }
}
