//! What walking a dialect's rules comes to, also where some facts are open.

use std::ops::ControlFlow;

use super::super::decide::{Code, RuleView};

/// What was ruled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ruling<'r> {
    pub(super) allows: bool,
    /// The rule that decided, if one did.
    pub(super) rule: Option<RuleView<'r>>,
    /// Why, if no rule decided.
    pub(super) code: Option<Code>,
    /// The limit under which an allow stands, by the dialect's own number.
    pub(super) limit: Option<u32>,
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Truth {
    No,
    /// That depends on a fact that is open.
    Maybe,
    Yes,
}

/// Where the rules lead: to one ruling, or to several as long as facts are open.
#[derive(Debug, Clone, Copy)]
pub(super) struct Course<'r> {
    /// The ruling, where nothing is open. Otherwise the one for the case that no rule matches which only may.
    pub(super) last: Ruling<'r>,
    /// Whether other rulings are possible.
    pub(super) is_open: bool,
    /// Whether some possible ruling allows.
    pub(super) may_allow: bool,
}

/// A condition that AGT cannot evaluate, or that we cannot with certainty: a wrong type, a value that cannot be read, a limit of steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flaw;

impl<'r> Ruling<'r> {
    pub(super) fn by_default(allows: bool) -> Ruling<'r> {
        Ruling { allows, rule: None, code: Some(Code::Default), limit: None }
    }

    pub(super) fn by_code(allows: bool, code: Code) -> Ruling<'r> {
        Ruling { allows, rule: None, code: Some(code), limit: None }
    }

    pub(super) fn by_rule(allows: bool, rule: RuleView<'r>) -> Ruling<'r> {
        Ruling { allows, rule: Some(rule), code: None, limit: None }
    }

    /// The rules could not be evaluated.
    pub(super) const FLAWED: Ruling<'r> =
        Ruling { allows: false, rule: None, code: Some(Code::Evaluation), limit: None };
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Truth {
        if holds { Truth::Yes } else { Truth::No }
    }
}

impl<'r> Course<'r> {
    /// One ruling, whatever else there is to see.
    pub(super) fn settled(ruling: Ruling<'r>) -> Course<'r> {
        Course { last: ruling, is_open: false, may_allow: ruling.allows }
    }

    /// Nothing is known before the open facts are.
    #[allow(dead_code, reason = "the rules of these dialects can be walked with open facts")]
    pub(super) fn unknown() -> Course<'static> {
        Course { last: Ruling::FLAWED, is_open: true, may_allow: true }
    }

    /// The first rule that matches decides; a flaw denies at once, where it is reached. `rule` says of each whether it matches and what it rules.
    pub(super) fn first_match<R>(
        rules: impl IntoIterator<Item = R>,
        mut matches: impl FnMut(&R) -> Result<Truth, Flaw>,
        mut rule: impl FnMut(&R) -> Ruling<'r>,
        default: Ruling<'r>,
    ) -> Course<'r> {
        let (mut is_open, mut may_allow) = (false, false);
        let ended = rules.into_iter().try_for_each(|each| match matches(&each) {
            Ok(Truth::No) => ControlFlow::Continue(()),
            Ok(Truth::Maybe) => {
                (is_open, may_allow) = (true, may_allow || rule(&each).allows);
                ControlFlow::Continue(())
            }
            Ok(Truth::Yes) => ControlFlow::Break(rule(&each)),
            Err(Flaw) => ControlFlow::Break(Ruling::FLAWED),
        });
        let last = ended.break_value().unwrap_or(default);
        Course { last, is_open, may_allow: may_allow || last.allows }
    }
}
