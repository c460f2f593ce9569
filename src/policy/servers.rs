//! The MCP servers that a policy declares: which endpoint is whose, and which hosts they make worth an address.

use super::glob;
use super::host::HostKey;
use super::model::{Effect, McpEndpoint, Model};
use super::subject::{Host, Scheme};

/// Declared servers, sorted for look-up.
#[derive(Debug, Clone, Default)]
pub(super) struct Servers {
    /// By host; a host has few servers.
    http: Vec<Endpoint>,
    stdio: Vec<(Box<str>, Box<str>)>,
    /// Hosts of servers of which some rule allows something, sorted.
    admitted: Vec<HostKey>,
}

#[derive(Debug, Clone)]
struct Endpoint {
    host: HostKey,
    scheme: Scheme,
    port: u16,
    path: Box<str>,
    name: Box<str>,
}

impl Servers {
    pub(super) fn of(model: &Model) -> Servers {
        let mut servers = Servers::default();
        for server in &model.servers {
            match &server.endpoint {
                McpEndpoint::Stdio(stdio) => servers.stdio.push((stdio.clone(), server.name.clone())),
                McpEndpoint::Http { scheme, host, port, path } => {
                    let (host, path, name) = (host.clone(), path.clone(), server.name.clone());
                    if opens(model, &name) {
                        servers.admitted.push(host.clone());
                    }
                    servers.http.push(Endpoint { host, scheme: *scheme, port: *port, path, name });
                }
            }
        }
        servers.http.sort_by(|one, other| one.host.cmp(&other.host));
        servers.admitted.sort();
        servers.admitted.dedup();
        servers
    }

    pub(super) fn at(&self, scheme: Scheme, host: Host<'_>, port: u16, path: &str) -> Option<&str> {
        let start = self.http.partition_point(|endpoint| endpoint.host.compare(host).is_lt());
        let same = self.http.iter().skip(start).take_while(|endpoint| endpoint.host.compare(host).is_eq());
        let mut here =
            same.filter(|endpoint| (endpoint.scheme, endpoint.port) == (scheme, port) && *endpoint.path == *path);
        here.next().map(|endpoint| &*endpoint.name)
    }

    pub(super) fn stdio(&self, stdio: &str) -> Option<&str> {
        self.stdio.iter().find(|(known, _)| **known == *stdio).map(|(_, name)| &**name)
    }

    /// Whether some message to a server on this host may be allowed.
    pub(super) fn admits(&self, host: Host<'_>) -> bool {
        self.admitted.binary_search_by(|key| key.compare(host)).is_ok()
    }
}

/// Whether some rule allows something of a server.
fn opens(model: &Model, name: &str) -> bool {
    let allows = model.rules.iter().filter(|rule| rule.effect == Effect::Allow);
    let mut names = allows.filter_map(|rule| rule.when.mcp.as_ref());
    names.any(|names| names.servers.as_ref().is_none_or(|servers| glob::any(servers, Some(name), true)))
}
