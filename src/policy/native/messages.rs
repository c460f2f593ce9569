//! `mcp` of a rule, `mcp_servers` and `tls`.

use std::path::PathBuf;

use super::super::glob::Glob;
use super::super::host::{self, HostPattern};
use super::super::model::{Effect, Hidden, McpEndpoint, McpNames, McpServer, Pin, Rule};
use super::super::path::PathPattern;
use super::super::problem::{Place, Problems, did_you_mean};
use super::super::subject::Scheme;
use super::super::yaml::{Entry, Node, Value};
use super::{Groups, map, matchers, refuse_unknown, upstreams, values};

pub(super) const NAMES: [&str; 5] = ["server", "method", "tool", "resource", "prompt"];

/// `mcp` of a rule.
pub(super) fn names(node: &Node, problems: &mut Problems) -> Option<Box<McpNames>> {
    let entries = map(node, "`mcp`", problems);
    if entries.is_empty() {
        if matches!(node.value, Value::Map(_)) {
            problems.error(node.place, "an empty `mcp` names nothing", "name a server: `mcp: { server: NAME }`");
        }
        return None;
    }
    let mut names = McpNames::default();
    for entry in entries {
        refuse_unknown(entry, &NAMES, &[], "`mcp`", problems);
        let globs = values::list(&entry.node, &entry.key, problems, matchers::glob);
        match entry.key.as_str() {
            "server" => names.servers = globs,
            "method" => names.methods = globs,
            "tool" => names.tools = globs,
            "resource" => names.resources = globs,
            "prompt" => names.prompts = globs,
            _ => {}
        }
    }
    refuse_impossible(&names, node.place, problems);
    Some(Box::new(names))
}

/// A message names one thing, by one of the methods that do.
fn refuse_impossible(names: &McpNames, place: Place, problems: &mut Problems) {
    let parts: [(&str, bool, &[&str]); 3] = [
        ("tool", names.tools.is_some(), &["tools/call"]),
        (
            "resource",
            names.resources.is_some(),
            &[
                "resources/read",
                "resources/subscribe",
                "resources/unsubscribe",
                "completion/complete",
                "subscriptions/listen",
            ],
        ),
        ("prompt", names.prompts.is_some(), &["prompts/get", "completion/complete"]),
    ];
    let given: Vec<_> = parts.iter().filter(|(_, given, _)| *given).collect();
    if let [(one, ..), (other, ..), ..] = given.as_slice() {
        let message = format!("no message names both a {one} and a {other}");
        return problems.error(place, message, "make two rules of it");
    }
    let (Some((part, _, methods)), Some(globs)) = (given.first(), &names.methods) else { return };
    if !methods.iter().any(|method| super::super::glob::any(globs, Some(method), true)) {
        let message = format!("no message of this `method` names a {part}");
        problems.error(place, message, format!("leave `method` out, or write `{}`", methods.first().unwrap_or(&"")));
    }
}

pub(super) const SERVER: [&str; 4] = ["url", "stdio", "pin", "hidden"];

/// `mcp_servers`.
pub(super) fn servers(node: &Node, problems: &mut Problems) -> Vec<McpServer> {
    let mut servers: Vec<McpServer> = Vec::new();
    for entry in map(node, "`mcp_servers`", problems) {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if entry.key.is_empty() || !entry.key.chars().all(fits) {
            let message = format!("`{}` is no name for a server", entry.key.escape_debug());
            problems.error(entry.place, message, "use letters, digits, `_`, `-` and `.`");
            continue;
        }
        let Some(endpoint) = endpoint(entry, problems) else { continue };
        if let Some(same) = servers.iter().find(|server| server.endpoint == endpoint) {
            let message = format!("`{}` is the same endpoint as `{}`", entry.key, same.name);
            problems.error(entry.place, message, "one endpoint has one name; remove one of them");
        }
        let pins = [("enforce", Pin::Enforce), ("warn", Pin::Warn), ("off", Pin::Off)];
        let pin = word(entry, "pin", &pins, problems);
        let hidden = word(entry, "hidden", &[("refuse", Hidden::Refuse), ("strip", Hidden::Strip)], problems);
        servers.push(McpServer { name: entry.key.as_str().into(), endpoint, pin, hidden });
    }
    servers
}

/// One of the words of a key; the first where the key is absent.
fn word<T: Copy + Default>(server: &Entry, key: &str, words: &[(&str, T)], problems: &mut Problems) -> T {
    let entries = if let Value::Map(entries) = &server.node.value { entries.as_slice() } else { &[] };
    let entry = entries.iter().find(|entry| entry.key == key);
    entry.and_then(|entry| values::choice(&entry.node, key, words, problems)).unwrap_or_default()
}

