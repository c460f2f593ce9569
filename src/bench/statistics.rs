//! Histograms, medians over rounds, and intervals for their differences. Percentiles are never averaged.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::limits::{BENCH_LATENCY_MAX, BENCH_RESAMPLES};

/// An empty histogram of nanoseconds: three significant digits up to [`BENCH_LATENCY_MAX`].
pub fn histogram() -> Histogram<u64> {
    match Histogram::new_with_bounds(1, nanoseconds(BENCH_LATENCY_MAX), 3) {
        Ok(histogram) => histogram,
        Err(error) => unreachable!("constant bounds: {error}"),
    }
}

/// A duration as a histogram counts it.
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What a histogram is made of: values in nanoseconds, each with its count.
pub fn pairs(histogram: &Histogram<u64>) -> Vec<(u64, u64)> {
    histogram.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())).collect()
}

/// The histogram that [`pairs`] took apart, added to `histogram`.
pub fn add(histogram: &mut Histogram<u64>, pairs: &[(u64, u64)]) {
    for (value, count) in pairs {
        histogram.saturating_record_n(*value, *count);
    }
}

/// A quantile in microseconds; `None` for an empty histogram.
pub fn quantile_us(histogram: &Histogram<u64>, quantile: f64) -> Option<f64> {
    (!histogram.is_empty()).then(|| micro(histogram.value_at_quantile(quantile)))
}

/// Nanoseconds as microseconds.
pub fn micro(nanoseconds: u64) -> f64 {
    Duration::from_nanos(nanoseconds).as_secs_f64() * 1e6
}

/// To the nanosecond (for microseconds): what lies below is the histogram's grid, not the target.
pub fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// So many in so many nanoseconds, a second.
#[allow(clippy::cast_precision_loss, reason = "counts of a run stay far below 2^53")]
pub fn a_second(count: u64, nanoseconds: u64) -> f64 {
    count as f64 / Duration::from_nanos(nanoseconds.max(1)).as_secs_f64()
}

/// The median; `None` of nothing. Of an even number it lies between the two in the middle.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    Some(if sorted.len().is_multiple_of(2) { f64::midpoint(sorted[sorted.len() / 2 - 1], upper) } else { upper })
}

/// A 95 % interval for the median of `values`, by the percentile bootstrap. The values are differences of paired rounds, so what both
/// sides of a pair suffered has gone before it could widen the interval.
pub fn interval_95(values: &[f64], random: &mut Random) -> Option<[f64; 2]> {
    let mut medians = Vec::with_capacity(BENCH_RESAMPLES);
    let mut resample = vec![0.0; values.len()];
    for _ in 0..BENCH_RESAMPLES {
        for value in &mut resample {
            *value = values[random.below(values.len())];
        }
        medians.push(median(&resample)?);
    }
    medians.sort_by(f64::total_cmp);
    let cut = BENCH_RESAMPLES / 40;
    Some([medians[cut], medians[BENCH_RESAMPLES - 1 - cut]])
}

/// A 95 % interval for how much the median of `after` lies above that of `before`, by the percentile bootstrap; the two are resampled by
/// themselves, because no round of one belongs to one of the other.
pub fn interval_of_change(before: &[f64], after: &[f64], random: &mut Random) -> Option<[f64; 2]> {
    let mut differences = Vec::with_capacity(BENCH_RESAMPLES);
    for _ in 0..BENCH_RESAMPLES {
        let mut resampled = |values: &[f64]| {
            let resample: Vec<f64> = values.iter().map(|_| values[random.below(values.len())]).collect();
            median(&resample)
        };
        differences.push(resampled(after)? - resampled(before)?);
    }
    differences.sort_by(f64::total_cmp);
    let cut = BENCH_RESAMPLES / 40;
    Some([differences[cut], differences[BENCH_RESAMPLES - 1 - cut]])
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, and the same everywhere for the same seed, so that a run's order can be repeated.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator for this seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// A seed for somebody else.
    pub fn seed(&mut self) -> u64 {
        self.next()
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 for 0. The bias of the multiplication is below 2⁻³² for the bounds used here.
    pub fn below(&mut self, bound: usize) -> usize {
        let wide = u128::from(self.next()) * (bound as u128);
        usize::try_from(wide >> 64).unwrap_or(0)
    }

    /// A number between 0 and 1, neither of them.
    #[allow(clippy::cast_precision_loss, reason = "53 bits are what a double holds")]
    pub fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// Puts `items` in a random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_carry_a_histogram_whole() {
        let mut sent = histogram();
        for value in [1, 999, 15_600, 15_601, 1_000_000, 59_000_000_000, u64::MAX] {
            sent.saturating_record(value);
        }
        let mut received = histogram();
        add(&mut received, &pairs(&sent));
        assert_eq!(sent, received);
    }

    #[test]
    fn the_median_of_an_even_number_lies_in_the_middle() {
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn an_interval_contains_the_median_and_narrows_with_more_rounds() {
        let rounds = |count: u32| (0..count).map(|round| f64::from(round % 10)).collect::<Vec<_>>();
        let width = |values: &[f64]| {
            let [low, high] = interval_95(values, &mut Random::new(7)).unwrap();
            let middle = median(values).unwrap();
            assert!(low <= middle && middle <= high);
            high - low
        };
        assert!(width(&rounds(200)) < width(&rounds(10)));
        assert_eq!(interval_95(&[], &mut Random::new(7)), None);
    }

    #[test]
    fn a_shuffle_loses_nothing_and_repeats_with_its_seed() {
        let order = |seed| {
            let mut items: Vec<u32> = (0..20).collect();
            Random::new(seed).shuffle(&mut items);
            items
        };
        let mut sorted = order(3);
        assert_eq!(order(3), order(3));
        assert_ne!(order(3), order(4));
        sorted.sort_unstable();
        assert_eq!(sorted, (0..20).collect::<Vec<_>>());
    }
}
