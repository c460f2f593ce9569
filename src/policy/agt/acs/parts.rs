//! A manifest's parts, merged over everything that it extends.
//!
//! Merging only adds: what stands twice must be the same or be a map whose members can be put together, parents before children. Files are named
//! from the folder of the file that names them, and lie in or below the folder of the policy.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value as Json};

use super::super::super::problem::{Place, did_you_mean};
use super::super::super::yaml::{self, Entry, Node, Value};
use super::super::reading::{Reading, find, list, map};
use super::VERSION;
use crate::limits;

/// One part and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) value: Json,
    pub(super) place: Place,
    /// The folder from which it names files.
    pub(super) folder: String,
}

/// The maps of a manifest, by their names.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) version: String,
    pub(super) policies: BTreeMap<String, Part>,
    pub(super) points: BTreeMap<String, Part>,
    pub(super) tools: BTreeMap<String, Part>,
    pub(super) annotators: BTreeMap<String, Part>,
    pub(super) approval: Option<Part>,
    pub(super) limits: Option<Part>,
    metadata: Json,
}

/// One file of a manifest.
struct Source<'s> {
    entries: &'s [Entry],
    /// Its path; nothing for the policy's own.
    path: Option<&'s str>,
    folder: &'s str,
    /// Where the policy's own file names it, or what leads to it.
    place: Place,
}

const KEYS: [&str; 9] =
    [VERSION, "metadata", "extends", "policies", "intervention_points", "tools", "annotators", "approval", "limits"];

/// Reads a manifest and everything that it extends. Problems are reported; without an error the parts are whole.
pub(super) fn read(entries: &[Entry], reading: &mut Reading<'_>) -> Parts {
    let start = Place { line: 1, column: 1 };
    let source = Source { entries, path: None, folder: "", place: start };
    of_source(&source, &mut Walk::default(), reading)
}

/// Where reading is.
#[derive(Debug, Default)]
struct Walk {
    /// The files that led here.
    above: Vec<String>,
    /// Files read so far, each as often as it was named.
    files: usize,
}

fn of_source(source: &Source<'_>, walk: &mut Walk, reading: &mut Reading<'_>) -> Parts {
    let mut parts = Parts::default();
    for entry in source.entries.iter().filter(|entry| !KEYS.contains(&&*entry.key)) {
        let near = did_you_mean(&entry.key, KEYS);
        source.error(entry.place, format!("unknown key `{}` in a manifest", entry.key), &near, reading);
    }
    let version = match find(source.entries, VERSION).map(|entry| &entry.node.value) {
        Some(Value::Text(version)) if !version.trim().is_empty() => version.trim().to_owned(),
        _ => {
            let remedy = format!("write `{VERSION}: \"0.3.1-beta\"`");
            source.error(source.place, "the version is missing, or is no text".to_owned(), &remedy, reading);
            return parts;
        }
    };
    for (path, place) in extended(source, reading) {
        let parent = of_file(&path, place, walk, reading);
        merge(&mut parts, parent, source, reading);
    }
    let own = own(source, version, reading);
    merge(&mut parts, own, source, reading);
    parts
}

