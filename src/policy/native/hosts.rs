//! Host patterns and named groups.

use std::collections::BTreeMap;

use super::super::host::{HostError, HostPattern};
use super::super::problem::{Place, Problems, did_you_mean};
use super::super::yaml::{Node, Value};
use super::{map, values};

/// The groups of `hosts:`, and which of them a rule has named.
#[derive(Debug, Default)]
pub(in super::super) struct Groups {
    by_name: BTreeMap<String, Group>,
}

#[derive(Debug)]
struct Group {
    place: Place,
    hosts: Box<[HostPattern]>,
    used: bool,
}

impl Groups {
    pub(super) fn read(node: &Node, problems: &mut Problems) -> Self {
        let mut by_name = BTreeMap::new();
        for entry in map(node, "`hosts`", problems) {
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
            if entry.key.is_empty() || !entry.key.chars().all(fits) {
                let remedy = "use letters, digits, `_`, `-` and `.`";
                problems.error(entry.place, format!("`{}` is no name for a group", entry.key.escape_debug()), remedy);
                continue;
            }
            if matches!(&entry.node.value, Value::List(list) if list.is_empty()) {
                problems.error(
                    entry.node.place,
                    format!("the group `{}` is empty", entry.key),
                    "name a host or remove it",
                );
                continue;
            }
            let hosts = values::list(&entry.node, "hosts", problems, |node, problems| {
                let text = values::text(node, "host", problems)?;
                if text.starts_with('$') {
                    problems.error(
                        node.place,
                        "a group cannot hold a group",
                        "name its hosts, or both groups in the rule",
                    );
                    return None;
                }
                pattern(node.place, text, problems)
            });
            let group = Group { place: entry.place, hosts: hosts.unwrap_or_default(), used: false };
            by_name.insert(entry.key.clone(), group);
        }
        Self { by_name }
    }

    /// The patterns of a rule's `host`, groups replaced by their members.
    pub(super) fn hosts(&mut self, node: &Node, problems: &mut Problems) -> Option<Box<[HostPattern]>> {
        let lists = values::list(node, "host", problems, |node, problems| {
            let text = values::text(node, "host", problems)?;
            match text.strip_prefix('$') {
                Some(name) => self.group(name, node.place, problems),
                None => pattern(node.place, text, problems).map(|one| Box::from([one])),
            }
        })?;
        let mut all: Vec<HostPattern> = Vec::new();
        for pattern in lists.into_iter().flatten() {
            // A handful is the rule; a long list is deduplicated by the table.
            if all.len() > 64 || !all.contains(&pattern) {
                all.push(pattern);
            }
        }
        (!all.is_empty()).then(|| all.into_boxed_slice())
    }

    fn group(&mut self, name: &str, place: Place, problems: &mut Problems) -> Option<Box<[HostPattern]>> {
        if let Some(group) = self.by_name.get_mut(name) {
            group.used = true;
            return Some(group.hosts.clone());
        }
        let names = || self.by_name.keys().map(String::as_str);
        let known: Vec<String> = names().take(16).map(|known| format!("${known}")).collect();
        let remedy = match did_you_mean(name, names()) {
            near if !near.is_empty() => near.replacen('`', "`$", 1),
            _ if known.is_empty() => "define it under `hosts:`".to_owned(),
            _ => format!("the groups are {}", known.join(", ")),
        };
        problems.error(place, format!("there is no group `${name}`"), remedy);
        None
    }

    pub(super) fn warn_unused(&self, problems: &mut Problems) {
        for (name, group) in self.by_name.iter().filter(|(_, group)| !group.used) {
            problems.warning(
                group.place,
                format!("no rule uses the group `${name}`"),
                "remove it, or name it in a rule",
            );
        }
    }
}

fn pattern(place: Place, text: &str, problems: &mut Problems) -> Option<HostPattern> {
    let error = match HostPattern::read(text) {
        Ok(pattern) => return Some(pattern),
        Err(error) => error,
    };
    let (message, remedy) = explain(text, error);
    problems.error(place, format!("the host `{text}` {message}"), remedy);
    None
}

/// What is wrong with a host, and how to mend it.
pub(super) fn explain(text: &str, error: HostError) -> (&'static str, String) {
    match error {
        HostError::Empty => ("is empty", String::new()),
        HostError::Url => {
            let bare = text.split_once("://").map_or(text, |(_, rest)| rest).split('/').next().unwrap_or_default();
            ("is no bare name", format!("write `host: {bare}`, and the rest as `scheme`, `port` and `path`"))
        }
        HostError::Port { host } => {
            let port = text.rsplit(':').next().unwrap_or_default();
            ("holds a port", format!("write `host: {host}` and `port: {port}`"))
        }
        HostError::Block => ("is an address block", format!("write `cidr: {text}`")),
        HostError::Star => (
            "has a `*` that is not its whole first label",
            "write `*.example.com` for all names below `example.com`".into(),
        ),
        HostError::Character(c) if !c.is_ascii() => {
            ("is not ASCII", "write the name as it stands on the wire, with `xn--` labels".into())
        }
        HostError::Character(c) => ("holds a character no name has", format!("remove `{}`", c.escape_debug())),
        HostError::Label => ("has an empty or too long label, or is longer than 253 octets", String::new()),
        HostError::Hyphen => ("has a label that begins or ends with a hyphen", String::new()),
        HostError::OddAddress => {
            ("is neither a name nor a plain address", "write an IPv4 address as four decimal numbers".into())
        }
    }
}
