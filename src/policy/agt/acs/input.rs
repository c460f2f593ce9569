//! What a policy is told of a call: the snapshot, in the shapes of both of AGT's documents at once, and around it the policy input.
//!
//! AGT's snapshot (`envelope`, `tool_call`) and the older contract (`tool_call`, ambient fields such as `transport`) do not collide before a tool
//! call, so both are served. What ringfence does not know (sessions, budgets, labels, ids of calls) is left out and refused when a policy reads it.

use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};

use super::super::super::subject::{Look, Mcp, Subject};
use super::super::facts::{Fact, Facts, Field, HTTP_TOOL};
use super::fault::Fault;
use crate::limits;

/// The only intervention point before which ringfence stands.
pub(super) const POINT: &str = "pre_tool_call";

/// What snapshots hold, by paths from `input`; anything may stand below the ones that end in `*`.
pub(super) const SUPPLIED: [&str; 13] = [
    "intervention_point",
    "policy_target.kind",
    "policy_target.path",
    "policy_target.value.*",
    "tool.*",
    "snapshot.envelope.agent.id",
    "snapshot.envelope.agent.name",
    "snapshot.envelope.intervention_point",
    "snapshot.envelope.timestamp",
    "snapshot.tool_call.name",
    "snapshot.tool_call.args.*",
    "snapshot.transport.protocol",
    "snapshot.transport.server",
];

/// The snapshot of a call.
pub(super) fn snapshot(facts: &Facts<'_>, bytes_max: usize) -> Result<Json, Fault> {
    let subject = facts.subject;
    let (name, arguments, transport) = match &subject.mcp {
        None => (HTTP_TOOL, request(facts)?, json!({"protocol": "http"})),
        Some(mcp) => {
            let transport = json!({"protocol": "mcp", "server": mcp.server});
            (mcp.tool.unwrap_or(mcp.method), message(mcp, bytes_max)?, transport)
        }
    };
    let arguments_bytes = arguments.to_string().len();
    if arguments_bytes + FRAME_BYTES > bytes_max || is_deeper(&arguments, limits::ACS_SNAPSHOT_DEPTH_MAX - FRAME_DEPTH)
    {
        return Err(Fault::LimitExceeded);
    }
    Ok(json!({
        "envelope": {
            "agent": {"id": subject.agent, "name": subject.agent},
            "intervention_point": POINT,
            "timestamp": timestamp(subject),
        },
        "tool_call": {"name": name, "args": arguments},
        "transport": transport,
    }))
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
pub(super) fn policy_input(snapshot: Json, target: (Option<&str>, &str, Json), tool: Json) -> Json {
    let (kind, path, value) = target;
    json!({
        "intervention_point": POINT,
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
