//! Two runs side by side: what changed, and whether the rounds bear it out.

use super::report::{Round, Summary};
use super::statistics::{Random, interval_of_change, median, rounded};

/// How one figure of one target changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The target.
    pub target: String,
    /// Which figure.
    pub figure: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// Whether less is better.
    pub less_is_better: bool,
    /// In the first run.
    pub before: f64,
    /// In the second.
    pub after: f64,
    /// 95 % interval of the difference; `None` for a run that kept no rounds.
    pub interval: Option<[f64; 2]>,
}

/// What a change comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The whole interval is on the good side.
    Better,
    /// The whole interval is on the bad side.
    Worse,
    /// The interval holds "nothing changed", or there is none.
    Open,
}

impl Change {
    /// Whether the rounds bear the change out.
    pub fn verdict(&self) -> Verdict {
        match self.interval {
            Some([low, high]) if low > 0.0 || high < 0.0 => {
                if (low > 0.0) == self.less_is_better {
                    Verdict::Worse
                } else {
                    Verdict::Better
                }
            }
            _ => Verdict::Open,
        }
    }

    /// The change in percent of what was before.
    pub fn percent(&self) -> f64 {
        (self.after - self.before) / self.before.abs().max(f64::MIN_POSITIVE) * 100.0
    }

    /// Whether even the mildest end of the interval is worse by more than so many percent.
    pub fn is_worse_by(&self, percent: f64) -> bool {
        let bound = self.before.abs() * percent / 100.0;
        match self.interval {
            Some([low, _]) if self.less_is_better => low > bound,
            Some([_, high]) => high < -bound,
            None => false,
        }
    }
}

/// All figures of all targets that both runs have. Differences of medians over rounds; added latencies are paired within their run
/// first, so what a run's rounds suffered together is gone before the runs are compared.
pub fn changes(before: &Summary, after: &Summary) -> Vec<Change> {
    let mut random = Random::new(before.environment.seed ^ after.environment.seed);
    let mut changes = Vec::new();
    for (target, was) in &before.targets {
        let Some(is) = after.targets.get(target) else { continue };
        let rounds = |summary: &Summary| summary.per_round.get(target).cloned().unwrap_or_default();
        let (one, other) = (rounds(before), rounds(after));
        let mut push = |figure, unit, less_is_better, (before, after): (f64, f64), values: [Vec<f64>; 2]| {
            let interval = interval_of_change(&values[0], &values[1], &mut random).map(|ends| ends.map(rounded));
            let target = target.clone();
            changes.push(Change { target, figure, unit, less_is_better, before, after, interval });
        };
        let each = |value: fn(&Round) -> Option<f64>| {
            [&one, &other].map(|rounds| rounds.iter().filter_map(value).collect::<Vec<_>>())
        };
        if let (Some(was), Some(is)) = (was.p50_us, is.p50_us) {
            push("p50", "us", true, (was, is), each(|round| round.p50_us));
        }
        if let (Some(was), Some(is)) = (was.p99_us, is.p99_us) {
            push("p99", "us", true, (was, is), each(|round| round.p99_us));
        }
        if let (Some(was), Some(is)) = (before.added.get(target), after.added.get(target))
            && was.over == is.over
        {
            let values = [before, after].map(|summary| differences(summary, target, &was.over));
            push("added p50", "us", true, (was.p50_us, is.p50_us), values);
        }
        push("rate", "/s", false, (was.rps, is.rps), each(|round| Some(round.rps)));
        if was.cpu_us_per_request > 0.0 {
            let cpu = (was.cpu_us_per_request, is.cpu_us_per_request);
            push("cpu/request", "us", true, cpu, each(|round| Some(round.cpu_us_per_request)));
        }
    }
    changes
}

