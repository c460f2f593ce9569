//! From the model to the table: number the rules, fill the indexes.

use super::classes::{self, ANSWERED, ClassSet, Classes, UNCLASSED};
use super::fields::{FieldsBuilder, Lead};
use super::groups::{Group, Groups};
use super::index::{BlocksBuilder, EndpointsBuilder, HostsBuilder, MethodsBuilder};
use super::leads::{self, Shares};
use super::openers::Openers;
use super::paths::PathsBuilder;
use super::sets::{BLOCK_RULES, SetsBuilder};
use super::views::Views;
use super::words::u32_of;
use super::{CLASSED, Dimension, Kind, MESSAGE, REST, Shape, TUNNEL, Table};
use crate::policy::host::HostPattern;
use crate::policy::model::{Conditions, Effect, Rule};

/// A number that no rule has; it stands between groups.
const NO_RULE: u32 = u32::MAX;

/// Everything that is filled rule by rule.
struct Builders {
    hosts: HostsBuilder,
    endpoints: EndpointsBuilder,
    methods: MethodsBuilder,
    paths: PathsBuilder,
    blocks: BlocksBuilder,
    named: FieldsBuilder,
    content: FieldsBuilder,
}

impl Table {
    /// Compiles rules. Time and memory follow the number of values in them.
    pub(in crate::policy) fn compile(model: &[Rule]) -> Table {
        let shares = Shares::count(model);
        let (classes, class_of) = Classes::of_rules(model);
        let leads = model.iter().zip(class_of).map(|(rule, class)| Leads::of(rule, class, &shares));
        let leads: Vec<Leads<'_>> = leads.collect();
        let (groups, rules) = number(model, &leads);
        let mut builders = Builders {
            hosts: HostsBuilder::new(),
            endpoints: EndpointsBuilder::new(),
            methods: MethodsBuilder::default(),
            paths: PathsBuilder::new(),
            blocks: BlocksBuilder::new(),
            named: FieldsBuilder::default(),
            content: FieldsBuilder::default(),
        };
        for (id, place) in (0..).zip(&rules) {
            if let Some((rule, leads)) = model.get(*place as usize).zip(leads.get(*place as usize)) {
                builders.add(rule, leads, id);
            }
        }
        let mut openers = <[Openers; 2]>::default();
        for (rule, place) in model.iter().zip(0..) {
            let [inside, allow] = &mut openers;
            match kind(rule) {
                Kind::Inside => inside.add(rule, place),
                Kind::Allow => allow.add(rule, place),
                Kind::Deny | Kind::Watch => {}
            }
        }
        let mut sets = SetsBuilder::new(u32_of(rules.len()));
        let hosts = builders.hosts.finish(&mut sets);
        let endpoints = builders.endpoints.finish(&mut sets);
        let methods = builders.methods.finish(&mut sets);
        let paths = builders.paths.finish(&mut sets);
        let blocks = builders.blocks.finish(&mut sets);
        let named = builders.named.finish(&mut sets);
        let content = builders.content.finish(&mut sets);
        let sets = sets.finish();
        let views = Views::of(model);
        let plain = methods.is_empty() && blocks.is_empty() && named.is_empty() && content.is_empty();
        Table {
            groups,
            rules,
            classes,
            sets,
            hosts,
            endpoints,
            methods,
            paths,
            blocks,
            named,
            content,
            openers,
            views,
            plain,
        }
    }
}

/// The conditions that a rule is found by.
struct Leads<'m> {
    named: Option<Lead<'m>>,
    content: Option<Lead<'m>>,
    shape: Shape,
    class: ClassSet,
}

