//! Signed-entry JSONL as the Agent Governance Toolkit's `FileAuditSink` writes it and its `HashChainVerifier` reads it.
//!
//! The chain is that of what is printed: it starts anew with each export, and its secret is the caller's. It shows that the export was not changed
//! after; whether the log was is what `audit verify` says. The text that is hashed is Python's `json.dumps(…, sort_keys=True)`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use aws_lc_rs::{digest, hmac};
use serde_json::Value;

use super::json;
use super::scratch::Scratch;
use crate::audit::record::Body;
use crate::audit::segment::Frame;
use crate::limits::AUDIT_HEAD_FILE_BYTES_MAX;

/// The octets that sign each entry; none without a file.
pub(super) fn secret(file: Option<&Path>) -> io::Result<Vec<u8>> {
    let mut secret = Vec::new();
    if let Some(path) = file {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        File::open(path)
            .and_then(|file| file.take(AUDIT_HEAD_FILE_BYTES_MAX).read_to_end(&mut secret))
            .map_err(named)?;
    }
    Ok(secret)
}

/// The chain of entries so far.
pub(super) struct Chain {
    key: hmac::Key,
    previous: String,
    record: Vec<u8>,
}

impl Chain {
    pub(super) fn new(secret: &[u8]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, secret), previous: String::new(), record: Vec::new() }
    }

    /// Appends the entry of a record and a line end to `out`.
    pub(super) fn line(&mut self, frame: &Frame<'_>, body: Body<'_>, scratch: &mut Scratch, out: &mut Vec<u8>) {
        self.record.clear();
        json::line(frame, body, scratch, &mut self.record);
        // What we have just written is JSON; were it not, there would be no data.
        let data = serde_json::from_slice(&self.record).unwrap_or_default();
        let mut entry = entry(frame, &data);
        entry.insert("data", data);
        entry.insert("previous_hash", Value::String(std::mem::take(&mut self.previous)));
        let mut payload = Vec::with_capacity(2 * self.record.len());
        object(entry.iter().map(|(name, value)| (*name, value)), &mut payload);
        let content_hash = hex(digest::digest(&digest::SHA256, &payload).as_ref());
        let signature = hex(hmac::sign(&self.key, content_hash.as_bytes()).as_ref());
        self.previous.clone_from(&content_hash);
        entry.insert("content_hash", Value::String(content_hash));
        entry.insert("signature", Value::String(signature));
        object(entry.iter().map(|(name, value)| (*name, value)), out);
        out.push(b'\n');
    }
}

/// The hashed fields of an entry, but for `data` and `previous_hash`.
fn entry(frame: &Frame<'_>, data: &Value) -> BTreeMap<&'static str, Value> {
    let text = |name: &str| data.get(name).and_then(Value::as_str);
    let owned = |text: Option<&str>| text.map_or(Value::Null, |text| Value::String(text.to_owned()));
    let kind = frame.schema.kind();
    let verdict = text("verdict");
    let enforced = data.get("enforced") != Some(&Value::Bool(false));
    let failed = data.get("code").is_some() || data.get("error").is_some();
    let (event, outcome) = match (kind, verdict) {
        (_, Some("deny")) if enforced => ("policy_violation", "denied"),
        (_, Some("deny")) => ("policy_violation", "success"),
        (_, Some(_)) => ("policy_evaluation", "success"),
        ("outcome", _) => ("tool_invocation", if failed { "failure" } else { "success" }),
        ("gap", _) => ("gap", "error"),
        ("seal", _) => ("audit_integrity", "success"),
        _ => (kind, "success"),
    };
    let tool = data.get("mcp").and_then(|mcp| mcp.get("tool").or_else(|| mcp.get("method"))).and_then(Value::as_str);
    let action = tool.or(text("method")).or(text("event")).or(text("protocol")).unwrap_or(kind);
    BTreeMap::from([
        ("entry_id", Value::String(format!("audit_{:016x}", frame.seq))),
        ("timestamp", Value::String(timestamp(text("time").unwrap_or_default()))),
        ("event_type", Value::String(event.to_owned())),
        ("agent_did", Value::String(text("agent").unwrap_or("ringfence").to_owned())),
        ("action", Value::String(action.to_owned())),
        ("resource", resource(data).map_or(Value::Null, Value::String)),
        ("target_did", Value::Null),
        ("outcome", Value::String(outcome.to_owned())),
        ("policy_decision", owned(verdict)),
        ("matched_rule", owned(text("rule"))),
        ("trace_id", owned(text("id"))),
        ("session_id", Value::Null),
    ])
}

/// As Python's `isoformat` has it: microseconds and an offset.
fn timestamp(time: &str) -> String {
    format!("{}+00:00", time.get(..26).unwrap_or(time))
}

/// What was asked for, as a URL where it has one.
fn resource(data: &Value) -> Option<String> {
    let text = |name: &str| data.get(name).and_then(Value::as_str);
    let host = text("host").or(text("destination"))?;
    let Some(scheme) = text("scheme") else { return Some(host.to_owned()) };
    let port = match (scheme, data.get("port").and_then(Value::as_u64)) {
        ("http", Some(80)) | ("https", Some(443)) | (_, None) => String::new(),
        (_, Some(port)) => format!(":{port}"),
    };
    let host = if host.contains(':') && text("host").is_some() { format!("[{host}]") } else { host.to_owned() };
    Some(format!("{scheme}://{host}{port}{}", text("path").unwrap_or_default()))
}

/// `json.dumps` with sorted keys: `", "` and `": "` between, everything beyond ASCII escaped.
fn dump(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        // Records have whole numbers only, which both write alike. Writing to a vector does not fail.
        Value::Number(number) => drop(write!(out, "{number}")),
        Value::String(text) => string(text, out),
        Value::Array(values) => {
            out.push(b'[');
            for (at, value) in values.iter().enumerate() {
                out.extend_from_slice(if at == 0 { b"" } else { b", " });
                dump(value, out);
            }
            out.push(b']');
        }
        Value::Object(members) => {
            // Octets of UTF-8 sort as code points do, which is how Python sorts.
            let sorted: BTreeMap<_, _> = members.iter().collect();
            object(sorted.iter().map(|(name, value)| (name.as_str(), *value)), out);
        }
    }
}

fn object<'v>(members: impl Iterator<Item = (&'v str, &'v Value)>, out: &mut Vec<u8>) {
    out.push(b'{');
    for (at, (name, value)) in members.enumerate() {
        out.extend_from_slice(if at == 0 { b"" } else { b", " });
        string(name, out);
        out.extend_from_slice(b": ");
        dump(value, out);
    }
    out.push(b'}');
}

fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for letter in text.chars() {
        match letter {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            ' '..='~' => out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
            _ => {
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out.push(b'"');
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::with_capacity(2 * octets.len()), |mut text, octet| {
        text.extend([octet >> 4, octet & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0')));
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `json.dumps({"z": [1, True, None], "a": "é\U0001f600\x7f\x00\n\"\\", "m": {"b": 2, "a": 18446744073709551615}}, sort_keys=True)`,
    /// as CPython 3.11 printed it.
    #[test]
    fn dumps_as_python_does() {
        let value = serde_json::json!({
            "z": [1, true, null], "a": "é😀\x7f\0\n\"\\", "m": {"b": 2, "a": u64::MAX}
        });
        let mut out = Vec::new();
        dump(&value, &mut out);
        let expected = r#"{"a": "\u00e9\ud83d\ude00\u007f\u0000\n\"\\", "m": {"a": 18446744073709551615, "b": 2}, "z": [1, true, null]}"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
