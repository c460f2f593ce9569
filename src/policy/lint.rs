//! Warnings about policies that load but probably do not do what their author wants: rules that can never win, and allows so broad that
//! they admit what nobody thought of.

use std::collections::HashMap;

use super::host::HostPattern;
use super::model::{Access, Conditions, Effect, Mode, Model, Rule};
use super::path::PathPattern;
use super::problem::Problems;
use super::subject::Host;
use super::{cover, decide};
use crate::limits;

/// Warns about the rules of a model.
pub(super) fn lint(model: &Model, problems: &mut Problems) {
    for rule in model.rules.iter().filter(|rule| rule.effect == Effect::Allow) {
        broad(rule, problems);
        unreadable(rule, problems);
    }
    shadowed(&model.rules, problems);
    unread(model, problems);
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
    if let Some(names) = &when.mcp {
        if names.servers.is_none() {
            let message = format!("`{name}` allows this of every MCP server");
            problems.warning(rule.place, message, "name its servers: `mcp: { server: NAME }`");
        }
        return;
    }
    if let Some(hosts) = &when.hosts
        && hosts.iter().all(is_metadata)
    {
        let message = format!("`{name}` can never win: instance metadata is never reached");
        problems.warning(rule.place, message, "remove it");
    }
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

fn is_metadata(pattern: &HostPattern) -> bool {
    match pattern {
        HostPattern::Name(name) => decide::is_metadata(Host::Name(name)),
        HostPattern::Address(address) => decide::is_metadata(Host::Address(*address)),
        HostPattern::Any | HostPattern::Below(_) => false,
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

/// Rules that another one makes pointless: an allow under a deny that covers it, or a rule under an earlier one of its own kind that says
/// no less.
fn shadowed(rules: &[Rule], problems: &mut Problems) {
    let mut known: HashMap<(Effect, bool, bool, &Conditions), &Rule> = HashMap::new();
    let denies: Vec<&Rule> = rules.iter().filter(|rule| rule.effect == Effect::Deny && !rule.monitor).collect();
    let few = rules.len().saturating_mul(rules.len()) <= limits::POLICY_LINT_PAIRS_MAX;
    let few_denies = denies.len().saturating_mul(rules.len()) <= limits::POLICY_LINT_PAIRS_MAX;
    for (place, rule) in rules.iter().enumerate() {
        let (name, key) = (&rule.name, (rule.effect, rule.monitor, rule.ask.is_some(), &rule.when));
        if let Some(first) = known.get(&key) {
            let message = format!("`{name}` can never win: `{}` (line {}) says the same", first.name, first.place.line);
            problems.warning(rule.place, message, "remove one of them");
            continue;
        }
        // A rate may run out, and then another rule that says the same is the next to win.
        if rule.rate.is_none() {
            known.insert(key, rule);
        }
        let mut deny = denies.iter().filter(|_| few_denies && rule.effect == Effect::Allow);
        let earlier = if few { rules.get(..place).unwrap_or_default() } else { &[] };
        if let Some(deny) = deny.find(|deny| cover::denies_all(deny, rule)) {
            let message =
                format!("`{name}` can never win: `{}` (line {}) denies all of it", deny.name, deny.place.line);
            problems.warning(rule.place, message, "deny beats allow; narrow the deny or remove the allow");
        } else if let Some(wide) = earlier.iter().find(|wide| cover::wins_first(wide, rule)) {
            let message = format!("`{name}` can never win: `{}` (line {}) says more", wide.name, wide.place.line);
            problems.warning(rule.place, message, "remove it, or put it first if its name or reason matters");
        }
    }
}

/// Connections that pass unread: what does not see them, and what lets none of them pass.
fn unread(model: &Model, problems: &mut Problems) {
    let meets = |rule: &Rule, pattern: &HostPattern| {
        rule.when.hosts.as_ref().is_none_or(|hosts| hosts.iter().any(|host| cover::hosts_meet(host, pattern)))
    };
    for rule in model.rules.iter().filter(|rule| rule.effect == Effect::Deny && !rule.is_about_addresses()) {
        if let Some(pattern) = model.passthrough.iter().find(|pattern| meets(rule, pattern)) {
            let message =
                format!("`{}` does not see what goes to `{pattern}`, which `tls.passthrough` leaves unread", rule.name);
            problems.warning(rule.place, message, "deny the host as such, or take it off `passthrough`");
        }
    }
    for pattern in model.passthrough.iter().filter(|_| model.default == Effect::Deny) {
        let mut allows = model.rules.iter().filter(|rule| rule.effect == Effect::Allow && rule.is_about_addresses());
        if !allows.any(|rule| meets(rule, pattern)) {
            let message = format!("no rule lets `{pattern}` pass through unread");
            let remedy = "add an allow with nothing but `host`, `port`, `cidr` and `when`";
            problems.warning(model.passthrough_place, message, remedy);
        }
    }
}

#[cfg(test)]
mod tests;
