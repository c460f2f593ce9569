//! `environment.json`: where and how a run was made.

use std::collections::BTreeMap;
use std::fs;

use serde::{Deserialize, Serialize};

use super::driver::{Plan, Run};
use super::peer;
use super::scenario::{Arrivals, Scenario};
use super::target::Target;

/// Where and how a run was made.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
    /// Requests a second that were due; 0 in a closed loop.
    #[serde(default)]
    pub rate: f64,
    /// Requests a second that each target can do, where the rate is a share of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub capacity: BTreeMap<String, f64>,
    /// What peers say they are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub peers: BTreeMap<String, String>,
    /// Peers that are not installed and were left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// What the generators say of themselves, per target.
    pub generators: BTreeMap<String, Lag>,
}

/// How well a generator kept its schedule.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
    /// Connections opened within turns.
    #[serde(default)]
    pub connected: u64,
    /// Of these, those whose TLS session continued an earlier one.
    #[serde(default)]
    pub resumed: u64,
    /// Of the connections that say nothing, those that were gone at the end.
    #[serde(default)]
    pub silent_lost: u64,
    /// Share of its cpu that the generator used, median over rounds.
    #[serde(default)]
    pub cpu_share: f64,
    /// CPUs that others used, median over rounds.
    pub foreign_cpus: f64,
    /// The first error, in words.
    pub first_error: Option<String>,
}

/// The parts of an environment that the machine knows.
pub fn environment(plan: &Plan<'_>, command: Vec<String>, backend: String, run: &Run) -> Environment {
    let scenario = plan.scenario;
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
        seed: plan.seed,
        rounds_repeated: run.repeated,
        rounds_disturbed: run.disturbed,
        rate: if scenario.arrivals == Arrivals::Closed { 0.0 } else { run.rate },
        capacity: run.capacity.clone(),
        peers: run.targets.iter().filter_map(|target| version(plan, target)).collect(),
        missing: run.missing.iter().map(|target| target.name().to_owned()).collect(),
        generators: BTreeMap::new(),
    }
}

fn version(plan: &Plan<'_>, target: &Target) -> Option<(String, String)> {
    let Target::Peer(name) = target else { return None };
    Some((name.clone(), peer::version(&plan.peers.join(name))?))
}

/// Field 19 of proc_pid_stat(5), counted from behind the name, which may hold anything.
fn nice(stat: &str) -> Option<i64> {
    stat.rsplit(')').next()?.split_whitespace().nth(16)?.parse().ok()
}
