//! The index of one named value: a header field, a parameter, a body value, an argument, the agent, or a name in an MCP message.
//!
//! Of each rule one such condition stands here, the one that fewest others share. Equal texts are found by hash, prefixes and the
//! beginnings of globs by hash for each length that occurs, regular expressions by walking the automata they share. What none of these
//! can tell makes its rule a candidate wherever the value is present.

use std::collections::HashMap;
use std::sync::Arc;

use super::facts::Refs;
use super::sets::{SetId, SetsBuilder, push};
use super::words::{WordLists, Words};
use crate::policy::matcher::{Typing, is_winding};
use crate::policy::regexes::Automaton;
use crate::policy::subject::{Look, Subject, Value};

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Source {
    Agent,
    Server,
    Method,
    Tool,
    Resource,
    Prompt,
    Header,
    Query,
    Body,
    Argument,
}

/// By what a rule is found.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// The value is this text.
    Exact(Box<str>),
    /// The value begins with this text.
    Beginning(Box<str>),
    /// The pattern of an automaton, both by their place in the field.
    Pattern(usize, u32),
    /// The value is there.
    Present,
}

/// One named value.
#[derive(Debug, Clone)]
pub(super) struct Field {
    source: Source,
    name: Box<str>,
    exact: Words<SetId>,
    beginnings: Words<SetId>,
    /// Lengths of the beginnings, ascending.
    lengths: Box<[usize]>,
    /// Each automaton with the rules of its patterns.
    automata: Vec<(Arc<Automaton>, Box<[SetId]>)>,
    present: SetId,
    /// Rules whose pattern speaks of places in a tree.
    slashed: SetId,
    /// All rules that are found by this value.
    all: SetId,
}

impl Field {
    /// Adds the sets of all rules for which the value may be right. Whether there are several values under the name.
    #[inline]
    pub(super) fn resolve(
        &self,
        subject: &Subject<'_>,
        deny: bool,
        refs: &mut Refs,
        len: impl Fn(SetId) -> u32,
    ) -> bool {
        let look = match self.source {
            Source::Header => subject.headers,
            Source::Query => subject.query,
            Source::Body => subject.body,
            Source::Argument => subject.arguments(),
            Source::Agent if subject.agent.is_empty() => return false,
            Source::Agent => {
                self.text(subject.agent.as_bytes(), deny, refs, &len);
                return false;
            }
            name => {
                let Some(mcp) = &subject.mcp else { return false };
                let text = match name {
                    Source::Server => Some(mcp.server),
                    Source::Method => Some(mcp.method),
                    Source::Tool => mcp.tool,
                    Source::Resource => mcp.resource,
                    _ => mcp.prompt,
                };
                if let Some(text) = text {
                    self.text(text.as_bytes(), deny, refs, &len);
                }
                return false;
            }
        };
        self.look(look, deny, refs, &len)
    }

    fn look(&self, look: Look<'_>, deny: bool, refs: &mut Refs, len: &impl Fn(SetId) -> u32) -> bool {
        let lookup = match look {
            Look::Absent => return false,
            Look::NotLooked | Look::Unreadable => {
                if matches!(look, Look::Unreadable) == deny {
                    refs.add(self.all, len);
                }
                return false;
            }
            Look::At(lookup) => lookup,
        };
        let mut values = 0_u32;
        lookup.values(&self.name, &mut |value| {
            values = values.saturating_add(1);
            match value {
                Value::Text(text) => self.text(text, deny, refs, len),
                // A value of another type is unreadable to the matchers of texts.
                _ if deny => refs.add_once(self.all, len),
                _ => refs.add_once(self.present, len),
            }
        });
        values > 1
    }

