//! The counts of `audit stats` as text: lists, and on a terminal bars beside them and the shape of the latencies.

use std::io::{self, Write};

use hdrhistogram::Histogram;

use super::escape;
use super::fields::Time;
use super::stats::{Counts, QUANTILES, Stats};
use super::table::duration;
use crate::audit::Nanos;

/// Longest bar, in characters.
const WIDTH: u64 = 40;
/// Eighths of a character, from the left.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

pub(super) fn print(stats: &Stats, top: usize, bars: bool, out: &mut impl Write) -> io::Result<()> {
    write!(out, "{} records", stats.records)?;
    if let (Some(earliest), Some(latest)) = (stats.earliest, stats.latest) {
        write!(out, " from {} to {}", Time(Nanos(earliest)), Time(Nanos(latest)))?;
    }
    writeln!(out)?;
    let lists = [
        ("kind", &stats.kinds),
        ("verdict", &stats.verdicts),
        ("rule", &stats.rules),
        ("host", &stats.hosts),
        ("agent", &stats.agents),
        ("code", &stats.codes),
    ];
    for (title, counts) in lists {
        list(title, counts, top, bars, out)?;
    }
    writeln!(out, "\nbytes\n  {:>12}  up\n  {:>12}  down", stats.bytes_up, stats.bytes_down)?;
    let [allows, denies, events] = stats.lost;
    if allows + denies + events > 0 {
        writeln!(out, "\nrefused without a record of their own\n  {allows} allows, {denies} denies, {events} others")?;
    }
    latencies(stats, out)?;
    if bars && !stats.total.is_empty() {
        shape(&stats.total, out)?;
    }
    Ok(())
}

fn list(title: &str, counts: &Counts, top: usize, bars: bool, out: &mut impl Write) -> io::Result<()> {
    let listed = counts.top(top);
    let Some((_, most)) = listed.first().copied() else { return Ok(()) };
    match counts.keys() - listed.len() {
        0 => writeln!(out, "\n{title}")?,
        more => writeln!(out, "\n{title} ({more} more with --json)")?,
    }
    for (key, count) in listed {
        let key = escape::terminal(key);
        if bars {
            writeln!(out, "  {count:>12}  {key:<32} {}", bar(count, most))?;
        } else {
            writeln!(out, "  {count:>12}  {key}")?;
        }
    }
    Ok(())
}

fn latencies(stats: &Stats, out: &mut impl Write) -> io::Result<()> {
    let all = [("decide", &stats.decide), ("upstream", &stats.upstream), ("total", &stats.total)];
    if all.iter().all(|(_, histogram)| histogram.is_empty()) {
        return Ok(());
    }
    write!(out, "\nlatency   ")?;
    for (name, _) in QUANTILES {
        write!(out, "{name:>10}")?;
    }
    writeln!(out, "{:>10}", "max")?;
    for (name, histogram) in all.into_iter().filter(|(_, histogram)| !histogram.is_empty()) {
        write!(out, "  {name:<8}")?;
        for (_, quantile) in QUANTILES {
            write!(out, "{:>10}", duration(histogram.value_at_quantile(quantile)))?;
        }
        writeln!(out, "{:>10}", duration(histogram.max()))?;
    }
    Ok(())
}

/// How many exchanges took how long, in steps that double.
fn shape(total: &Histogram<u64>, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\ntotal latency")?;
    let from = total.min().max(1).ilog2();
    let steps: Vec<_> = (from..=total.max().max(1).ilog2())
        .map(|power| (2 << power, total.count_between(1 << power, (2 << power) - 1)))
        .collect();
    let most = steps.iter().map(|(_, count)| *count).max().unwrap_or(1);
    for (below, count) in steps {
        writeln!(out, "  < {:>8} {count:>12}  {}", duration(below), bar(count, most))?;
    }
    Ok(())
}

/// A bar of block characters: as long as `count` is of `most`, and visible when it is not zero.
fn bar(count: u64, most: u64) -> String {
    let eighths = (u128::from(count) * u128::from(WIDTH * 8)).div_ceil(u128::from(most.max(1)));
    let eighths = usize::try_from(eighths).unwrap_or_default();
    let mut bar = "█".repeat(eighths / 8);
    bar.push_str(EIGHTHS[eighths % 8]);
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_share() {
        assert_eq!(bar(8, 8).chars().count(), 40);
        assert_eq!(bar(4, 8), "█".repeat(20));
        assert_eq!(bar(1, 1_000_000), "▏");
        assert_eq!(bar(0, 8), "");
    }
}