fn endpoint(entry: &Entry, problems: &mut Problems) -> Option<McpEndpoint> {
    let entries = map(&entry.node, "an MCP server", problems);
    for entry in entries {
        refuse_unknown(entry, &SERVER, &[], "an MCP server", problems);
    }
    let find = |key: &str| entries.iter().find(|entry| entry.key == key);
    match (find("url"), find("stdio")) {
        (Some(url), None) => {
            let text = values::text(&url.node, "url", problems)?;
            let endpoint = self::url(text, url.node.place, problems);
            if endpoint.is_none() && !problems.has_errors() {
                problems.error(
                    url.node.place,
                    format!("`{text}` is no URL of an MCP server"),
                    "write it as `https://mcp.example.com/mcp`",
                );
            }
            endpoint
        }
        (None, Some(stdio)) => values::text(&stdio.node, "stdio", problems).map(|name| McpEndpoint::Stdio(name.into())),
        (Some(_), Some(second)) => {
            problems.error(second.place, "a server has a `url` or speaks `stdio`", "make two servers of it");
            None
        }
        (None, None) => {
            if matches!(entry.node.value, Value::Map(_)) {
                problems.error(entry.place, "the server is nowhere", "add `url: https://…` or `stdio: NAME`");
            }
            None
        }
    }
}

fn url(text: &str, place: Place, problems: &mut Problems) -> Option<McpEndpoint> {
    let wrong = |problems: &mut Problems| {
        let remedy = "write it as `https://mcp.example.com/mcp`, without query and user";
        problems.error(place, format!("`{text}` is no URL of an MCP server"), remedy);
    };
    let (scheme, rest) = match text.split_once("://") {
        Some(("https", rest)) => (Scheme::Https, rest),
        Some(("http", rest)) => (Scheme::Http, rest),
        _ => {
            wrong(problems);
            return None;
        }
    };
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end)?;
    let path = if path.is_empty() { "/" } else { path };
    let canonical = PathPattern::read(path).ok().filter(|path| !path.as_str().contains('*'));
    let Some(path) = canonical.filter(|_| !authority.contains(['@', '?', '#'])) else {
        wrong(problems);
        return None;
    };
    let (host, port) = upstreams::authority(authority, place, problems)?;
    if matches!(&host, host::HostKey::Name(name) if host::is_metadata_name(name)) {
        problems.error(place, "instance metadata is never reached", "remove the server");
        return None;
    }
    let port = port.unwrap_or_else(|| scheme.default_port());
    Some(McpEndpoint::Http { scheme, host, port, path: path.as_str().into() })
}

/// Warns of rules that allow something of a server that is not declared.
pub(super) fn warn_unknown(rules: &[Rule], servers: &[McpServer], problems: &mut Problems) {
    for rule in rules.iter().filter(|rule| rule.effect == Effect::Allow) {
        let named = rule.when.mcp.iter().filter_map(|names| names.servers.as_ref()).flatten();
        let unknown = |glob: &&Glob| {
            !servers.iter().any(|server| super::super::glob::any(std::slice::from_ref(*glob), Some(&server.name), true))
        };
        for glob in named.filter(unknown) {
            let near = did_you_mean(glob.as_str(), servers.iter().map(|server| &*server.name));
            let remedy = if near.is_empty() { "declare it under `mcp_servers:`".to_owned() } else { near };
            let message =
                format!("`{}` names the server `{}`, which `mcp_servers` does not declare", rule.name, glob.as_str());
            problems.warning(rule.place, message, remedy);
        }
    }
}

/// `tls.crl`: the files, as written.
pub(super) fn revocations(node: &Node, problems: &mut Problems) -> Vec<PathBuf> {
    let Value::Map(entries) = &node.value else { return Vec::new() };
    let Some(entry) = entries.iter().find(|entry| entry.key == "crl") else { return Vec::new() };
    let file = |node: &Node, problems: &mut Problems| values::text(node, "crl", problems).map(PathBuf::from);
    values::list(&entry.node, "crl", problems, file).map(<[PathBuf]>::into_vec).unwrap_or_default()
}

/// `tls`, and of it `passthrough`.
pub(super) fn passthrough(node: &Node, groups: &mut Groups, problems: &mut Problems) -> Vec<HostPattern> {
    let entries = map(node, "`tls`", problems);
    for entry in entries {
        refuse_unknown(entry, &["passthrough", "crl"], &[], "`tls`", problems);
    }
    let Some(entry) = entries.iter().find(|entry| entry.key == "passthrough") else { return Vec::new() };
    if matches!(&entry.node.value, Value::List(list) if list.is_empty()) {
        return Vec::new();
    }
    groups.hosts(&entry.node, problems).map(<[HostPattern]>::into_vec).unwrap_or_default()
}
