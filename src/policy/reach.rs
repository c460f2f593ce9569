//! May anything reach a place? The answer to `policy check --reach`, found by trying what the rules can tell apart.
//!
//! Host, port, path, scheme, method and agent are tried in every combination that some rule distinguishes, and one that none does.
//! Everything else (values, messages' arguments, times, rates, addresses behind a name) is left open: it may hold in an allow and may fail
//! in a deny. So "no" is certain, and "yes" may need values that no request has.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::decide::is_metadata;
use super::host::{HostKey, read_host};
use super::model::{Access, Condition, Effect, McpEndpoint, Mode, Rule};
use super::path::PathPattern;
use super::subject::{Host, Scheme, Subject};
use super::{Policy, address, glob};

/// A place that may be reached or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    host: HostKey,
    port: Option<u16>,
    path: Option<Box<str>>,
}

/// How something may reach the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// The allow that admits it; nothing where `default: allow` or `mode: monitor` does.
    pub rule: Option<Box<str>>,
    /// The request, without what is left open.
    pub request: String,
}

impl Place {
    /// Reads `HOST[:PORT][/PATH]`; a scheme in front is ignored. Nothing if it is none.
    pub fn read(text: &str) -> Option<Place> {
        let text = text.split_once("://").map_or(text, |(_, rest)| rest);
        let (authority, path) = match text.find('/') {
            Some(at) => text.split_at_checked(at).map(|(authority, path)| (authority, Some(path)))?,
            None => (text, None),
        };
        let path = match path {
            Some(path) => {
                Some(PathPattern::read(path).ok().filter(|path| !path.as_str().contains('*'))?.as_str().into())
            }
            None => None,
        };
        if let Ok(host) = read_host(authority) {
            return Some(Place { host, port: None, path });
        }
        let (host, port) = authority.rsplit_once(':')?;
        let port = port.parse::<u16>().ok().filter(|port| *port != 0)?;
        Some(Place { host: read_host(host).ok()?, port: Some(port), path })
    }

    fn host(&self) -> Host<'_> {
        match &self.host {
            HostKey::Name(name) => Host::Name(name),
            HostKey::Address(address) => Host::Address(*address),
        }
    }
}

impl Policy {
    /// How something may reach the place, if anything may.
    pub fn reach(&self, place: &Place) -> Option<Way> {
        if is_metadata(place.host()) {
            return None;
        }
        let literal = if let HostKey::Address(address) = &place.host { Some(*address) } else { None };
        if let Some(ruleset) = &self.agt {
            let path = place.path.as_deref();
            let paths: &[&str] = if let Some(path) = &path { std::slice::from_ref(path) } else { &[] };
            let port = place.port.unwrap_or_default();
            let subject = Subject { host: place.host(), port, address: literal, paths, ..Subject::EMPTY };
            // No rule of AGT's admits an address that is not public.
            let public = literal.is_none_or(|ip| !address::is_special(ip));
            let given = (place.port.is_some(), path.is_some());
            let (may, rule) = self.may_reach_by(ruleset, &subject, given);
            let port = place.port.map(|port| format!(":{port}")).unwrap_or_default();
            let request = format!("a request to {}{port}{}", place.host, PathShown(path));
            return (public && (may || self.mode() == Mode::Monitor)).then_some(Way { rule, request });
        }
        let (methods, agents) = (methods(self.rules()), agents(self.rules()));
        for (scheme, port) in endpoints(self.rules(), place.port) {
            for (method, agent) in methods.iter().flat_map(|method| agents.iter().map(move |agent| (*method, *agent))) {
                let path = place.path.as_deref();
                let paths: &[&str] = if let Some(path) = &path { std::slice::from_ref(path) } else { &[] };
                let subject = Subject {
                    agent,
                    scheme,
                    host: place.host(),
                    port,
                    method,
                    paths,
                    address: literal,
                    ..Subject::EMPTY
                };
                if let Some(rule) = self.lets(&subject, place) {
                    let shown = PathShown(path);
                    let host = &place.host;
                    let request = format!("{method} {}://{host}:{port}{shown}", scheme.as_str());
                    return Some(Way { rule, request });
                }
            }
        }
        None
    }

