//! The stage: a target and its generator, brought up, asked, and brought down.
//!
//! Everything is up from the beginning; who has no turn sleeps. A generator gets its origin's listening socket as standard input, as
//! inetd would hand it over, and speaks with the driver over standard output: that way the same generator runs outside and behind the
//! fence, where it could not open a port for us. Every child has a process group of its own, so that Ctrl-C reaches the driver alone.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::driver::{BenchError, HOST, Plan, Turn};
use super::interrupt::{Interrupt, Waited};
use super::order::{self, Answer, Measured, Order, Route, Setup, Slice, Trust};
use super::peer::{self, Peer, PeerError};
use super::scenario::{Arrivals, Placement};
use super::target::Target;
use super::tls::Credentials;
use super::{place, rules};
use crate::limits::{BENCH_END_WAIT, BENCH_PEER_WAIT};

/// What all targets share.
pub(super) struct Stage<'s> {
    pub(super) plan: &'s Plan<'s>,
    /// Generators', targets'.
    pub(super) cpus: Option<(usize, usize)>,
    pub(super) credentials: Option<Credentials>,
    pub(super) interrupt: &'s Interrupt,
}

/// A target and its generator, up and connected.
pub(super) struct Act<'s> {
    pub(super) target: Target,
    interrupt: &'s Interrupt,
    /// Dropped first: a generator ends when its driver hangs up.
    control: Option<BufReader<UnixStream>>,
    /// What is measured.
    process: Option<Process>,
    /// The generator, where it is not the target's own child.
    generator: Option<Child>,
}

enum Process {
    /// One process with its threads; the relay ends when its standard input does.
    One(Child, Option<ChildStdin>),
    Peer(Peer),
}

/// Where a generator connects, and as what.
struct Door {
    address: String,
    route: Route,
    trust: Trust,
    enforcing: bool,
}

impl Door {
    fn origin(address: SocketAddr) -> Door {
        Door { address: address.to_string(), route: Route::Origin, trust: Trust::Authority, enforcing: false }
    }
}

