//! `ringfence proxy`: the long-running proxy, from its settings to its end.
//!
//! Everything that decides and records is up before a listener is served, and the proxy says that it is ready only after every listener has
//! denied what is always denied. The main thread then only waits: for signals, and for the policy file to change.

use std::fmt;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::audit::{self, Lifecycle, LifecycleFacts, Nanos, Producer, Writer, WriterOptions};
use crate::config::{Listen, Settings};
use crate::io::admin::{Admin, AdminError, Board};
use crate::io::clock;
use crate::io::door::{Agents, Entrance};
use crate::io::engine;
use crate::io::listen::{self, ListenError};
use crate::io::metrics::Metrics;
use crate::io::mint::{Authority, MintError, write_bundle};
use crate::io::office::{Office, OfficeThread};
use crate::io::reload::{self, Ruling, Watch};
use crate::io::status::Status;
use crate::io::tls::Trust;
use crate::io::worker::{Handle, Seed};
use crate::limits::{CANARY_WAIT, RELOAD_EVERY};

/// What the proxy is started with.
#[derive(Debug)]
pub struct Options {
    /// The configuration.
    pub settings: Settings,
    /// The state folder.
    pub state: PathBuf,
    /// The I/O engine.
    pub engine: engine::Options,
}

/// Why the proxy does not start, or did not end in good order.
#[derive(Debug)]
pub enum ProxyError {
    /// The policy, or a file that it names: a line for each problem.
    Policy(Vec<String>),
    /// An address cannot be listened on.
    Listen(ListenError),
    /// The authority cannot be used.
    Mint(MintError),
    /// The log cannot be written.
    Audit(audit::StartError),
    /// The log could not be finished.
    Unfinished(audit::WriteError),
    /// The admin socket cannot be opened.
    Admin(AdminError),
    /// The engine or a thread could not be had.
    Engine(io::Error),
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProxyError::Policy(problems) => f.write_str(&problems.join("\n")),
            ProxyError::Listen(error) => error.fmt(f),
            ProxyError::Mint(error) => error.fmt(f),
            ProxyError::Audit(error) => error.fmt(f),
            ProxyError::Unfinished(error) => write!(f, "the audit log could not be finished: {error}"),
            ProxyError::Admin(error) => error.fmt(f),
            ProxyError::Engine(error) => write!(f, "the I/O engine cannot start: {error}; try --io epoll"),
        }
    }
}

impl std::error::Error for ProxyError {}

/// A running proxy.
struct Proxy {
    settings: Settings,
    system: Trust,
    admin: Option<Admin>,
    status: Arc<Status>,
    workers: Vec<Handle>,
    office: OfficeThread,
    writer: Writer,
    /// The main thread's own line into the log.
    producer: Producer,
    digest: [u8; 32],
}

/// Serves until SIGTERM or SIGINT, then drains.
///
/// # Errors
/// If it cannot start, or its log cannot be finished.
pub fn serve(options: Options) -> Result<(), ProxyError> {
    // Before the first thread, so that every thread inherits the mask and only the descriptor sees the signals.
    let signals = signals().map_err(ProxyError::Engine)?;
    let mut watch = Watch::new(&options.settings.policy);
    let mut proxy = Proxy::start(options)?;
    if proxy.check() {
        tracing::info!(
            listeners = proxy.listeners(),
            io = proxy.status.report().io,
            workers = proxy.workers.len(),
            "ready"
        );
    }
    loop {
        match signals.wait(RELOAD_EVERY).map_err(ProxyError::Engine)? {
            Some(Signal::SIGHUP) => proxy.reload(),
            Some(_) => break,
            None if watch.changed() => proxy.reload(),
            None => {}
        }
    }
    proxy.stop()
}

impl Proxy {
    fn start(options: Options) -> Result<Proxy, ProxyError> {
        let Options { settings, state, engine } = options;
        let system = Trust::system();
        let ruling = reload::read(&settings.policy, &system).map_err(ProxyError::Policy)?;
        speak_of(&ruling);
        let authority = Authority::open(&settings.ca.dir).map_err(ProxyError::Mint)?;
        if let Some(bundle) = &settings.ca.bundle {
            write_bundle(bundle, &system, authority.pem()).map_err(ProxyError::Mint)?;
        }
        let sockets = listen::bind(&settings).map_err(ProxyError::Listen)?;
        let workers = settings.io.workers.get();
        let (writer, mut seats) = Writer::start(WriterOptions {
            policy: Some(*ruling.policy.digest()),
            ..WriterOptions::new(&settings.audit.dir, &state, workers + 1)
        })
        .map_err(ProxyError::Audit)?;
        let status = Arc::new(Status::new(writer.watch()));
        let metrics = Metrics::default();
        let board = Board { status: Arc::clone(&status), metrics: metrics.clone() };
        let entrances = sockets.doors.first().into_iter().flatten().map(|door| door.entrance.clone()).collect();
        let admin = settings.admin.as_ref().map(|admin| Admin::open(admin, board, no_agent(&settings, entrances)));
        let admin = admin.transpose().map_err(ProxyError::Admin)?;
        let lost = || ProxyError::Engine(io::ErrorKind::NotFound.into());
        let producer = seats.pop().ok_or_else(lost)?.take();
        let (office, office_thread) = Office::open(authority).map_err(ProxyError::Engine)?;
        let agents = settings.agents.iter().map(|agent| (agent.source, agent.name.clone())).collect();
        let synthetic = Arc::new(Mutex::default());
        let mut handles = Vec::new();
        for (place, (doors, stubs)) in sockets.doors.into_iter().zip(sockets.stubs).enumerate() {
            let seed = Seed {
                place: (place as u64, workers as u64),
                agents: Agents::BySource(Vec::clone(&agents)),
                policy: Arc::clone(&ruling.policy),
                identities: Arc::clone(&ruling.identities),
                synthetic: Arc::clone(&synthetic),
                seat: seats.pop().ok_or_else(lost)?,
                office: office.clone(),
                doors,
                stubs,
                own: sockets.own.clone(),
                bounds: settings.bounds.clone(),
                counters: metrics.counters(),
                engine,
            };
            handles.push(Handle::start(seed).map_err(ProxyError::Engine)?);
        }
        let digest = *ruling.policy.digest();
        status.loaded(&digest);
        if let Some(worker) = handles.first() {
            status.serves_on(&worker.backend().to_string());
        }
        Ok(Proxy { admin, status, settings, system, workers: handles, office: office_thread, writer, producer, digest })
    }

