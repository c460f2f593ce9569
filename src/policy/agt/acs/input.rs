//! What a policy is told of a call: the snapshot, in the shapes of both of AGT's documents at once, and around it the policy input.
//!
//! AGT's snapshot (`envelope`, `tool_call`) and the older contract (`tool_call`, ambient fields such as `transport`) do not collide before a tool
//! call, so both are served. What ringfence does not know (sessions, budgets, labels, ids of calls) is left out and refused when a policy reads it.

use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};

use super::super::super::subject::{Look, Mcp, Stage, Subject};
use super::super::facts::{Fact, Facts, Field, HTTP_TOOL};
use super::fault::Fault;
use crate::limits;

/// The intervention points at which ringfence stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// Before a call goes to its tool.
    Before,
    /// Before an MCP tool's answer goes to whoever has called.
    After,
}

impl When {
    pub(super) const fn point(self) -> &'static str {
        match self {
            When::Before => "pre_tool_call",
            When::After => "post_tool_call",
        }
    }

    /// What a point most likely wants for its target, for whoever has left it out.
    pub(super) fn target(self) -> &'static str {
        match self {
            When::Before => "write `policy_target: \"$.tool_call.args\"`",
            When::After => "write `policy_target: \"$.tool_result.value\"`",
        }
    }

    /// What snapshots hold, by paths from `input`; anything may stand below the ones that end in `*`.
    pub(super) fn supplied(self) -> impl Iterator<Item = &'static &'static str> {
        let own = match self {
            When::Before => "snapshot.tool_call.args.*",
            When::After => "snapshot.tool_result.*",
        };
        SUPPLIED.iter().filter(move |path| !path.starts_with("snapshot.tool_") || **path == own || **path == NAME)
    }
}

const NAME: &str = "snapshot.tool_call.name";

const SUPPLIED: [&str; 14] = [
    "intervention_point",
    "policy_target.kind",
    "policy_target.path",
    "policy_target.value.*",
    "tool.*",
    "snapshot.envelope.agent.id",
    "snapshot.envelope.agent.name",
    "snapshot.envelope.intervention_point",
    "snapshot.envelope.timestamp",
    NAME,
    "snapshot.tool_call.args.*",
    "snapshot.tool_result.*",
    "snapshot.transport.protocol",
    "snapshot.transport.server",
];

/// The snapshot of a call or of its answer.
pub(super) fn snapshot(when: When, facts: &Facts<'_>, bytes_max: usize) -> Result<Json, Fault> {
    let subject = facts.subject;
    let (name, transport) = match &subject.mcp {
        None => (HTTP_TOOL, json!({"protocol": "http"})),
        Some(mcp) => (mcp.tool.unwrap_or(mcp.method), json!({"protocol": "mcp", "server": mcp.server})),
    };
    let told = match (when, &subject.mcp) {
        (When::Before, None) => request(facts)?,
        (When::Before, Some(mcp)) => message(mcp, bytes_max)?,
        (When::After, _) => answer(subject, bytes_max)?,
    };
    if told.to_string().len() + FRAME_BYTES > bytes_max
        || is_deeper(&told, limits::ACS_SNAPSHOT_DEPTH_MAX - FRAME_DEPTH)
    {
        return Err(Fault::LimitExceeded);
    }
    let mut snapshot = json!({
        "envelope": {
            "agent": {"id": subject.agent, "name": subject.agent},
            "intervention_point": when.point(),
            "timestamp": timestamp(subject),
        },
        "tool_call": {"name": name},
        "transport": transport,
    });
    match when {
        When::Before => snapshot["tool_call"]["args"] = told,
        When::After => snapshot["tool_result"] = told,
    }
    Ok(snapshot)
}

/// What a tool has answered, in both shapes: the result's own members, and the whole of it as `value` beside `error`.
fn answer(subject: &Subject<'_>, bytes_max: usize) -> Result<Json, Fault> {
    let Stage::Response(reply) = subject.stage else { return Err(Fault::RequestInvalid) };
    // It stands there twice.
    if reply.json.len() > bytes_max / 2 {
        return Err(Fault::LimitExceeded);
    }
    let told: Json = serde_json::from_slice(reply.json).map_err(|_| Fault::RequestInvalid)?;
    if reply.is_error {
        return Ok(json!({"value": null, "error": told}));
    }
    let mut members = told.as_object().cloned().ok_or(Fault::RequestInvalid)?;
    if members.contains_key("value") || members.contains_key("error") {
        return Err(Fault::RequestInvalid);
    }
    members.insert("value".to_owned(), told);
    members.insert("error".to_owned(), Json::Null);
    Ok(Json::Object(members))
}

/// An HTTP request as the arguments of the tool `http.request`.
fn request(facts: &Facts<'_>) -> Result<Json, Fault> {
    let mut arguments = Map::new();
    let fields = [("method", Field::Method), ("path", Field::Path), ("url", Field::Url), ("host", Field::Host)];
    for (name, field) in fields {
        let Fact::Text(text) = facts.get(&field) else { return Err(Fault::RequestInvalid) };
        arguments.insert(name.to_owned(), Json::String(text.into_owned()));
    }
    Ok(Json::Object(arguments))
}

fn message(mcp: &Mcp<'_>, bytes_max: usize) -> Result<Json, Fault> {
    let lookup = match mcp.arguments {
        Look::Absent => return Ok(json!({})),
        Look::NotLooked | Look::Unreadable => return Err(Fault::RequestInvalid),
        Look::At(lookup) => lookup,
    };
    let text = lookup.text().ok_or(Fault::RequestInvalid)?;
    if text.len() > bytes_max {
        return Err(Fault::LimitExceeded);
    }
    serde_json::from_slice(&text).map_err(|_| Fault::RequestInvalid)
}

/// RFC 3339; the empty text for a time after 2262, which no clock of ours shows.
fn timestamp(subject: &Subject<'_>) -> String {
    Timestamp::from_nanosecond(subject.time_ns.into()).map(|time| time.to_string()).unwrap_or_default()
}

/// Exactly the five members that AGT's runtime gives.
pub(super) fn policy_input(when: When, snapshot: Json, target: (Option<&str>, &str, Json), tool: Json) -> Json {
    let (kind, path, value) = target;
    json!({
        "intervention_point": when.point(),
        "policy_target": {"kind": kind, "path": path, "value": value},
        "snapshot": snapshot,
        "annotations": {},
        "tool": tool,
    })
}

/// Whether a value nests deeper than this.
fn is_deeper(value: &Json, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return true };
    match value {
        Json::Array(elements) => elements.iter().any(|element| is_deeper(element, depth)),
        Json::Object(members) => members.values().any(|member| is_deeper(member, depth)),
        _ => false,
    }
}

/// The rest of a snapshot beside the arguments, at most.
const FRAME_BYTES: usize = 1_024;
/// Levels above the arguments in the policy input.
const FRAME_DEPTH: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_counted_in_levels() {
        assert!(!is_deeper(&json!(1), 1));
        assert!(is_deeper(&json!([1]), 1));
        assert!(!is_deeper(&json!([{"a": 1}]), 3));
        assert!(is_deeper(&json!([{"a": []}, 1]), 2));
    }
}
