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
mod point;
mod reads;
mod reasons;
mod rego;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::super::Outline;
use super::super::decide::RuleView;
use super::super::problem::{Place, did_you_mean};
use super::super::subject::Stage;
use super::super::yaml::Entry;
use super::course::{Course, Ruling};
use super::facts::{Facts, Field, HTTP_TOOL, Scope};
use super::reading::Reading;
use crate::limits;

use fault::Fault;
use input::When;
use parts::{Part, Parts};
use point::Point;
use reasons::Reasons;
use verdict::{Decision, Verdict, Words};

/// The key by which a manifest is known.
pub(super) const VERSION: &str = "agent_control_specification_version";

/// A manifest as it decides.
#[derive(Debug)]
pub(super) struct Manifest {
    words: Words,
    /// Nothing where the manifest has no point before tool calls: then every call is of an unknown point.
    before: Option<Point>,
    /// Nothing where answers pass unjudged.
    after: Option<Point>,
    /// What policies are told of each tool.
    tools: BTreeMap<String, Json>,
    snapshot_bytes_max: usize,
    reasons: Reasons,
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
        } else if !(name == When::Before.point() || name == When::After.point() || reading.is_unsupplied(name)) {
            let message = format!("ringfence does not stand at the intervention point `{name}`");
            let remedy = format!("with `--agt-unsupplied {name}` the rest is decided without it");
            reading.problems.error(part.place, message, remedy);
        }
    }
    let after = match parts.points.get(When::After.point()) {
        Some(part) if !reading.is_unsupplied(When::After.point()) => {
            reading.asks(When::After.point(), Field::Response);
            Some(point::read((When::After, part), &parts, reading)?)
        }
        Some(_) | None => None,
    };
    let before = match parts.points.get(When::Before.point()) {
        Some(part) => Some(point::read((When::Before, part), &parts, reading)?),
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
    Some(Manifest { words, before, after, tools, snapshot_bytes_max, reasons: Reasons::new() })
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

fn text<'j>(value: &'j Json, key: &str) -> Option<&'j str> {
    value.get(key).and_then(Json::as_str)
}

const POINTS: [&str; 8] = [
    "agent_startup",
    "input",
    "pre_model_call",
    "post_model_call",
    When::Before.point(),
    When::After.point(),
    "output",
    "agent_shutdown",
];

impl Manifest {
    /// Where the manifest leads.
    pub(super) fn course(&self, facts: &Facts<'_>) -> Course<'_> {
        match (facts.subject.stage, &self.after) {
            (Stage::Request, _) => {}
            (Stage::Response(_), Some(point)) => {
                let ruling = self.ruling(point, facts).unwrap_or_else(|fault| failed(&point.name, fault));
                return Course::settled(ruling);
            }
            (Stage::Response(_) | Stage::Description(_), _) => return Course::settled(Ruling::by_default(true)),
        }
        if let Some(known) = self.known_beforehand(facts) {
            return Course::settled(known);
        }
        if facts.scope != Scope::Whole || facts.subject.query.is_open() || facts.subject.arguments().is_open() {
            return Course::unknown();
        }
        let ruling = self.before.as_ref().ok_or(Fault::PointUnknown).and_then(|point| self.ruling(point, facts));
        Course::settled(ruling.unwrap_or_else(|fault| self.failed(fault)))
    }

    /// What can be told without the call's own facts: whether there is a point, and whether its tool is in the catalog.
    fn known_beforehand(&self, facts: &Facts<'_>) -> Option<Ruling<'_>> {
        let Some(point) = &self.before else { return Some(self.failed(Fault::PointUnknown)) };
        // Another path than this may name another tool.
        point.tool_name.as_ref().filter(|path| matches!(path.as_str(), "$.tool_call.name" | "$snap.tool_call.name"))?;
        let is_known = match (facts.scope, &facts.subject.mcp) {
            (Scope::SomeMessage, _) => self.tools.keys().any(|name| name != HTTP_TOOL),
            (Scope::Place { .. }, _) | (Scope::Whole, None) => self.tools.contains_key(HTTP_TOOL),
            (Scope::Whole, Some(mcp)) => self.tools.contains_key(mcp.tool.unwrap_or(mcp.method)),
        };
        (!is_known).then(|| self.failed(Fault::ToolUnknown))
    }

    fn ruling<'r>(&'r self, point: &'r Point, facts: &Facts<'_>) -> Result<Ruling<'r>, Fault> {
        // In AGT's order: the target, the tool, the policy.
        let snapshot = input::snapshot(point.when, facts, self.snapshot_bytes_max)?;
        let target = point.target.read(&snapshot)?.clone();
        let tool = match &point.tool_name {
            None => Json::Null,
            Some(path) => {
                let name = path.read(&snapshot)?.as_str().ok_or(Fault::PathTypeMismatch)?;
                self.tools.get(name).ok_or(Fault::ToolUnknown)?.clone()
            }
        };
        let target = (point.target_kind.as_deref(), point.target.as_str(), target);
        let input = input::policy_input(point.when, snapshot, target, tool);
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
        failed(self.before.as_ref().map_or(VERSION, |point| &point.name), fault)
    }

    /// The policy of the point, which is what matches.
    pub(super) fn matching(&self, facts: &Facts<'_>) -> Vec<String> {
        let course = self.course(facts);
        course.last.rule.iter().filter(|_| !course.is_open).map(|rule| rule.name.to_owned()).collect()
    }

    fn points(&self) -> impl Iterator<Item = &Point> {
        self.before.iter().chain(&self.after)
    }

    /// The points, for people.
    pub(super) fn outline(&self) -> Vec<Outline<'_>> {
        self.points().map(|point| Outline { name: &point.name, effect: "rego", place: point.place }).collect()
    }

    /// Heap bytes, roughly.
    pub(super) fn bytes(&self) -> usize {
        let tools: usize = self.tools.iter().map(|(name, tool)| name.len() + tool.to_string().len()).sum();
        tools + self.reasons.bytes() + self.points().map(|point| point.rego.bytes()).sum::<usize>()
    }
}

fn failed(name: &str, fault: Fault) -> Ruling<'_> {
    Ruling::by_rule(false, RuleView { name, reason: Some(fault.reason()), remedy: Some(fault.remedy()) })
}

const APPROVAL: &str = "A person would have to approve this, and ringfence asks none for a manifest.";
const TRANSFORM: &str = "The policy would change the call, and ringfence forwards calls as they came.";
