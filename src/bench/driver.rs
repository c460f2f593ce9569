//! The driver: starts the targets, each with a generator of its own, and lets one at a time have a turn.
//!
//! Everything is up from the beginning; who has no turn sleeps. Generators stay on the last cpu, targets on the first. A generator
//! gets its origin's listening socket as standard input, as inetd would hand it over, and speaks with the driver over standard
//! output: that way the same generator runs outside and behind the fence, where it could not open a port for us.

use std::fmt;
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::order::{self, Answer, Measured, Order, Setup, Slice};
use super::place;
use super::scenario::{Scenario, Target};
use super::statistics::{self, Random};
use super::tls::Credentials;
use crate::limits::BENCH_ATTEMPTS_PER_ROUND;

/// The origin's name; reserved by RFC 6761, so it is nobody's.
pub const HOST: &str = "origin.bench.test";

/// What a run needs besides its scenario.
#[derive(Debug)]
pub struct Plan<'p> {
    /// What is measured.
    pub scenario: &'p Scenario,
    /// The ringfence program.
    pub program: &'p Path,
    /// An empty folder for the policy and the audit log.
    pub folder: &'p Path,
    /// Decides the order of the targets within the rounds.
    pub seed: u64,
}

/// What a run came to.
#[derive(Debug)]
pub struct Run {
    /// The rounds that count; each has one turn of every target, in the scenario's order of targets.
    pub rounds: Vec<Vec<Turn>>,
    /// Rounds that were run again because other processes used the machine.
    pub repeated: u32,
    /// Rounds that count although they were disturbed: there were no better ones.
    pub disturbed: u32,
    /// The cpu of the generators and that of the targets, where the machine has two.
    pub cpus: Option<(usize, usize)>,
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

/// Why a run ended early.
#[derive(Debug)]
pub enum BenchError {
    /// A process, a socket or a file of the harness failed.
    Io(&'static str, io::Error),
    /// The origin's certificate could not be made.
    Certificate(rcgen::Error),
    /// A target cannot be reached through; the text says why.
    Unreachable(Target, String),
    /// A target or its generator ended by itself. What it said stands on stderr.
    Gone(Target),
}

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BenchError::Io(what, error) => write!(f, "{what}: {error}"),
            BenchError::Certificate(error) => write!(f, "the origin's certificate: {error}"),
            BenchError::Unreachable(target, why) => write!(f, "{}: the origin cannot be reached: {why}", target.name()),
            BenchError::Gone(target) => write!(f, "{}: ended by itself; see above for what it said", target.name()),
        }
    }
}

impl std::error::Error for BenchError {}

/// Runs the scenario. `after_round` is told how many rounds count so far.
///
/// # Errors
/// If a target cannot be started, or one ends early.
pub fn run(plan: &Plan<'_>, mut after_round: impl FnMut(usize)) -> Result<Run, BenchError> {
    let scenario = plan.scenario;
    let usable = place::cpus().map_err(|error| BenchError::Io("sched_getaffinity", error))?;
    let cpus = match usable[..] {
        [first, .., last] => Some((last, first)),
        _ => None,
    };
    let stage = Stage { plan, cpus, credentials: credentials(scenario)? };
    let mut acts = scenario.targets.iter().map(|target| stage.act(*target)).collect::<Result<Vec<_>, _>>()?;
    let (wanted, length) = scenario.rounds();
    let mut random = Random::new(plan.seed);
    let mut run = Run { rounds: Vec::new(), repeated: 0, disturbed: 0, cpus };
    let mut spare = Vec::new();
    for _ in 0..wanted * BENCH_ATTEMPTS_PER_ROUND {
        let round = round(&mut acts, scenario, length, &mut random)?;
        if round.iter().all(|turn| turn.foreign_cpus <= FOREIGN_CPUS_MAX) {
            run.rounds.push(round);
        } else {
            spare.push(round);
        }
        after_round(run.rounds.len());
        if run.rounds.len() == wanted as usize {
            break;
        }
    }
    let lacking = (wanted as usize).saturating_sub(run.rounds.len());
    run.repeated = u32::try_from(spare.len() - lacking.min(spare.len())).unwrap_or(u32::MAX);
    run.disturbed = u32::try_from(lacking).unwrap_or(u32::MAX);
    // In the order in which they were run: which of them are used does not depend on what they show.
    run.rounds.extend(spare.into_iter().take(lacking));
    Ok(run)
}

fn credentials(scenario: &Scenario) -> Result<Option<Credentials>, BenchError> {
    scenario.tls.then(|| Credentials::new(&[HOST])).transpose().map_err(BenchError::Certificate)
}

