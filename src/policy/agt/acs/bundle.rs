//! The policy of an intervention point: its Rego modules, its data and its query.
//!
//! Files are read as `opa eval` reads them: in a bundle every `.rego` is a module and only `data.json`, `data.yaml` and `data.yml` are data, mounted
//! where their folder says; under `data` and `data_paths` every JSON and YAML file is data. Libraries such as AGT's `data.agt.*` are not built
//! in: a policy that imports one has it in its bundle.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::super::super::problem::Place;
use super::super::super::yaml;
use super::super::reading::Reading;
use super::input::When;
use super::parts::{Part, below, json};
use super::point::supplied;
use super::reads::Reads;
use super::rego::{Rego, Sources};
use super::text;

/// Which files of a folder are data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bundle,
    Data,
}

/// Reads and prepares a policy. `binding` is what the point says of it, with the point's part; `points` are all that bind it.
pub(super) fn read(
    (id, policy): (&str, &Part),
    binding: (&Json, &Part),
    points: &[When],
    reading: &mut Reading<'_>,
) -> Option<Rego> {
    let errors = reading.problems.errors();
    is_rego(id, policy, reading)?;
    let (binding, at) = binding;
    let query = text(binding, "query").or_else(|| text(&policy.value, "query")).unwrap_or_default().trim();
    if !query.starts_with("data.") {
        let message = format!("the policy `{id}` has no query that names a rule");
        reading.problems.error(policy.place, message, "such as `query: data.corp.net.verdict`");
    }
    let mut sources = Sources::default();
    match policy.value.get("bundle") {
        None => {}
        Some(Json::String(path)) if !path.trim().is_empty() => {
            gather(&below(&policy.folder, path), (Kind::Bundle, policy.place), &mut sources, reading);
        }
        Some(_) => reading.problems.error(policy.place, format!("`bundle` of `{id}` is no path"), ""),
    }
    for key in ["data", "data_paths"] {
        // What a binding says goes before what its policy says.
        let (value, part) = match (binding.get(key), policy.value.get(key)) {
            (Some(value), _) => (value, at),
            (None, Some(value)) => (value, policy),
            (None, None) => continue,
        };
        for path in paths(value, key, part.place, reading) {
            gather(&below(&part.folder, &path), (Kind::Data, part.place), &mut sources, reading);
        }
    }
    look_over(&sources, points, policy.place, reading);
    if reading.problems.errors() > errors {
        return None;
    }
    match Rego::prepare(sources, query) {
        Ok(rego) => Some(rego),
        Err(why) => {
            reading.problems.error(policy.place, format!("the policy `{id}` cannot be prepared: {why}"), "");
            None
        }
    }
}

/// Refuses the policies that are not Rego.
fn is_rego(id: &str, policy: &Part, reading: &mut Reading<'_>) -> Option<()> {
    let (message, remedy) = match text(&policy.value, "type") {
        Some("rego") if policy.value.get("bundle_url").is_some() => (
            format!("`{id}`: ringfence fetches no bundles"),
            "fetch it yourself, unpack it beside the policy and name the folder as `bundle`",
        ),
        Some("rego") => {
            let cedar = ["policy_set", "policy_path", "entities_path", "schema_path"];
            let found = cedar.iter().find(|key| policy.value.get(**key).is_some());
            let Some(found) = found else { return Some(()) };
            (format!("`{id}`: `{found}` is a key of Cedar policies"), "a Rego policy has a `bundle`")
        }
        Some("cedar") => (
            format!("`{id}` is in Cedar, which ringfence does not evaluate"),
            "write the policy in Rego, or in ringfence's own language",
        ),
        Some("custom") => {
            (format!("`{id}` is decided by an adapter of a host, and ringfence has none"), "write the policy in Rego")
        }
        Some("test") => {
            (format!("`{id}` gives fixed verdicts for tests and decides nothing"), "write the policy in Rego")
        }
        _ => (format!("`{id}` is of no type that is known"), "write `type: rego`"),
    };
    reading.problems.error(policy.place, message, remedy);
    None
}

/// A text or a list of texts.
fn paths(value: &Json, key: &str, place: Place, reading: &mut Reading<'_>) -> Vec<String> {
    let items = match value {
        Json::Array(items) => items.as_slice(),
        other => std::slice::from_ref(other),
    };
    let paths = items.iter().map(|item| item.as_str().filter(|path| !path.trim().is_empty()).map(str::to_owned));
    paths.collect::<Option<Vec<_>>>().unwrap_or_else(|| {
        reading.problems.error(
            place,
            format!("`{key}` is a file, a folder, or a list of these"),
            "put the data into a file",
        );
        Vec::new()
    })
}

