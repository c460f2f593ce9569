//! Manifests of the Agent Control Specification (ACS): `agent_control_specification_version`, with policies in Rego.
//!
//! A manifest says what of a call a Rego query is asked about and which tools there are; the query's verdict decides. Rules have no order here,
//! precedence is Rego's. An HTTP request is a call of the tool `http.request`. Every failure is a denial with one of AGT's reserved reasons.
//! Rego allocates and takes microseconds, so decisions under a manifest are no part of the allocation-free path.

mod bundle;
mod fault;
mod input;
mod parts;
mod path;
mod reads;
mod reasons;
mod rego;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::super::Outline;
use super::super::decide::RuleView;
use super::super::problem::{Place, did_you_mean};
use super::super::subject::Stage;
use super::super::yaml::Entry;
use super::course::{Course, Ruling};
use super::facts::{Facts, HTTP_TOOL, Scope};
use super::reading::Reading;
use crate::limits;

use fault::Fault;
use input::POINT;
use parts::{Part, Parts};
use path::Path;
use reasons::Reasons;
use rego::Rego;
use verdict::{Decision, Verdict, Words};

/// The key by which a manifest is known.
pub(super) const VERSION: &str = "agent_control_specification_version";

/// A manifest as it decides.
#[derive(Debug)]
pub(super) struct Manifest {
    words: Words,
    /// Nothing where the manifest has no point before tool calls: then every call is of an unknown point.
    point: Option<Point>,
    /// What policies are told of each tool.
    tools: BTreeMap<String, Json>,
    snapshot_bytes_max: usize,
    reasons: Reasons,
}

/// The intervention point before tool calls.
#[derive(Debug)]
struct Point {
    /// The policy's id, by which decisions are told.
    name: Box<str>,
    place: Place,
    target: Path,
    target_kind: Option<Box<str>>,
    /// Where the tool's name is read; without it no tool is looked up.
    tool_name: Option<Path>,
    rego: Rego,
}

/// Reads a manifest. Without an error there is one.
pub(super) fn read(entries: &[Entry], reading: &mut Reading<'_>) -> Option<Manifest> {
    let start = Place { line: 1, column: 1 };
    // The one fact of both requests and messages whose readings are decided one by one. The others are no fields but arguments of the call.
    reading.field("path", start);
    let parts = parts::read(entries, reading);
    if reading.problems.has_errors() {
        return None;
    }
    let tools = tools(&parts, reading);
    declared(&parts, reading);
    let snapshot_bytes_max = snapshot_bytes_max(parts.limits.as_ref(), reading);
    for (name, part) in &parts.points {
        if !POINTS.contains(&name.as_str()) {
            let near = did_you_mean(name, POINTS);
            reading.problems.error(part.place, format!("unknown intervention point `{name}`"), near);
        } else if name != POINT && !reading.is_unsupplied(name) {
            let message = format!("ringfence does not stand at the intervention point `{name}`");
            let remedy = format!("with `--agt-unsupplied {name}` the rest is decided without it");
            reading.problems.error(part.place, message, remedy);
        }
    }
    let point = match parts.points.get(POINT) {
        Some(part) => Some(point(part, &parts, reading)?),
        None => {
            let remedy = "give it `pre_tool_call`: every HTTP request and every MCP call is one";
            reading.problems.warning(
                start,
                "this manifest denies every call: it has no point before tool calls",
                remedy,
            );
            None
        }
    };
    let words = Words::of(&parts.version);
    Some(Manifest { words, point, tools, snapshot_bytes_max, reasons: Reasons::new() })
}

/// The catalog: what each tool's policy is told of it.
fn tools(parts: &Parts, reading: &mut Reading<'_>) -> BTreeMap<String, Json> {
    let mut tools = BTreeMap::new();
    for (name, part) in &parts.tools {
        let Json::Object(fields) = &part.value else {
            reading.problems.error(
                part.place,
                format!("the tool `{name}` is no map"),
                "write `{}` where there is nothing to say",
            );
            continue;
        };
        let mut fields = fields.clone();
        fields.insert("name".to_owned(), Json::String(name.clone()));
        tools.insert(name.clone(), Json::Object(fields));
    }
    if !tools.contains_key(HTTP_TOOL) {
        let remedy = format!("list `{HTTP_TOOL}: {{}}` under `tools` if agents may send any");
        let place = Place { line: 1, column: 1 };
        reading.problems.warning(
            place,
            format!("every HTTP request is denied: `{HTTP_TOOL}` is not among the tools"),
            remedy,
        );
    }
    tools
}

