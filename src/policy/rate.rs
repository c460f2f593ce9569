//! Rates: one bucket per agent and rule, shared by all workers.
//!
//! A bucket is one number, the time at which it will be full again (the generic cell rate algorithm), so taking a token is one
//! compare-and-swap. Buckets lie in a table of fixed size that agents and rules fill as they come; when it is full, a further bucket counts
//! as empty. Time is an argument: the caller's clock, in nanoseconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::limits;

/// A rate of a rule.
#[derive(Debug, Clone)]
pub struct Rate {
    /// Requests in a period; also how many may come at once.
    pub count: u32,
    /// The period.
    pub per: Period,
    buckets: Arc<Buckets>,
    rule: u32,
}

/// What a rate counts by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Period {
    /// `/second`
    Second,
    /// `/minute`
    Minute,
    /// `/hour`
    Hour,
    /// `/day`
    Day,
}

impl Period {
    /// All of them, by their words.
    pub(super) const WORDS: [(&'static str, Period); 4] =
        [("second", Period::Second), ("minute", Period::Minute), ("hour", Period::Hour), ("day", Period::Day)];

    fn nanoseconds(self) -> u64 {
        let seconds = match self {
            Period::Second => 1,
            Period::Minute => 60,
            Period::Hour => 3_600,
            Period::Day => 86_400,
        };
        seconds * 1_000_000_000
    }
}

impl Rate {
    /// A rate whose buckets are [`Buckets::default`]'s, until the policy is whole.
    pub(super) fn new(count: u32, per: Period) -> Rate {
        Rate { count, per, buckets: Arc::default(), rule: 0 }
    }

    /// Gives the rate its buckets; `rule` distinguishes it from the policy's other rates.
    pub(super) fn settle(&mut self, buckets: &Arc<Buckets>, rule: u32) {
        (self.buckets, self.rule) = (Arc::clone(buckets), rule);
    }

    /// Whether the agent's bucket holds a token.
    pub(super) fn has_token(&self, agent: &str, now_ns: u64) -> bool {
        match self.buckets.find(self.key(agent)) {
            Found::Bucket(bucket) => self.after_taking(bucket.load(Ordering::Relaxed), now_ns).is_some(),
            Found::Free => true,
            Found::Full => false,
        }
    }

    /// Takes a token of the agent's bucket, if it holds one.
    pub(super) fn take(&self, agent: &str, now_ns: u64) -> bool {
        let Some(bucket) = self.buckets.claim(self.key(agent)) else { return false };
        bucket.try_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| self.after_taking(full_at, now_ns)).is_ok()
    }

    /// When the bucket will be full again after a token has been taken now; nothing if it holds none.
    fn after_taking(&self, full_at: u64, now_ns: u64) -> Option<u64> {
        let period = self.per.nanoseconds();
        let token = period / u64::from(self.count.max(1));
        // A bucket is full after one period at the latest, so a time beyond was told by a clock that has been set back.
        let full_at = if full_at > now_ns.saturating_add(period) { now_ns } else { full_at.max(now_ns) };
        let after = full_at.saturating_add(token);
        (after <= now_ns.saturating_add(period)).then_some(after)
    }

    fn key(&self, agent: &str) -> u64 {
        key(self.rule, agent)
    }
}

fn key(rule: u32, agent: &str) -> u64 {
    super::table::hash_with(agent.as_bytes(), u64::from(rule) + 1).max(1)
}

/// A fixed window in one number: when it ends, and how many calls it has had.
#[derive(Debug, Clone, Copy)]
struct Window {
    /// In ticks.
    ends: u64,
    count: u64,
}

/// A time in ticks of about a millisecond, so that it leaves room for a count.
fn ticks(time_ns: u64) -> u64 {
    time_ns >> Window::COUNT_BITS
}

impl Window {
    const COUNT_BITS: u32 = 20;

    fn of(packed: u64) -> Window {
        Window { ends: packed >> Self::COUNT_BITS, count: packed & ((1 << Self::COUNT_BITS) - 1) }
    }

    fn is_over(self, now_ns: u64) -> bool {
        ticks(now_ns) > self.ends
    }

    fn has_place(self, most: u32, now_ns: u64) -> bool {
        self.is_over(now_ns) || self.count < u64::from(most)
    }
}

const _: () = assert!((limits::POLICY_RATE_COUNT_MAX as u64) < 1 << Window::COUNT_BITS);

/// The buckets of all rates of a policy.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    /// Power of two, or none.
    slots: Box<[Slot]>,
}

/// A key, 0 while the slot is free, and when the bucket will be full.
#[derive(Debug, Default)]
struct Slot {
    key: AtomicU64,
    full_at_ns: AtomicU64,
}

enum Found<'b> {
    Bucket(&'b AtomicU64),
    Free,
    Full,
}

impl Buckets {
    /// Room for the buckets of some rates.
    pub(super) fn new(rates: usize) -> Buckets {
        if rates == 0 {
            return Buckets::default();
        }
        let wanted = rates.saturating_mul(limits::POLICY_RATE_AGENTS).next_power_of_two();
        let slots = wanted.clamp(limits::POLICY_RATE_BUCKETS_MIN, limits::POLICY_RATE_BUCKETS_MAX);
        Buckets { slots: (0..slots).map(|_| Slot::default()).collect() }
    }

