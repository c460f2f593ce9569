//! By which of its conditions on named values a rule is found: the one whose values fewest other rules share.

use std::collections::HashMap;
use std::sync::Arc;

use super::fields::{Key, Lead, Source};
use crate::policy::glob::Glob;
use crate::policy::matcher::{Answer, Matcher, Scalar, Test, Typing};
use crate::policy::model::{self, Rule};

/// How many rules share a value.
#[derive(Debug, Default)]
pub(super) struct Shares<'m> {
    counts: HashMap<(Source, &'m str, Key), u32>,
}

impl<'m> Shares<'m> {
    /// Counts the values of all rules.
    pub(super) fn count(model: &'m [Rule]) -> Shares<'m> {
        let mut counts = HashMap::new();
        for lead in model.iter().flat_map(leads) {
            for (key, _) in lead.keys {
                *counts.entry((lead.source, lead.name, key)).or_insert(0) += 1;
            }
        }
        Shares { counts }
    }

    /// The condition of a rule that fewest others share, among body values and arguments or among the rest.
    pub(super) fn lead(&self, rule: &'m Rule, content: bool) -> Option<Lead<'m>> {
        let of_kind = leads(rule).into_iter().filter(|lead| is_content(lead.source) == content);
        of_kind.min_by_key(|lead| {
            let shares = lead
                .keys
                .iter()
                .map(|(key, _)| self.counts.get(&(lead.source, lead.name, key.clone())).copied().unwrap_or_default());
            (shares.fold(0, u32::saturating_add), !lead.exact)
        })
    }
}

fn is_content(source: Source) -> bool {
    matches!(source, Source::Body | Source::Argument)
}

/// Conditions of a rule on named values, those included by which it cannot be found.
pub(super) fn conditions(rule: &Rule) -> usize {
    let when = &rule.when;
    let names = when.mcp.iter().flat_map(|names| names.lists()).flatten().count();
    let agents = when.moment.iter().filter(|moment| moment.agents.is_some()).count();
    names + agents + when.all_named().count()
}

/// All conditions by which a rule can be found.
fn leads(rule: &Rule) -> Vec<Lead<'_>> {
    let mut leads = Vec::new();
    if let Some(agents) = rule.when.moment.as_ref().and_then(|moment| moment.agents.as_ref()) {
        leads.push(of_globs(Source::Agent, agents));
    }
    if let Some(names) = &rule.when.mcp {
        let sources = [Source::Server, Source::Method, Source::Tool, Source::Resource, Source::Prompt];
        let lists = sources.into_iter().zip(names.lists());
        leads.extend(lists.filter_map(|(source, globs)| globs.map(|globs| of_globs(source, globs))));
    }
    for (source, named) in rule.when.all_named() {
        let source = match source {
            model::Source::Header => Source::Header,
            model::Source::Query => Source::Query,
            model::Source::Body => Source::Body,
            model::Source::Arguments => Source::Argument,
        };
        leads.extend(of_matcher(source, &named.name, &named.matcher));
    }
    leads
}

fn of_globs(source: Source, globs: &[Glob]) -> Lead<'_> {
    let mut lead = Lead { source, name: "", keys: Vec::new(), exact: true, slashed: false };
    globs.iter().for_each(|glob| add_glob(&mut lead, glob));
    lead
}

fn add_glob(lead: &mut Lead<'_>, glob: &Glob) {
    lead.exact &= glob.is_exact() && !glob.is_slashed();
    lead.slashed |= glob.is_slashed();
    let key = match glob.beginning() {
        _ if glob.is_exact() => Key::Exact(glob.as_str().into()),
        "" => Key::Present,
        beginning => Key::Beginning(beginning.into()),
    };
    lead.keys.push((key, None));
}

/// Nothing for a matcher that holds for an absent value too.
fn of_matcher<'m>(source: Source, name: &'m str, matcher: &Matcher) -> Option<Lead<'m>> {
    if matcher.absent() != Answer::No {
        return None;
    }
    let mut lead = Lead { source, name, keys: Vec::new(), exact: true, slashed: false };
    let typing = Lead::typing(source);
    for tests in &matcher.0 {
        lead.exact &= tests.len() == 1;
        // An alternative that holds for an absent value is no alternative here: the matcher as a whole does not.
        let best = tests.iter().min_by_key(|test| rank(test, typing));
        match best {
            Some(test) if rank(test, typing) < UNFIT => add_test(&mut lead, test),
            _ => {
                lead.exact = false;
                lead.keys.push((Key::Present, None));
            }
        }
    }
    Some(lead)
}

const UNFIT: u8 = 9;

/// How well a test says which values it holds for; the least is best.
fn rank(test: &Test, typing: Typing) -> u8 {
    match test {
        Test::In(scalars) if texts(scalars) => 0,
        Test::In(_) if typing == Typing::Json => UNFIT,
        Test::Prefix(prefix) if !prefix.is_empty() => 1,
        Test::Glob(glob) if glob.is_exact() || !glob.beginning().is_empty() => 2,
        Test::Regex(regex) if regex.home().is_some() => 3,
        _ => UNFIT,
    }
}

fn texts(scalars: &[Scalar]) -> bool {
    scalars.iter().all(|scalar| matches!(scalar, Scalar::Text(_)))
}

fn add_test(lead: &mut Lead<'_>, test: &Test) {
    match test {
        Test::In(scalars) => {
            let texts =
                scalars.iter().filter_map(|scalar| if let Scalar::Text(text) = scalar { Some(text) } else { None });
            lead.keys.extend(texts.map(|text| (Key::Exact(text.clone()), None)));
        }
        Test::Prefix(prefix) => {
            lead.exact &= !prefix.contains('/');
            lead.slashed |= prefix.contains('/');
            lead.keys.push((Key::Beginning(prefix.clone()), None));
        }
        Test::Glob(glob) => add_glob(lead, glob),
        Test::Regex(regex) => {
            if let Some((automaton, pattern)) = regex.home() {
                lead.keys.push((Key::Pattern(Arc::as_ptr(automaton).addr(), pattern), Some(Arc::clone(automaton))));
            }
        }
        _ => {}
    }
}
