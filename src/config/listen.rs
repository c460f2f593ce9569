//! The entries of `listen`: three modes, each with its own keys.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::settings::Listen;
use super::values::{address, block, find, items, need, port, socket_address};
use crate::policy::document::{Entry, Node, Problems, Value, choice, map, refuse_unknown};

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Redirect,
    Gateway,
    Proxy,
}

/// Reads one entry.
pub(super) fn listener(node: &Node, problems: &mut Problems) -> Option<Listen> {
    let entries = map(node, "an entry of `listen`", problems);
    if !matches!(node.value, Value::Map(_)) {
        return None;
    }
    let known = [("redirect", Mode::Redirect), ("gateway", Mode::Gateway), ("proxy", Mode::Proxy)];
    let remedy = "write `mode: gateway`, `mode: redirect` or `mode: proxy`";
    let mode = choice(need(node, entries, ("listen", "mode"), remedy, problems)?, "listen.mode", &known, problems)?;
    if !only_its_keys(entries, mode, problems) {
        return None;
    }
    match mode {
        Mode::Redirect => redirect(node, entries, problems),
        Mode::Gateway => gateway(node, entries, problems),
        Mode::Proxy => {
            let remedy = "write `address: \"127.0.0.1:3128\"`";
            let at = need(node, entries, ("listen", "address"), remedy, problems)?;
            let address = socket_address(at, "listen.address", problems);
            let from = sources(entries, problems);
            Some(Listen::Proxy { address: address?, from: from? })
        }
    }
}

fn redirect(node: &Node, entries: &[Entry], problems: &mut Problems) -> Option<Listen> {
    let remedy = "write `address: \"127.0.0.1:15001\"`";
    let at = need(node, entries, ("listen", "address"), remedy, problems)?;
    let address = socket_address(at, "listen.address", problems)?;
    if address.ip().is_loopback() && address.port() != 0 {
        return Some(Listen::Redirect { address });
    }
    let port = if address.port() == 0 { 15001 } else { address.port() };
    let loopback: IpAddr = if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
    let message = format!("`listen.address` of a redirect listener is a fixed port on loopback, found `{address}`");
    problems.error(at.place, message, format!("write `{}`", SocketAddr::new(loopback, port)));
    None
}

fn gateway(node: &Node, entries: &[Entry], problems: &mut Problems) -> Option<Listen> {
    let remedy = "write `address: \"0.0.0.0\"`, or the address on the agents' network";
    let at = need(node, entries, ("listen", "address"), remedy, problems)?;
    let address = address(at, "listen.address", problems);
    let remedy = "name the ports that agents dial: `ports: [80, 443]`";
    let ports = need(node, entries, ("listen", "ports"), remedy, problems)
        .and_then(|node| items(node, "listen.ports", 1, problems))
        .map(|nodes| nodes.iter().filter_map(|node| port(node, "listen.ports", problems)).collect());
    let from = sources(entries, problems);
    Some(Listen::Gateway { address: address?, ports: ports?, from: from? })
}

/// Who may connect. A list that leaves nobody out would be no list.
fn sources(entries: &[Entry], problems: &mut Problems) -> Option<Vec<IpNet>> {
    const KEY: &str = "listen.from";
    let Some(node) = find(entries, "from") else { return Some(Vec::new()) };
    let from: Vec<IpNet> =
        items(node, KEY, 1, problems)?.iter().filter_map(|node| block(node, KEY, problems)).collect();
    if IpNet::aggregate(&from).iter().any(|block| block.prefix_len() == 0) {
        let remedy = "name the networks of the agents, such as `172.28.0.0/16`";
        problems.error(node.place, "`listen.from` lets everybody in", remedy);
        return None;
    }
    Some(from)
}

/// Whether every key belongs to the mode; a problem for each that does not.
fn only_its_keys(entries: &[Entry], mode: Mode, problems: &mut Problems) -> bool {
    let (known, of): (&[&str], _) = match mode {
        Mode::Redirect => (&["mode", "address"], "a redirect listener"),
        Mode::Gateway => (&["mode", "address", "ports", "from"], "a gateway listener"),
        Mode::Proxy => (&["mode", "address", "from"], "a proxy listener"),
    };
    for entry in entries {
        match entry.key.as_str() {
            "from" if mode == Mode::Redirect => {
                let remedy = "remove it: only its own loopback reaches a redirect listener";
                problems.error(entry.place, "`from` has no place in a redirect listener", remedy);
            }
            "ports" if mode != Mode::Gateway => {
                let remedy = "write the port into `address`, like `127.0.0.1:3128`";
                problems.error(entry.place, format!("`ports` has no place in {of}"), remedy);
            }
            _ => refuse_unknown(entry, known, &[], of, problems),
        }
    }
    entries.iter().all(|entry| known.contains(&entry.key.as_str()))
}
