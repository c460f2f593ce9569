//! What a run says: `summary.json`, `environment.json` and the histograms.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::driver::{Run, Turn};
use super::scenario::{Scenario, Target};
use super::statistics::{self, Random, interval_95, median, micro, quantile_us};

/// `summary.json`.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// Name of the scenario.
    pub scenario: String,
    /// Whether the figures mean what they say.
    pub valid: bool,
    /// Why not; empty if they do.
    pub why: String,
    /// Rounds that count.
    pub rounds: usize,
    /// Per target.
    pub targets: BTreeMap<&'static str, Figures>,
    /// Per target other than the one it is held against.
    pub added: BTreeMap<&'static str, Added>,
    /// Where and how.
    pub environment: Environment,
}

/// Figures of one target. Percentiles are medians over the rounds' percentiles; `None` where nothing was answered.
#[derive(Debug, Serialize)]
pub struct Figures {
    /// Requests over all rounds.
    pub requests: u64,
    /// Those that failed.
    pub errors: u64,
    /// Right answers a second.
    pub rps: f64,
    /// Median latency, from the intended send time, in microseconds.
    pub p50_us: Option<f64>,
    /// 90 %.
    pub p90_us: Option<f64>,
    /// 99 %.
    pub p99_us: Option<f64>,
    /// 99.9 %.
    pub p999_us: Option<f64>,
    /// The longest of all rounds.
    pub max_us: Option<f64>,
    /// CPU time of the target with all its threads; 0 for `direct`, which has no target.
    pub cpu_us_per_request: f64,
}

/// What a target adds.
#[derive(Debug, Serialize)]
pub struct Added {
    /// To which target.
    pub over: &'static str,
    /// Median over rounds of the difference of medians.
    pub p50_us: f64,
    /// Median over rounds of the difference of 99th percentiles. A difference of percentiles, not the 99th percentile of what is added.
    pub p99_us: f64,
    /// 95 % interval of `p50_us`.
    pub p50_ci95_us: [f64; 2],
}

/// Where and how a run was made.
#[derive(Debug, Clone, Serialize)]
pub struct Environment {
    /// When it ended, RFC 3339.
    pub time: String,
    /// Of ringfence.
    pub version: String,
    /// It was built from.
    pub commit: String,
    /// The command line, without the program's folder.
    pub command: Vec<String>,
    /// What was measured, in full.
    pub settings: Scenario,
    /// The backend that the targets ran on.
    pub backend: String,
    /// Kernel release.
    pub kernel: String,
    /// Model of the CPU.
    pub cpu: String,
    /// Usable cpus.
    pub cpus: usize,
    /// Cpu of client and origin.
    pub generator_cpu: Option<usize>,
    /// Cpu of the target.
    pub target_cpu: Option<usize>,
    /// The kernel's clock.
    pub clocksource: String,
    /// Nice value of the driver, which every process of the run inherits.
    pub nice: Option<i64>,
    /// Running averages at the end, as /proc/loadavg has them.
    pub loadavg: String,
    /// Orders the targets within rounds.
    pub seed: u64,
    /// Rounds that were run again because others used the machine.
    pub rounds_repeated: u32,
    /// Rounds that count although others used the machine.
    pub rounds_disturbed: u32,
    /// What the generators say of themselves, per target.
    pub generators: BTreeMap<&'static str, Lag>,
}

/// How well a generator kept its schedule.
#[derive(Debug, Clone, Serialize)]
pub struct Lag {
    /// Its own lateness at a send, median.
    pub lag_p50_us: f64,
    /// 99 %.
    pub lag_p99_us: f64,
    /// The longest.
    pub lag_max_us: f64,
    /// Requests sent more than one interval late because all connections were busy.
    pub late: u64,
    /// Requests never sent.
    pub missed: u64,
    /// CPUs that others used, median over rounds.
    pub foreign_cpus: f64,
    /// The first error, in words.
    pub first_error: Option<String>,
}

