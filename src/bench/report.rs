//! What a run says: `summary.json`, and the histograms beside it.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::driver::{Run, Turn};
use super::environment::{Environment, Lag};
use super::hgrm;
use super::scenario::{Arrivals, Call, Connection, Scenario};
use super::statistics::{self, Random, interval_95, median, micro, quantile_us, rounded};
use super::target::Target;

/// `summary.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
    pub targets: BTreeMap<String, Figures>,
    /// Per target other than the one it is held against.
    pub added: BTreeMap<String, Added>,
    /// Per target, what each round came to, in the order of the rounds: the same place in two lists is the same round. For comparisons.
    #[serde(default)]
    pub per_round: BTreeMap<String, Vec<Round>>,
    /// Where and how.
    pub environment: Environment,
}

/// One round of one target.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Round {
    /// Right answers a second.
    pub rps: f64,
    /// Median latency, in microseconds.
    pub p50_us: Option<f64>,
    /// 99 %.
    pub p99_us: Option<f64>,
    /// CPU time of the target per request.
    pub cpu_us_per_request: f64,
}

/// Figures of one target. Percentiles are medians over the rounds' percentiles; `None` where nothing was answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Added {
    /// To which target.
    pub over: String,
    /// Median over rounds of the difference of medians.
    pub p50_us: f64,
    /// Median over rounds of the difference of 99th percentiles. A difference of percentiles, not the 99th percentile of what is added.
    pub p99_us: f64,
    /// 95 % interval of `p50_us`.
    pub p50_ci95_us: [f64; 2],
}

/// One target over all rounds.
struct Series<'r> {
    target: &'r Target,
    rounds: Vec<Histogram<u64>>,
    whole: Histogram<u64>,
    lag: Histogram<u64>,
    requests: u64,
    errors: u64,
    late: u64,
    missed: u64,
    connected: u64,
    resumed: u64,
    silent_lost: u64,
    elapsed_ns: u64,
    cpu_ns: u64,
    shares: Vec<f64>,
    foreign: Vec<f64>,
    first_error: Option<String>,
    figures: Vec<Round>,
}

/// The summary, and one histogram file per target: its name and its text.
pub fn summarise(scenario: &Scenario, run: &Run, mut environment: Environment) -> (Summary, Vec<(String, String)>) {
    let series: Vec<Series> = run
        .targets
        .iter()
        .enumerate()
        .map(|(at, target)| Series::of(target, run.rounds.iter().filter_map(|round| round.get(at))))
        .collect();
    let named = |series: &Series| series.target.name().to_owned();
    environment.generators = series.iter().map(|series| (named(series), series.lag())).collect();
    let why = why_not(&series, run, scenario);
    let files = series.iter().map(|series| (format!("{}.hgrm", named(series)), hgrm::write(&series.whole))).collect();
    let summary = Summary {
        scenario: scenario.name.clone(),
        valid: why.is_empty(),
        why: why.join("; "),
        rounds: run.rounds.len(),
        targets: series.iter().map(|series| (named(series), series.figures())).collect(),
        added: added(&series, environment.seed),
        per_round: series.iter().map(|series| (named(series), series.figures.clone())).collect(),
        environment,
    };
    (summary, files)
}

/// What spoils a run.
fn why_not(series: &[Series], run: &Run, scenario: &Scenario) -> Vec<String> {
    let mut why = Vec::new();
    if run.interrupted.is_some() {
        why.push(format!("interrupted: {} of {} rounds", run.rounds.len(), run.wanted));
    }
    if run.disturbed > 0 {
        why.push(format!("other processes used the machine in {} of {} rounds", run.disturbed, run.rounds.len()));
    }
    if run.cpus.is_none() {
        why.push("only one cpu is usable: generator and target take it from one another".to_owned());
    }
    for series in series {
        why.extend(series.spoilt(scenario).into_iter().map(|what| format!("{}: {what}", series.target.name())));
    }
    why
}

fn added(series: &[Series], seed: u64) -> BTreeMap<String, Added> {
    let base = series.iter().find(|series| *series.target == Target::Direct).or(series.first());
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
                series.target.name().to_owned(),
                Added {
                    over: base.target.name().to_owned(),
                    p50_us: rounded(median(&half)?),
                    p99_us: rounded(median(&most)?),
                    p50_ci95_us: interval.map(rounded),
                },
            ))
        })
        .collect()
}

