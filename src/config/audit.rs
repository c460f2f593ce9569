//! The `audit` section: where the log is, how hard it is kept, where its signed heads go besides, and how much of it stays.

use std::path::Path;
use std::time::Duration;

use super::file::section;
use super::settings::{Anchor, AuditSettings};
use super::values::{find, need, path, wait};
use crate::audit::{Durability, OnFull, Retention};
use crate::limits;
use crate::policy::document::{Node, Problems, Value, choice, text};

const KEYS: [&str; 5] = ["dir", "durability", "on_full", "anchor", "retention"];

pub(super) fn audit(node: &Node, folder: &Path, problems: &mut Problems) -> Option<AuditSettings> {
    let entries = section(node, "audit", &KEYS, problems)?;
    let durabilities = [("batched", Durability::Batched), ("strict", Durability::Strict)];
    let durability = find(entries, "durability").map(|at| choice(at, "audit.durability", &durabilities, problems));
    let fulls = [("deny", OnFull::Deny), ("block", OnFull::Block)];
    let on_full = find(entries, "on_full").map(|at| choice(at, "audit.on_full", &fulls, problems));
    let at = need(node, entries, ("audit", "dir"), "write `dir: /var/lib/ringfence/audit`", problems)?;
    let dir = path(at, "audit.dir", folder, problems);
    let anchor = find(entries, "anchor").map(|at| anchor(at, dir.as_deref(), folder, problems));
    let retention = find(entries, "retention").map(|at| retention(at, problems));
    Some(AuditSettings {
        dir: dir?,
        durability: durability.unwrap_or(Some(Durability::default()))?,
        on_full: on_full.unwrap_or(Some(OnFull::default()))?,
        anchor: match anchor {
            Some(anchor) => Some(anchor?),
            None => None,
        },
        retention: retention.unwrap_or(Some(Retention::default()))?,
    })
}

/// A file, `unix:PATH`, or `https://HOST[:PORT]/PATH`.
fn anchor(node: &Node, dir: Option<&Path>, folder: &Path, problems: &mut Problems) -> Option<Anchor> {
    const KEY: &str = "audit.anchor";
    let said = text(node, KEY, problems)?;
    if let Some(socket) = said.strip_prefix("unix:") {
        let socket = folder.join(socket);
        let (long, most) = (socket.as_os_str().len(), limits::SOCKET_PATH_BYTES_MAX);
        if long > most {
            let message = format!("`{KEY}` is {long} octets long in full; a socket's path has at most {most}");
            problems.error(node.place, message, "put it higher up, such as `unix:/run/witness.sock`");
            return None;
        }
        return Some(Anchor::Socket(socket));
    }
    if let Some(rest) = said.strip_prefix("https://") {
        return url(rest, node, problems);
    }
    if said.contains("://") {
        let message = format!("`{KEY}` is a file, `unix:PATH` or `https://HOST/PATH`, found `{said}`");
        problems.error(node.place, message, "what vouches for the log must not be changed on its way: use `https://`");
        return None;
    }
    let file = path(node, KEY, folder, problems)?;
    if dir.is_some_and(|dir| file.starts_with(dir)) {
        let remedy = "whoever rolls back the log would roll back what shows it: put it elsewhere";
        problems.error(node.place, "`audit.anchor` lies in `audit.dir`", remedy);
        return None;
    }
    Some(Anchor::File(file))
}

fn url(rest: &str, node: &Node, problems: &mut Problems) -> Option<Anchor> {
    let (authority, target) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let bracketed = authority.starts_with('[');
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !bracketed || host.ends_with(']') => (host, port.parse::<u16>().ok()),
        _ => (authority, Some(443)),
    };
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let plain = |text: &str| text.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'@' && octet != b'#');
    match port.filter(|port| *port > 0 && !name.is_empty() && plain(authority) && plain(target)) {
        Some(port) => Some(Anchor::Post {
            host: name.to_owned(),
            port,
            authority: authority.to_owned(),
            target: target.to_owned(),
        }),
        None => {
            let message = format!("`audit.anchor` is no URL that can be posted to: `https://{rest}`");
            problems.error(node.place, message, "write it like `https://witness.example.com/add`");
            None
        }
    }
}

fn retention(node: &Node, problems: &mut Problems) -> Option<Retention> {
    let entries = section(node, "audit.retention", &["bytes", "age"], problems)?;
    let most = limits::AUDIT_RETENTION_AGE_MAX;
    let bytes = find(entries, "bytes").map(|at| size(at, problems));
    let age = find(entries, "age").map(|at| wait(at, "audit.retention.age", most, most, problems));
    if bytes.is_none() && age.is_none() {
        let message = "`audit.retention` says neither `bytes` nor `age`";
        problems.error(node.place, message, "write `retention: { bytes: 20GiB, age: 90d }`, or remove it");
        return None;
    }
    let bytes: Option<u64> = match bytes {
        Some(bytes) => Some(bytes?),
        None => None,
    };
    let age: Option<Duration> = match age {
        Some(age) => Some(age?),
        None => None,
    };
    Some(Retention { bytes, age })
}

/// A number of octets, or a number with `MiB`, `GiB` or `TiB`.
fn size(node: &Node, problems: &mut Problems) -> Option<u64> {
    let read = match &node.value {
        Value::Integer(octets) => u64::try_from(*octets).ok(),
        Value::Text(text) => {
            let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            let (number, unit) = text.split_at(digits);
            let shift = match unit.trim() {
                "MiB" => Some(20),
                "GiB" => Some(30),
                "TiB" => Some(40),
                _ => None,
            };
            shift.zip(number.parse::<u64>().ok()).and_then(|(shift, number)| number.checked_mul(1 << shift))
        }
        _ => None,
    };
    let least = limits::AUDIT_RETENTION_BYTES_MIN;
    let read = read.filter(|octets| *octets >= least);
    if read.is_none() {
        let message = format!("`audit.retention.bytes` is a size, found {}", node.value.describe());
        problems.error(node.place, message, format!("write it like `20GiB`; at least {} MiB", least >> 20));
    }
    read
}
