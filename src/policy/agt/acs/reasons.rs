//! Reasons that a policy makes up while it decides.
//!
//! Decisions borrow their texts from the policy, so these are kept in it: a bounded number, without a lock, and for as long as the policy lives.
//! A policy that puts what callers send into its reasons fills the table; from then on new ones are replaced by a fixed text.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use crate::limits;

/// Texts, each kept once.
#[derive(Debug)]
pub(super) struct Reasons {
    slots: Box<[OnceLock<Box<str>>]>,
    hasher: RandomState,
}

/// What is told instead of a reason that has no room.
pub(super) const ELSEWHERE: &str = "(the policy's reason is not kept: it gives too many different ones)";

impl Reasons {
    pub(super) fn new() -> Reasons {
        let slots = (0..limits::ACS_REASONS_MAX).map(|_| OnceLock::new()).collect();
        Reasons { slots, hasher: RandomState::new() }
    }

    /// The text as long as the policy lives, cut to the length of reasons.
    pub(super) fn keep(&self, text: &str) -> &str {
        let text = cut(text);
        let start = usize::try_from(self.hasher.hash_one(text) % self.slots.len().max(1) as u64).unwrap_or_default();
        let (before, after) = self.slots.split_at(start);
        let mut probes = after.iter().chain(before).take(PROBES);
        let found = probes.find_map(|slot| {
            let kept = slot.get_or_init(|| text.into());
            (**kept == *text).then_some(&**kept)
        });
        found.unwrap_or(ELSEWHERE)
    }

    /// Heap bytes.
    pub(super) fn bytes(&self) -> usize {
        let texts: usize = self.slots.iter().filter_map(OnceLock::get).map(|text| text.len()).sum();
        texts + std::mem::size_of_val(&*self.slots)
    }
}

/// Slots looked at for one text: few, so that a full table costs little.
const PROBES: usize = 16;

/// The text without what is longer than a reason may be.
fn cut(text: &str) -> &str {
    let most = limits::POLICY_TEXT_BYTES_MAX;
    if text.len() <= most { text } else { text.get(..text.floor_char_boundary(most)).unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_kept_once_and_a_full_table_says_so() {
        let reasons = Reasons::new();
        assert_eq!(reasons.keep("no"), "no");
        assert!(std::ptr::eq(reasons.keep("no"), reasons.keep("no")));
        assert_eq!(reasons.keep(&"ä".repeat(limits::POLICY_TEXT_BYTES_MAX)).len(), limits::POLICY_TEXT_BYTES_MAX);
        let kept = (0..40 * limits::ACS_REASONS_MAX).filter(|n| reasons.keep(&n.to_string()) != ELSEWHERE).count();
        assert!(kept < limits::ACS_REASONS_MAX, "{kept}");
        assert!(kept > limits::ACS_REASONS_MAX / 2, "{kept}");
        assert_eq!(reasons.keep("no"), "no", "what was kept stays");
    }
}
