//! What one agent may ask for in a time: queries to the stub, certificates, and names that nobody has asked for before.
//!
//! Knows no sockets and no clock; time comes in. The last of the three bounds what a program can tell the world through names below a
//! wildcard: each is looked up at a name server of somebody's. A name costs the bits it may carry (Shannon's measure over its labels), once;
//! ordinary names carry few, and a program that meets many hosts is not hindered.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use crate::limits::{
    DNS_QUERIES_BURST, DNS_QUERIES_PER_SECOND, LEAVES_BURST, LEAVES_PER_SECOND, NAME_BITS_BURST, NAME_BITS_PER_SECOND,
    NAMES_SEEN_MAX, QUOTA_AGENTS_MAX,
};

/// The quotas of one worker.
pub(crate) struct Quotas {
    queries: Quota,
    leaves: Quota,
    bits: Quota,
    seen: Seen,
}

/// Whether something may happen now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Granted {
    /// Yes, and it is accounted for.
    Yes,
    /// No. `first`: the first refusal since something was granted, which is worth a record.
    No { first: bool },
}

/// A leaky bucket for each agent (the generic cell rate algorithm: a bucket is the time at which it will be empty).
struct Quota {
    /// What one unit takes to leak out.
    unit: Duration,
    burst: Duration,
    buckets: HashMap<Box<str>, Bucket>,
}

#[derive(Clone, Copy)]
struct Bucket {
    empty_at: Instant,
    refusing: bool,
}

/// The names asked for lately, as hashes.
#[derive(Default)]
struct Seen {
    hasher: RandomState,
    names: HashSet<u64>,
    order: VecDeque<u64>,
}

impl Default for Quotas {
    fn default() -> Quotas {
        Quotas {
            queries: Quota::new(DNS_QUERIES_PER_SECOND, DNS_QUERIES_BURST),
            leaves: Quota::new(LEAVES_PER_SECOND, LEAVES_BURST),
            bits: Quota::new(NAME_BITS_PER_SECOND, NAME_BITS_BURST),
            seen: Seen::default(),
        }
    }
}

impl Quotas {
    /// One query to the stub.
    pub(crate) fn query(&mut self, agent: &str, now: Instant) -> Granted {
        self.queries.take(agent, 1, now)
    }

    /// One certificate.
    pub(crate) fn leaf(&mut self, agent: &str, now: Instant) -> Granted {
        self.leaves.take(agent, 1, now)
    }

    /// One name; free when it was asked for lately.
    pub(crate) fn name(&mut self, agent: &str, name: &str, now: Instant) -> Granted {
        let hash = self.seen.hasher.hash_one(name);
        if self.seen.names.contains(&hash) {
            return Granted::Yes;
        }
        let granted = self.bits.take(agent, bits(name), now);
        if granted == Granted::Yes {
            self.seen.add(hash);
        }
        granted
    }
}

impl Quota {
    fn new(per_second: u32, burst: u32) -> Quota {
        let unit = Duration::from_secs(1) / per_second;
        Quota { unit, burst: unit * burst, buckets: HashMap::new() }
    }

    fn take(&mut self, agent: &str, cost: u32, now: Instant) -> Granted {
        if !self.buckets.contains_key(agent) && self.buckets.len() >= QUOTA_AGENTS_MAX {
            // An empty bucket is as good as none. When all are in use, those who come last share one.
            self.buckets.retain(|_, bucket| bucket.empty_at > now);
        }
        let agent = if self.buckets.contains_key(agent) || self.buckets.len() < QUOTA_AGENTS_MAX { agent } else { "" };
        let bucket = self.buckets.entry(agent.into()).or_insert(Bucket { empty_at: now, refusing: false });
        let empty_at = bucket.empty_at.max(now) + self.unit * cost;
        if empty_at > now + self.burst {
            let first = !std::mem::replace(&mut bucket.refusing, true);
            return Granted::No { first };
        }
        *bucket = Bucket { empty_at, refusing: false };
        Granted::Yes
    }
}

impl Seen {
    fn add(&mut self, hash: u64) {
        if self.order.len() >= NAMES_SEEN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.names.remove(&oldest);
        }
        self.names.insert(hash);
        self.order.push_back(hash);
    }
}

/// What a name may tell, in bits: the length of each label times its entropy. At least one, at most 253 times eight.
fn bits(name: &str) -> u32 {
    let mut sum = 0.0;
    for label in name.split('.') {
        let mut counts = [0_u16; 256];
        label.bytes().for_each(|octet| counts[usize::from(octet)] += 1);
        let length = label.len() as f64;
        sum += counts
            .iter()
            .filter(|count| **count > 0)
            .map(|count| f64::from(*count))
            .map(|n| n * (length / n).log2())
            .sum::<f64>();
    }
    // A float that is too large or no number becomes the nearest integer.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and is small and positive")]
    let whole = sum.ceil() as u32;
    whole.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_a_burst_and_then_the_rate() {
        let mut quota = Quota::new(10, 5);
        let start = Instant::now();
        assert!((0..5).all(|_| quota.take("a", 1, start) == Granted::Yes));
        assert_eq!(quota.take("a", 1, start), Granted::No { first: true });
        assert_eq!(quota.take("a", 1, start), Granted::No { first: false });
        assert_eq!(quota.take("b", 1, start), Granted::Yes, "another agent has its own");
        assert_eq!(quota.take("a", 1, start + Duration::from_millis(100)), Granted::Yes);
        assert_eq!(quota.take("a", 1, start + Duration::from_millis(100)), Granted::No { first: true });
    }

    #[test]
    fn the_number_of_buckets_is_bounded() {
        let mut quota = Quota::new(10, 5);
        let now = Instant::now();
        for n in 0..2 * QUOTA_AGENTS_MAX {
            quota.take(&n.to_string(), 1, now);
        }
        assert!(quota.buckets.len() <= QUOTA_AGENTS_MAX + 1);
        let refused = (0..10).filter(|n| quota.take(&format!("late {n}"), 1, now) != Granted::Yes).count();
        assert!(refused > 0, "who comes late shares a bucket");
    }

    #[test]
    fn names_cost_what_they_may_carry() {
        assert!(bits("api.github.com") < 40);
        assert!(bits(&"a".repeat(60)) <= 1);
        assert!(bits("0f3c9a7be1d24586af90e3b7c25d8140.example.com") > 120);
    }

    #[test]
    fn ordinary_names_pass_and_a_stream_of_random_ones_does_not() {
        let mut quotas = Quotas::default();
        let now = Instant::now();
        for n in 0..500 {
            assert_eq!(quotas.name("a", &format!("host{n}.example.com"), now), Granted::Yes);
        }
        let random = |n: u32| {
            let hasher = RandomState::new();
            format!(
                "{:016x}{:016x}{:016x}.x.example",
                hasher.hash_one(n),
                hasher.hash_one(n + 1),
                hasher.hash_one(n + 2)
            )
        };
        let granted = (0..10_000).filter(|n| quotas.name("b", &random(*n), now) == Granted::Yes).count();
        assert!(granted < 600, "{granted} names of 24 random octets");
        // What was asked for before stays free.
        assert_eq!(quotas.name("b", "host499.example.com", now), Granted::Yes);
        assert!(quotas.seen.names.len() <= NAMES_SEEN_MAX && quotas.seen.order.len() <= NAMES_SEEN_MAX);
    }
}
