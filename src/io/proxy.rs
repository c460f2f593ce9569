//! `ringfence proxy`: the long-running proxy, from its settings to its end.
//!
//! Everything that decides and records is up before a listener is served, and the proxy says that it is ready only after every listener has
//! denied what is always denied. The main thread then only waits: for signals, and for the policy file to change.

mod error;
mod signals;

use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use nix::sys::signal::Signal;

use crate::audit::{Lifecycle, LifecycleFacts, Nanos, Producer, Seat, Writer, WriterOptions};
use crate::config::{Listen, Settings};
use crate::io::admin::{Admin, Board};
use crate::io::anchor::Carrier;
use crate::io::clock;
use crate::io::container::Container;
use crate::io::door::Agents;
use crate::io::engine;
use crate::io::listen::{self, Sockets};
use crate::io::mcp::pins::{Keeper, Pins};
use crate::io::metrics::Metrics;
use crate::io::mint::{Authority, write_bundle};
use crate::io::office::{Office, OfficeThread};
use crate::io::reload::{self, Ruling, Watch};
use crate::io::status::Status;
use crate::io::tls::Trust;
use crate::io::worker::{Handle, Seed};
use crate::limits::{CANARY_WAIT, RELOAD_EVERY};
use crate::policy::Policy;
pub use error::ProxyError;
use signals::signals;

/// What the proxy is started with.
#[derive(Debug)]
pub struct Options {
    /// The configuration.
    pub settings: Settings,
    /// The state folder.
    pub state: PathBuf,
    /// A container without a network, whose connections are to come here.
    pub container: Option<String>,
    /// The I/O engine.
    pub engine: engine::Options,
}

/// A running proxy.
struct Proxy {
    settings: Settings,
    system: Trust,
    admin: Option<Admin>,
    anchor: Option<Carrier>,
    status: Arc<Status>,
    container: Option<Container>,
    workers: Vec<Handle>,
    office: OfficeThread,
    pins: Arc<Pins>,
    keeper: Keeper,
    writer: Writer,
    /// The main thread's own line into the log.
    producer: Producer,
    /// The policy in force.
    policy: Arc<Policy>,
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
    watch.follow(&proxy.policy);
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
            Some(Signal::SIGHUP) => proxy.reload(&mut watch),
            Some(_) => break,
            None if watch.changed() => proxy.reload(&mut watch),
            None if proxy.container.as_ref().is_some_and(Container::has_ended) => {
                tracing::info!("the container has ended");
                break;
            }
            None => {}
        }
    }
    proxy.stop()
}

impl Proxy {
    fn start(options: Options) -> Result<Proxy, ProxyError> {
        let Options { settings, state, container, engine } = options;
        let system = Trust::system();
        let pins = Arc::new(Pins::under(&state));
        let ruling = reload::read(&settings.policy, &settings.agt_unsupplied, &system, &pins)
            .and_then(|ruling| reload::guarded(ruling, settings.neighbours()));
        let ruling = ruling.map_err(ProxyError::Policy)?;
        speak_of(&ruling);
        let authority = Authority::open(&settings.ca.dir).map_err(ProxyError::Mint)?;
        if let Some(bundle) = &settings.ca.bundle {
            write_bundle(bundle, &system, authority.pem()).map_err(ProxyError::Mint)?;
        }
        let container = container.as_deref().map(Container::find).transpose().map_err(ProxyError::Container)?;
        let mut sockets = listen::bind(&settings, container.is_some()).map_err(ProxyError::Listen)?;
        if let Some(container) = &container {
            let (doors, stubs) = container.enter().map_err(ProxyError::Container)?;
            sockets.share(doors, stubs).map_err(ProxyError::Engine)?;
        }
        let digest = *ruling.policy.digest();
        let anchor = settings.audit.anchor.as_ref().map(|anchor| Carrier::start(anchor, &system));
        let anchor = anchor.transpose().map_err(ProxyError::Engine)?;
        let (writer, mut seats) = Writer::start(WriterOptions {
            policy: Some(digest),
            durability: settings.audit.durability,
            on_full: settings.audit.on_full,
            retention: settings.audit.retention,
            outbox: anchor.as_ref().map(|anchor| Arc::clone(anchor.outbox())),
            ..WriterOptions::new(&settings.audit.dir, &state, settings.io.workers.get() + 1)
        })
        .map_err(ProxyError::Audit)?;
        let producer = seats.pop().ok_or_else(lost)?.take();
        let status = Arc::new(Status::new(writer.watch()));
        if let Some(anchor) = &anchor {
            status.anchored(Arc::clone(anchor.outbox()));
        }
        status.loaded(&digest);
        status.authority_expires(authority.ends());
        let metrics = Metrics::default();
        let admin = open_admin(&settings, &sockets, Board { status: Arc::clone(&status), metrics: metrics.clone() })?;
        let (office, office_thread) = Office::open(authority).map_err(ProxyError::Engine)?;
        let keeper = Keeper::start(&pins).map_err(ProxyError::Engine)?;
        let workers = start_workers(&settings, sockets, seats, (&ruling, &office, &metrics, &pins), engine)?;
        if let Some(worker) = workers.first() {
            status.serves_on(&worker.backend().to_string());
        }
        let office = office_thread;
        Ok(Proxy {
            admin,
            anchor,
            status,
            container,
            settings,
            system,
            workers,
            office,
            pins,
            keeper,
            writer,
            producer,
            policy: ruling.policy,
        })
    }