fn of_file(path: &str, place: Place, walk: &mut Walk, reading: &mut Reading<'_>) -> Parts {
    let refuse = |message: String, remedy: &str, reading: &mut Reading<'_>| {
        reading.problems.error(place, message, remedy);
        Parts::default()
    };
    if walk.above.iter().any(|other| other == path) {
        return refuse(format!("`{path}` extends itself, by way of others"), "break the circle", reading);
    }
    walk.files += 1;
    if walk.above.len() >= limits::ACS_EXTENDS_DEPTH_MAX || walk.files > limits::POLICY_FILES_MAX {
        return refuse(format!("`{path}` is extended through too many others"), "extend it directly", reading);
    }
    let Some(bytes) = reading.file(path, place) else { return Parts::default() };
    let text = match std::str::from_utf8(bytes) {
        Ok(text) if text.len() <= limits::POLICY_BYTES_MAX => text.to_owned(),
        Ok(_) => return refuse(format!("`{path}` is too long"), "split it", reading),
        Err(_) => return refuse(format!("`{path}` is not UTF-8"), "", reading),
    };
    let node = match yaml::read(&text) {
        Ok(node) => node,
        Err(error) => {
            let Place { line, column } = error.place;
            return refuse(format!("{path}:{line}:{column}: {}", error.message), "", reading);
        }
    };
    let Some(entries) = map(&node) else {
        return refuse(format!("`{path}` is no manifest, which is a map"), "", reading);
    };
    walk.above.push(path.to_owned());
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let parts = of_source(&Source { entries, path: Some(path), folder, place }, walk, reading);
    walk.above.pop();
    parts
}

/// The files that a manifest extends, by paths from the policy's folder.
fn extended(source: &Source<'_>, reading: &mut Reading<'_>) -> Vec<(String, Place)> {
    let Some(entry) = find(source.entries, "extends") else { return Vec::new() };
    let Some(items) = list(&entry.node) else {
        source.error(entry.place, "`extends` is a list of files".to_owned(), "", reading);
        return Vec::new();
    };
    let mut files = Vec::new();
    for item in items {
        match &item.value {
            Value::Text(path) if !path.trim().is_empty() && !path.contains("://") => {
                files.push((below(source.folder, path), source.at(item.place)));
            }
            Value::Text(_) | Value::Map(_) => {
                let remedy = "fetch it yourself, keep it beside the policy and name the file";
                source.error(item.place, "ringfence fetches no manifests".to_owned(), remedy, reading);
            }
            other => source.error(item.place, format!("a file is a text, found {}", other.describe()), "", reading),
        }
    }
    files
}

/// The parts that a file has itself.
fn own(source: &Source<'_>, version: String, reading: &mut Reading<'_>) -> Parts {
    let part = |key: &str| find(source.entries, key).map(|entry| source.part(entry.place, &entry.node));
    let mut named = |key: &str| {
        let Some(entry) = find(source.entries, key) else { return BTreeMap::new() };
        let Some(entries) = map(&entry.node) else {
            source.error(entry.place, format!("`{key}` is a map by names"), "", reading);
            return BTreeMap::new();
        };
        if let Some(unnamed) = entries.iter().find(|entry| entry.key.trim().is_empty()) {
            source.error(unnamed.place, format!("a name in `{key}` is empty"), "", reading);
        }
        entries.iter().map(|entry| (entry.key.clone(), source.part(entry.place, &entry.node))).collect()
    };
    Parts {
        version,
        policies: named("policies"),
        points: named("intervention_points"),
        tools: named("tools"),
        annotators: named("annotators"),
        approval: part("approval"),
        limits: part("limits"),
        metadata: part("metadata").map_or(Json::Null, |part| part.value),
    }
}

