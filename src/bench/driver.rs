//! The driver: lets one target at a time have a turn, in rounds of random order.
//!
//! Generators stay on the last cpu, targets on the first; or all on one, where the scenario says so.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::interrupt::Interrupt;
use super::order::{Measured, Slice};
use super::place;
use super::scenario::{Arrivals, Placement, Scenario};
use super::stage::{Act, Stage};
use super::statistics::{self, Random, median};
use super::target::Target;
use super::tls::Credentials;
use crate::limits::{BENCH_ATTEMPTS_PER_ROUND, BENCH_RATE_MAX, BENCH_SLICE};

/// The origin's name; reserved by RFC 6761, so it is nobody's.
pub const HOST: &str = "origin.bench.test";

/// What a run needs besides its scenario.
#[derive(Debug)]
pub struct Plan<'p> {
    /// What is measured.
    pub scenario: &'p Scenario,
    /// The ringfence program.
    pub program: &'p Path,
    /// An empty folder for policies, logs and what peers write.
    pub folder: &'p Path,
    /// Where peers' scripts are.
    pub peers: &'p Path,
    /// Decides the order of the targets within the rounds, and random distances.
    pub seed: u64,
    /// Leaves out peers that are not installed.
    pub skips_missing: bool,
}

/// What a run came to.
#[derive(Debug)]
pub struct Run {
    /// The targets that were measured.
    pub targets: Vec<Target>,
    /// Those that were left out.
    pub missing: Vec<Target>,
    /// The rounds that count; each has one turn of every target, in the order of `targets`.
    pub rounds: Vec<Vec<Turn>>,
    /// How many there were to be.
    pub wanted: u32,
    /// Rounds that were run again because other processes used the machine.
    pub repeated: u32,
    /// Rounds that count although they were disturbed: there were no better ones.
    pub disturbed: u32,
    /// The cpu of the generators and that of the targets, where each has its own.
    pub cpus: Option<(usize, usize)>,
    /// Requests a second that each target can do in a closed loop, where the scenario asks for a share of it.
    pub capacity: BTreeMap<String, f64>,
    /// Requests a second that were due.
    pub rate: f64,
    /// The signal that ended it early.
    pub interrupted: Option<i32>,
}

/// One target's turn.
#[derive(Clone, Debug)]
pub struct Turn {
    /// What its generator measured.
    pub measured: Measured,
    /// CPU time of the target with all its threads, in nanoseconds; 0 where there is no target.
    pub cpu_ns: u64,
    /// CPUs that everything else on the machine kept busy meanwhile.
    pub foreign_cpus: f64,
}

/// How far a run is: said after each turn that may count.
#[derive(Debug)]
pub struct Progress<'p> {
    /// Rounds that count so far, and how many there are to be.
    pub rounds: (usize, u32),
    /// Whose turn it was.
    pub target: &'p Target,
    /// What it came to.
    pub turn: &'p Turn,
}

/// Why a run ended early.
#[derive(Debug)]
pub enum BenchError {
    /// A process, a socket or a file of the harness failed.
    Io(&'static str, io::Error),
    /// The origin's certificate could not be made.
    Certificate(rcgen::Error),
    /// A target cannot be reached through; the text says why.
    Unreachable(Target, String),
    /// A peer is not installed. What its script said stands on stderr.
    Missing(Target),
    /// A target or its generator ended by itself. What it said stands on stderr.
    Gone(Target),
    /// A signal came before the first round was over.
    Interrupted(i32),
}

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BenchError::Io(what, error) => write!(f, "{what}: {error}"),
            BenchError::Certificate(error) => write!(f, "the origin's certificate: {error}"),
            BenchError::Unreachable(target, why) => write!(f, "{}: the origin cannot be reached: {why}", target.name()),
            BenchError::Missing(target) => {
                write!(f, "{}: not installed; see above, or leave it out with --skip-missing", target.name())
            }
            BenchError::Gone(target) => write!(f, "{}: ended by itself; see above for what it said", target.name()),
            BenchError::Interrupted(_) => {
                f.write_str("interrupted before the first round was over: there is no result")
            }
        }
    }
}

