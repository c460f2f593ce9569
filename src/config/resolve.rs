//! What holds between the sections, and what `auto` means on this machine.
//!
//! Runs only over sections that could all be read, so that one mistake makes one complaint.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::Path;

use ipnet::IpNet;

use super::file::{Io, Placed, Raw};
use super::settings::{Agent, Engine, IoSettings, Listen, Settings, Spin};
use crate::limits::WORKERS_MAX;
use crate::policy::Place;
use crate::policy::document::Problems;

/// Checks the whole and gives the settings; `cores` is what this process may use of the machine.
pub(super) fn resolve(raw: Raw, file: &Path, cores: usize, problems: &mut Problems) -> Option<Settings> {
    agents_differ(&raw.agents, problems);
    sources_are_named(&raw, problems);
    addresses_differ(&raw, problems);
    redirected_dns_is_fixed(&raw, problems);
    if !problems.has_errors() {
        dns_leads_somewhere(&raw, problems);
        metrics_are_out_of_reach(&raw, problems);
    }
    if problems.has_errors() {
        return None;
    }
    Some(Settings {
        file: file.to_owned(),
        listeners: raw.listeners.into_iter().map(|placed| placed.value).collect(),
        dns: raw.dns.map(|placed| placed.value),
        exempt: raw.exempt,
        policy: raw.policy,
        agt_unsupplied: raw.agt_unsupplied,
        audit: raw.audit,
        ca: raw.ca,
        io: threads(&raw.io, cores),
        admin: raw.admin.map(|placed| placed.value),
        agents: raw.agents.into_iter().map(|placed| placed.value).collect(),
        bounds: raw.bounds,
    })
}

/// Half of the cores work, the rest is for agents, upstreams and the log's writer; spinning costs nobody anything only where a core is left.
fn threads(io: &Io, cores: usize) -> IoSettings {
    let half = NonZeroUsize::new((cores / 2).min(WORKERS_MAX)).unwrap_or(NonZeroUsize::MIN);
    let workers = io.workers.unwrap_or(half);
    let spin = if cores > workers.get() { Spin::Auto } else { Spin::Never };
    IoSettings { engine: io.engine.unwrap_or(Engine::Auto), workers, spin: io.spin.unwrap_or(spin) }
}