    /// Says whether every door of every worker denies what is always denied, and a `redirect` listener what was not redirected.
    fn check(&self) -> bool {
        let canaries = self.workers.iter().map(Handle::canary);
        let direct = self.settings.listeners.iter().filter_map(|listen| match listen {
            Listen::Redirect { address } => Some(refuses_direct(*address)),
            _ => None,
        });
        let failed: Vec<String> = canaries.chain(direct).filter_map(Result::err).collect();
        for why in &failed {
            tracing::error!(why, "not ready");
        }
        let ready = failed.is_empty();
        self.status.waits_for(failed);
        ready
    }

    /// What it listens on, in words.
    fn listeners(&self) -> String {
        let words = self.settings.listeners.iter().map(|listen| match listen {
            Listen::Redirect { address } => format!("redirect {address}"),
            Listen::Gateway { address, ports, .. } => format!("gateway {address} {ports:?}"),
            Listen::Proxy { address, .. } => format!("proxy {address}"),
        });
        words.chain(self.settings.dns.map(|address| format!("dns {address}"))).collect::<Vec<_>>().join(", ")
    }

    /// Puts the policy file as it is now in force; a bad one changes nothing and is told of.
    fn reload(&mut self) {
        let detail = match reload::read(&self.settings.policy, &self.system) {
            Ok(ruling) => {
                speak_of(&ruling);
                self.digest = *ruling.policy.digest();
                self.status.reloaded(&self.digest);
                // Recorded first: no request is decided under a policy that the log does not know of.
                self.record("");
                for worker in &self.workers {
                    if !worker.adopt(Arc::clone(&ruling.policy), Arc::clone(&ruling.identities)) {
                        tracing::error!("a worker does not take the new policy");
                    }
                }
                if self.check() {
                    tracing::info!("the policy is replaced");
                }
                return;
            }
            Err(problems) => problems,
        };
        for problem in &detail {
            tracing::error!("{problem}");
        }
        tracing::error!("the policy is not replaced: the one before stays in force");
        let first = detail.first().map_or("", String::as_str);
        self.status.reload_failed(&first);
        self.record(&format!("refused: {first}"));
    }

    fn record(&self, detail: &str) {
        let facts = LifecycleFacts {
            event: Lifecycle::Reload,
            process: std::process::id(),
            agent: "",
            mode: None,
            policy: Some(self.digest),
            detail,
        };
        if self.producer.event(Nanos(clock::wall()), &facts).is_err() {
            tracing::error!("the replacement of the policy could not be recorded");
        }
    }

    fn stop(self) -> Result<(), ProxyError> {
        tracing::info!("draining");
        self.status.drains();
        for worker in &self.workers {
            worker.drain();
        }
        for worker in self.workers {
            worker.stop().map_err(ProxyError::Engine)?;
        }
        self.office.join();
        drop(self.admin);
        drop(self.producer);
        self.writer.finish().map(drop).map_err(ProxyError::Unfinished)
    }
}

/// A connection that nothing redirected has no original destination: it must be closed without a byte.
fn refuses_direct(address: SocketAddr) -> Result<(), String> {
    let tried = TcpStream::connect_timeout(&address, CANARY_WAIT).and_then(|mut stream| {
        stream.set_read_timeout(Some(CANARY_WAIT))?;
        stream.read(&mut [0])
    });
    match tried {
        Ok(0) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
        Ok(_) => Err(format!("the redirect listener {address} answers a connection that nothing redirected")),
        Err(error) => Err(format!("the redirect listener {address} could not be tried: {error}")),
    }
}

/// Whether a source may ask for metrics: no agent may, wherever the address of the metrics lies.
fn no_agent(settings: &Settings, entrances: Vec<Entrance>) -> impl Fn(IpAddr) -> bool + Send + 'static {
    let agents = Agents::BySource(settings.agents.iter().map(|agent| (agent.source, agent.name.clone())).collect());
    move |source| {
        !entrances.iter().filter_map(|entrance| entrance.from.as_deref()).any(|from| agents.admit(source, Some(from)))
    }
}

fn speak_of(ruling: &Ruling) {
    for warning in &ruling.warnings {
        tracing::warn!("{warning}");
    }
}

/// The signals that the main thread waits for.
struct Signals(SignalFd);

fn signals() -> io::Result<Signals> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        set.add(signal);
    }
    set.thread_block()?;
    Ok(Signals(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC)?))
}

impl Signals {
    /// The next signal; `None` when none came in time.
    fn wait(&self, time: Duration) -> io::Result<Option<Signal>> {
        let time = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)], time) {
            Ok(0) | Err(Errno::EINTR) => return Ok(None),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let info = self.0.read_signal()?;
        Ok(info.and_then(|info| Signal::try_from(info.ssi_signo.cast_signed()).ok()))
    }
}
