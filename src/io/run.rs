//! `ringfence run`: raises the fence, starts audit, office and worker around it, lets the command go, and waits for its end.
//!
//! The order is the guarantee: the command starts only when everything that decides and records its calls is up, and whatever fails before that
//! point ends the run without a single ungoverned call.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::audit::{self, Mode, Writer, WriterOptions};
use crate::config::{Bounds, TRUST_VARIABLES};
use crate::io::door::{Agents, Door, Entrance, Kind};
use crate::io::engine;
use crate::io::mcp::pins::{Keeper, PinError, Pins};
use crate::io::metrics::Metrics;
use crate::io::mint::{Authority, MintError};
use crate::io::netns::{self, FenceError, Plan};
use crate::io::office::Office;
use crate::io::resolver::{Answers, Service, Stub};
use crate::io::tls::Trust;
use crate::io::upstream::{Identities, NamedError};
use crate::io::worker::{Handle, Seed};
use crate::limits::CONNECTIONS_MAX;
use crate::policy::Policy;

/// What `run` is asked to do.
#[derive(Debug)]
pub struct Options {
    /// The command and its arguments; never empty.
    pub command: Vec<OsString>,
    /// The compiled policy.
    pub policy: Policy,
    /// Where the policy was read from: hidden from the command, and the folder that its relative paths count from.
    pub policy_file: Option<PathBuf>,
    /// Where the log goes; `None` for a new folder under the state folder.
    pub audit: Option<PathBuf>,
    /// The state folder.
    pub state: PathBuf,
    /// The agent's name on record.
    pub agent: String,
    /// Host paths that stay visible although they are sockets or under a masked folder.
    pub expose: Vec<PathBuf>,
    /// The I/O engine.
    pub engine: engine::Options,
}

/// What a run left behind.
#[derive(Debug)]
pub struct Finished {
    /// The command's exit status as a shell counts it.
    pub status: i32,
    /// Where the log is.
    pub audit: PathBuf,
}

/// Why a command was not run, or not to its end on record.
#[derive(Debug)]
pub enum RunError {
    /// The namespace could not be made.
    Fence(FenceError),
    /// A folder of ours cannot be made.
    Folder(PathBuf, io::Error),
    /// A certificate file or an approver that the policy names cannot be used.
    Named(NamedError),
    /// The authority could not be made.
    Mint(MintError),
    /// The pins of tools cannot be read.
    Pins(PinError),
    /// The log cannot be written.
    Audit(audit::StartError),
    /// The log could not be finished; the command's status is inside.
    Unfinished(audit::WriteError, i32),
    /// The engine or a thread could not be had.
    Engine(io::Error),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Fence(error) => error.fmt(f),
            RunError::Folder(path, error) => write!(
                f,
                "{}: cannot be made ({error}); choose another with RINGFENCE_STATE or --audit",
                path.display()
            ),
            RunError::Named(error) => error.fmt(f),
            RunError::Mint(error) => error.fmt(f),
            RunError::Pins(error) => error.fmt(f),
            RunError::Audit(error) => error.fmt(f),
            RunError::Unfinished(error, _) => write!(f, "the audit log could not be finished: {error}"),
            RunError::Engine(error) => write!(f, "the I/O engine cannot start: {error}; try --io epoll"),
        }
    }
}

impl std::error::Error for RunError {}

impl From<FenceError> for RunError {
    fn from(error: FenceError) -> RunError {
        RunError::Fence(error)
    }
}

impl From<NamedError> for RunError {
    fn from(error: NamedError) -> RunError {
        RunError::Named(error)
    }
}

impl From<MintError> for RunError {
    fn from(error: MintError) -> RunError {
        RunError::Mint(error)
    }
}

impl From<audit::StartError> for RunError {
    fn from(error: audit::StartError) -> RunError {
        RunError::Audit(error)
    }
}

