//! One subject, looked up in every index.

use super::sets::SetId;
use super::{DIMENSIONS, Dimension};
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
    pub(super) refs: [Refs; DIMENSIONS],
    pub(super) tentative: Tentative,
    /// Dimensions that hold whatever the rule says: the address of an allow while it is unknown.
    pub(super) open: u8,
    /// Dimensions that every candidate is asked about: the path of an allow when there are several readings.
    pub(super) confirm: u8,
}

impl Refs {
    pub(super) const NONE: Refs =
        Refs { sets: [SetId::NONE; limits::POLICY_SETS_MAX], count: 0, rules: 0, overflowed: false };

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

impl Facts<'_> {
    #[inline]
    pub(super) fn refs(&self, dimension: Dimension) -> &Refs {
        let [host, endpoint, method, path, address] = &self.refs;
        match dimension {
            Dimension::Host => host,
            Dimension::Endpoint => endpoint,
            Dimension::Method => method,
            Dimension::Path => path,
            Dimension::Address => address,
        }
    }
}
