//! The sections of the file, each read by itself, with the places that later complaints will point to.
//!
//! What holds between sections is no business of this file: `resolve` looks at that when every section could be read.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use super::audit::audit;
use super::environment::state_dir;
use super::listen::listener;
use super::settings::{AdminSettings, Agent, AuditSettings, Bounds, CaSettings, Engine, Exempt, Listen, Spin};
use super::values::{block, find, items, need, path, socket_address, wait, whole};
use crate::limits;
use crate::policy::Place;
use crate::policy::document::{Entry, Node, Problems, Value, choice, map, read as read_yaml, refuse_unknown, text};

/// A value and where it stood.
#[derive(Debug)]
pub(super) struct Placed<T> {
    pub(super) place: Place,
    pub(super) value: T,
}

/// The file, section by section.
#[derive(Debug)]
pub(super) struct Raw {
    pub(super) listeners: Vec<Placed<Listen>>,
    pub(super) dns: Option<Placed<SocketAddr>>,
    pub(super) exempt: Option<Exempt>,
    pub(super) policy: PathBuf,
    pub(super) agt_unsupplied: Vec<String>,
    pub(super) audit: AuditSettings,
    pub(super) ca: CaSettings,
    pub(super) io: Io,
    pub(super) admin: Option<Placed<AdminSettings>>,
    pub(super) agents: Vec<Placed<Agent>>,
    pub(super) bounds: Bounds,
}

/// `io`, where nothing stands for `auto`.
#[derive(Debug, Default)]
pub(super) struct Io {
    pub(super) engine: Option<Engine>,
    pub(super) workers: Option<NonZeroUsize>,
    pub(super) spin: Option<Spin>,
}

const KEYS: [&str; 11] =
    ["listen", "dns", "redirect", "policy", "agt_unsupplied", "audit", "ca", "io", "admin", "agents", "limits"];

/// Reads a text. Problems go to `problems`; a section with one gives nothing, and so does the whole.
pub(super) fn read(content: &str, folder: &Path, problems: &mut Problems) -> Option<Raw> {
    if content.len() > limits::CONFIG_BYTES_MAX {
        let message = format!("the file is longer than {} KiB", limits::CONFIG_BYTES_MAX / 1024);
        problems.error(Place { line: 1, column: 1 }, message, "it is no configuration; is it the policy?");
        return None;
    }
    let node = match read_yaml(content) {
        Ok(node) => node,
        Err(error) => {
            problems.error(error.place, error.message, "");
            return None;
        }
    };
    let top = Node { place: Place { line: 1, column: 1 }, ..node };
    let Value::Map(entries) = &top.value else {
        let message = format!("a configuration is a map, this is {}", top.value.describe());
        problems.error(top.place, message, "begin with `listen:`");
        return None;
    };
    if find(entries, "ringfence").is_some() && find(entries, "rules").is_some() {
        let remedy = "write a configuration with `listen:` and name this file in it as `policy:`";
        problems.error(top.place, "this is a policy, not a configuration", remedy);
        return None;
    }
    for entry in entries {
        refuse_unknown(entry, &KEYS, &[], "a configuration", problems);
    }
    sections(&top, entries, folder, problems)
}

fn sections(top: &Node, entries: &[Entry], folder: &Path, problems: &mut Problems) -> Option<Raw> {
    let listeners =
        required(top, entries, "listen", "write `listen: [{ mode: proxy, address: \"127.0.0.1:3128\" }]`", problems)
            .and_then(|node| items(node, "listen", 1, problems))
            .map(|nodes| placed(nodes, problems, listener));
    let dns = find(entries, "dns").and_then(|node| dns(node, problems));
    let exempt = find(entries, "redirect").and_then(|node| exempt(node, problems));
    let policy = required(top, entries, "policy", "write `policy: policy.yaml`", problems)
        .and_then(|node| path(node, "policy", folder, problems));
    let agt_unsupplied =
        find(entries, "agt_unsupplied").and_then(|node| items(node, "agt_unsupplied", 0, problems)).map(|nodes| {
            nodes.iter().filter_map(|node| text(node, "agt_unsupplied", problems)).map(str::to_owned).collect()
        });
    let audit = required(top, entries, "audit", "write `audit: { dir: DIRECTORY }`", problems)
        .and_then(|node| audit(node, folder, problems));
    let ca = ca(top, find(entries, "ca"), folder, problems);
    let io = find(entries, "io").map(|node| io(node, problems)).unwrap_or_default();
    let admin = find(entries, "admin").and_then(|node| admin(node, folder, problems));
    let agents = find(entries, "agents")
        .and_then(|node| items(node, "agents", 0, problems))
        .map(|nodes| placed(nodes, problems, agent));
    let bounds = find(entries, "limits").map(|node| bounds(node, problems)).unwrap_or_default();
    Some(Raw {
        listeners: listeners?,
        dns,
        exempt,
        policy: policy?,
        agt_unsupplied: agt_unsupplied.unwrap_or_default(),
        audit: audit?,
        ca: ca?,
        io,
        admin,
        agents: agents.unwrap_or_default(),
        bounds,
    })
}

