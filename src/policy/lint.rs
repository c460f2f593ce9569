//! Warnings about policies that load but probably do not do what their author wants: rules that can never win, and allows so broad that
//! they admit what nobody thought of.

use std::collections::HashMap;

use super::host::HostPattern;
use super::model::{Access, Conditions, Effect, Mode, Model, Rule};
use super::path::PathPattern;
use super::problem::Problems;
use crate::limits;

/// Warns about the rules of a model.
pub(super) fn lint(model: &Model, problems: &mut Problems) {
    for rule in model.rules.iter().filter(|rule| rule.effect == Effect::Allow) {
        broad(rule, problems);
        unreadable(rule, problems);
    }
    shadowed(&model.rules, problems);
    if model.mode == Mode::Monitor {
        for rule in model.rules.iter().filter(|rule| rule.monitor) {
            let message = format!("`monitor` of `{}` says nothing new: `mode: monitor` watches every deny", rule.name);
            problems.warning(rule.place, message, "remove one of them");
        }
    }
}

/// Names under which anyone can get a name of their own, so that a `*.` pattern over them admits strangers.
const SHARED: [&str; 32] = [
    "amazonaws.com",
    "appspot.com",
    "azureedge.net",
    "azurewebsites.net",
    "blob.core.windows.net",
    "blogspot.com",
    "cloudapp.net",
    "cloudfront.net",
    "cloudfunctions.net",
    "co.uk",
    "com.au",
    "deno.dev",
    "firebaseapp.com",
    "fly.dev",
    "github.io",
    "gitlab.io",
    "googleapis.com",
    "googleusercontent.com",
    "herokuapp.com",
    "loca.lt",
    "netlify.app",
    "ngrok-free.app",
    "ngrok.io",
    "onrender.com",
    "pages.dev",
    "r2.dev",
    "repl.co",
    "run.app",
    "trycloudflare.com",
    "vercel.app",
    "web.app",
    "workers.dev",
];

fn broad(rule: &Rule, problems: &mut Problems) {
    let when = &rule.when;
    let name = &rule.name;
    let anywhere = when.hosts.as_ref().is_none_or(|hosts| hosts.contains(&HostPattern::Any));
    if anywhere && when.blocks.is_none() && when.paths.is_none() {
        let reads_only = when.access == Some(Access::ReadOnly)
            || when
                .methods
                .as_ref()
                .is_some_and(|methods| methods.iter().all(|m| matches!(&**m, "GET" | "HEAD" | "OPTIONS")));
        if !reads_only {
            let remedy = "name its hosts, or write `default: allow` if that is meant";
            problems.warning(rule.place, format!("`{name}` allows sending to every host"), remedy);
        }
    }
    for pattern in when.hosts.iter().flatten() {
        let HostPattern::Below(suffix) = pattern else { continue };
        if SHARED.contains(&&**suffix) || !suffix.contains('.') {
            let message = format!("`{name}` allows `*.{suffix}`, under which anyone can have a name");
            problems.warning(rule.place, message, "name the hosts that are yours");
        }
    }
    for block in when.blocks.iter().flatten().filter(|block| block.prefix_len() == 0) {
        let message = format!("`{name}` has the block `{block}`, so it admits every private address too");
        problems.warning(rule.place, message, "name the block that is meant");
    }
}

/// An allow must hold for every reading of a path, and a pattern that spells out what some reading takes away never does.
fn unreadable(rule: &Rule, problems: &mut Problems) {
    let Some(paths) = &rule.when.paths else { return };
    let odd = |path: &&PathPattern| ["//", ";", "%2F", "%3B", "%25"].iter().any(|part| path.as_str().contains(part));
    if let Some(path) = paths.iter().find(odd)
        && paths.len() == 1
    {
        let message = format!(
            "`{}` can hardly win: `{}` is also read without its `//`, `;` or escapes",
            rule.name,
            path.as_str()
        );
        problems.warning(rule.place, message, "an allow must hold in every reading; list the plain form as well");
    }
}

/// Rules that another one makes pointless: an allow under a deny that covers it, or a rule under one of its own kind that says no less.
fn shadowed(rules: &[Rule], problems: &mut Problems) {
    let covering: Vec<&Rule> = rules.iter().filter(|rule| rule.effect == Effect::Deny && !rule.monitor).collect();
    if covering.len().saturating_mul(rules.len()) <= limits::POLICY_LINT_PAIRS_MAX {
        for rule in rules.iter().filter(|rule| rule.effect == Effect::Allow) {
            if let Some(deny) = covering.iter().find(|deny| covers(deny, rule)) {
                let message = format!(
                    "`{}` can never win: `{}` (line {}) denies all of it",
                    rule.name, deny.name, deny.place.line
                );
                problems.warning(rule.place, message, "deny beats allow; narrow the deny or remove the allow");
            }
        }
    }
    let mut known: HashMap<(Effect, bool, &Conditions), &Rule> = HashMap::new();
    for rule in rules {
        let key = (rule.effect, rule.monitor, &rule.when);
        match known.get(&key) {
            Some(first) => {
                let message = format!(
                    "`{}` can never win: `{}` (line {}) says the same",
                    rule.name, first.name, first.place.line
                );
                problems.warning(rule.place, message, "remove one of them");
            }
            None => drop(known.insert(key, rule)),
        }
    }
}

/// Whether a deny matches whatever an allow matches. It may say no where the answer is yes, never the other way round.
fn covers(deny: &Rule, allow: &Rule) -> bool {
    let Conditions { hosts, schemes, ports, blocks, methods, access, paths } = &deny.when;
    let when = &allow.when;
    let host = hosts.as_ref().is_none_or(|wide| {
        when.hosts.as_ref().is_some_and(|narrow| narrow.iter().all(|n| wide.iter().any(|w| covers_host(w, n))))
    });
    let scheme = schemes.as_ref().is_none_or(|wide| {
        when.schemes.as_ref().is_some_and(|narrow| narrow.iter().all(|scheme| wide.contains(scheme)))
    });
    let port = ports.as_ref().is_none_or(|wide| match &when.ports {
        Some(narrow) => narrow.iter().all(|port| wide.contains(port)),
        None => [80, 443].iter().all(|port| wide.contains(port)),
    });
    let method = methods.as_ref().is_none_or(|wide| {
        when.methods.as_ref().is_some_and(|narrow| narrow.iter().all(|method| wide.contains(method)))
    });
    let access = access.and_then(Access::methods).is_none() || *access == when.access;
    let path = paths.as_ref().is_none_or(|wide| {
        when.paths.as_ref().is_some_and(|narrow| narrow.iter().all(|n| wide.iter().any(|w| covers_path(w, n))))
    });
    // An allow's address may be unknown for long; a deny with a block is never said to cover it.
    host && scheme && port && method && access && path && blocks.is_none()
}

fn covers_host(wide: &HostPattern, narrow: &HostPattern) -> bool {
    match (wide, narrow) {
        (HostPattern::Any, _) => true,
        (HostPattern::Below(_), HostPattern::Name(name)) => wide.matches(super::Host::Name(name)),
        (HostPattern::Below(_), HostPattern::Below(below)) => wide == narrow || wide.matches(super::Host::Name(below)),
        _ => wide == narrow,
    }
}

fn covers_path(wide: &PathPattern, narrow: &PathPattern) -> bool {
    let everything_below = wide.as_str().strip_suffix("/**").filter(|beginning| !beginning.contains('*'));
    let below = everything_below.and_then(|beginning| narrow.as_str().strip_prefix(beginning));
    wide == narrow || below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests;