/// One target over all rounds.
struct Series {
    target: Target,
    rounds: Vec<Histogram<u64>>,
    whole: Histogram<u64>,
    lag: Histogram<u64>,
    requests: u64,
    errors: u64,
    late: u64,
    missed: u64,
    elapsed_ns: u64,
    cpu_ns: u64,
    foreign: Vec<f64>,
    first_error: Option<String>,
}

/// The summary, and one histogram file per target: its name and its text.
pub fn summarise(scenario: &Scenario, run: &Run, mut environment: Environment) -> (Summary, Vec<(String, String)>) {
    let series: Vec<Series> = scenario
        .targets
        .iter()
        .enumerate()
        .map(|(at, target)| Series::of(*target, run.rounds.iter().filter_map(|round| round.get(at))))
        .collect();
    environment.generators = series.iter().map(|series| (series.target.name(), series.lag())).collect();
    environment.rounds_repeated = run.repeated;
    environment.rounds_disturbed = run.disturbed;
    let why = why_not(&series, run);
    let files = series.iter().map(|series| (format!("{}.hgrm", series.target.name()), hgrm(&series.whole))).collect();
    let summary = Summary {
        scenario: scenario.name.clone(),
        valid: why.is_empty(),
        why: why.join("; "),
        rounds: run.rounds.len(),
        targets: series.iter().map(|series| (series.target.name(), series.figures())).collect(),
        added: added(&series, environment.seed),
        environment,
    };
    (summary, files)
}

/// What spoils a run.
fn why_not(series: &[Series], run: &Run) -> Vec<String> {
    let mut why = Vec::new();
    if run.disturbed > 0 {
        why.push(format!("other processes used the machine in {} of {} rounds", run.disturbed, run.rounds.len()));
    }
    if run.cpus.is_none() {
        why.push("only one cpu is usable: generator and target take it from one another".to_owned());
    }
    for series in series {
        let name = series.target.name();
        let lag = micro(series.lag.value_at_quantile(0.99));
        if lag > LAG_P99_US_MAX {
            why.push(format!("{name}: the generator itself was late by {lag:.1} us at the 99th percentile"));
        }
        if let Some(error) = series.first_error.as_ref().filter(|_| series.errors > 0) {
            why.push(format!("{name}: {} of {} requests failed, first: {error}", series.errors, series.requests));
        }
        if series.late > series.requests / 4 {
            let (late, all) = (series.late, series.requests);
            why.push(format!(
                "{name}: cannot keep up with the rate: {late} of {all} requests found every connection busy"
            ));
        }
    }
    why
}

fn added(series: &[Series], seed: u64) -> BTreeMap<&'static str, Added> {
    let base = series.iter().find(|series| series.target == Target::Direct).or(series.first());
    let Some(base) = base else { return BTreeMap::new() };
    let mut random = Random::new(seed);
    let others = series.iter().filter(|series| series.target != base.target);
    others
        .filter_map(|series| {
            let difference = |quantile: f64| -> Vec<f64> {
                let pairs = series.rounds.iter().zip(&base.rounds);
                pairs
                    .filter_map(|(with, without)| Some(quantile_us(with, quantile)? - quantile_us(without, quantile)?))
                    .collect()
            };
            let (half, most) = (difference(0.5), difference(0.99));
            let interval = interval_95(&half, &mut random)?;
            Some((
                series.target.name(),
                Added {
                    over: base.target.name(),
                    p50_us: rounded(median(&half)?),
                    p99_us: rounded(median(&most)?),
                    p50_ci95_us: interval.map(rounded),
                },
            ))
        })
        .collect()
}