impl std::error::Error for BenchError {}

/// Runs the scenario. `after_turn` is told how far it is.
///
/// # Errors
/// If a target cannot be started, one ends early, or a signal comes before there is anything to keep.
pub fn run(plan: &Plan<'_>, mut after_turn: impl FnMut(&Progress<'_>)) -> Result<Run, BenchError> {
    let scenario = plan.scenario;
    let usable = place::cpus().map_err(|error| BenchError::Io("sched_getaffinity", error))?;
    place::raise_descriptors().map_err(|error| BenchError::Io("setrlimit", error))?;
    let cpus = match (&usable[..], scenario.placement) {
        ([.., last], Placement::Together) => Some((*last, *last)),
        ([first, .., last], Placement::Apart) => Some((*last, *first)),
        _ => None,
    };
    let interrupt = Interrupt::watch().map_err(|error| BenchError::Io("signalfd", error))?;
    let stage = Stage { plan, cpus, credentials: credentials(scenario)?, interrupt: &interrupt };
    let (mut acts, mut missing) = (Vec::new(), Vec::new());
    for target in &scenario.targets {
        match stage.act(target) {
            Ok(act) => acts.push(act),
            Err(BenchError::Missing(target)) if plan.skips_missing => missing.push(target),
            Err(error) => return Err(error),
        }
    }
    let mut random = Random::new(plan.seed);
    let mut run = Run {
        targets: acts.iter().map(|act| act.target.clone()).collect(),
        missing,
        rounds: Vec::new(),
        wanted: scenario.rounds().0,
        repeated: 0,
        disturbed: 0,
        cpus,
        capacity: BTreeMap::new(),
        rate: scenario.rate,
        interrupted: None,
    };
    if let Some(load) = scenario.load {
        run.capacity = capacity(&mut acts, scenario, &mut random)?;
        let slowest = run.capacity.iter().filter(|(name, _)| *name != Target::Direct.name());
        run.rate = load * slowest.map(|(_, rate)| *rate).fold(f64::INFINITY, f64::min).min(BENCH_RATE_MAX);
    }
    rounds(&mut acts, plan, &mut run, &mut random, &mut after_turn)?;
    Ok(run)
}

