//! One thread that drains every ring into one log.
//!
//! It polls: a producer never wakes it, so a record costs no system call on the worker's side. Each turn takes what the rings hold, links
//! it, and hands it to the kernel; a sync follows after [`WriterOptions::sync_wait`] or enough bytes, a signed head after
//! [`WriterOptions::head_wait`]. When the disk refuses, producers are told within one turn, nothing more is drained (the outcomes of what
//! is under way have their room in the rings), and every attempt starts again from what the disk has confirmed.
//!
//! Files: [`open`] takes over a folder, [`rings`] keeps the rings' memory and takes up what a killed process left there, [`log`] appends,
//! [`drain`] is the thread.

mod clock;
mod disk;
mod drain;
#[cfg(test)]
pub(crate) mod faults;
mod lock;
mod log;
mod open;
mod retire;
mod rings;

pub(super) use open::{HEADS_FOLDER, PUBLIC_KEY_FILE, is_held};

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand;

use super::facts::{Mode, Nanos};
use super::outbox::Outbox;
use super::producer::{Health, Seat};
use super::segment::LogId;
use super::wait::{Bell, Durability, OnFull, Waiters};
use crate::limits;
pub use retire::Retention;

/// What a writer is started with.
#[derive(Clone, Debug)]
pub struct WriterOptions {
    /// The log's folder; made when missing, continued when it holds a log.
    pub dir: PathBuf,
    /// Where the key and the signed heads live. Not within `dir`.
    pub state: PathBuf,
    /// One ring for each thread that records.
    pub rings: usize,
    /// Octets of each ring, rounded up to a power of two within the limits.
    pub ring_bytes: usize,
    /// Size at which a segment is sealed.
    pub segment_bytes: u64,
    /// Group commit by time.
    pub sync_wait: Duration,
    /// Signed heads by time.
    pub head_wait: Duration,
    /// Age at which a segment is sealed.
    pub segment_age: Duration,
    /// When a request may go upstream.
    pub durability: Durability,
    /// What becomes of a request without room.
    pub on_full: OnFull,
    /// How much of the log is kept.
    pub retention: Retention,
    /// Where checkpoints are left for the anchor.
    pub outbox: Option<Arc<Outbox>>,
    /// The agent that the `start` and `stop` records name; may be empty.
    pub agent: String,
    /// The mode that they name.
    pub mode: Option<Mode>,
    /// The policy that they name.
    pub policy: Option<[u8; 32]>,
    /// Between two attempts to write after the disk refused.
    pub retry_wait: Duration,
    /// At shutdown: how long to wait for producers that still live, and for a disk that still refuses.
    pub finish_wait: Duration,
    /// The wall clock that is watched for steps.
    pub clock: fn() -> Nanos,
    /// What the disk does wrong.
    #[cfg(test)]
    pub(crate) faults: faults::Faults,
}

impl WriterOptions {
    /// Everything else from [`crate::limits`].
    pub fn new(dir: impl Into<PathBuf>, state: impl Into<PathBuf>, rings: usize) -> Self {
        Self {
            dir: dir.into(),
            state: state.into(),
            rings,
            ring_bytes: limits::AUDIT_RING_BYTES,
            segment_bytes: limits::AUDIT_SEGMENT_BYTES,
            sync_wait: limits::AUDIT_SYNC_WAIT,
            head_wait: limits::AUDIT_HEAD_WAIT,
            segment_age: limits::AUDIT_SEGMENT_AGE,
            durability: Durability::default(),
            on_full: OnFull::default(),
            retention: Retention::default(),
            outbox: None,
            agent: String::new(),
            mode: None,
            policy: None,
            retry_wait: limits::AUDIT_RETRY_WAIT,
            finish_wait: limits::AUDIT_FINISH_WAIT,
            clock: now,
            #[cfg(test)]
            faults: faults::Faults::default(),
        }
    }

    #[allow(clippy::unused_self, reason = "tests choose the disk")]
    fn disk(&self) -> disk::Disk {
        disk::Disk {
            #[cfg(test)]
            faults: self.faults.clone(),
        }
    }
}

/// An operation on a file that failed.
#[derive(Debug)]
pub struct Trouble {
    /// What was tried, as a verb.
    pub doing: &'static str,
    /// On what.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}: {}", self.doing, self.path.display(), self.source)
    }
}

fn trouble(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Trouble {
    move |source| Trouble { doing, path: path.to_owned(), source }
}

/// Why a log cannot be written to from the start. Nothing may be forwarded then.
#[derive(Debug)]
pub enum StartError {
    /// Another process writes to this folder.
    Held {
        /// The folder.
        dir: PathBuf,
        /// How the holder describes itself.
        holder: String,
    },
    /// The folder holds a log that is not as its last writer left it.
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The signing key cannot be used.
    Key {
        /// The file.
        path: PathBuf,
        /// Why not, and what mends it.
        why: &'static str,
    },
    /// More rings than a writer drains, or none.
    Rings(usize),
    /// A file operation failed.
    Io(Trouble),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held { dir, holder } => write!(f, "the audit log in {} is being written by {holder}", dir.display()),
            Self::Damaged { path, what } => write!(
                f,
                "{}: {what}; see `ringfence audit verify`, and move the log away to begin a new one",
                path.display()
            ),
            Self::Key { path, why } => write!(f, "{}: {why}", path.display()),
            Self::Rings(rings) => write!(f, "{rings} audit rings; 1 to {} are possible", limits::AUDIT_RINGS_MAX),
            Self::Io(trouble) => trouble.fmt(f),
        }
    }
}