impl<'s> Stage<'s> {
    pub(super) fn act(&self, target: &Target) -> Result<Act<'s>, BenchError> {
        let failed = |error| BenchError::Io("the origin", error);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
        let origin = listener.local_addr().map_err(failed)?;
        let (ours, theirs) = UnixStream::pair().map_err(|error| BenchError::Io("socketpair", error))?;
        let mut act = Act {
            target: target.clone(),
            interrupt: self.interrupt,
            control: Some(BufReader::new(ours)),
            process: None,
            generator: None,
        };
        let mut generator = Command::new(self.plan.program);
        let door = match target {
            Target::Direct => Door::origin(origin),
            Target::Relay | Target::RelayEpoll | Target::RelayTokioUring => self.relay(origin, &mut act)?,
            Target::Ringfence => {
                generator = self.fenced(origin)?;
                let port = if self.credentials.is_some() { 443 } else { 80 };
                let address = format!("{HOST}:{port}");
                Door { address, route: Route::Origin, trust: Trust::Environment, enforcing: self.denies() }
            }
            Target::RingfenceProxy => self.proxy(origin, &mut act)?,
            Target::Peer(name) => self.peer(name, origin, &mut act)?,
        };
        generator.args(["bench", "generator"]).stdin(OwnedFd::from(listener)).stdout(OwnedFd::from(theirs));
        generator.process_group(0);
        let cpu = self.cpus.map(|(_, targets)| targets);
        let child = place::spawn_on(cpu, &mut generator).map_err(|error| BenchError::Io("starting a target", error))?;
        // `generator` holds our copies of the other end and of the listener until here: with them open nobody would see a hang-up.
        drop(generator);
        match target {
            Target::Ringfence => act.process = Some(Process::One(child, None)),
            _ => act.generator = Some(child),
        }
        act.open(self.setup(door))?;
        Ok(act)
    }

    fn setup(&self, door: Door) -> Setup {
        let scenario = self.plan.scenario;
        let apart = self.cpus.is_some_and(|(generators, targets)| generators != targets);
        Setup {
            target: door.address,
            route: door.route,
            host: HOST.to_owned(),
            credentials: self.credentials.clone(),
            trust: door.trust,
            enforcing: door.enforcing,
            call: scenario.call,
            connections: scenario.connections,
            connection: scenario.connection,
            busy: scenario.busy,
            idle: scenario.idle,
            behaviour: scenario.origin.clone(),
            cpu: self.cpus.map(|(generators, _)| generators),
            // In a closed loop nothing is due meanwhile, and how busy the generator is says whether it is the limit.
            spin: apart && scenario.placement == Placement::Apart && scenario.arrivals != Arrivals::Closed,
        }
    }

    /// Whether the policy has the rule that denies what is tried.
    fn denies(&self) -> bool {
        self.plan.scenario.rules >= 3
    }

    /// Starts a relay and learns its port from its first line.
    fn relay(&self, origin: SocketAddr, act: &mut Act<'_>) -> Result<Door, BenchError> {
        let failed = |error| BenchError::Io("starting the relay", error);
        let mut command = Command::new(self.plan.program);
        command.args(["bench", "relay", "--to", &origin.to_string()]);
        match act.target {
            Target::RelayEpoll => command.args(["--io", "epoll", "--spin", self.plan.scenario.spin.name()]),
            Target::RelayTokioUring => command.arg("--tokio-uring"),
            _ => command.args(self.engine()),
        };
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut child = place::spawn_on(self.cpus.map(|(_, targets)| targets), &mut command).map_err(failed)?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        act.process = Some(Process::One(child, stdin));
        let mut line = String::new();
        if let Some(stdout) = stdout {
            BufReader::new(stdout).read_line(&mut line).map_err(failed)?;
        }
        line.trim().parse().map(Door::origin).map_err(|_| BenchError::Gone(act.target.clone()))
    }

    /// The policy, and where TLS needs it the origin's authority, in `folder`.
    fn write_policy(&self, folder: &Path, origin: SocketAddr) -> io::Result<()> {
        std::fs::create_dir_all(folder)?;
        if let Some(credentials) = &self.credentials {
            std::fs::write(folder.join("origin.pem"), &credentials.authority)?;
        }
        std::fs::write(folder.join("policy.yaml"), rules::policy_of(self.plan.scenario, origin))
    }

    /// `ringfence run` up to its `--`, with a policy that sends the origin's name to the origin.
    fn fenced(&self, origin: SocketAddr) -> Result<Command, BenchError> {
        let folder = self.plan.folder.join("ringfence");
        self.write_policy(&folder, origin).map_err(|error| BenchError::Io("the policy", error))?;
        let mut command = Command::new(self.plan.program);
        command.args(["run", "--name", "bench", "--policy"]).arg(folder.join("policy.yaml"));
        command.arg("--audit").arg(folder.join("audit")).args(self.engine()).arg("--").arg(self.plan.program);
        command.env("RINGFENCE_STATE", folder.join("state"));
        Ok(command)
    }

    /// `ringfence proxy` with the same policy.
    fn proxy(&self, origin: SocketAddr, act: &mut Act<'_>) -> Result<Door, BenchError> {
        let failed = |error| BenchError::Io("starting ringfence proxy", error);
        let folder = self.plan.folder.join("ringfence-proxy");
        self.write_policy(&folder, origin).map_err(failed)?;
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let listen = free.map_err(failed)?;
        let config = folder.join("ringfence.yaml");
        std::fs::write(&config, rules::proxy_text(self.plan.scenario, listen, &folder)).map_err(failed)?;
        let said = folder.join("stderr");
        let mut command = Command::new(self.plan.program);
        command
            .arg("proxy")
            .arg("--config")
            .arg(config)
            .args(self.engine())
            .env("RINGFENCE_STATE", folder.join("state"));
        command.stdin(Stdio::null()).stderr(File::create(&said).map_err(failed)?).process_group(0);
        let child = place::spawn_on(self.cpus.map(|(_, targets)| targets), &mut command).map_err(failed)?;
        act.process = Some(Process::One(child, None));
        let until = Instant::now() + BENCH_PEER_WAIT;
        while TcpStream::connect(listen).is_err() {
            if Instant::now() >= until || act.has_ended() {
                let said = std::fs::read_to_string(&said).unwrap_or_default();
                return Err(BenchError::Unreachable(act.target.clone(), format!("it is not ready: {}", said.trim())));
            }
            thread::park_timeout(place::LOOK_AGAIN);
        }
        let trust = Trust::File(folder.join("bundle.crt"));
        Ok(Door { address: listen.to_string(), route: Route::Proxy, trust, enforcing: self.denies() })
    }

    fn peer(&self, name: &str, origin: SocketAddr, act: &mut Act<'_>) -> Result<Door, BenchError> {
        let scenario = self.plan.scenario;
        let kept = scenario.connection == super::scenario::Connection::Kept;
        let order = peer::Order {
            home: &self.plan.peers.join(name),
            folder: self.plan.folder.join(format!("peer-{name}")),
            origin,
            credentials: self.credentials.as_ref(),
            rules: scenario.rules,
            connections: if kept { scenario.connections + scenario.idle } else { 0 },
            cpu: self.cpus.map(|(_, targets)| targets),
        };
        let target = || act.target.clone();
        let peer = Peer::start(&order).map_err(|error| match error {
            PeerError::Io(error) => BenchError::Io("starting a peer", error),
            PeerError::Missing => BenchError::Missing(target()),
            PeerError::Ended(status) => BenchError::Unreachable(target(), format!("its script ended with {status}")),
            PeerError::Silent => {
                BenchError::Unreachable(target(), "its script did not say that it is ready".to_owned())
            }
        })?;
        let address = peer.ready.address.to_string();
        let door = Door { address, route: peer.ready.route, trust: Trust::Authority, enforcing: peer.ready.enforcing };
        act.process = Some(Process::Peer(peer));
        Ok(door)
    }

    fn engine(&self) -> [&'static str; 4] {
        ["--io", self.plan.scenario.io.name(), "--spin", self.plan.scenario.spin.name()]
    }
}

