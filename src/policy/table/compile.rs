//! From the model to the table: number the rules, fill the indexes.

use super::index::{BlocksBuilder, EndpointsBuilder, HostsBuilder, MethodsBuilder};
use super::paths::PathsBuilder;
use super::sets::{BLOCK_RULES, SetsBuilder};
use super::words::u32_of;
use super::{Dimension, Group, Kind, Table};
use crate::policy::host::HostPattern;
use crate::policy::model::{Access, Conditions, Effect, Rule};
use crate::policy::subject::Scheme;

/// A number that no rule has; it stands between groups.
const NO_RULE: u32 = u32::MAX;
const SCHEMES: [Scheme; 2] = [Scheme::Http, Scheme::Https];

/// Everything that is filled rule by rule.
struct Builders {
    hosts: HostsBuilder,
    endpoints: EndpointsBuilder,
    methods: MethodsBuilder,
    paths: PathsBuilder,
    blocks: BlocksBuilder,
}

impl Table {
    /// Compiles rules. Time and memory follow the number of values in them.
    pub(in crate::policy) fn compile(model: &[Rule]) -> Table {
        let (groups, rules) = number(model);
        let mut builders = Builders {
            hosts: HostsBuilder::new(),
            endpoints: EndpointsBuilder::new(),
            methods: MethodsBuilder::new(),
            paths: PathsBuilder::new(),
            blocks: BlocksBuilder::new(),
        };
        for (id, place) in (0..).zip(&rules) {
            if let Some(rule) = model.get(*place as usize) {
                builders.add(rule, id);
            }
        }
        let mut sets = SetsBuilder::new(u32_of(rules.len()));
        let hosts = builders.hosts.finish(&mut sets);
        let endpoints = builders.endpoints.finish(&mut sets);
        let methods = builders.methods.finish(&mut sets);
        let paths = builders.paths.finish(&mut sets);
        let blocks = builders.blocks.finish(&mut sets);
        Table { groups, rules, sets: sets.finish(), hosts, endpoints, methods, paths, blocks }
    }
}

/// Numbers the rules by kind, shape and place, each group from a new block on.
fn number(model: &[Rule]) -> (Vec<Group>, Vec<u32>) {
    let mut order: Vec<(Kind, u8, u32)> =
        (0..).zip(model).map(|(place, rule)| (kind(rule), shape(rule), place)).collect();
    order.sort_unstable();
    let mut groups: Vec<Group> = Vec::new();
    let mut rules: Vec<u32> = Vec::with_capacity(order.len());
    for (kind, shape, place) in order {
        if groups.last().is_none_or(|group| (group.kind, group.shape) != (kind, shape)) {
            rules.resize(rules.len().next_multiple_of(BLOCK_RULES as usize), NO_RULE);
            let first = u32_of(rules.len());
            groups.push(Group { kind, shape, first, end: first });
        }
        rules.push(place);
        if let Some(group) = groups.last_mut() {
            group.end = u32_of(rules.len());
        }
    }
    (groups, rules)
}

fn kind(rule: &Rule) -> Kind {
    match (rule.effect, rule.monitor) {
        (Effect::Deny, false) => Kind::Deny,
        (Effect::Deny, true) => Kind::Watch,
        (Effect::Allow, _) if rule.when.blocks.is_some() => Kind::Inside,
        (Effect::Allow, _) => Kind::Allow,
    }
}

/// The dimensions on which a rule has a condition.
fn shape(rule: &Rule) -> u8 {
    let Conditions { hosts, schemes, ports, blocks, methods, access, paths } = &rule.when;
    let any_host = hosts.as_ref().is_none_or(|hosts| hosts.contains(&HostPattern::Any));
    let any_method = methods.is_none() && access.and_then(Access::methods).is_none();
    let any_endpoint = rule.effect == Effect::Deny && schemes.is_none() && ports.is_none();
    let constrained = [
        (Dimension::Host, !any_host),
        (Dimension::Endpoint, !any_endpoint),
        (Dimension::Method, !any_method),
        (Dimension::Path, paths.is_some()),
        (Dimension::Address, blocks.is_some()),
    ];
    constrained.iter().filter(|(_, constrained)| *constrained).fold(0, |shape, (dimension, _)| shape | dimension.bit())
}

impl Builders {
    fn add(&mut self, rule: &Rule, id: u32) {
        let shape = shape(rule);
        let when = &rule.when;
        if shape & Dimension::Host.bit() != 0 {
            let hosts = when.hosts.iter().flatten();
            hosts.for_each(|pattern| self.hosts.add(pattern, id));
        }
        if shape & Dimension::Endpoint.bit() != 0 {
            self.add_endpoints(rule, id);
        }
        let access = when.access.and_then(Access::methods);
        match (&when.methods, access) {
            (Some(methods), access) => {
                let both = methods.iter().filter(|method| access.is_none_or(|access| access.contains(&&***method)));
                both.for_each(|method| self.methods.add(method, id));
            }
            (None, Some(access)) => access.iter().for_each(|method| self.methods.add(method, id)),
            (None, None) => {}
        }
        when.paths.iter().flatten().for_each(|pattern| self.paths.add(pattern.as_str(), id));
        when.blocks.iter().flatten().for_each(|block| self.blocks.add(block, id));
    }

    fn add_endpoints(&mut self, rule: &Rule, id: u32) {
        let schemes = rule.when.schemes.as_deref().unwrap_or(&SCHEMES);
        for scheme in schemes {
            match &rule.when.ports {
                Some(ports) => ports.iter().for_each(|port| self.endpoints.add_port(*scheme, *port, id)),
                None if rule.effect == Effect::Allow => self.endpoints.add_port(*scheme, scheme.default_port(), id),
                None => self.endpoints.add_scheme(*scheme, id),
            }
        }
    }
}