impl std::error::Error for StartError {}

impl From<Trouble> for StartError {
    fn from(trouble: Trouble) -> Self {
        Self::Io(trouble)
    }
}

/// Why a log could not be closed in good order.
#[derive(Debug)]
pub enum WriteError {
    /// The disk refused until the wait was over.
    Io(Trouble),
    /// The writer's thread ended in a panic, which is a bug.
    Panicked,
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(trouble) => trouble.fmt(f),
            Self::Panicked => f.write_str("the audit writer panicked"),
        }
    }
}

impl std::error::Error for WriteError {}

/// What a writer has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The log.
    pub log: LogId,
    /// Records of the whole log, earlier writers' included.
    pub records: u64,
    /// Producers that still lived at the end, so that records of theirs may have been refused.
    pub abandoned: usize,
}

/// What the thread and its owner share.
#[derive(Debug, Default)]
struct Control {
    stop: AtomicBool,
    failure: Mutex<Option<String>>,
    /// The writer's thread, once it runs.
    thread: OnceLock<std::thread::Thread>,
}

impl Control {
    /// Ends the writer's pause. What is to be seen must be there before.
    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn say(&self, failure: Option<String>) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }
}

/// A running writer. Dropping it finishes the log too, without a word about how that went.
#[derive(Debug)]
pub struct Writer {
    control: Arc<Control>,
    thread: Option<JoinHandle<Result<Summary, WriteError>>>,
    log: LogId,
}

impl Writer {
    /// Takes over the folder, puts `start` on record and on disk, and starts the thread. One seat for each ring.
    pub fn start(options: WriterOptions) -> Result<(Self, Vec<Seat>), StartError> {
        if options.rings == 0 || options.rings > limits::AUDIT_RINGS_MAX {
            return Err(StartError::Rings(options.rings));
        }
        let health = Arc::new(Health::default());
        let log = open::open(&options)?;
        let (id, digests) = (log.id(), log.digest_key());
        open::adopt(&options, id);
        let sizes = (options.rings, options.ring_bytes);
        let ring_file = rings::RingFile::create((&options.state, options.disk()), (id, &options.dir), sizes)?;
        let control = Arc::new(Control::default());
        let ring_bell: Arc<dyn Fn() + Send + Sync> = {
            let control = Arc::clone(&control);
            Arc::new(move || control.wake())
        };
        let (mut seats, mut lanes) = (Vec::new(), Vec::new());
        for index in 0..options.rings {
            let prefix = random()?;
            let (tail, head) = ring_file.ring(index, prefix)?;
            let waiters = Arc::<Waiters>::default();
            let bell =
                Bell { waiters: Arc::clone(&waiters), health: Arc::clone(&health), ring: Arc::clone(&ring_bell) };
            let durable = (options.durability == Durability::Strict).then(|| bell.clone());
            let block = (options.on_full == OnFull::Block).then_some(bell);
            lanes.push(drain::Lane { head, waiters });
            seats.push(Seat { tail, health: Arc::clone(&health), durable, block, prefix, digests: digests.clone() });
        }
        ring_file.publish()?;
        let drain = drain::Drain::new(log, (lanes, ring_file), health, Arc::clone(&control), options.clone());
        let thread = std::thread::Builder::new()
            .name("ringfence-audit".to_owned())
            .spawn(move || drain.run())
            .map_err(trouble("start a thread for", &options.dir))?;
        Ok((Self { control, thread: Some(thread), log: id }, seats))
    }

    /// The log's id, which names its signed head.
    pub fn log(&self) -> LogId {
        self.log
    }

    /// Why the log cannot be written at the moment, if so.
    pub fn failure(&self) -> Option<String> {
        self.control.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks what [`Writer::failure`] answers, from any thread, and also after the writer has finished.
    pub fn watch(&self) -> impl Fn() -> Option<String> + Send + Sync + 'static + use<> {
        let control = Arc::clone(&self.control);
        move || control.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Drains the rings, puts `stop` on record, seals, syncs and signs. Call it when the producers' threads have ended: it waits for
    /// producers that still live, but not for long.
    pub fn finish(mut self) -> Result<Summary, WriteError> {
        self.join().unwrap_or(Err(WriteError::Panicked))
    }

    fn join(&mut self) -> Option<Result<Summary, WriteError>> {
        let thread = self.thread.take()?;
        self.control.stop.store(true, Ordering::Release);
        thread.thread().unpark();
        thread.join().ok()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.join();
    }
}

/// 64 bits that nobody can guess.
fn random() -> Result<u64, StartError> {
    let mut bytes = [0; 8];
    rand::fill(&mut bytes).map_err(|_| no_random())?;
    Ok(u64::from_ne_bytes(bytes))
}

fn no_random() -> StartError {
    StartError::Io(trouble("read", Path::new("the system's random source"))(io::ErrorKind::Other.into()))
}

/// The wall clock. The writer is the one place of this floor that has it, for records of its own.
#[allow(clippy::disallowed_methods, reason = "see above")]
fn now() -> Nanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
