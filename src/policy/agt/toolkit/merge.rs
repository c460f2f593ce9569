//! `extends`: the rules of parents before a policy's own, none of them weakened.

use std::collections::HashSet;

use super::{Entry, Place, Problems, Reading, Rule, VERSION, Value, find, list, rule, yaml};
use crate::limits;

/// The rules of a file and of all that it extends. `path` leads from the policy's own file, whose path is empty, to this one.
pub(super) fn read(entries: &[Entry], reading: &mut Reading<'_>, path: &mut Vec<String>) -> Option<Vec<Rule>> {
    version(entries, reading)?;
    let start = Place { line: 1, column: 1 };
    if !matches!(find(entries, "name").map(|entry| &entry.node.value), Some(Value::Text(_))) {
        reading.problems.error(start, "a policy needs `name`, a text", "");
        return None;
    }
    let nodes = match find(entries, "rules") {
        None => &[],
        Some(entry) => match list(&entry.node) {
            Some(nodes) => nodes,
            None => {
                reading.problems.error(entry.node.place, "`rules` is a list", "");
                return None;
            }
        },
    };
    let own: Vec<Rule> = nodes.iter().filter_map(|node| rule(node, reading)).collect();
    let Some(extends) = find(entries, "extends") else { return Some(own) };
    let parents = match &extends.node.value {
        Value::Text(_) => std::slice::from_ref(&extends.node),
        Value::List(nodes) => nodes.as_slice(),
        _ => &[],
    };
    let mut names = HashSet::new();
    let mut rules = Vec::new();
    for node in parents {
        let Value::Text(parent) = &node.value else {
            reading.problems.error(node.place, "`extends` names files", "");
            return None;
        };
        let more = read_parent(parent, node.place, reading, path)?;
        // Of several rules of one name AGT keeps the first, also of one parent.
        rules.extend(more.into_iter().filter(|rule| names.insert(rule.name.clone())));
    }
    let denied: HashSet<_> = rules.iter().filter(|rule| rule.action == "deny").map(|rule| rule.name.clone()).collect();
    for rule in own {
        if denied.contains(&rule.name) && matches!(rule.action, "allow" | "log") {
            let message =
                format!("`{}` is left out: a parent denies under this name, and a child cannot weaken it", rule.name);
            reading.problems.warning(rule.place, message, "");
            continue;
        }
        rules.push(rule);
    }
    Some(rules)
}

fn read_parent(parent: &str, place: Place, reading: &mut Reading<'_>, path: &mut Vec<String>) -> Option<Vec<Rule>> {
    let folder = path.last().and_then(|child| child.rsplit_once('/')).map(|(folder, _)| folder).unwrap_or_default();
    let file = if folder.is_empty() { parent.to_owned() } else { format!("{folder}/{parent}") };
    let file = file.strip_prefix("./").unwrap_or(&file).to_owned();
    if path.contains(&file) || path.len() > limits::POLICY_FILES_MAX {
        reading.problems.error(place, format!("`{parent}` extends itself"), "");
        return None;
    }
    let text = match reading.file(&file, place).map(|bytes| std::str::from_utf8(bytes).map(str::to_owned)) {
        Some(Ok(text)) => text,
        Some(Err(_)) => {
            reading.problems.error(place, format!("`{parent}` is not UTF-8"), "");
            return None;
        }
        None => return None,
    };
    // What is wrong in a parent is told with its own name and lines.
    let outer = std::mem::replace(reading.problems, Problems::new(&file));
    path.push(file);
    let rules = match yaml::read(&text).map(|node| node.value) {
        Ok(Value::Map(entries)) => read(&entries, reading, path),
        Ok(_) => {
            reading.problems.error(Place { line: 1, column: 1 }, "a policy is a map", "");
            None
        }
        Err(error) => {
            reading.problems.error(error.place, error.message, "");
            None
        }
    };
    path.pop();
    let inner = std::mem::replace(reading.problems, outer);
    reading.problems.absorb(inner);
    rules
}

fn version(entries: &[Entry], reading: &mut Reading<'_>) -> Option<()> {
    let Some(entry) = find(entries, "apiVersion") else { return Some(()) };
    match &entry.node.value {
        Value::Text(version) if version == VERSION => Some(()),
        Value::Text(version) if version == "1.0" => {
            reading.problems.warning(
                entry.node.place,
                "AGT deprecates this version",
                format!("write `apiVersion: {VERSION}`"),
            );
            Some(())
        }
        other => {
            let message = format!("the version is `{VERSION}`, found {}", other.describe());
            reading.problems.error(entry.node.place, message, "");
            None
        }
    }
}