/// Gives every target its turn, in random order.
fn round(
    acts: &mut [Act],
    scenario: &Scenario,
    length: Duration,
    random: &mut Random,
) -> Result<Vec<Turn>, BenchError> {
    let mut order: Vec<usize> = (0..acts.len()).collect();
    random.shuffle(&mut order);
    let mut turns = vec![None; acts.len()];
    for at in order {
        acts[at].turn(&slice(scenario.rate, WARM_UP.min(length)))?;
        turns[at] = Some(acts[at].measured_turn(&slice(scenario.rate, length))?);
    }
    Ok(turns.into_iter().flatten().collect())
}

fn slice(rate: f64, length: Duration) -> Slice {
    let interval = Duration::from_secs_f64(1.0 / rate);
    let count = length.as_nanos() / interval.as_nanos().max(1);
    Slice {
        count: u64::try_from(count).unwrap_or(u64::MAX).max(1),
        interval_ns: statistics::nanoseconds(interval),
        grace: GRACE,
    }
}

/// What all targets share.
struct Stage<'s> {
    plan: &'s Plan<'s>,
    /// Generators', targets'.
    cpus: Option<(usize, usize)>,
    credentials: Option<Credentials>,
}

/// A target and its generator, up and connected.
struct Act {
    target: Target,
    /// Dropped first: a generator ends when its driver hangs up.
    control: Option<BufReader<UnixStream>>,
    /// The process that is measured.
    process: Option<Child>,
    /// The generator, where it is not the target's own child.
    generator: Option<Child>,
}

impl Stage<'_> {
    fn act(&self, target: Target) -> Result<Act, BenchError> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| BenchError::Io("the origin", error))?;
        let origin = listener.local_addr().map_err(|error| BenchError::Io("the origin", error))?;
        let (ours, theirs) = UnixStream::pair().map_err(|error| BenchError::Io("socketpair", error))?;
        let mut act = Act { target, control: Some(BufReader::new(ours)), process: None, generator: None };
        let mut generator = Command::new(self.plan.program);
        let mut address = origin.to_string();
        match target {
            Target::Direct => {}
            Target::Relay => address = self.relay(origin, &mut act)?.to_string(),
            Target::Ringfence => {
                generator = self.fenced(origin)?;
                address = format!("{HOST}:{}", if self.credentials.is_some() { 443 } else { 80 });
            }
        }
        generator.args(["bench", "generator"]).stdin(OwnedFd::from(listener)).stdout(OwnedFd::from(theirs));
        let cpu = self.cpus.map(|(_, targets)| targets);
        let child = place::spawn_on(cpu, &mut generator).map_err(|error| BenchError::Io("starting a target", error))?;
        // `generator` holds our copies of the other end and of the listener until here: with them open nobody would see a hang-up.
        drop(generator);
        match target {
            Target::Ringfence => act.process = Some(child),
            _ => act.generator = Some(child),
        }
        act.open(self.setup(target, address))?;
        Ok(act)
    }

    fn setup(&self, target: Target, address: String) -> Setup {
        let scenario = self.plan.scenario;
        Setup {
            target: address,
            host: HOST.to_owned(),
            credentials: self.credentials.clone(),
            trust_environment: target == Target::Ringfence,
            connections: scenario.connections,
            behaviour: scenario.origin.clone(),
            cpu: self.cpus.map(|(generators, _)| generators),
            spin: self.cpus.is_some(),
        }
    }

    /// Starts the relay and learns its port from its first line.
    fn relay(&self, origin: SocketAddr, act: &mut Act) -> Result<SocketAddr, BenchError> {
        let failed = |error| BenchError::Io("starting the relay", error);
        let mut command = Command::new(self.plan.program);
        command.args(["bench", "relay", "--to", &origin.to_string()]).args(self.engine());
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let child = place::spawn_on(self.cpus.map(|(_, targets)| targets), &mut command).map_err(failed)?;
        let child = act.process.insert(child);
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).map_err(failed)?;
        }
        line.trim().parse().map_err(|_| BenchError::Gone(Target::Relay))
    }

    /// `ringfence run` up to its `--`, with a policy that sends the origin's name to the origin.
    fn fenced(&self, origin: SocketAddr) -> Result<Command, BenchError> {
        let failed = |error| BenchError::Io("the policy", error);
        let folder = self.plan.folder;
        let policy = folder.join("policy.yaml");
        let trust = folder.join("origin.pem");
        if let Some(credentials) = &self.credentials {
            std::fs::write(&trust, &credentials.authority).map_err(failed)?;
        }
        std::fs::write(&policy, policy_text(origin, self.credentials.is_some(), self.plan.scenario.rules))
            .map_err(failed)?;
        let mut command = Command::new(self.plan.program);
        command.args(["run", "--name", "bench", "--policy"]).arg(policy).arg("--audit").arg(folder.join("audit"));
        command.args(self.engine()).arg("--").arg(self.plan.program);
        command.env("RINGFENCE_STATE", folder.join("state"));
        Ok(command)
    }

    fn engine(&self) -> [&'static str; 4] {
        ["--io", self.plan.scenario.io.name(), "--spin", self.plan.scenario.spin.name()]
    }
}