impl Series {
    fn of<'t>(target: Target, turns: impl Iterator<Item = &'t Turn>) -> Series {
        let (whole, lag) = (statistics::histogram(), statistics::histogram());
        let mut series = Series {
            target,
            rounds: Vec::new(),
            whole,
            lag,
            requests: 0,
            errors: 0,
            late: 0,
            missed: 0,
            elapsed_ns: 0,
            cpu_ns: 0,
            foreign: Vec::new(),
            first_error: None,
        };
        for Turn { measured, cpu_ns, foreign_cpus } in turns {
            let mut round = statistics::histogram();
            statistics::add(&mut round, &measured.latency);
            statistics::add(&mut series.whole, &measured.latency);
            statistics::add(&mut series.lag, &measured.lag);
            series.rounds.push(round);
            series.requests += measured.requests;
            series.errors += measured.errors;
            series.late += measured.late;
            series.missed += measured.missed;
            series.elapsed_ns += measured.elapsed_ns;
            series.cpu_ns += cpu_ns;
            series.foreign.push(*foreign_cpus);
            series.first_error = series.first_error.or_else(|| measured.first_error.clone());
        }
        series
    }

    fn figures(&self) -> Figures {
        let over_rounds = |quantile: f64| {
            let values: Vec<f64> = self.rounds.iter().filter_map(|round| quantile_us(round, quantile)).collect();
            median(&values).map(rounded)
        };
        let right = self.requests.saturating_sub(self.errors);
        Figures {
            requests: self.requests,
            errors: self.errors,
            rps: rounded(ratio(right, self.elapsed_ns) * 1e9),
            p50_us: over_rounds(0.5),
            p90_us: over_rounds(0.9),
            p99_us: over_rounds(0.99),
            p999_us: over_rounds(0.999),
            max_us: quantile_us(&self.whole, 1.0).map(rounded),
            cpu_us_per_request: rounded(ratio(self.cpu_ns, self.requests) / 1e3),
        }
    }

    fn lag(&self) -> Lag {
        let lag = |quantile: f64| rounded(micro(self.lag.value_at_quantile(quantile)));
        Lag {
            lag_p50_us: lag(0.5),
            lag_p99_us: lag(0.99),
            lag_max_us: lag(1.0),
            late: self.late,
            missed: self.missed,
            foreign_cpus: rounded(median(&self.foreign).unwrap_or(0.0)),
            first_error: self.first_error.clone(),
        }
    }
}

/// The text format of HdrHistogram's percentile distributions, in microseconds: its plotter reads it.
pub fn hgrm(histogram: &Histogram<u64>) -> String {
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

/// The parts of an environment that the machine knows.
pub fn environment(scenario: &Scenario, command: Vec<String>, backend: String, run: &Run, seed: u64) -> Environment {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let info = read("/proc/cpuinfo");
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map(|line| line.trim_start_matches([' ', '\t', ':']));
    Environment {
        time: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: env!("RINGFENCE_COMMIT").to_owned(),
        command,
        settings: scenario.clone(),
        backend,
        kernel: read("/proc/sys/kernel/osrelease"),
        cpu: model.unwrap_or("unknown").to_owned(),
        cpus: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        generator_cpu: run.cpus.map(|(generators, _)| generators),
        target_cpu: run.cpus.map(|(_, targets)| targets),
        clocksource: read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        nice: nice(&read("/proc/self/stat")),
        loadavg: read("/proc/loadavg"),
        seed,
        rounds_repeated: 0,
        rounds_disturbed: 0,
        generators: BTreeMap::new(),
    }
}

/// Field 19 of proc_pid_stat(5), counted from behind the name, which may hold anything.
fn nice(stat: &str) -> Option<i64> {
    stat.rsplit(')').next()?.split_whitespace().nth(16)?.parse().ok()
}

/// To the nanosecond (for microseconds): what lies below is the histogram's grid, not the target.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[allow(clippy::cast_precision_loss, reason = "counts and nanoseconds of a run stay far below 2^53")]
fn ratio(of: u64, to: u64) -> f64 {
    of as f64 / to.max(1) as f64
}

/// How late a generator may be by its own fault.
const LAG_P99_US_MAX: f64 = 5.0;
/// Steps between one halving of the distance to 100 % and the next.
const HGRM_TICKS_PER_HALF: u32 = 5;
