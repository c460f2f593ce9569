//! One subject, looked up in every index.

use std::net::IpAddr;

use super::classes::ClassSet;
use super::sets::SetId;
use super::{DIMENSIONS, Dimension, SHARED, Shape};
use crate::limits;
use crate::policy::subject::Subject;

/// The sets of rules that one dimension of one subject unites. All zero and without padding at the start, so that several are
/// cleared at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refs {
    sets: [SetId; limits::POLICY_SETS_MAX],
    pub(super) count: u16,
    /// 1 if there were more sets than fit, so that the dimension is asked of every candidate.
    overflow: u16,
    /// Rules in all sets together.
    pub(super) rules: u32,
}

/// Which sets of the path dimension hold candidates only, by their place in [`Refs`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tentative(pub(super) u32);

const _: () = assert!(limits::POLICY_SETS_MAX < 32);

/// What the groups are chosen by, as an allow or a deny reads a subject: its classes, and the marks that a rule needs to speak of it and must not have.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reads {
    pub(super) classes: ClassSet,
    pub(super) need: Shape,
    pub(super) forbid: Shape,
}

/// One subject, resolved.
pub(in crate::policy) struct Facts<'s> {
    pub(super) subject: &'s Subject<'s>,
    pub(super) dialled: Option<IpAddr>,
    /// As an allow and as a deny reads the subject.
    pub(super) reads: [Reads; 2],
    /// The sets of the method, as an allow and as a deny reads it.
    pub(super) method: (SetId, SetId),
    shared: [Refs; SHARED],
    /// The other dimensions, from the first one on that is looked up: to clear what few tables use costs as much as a look-up.
    others: Option<[Refs; DIMENSIONS - SHARED]>,
    pub(super) tentative: Tentative,
    /// Dimensions without a rule for the subject.
    pub(super) empty: Shape,
    /// A dimension with exactly one rule for the subject, as a bit, and that rule's number; no bit while none is known. Most subjects are known
    /// to one rule by something: of all rules that ask for this dimension it is that one or none.
    pub(super) sole: (Shape, u32),
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
    /// Whether denies and allows read the subject alike, so that there is nothing to turn.
    pub(super) plain: bool,
}

impl Refs {
    #[inline]
    pub(super) const fn none() -> Refs {
        Refs { sets: [SetId::FILLER; limits::POLICY_SETS_MAX], count: 0, overflow: 0, rules: 0 }
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
        (self.count, self.rules, self.overflow) = (0, 0, 0);
    }

    pub(super) fn overflow(&mut self) {
        self.overflow = 1;
    }

    pub(super) fn count(&self) -> u16 {
        self.count
    }

    #[inline]
    pub(super) fn is_overflowed(&self) -> bool {
        self.overflow != 0
    }

    /// The only rule of the only set, where there was room for all.
    #[inline]
    fn only(&self) -> Option<u32> {
        let [first, ..] = self.sets;
        if (self.count, self.overflow) == (1, 0) { first.only() } else { None }
    }

    #[inline]
    pub(super) fn sets(&self) -> &[SetId] {
        self.sets.get(..usize::from(self.count)).unwrap_or_default()
    }
}

impl Tentative {
    pub(super) fn mark(&mut self, place: u16) {
        self.0 |= 1u32.checked_shl(u32::from(place)).unwrap_or(0);
    }

    pub(super) fn has(self, place: usize) -> bool {
        self.0 >> place & 1 == 1
    }
}

impl<'s> Facts<'s> {
    /// Nothing looked up yet.
    #[inline]
    pub(in crate::policy) fn new(subject: &'s Subject<'s>) -> Facts<'s> {
        Facts {
            subject,
            dialled: subject.dialled(),
            reads: [Reads::default(); 2],
            method: (SetId::NONE, SetId::NONE),
            shared: [Refs::none(); SHARED],
            others: None,
            tentative: Tentative(0),
            empty: 0,
            sole: (0, 0),
            overflowed: 0,
            open: 0,
            confirm: 0,
            turned: None,
            read: false,
            plain: false,
        }
    }

    /// The address that `cidr` conditions look at.
    pub(in crate::policy) fn dialled(&self) -> Option<IpAddr> {
        self.dialled
    }

    #[inline]
    pub(super) fn refs(&self, dimension: Dimension) -> &Refs {
        self.at(dimension as u32)
    }

    /// The sets of a dimension by its number.
    #[inline]
    pub(super) fn at(&self, dimension: u32) -> &Refs {
        let dimension = dimension as usize;
        self.shared.get(dimension).unwrap_or_else(|| {
            let others = self.others.as_ref();
            others.and_then(|others| others.get(dimension - SHARED)).unwrap_or(&EMPTY)
        })
    }

    #[inline]
    pub(super) fn refs_mut(&mut self, dimension: Dimension) -> &mut Refs {
        let [host, endpoint, path] = &mut self.shared;
        match dimension {
            Dimension::Host => return host,
            Dimension::Endpoint => return endpoint,
            Dimension::Path => return path,
            _ => {}
        }
        let [method, address, named, content] = self.others.get_or_insert_with(|| [Refs::none(); DIMENSIONS - SHARED]);
        match dimension {
            Dimension::Method => method,
            Dimension::Address => address,
            Dimension::Named => named,
            _ => content,
        }
    }

    /// Notes what a dimension has come to.
    #[inline]
    pub(super) fn note(&mut self, dimension: Dimension) {
        let refs = self.refs(dimension);
        let (empty, overflowed) = (refs.count == 0 && !refs.is_overflowed(), refs.is_overflowed());
        let bit = dimension.bit();
        match refs.only() {
            Some(id) => self.sole = (bit, id),
            None if self.sole.0 == bit => self.sole = (0, 0),
            None => {}
        }
        self.empty = self.empty & !bit | if empty { bit } else { 0 };
        self.overflowed = self.overflowed & !bit | if overflowed { bit } else { 0 };
    }
}

static EMPTY: Refs = Refs::none();