fn rounds(
    acts: &mut [Act<'_>],
    plan: &Plan<'_>,
    run: &mut Run,
    random: &mut Random,
    after_turn: &mut impl FnMut(&Progress<'_>),
) -> Result<(), BenchError> {
    let (wanted, length) = plan.scenario.rounds();
    let mut spare = Vec::new();
    for _ in 0..wanted * BENCH_ATTEMPTS_PER_ROUND {
        let done = run.rounds.len();
        let tell = |target: &Target, turn: &Turn| after_turn(&Progress { rounds: (done, wanted), target, turn });
        match round(acts, plan.scenario, (run.rate, length), random, tell) {
            Ok(round) if round.iter().all(|turn| turn.foreign_cpus <= FOREIGN_CPUS_MAX) => run.rounds.push(round),
            Ok(round) => spare.push(round),
            Err(BenchError::Interrupted(signal)) if run.rounds.len() + spare.len() > 0 => {
                run.interrupted = Some(signal);
                break;
            }
            Err(error) => return Err(error),
        }
        if run.rounds.len() == wanted as usize {
            break;
        }
    }
    let lacking = (wanted as usize).saturating_sub(run.rounds.len()).min(spare.len());
    run.repeated = u32::try_from(spare.len() - lacking).unwrap_or(u32::MAX);
    run.disturbed = u32::try_from(lacking).unwrap_or(u32::MAX);
    // In the order in which they were run: which of them are used does not depend on what they show.
    run.rounds.extend(spare.into_iter().take(lacking));
    Ok(())
}

fn credentials(scenario: &Scenario) -> Result<Option<Credentials>, BenchError> {
    scenario.tls.then(|| Credentials::new(&[HOST])).transpose().map_err(BenchError::Certificate)
}

/// Gives every target its turn, in random order.
fn round(
    acts: &mut [Act<'_>],
    scenario: &Scenario,
    (rate, length): (f64, Duration),
    random: &mut Random,
    mut tell: impl FnMut(&Target, &Turn),
) -> Result<Vec<Turn>, BenchError> {
    let mut order: Vec<usize> = (0..acts.len()).collect();
    random.shuffle(&mut order);
    // The same for all: a round compares targets under one schedule.
    let seed = random.seed();
    let mut turns = vec![None; acts.len()];
    for at in order {
        let slice = |length| slice(scenario, scenario.arrivals, rate, length, seed);
        acts[at].turn(&slice(WARM_UP.min(length)))?;
        let turn = acts[at].measured_turn(&slice(length))?;
        tell(&acts[at].target, &turn);
        turns[at] = Some(turn);
    }
    Ok(turns.into_iter().flatten().collect())
}

/// What each target can do with as many requests under way as there are connections: the median over interleaved turns.
fn capacity(
    acts: &mut [Act<'_>],
    scenario: &Scenario,
    random: &mut Random,
) -> Result<BTreeMap<String, f64>, BenchError> {
    let mut rates = vec![Vec::new(); acts.len()];
    for _ in 0..CAPACITY_TURNS {
        let slice = slice(scenario, Arrivals::Closed, scenario.rate, BENCH_SLICE, random.seed());
        for (act, rates) in acts.iter_mut().zip(&mut rates) {
            let measured = act.turn(&slice)?;
            let right = measured.requests.saturating_sub(measured.errors);
            if right == 0 {
                let why = measured.first_error.unwrap_or_else(|| "no answer".to_owned());
                return Err(BenchError::Unreachable(act.target.clone(), why));
            }
            rates.push(statistics::a_second(right, measured.elapsed_ns));
        }
    }
    let median = |rates: &Vec<f64>| median(rates).unwrap_or(0.0);
    Ok(acts.iter().map(|act| act.target.name().to_owned()).zip(rates.iter().map(median)).collect())
}

fn slice(scenario: &Scenario, arrivals: Arrivals, rate: f64, length: Duration, seed: u64) -> Slice {
    // A closed loop has no rate, only a length.
    let rate = if arrivals == Arrivals::Closed { CLOSED_TICKS_A_SECOND } else { rate };
    let interval = Duration::from_secs_f64(1.0 / rate);
    let count = length.as_nanos() / interval.as_nanos().max(1);
    // A long body takes its time after it was begun.
    let transfer = Duration::from_secs((scenario.origin.bytes / SLOW_BYTES_A_SECOND) as u64);
    Slice {
        arrivals,
        count: u64::try_from(count).unwrap_or(u64::MAX).max(1),
        interval_ns: statistics::nanoseconds(interval),
        grace: GRACE + transfer,
        seed,
    }
}

/// A temporary folder of a run; it goes away with the value.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes one.
    ///
    /// # Errors
    /// Of the file system.
    pub fn new() -> io::Result<Folder> {
        let mut attempt = 0;
        loop {
            let path = std::env::temp_dir().join(format!("ringfence-bench-{}-{attempt}", std::process::id()));
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(Folder(path)),
                // What is there already is somebody else's, or was left by one that was killed.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < 100 => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed now goes with the system's temporary folder.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Before each turn, not measured: caches, and the clock of a cpu that was idle.
const WARM_UP: Duration = Duration::from_millis(50);
/// How long after its turn a target may still answer.
const GRACE: Duration = Duration::from_secs(2);
/// A target that passes on fewer bytes than this is given up.
const SLOW_BYTES_A_SECOND: usize = 20 * 1024 * 1024;
/// Of the machine's CPUs, what others may use in a turn that counts. The kernel's count moves in steps of 10 ms.
const FOREIGN_CPUS_MAX: f64 = 0.15;
/// How finely the length of a closed loop's turn is told.
const CLOSED_TICKS_A_SECOND: f64 = 1000.0;
/// Turns that find out what a target can do.
const CAPACITY_TURNS: usize = 3;