fn required<'n>(
    top: &Node,
    entries: &'n [Entry],
    key: &str,
    remedy: &str,
    problems: &mut Problems,
) -> Option<&'n Node> {
    let found = find(entries, key);
    if found.is_none() {
        problems.error(top.place, format!("`{key}` is missing"), remedy);
    }
    found
}

fn placed<T>(nodes: &[Node], problems: &mut Problems, read: fn(&Node, &mut Problems) -> Option<T>) -> Vec<Placed<T>> {
    nodes.iter().filter_map(|node| read(node, problems).map(|value| Placed { place: node.place, value })).collect()
}

/// The entries of a section; nothing when it is no map.
pub(super) fn section<'n>(node: &'n Node, name: &str, keys: &[&str], problems: &mut Problems) -> Option<&'n [Entry]> {
    let name = format!("`{name}`");
    let entries = map(node, &name, problems);
    for entry in entries {
        refuse_unknown(entry, keys, &[], &name, problems);
    }
    matches!(node.value, Value::Map(_)).then_some(entries)
}

fn dns(node: &Node, problems: &mut Problems) -> Option<Placed<SocketAddr>> {
    let entries = section(node, "dns", &["address"], problems)?;
    let at = need(node, entries, ("dns", "address"), "write `address: \"127.0.0.1:15053\"`", problems)?;
    socket_address(at, "dns.address", problems).map(|value| Placed { place: at.place, value })
}

fn exempt(node: &Node, problems: &mut Problems) -> Option<Exempt> {
    let entries = section(node, "redirect", &["exempt"], problems)?;
    let remedy = "write `exempt: { uid: 1337 }`, the user that the proxy runs as";
    let node = need(node, entries, ("redirect", "exempt"), remedy, problems)?;
    let entries = section(node, "redirect.exempt", &["uid", "cgroup"], problems)?;
    match (find(entries, "uid"), find(entries, "cgroup")) {
        (Some(at), None) => {
            if matches!(at.value, Value::Integer(0)) {
                let message = "`redirect.exempt.uid` is 0: root in the agent's container would pass ungoverned";
                problems.error(at.place, message, "run the proxy as a user of its own, such as 1337");
                return None;
            }
            // The highest is -1, which the kernel takes for "no user".
            let uid = whole(at, "redirect.exempt.uid", 1, u64::from(u32::MAX) - 1, problems)?;
            u32::try_from(uid).ok().map(Exempt::Uid)
        }
        (None, Some(at)) => cgroup(at, problems).map(Exempt::Cgroup),
        _ => {
            problems.error(node.place, "`redirect.exempt` is either `uid` or `cgroup`", "keep one of them");
            None
        }
    }
}

fn cgroup(node: &Node, problems: &mut Problems) -> Option<PathBuf> {
    const KEY: &str = "redirect.exempt.cgroup";
    let text = text(node, KEY, problems)?;
    if let Some(rest) = text.strip_prefix("/sys/fs/cgroup/") {
        let message = format!("`{KEY}` counts from the root of the hierarchy");
        problems.error(node.place, message, format!("write `{rest}`"));
        return None;
    }
    let relative = text.trim_matches('/');
    if relative.is_empty() || relative.split('/').any(|part| matches!(part, "" | "." | "..")) {
        let message = format!("`{KEY}` is the path of one control group, found `{text}`");
        problems.error(node.place, message, "write it like `system.slice/ringfence.service`");
        return None;
    }
    Some(PathBuf::from(relative))
}

/// Without `ca.dir` the authority lives under the state folder, as that of every other command does.
fn ca(top: &Node, node: Option<&Node>, folder: &Path, problems: &mut Problems) -> Option<CaSettings> {
    let entries = match node {
        Some(node) => section(node, "ca", &["dir", "bundle"], problems)?,
        None => &[],
    };
    let dir = match find(entries, "dir") {
        Some(at) => path(at, "ca.dir", folder, problems),
        None => {
            let state = state_dir();
            if let Err(error) = &state {
                let place = node.unwrap_or(top).place;
                problems.error(
                    place,
                    format!("`ca.dir` is missing and there is {error}"),
                    "write `ca: { dir: DIRECTORY }`",
                );
            }
            state.ok().map(|state| state.join("ca"))
        }
    };
    let bundle = find(entries, "bundle").map(|at| path(at, "ca.bundle", folder, problems));
    if let (Some(dir), Some(Some(bundle))) = (&dir, &bundle)
        && bundle.starts_with(dir)
    {
        let place = find(entries, "bundle").unwrap_or(top).place;
        let remedy = "agents read the bundle and must not see the key: put it into a folder of its own";
        problems.error(place, "`ca.bundle` lies in `ca.dir`", remedy);
    }
    Some(CaSettings { dir: dir?, bundle: bundle.flatten() })
}