/// A policy as people write them: some services with methods and paths, two denies, and among them the rule that admits the load.
pub fn policy_text(origin: SocketAddr, tls: bool, rules: usize) -> String {
    let trust = if tls { ", trust: ./origin.pem" } else { "" };
    let mut text = format!(
        "ringfence: v1\nupstreams:\n  {HOST}: {{ address: \"{origin}\"{trust} }}\nrules:\n  \
         - {{ allow: the load, host: {HOST}, method: [GET, POST], path: /bytes/** }}\n"
    );
    let denies = [
        "  - { deny: delete anything, method: DELETE, reason: Deletion needs a person. }\n",
        "  - { deny: administration, path: /admin/** }\n",
    ];
    for (rule, deny) in (1..rules).zip(denies) {
        debug_assert!(rule < rules);
        text.push_str(deny);
    }
    for service in 3..rules {
        text.push_str(&format!(
            "  - {{ allow: service {service}, host: [api{service}.example.com, \"*.s{service}.example.net\"], access: read-write, path: [/v1/**, /v2/items/*] }}\n"
        ));
    }
    text
}

impl Act {
    fn open(&mut self, setup: Setup) -> Result<(), BenchError> {
        match self.ask(&Order::Open(Box::new(setup)))? {
            Answer::Ready => Ok(()),
            Answer::Failed(why) => Err(BenchError::Unreachable(self.target, why)),
            Answer::Done(_) => Err(BenchError::Gone(self.target)),
        }
    }

    fn turn(&mut self, slice: &Slice) -> Result<Measured, BenchError> {
        match self.ask(&Order::Slice(*slice))? {
            Answer::Done(measured) => Ok(*measured),
            Answer::Failed(why) => Err(BenchError::Unreachable(self.target, why)),
            Answer::Ready => Err(BenchError::Gone(self.target)),
        }
    }

    fn measured_turn(&mut self, slice: &Slice) -> Result<Turn, BenchError> {
        let clock = |error| BenchError::Io("reading CPU clocks", error);
        let pid = self.process.as_ref().map(Child::id);
        let cpu = || pid.map_or(Ok(0), place::cpu_ns_of).map_err(clock);
        let machine = place::machine_cpu_ns().map_err(clock)?;
        let before = cpu()?;
        let measured = self.turn(slice)?;
        let cpu_ns = cpu()?.saturating_sub(before);
        let machine = place::machine_cpu_ns().map_err(clock)?.saturating_sub(machine);
        let foreign = machine.saturating_sub(cpu_ns + measured.cpu_ns);
        let elapsed = Duration::from_nanos(measured.elapsed_ns.max(1));
        let foreign_cpus = Duration::from_nanos(foreign).as_secs_f64() / elapsed.as_secs_f64();
        Ok(Turn { measured, cpu_ns, foreign_cpus })
    }

    fn ask(&mut self, order: &Order) -> Result<Answer, BenchError> {
        let Some(control) = &mut self.control else { return Err(BenchError::Gone(self.target)) };
        // A generator that is gone cannot be told anything, and says nothing.
        let told = order::say(control.get_ref(), order);
        let answer = order::hear(control).map_err(|error| BenchError::Io("the generator's answer", error))?;
        answer.filter(|_| told.is_ok()).ok_or(BenchError::Gone(self.target))
    }
}

impl Drop for Act {
    fn drop(&mut self) {
        self.control = None;
        if let Some(mut generator) = self.generator.take() {
            let _ = generator.wait();
        }
        if let Some(mut process) = self.process.take() {
            // The relay serves until it is told otherwise; ringfence ends with its command, and finishes its log first.
            if self.target == Target::Relay {
                let _ = process.kill();
            }
            let _ = process.wait();
        }
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
        let path = std::env::temp_dir().join(format!("ringfence-bench-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Folder(path))
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
/// Of the machine's CPUs, what others may use in a turn that counts. The kernel's count moves in steps of 10 ms.
const FOREIGN_CPUS_MAX: f64 = 0.15;
