//! Classes of rules: what they ask of method, scheme and port together.
//!
//! Most rules of a policy ask one of a few such questions, and nearly all rules would be in the sets of their answers. So a question that
//! many rules ask makes them a class, and a class is a group of its own, which is skipped or searched as a whole; a request's classes are
//! one word of bits. What few rules ask is left to the indexes.

use std::collections::HashMap;

use super::index::endpoint_key;
use super::words::IntMap;
use super::{Dimension, Shape};
use crate::policy::model::{Access, Effect, Rule};
use crate::policy::subject::{Scheme, Subject};

/// Classes as bits.
pub(super) type ClassSet = u64;

/// The bit of rules that are in no class; every subject has it.
pub(super) const UNCLASSED: ClassSet = 1 << 63;

const CLASSES_MAX: usize = 63;
const SCHEMES: [Scheme; 2] = [Scheme::Http, Scheme::Https];

/// What a rule asks of method, scheme and port; nothing for what it does not ask.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Question<'m> {
    methods: Option<Vec<&'m str>>,
    /// By [`endpoint_key`], with port 0 for every port of the scheme.
    endpoints: Option<Vec<u32>>,
}

/// The classes of a table.
#[derive(Debug, Clone, Default)]
pub(super) struct Classes {
    /// By packed name, the classes that name the method.
    methods: Vec<(u64, ClassSet)>,
    any_method: ClassSet,
    ports: IntMap<u32, ClassSet>,
    /// Plain HTTP on 80 and HTTPS on 443, which most requests are for.
    usual: [ClassSet; 2],
    /// Any port of a scheme.
    schemes: [ClassSet; 2],
    any_endpoint: ClassSet,
}

impl Classes {
    /// The classes that a subject is in, as an allow reads it and as a deny does.
    #[inline]
    pub(super) fn of(&self, subject: &Subject<'_>) -> [ClassSet; 2] {
        let (scheme, port) = (subject.scheme, subject.port);
        let of = |[http, https]: [ClassSet; 2]| if scheme == Scheme::Http { http } else { https };
        // Without a port there is no connection that could have a scheme.
        let endpoint = match port {
            0 => 0,
            port if port == scheme.default_port() => of(self.usual),
            port => self.ports.get(&endpoint_key(scheme, port)).copied().unwrap_or_default() | of(self.schemes),
        };
        let endpoint = endpoint | self.any_endpoint;
        let (exactly, caseless) = match pack(subject.method.as_bytes()) {
            Some(name) => (self.naming(name), upper(name).map(|name| self.naming(name))),
            None => (0, None),
        };
        let [allow, deny] = [exactly, caseless.unwrap_or(exactly)];
        [allow, deny].map(|named| (named | self.any_method) & endpoint | UNCLASSED)
    }