/// What the runs do not have in common, in words: a change may come from there.
pub fn unlike(before: &Summary, after: &Summary) -> Vec<String> {
    let (one, other) = (&before.environment, &after.environment);
    let mut unlike = Vec::new();
    let mut differ = |what: &str, one: String, other: String| {
        if one != other {
            unlike.push(format!("{what}: {one} and {other}"));
        }
    };
    differ("scenario", before.scenario.clone(), after.scenario.clone());
    differ("cpu", one.cpu.clone(), other.cpu.clone());
    differ("cpus", one.cpus.to_string(), other.cpus.to_string());
    differ("kernel", one.kernel.clone(), other.kernel.clone());
    differ("backend", one.backend.clone(), other.backend.clone());
    differ("spin", one.settings.spin.name().to_owned(), other.settings.spin.name().to_owned());
    differ("rules", one.settings.rules.to_string(), other.settings.rules.to_string());
    differ("connections", one.settings.connections.to_string(), other.settings.connections.to_string());
    differ("rate", format!("{:.0}", one.rate), format!("{:.0}", other.rate));
    unlike
}

/// `target` over `base` in each round, in microseconds at the median.
pub fn differences(summary: &Summary, target: &str, base: &str) -> Vec<f64> {
    let rounds = |name: &str| summary.per_round.get(name).map(Vec::as_slice).unwrap_or_default();
    let pairs = rounds(target).iter().zip(rounds(base));
    pairs.filter_map(|(with, without)| Some(with.p50_us? - without.p50_us?)).collect()
}

/// The median of `target` over `base`, with its interval.
pub fn over(summary: &Summary, target: &str, base: &str) -> Option<(f64, [f64; 2])> {
    let values = differences(summary, target, base);
    let interval = super::statistics::interval_95(&values, &mut Random::new(summary.environment.seed))?;
    Some((rounded(median(&values)?), interval.map(rounded)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(less_is_better: bool, interval: Option<[f64; 2]>) -> Change {
        let target = "relay".to_owned();
        Change { target, figure: "p50", unit: "us", less_is_better, before: 100.0, after: 110.0, interval }
    }

    #[test]
    fn only_an_interval_without_zero_says_that_something_changed() {
        assert_eq!(change(true, Some([1.0, 19.0])).verdict(), Verdict::Worse);
        assert_eq!(change(false, Some([1.0, 19.0])).verdict(), Verdict::Better);
        assert_eq!(change(true, Some([-19.0, -1.0])).verdict(), Verdict::Better);
        assert_eq!(change(true, Some([-1.0, 21.0])).verdict(), Verdict::Open);
        assert_eq!(change(true, None).verdict(), Verdict::Open);
    }

    #[test]
    fn a_gate_closes_only_when_even_the_mild_end_is_beyond_it() {
        assert!(change(true, Some([6.0, 14.0])).is_worse_by(5.0));
        assert!(!change(true, Some([4.0, 16.0])).is_worse_by(5.0));
        assert!(change(false, Some([-14.0, -6.0])).is_worse_by(5.0));
        assert!(!change(true, None).is_worse_by(5.0));
    }

    #[test]
    fn runs_that_are_the_same_show_no_change_and_a_shift_is_found() {
        let path = "bench/record/2026-11-23-8c37764/latency-uring-spin-0/summary.json";
        let text = std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
        let mut before: Summary = serde_json::from_str(&text).unwrap();
        let round = |at: u32| Round {
            rps: 2000.0,
            p50_us: Some(50.0 + f64::from(at % 5)),
            p99_us: Some(90.0),
            cpu_us_per_request: 30.0,
        };
        before.per_round.insert("relay".to_owned(), (0..20).map(round).collect());
        let of = |changes: &[Change]| {
            changes.iter().find(|change| change.target == "relay" && change.figure == "p50").map(Change::verdict)
        };
        assert_eq!(of(&changes(&before, &before)), Some(Verdict::Open));
        assert!(unlike(&before, &before).is_empty());
        let mut after = before.clone();
        for round in after.per_round.get_mut("relay").unwrap() {
            round.p50_us = round.p50_us.map(|value| value + 10.0);
        }
        assert_eq!(of(&changes(&before, &after)), Some(Verdict::Worse));
    }
}