fn agents_differ(agents: &[Placed<Agent>], problems: &mut Problems) {
    for (at, Placed { place, value: agent }) in agents.iter().enumerate() {
        if agent.source.prefix_len() == 0 {
            let message = format!("`agents.source` of `{}` takes everybody for this agent", agent.name);
            problems.error(*place, message, "name its address, such as `172.28.0.3`");
            continue;
        }
        for earlier in agents.iter().take(at) {
            let line = earlier.place.line;
            if earlier.value.name == agent.name {
                let message = format!("the agent `{}` is already named in line {line}", agent.name);
                problems.error(*place, message, "give each agent a name of its own");
                break;
            }
            if overlap(&earlier.value.source, &agent.source) {
                let (source, other) = (shown(&agent.source), &earlier.value);
                let message = format!(
                    "`agents.source` {source} overlaps {} of `{}` in line {line}",
                    shown(&other.source),
                    other.name
                );
                problems.error(*place, message, "give each agent a source of its own");
                break;
            }
        }
    }
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

/// A single address without its prefix.
fn shown(block: &IpNet) -> String {
    if block.prefix_len() == block.max_prefix_len() { block.addr().to_string() } else { block.to_string() }
}

/// Off loopback anybody on the network could connect: somebody has to be named.
fn sources_are_named(raw: &Raw, problems: &mut Problems) {
    if !raw.agents.is_empty() {
        return;
    }
    for Placed { place, value: listener } in &raw.listeners {
        if !listener.on_loopback() && listener.from().is_empty() {
            let message = format!("the {listener} is off loopback and names nobody who may connect");
            problems.error(*place, message, "add `from: [NETWORK]` here, or `agents:`");
        }
    }
    if let Some(Placed { place, value: dns }) = &raw.dns
        && !dns.ip().is_loopback()
        && raw.listeners.iter().all(|listener| listener.value.from().is_empty())
    {
        let message = format!("the DNS stub at {dns} is off loopback and nobody is named who may ask it");
        problems.error(*place, message, "add `from: [NETWORK]` to a listener, or `agents:`");
    }
}

fn addresses_differ(raw: &Raw, problems: &mut Problems) {
    let mut taken: Vec<(SocketAddr, String)> = Vec::new();
    let mut take = |place: Place, address: SocketAddr, what: &dyn fmt::Display| {
        if let Some((held, by)) = taken.iter().find(|(held, _)| collide(held, &address)) {
            let message = format!("`{address}` is taken: the {by} has `{held}`");
            problems.error(place, message, "give each its own address or port");
            return;
        }
        taken.push((address, format!("{what} in line {}", place.line)));
    };
    for Placed { place, value } in &raw.listeners {
        match value {
            Listen::Redirect { address } => take(*place, *address, &"redirect listener"),
            Listen::Proxy { address, .. } => take(*place, *address, &"proxy listener"),
            Listen::Gateway { address, ports, .. } => {
                ports.iter().for_each(|port| take(*place, SocketAddr::new(*address, *port), &"gateway listener"));
            }
        }
    }
    if let Some(dns) = &raw.dns {
        take(dns.place, dns.value, &"DNS stub");
    }
    if let Some(Placed { place, value }) = &raw.admin
        && let Some(metrics) = value.metrics
    {
        take(*place, metrics, &"metrics");
    }
}

/// The unspecified address holds the port on every address of its family.
fn collide(a: &SocketAddr, b: &SocketAddr) -> bool {
    let same = a.ip() == b.ip() || (a.is_ipv4() == b.is_ipv4() && (a.ip().is_unspecified() || b.ip().is_unspecified()));
    a.port() != 0 && a.port() == b.port() && same
}

/// The rules that redirect DNS are written before anybody knows which port the kernel would choose.
fn redirected_dns_is_fixed(raw: &Raw, problems: &mut Problems) {
    let redirects = raw.listeners.iter().any(|listener| matches!(listener.value, Listen::Redirect { .. }));
    if let Some(Placed { place, value }) = raw.dns.as_ref().filter(|dns| redirects && dns.value.port() == 0) {
        let message = format!("`dns.address` beside a redirect listener has a fixed port, found `{value}`");
        problems.error(*place, message, format!("write `{}`", SocketAddr::new(value.ip(), 15053)));
    }
}

/// A stub answers with the address of the gateway it stands beside, or, on loopback, with addresses that only a redirect leads to us.
fn dns_leads_somewhere(raw: &Raw, problems: &mut Problems) {
    let Some(Placed { place, value: dns }) = &raw.dns else { return };
    let serves = |listener: &Placed<Listen>| match &listener.value {
        Listen::Redirect { .. } => dns.ip().is_loopback(),
        Listen::Gateway { address, .. } => {
            let here = *address == dns.ip() || address.is_unspecified() || dns.ip().is_unspecified();
            here && address.is_ipv4() == dns.is_ipv4()
        }
        Listen::Proxy { .. } => false,
    };
    if !raw.listeners.iter().any(serves) {
        let message = format!("the DNS stub at {dns} would answer with addresses that lead nowhere");
        problems.error(
            *place,
            message,
            "give a gateway listener this address, or put the stub on loopback beside a redirect listener",
        );
    }
}

/// Metrics name hosts and rules: they are the operator's, not the agent's.
fn metrics_are_out_of_reach(raw: &Raw, problems: &mut Problems) {
    let Some((place, metrics)) = raw.admin.as_ref().and_then(|admin| Some((admin.place, admin.value.metrics?))) else {
        return;
    };
    let ip = metrics.ip();
    let sources = raw.listeners.iter().flat_map(|listener| listener.value.from());
    let mut sources = sources.chain(raw.agents.iter().map(|agent| &agent.value.source));
    let heard = |listener: &Placed<Listen>| listener.value.ip() == ip;
    let why = if ip.is_unspecified() {
        "it is every address, also those that agents reach".to_owned()
    } else if let Some(block) = sources.find(|block| block.contains(&ip)) {
        format!("it lies in {}, where agents are", shown(block))
    } else if raw.listeners.iter().any(|listener| listener.value.on_loopback()) {
        "agents share this network namespace with a listener on loopback, and reach every address in it".to_owned()
    } else if raw.listeners.iter().any(heard) {
        "agents connect to a listener at the same address".to_owned()
    } else {
        return;
    };
    let message = format!("`admin.metrics` at `{metrics}` is within reach of an agent: {why}");
    problems.error(place, message, "remove it and ask `admin.socket`, or use an address on a network without agents");
}

impl Listen {
    /// Where it listens.
    pub fn ip(&self) -> IpAddr {
        match self {
            Listen::Redirect { address } | Listen::Proxy { address, .. } => address.ip(),
            Listen::Gateway { address, .. } => *address,
        }
    }

    /// Whether only programs in the proxy's own network namespace reach it.
    pub fn on_loopback(&self) -> bool {
        self.ip().is_loopback()
    }

    /// Who may connect, besides the known agents.
    pub fn from(&self) -> &[IpNet] {
        match self {
            Listen::Redirect { .. } => &[],
            Listen::Gateway { from, .. } | Listen::Proxy { from, .. } => from,
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Redirect { address } => write!(f, "redirect listener at {address}"),
            Listen::Gateway { address, .. } => write!(f, "gateway listener at {address}"),
            Listen::Proxy { address, .. } => write!(f, "proxy listener at {address}"),
        }
    }
}