fn io(node: &Node, problems: &mut Problems) -> Io {
    let Some(entries) = section(node, "io", &["engine", "workers", "spin"], problems) else { return Io::default() };
    let engines = [("auto", Engine::Auto), ("uring", Engine::Uring), ("epoll", Engine::Epoll)];
    let engine = find(entries, "engine").and_then(|node| choice(node, "io.engine", &engines, problems));
    let auto = |node: &&Node| !matches!(&node.value, Value::Text(text) if text == "auto");
    let workers = find(entries, "workers").filter(auto).and_then(|node| {
        let count = whole(node, "io.workers", 1, limits::WORKERS_MAX as u64, problems)?;
        usize::try_from(count).ok().and_then(NonZeroUsize::new)
    });
    let spin = find(entries, "spin").filter(auto).and_then(|node| match &node.value {
        Value::Integer(0) => Some(Spin::Never),
        Value::Text(text) if text == "0" => Some(Spin::Never),
        Value::Text(text) if text == "50us" => Some(Spin::Always),
        other => {
            problems.error(node.place, format!("`io.spin` is `auto`, `0` or `50us`, found {}", other.describe()), "");
            None
        }
    });
    Io { engine, workers, spin }
}

fn admin(node: &Node, folder: &Path, problems: &mut Problems) -> Option<Placed<AdminSettings>> {
    let entries = section(node, "admin", &["socket", "metrics"], problems)?;
    let metrics = find(entries, "metrics");
    let address = metrics.and_then(|node| socket_address(node, "admin.metrics", problems));
    let at = need(node, entries, ("admin", "socket"), "write `socket: /run/ringfence/admin.sock`", problems)?;
    let socket = path(at, "admin.socket", folder, problems)?;
    let (long, most) = (socket.as_os_str().len(), limits::SOCKET_PATH_BYTES_MAX);
    if long > most {
        let message = format!("`admin.socket` is {long} octets long in full; a socket's path has at most {most}");
        problems.error(at.place, message, "put it higher up, such as `/run/ringfence/admin.sock`");
        return None;
    }
    let place = metrics.unwrap_or(at).place;
    Some(Placed { place, value: AdminSettings { socket, metrics: address } })
}

fn agent(node: &Node, problems: &mut Problems) -> Option<Agent> {
    let entries = section(node, "agents", &["name", "source"], problems)?;
    let name = need(node, entries, ("agents", "name"), "write `name: coder`", problems)
        .and_then(|node| text(node, "agents.name", problems));
    let source = need(node, entries, ("agents", "source"), "write `source: 172.28.0.3`", problems)
        .and_then(|node| block(node, "agents.source", problems));
    Some(Agent { name: name?.to_owned(), source: source? })
}

fn bounds(node: &Node, problems: &mut Problems) -> Bounds {
    const KEYS: [&str; 11] = [
        "head",
        "handshake",
        "idle",
        "response_head",
        "body",
        "request_body",
        "held_body",
        "connect",
        "drain",
        "connections",
        "connections_per_agent",
    ];
    let mut bounds = Bounds::default();
    let Some(entries) = section(node, "limits", &KEYS, problems) else { return bounds };
    let waits = [
        ("head", &mut bounds.head, limits::HEAD_WAIT_MAX),
        ("handshake", &mut bounds.handshake, limits::HANDSHAKE_WAIT_MAX),
        ("idle", &mut bounds.idle, limits::IDLE_WAIT_MAX),
        ("response_head", &mut bounds.response_head, limits::RESPONSE_HEAD_WAIT_MAX),
        ("held_body", &mut bounds.held_body, limits::HELD_BODY_WAIT_MAX),
        ("body", &mut bounds.body, limits::BODY_WAIT_MAX),
        ("request_body", &mut bounds.request_body, limits::REQUEST_BODY_WAIT_MAX),
        ("connect", &mut bounds.connect, limits::CONNECT_WAIT_MAX),
        ("drain", &mut bounds.drain, limits::DRAIN_WAIT_MAX),
    ];
    for (key, bound, most) in waits {
        if let Some(node) = find(entries, key)
            && let Some(set) = wait(node, &format!("limits.{key}"), *bound, most, problems)
        {
            *bound = set;
        }
    }
    let most = limits::CONNECTIONS_SET_MAX as u64;
    let counts =
        [("connections", &mut bounds.connections), ("connections_per_agent", &mut bounds.connections_per_agent)];
    for (key, bound) in counts {
        if let Some(node) = find(entries, key)
            && let Some(count) = whole(node, &format!("limits.{key}"), 1, most, problems)
        {
            *bound = usize::try_from(count).unwrap_or(*bound);
        }
    }
    bounds
}
