//! A histogram of nanoseconds whose bounds are powers of two, so that an observation finds its bucket with one instruction.
//!
//! Like every counter it has one writer. The count is the sum of the buckets, so it never contradicts them.

use std::sync::atomic::{AtomicU64, Ordering};

use super::add;

/// `N` buckets; the first holds what is at most 2^`FIRST` ns, each further one twice as much, and what is longer is counted apart.
#[derive(Debug)]
pub(super) struct Histogram<const FIRST: u32, const N: usize> {
    buckets: [AtomicU64; N],
    longer: AtomicU64,
    sum_ns: AtomicU64,
}

/// The sum of histograms.
#[derive(Clone, Debug, Default)]
pub struct Buckets {
    /// Upper bound in nanoseconds, inclusive, and what was counted in this bucket alone. Bounds rise.
    pub buckets: Vec<(u64, u64)>,
    /// What was longer than every bound.
    pub longer: u64,
    /// All observed nanoseconds together.
    pub sum_ns: u64,
}

impl<const FIRST: u32, const N: usize> Histogram<FIRST, N> {
    #[inline]
    pub(super) fn observe(&self, ns: u64) {
        // The exponent of the least power of two that is not below `ns`.
        let exponent = u64::BITS - ns.saturating_sub(1).leading_zeros();
        let bucket = self.buckets.get(exponent.saturating_sub(FIRST) as usize).unwrap_or(&self.longer);
        add(bucket, 1);
        add(&self.sum_ns, ns);
    }

    pub(super) fn add_to(&self, total: &mut Buckets) {
        if total.buckets.is_empty() {
            total.buckets = (FIRST..).take(N).map(|exponent| (1 << exponent, 0)).collect();
        }
        for ((_, count), bucket) in total.buckets.iter_mut().zip(&self.buckets) {
            *count += bucket.load(Ordering::Relaxed);
        }
        total.longer += self.longer.load(Ordering::Relaxed);
        total.sum_ns = total.sum_ns.wrapping_add(self.sum_ns.load(Ordering::Relaxed));
    }
}

impl<const FIRST: u32, const N: usize> Default for Histogram<FIRST, N> {
    fn default() -> Self {
        const { assert!(FIRST as usize + N <= u64::BITS as usize) };
        let zero = || AtomicU64::new(0);
        Self { buckets: std::array::from_fn(|_| zero()), longer: zero(), sum_ns: zero() }
    }
}