impl Act<'_> {
    fn open(&mut self, setup: Setup) -> Result<(), BenchError> {
        match self.ask(&Order::Open(Box::new(setup)))? {
            Answer::Ready => Ok(()),
            Answer::Failed(why) => Err(BenchError::Unreachable(self.target.clone(), why)),
            Answer::Done(_) => Err(BenchError::Gone(self.target.clone())),
        }
    }

    /// A turn that nobody measures.
    pub(super) fn turn(&mut self, slice: &Slice) -> Result<Measured, BenchError> {
        match self.ask(&Order::Slice(*slice))? {
            Answer::Done(measured) => Ok(*measured),
            Answer::Failed(why) => Err(BenchError::Unreachable(self.target.clone(), why)),
            Answer::Ready => Err(BenchError::Gone(self.target.clone())),
        }
    }

    pub(super) fn measured_turn(&mut self, slice: &Slice) -> Result<Turn, BenchError> {
        let clock = |error| BenchError::Io("reading CPU clocks", error);
        let machine = place::machine_cpu_ns().map_err(clock)?;
        let before = self.cpu_ns().map_err(clock)?;
        let measured = self.turn(slice)?;
        let cpu_ns = self.cpu_ns().map_err(clock)?.saturating_sub(before);
        let machine = place::machine_cpu_ns().map_err(clock)?.saturating_sub(machine);
        let foreign = machine.saturating_sub(cpu_ns + measured.cpu_ns);
        let elapsed = Duration::from_nanos(measured.elapsed_ns.max(1));
        let foreign_cpus = Duration::from_nanos(foreign).as_secs_f64() / elapsed.as_secs_f64();
        Ok(Turn { measured, cpu_ns, foreign_cpus })
    }

    fn cpu_ns(&self) -> io::Result<u64> {
        match &self.process {
            None => Ok(0),
            Some(Process::One(child, _)) => place::cpu_ns_of(child.id()),
            Some(Process::Peer(peer)) => peer.cpu_ns(),
        }
    }

    fn has_ended(&mut self) -> bool {
        match &mut self.process {
            Some(Process::One(child, _)) => !matches!(child.try_wait(), Ok(None)),
            _ => false,
        }
    }

    fn ask(&mut self, order: &Order) -> Result<Answer, BenchError> {
        let failed = |error| BenchError::Io("the generator's answer", error);
        let gone = || BenchError::Gone(self.target.clone());
        let Some(control) = &mut self.control else { return Err(gone()) };
        // A generator that is gone cannot be told anything, and says nothing.
        let told = order::say(control.get_ref(), order);
        if let Waited::Interrupted(signal) = self.interrupt.wait_for(control.get_ref(), None).map_err(failed)? {
            // In the middle of a turn it would go on to its end.
            self.abandon();
            return Err(BenchError::Interrupted(signal));
        }
        let answer = order::hear(control).map_err(failed)?;
        answer.filter(|_| told.is_ok()).ok_or_else(gone)
    }

    /// Ends a generator that is at work.
    fn abandon(&mut self) {
        if let Some(generator) = &mut self.generator {
            // It may have ended by itself.
            let _ = generator.kill();
        }
        if let (Target::Ringfence, Some(Process::One(child, _))) = (&self.target, &self.process) {
            terminate(child);
        }
    }
}

impl Drop for Act<'_> {
    fn drop(&mut self) {
        self.control = None;
        if let Some(generator) = &mut self.generator {
            ended_or_killed(generator);
        }
        if let Some(Process::One(child, stdin)) = &mut self.process {
            // The relay ends with its standard input; ringfence ends with its command, and finishes its log first; the proxy is told.
            drop(stdin.take());
            if self.target == Target::RingfenceProxy {
                terminate(child);
            }
            ended_or_killed(child);
        }
    }
}

fn terminate(child: &Child) {
    if let Ok(process) = i32::try_from(child.id()) {
        // A process that is gone needs no telling; until it is waited for its number is nobody else's.
        let _ = kill(Pid::from_raw(process), Signal::SIGTERM);
    }
}

/// A long log takes a while to finish; nothing that has ended well takes this long.
fn ended_or_killed(child: &mut Child) {
    if !matches!(place::ended_within(child, 4 * BENCH_END_WAIT), Ok(Some(_))) {
        // What cannot be killed has ended.
        let _ = child.kill();
        let _ = child.wait();
    }
}