    fn text(&self, text: &[u8], deny: bool, refs: &mut Refs, len: &impl Fn(SetId) -> u32) {
        refs.add_once(self.exact.find(text).copied().unwrap_or_default(), len);
        refs.add_once(self.present, len);
        if deny && !self.slashed.is_none() && is_winding(text) {
            refs.add_once(self.slashed, len);
        }
        for length in self.lengths.iter().take_while(|length| **length <= text.len()) {
            let beginning = text.get(..*length).unwrap_or_default();
            refs.add_once(self.beginnings.find(beginning).copied().unwrap_or_default(), len);
        }
        for (automaton, sets) in &self.automata {
            automaton.walk(text, |pattern| {
                refs.add_once(sets.get(pattern as usize).copied().unwrap_or(SetId::NONE), len);
                refs.is_overflowed()
            });
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let automata: usize = self.automata.iter().map(|(automaton, sets)| automaton.bytes() + sets.len() * 4).sum();
        size_of::<Field>()
            + self.name.len()
            + self.exact.bytes()
            + self.beginnings.bytes()
            + self.lengths.len() * 8
            + automata
    }
}

/// Collects one field.
#[derive(Debug, Default)]
struct FieldBuilder {
    exact: WordLists,
    beginnings: WordLists,
    automata: Vec<(Arc<Automaton>, Vec<Vec<u32>>)>,
    present: Vec<u32>,
    slashed: Vec<u32>,
    all: Vec<u32>,
}

/// Collects the fields of one dimension.
#[derive(Debug, Default)]
pub(super) struct FieldsBuilder {
    places: HashMap<(Source, Box<str>), usize>,
    fields: Vec<((Source, Box<str>), FieldBuilder)>,
}

impl FieldsBuilder {
    /// Adds a rule under all keys of the condition that it is found by.
    pub(super) fn add(&mut self, lead: &Lead<'_>, rule: u32) {
        let name: (Source, Box<str>) = (lead.source, lead.name.into());
        let next = self.fields.len();
        let place = *self.places.entry(name.clone()).or_insert(next);
        if place == next {
            self.fields.push((name, FieldBuilder::default()));
        }
        let Some((_, field)) = self.fields.get_mut(place) else { return };
        push(&mut field.all, rule);
        if lead.slashed {
            push(&mut field.slashed, rule);
        }
        for (key, automaton) in &lead.keys {
            match key {
                Key::Exact(text) => field.exact.add(text.as_bytes(), rule),
                Key::Beginning(text) => field.beginnings.add(text.as_bytes(), rule),
                Key::Present => push(&mut field.present, rule),
                Key::Pattern(_, pattern) => {
                    if let Some(automaton) = automaton {
                        field.pattern(automaton, *pattern, rule);
                    }
                }
            }
        }
    }

    pub(super) fn finish(self, sets: &mut SetsBuilder) -> Vec<Field> {
        self.fields.into_iter().map(|((source, name), field)| field.finish(source, name, sets)).collect()
    }
}

impl FieldBuilder {
    fn pattern(&mut self, automaton: &Arc<Automaton>, pattern: u32, rule: u32) {
        let known = self.automata.iter().position(|(known, _)| Arc::ptr_eq(known, automaton));
        let place = known.unwrap_or(self.automata.len());
        if known.is_none() {
            self.automata.push((Arc::clone(automaton), vec![Vec::new(); automaton.patterns()]));
        }
        let lists = self.automata.get_mut(place).map(|(_, lists)| lists);
        if let Some(list) = lists.and_then(|lists| lists.get_mut(pattern as usize)) {
            push(list, rule);
        }
    }

    fn finish(self, source: Source, name: Box<str>, sets: &mut SetsBuilder) -> Field {
        let mut lengths: Vec<usize> = self.beginnings.lens();
        lengths.sort_unstable();
        lengths.dedup();
        let automata = self.automata.into_iter();
        let automata =
            automata.map(|(automaton, lists)| (automaton, lists.iter().map(|list| sets.add(list)).collect()));
        Field {
            source,
            name,
            automata: automata.collect(),
            exact: self.exact.finish(sets),
            beginnings: self.beginnings.finish(sets),
            lengths: lengths.into(),
            present: sets.add(&self.present),
            slashed: sets.add(&self.slashed),
            all: sets.add(&self.all),
        }
    }
}

/// A condition by which a rule can be found.
#[derive(Debug)]
pub(super) struct Lead<'r> {
    pub(super) source: Source,
    pub(super) name: &'r str,
    pub(super) keys: Vec<(Key, Option<Arc<Automaton>>)>,
    /// The keys say exactly when the condition holds.
    pub(super) exact: bool,
    /// A text that reads as another place than it says is neither in nor out.
    pub(super) slashed: bool,
}

impl Lead<'_> {
    /// How values of the source are typed; only conditions on named values are asked.
    pub(super) fn typing(source: Source) -> Typing {
        if matches!(source, Source::Body | Source::Argument) { Typing::Json } else { Typing::Text }
    }
}