/// Annotators, approvals: checked, and told where they come to nothing here.
fn declared(parts: &Parts, reading: &mut Reading<'_>) {
    for (name, part) in &parts.annotators {
        if !matches!(text(&part.value, "type"), Some("classifier" | "llm" | "endpoint")) {
            let message = format!("the annotator `{name}` has no `type`");
            reading.problems.error(part.place, message, "one of `classifier`, `llm` and `endpoint`");
        }
    }
    let Some(approval) = &parts.approval else { return };
    let known = [
        "default_resolver",
        "timeout_seconds",
        "on_timeout",
        "fatigue_threshold",
        "fatigue_window_seconds",
        "resolvers",
    ];
    match &approval.value {
        Json::Object(fields) => {
            for name in fields.keys().filter(|name| !known.contains(&name.as_str())) {
                let near = did_you_mean(name, known);
                reading.problems.error(approval.place, format!("unknown key `{name}` in `approval`"), near);
            }
            let message = "ringfence asks no resolver of a manifest: what is to be approved is denied";
            reading.problems.warning(approval.place, message, "");
        }
        _ => reading.problems.error(approval.place, "`approval` is a map", ""),
    }
}

fn snapshot_bytes_max(part: Option<&Part>, reading: &mut Reading<'_>) -> usize {
    let Some(part) = part else { return limits::ACS_SNAPSHOT_BYTES_MAX };
    let Json::Object(fields) = &part.value else {
        reading.problems.error(part.place, "`limits` is a map", "");
        return 0;
    };
    for name in fields.keys().filter(|name| *name != "max_snapshot_bytes") {
        let message = format!("`limits.{name}` has no effect: ringfence has bounds of its own");
        reading.problems.warning(part.place, message, "");
    }
    match fields.get("max_snapshot_bytes").map(Json::as_u64) {
        None => limits::ACS_SNAPSHOT_BYTES_MAX,
        Some(Some(bytes)) => usize::try_from(bytes).unwrap_or(usize::MAX).min(limits::ACS_SNAPSHOT_BYTES_MAX),
        Some(None) => {
            reading.problems.error(part.place, "`limits.max_snapshot_bytes` is a number of bytes", "");
            0
        }
    }
}

/// The point before tool calls, with its policy.
fn point(part: &Part, parts: &Parts, reading: &mut Reading<'_>) -> Option<Point> {
    let Json::Object(fields) = &part.value else {
        reading.problems.error(part.place, format!("`{POINT}` is a map"), "");
        return None;
    };
    for name in fields.keys().filter(|name| !POINT_KEYS.contains(&name.as_str())) {
        let near = did_you_mean(name, POINT_KEYS);
        reading.problems.error(part.place, format!("unknown key `{name}` in `{POINT}`"), near);
    }
    annotations(part, parts, reading);
    let target = snapshot_path(fields, "policy_target", part.place, reading);
    if target.is_none() && !fields.contains_key("policy_target") {
        reading.problems.error(
            part.place,
            format!("`{POINT}` has no `policy_target`"),
            "write `policy_target: \"$.tool_call.args\"`",
        );
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
        reading.problems.error(part.place, format!("`{POINT}` has no policy"), "write `policy: {id: NAME}`");
        return None;
    };
    let Some(policy) = parts.policies.get(id) else {
        let near = did_you_mean(id, parts.policies.keys().map(String::as_str));
        reading.problems.error(part.place, format!("there is no policy `{id}`"), near);
        return None;
    };
    let rego = bundle::read(id, policy, (binding, part), reading)?;
    Some(Point { name: id.into(), place: part.place, target: target?, target_kind, tool_name, rego })
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
fn supplied(name: &str, place: Place, reading: &mut Reading<'_>) {
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

fn text<'j>(value: &'j Json, key: &str) -> Option<&'j str> {
    value.get(key).and_then(Json::as_str)
}

const POINTS: [&str; 8] = [
    "agent_startup",
    "input",
    "pre_model_call",
    "post_model_call",
    POINT,
    "post_tool_call",
    "output",
    "agent_shutdown",
];
const POINT_KEYS: [&str; 5] = ["policy_target", "policy_target_kind", "tool_name_from", "annotations", "policy"];