impl<'m> Leads<'m> {
    fn of(rule: &'m Rule, class: ClassSet, shares: &Shares<'m>) -> Leads<'m> {
        let (named, content) = (shares.lead(rule, false), shares.lead(rule, true));
        let decided = [&named, &content].iter().filter(|lead| lead.as_ref().is_some_and(|lead| lead.exact)).count();
        let times = rule.when.moment.as_ref().is_some_and(|moment| moment.times.is_some());
        let rest = leads::conditions(rule) > decided || times || rule.rate.is_some();
        let mut shape = shape(rule);
        if class != UNCLASSED {
            shape = shape & !ANSWERED | CLASSED;
        }
        for (bit, set) in [
            (Dimension::Named.bit(), named.is_some()),
            (Dimension::Content.bit(), content.is_some()),
            (REST, rest),
            (MESSAGE, rule.when.mcp.is_some()),
            (TUNNEL, rule.is_about_addresses()),
        ] {
            shape |= if set { bit } else { 0 };
        }
        Leads { named, content, shape, class }
    }
}

/// Numbers the rules by kind, shape, class and place, each group from a new block on.
fn number(model: &[Rule], leads: &[Leads<'_>]) -> ([Groups; 4], Vec<u32>) {
    let rules = (0..).zip(model.iter().zip(leads));
    let mut order: Vec<(Kind, Shape, ClassSet, u32)> =
        rules.map(|(place, (rule, leads))| (kind(rule), leads.shape, leads.class, place)).collect();
    order.sort_unstable();
    let mut groups: [Vec<Group>; 4] = Default::default();
    let mut rules: Vec<u32> = Vec::with_capacity(order.len());
    let mut last = None;
    for (kind, shape, class, place) in order {
        let Some(own) = groups.get_mut(kind as usize) else { continue };
        if last != Some((kind, shape, class)) {
            last = Some((kind, shape, class));
            rules.resize(rules.len().next_multiple_of(BLOCK_RULES as usize), NO_RULE);
            let first = u32_of(rules.len());
            own.push(Group { class, shape, first, end: first, place });
        }
        rules.push(place);
        if let Some(group) = own.last_mut() {
            group.end = u32_of(rules.len());
        }
    }
    (groups.map(Groups::new), rules)
}

fn kind(rule: &Rule) -> Kind {
    match (rule.effect, rule.monitor) {
        (Effect::Deny, false) => Kind::Deny,
        (Effect::Deny, true) => Kind::Watch,
        (Effect::Allow, _) if rule.when.blocks.is_some() => Kind::Inside,
        (Effect::Allow, _) => Kind::Allow,
    }
}

/// The dimensions on which a rule has a condition, named values apart.
fn shape(rule: &Rule) -> Shape {
    let Conditions { hosts, blocks, paths, .. } = &rule.when;
    let any_host = hosts.as_ref().is_none_or(|hosts| hosts.contains(&HostPattern::Any));
    let constrained = [
        (Dimension::Host, !any_host),
        (Dimension::Endpoint, classes::endpoints(rule).is_some()),
        (Dimension::Method, classes::methods(rule).is_some()),
        (Dimension::Path, paths.is_some()),
        (Dimension::Address, blocks.is_some()),
    ];
    constrained.iter().filter(|(_, constrained)| *constrained).fold(0, |shape, (dimension, _)| shape | dimension.bit())
}

impl Builders {
    fn add(&mut self, rule: &Rule, leads: &Leads<'_>, id: u32) {
        let Leads { named, content, shape, .. } = leads;
        named.iter().for_each(|lead| self.named.add(lead, id));
        content.iter().for_each(|lead| self.content.add(lead, id));
        let when = &rule.when;
        if shape & Dimension::Host.bit() != 0 {
            let hosts = when.hosts.iter().flatten();
            hosts.for_each(|pattern| self.hosts.add(pattern, id));
        }
        if shape & Dimension::Endpoint.bit() != 0 {
            classes::endpoints(rule).iter().flatten().for_each(|key| self.endpoints.add(*key, id));
        }
        if shape & Dimension::Method.bit() != 0 {
            classes::methods(rule).iter().flatten().for_each(|method| self.methods.add(method, id));
        }
        when.paths.iter().flatten().for_each(|pattern| self.paths.add(pattern.as_str(), id));
        when.blocks.iter().flatten().for_each(|block| self.blocks.add(block, id));
    }
}
