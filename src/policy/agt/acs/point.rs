//! An intervention point of a manifest: what of a call its policy is asked about, and the policy.

use serde_json::{Map, Value as Json};

use super::super::super::problem::{Place, did_you_mean};
use super::super::reading::Reading;
use super::input::When;
use super::parts::{Part, Parts};
use super::path::Path;
use super::rego::Rego;
use super::{bundle, text};
use crate::limits;

/// An intervention point.
#[derive(Debug)]
pub(super) struct Point {
    pub(super) when: When,
    /// The policy's id, by which decisions are told.
    pub(super) name: Box<str>,
    pub(super) place: Place,
    pub(super) target: Path,
    pub(super) target_kind: Option<Box<str>>,
    /// Where the tool's name is read; without it no tool is looked up.
    pub(super) tool_name: Option<Path>,
    pub(super) rego: Rego,
}

const KEYS: [&str; 5] = ["policy_target", "policy_target_kind", "tool_name_from", "annotations", "policy"];

/// Reads a point with its policy.
pub(super) fn read((when, part): (When, &Part), parts: &Parts, reading: &mut Reading<'_>) -> Option<Point> {
    let name = when.point();
    let Json::Object(fields) = &part.value else {
        reading.problems.error(part.place, format!("`{name}` is a map"), "");
        return None;
    };
    for key in fields.keys().filter(|key| !KEYS.contains(&key.as_str())) {
        let near = did_you_mean(key, KEYS);
        reading.problems.error(part.place, format!("unknown key `{key}` in `{name}`"), near);
    }
    annotations(part, parts, reading);
    let target = snapshot_path(fields, "policy_target", part.place, reading);
    if target.is_none() && !fields.contains_key("policy_target") {
        reading.problems.error(part.place, format!("`{name}` has no `policy_target`"), when.target());
    }
    let target_kind = match fields.get("policy_target_kind") {
        None => None,
        Some(Json::String(kind)) if !kind.trim().is_empty() => Some(kind.as_str().into()),
        Some(_) => {
            reading.problems.error(part.place, "`policy_target_kind` is a text", "");
            None
        }
    };
    let tool_name = snapshot_path(fields, "tool_name_from", part.place, reading);
    if !fields.contains_key("tool_name_from") {
        let message = "tools that are not in the catalog are not denied: there is no `tool_name_from`";
        reading.problems.warning(part.place, message, "write `tool_name_from: \"$.tool_call.name\"`");
    }
    let binding = fields.get("policy").filter(|binding| binding.is_object());
    let id = binding
        .and_then(|binding| text(binding, "id"))
        .filter(|id| !id.trim().is_empty() && id.len() <= limits::POLICY_TEXT_BYTES_MAX);
    let (Some(binding), Some(id)) = (binding, id) else {
        reading.problems.error(part.place, format!("`{name}` has no policy"), "write `policy: {id: NAME}`");
        return None;
    };
    let Some(policy) = parts.policies.get(id) else {
        let near = did_you_mean(id, parts.policies.keys().map(String::as_str));
        reading.problems.error(part.place, format!("there is no policy `{id}`"), near);
        return None;
    };
    let rego = bundle::read((id, policy), (binding, part), &points(id, parts), reading)?;
    Some(Point { when, name: id.into(), place: part.place, target: target?, target_kind, tool_name, rego })
}

/// Annotators are models and services that a host runs. Ringfence runs none: what they would add is missing, if the user says that it may be.
fn annotations(part: &Part, parts: &Parts, reading: &mut Reading<'_>) {
    let named = match part.value.get("annotations") {
        None => return,
        Some(Json::Object(named)) => named,
        Some(_) => return reading.problems.error(part.place, "`annotations` is a map by annotators", ""),
    };
    for (name, annotation) in named {
        if !parts.annotators.contains_key(name) {
            let near = did_you_mean(name, parts.annotators.keys().map(String::as_str));
            reading.problems.error(part.place, format!("there is no annotator `{name}`"), near);
        } else if annotation.get("annotator").is_some() {
            let message = format!("the annotation `{name}` says `annotator`, which its name says already");
            reading.problems.error(part.place, message, "leave it out");
        } else if text(annotation, "from").is_none_or(str::is_empty) {
            let message = format!("the annotation `{name}` has no `from`");
            reading.problems.error(part.place, message, "write `{from: \"$policy_target\"}`");
        } else {
            supplied(&format!("annotations.{name}"), part.place, reading);
        }
    }
}

/// Refuses what ringfence cannot supply, unless it was named, or something that it is part of.
pub(super) fn supplied(name: &str, place: Place, reading: &mut Reading<'_>) {
    let mut above = Some(name);
    while let Some(part) = above {
        if reading.is_unsupplied(part) {
            return;
        }
        above = part.rsplit_once('.').map(|(part, _)| part);
    }
    reading.refuse_unsupplied(name, place, "");
}

fn snapshot_path(fields: &Map<String, Json>, key: &str, place: Place, reading: &mut Reading<'_>) -> Option<Path> {
    match Path::of_snapshot(fields.get(key)?.as_str().unwrap_or_default()) {
        Ok(path) => Some(path),
        Err(why) => {
            reading.problems.error(place, format!("`{key}` is no path: {why}"), "such as `$.tool_call.args`");
            None
        }
    }
}

/// The points at which a policy is asked: its modules are told what any of them supplies.
fn points(id: &str, parts: &Parts) -> Vec<When> {
    let binds = |when: &When| {
        let point = parts.points.get(when.point());
        point.is_some_and(|part| part.value.get("policy").and_then(|policy| text(policy, "id")) == Some(id))
    };
    [When::Before, When::After].into_iter().filter(binds).collect()
}
