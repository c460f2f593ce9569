//! What the proxy counts: one set of [`Counters`] for each worker, summed when somebody asks.
//!
//! It knows no names of metrics ([`text`] has them) and no clock but the one that tells whether a worker is alive. Counters have one writer,
//! which the type keeps: an event is a load and a store on memory that no other thread writes, without lock or allocation.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crossbeam::utils::CachePadded;

use crate::audit::{OutcomeFacts, Refused};
use crate::limits::WORKER_SILENCE_MAX;
use crate::policy;

mod histogram;
pub(crate) mod text;

pub use histogram::Buckets;
use histogram::Histogram;

/// All counters of a process. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    epoch: Instant,
    /// Locked when a worker starts and when somebody reads. A worker's counts outlive it: counters never go back.
    workers: Mutex<Vec<Arc<CachePadded<Cells>>>>,
}

/// The counters of one worker thread, which alone writes them.
#[derive(Debug)]
pub struct Counters {
    cells: Arc<CachePadded<Cells>>,
    epoch: Instant,
    one_thread: PhantomData<Cell<()>>,
}

/// What was decided about one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Admitted.
    Allow,
    /// Denied, and answered so.
    Deny,
    /// Denied on record only, and forwarded.
    Monitored,
}

/// How an exchange ended whose request was admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The response went to the client as a whole.
    Delivered,
    /// The client got a 502.
    UpstreamFailed,
    /// The client got a 504.
    UpstreamTimedOut,
    /// The client sent a body that broke off or cannot be understood.
    ClientFailed,
    /// The response broke off after its head.
    Cut,
    /// The client went away first.
    ClientGone,
}

/// The sums over all workers at one moment.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "docs/METRICS.md says what each is")]
pub struct Totals {
    pub accepted: u64,
    pub closed: u64,
    pub refused: u64,
    pub over_limit: u64,
    pub allowed: u64,
    pub denied: u64,
    pub monitored: u64,
    pub malformed: u64,
    pub unrecorded: u64,
    pub endings: [u64; ENDINGS.len()],
    pub dialled: u64,
    pub reused: u64,
    pub dns_answered: u64,
    pub dns_refused: u64,
    pub bytes_up: u64,
    pub bytes_down: u64,
    pub audit_full: u64,
    pub audit_unwritable: u64,
    pub decide: Buckets,
    pub total: Buckets,
    pub upstream: Buckets,
    pub workers_answering: u64,
    pub workers_silent: u64,
}

/// Every [`Ending`], in the order of [`Totals::endings`].
pub const ENDINGS: [Ending; 6] = [
    Ending::Delivered,
    Ending::UpstreamFailed,
    Ending::UpstreamTimedOut,
    Ending::ClientFailed,
    Ending::Cut,
    Ending::ClientGone,
];

#[derive(Debug, Default)]
struct Cells {
    accepted: AtomicU64,
    closed: AtomicU64,
    refused: AtomicU64,
    over_limit: AtomicU64,
    allowed: AtomicU64,
    denied: AtomicU64,
    monitored: AtomicU64,
    malformed: AtomicU64,
    unrecorded: AtomicU64,
    endings: [AtomicU64; ENDINGS.len()],
    dialled: AtomicU64,
    reused: AtomicU64,
    dns_answered: AtomicU64,
    dns_refused: AtomicU64,
    bytes_up: AtomicU64,
    bytes_down: AtomicU64,
    audit_full: AtomicU64,
    audit_unwritable: AtomicU64,
    /// From 256 ns to 4.3 s: the resolution of a name may be part of it.
    decide: Histogram<8, 25>,
    /// From 16 µs to 550 s.
    total: Histogram<14, 26>,
    upstream: Histogram<14, 26>,
    /// Milliseconds from the epoch to the last sign of life.
    beat_ms: AtomicU64,
    ended: AtomicBool,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics(Arc::new(Shared { epoch: Instant::now(), workers: Mutex::default() }))
    }
}

impl Metrics {
    /// The counters of a new worker, to be taken to its thread.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let cells = Arc::new(CachePadded::new(Cells::default()));
        self.0.workers.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&cells));
        let counters = Counters { cells, epoch: self.0.epoch, one_thread: PhantomData };
        counters.beat();
        counters
    }

    /// The sums at `now`. Each number is exact; two that belong together may differ by what happens while they are read.
    #[must_use]
    pub fn read(&self, now: Instant) -> Totals {
        let now_ms = milliseconds(self.0.epoch, now);
        let mut totals = Totals::default();
        for cells in self.0.workers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            cells.add_to(&mut totals);
            match now_ms.saturating_sub(cells.beat_ms.load(Ordering::Relaxed)) {
                _ if cells.ended.load(Ordering::Relaxed) => totals.workers_silent += 1,
                silence if u128::from(silence) > WORKER_SILENCE_MAX.as_millis() => totals.workers_silent += 1,
                _ => totals.workers_answering += 1,
            }
        }
        totals
    }
}

impl Counters {
    /// A connection was accepted.
    pub fn accepted(&self) {
        add(&self.cells.accepted, 1);
    }

    /// An accepted connection has ended, in whatever way.
    pub fn closed(&self) {
        add(&self.cells.closed, 1);
    }

    /// A connection was refused and recorded before it could ask for anything.
    pub fn refused(&self) {
        add(&self.cells.refused, 1);
    }