fn merge(parts: &mut Parts, more: Parts, source: &Source<'_>, reading: &mut Reading<'_>) {
    if parts.version.is_empty() {
        parts.version = more.version;
    } else if !more.version.is_empty() && parts.version != more.version {
        let message = format!("versions differ: `{}` and `{}`", parts.version, more.version);
        source.error(source.place, message, "give all manifests the same version", reading);
    }
    let mut clashes = Vec::new();
    let maps = [
        ("policies", &mut parts.policies, more.policies),
        ("tools", &mut parts.tools, more.tools),
        ("annotators", &mut parts.annotators, more.annotators),
    ];
    for (kind, existing, incoming) in maps {
        for (name, part) in incoming {
            match existing.get(&name) {
                None => drop(existing.insert(name, part)),
                // The same path in another folder is another file.
                Some(other) if other.value == part.value && (kind != "policies" || other.folder == part.folder) => {}
                Some(_) => clashes.push(format!("{kind}.{name}")),
            }
        }
    }
    for (name, part) in more.points {
        match parts.points.get_mut(&name) {
            None => drop(parts.points.insert(name, part)),
            Some(existing) => {
                let path = format!("intervention_points.{name}");
                add(&mut existing.value, part.value, Open::Annotations, &path, &mut clashes);
            }
        }
    }
    let sections = [("approval", &mut parts.approval, more.approval), ("limits", &mut parts.limits, more.limits)];
    for (kind, existing, incoming) in sections {
        let Some(part) = incoming else { continue };
        match existing {
            Some(other) if other.value == part.value => {}
            Some(_) => clashes.push(kind.to_owned()),
            None => *existing = Some(part),
        }
    }
    if parts.metadata.is_null() {
        parts.metadata = more.metadata;
    } else if !more.metadata.is_null() {
        add(&mut parts.metadata, more.metadata, Open::All, "metadata", &mut clashes);
    }
    for clash in clashes {
        let message = format!("`{clash}` stands twice, and not the same");
        source.error(source.place, message, "manifests only add to those that they extend", reading);
    }
}

/// Which members may be put together where both are maps; all others must be new or the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    All,
    Annotations,
    None,
}

/// Adds members.
fn add(existing: &mut Json, incoming: Json, open: Open, path: &str, clashes: &mut Vec<String>) {
    let (Json::Object(members), Json::Object(more)) = (&mut *existing, incoming) else {
        clashes.push(path.to_owned());
        return;
    };
    for (name, value) in more {
        let is_open = open == Open::All || (open == Open::Annotations && name == "annotations");
        match members.get_mut(&name) {
            None => drop(members.insert(name, value)),
            Some(other) if *other == value => {}
            Some(other) if is_open => {
                let inner = if open == Open::All { Open::All } else { Open::None };
                add(other, value, inner, &format!("{path}.{name}"), clashes);
            }
            Some(_) => clashes.push(format!("{path}.{name}")),
        }
    }
}

impl Source<'_> {
    /// A place in this file as one in the policy's own.
    fn at(&self, place: Place) -> Place {
        if self.path.is_some() { self.place } else { place }
    }

    fn error(&self, place: Place, message: String, remedy: &str, reading: &mut Reading<'_>) {
        let message = match self.path {
            None => message,
            Some(path) => format!("{path}:{}:{}: {message}", place.line, place.column),
        };
        reading.problems.error(self.at(place), message, remedy);
    }

    fn part(&self, place: Place, node: &Node) -> Part {
        Part { value: json(node), place: self.at(place), folder: self.folder.to_owned() }
    }
}

/// A path named in a folder, from the policy's folder. One that leads out of that keeps its `..`, and is refused where it is read.
pub(super) fn below(folder: &str, path: &str) -> String {
    if path.starts_with('/') {
        return path.to_owned();
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(path.split('/')).filter(|part| !matches!(*part, "" | ".")) {
        match parts.last() {
            Some(last) if part == ".." && *last != ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

/// A YAML value as JSON. A number beyond 64 bits becomes the nearest double, as in AGT.
pub(super) fn json(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(flag) => Json::Bool(*flag),
        Value::Integer(integer) => match (i64::try_from(*integer), u64::try_from(*integer)) {
            (Ok(integer), _) => Json::from(integer),
            (_, Ok(integer)) => Json::from(integer),
            // Rounding is what AGT does as well.
            #[allow(clippy::cast_precision_loss)]
            _ => Json::from(*integer as f64),
        },
        Value::Float(float) => Number::from_f64(*float).map_or(Json::Null, Json::Number),
        Value::Text(text) => Json::String(text.clone()),
        Value::List(nodes) => Json::Array(nodes.iter().map(json).collect()),
        Value::Map(entries) => {
            Json::Object(entries.iter().map(|entry| (entry.key.clone(), json(&entry.node))).collect::<Map<_, _>>())
        }
    }
}