/// Runs a command behind the fence. Must be called while the process has one thread.
///
/// # Errors
/// If the command could not be fenced, governed or recorded: it was then not started, or its record is unfinished.
pub fn run(options: Options) -> Result<Finished, RunError> {
    let system = Trust::system();
    let folder = options.policy_file.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
    let identities = Arc::new(Identities::read(&options.policy, folder, &system)?);
    let audit = options.audit.clone().unwrap_or_else(|| options.state.join("audit").join(run_id()));
    for path in [&options.state, &audit] {
        std::fs::create_dir_all(path).map_err(|error| RunError::Folder(path.clone(), error))?;
    }
    let pins = Arc::new(Pins::under(&options.state));
    pins.cover(&options.policy).map_err(RunError::Pins)?;
    // Made after the fork: no key of this run was ever in the memory of a process inside.
    let mut authority = None;
    let mut fence = netns::raise(&plan(&options, &audit), || {
        let made = authority.insert(Authority::new()?);
        Ok::<_, RunError>([system.pem(), made.pem().as_bytes()].concat())
    })?;
    let authority = authority.ok_or(RunError::Engine(io::ErrorKind::NotFound.into()))?;
    let (writer, mut seats) = Writer::start(WriterOptions {
        agent: options.agent.clone(),
        mode: Some(Mode::Run),
        policy: Some(*options.policy.digest()),
        ..WriterOptions::new(&audit, &options.state, 1)
    })?;
    let (office, office_thread) = Office::open(authority).map_err(RunError::Engine)?;
    let keeper = Keeper::start(&pins).map_err(RunError::Engine)?;
    let seat = seats.pop().ok_or(RunError::Engine(io::ErrorKind::NotFound.into()))?;
    let doors: Vec<Door> = std::mem::take(&mut fence.listeners)
        .into_iter()
        .map(|listener| Door {
            listener,
            entrance: Entrance { mode: Mode::Run, kind: Kind::Redirect, from: None, agent: None },
        })
        .collect();
    let service = Service { mode: Mode::Run, answers: Answers::Synthetic, from: None, agent: None };
    let stubs = std::mem::take(&mut fence.dns_udp).into_iter().zip(std::mem::take(&mut fence.dns_tcp));
    let own = doors.iter().map(|door| door.listener.local_addr()).collect::<io::Result<Vec<_>>>();
    let worker = Handle::start(Seed {
        place: (0, 1),
        agents: Agents::One(options.agent),
        policy: Arc::new(options.policy),
        identities,
        synthetic: Arc::default(),
        pins,
        seat,
        office,
        doors,
        stubs: stubs.map(|(datagrams, listener)| Stub { datagrams, listener, service: service.clone() }).collect(),
        own: own.map_err(RunError::Engine)?,
        // There is one agent, and nobody beside it to leave room for.
        bounds: Bounds { connections_per_agent: CONNECTIONS_MAX, ..Bounds::default() },
        counters: Metrics::default().counters(),
        engine: options.engine,
    })
    .map_err(RunError::Engine)?;
    let status = fence.start().and_then(|()| fence.wait());
    worker.stop().map_err(RunError::Engine)?;
    office_thread.join();
    keeper.finish();
    let finished = writer.finish();
    let status = status?;
    finished.map_err(|error| RunError::Unfinished(error, status))?;
    Ok(Finished { status, audit })
}

fn plan(options: &Options, audit: &Path) -> Plan {
    let bundle = OsStr::new(netns::TRUST_BUNDLE_PATH);
    Plan {
        command: options.command.clone(),
        env_set: TRUST_VARIABLES.iter().map(|name| (OsString::from(name), bundle.to_owned())).collect(),
        hide_dirs: vec![options.state.clone(), audit.to_owned()],
        hide_files: options.policy_file.iter().cloned().collect(),
        expose: options.expose.clone(),
        env_remove: Vec::new(),
    }
}

/// A name for the run that sorts by time.
pub(crate) fn run_id() -> String {
    let now = jiff::Timestamp::now();
    format!("{}-{}", now.strftime("%Y%m%dT%H%M%S.%3fZ"), std::process::id())
}