    /// Makes classes of the questions that many rules ask. Gives the class of each rule.
    pub(super) fn of_rules(model: &[Rule]) -> (Classes, Vec<ClassSet>) {
        let questions: Vec<Option<Question<'_>>> = model.iter().map(Question::of).collect();
        let mut counts: HashMap<&Question<'_>, usize> = HashMap::new();
        for question in questions.iter().flatten() {
            *counts.entry(question).or_default() += 1;
        }
        let least = model.len() / CLASSES_MAX;
        let mut frequent: Vec<(usize, &Question<'_>)> = counts
            .into_iter()
            .filter(|(_, count)| *count >= least)
            .map(|(question, count)| (count, question))
            .collect();
        // By number, then by what is asked: the same policy makes the same table.
        frequent.sort_unstable_by(|one, other| other.cmp(one));
        frequent.truncate(CLASSES_MAX);
        let mut classes = Classes::default();
        let mut known = HashMap::new();
        for ((_, question), number) in frequent.into_iter().zip(0..) {
            classes.add(question, 1 << number);
            known.insert(question, 1 << number);
        }
        let of_usual = SCHEMES.map(|scheme| endpoint_key(scheme, scheme.default_port()));
        let usual = of_usual.map(|key| classes.ports.get(&key).copied().unwrap_or_default());
        let [http, https] = classes.schemes;
        classes.usual = [usual[0] | http, usual[1] | https];
        let class =
            |question: &Option<Question<'_>>| question.as_ref().and_then(|question| known.get(question).copied());
        let of_rules = questions.iter().map(|question| class(question).unwrap_or(UNCLASSED)).collect();
        (classes, of_rules)
    }

    fn add(&mut self, question: &Question<'_>, class: ClassSet) {
        match &question.methods {
            None => self.any_method |= class,
            Some(methods) => {
                for name in methods.iter().filter_map(|method| pack(method.as_bytes())) {
                    match self.methods.iter_mut().find(|(known, _)| *known == name) {
                        Some((_, classes)) => *classes |= class,
                        None => self.methods.push((name, class)),
                    }
                }
            }
        }
        let Some(endpoints) = &question.endpoints else {
            self.any_endpoint |= class;
            return;
        };
        let [http, https] = SCHEMES.map(|scheme| endpoint_key(scheme, 0));
        for key in endpoints {
            match *key {
                key if key == http => self.schemes[0] |= class,
                key if key == https => self.schemes[1] |= class,
                key => *self.ports.entry(key).or_default() |= class,
            }
        }
    }

    #[inline]
    fn naming(&self, name: u64) -> ClassSet {
        let mut methods = self.methods.iter();
        methods.find(|(known, _)| *known == name).map_or(0, |(_, classes)| *classes)
    }

    /// Heap bytes.
    pub(super) fn bytes(&self) -> usize {
        self.methods.capacity() * 16 + self.ports.capacity() * 17
    }
}

impl<'m> Question<'m> {
    /// Nothing for a rule that asks nothing of the kind, or names a method too long to be packed.
    fn of(rule: &'m Rule) -> Option<Question<'m>> {
        let question = Question { methods: methods(rule), endpoints: endpoints(rule) };
        let packed = question.methods.iter().flatten().all(|method| pack(method.as_bytes()).is_some());
        (packed && (question.methods.is_some() || question.endpoints.is_some())).then_some(question)
    }
}

/// The methods that a rule is for; nothing for all.
pub(super) fn methods(rule: &Rule) -> Option<Vec<&str>> {
    let access = rule.when.access.and_then(Access::methods);
    let mut methods: Vec<&str> = match (&rule.when.methods, access) {
        (Some(methods), access) => methods
            .iter()
            .map(|method| &**method)
            .filter(|method| access.is_none_or(|all| all.contains(method)))
            .collect(),
        (None, Some(access)) => access.to_vec(),
        (None, None) => return None,
    };
    methods.sort_unstable();
    methods.dedup();
    Some(methods)
}

/// Schemes and ports that a rule is for, as [`Question::endpoints`]; nothing for all.
pub(super) fn endpoints(rule: &Rule) -> Option<Vec<u32>> {
    // Without `port` a deny means any, and so does a rule about messages: the server says where it is.
    let any_port = rule.when.ports.is_none() && (rule.effect == Effect::Deny || rule.when.mcp.is_some());
    if any_port && rule.when.schemes.is_none() {
        return None;
    }
    let mut keys = Vec::new();
    for scheme in rule.when.schemes.as_deref().unwrap_or(&SCHEMES) {
        match &rule.when.ports {
            Some(ports) => keys.extend(ports.iter().map(|port| endpoint_key(*scheme, *port))),
            None if any_port => keys.push(endpoint_key(*scheme, 0)),
            None => keys.push(endpoint_key(*scheme, scheme.default_port())),
        }
    }
    keys.sort_unstable();
    keys.dedup();
    Some(keys)
}

/// The dimensions that a class answers.
pub(super) const ANSWERED: Shape = Dimension::Endpoint.bit() | Dimension::Method.bit();

/// A method of up to seven letters in one word, its length included; nothing for a longer one.
#[inline]
fn pack(method: &[u8]) -> Option<u64> {
    let wide = |bytes: [u8; 4]| u64::from(u32::from_le_bytes(bytes));
    let letters = match *method {
        [] => 0,
        [a] => wide([a, 0, 0, 0]),
        [a, b] => wide([a, b, 0, 0]),
        [a, b, c] => wide([a, b, c, 0]),
        [a, b, c, d] => wide([a, b, c, d]),
        [a, b, c, d, e] => wide([a, b, c, d]) | wide([e, 0, 0, 0]) << 32,
        [a, b, c, d, e, f] => wide([a, b, c, d]) | wide([e, f, 0, 0]) << 32,
        [a, b, c, d, e, f, g] => wide([a, b, c, d]) | wide([e, f, g, 0]) << 32,
        _ => return None,
    };
    Some(letters | (method.len() as u64) << 56)
}

/// The packed method in upper case, if it is not already.
#[inline]
fn upper(name: u64) -> Option<u64> {
    // A lower-case letter has this bit, and no upper-case letter has.
    if name & 0x0020_2020_2020_2020 == 0 {
        return None;
    }
    let mut bytes = name.to_le_bytes();
    bytes.make_ascii_uppercase();
    Some(u64::from_le_bytes(bytes))
}
