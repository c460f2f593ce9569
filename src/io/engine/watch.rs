//! Whether an idle engine looks for work for a moment before it parks.
//!
//! Looking saves the way back from the kernel when work comes at once, and costs the whole moment when it does not: a peer that sends an
//! octet a millisecond must not buy fifty microseconds of a core with each. So by default only short waits earn the next look.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::select::Spin;
use crate::limits::{NO_WAIT_MAX, SHORT_WAIT_CREDIT, SHORT_WAIT_CREDIT_MAX};

/// What recent waits were like.
pub(super) struct Watch {
    spin: Spin,
    /// Looks that are still to be had; short waits add to it.
    credit: Cell<u8>,
    since: Cell<Option<Instant>>,
}

impl Watch {
    pub(super) fn new(spin: Spin) -> Watch {
        Watch { spin, credit: Cell::new(SHORT_WAIT_CREDIT_MAX), since: Cell::new(None) }
    }

    /// A wait begins: until when to look for work before parking, if at all.
    pub(super) fn begin(&self) -> Option<Instant> {
        match self.spin {
            Spin::Never => None,
            Spin::Always(time) => Some(Instant::now() + time),
            Spin::AfterShortWaits(time) => {
                let now = Instant::now();
                self.since.set(Some(now));
                (self.credit.get() > 0).then(|| now + time)
            }
        }
    }

    /// There was work at once: no wait, and nothing that looking has won.
    pub(super) fn was_none(&self) {
        self.since.set(None);
    }

    /// Work came at `now`, if there was a wait.
    pub(super) fn end(&self, now: Instant) {
        let (Spin::AfterShortWaits(time), Some(since)) = (self.spin, self.since.take()) else { return };
        let (credit, waited) = (self.credit.get(), now.saturating_duration_since(since));
        // Who has parked was woken, which takes about as long as one look; and was not, where the work was there at once.
        let short = if credit > 0 { Duration::ZERO..=time } else { NO_WAIT_MAX..=time * 2 };
        self.credit.set(match short.contains(&waited) {
            true => credit.saturating_add(SHORT_WAIT_CREDIT).min(SHORT_WAIT_CREDIT_MAX),
            false => credit.saturating_sub(1),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_micros(50);

    /// Whether it looks, over waits of these microseconds in turn.
    fn looks(watch: &Watch, waits: &[u64]) -> Vec<bool> {
        let wait = |micros: &u64| {
            let looked = watch.begin().is_some();
            watch.end(watch.since.get().unwrap_or_else(Instant::now) + Duration::from_micros(*micros));
            looked
        };
        waits.iter().map(wait).collect()
    }

    #[test]
    fn long_waits_end_the_looking_and_short_ones_bring_it_back() {
        let watch = Watch::new(Spin::AfterShortWaits(TIME));
        let first = looks(&watch, &[1000; 100]);
        assert_eq!(first.iter().filter(|looked| **looked).count(), usize::from(SHORT_WAIT_CREDIT_MAX));
        assert!(!first[99]);
        // Woken out of the kernel, which takes its time.
        assert_eq!(looks(&watch, &[90, 20]), [false, true]);
    }

    #[test]
    fn work_that_is_there_at_once_brings_no_looking_back() {
        let watch = Watch::new(Spin::AfterShortWaits(TIME));
        looks(&watch, &[1000; 100]);
        assert!(looks(&watch, &[1000, 3].repeat(100)).iter().all(|looked| !*looked));
    }

    #[test]
    fn every_second_wait_being_short_is_enough() {
        let watch = Watch::new(Spin::AfterShortWaits(TIME));
        assert!(looks(&watch, &[400, 30].repeat(200)).iter().all(|looked| *looked));
    }

    #[test]
    fn always_and_never_do_not_look_at_waits() {
        assert!(looks(&Watch::new(Spin::Always(TIME)), &[1000; 100]).iter().all(|looked| *looked));
        assert!(looks(&Watch::new(Spin::Never), &[1; 100]).iter().all(|looked| !*looked));
    }
}