    /// Whether a further call has a place in the fixed window of a rule and an agent.
    pub(super) fn has_place(&self, (rule, agent): (u32, &str), most: u32, now_ns: u64) -> bool {
        match self.find(key(rule, agent)) {
            Found::Bucket(window) => Window::of(window.load(Ordering::Relaxed)).has_place(most, now_ns),
            Found::Free => true,
            Found::Full => false,
        }
    }

    /// Takes a place in the fixed window of a rule and an agent, if it has one. The first call begins a window.
    pub(super) fn take_place(&self, (rule, agent): (u32, &str), (most, per): (u32, Period), now_ns: u64) -> bool {
        let Some(window) = self.claim(key(rule, agent)) else { return false };
        let taken = window.try_update(Ordering::Relaxed, Ordering::Relaxed, |packed| {
            let window = Window::of(packed);
            if !window.has_place(most, now_ns) {
                return None;
            }
            let count = if window.is_over(now_ns) { 1 } else { window.count + 1 };
            let ends =
                if window.is_over(now_ns) { ticks(now_ns.saturating_add(per.nanoseconds())) } else { window.ends };
            Some(ends << Window::COUNT_BITS | count)
        });
        taken.is_ok()
    }

    /// Heap bytes.
    pub(super) fn bytes(&self) -> usize {
        self.slots.len() * size_of::<Slot>()
    }

    fn find(&self, key: u64) -> Found<'_> {
        for slot in self.probe(key) {
            match slot.key.load(Ordering::Relaxed) {
                0 => return Found::Free,
                known if known == key => return Found::Bucket(&slot.full_at_ns),
                _ => {}
            }
        }
        Found::Full
    }

    fn claim(&self, key: u64) -> Option<&AtomicU64> {
        for slot in self.probe(key) {
            // A bucket that nobody has taken from is full, whichever time it holds, so claiming needs no order with its time.
            match slot.key.compare_exchange(0, key, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(&slot.full_at_ns),
                Err(known) if known == key => return Some(&slot.full_at_ns),
                Err(_) => {}
            }
        }
        None
    }

    fn probe(&self, key: u64) -> impl Iterator<Item = &Slot> {
        let mask = self.slots.len().wrapping_sub(1);
        // The place is the key's low bits.
        #[allow(clippy::cast_possible_truncation)]
        let start = key as usize;
        let places = (0..limits::POLICY_RATE_PROBES).map(move |step| start.wrapping_add(step) & mask);
        places.filter_map(|place| self.slots.get(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn rate(count: u32, per: Period) -> Rate {
        let mut rate = Rate::new(count, per);
        rate.settle(&Arc::new(Buckets::new(1)), 0);
        rate
    }

    #[test]
    fn gives_as_many_tokens_at_once_as_it_counts_and_then_one_by_one() {
        let rate = rate(10, Period::Minute);
        let start = 1_700_000_000 * SECOND;
        assert_eq!((0..20).filter(|_| rate.take("a", start)).count(), 10);
        assert!(!rate.has_token("a", start) && rate.has_token("b", start));
        assert!(!rate.take("a", start + 6 * SECOND - 1));
        assert!(rate.take("a", start + 6 * SECOND));
        assert!(!rate.take("a", start + 6 * SECOND));
        assert_eq!((0..20).filter(|_| rate.take("a", start + 600 * SECOND)).count(), 10);
    }

    #[test]
    fn looking_takes_nothing() {
        let rate = rate(1, Period::Day);
        assert!((0..100).all(|_| rate.has_token("a", SECOND)));
        assert!(rate.take("a", SECOND) && !rate.take("a", SECOND));
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_stop_a_rate() {
        let rate = rate(2, Period::Second);
        assert!(rate.take("a", 1_000_000 * SECOND));
        assert!(rate.take("a", SECOND) && rate.take("a", SECOND) && !rate.take("a", SECOND));
    }

    #[test]
    fn rules_and_agents_have_their_own_buckets() {
        let buckets = Arc::new(Buckets::new(2));
        let [mut one, mut other] = [Rate::new(1, Period::Hour), Rate::new(1, Period::Hour)];
        one.settle(&buckets, 0);
        other.settle(&buckets, 1);
        for (rate, agent) in [(&one, "a"), (&one, "b"), (&other, "a"), (&other, "b")] {
            assert!(rate.take(agent, SECOND) && !rate.take(agent, SECOND));
        }
    }

    #[test]
    fn a_full_table_gives_no_tokens() {
        let rate = rate(1, Period::Hour);
        let agents: Vec<String> = (0..20 * limits::POLICY_RATE_BUCKETS_MIN).map(|n| format!("agent {n}")).collect();
        let given = agents.iter().filter(|agent| rate.take(agent, SECOND)).count();
        assert!(given > limits::POLICY_RATE_BUCKETS_MIN / 2 && given <= limits::POLICY_RATE_BUCKETS_MIN, "{given}");
    }

    #[test]
    fn workers_together_take_no_more_than_there_are() {
        let rate = rate(1_000, Period::Day);
        let taken: usize = std::thread::scope(|scope| {
            let workers: Vec<_> =
                (0..4).map(|_| scope.spawn(|| (0..1_000).filter(|_| rate.take("a", SECOND)).count())).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });
        assert_eq!(taken, 1_000);
    }
}