impl Manifest {
    /// Where the manifest leads.
    pub(super) fn course(&self, facts: &Facts<'_>) -> Course<'_> {
        if facts.subject.stage != Stage::Request {
            return Course::settled(Ruling::by_default(true));
        }
        if let Some(known) = self.known_beforehand(facts) {
            return Course::settled(known);
        }
        if facts.scope != Scope::Whole || facts.subject.query.is_open() || facts.subject.arguments().is_open() {
            return Course::unknown();
        }
        Course::settled(self.ruling(facts).unwrap_or_else(|fault| self.failed(fault)))
    }

    /// What can be told without the call's own facts: whether there is a point, and whether its tool is in the catalog.
    fn known_beforehand(&self, facts: &Facts<'_>) -> Option<Ruling<'_>> {
        let Some(point) = &self.point else { return Some(self.failed(Fault::PointUnknown)) };
        // Another path than this may name another tool.
        point.tool_name.as_ref().filter(|path| matches!(path.as_str(), "$.tool_call.name" | "$snap.tool_call.name"))?;
        let is_known = match (facts.scope, &facts.subject.mcp) {
            (Scope::SomeMessage, _) => self.tools.keys().any(|name| name != HTTP_TOOL),
            (Scope::Place { .. }, _) | (Scope::Whole, None) => self.tools.contains_key(HTTP_TOOL),
            (Scope::Whole, Some(mcp)) => self.tools.contains_key(mcp.tool.unwrap_or(mcp.method)),
        };
        (!is_known).then(|| self.failed(Fault::ToolUnknown))
    }

    fn ruling(&self, facts: &Facts<'_>) -> Result<Ruling<'_>, Fault> {
        let point = self.point.as_ref().ok_or(Fault::PointUnknown)?;
        // In AGT's order: the target, the tool, the policy.
        let snapshot = input::snapshot(facts, self.snapshot_bytes_max)?;
        let target = point.target.read(&snapshot)?.clone();
        let tool = match &point.tool_name {
            None => Json::Null,
            Some(path) => {
                let name = path.read(&snapshot)?.as_str().ok_or(Fault::PathTypeMismatch)?;
                self.tools.get(name).ok_or(Fault::ToolUnknown)?.clone()
            }
        };
        let input = input::policy_input(snapshot, (point.target_kind.as_deref(), point.target.as_str(), target), tool);
        let output = point.rego.evaluate(input, facts.subject.time_ns)?;
        let verdict = Verdict::read(&output, self.words)?;
        Ok(self.told(point, &verdict))
    }

    /// A verdict as rulings are told: the policy's id, its reason, and what ringfence adds.
    fn told<'r>(&'r self, point: &'r Point, verdict: &Verdict) -> Ruling<'r> {
        let (allows, word, remedy) = match verdict.decision {
            Decision::Allow => (true, None, None),
            Decision::Warn => (true, Some("warning"), None),
            Decision::Deny => (false, None, None),
            Decision::Escalate => (false, Some("escalate"), Some(APPROVAL)),
            Decision::Transform => (false, Some("transform"), Some(TRANSFORM)),
        };
        let reason = match (word, &verdict.reason) {
            (None, None) => None,
            (None, Some(reason)) => Some(self.reasons.keep(reason)),
            (Some(word), None) => Some(word),
            (Some(word), Some(reason)) => Some(self.reasons.keep(&format!("{word}: {reason}"))),
        };
        Ruling::by_rule(allows, RuleView { name: &point.name, reason, remedy })
    }

    fn failed(&self, fault: Fault) -> Ruling<'_> {
        let name = self.point.as_ref().map_or(VERSION, |point| &*point.name);
        Ruling::by_rule(false, RuleView { name, reason: Some(fault.reason()), remedy: Some(fault.remedy()) })
    }

    /// The policy of the point, which is what matches.
    pub(super) fn matching(&self, facts: &Facts<'_>) -> Vec<String> {
        let course = self.course(facts);
        course.last.rule.iter().filter(|_| !course.is_open).map(|rule| rule.name.to_owned()).collect()
    }

    /// The points, for people.
    pub(super) fn outline(&self) -> Vec<Outline<'_>> {
        self.point.iter().map(|point| Outline { name: &point.name, effect: "rego", place: point.place }).collect()
    }

    /// Heap bytes, roughly.
    pub(super) fn bytes(&self) -> usize {
        let tools: usize = self.tools.iter().map(|(name, tool)| name.len() + tool.to_string().len()).sum();
        tools + self.reasons.bytes() + self.point.as_ref().map_or(0, |point| point.rego.bytes())
    }
}

const APPROVAL: &str = "A person would have to approve this, and ringfence asks none for a manifest.";
const TRANSFORM: &str = "The policy would change the call, and ringfence forwards calls as they came.";