    /// A connection was closed at once because too many are open.
    pub fn over_limit(&self) {
        add(&self.cells.over_limit, 1);
    }

    /// A request was decided and its decision is on record; `decide_ns` as recorded.
    pub fn decided(&self, verdict: Verdict, decide_ns: u64) {
        match verdict {
            Verdict::Allow => add(&self.cells.allowed, 1),
            Verdict::Deny => add(&self.cells.denied, 1),
            Verdict::Monitored => add(&self.cells.monitored, 1),
        }
        self.cells.decide.observe(decide_ns);
    }

    /// A request was refused because it cannot be understood in exactly one way, or asks for what is not spoken (400, 414, 421, 431, …).
    pub fn malformed(&self) {
        add(&self.cells.malformed, 1);
    }

    /// A request that would have passed was refused with 503, because its decision could not be recorded.
    pub fn unrecorded(&self, refused: Refused) {
        add(&self.cells.unrecorded, 1);
        self.audit_refused(refused);
    }

    /// A record was lost whose request is refused anyway.
    pub fn audit_refused(&self, refused: Refused) {
        match refused {
            Refused::Full => add(&self.cells.audit_full, 1),
            Refused::Unwritable => add(&self.cells.audit_unwritable, 1),
        }
    }

    /// An admitted exchange has ended, as its outcome says.
    pub fn concluded(&self, ending: Ending, outcome: &OutcomeFacts<'_>) {
        add(&self.cells.endings[ending as usize], 1);
        add(&self.cells.bytes_up, outcome.bytes_up);
        add(&self.cells.bytes_down, outcome.bytes_down);
        self.cells.total.observe(outcome.total_ns);
        // 0 when no response head has come.
        if outcome.upstream_ns > 0 {
            self.cells.upstream.observe(outcome.upstream_ns);
        }
    }

    /// A connection to an origin was made.
    pub fn dialled(&self) {
        add(&self.cells.dialled, 1);
    }

    /// A request goes out on a connection that was there already.
    pub fn reused(&self) {
        add(&self.cells.reused, 1);
    }

    /// A DNS query was answered, with an address or without data.
    pub fn dns_answered(&self) {
        add(&self.cells.dns_answered, 1);
    }

    /// A DNS query was answered with NXDOMAIN and recorded.
    pub fn dns_refused(&self) {
        add(&self.cells.dns_refused, 1);
    }

    /// A sign of life. Due every few seconds; a worker that misses [`WORKER_SILENCE_MAX`] counts as silent.
    pub fn beat(&self) {
        self.cells.beat_ms.store(milliseconds(self.epoch, Instant::now()), Ordering::Relaxed);
    }
}

impl Drop for Counters {
    fn drop(&mut self) {
        self.cells.ended.store(true, Ordering::Relaxed);
    }
}

impl Verdict {
    /// What the decision means for a request that nothing else refuses.
    #[must_use]
    pub fn of(decision: &policy::Decision<'_>) -> Verdict {
        match (decision.verdict, decision.enforced) {
            (policy::Verdict::Allow, _) => Verdict::Allow,
            (policy::Verdict::Deny, true) => Verdict::Deny,
            (policy::Verdict::Deny, false) => Verdict::Monitored,
        }
    }
}

impl Ending {
    /// The ending of an exchange whose client got `status` from us in place of a response.
    #[must_use]
    pub fn failed(status: u16) -> Ending {
        match status {
            504 => Ending::UpstreamTimedOut,
            400..500 => Ending::ClientFailed,
            _ => Ending::UpstreamFailed,
        }
    }
}

impl Cells {
    fn add_to(&self, totals: &mut Totals) {
        let pairs = [
            // Closed before accepted, so that their difference is never below zero.
            (&mut totals.closed, &self.closed),
            (&mut totals.accepted, &self.accepted),
            (&mut totals.refused, &self.refused),
            (&mut totals.over_limit, &self.over_limit),
            (&mut totals.allowed, &self.allowed),
            (&mut totals.denied, &self.denied),
            (&mut totals.monitored, &self.monitored),
            (&mut totals.malformed, &self.malformed),
            (&mut totals.unrecorded, &self.unrecorded),
            (&mut totals.dialled, &self.dialled),
            (&mut totals.reused, &self.reused),
            (&mut totals.dns_answered, &self.dns_answered),
            (&mut totals.dns_refused, &self.dns_refused),
            (&mut totals.bytes_up, &self.bytes_up),
            (&mut totals.bytes_down, &self.bytes_down),
            (&mut totals.audit_full, &self.audit_full),
            (&mut totals.audit_unwritable, &self.audit_unwritable),
        ];
        for (total, cell) in pairs.into_iter().chain(totals.endings.iter_mut().zip(&self.endings)) {
            *total = total.wrapping_add(cell.load(Ordering::Relaxed));
        }
        self.decide.add_to(&mut totals.decide);
        self.total.add_to(&mut totals.total);
        self.upstream.add_to(&mut totals.upstream);
    }
}

/// One writer, so a load and a store do; a read-modify-write would lock the line.
#[inline]
fn add(cell: &AtomicU64, count: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
}

fn milliseconds(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.saturating_duration_since(from).as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(crate) mod exposition;
#[cfg(test)]
mod tests;
