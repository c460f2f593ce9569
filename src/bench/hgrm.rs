//! The text format of HdrHistogram's percentile distributions, in microseconds: its plotter reads it, and so does the report.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

use super::statistics::micro;

/// A histogram of nanoseconds in that format.
pub fn write(histogram: &Histogram<u64>) -> String {
    let mut text = "       Value     Percentile TotalCount 1/(1-Percentile)\n\n".to_owned();
    let mut total = 0;
    for step in histogram.iter_quantiles(HGRM_TICKS_PER_HALF) {
        total += step.count_since_last_iteration();
        let (value, reached) = (micro(step.value_iterated_to()), step.quantile_iterated_to());
        // Writing to a String cannot fail.
        let _ = if reached < 1.0 {
            writeln!(text, "{value:12.3} {reached:14.12} {total:10} {:14.2}", 1.0 / (1.0 - reached))
        } else {
            writeln!(text, "{value:12.3} {reached:14.12} {total:10}")
        };
    }
    let (mean, deviation) = (histogram.mean() / 1e3, histogram.stdev() / 1e3);
    let (max, count) = (micro(histogram.max()), histogram.len());
    let _ = writeln!(text, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]");
    let _ = writeln!(text, "#[Max     = {max:12.3}, Total count    = {count:12}]");
    let _ = writeln!(text, "#[Buckets = {:12}, SubBuckets     = {:12}]", histogram.buckets(), 2048);
    text
}

/// One line of a distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// In microseconds.
    pub value: f64,
    /// Up to which share of all values; 1 for the longest.
    pub quantile: f64,
}

/// Reads what [`write()`] writes; `None` of anything else.
pub fn read(text: &str) -> Option<Vec<Step>> {
    let mut lines = text.lines();
    if !lines.next()?.trim_start().starts_with("Value") {
        return None;
    }
    let rows = lines.filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    rows.map(|line| {
        let mut words = line.split_whitespace();
        let (value, quantile) = (words.next()?.parse::<f64>().ok()?, words.next()?.parse::<f64>().ok()?);
        let sound = value.is_finite() && value >= 0.0 && (0.0..=1.0).contains(&quantile);
        sound.then_some(Step { value, quantile })
    })
    .collect()
}

/// Steps between one halving of the distance to 100 % and the next.
const HGRM_TICKS_PER_HALF: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::statistics::histogram;

    #[test]
    fn what_is_written_can_be_read() {
        let mut whole = histogram();
        (1..=1000).for_each(|value| whole.saturating_record(value * 1000));
        let steps = read(&write(&whole)).unwrap();
        assert!(steps.is_sorted_by(|a, b| a.quantile <= b.quantile && a.value <= b.value));
        assert_eq!(steps.last().map(|step| step.quantile), Some(1.0));
        assert_eq!(read("something else"), None);
        assert_eq!(read("Value Percentile\n\n1.0 nonsense 3\n"), None);
    }
}