/// Takes in a file or what is in and below a folder.
fn gather(path: &str, (kind, place): (Kind, Place), sources: &mut Sources, reading: &mut Reading<'_>) {
    if path.ends_with(".tar.gz") {
        reading.problems.error(place, format!("`{path}` is a packed bundle"), "unpack it and name the folder");
        return;
    }
    let is_file = [".rego", ".json", ".yaml", ".yml"].iter().any(|ending| path.ends_with(ending));
    if is_file {
        return take(path, Vec::new(), place, sources, reading);
    }
    let mut files = 0;
    for file in reading.folder(path, place) {
        let inner = file.strip_prefix(path).unwrap_or(&file).trim_start_matches('/');
        let (folder, name) = inner.rsplit_once('/').unwrap_or(("", inner));
        let is_data = match kind {
            Kind::Bundle => matches!(name, "data.json" | "data.yaml" | "data.yml"),
            Kind::Data => [".json", ".yaml", ".yml"].iter().any(|ending| name.ends_with(ending)),
        };
        if name.ends_with(".rego") || is_data {
            files += 1;
            let mount = folder.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
            take(&file, mount, place, sources, reading);
        }
    }
    if files == 0 && !reading.problems.has_errors() {
        reading.problems.error(place, format!("there is no Rego and no data in `{path}`"), "");
    }
}

/// Takes in one file.
fn take(path: &str, mount: Vec<String>, place: Place, sources: &mut Sources, reading: &mut Reading<'_>) {
    let Some(bytes) = reading.file(path, place) else { return };
    let Ok(contents) = std::str::from_utf8(bytes) else {
        return reading.problems.error(place, format!("`{path}` is not UTF-8"), "");
    };
    if path.ends_with(".rego") {
        let contents = contents.to_owned();
        // A file that two keys name is one module.
        if sources.modules.iter().all(|(name, _)| name != path) {
            sources.modules.push((path.to_owned(), contents));
        }
        return;
    }
    let document = match path.ends_with(".json") {
        true => serde_json::from_str(contents).map_err(|error| error.to_string()),
        false => yaml::read(contents).map(|node| json(&node)).map_err(|error| error.message),
    };
    match document {
        Ok(document @ Json::Object(_)) => sources.data.push((mount, document)),
        Ok(_) => reading.problems.error(place, format!("`{path}` is no document of data, which is a map"), ""),
        Err(why) => reading.problems.error(place, format!("`{path}`: {why}"), ""),
    }
}

/// Refuses or warns of what would not mean here what it says.
fn look_over(sources: &Sources, points: &[When], place: Place, reading: &mut Reading<'_>) {
    let mut missing = BTreeSet::new();
    for (name, module) in sources.modules.iter().filter(|(name, _)| !name.ends_with("_test.rego")) {
        let reads = Reads::of(module, points);
        if reads.arguments && points.contains(&When::After) {
            let message = format!("`{name}` reads a call's arguments, which are not supplied after the call");
            reading.problems.warning(place, message, "rules over them hold at `pre_tool_call` alone");
        }
        missing.extend(reads.missing);
        for function in reads.functions {
            let message = format!(
                "`{name}` calls `{function}`, which ringfence does not have: a decision that comes to it is a denial"
            );
            reading.problems.warning(place, message, "");
        }
        let packages = module.lines().filter_map(|line| line.trim().strip_prefix("package ")).map(str::trim);
        for (_, trap) in packages.flat_map(|package| TRAPS.iter().filter(move |(name, _)| *name == package)) {
            reading.problems.warning(place, format!("`{name}`: {trap}"), "");
        }
        if reads.whole {
            let message = format!(
                "`{name}` passes `input` or a part of it on as a whole, and what it reads there is not checked"
            );
            let remedy = "`docs/AGT-ACS.md` lists what ringfence supplies; everything else is missing";
            reading.problems.warning(place, message, remedy);
        }
    }
    for name in missing {
        supplied(&name, place, reading);
    }
}

/// What AGT's stock packages do that their users may not expect.
const TRAPS: [(&str, &str); 2] = [
    ("agt.egress", "allows calls in which it finds no destination: none of `url`, `endpoint`, `host` and `domain`"),
    ("agt.defaults", "allows whatever none of its rules is about"),
];