impl<'r> Series<'r> {
    fn of(target: &'r Target, turns: impl Iterator<Item = &'r Turn>) -> Series<'r> {
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
            connected: 0,
            resumed: 0,
            silent_lost: 0,
            elapsed_ns: 0,
            cpu_ns: 0,
            shares: Vec::new(),
            foreign: Vec::new(),
            first_error: None,
            figures: Vec::new(),
        };
        for Turn { measured, cpu_ns, foreign_cpus } in turns {
            let mut round = statistics::histogram();
            statistics::add(&mut round, &measured.latency);
            statistics::add(&mut series.whole, &measured.latency);
            statistics::add(&mut series.lag, &measured.lag);
            let right = measured.requests.saturating_sub(measured.errors);
            series.figures.push(Round {
                rps: rounded(statistics::a_second(right, measured.elapsed_ns)),
                p50_us: quantile_us(&round, 0.5).map(rounded),
                p99_us: quantile_us(&round, 0.99).map(rounded),
                cpu_us_per_request: rounded(ratio(*cpu_ns, measured.requests) / 1e3),
            });
            series.rounds.push(round);
            series.requests += measured.requests;
            series.errors += measured.errors;
            series.late += measured.late;
            series.missed += measured.missed;
            series.connected += measured.connected;
            series.resumed += measured.resumed;
            series.silent_lost = series.silent_lost.max(measured.silent_lost);
            series.shares.push(ratio(measured.cpu_ns, measured.elapsed_ns));
            series.elapsed_ns += measured.elapsed_ns;
            series.cpu_ns += cpu_ns;
            series.foreign.push(*foreign_cpus);
            series.first_error = series.first_error.or_else(|| measured.first_error.clone());
        }
        series
    }

    /// What makes its figures say something else than they seem to.
    fn spoilt(&self, scenario: &Scenario) -> Vec<String> {
        let mut why = Vec::new();
        let closed = scenario.arrivals == Arrivals::Closed;
        let lag = micro(self.lag.value_at_quantile(0.99));
        // Between streams, and between connections, the generator looks after its sockets every few microseconds.
        let shared =
            scenario.connections > 1 || scenario.call == Call::Events || scenario.connection != Connection::Kept;
        if lag > if shared { SHARED_LAG_P99_US_MAX } else { LAG_P99_US_MAX } {
            why.push(format!("the generator itself was late by {lag:.1} us at the 99th percentile"));
        }
        if let Some(error) = self.first_error.as_ref().filter(|_| self.errors > 0) {
            why.push(format!("{} of {} requests failed, first: {error}", self.errors, self.requests));
        }
        if !closed && self.late > self.requests / 4 {
            let (late, all) = (self.late, self.requests);
            why.push(format!("cannot keep up with the rate: {late} of {all} requests found every connection busy"));
        }
        let share = median(&self.shares).unwrap_or(0.0);
        if closed && *self.target != Target::Direct && share > GENERATOR_SHARE_MAX {
            why.push(format!("the generator used {:.0} % of its cpu: it is the limit, not the target", share * 100.0));
        }
        if self.silent_lost > 0 {
            why.push(format!("{} of {} silent connections were gone", self.silent_lost, scenario.idle));
        }
        why
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
            rps: rounded(statistics::a_second(right, self.elapsed_ns)),
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
            connected: self.connected,
            resumed: self.resumed,
            silent_lost: self.silent_lost,
            cpu_share: rounded(median(&self.shares).unwrap_or(0.0)),
            foreign_cpus: rounded(median(&self.foreign).unwrap_or(0.0)),
            first_error: self.first_error.clone(),
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts and nanoseconds of a run stay far below 2^53")]
fn ratio(of: u64, to: u64) -> f64 {
    of as f64 / to.max(1) as f64
}

/// How late a generator may be by its own fault.
const LAG_P99_US_MAX: f64 = 5.0;
/// The same where it has more than one connection to look after.
const SHARED_LAG_P99_US_MAX: f64 = 50.0;
/// Share of its cpu from which on a generator that never spins may be what limits a target.
const GENERATOR_SHARE_MAX: f64 = 0.95;
