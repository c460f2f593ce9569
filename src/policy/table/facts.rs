//! One subject, looked up in every index.

use std::net::IpAddr;

use super::sets::SetId;
use super::{DIMENSIONS, Dimension, Shape};
use crate::limits;
use crate::policy::subject::Subject;

/// The sets of rules that one dimension of one subject unites.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refs {
    sets: [SetId; limits::POLICY_SETS_MAX],
    pub(super) count: u8,
    /// Rules in all sets together.
    pub(super) rules: u32,
    /// There were more sets than fit, so the dimension is asked of every candidate.
    pub(super) overflowed: bool,
}

/// Which sets of the path dimension hold candidates only, by their place in [`Refs`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tentative(pub(super) u32);

const _: () = assert!(limits::POLICY_SETS_MAX < 32);

/// One subject, resolved.
pub(in crate::policy) struct Facts<'s> {
    pub(super) subject: &'s Subject<'s>,
    pub(super) dialled: Option<IpAddr>,
    /// The sets of the method, as an allow and as a deny reads it.
    pub(super) method: (SetId, SetId),
    pub(super) refs: [Refs; DIMENSIONS],
    pub(super) tentative: Tentative,
    /// Dimensions without a rule for the subject.
    pub(super) empty: Shape,
    /// Dimensions that the index does not answer, because there were too many sets.
    pub(super) overflowed: Shape,
    /// Dimensions that hold whatever the rule says: the address of an allow while it is unknown.
    pub(super) open: Shape,
    /// Dimensions that every candidate is asked about: the path of an allow when there are several readings.
    pub(super) confirm: Shape,
    /// Whether [`Facts::refs`] is as denies read the subject, or as allows do; neither before the first look.
    pub(super) turned: Option<bool>,
    /// Whether the content dimension has been looked up since the last turn.
    pub(super) read: bool,
}

impl Refs {
    #[inline]
    pub(super) const fn none() -> Refs {
        Refs { sets: [SetId::FILLER; limits::POLICY_SETS_MAX], count: 0, rules: 0, overflowed: false }
    }

    #[inline]
    pub(super) fn add(&mut self, set: SetId, len: impl Fn(SetId) -> u32) {
        if set.is_none() {
            return;
        }
        match self.sets.get_mut(usize::from(self.count)) {
            Some(slot) => {
                *slot = set;
                self.count += 1;
                self.rules += len(set);
            }
            None => self.overflow(),
        }
    }

    /// Adds a set that may be there already.
    pub(super) fn add_once(&mut self, set: SetId, len: impl Fn(SetId) -> u32) {
        if !self.sets().contains(&set) {
            self.add(set, len);
        }
    }

    #[inline]
    pub(super) fn clear(&mut self) {
        (self.count, self.rules, self.overflowed) = (0, 0, false);
    }

    pub(super) fn overflow(&mut self) {
        self.overflowed = true;
    }

    pub(super) fn count(&self) -> u8 {
        self.count
    }

    #[inline]
    pub(super) fn sets(&self) -> &[SetId] {
        self.sets.get(..usize::from(self.count)).unwrap_or_default()
    }
}

impl Tentative {
    pub(super) fn mark(&mut self, place: u8) {
        self.0 |= 1u32.checked_shl(u32::from(place)).unwrap_or(0);
    }

    pub(super) fn has(self, place: usize) -> bool {
        self.0 >> place & 1 == 1
    }
}

impl<'s> Facts<'s> {
    #[inline]
    pub(super) fn new(subject: &'s Subject<'s>) -> Facts<'s> {
        Facts {
            subject,
            dialled: subject.dialled(),
            method: (SetId::NONE, SetId::NONE),
            refs: [Refs::none(); DIMENSIONS],
            tentative: Tentative(0),
            empty: 0,
            overflowed: 0,
            open: 0,
            confirm: 0,
            turned: None,
            read: false,
        }
    }

    /// The address that `cidr` conditions look at.
    pub(in crate::policy) fn dialled(&self) -> Option<IpAddr> {
        self.dialled
    }

    #[inline]
    pub(super) fn refs(&self, dimension: Dimension) -> &Refs {
        let [host, endpoint, method, path, address, named, content] = &self.refs;
        match dimension {
            Dimension::Host => host,
            Dimension::Endpoint => endpoint,
            Dimension::Method => method,
            Dimension::Path => path,
            Dimension::Address => address,
            Dimension::Named => named,
            Dimension::Content => content,
        }
    }

    #[inline]
    pub(super) fn refs_mut(&mut self, dimension: Dimension) -> &mut Refs {
        let [host, endpoint, method, path, address, named, content] = &mut self.refs;
        match dimension {
            Dimension::Host => host,
            Dimension::Endpoint => endpoint,
            Dimension::Method => method,
            Dimension::Path => path,
            Dimension::Address => address,
            Dimension::Named => named,
            Dimension::Content => content,
        }
    }

    /// Notes what a dimension has come to.
    #[inline]
    pub(super) fn note(&mut self, dimension: Dimension) {
        let refs = self.refs(dimension);
        let (empty, overflowed) = (refs.count == 0 && !refs.overflowed, refs.overflowed);
        let bit = dimension.bit();
        self.empty = self.empty & !bit | if empty { bit } else { 0 };
        self.overflowed = self.overflowed & !bit | if overflowed { bit } else { 0 };
    }
}