    /// Whether a request like this may go, and by which rule.
    fn lets(&self, subject: &Subject<'_>, place: &Place) -> Option<Option<Box<str>>> {
        let monitored = self.mode() == Mode::Monitor;
        let message = self.model.servers.iter().find(|server| match &server.endpoint {
            McpEndpoint::Http { scheme, host, port, path } => {
                let same = *host == place.host && (*scheme, *port) == (subject.scheme, subject.port);
                same && place.path.as_ref().is_none_or(|asked| asked == path)
            }
            McpEndpoint::Stdio(_) => false,
        });
        let allows = |rule: &&Rule| match (&rule.when.mcp, message) {
            (Some(names), Some(server)) => {
                let named = names.servers.as_ref().is_none_or(|globs| glob::any(globs, Some(&server.name), true));
                named && may_match(rule, subject)
            }
            (Some(_), None) => false,
            (None, Some(_)) if place.path.is_some() => false,
            (None, _) => may_match(rule, subject),
        };
        let admits_address = |rule: Option<&Rule>| match subject.address {
            Some(ip) if address::is_special(ip) => {
                self.upstream(&subject.host, subject.port).is_some() || rule.is_some_and(|rule| has_block(rule, ip))
            }
            _ => true,
        };
        let mut allows = self.rules().iter().filter(|rule| rule.effect == Effect::Allow).filter(allows);
        let allow = allows.find(|rule| admits_address(Some(rule)));
        let open = self.default_effect() == Effect::Allow || monitored;
        if allow.is_none() && !(open && admits_address(None)) {
            return None;
        }
        let mut denies = self.rules().iter().filter(|rule| rule.effect == Effect::Deny && !rule.monitor);
        if !monitored && denies.any(|rule| surely_matches(rule, subject)) {
            return None;
        }
        Some(allow.map(|rule| rule.name.clone()))
    }
}

const TRIED: [Condition; 6] =
    [Condition::Host, Condition::Scheme, Condition::Port, Condition::Method, Condition::Access, Condition::Path];

/// Whether the rule matches for some value of what is left open.
fn may_match(rule: &Rule, subject: &Subject<'_>) -> bool {
    let agent = rule.when.moment.as_ref().and_then(|moment| moment.agents.as_ref());
    let agent = agent.is_none_or(|agents| glob::any(agents, Some(subject.agent), true));
    let any_path = subject.paths.is_empty();
    let address = match (&rule.when.blocks, subject.address) {
        (Some(_), Some(ip)) => has_block(rule, ip),
        _ => true,
    };
    agent
        && address
        && TRIED.iter().all(|condition| *condition == Condition::Path && any_path || rule.holds(*condition, subject))
}

/// Whether the rule matches for every value of what is left open.
fn surely_matches(rule: &Rule, subject: &Subject<'_>) -> bool {
    let when = &rule.when;
    let open = when.blocks.is_some() && !subject.address.is_some_and(|ip| has_block(rule, ip))
        || when.mcp.is_some()
        || when.all_named().next().is_some()
        || when.moment.as_ref().is_some_and(|moment| moment.times.is_some());
    let whole = |pattern: &PathPattern| pattern.as_str() == "/**";
    let path = !subject.paths.is_empty() || when.paths.as_ref().is_none_or(|paths| paths.iter().any(whole));
    !open && path && may_match(rule, subject)
}

fn has_block(rule: &Rule, ip: IpAddr) -> bool {
    rule.when.blocks.iter().flatten().any(|block| block.contains(&ip))
}

/// The methods that rules name, and one that none does.
fn methods(rules: &[Rule]) -> BTreeSet<&str> {
    let named = rules.iter().filter_map(|rule| rule.when.methods.as_ref()).flatten().map(|method| &**method);
    let preset = Access::ReadWrite.methods().unwrap_or_default().iter().copied();
    named.chain(preset).chain(["DELETE", "X-OTHER"]).collect()
}

/// The agents that rules name plainly, and one that none does.
fn agents(rules: &[Rule]) -> BTreeSet<&str> {
    let moments = rules.iter().filter_map(|rule| rule.when.moment.as_ref()?.agents.as_ref());
    moments.flatten().map(|glob| glob.as_str()).chain(["x-other"]).collect()
}

/// The schemes and ports that rules name, the usual ones, and one that none names.
fn endpoints(rules: &[Rule], port: Option<u16>) -> BTreeSet<(Scheme, u16)> {
    let both = |port: u16| [(Scheme::Http, port), (Scheme::Https, port)];
    if let Some(port) = port {
        return both(port).into();
    }
    let named = rules.iter().filter_map(|rule| rule.when.ports.as_ref()).flatten().copied();
    let mut endpoints: BTreeSet<(Scheme, u16)> = named.chain([443, 80, 8443, 1]).flat_map(both).collect();
    endpoints.extend(both(443));
    endpoints
}

struct PathShown<'p>(Option<&'p str>);

impl std::fmt::Display for PathShown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.unwrap_or("/…"))
    }
}

#[cfg(test)]
mod tests;
