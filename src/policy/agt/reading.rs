//! Reading a file of a dialect: its keys, the other files it names, the fields its rules read.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Terms;
use super::super::problem::{Place, Problems, did_you_mean};
use super::super::yaml::{Entry, Node, Value};
use super::facts::{Field, Origin};
use crate::limits;

/// Files by their paths, with what is in them.
pub(super) type Contents = Vec<(Box<str>, Box<[u8]>)>;

/// What a dialect's reader works with.
pub(super) struct Reading<'r> {
    /// The text of the policy's own file.
    pub(super) text: &'r str,
    pub(super) problems: &'r mut Problems,
    terms: &'r Terms<'r>,
    fields: BTreeMap<Box<str>, Field>,
    /// Contents by path, each read once.
    files: BTreeMap<Box<str>, Box<[u8]>>,
    /// What was named as unsupplied and is asked for.
    used: BTreeSet<Box<str>>,
}

impl<'r> Reading<'r> {
    pub(super) fn new(text: &'r str, terms: &'r Terms<'r>, problems: &'r mut Problems) -> Reading<'r> {
        let (fields, files, used) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Reading { text, problems, terms, fields, files, used }
    }

    /// The field that a rule reads. What cannot be supplied is an error, unless it was named with `--agt-unsupplied`.
    pub(super) fn field(&mut self, name: &str, place: Place) -> Field {
        if self.is_unsupplied(name) {
            return Field::Nothing;
        }
        match Field::named(name) {
            Some(field) => {
                self.fields.insert(name.into(), field.clone());
                field
            }
            None => {
                let near = did_you_mean(name, Field::NAMES);
                self.refuse_unsupplied(name, place, &near);
                Field::Nothing
            }
        }
    }

    /// Notes that the policy is asked about a field under a name of its dialect's own.
    pub(super) fn asks(&mut self, name: &str, field: Field) {
        self.fields.insert(name.into(), field);
    }

    /// Whether a field, a stage or another thing that rules ask for was named with `--agt-unsupplied`.
    pub(super) fn is_unsupplied(&mut self, name: &str) -> bool {
        let named = self.terms.unsupplied.iter().any(|unsupplied| unsupplied == name);
        if named {
            self.used.insert(name.into());
        }
        named
    }

    /// The error about something that rules ask for and ringfence cannot supply.
    pub(super) fn refuse_unsupplied(&mut self, name: &str, place: Place, near: &str) {
        let near = if near.is_empty() { String::new() } else { format!("{near} If not: ") };
        let remedy = format!("{near}with `--agt-unsupplied {name}` it counts as missing");
        self.problems.error(place, format!("ringfence cannot supply `{name}`"), remedy);
    }

    /// The contents of a file that the policy names, by a path from the policy's folder. An error is reported here.
    pub(super) fn file(&mut self, path: &str, place: Place) -> Option<&[u8]> {
        let Some(path) = plain(path) else {
            let message = format!("`{path}` leads out of the policy's folder");
            self.problems.error(place, message, "name files in or below it, without `..`");
            return None;
        };
        if !self.files.contains_key(&*path) {
            if self.files.len() >= limits::POLICY_FILES_MAX {
                self.problems.error(place, "the policy names too many files", "join some of them");
                return None;
            }
            match self.terms.files.read(&path) {
                Ok(bytes) => self.files.insert(path.clone().into(), bytes.into()),
                Err(why) => {
                    self.problems.error(place, format!("`{path}` cannot be read: {why}"), "");
                    return None;
                }
            };
        }
        self.files.get(&*path).map(|bytes| &**bytes)
    }

    #[allow(dead_code, reason = "these dialects name files one by one")]
    /// The files in and below a folder, by paths from the policy's folder, sorted. An error is reported here.
    pub(super) fn folder(&mut self, path: &str, place: Place) -> Vec<String> {
        let Some(path) = plain(path) else {
            let message = format!("`{path}` leads out of the policy's folder");
            self.problems.error(place, message, "name a folder in or below it, without `..`");
            return Vec::new();
        };
        match self.terms.files.list(&path) {
            Ok(paths) => paths,
            Err(why) => {
                self.problems.error(place, format!("`{path}` cannot be read: {why}"), "");
                Vec::new()
            }
        }
    }

    /// Warns of a key that this dialect knows and ringfence does nothing with, as AGT's rule engine does.
    pub(super) fn idle(&mut self, entry: &Entry, why: &str) {
        self.problems.warning(entry.place, format!("`{}` has no effect: {why}", entry.key), "");
    }

    /// What was read, when the dialect is through: its fields by name, and the other files in the order of their paths.
    pub(super) fn finish(self) -> (Vec<(Box<str>, Field)>, Contents) {
        for name in self.terms.unsupplied.iter().filter(|name| !self.used.contains(name.as_str())) {
            let message = format!("`--agt-unsupplied {name}`: no rule reads it");
            self.problems.warning(Place { line: 1, column: 1 }, message, "leave it out");
        }
        (self.fields.into_iter().collect(), self.files.into_iter().collect())
    }
}

/// A path below a folder in its plain form; nothing where it leads out or is no path.
fn plain(path: &str) -> Option<String> {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => return None,
            part => parts.push(part),
        }
    }
    let bad = path.starts_with('/') || path.contains(['\0', '\\']) || path.len() > limits::POLICY_TEXT_BYTES_MAX;
    (!bad).then(|| parts.join("/"))
}

/// The entry of a key.
pub(super) fn find<'n>(entries: &'n [Entry], key: &str) -> Option<&'n Entry> {
    entries.iter().find(|entry| entry.key == key)
}

/// The entries of a map; nothing for other values.
pub(super) fn map(node: &Node) -> Option<&[Entry]> {
    if let Value::Map(entries) = &node.value { Some(entries) } else { None }
}

/// The items of a list; nothing for other values.
pub(super) fn list(node: &Node) -> Option<&[Node]> {
    if let Value::List(items) = &node.value { Some(items) } else { None }
}

/// Whether some field of a policy is not supplied by subjects of an origin; its name if so.
pub(super) fn missing_from(fields: &[(Box<str>, Field)], origin: Origin) -> Option<&str> {
    fields.iter().find(|(_, field)| !field.comes_from(origin)).map(|(name, _)| &**name)
}
