//! Whether one rule says all that another says. The answers may be no where they are yes, never the other way round.

use ipnet::IpNet;

use super::glob::Glob;
use super::host::HostPattern;
use super::model::{Access, Conditions, Effect, McpNames, Named, Rule};
use super::path::PathPattern;
use super::subject::Host;
use super::when::When;

/// Whether a deny matches whatever an allow matches, so that the allow can never win.
pub(super) fn denies_all(deny: &Rule, allow: &Rule) -> bool {
    // An allow's address may be unknown for long; a deny with a block is never said to cover it.
    deny.when.blocks.is_none() && covers(deny, allow)
}

/// Whether an earlier rule of the same kind matches whatever a later one matches, so that the later one is never named.
pub(super) fn wins_first(earlier: &Rule, later: &Rule) -> bool {
    let same = (earlier.effect, earlier.monitor) == (later.effect, later.monitor);
    // Allows with a block come before others, and a rate may run out.
    let blocks = earlier.when.blocks == later.when.blocks;
    let ports = earlier.effect == Effect::Deny || earlier.when.ports.is_some() == later.when.ports.is_some();
    // Whatever allows it, who is asked is the question's.
    let asks = later.ask.is_none() || earlier.ask.is_some();
    same && blocks && ports && asks && earlier.rate.is_none() && covers(earlier, later)
}

/// Whether one rule matches whatever another matches, addresses, rates and an allow's missing port apart.
pub(super) fn covers(wide: &Rule, narrow: &Rule) -> bool {
    let Conditions {
        hosts, schemes, ports, methods, access, paths, headers, query, body, mcp, arguments, moment, ..
    } = &wide.when;
    let when = &narrow.when;
    let host = all_of(hosts, &when.hosts, covers_host);
    let scheme = all_of(schemes, &when.schemes, PartialEq::eq);
    let port = ports.as_ref().is_none_or(|wide| match &when.ports {
        Some(narrow) => narrow.iter().all(|port| wide.contains(port)),
        None => {
            narrow.effect == Effect::Allow && when.mcp.is_none() && [80, 443].iter().all(|port| wide.contains(port))
        }
    });
    let method = all_of(methods, &when.methods, PartialEq::eq);
    let access = access.and_then(Access::methods).is_none_or(|wide| covers_access(wide, when));
    let path = all_of(paths, &when.paths, covers_path);
    let named = [(headers, &when.headers), (query, &when.query), (body, &when.body), (arguments, &when.arguments)];
    let named = named.iter().all(|(wide, narrow)| covers_named(wide, narrow));
    let moment =
        moment.as_ref().is_none_or(|wide| when.moment.as_ref().is_some_and(|narrow| covers_moment(wide, narrow)));
    host && scheme
        && port
        && method
        && access
        && path
        && named
        && moment
        && covers_messages(wide, mcp.as_deref(), narrow)
}

/// Values are ORed: every narrow one needs a wide one. A missing list is every value.
fn all_of<T>(wide: &Option<Box<[T]>>, narrow: &Option<Box<[T]>>, covers: impl Fn(&T, &T) -> bool) -> bool {
    let Some(wide) = wide else { return true };
    narrow.as_ref().is_some_and(|narrow| narrow.iter().all(|n| wide.iter().any(|w| covers(w, n))))
}

/// Whether a rule asks for no other method than these.
fn covers_access(wide: &[&str], narrow: &Conditions) -> bool {
    let named = narrow.methods.as_ref().is_some_and(|methods| methods.iter().all(|method| wide.contains(&&**method)));
    let preset = narrow.access.and_then(Access::methods);
    named || preset.is_some_and(|preset| preset.iter().all(|method| wide.contains(method)))
}

/// Whether every address in some blocks is in others; no blocks are every address.
pub(super) fn covers_blocks(wide: &Option<Box<[IpNet]>>, narrow: &Option<Box<[IpNet]>>) -> bool {
    all_of(wide, narrow, |wide, narrow| wide.contains(narrow))
}

/// Conditions on values are compared as they are written.
fn covers_named(wide: &Option<Box<[Named]>>, narrow: &Option<Box<[Named]>>) -> bool {
    wide.iter().flatten().all(|named| narrow.iter().flatten().any(|other| other == named))
}

fn covers_moment(wide: &When, narrow: &When) -> bool {
    all_of(&wide.agents, &narrow.agents, covers_glob) && (wide.times.is_none() || wide.times == narrow.times)
}

fn covers_messages(wide: &Rule, names: Option<&McpNames>, narrow: &Rule) -> bool {
    let Some(narrow_names) = &narrow.when.mcp else { return names.is_none() };
    let Some(names) = names else {
        // A deny without `mcp` applies to messages too; an allow does not.
        return wide.effect == Effect::Deny;
    };
    let server = all_of(&names.servers, &narrow_names.servers, covers_glob);
    if narrow.effect == Effect::Allow && wide.effect == Effect::Deny {
        // The allow also opens the server, which a deny of its tools does not prevent.
        let McpNames { methods, tools, resources, prompts, .. } = names;
        let whole = [methods, tools, resources, prompts].iter().all(|list| list.is_none());
        return server && whole && narrow_names.methods.is_none();
    }
    let same = |wide: &Option<Box<[Glob]>>, narrow: &Option<Box<[Glob]>>| all_of(wide, narrow, covers_glob);
    server
        // Without `method` a rule says nothing about messages to the client.
        && (names.methods.is_some() || narrow_names.methods.is_none())
        && same(&names.methods, &narrow_names.methods)
        && same(&names.tools, &narrow_names.tools)
        && same(&names.resources, &narrow_names.resources)
        && same(&names.prompts, &narrow_names.prompts)
}

fn covers_glob(wide: &Glob, narrow: &Glob) -> bool {
    let (wide_text, narrow_text) = (wide.as_str(), narrow.as_str());
    let beginning = wide_text.strip_suffix("**").filter(|plain| !plain.contains('*') && !plain.ends_with('/'));
    wide == narrow
        || narrow.is_exact() && super::glob::any(std::slice::from_ref(wide), Some(narrow_text), true)
        || beginning.is_some_and(|plain| !wide.is_slashed() && narrow_text.starts_with(plain))
}

pub(super) fn covers_host(wide: &HostPattern, narrow: &HostPattern) -> bool {
    match (wide, narrow) {
        (HostPattern::Any, _) => true,
        (HostPattern::Below(_), HostPattern::Name(name)) => wide.matches(Host::Name(name)),
        (HostPattern::Below(_), HostPattern::Below(below)) => wide == narrow || wide.matches(Host::Name(below)),
        _ => wide == narrow,
    }
}

/// Whether some host matches both patterns.
pub(super) fn hosts_meet(one: &HostPattern, other: &HostPattern) -> bool {
    covers_host(one, other) || covers_host(other, one)
}

fn covers_path(wide: &PathPattern, narrow: &PathPattern) -> bool {
    let everything_below = wide.as_str().strip_suffix("/**").filter(|beginning| !beginning.contains('*'));
    let below = everything_below.and_then(|beginning| narrow.as_str().strip_prefix(beginning));
    wide == narrow || below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