    /// Says whether every door of every worker denies what is always denied, and a `redirect` listener what was not redirected.
    fn check(&self) -> bool {
        let canaries = self.workers.iter().map(Handle::canary);
        let direct = self.settings.listeners.iter().filter_map(|listen| match listen {
            // With a container the redirect listener is in there, out of reach from here.
            Listen::Redirect { address } if self.container.is_none() => Some(refuses_direct(*address)),
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
    fn reload(&mut self, watch: &mut Watch) {
        let unsupplied = &self.settings.agt_unsupplied;
        let read = reload::read(&self.settings.policy, unsupplied, &self.system, &self.pins);
        let detail = match read.and_then(|ruling| reload::guarded(ruling, self.settings.neighbours())) {
            Ok(ruling) => {
                speak_of(&ruling);
                let weaker = reload::weakened(&self.policy, &ruling.policy);
                if let Some(weaker) = &weaker {
                    tracing::warn!("the new policy is {weaker}");
                }
                self.policy = Arc::clone(&ruling.policy);
                watch.follow(&self.policy);
                self.status.reloaded(self.policy.digest());
                // Recorded first: no request is decided under a policy that the log does not know of.
                self.record(weaker.as_deref().unwrap_or_default());
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
            policy: Some(*self.policy.digest()),
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
        self.keeper.finish();
        drop(self.admin);
        drop(self.producer);
        let finished = self.writer.finish().map(drop).map_err(ProxyError::Unfinished);
        // After the log, whose last head says that it is closed.
        if let Some(anchor) = self.anchor {
            anchor.finish();
        }
        finished
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

fn open_admin(settings: &Settings, sockets: &Sockets, board: Board) -> Result<Option<Admin>, ProxyError> {
    let Some(admin) = &settings.admin else { return Ok(None) };
    let agents = agents(settings);
    let doors = sockets.doors.first().into_iter().flatten();
    let entrances: Vec<_> = doors.filter_map(|door| door.entrance.from.clone()).collect();
    // No agent may ask for metrics, wherever their address lies.
    let admits = move |source| !entrances.iter().any(|from| agents.admit(source, Some(from)));
    Admin::open(admin, board, admits).map(Some).map_err(ProxyError::Admin)
}

fn start_workers(
    settings: &Settings,
    sockets: Sockets,
    mut seats: Vec<Seat>,
    (ruling, office, metrics, pins): (&Ruling, &Office, &Metrics, &Arc<Pins>),
    engine: engine::Options,
) -> Result<Vec<Handle>, ProxyError> {
    let synthetic = Arc::new(Mutex::default());
    let workers = sockets.doors.len() as u64;
    let mut handles = Vec::new();
    for (place, (doors, stubs)) in (0..).zip(sockets.doors.into_iter().zip(sockets.stubs)) {
        let seed = Seed {
            place: (place, workers),
            agents: agents(settings),
            policy: Arc::clone(&ruling.policy),
            identities: Arc::clone(&ruling.identities),
            synthetic: Arc::clone(&synthetic),
            pins: Arc::clone(pins),
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
    Ok(handles)
}

fn agents(settings: &Settings) -> Agents {
    Agents::BySource(settings.agents.iter().map(|agent| (agent.source, agent.name.clone())).collect())
}

/// The writer gave fewer seats than it was asked for.
fn lost() -> ProxyError {
    ProxyError::Engine(io::ErrorKind::NotFound.into())
}

fn speak_of(ruling: &Ruling) {
    for warning in &ruling.warnings {
        tracing::warn!("{warning}");
    }
}
