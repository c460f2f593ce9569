//! The writer's thread: a loop of turns, and what it does when the disk refuses.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::super::facts::{Lifecycle, LifecycleFacts, Nanos};
use super::super::producer::Health;
use super::super::record::{Event, Gap, Schema};
use super::super::ring::Head;
use super::super::wait::Waiters;
use super::clock::Clock;
use super::log::Log;
use super::rings::RingFile;
use super::{Control, Summary, Trouble, WriteError, WriterOptions, now, retire};
use crate::limits::{
    AUDIT_BLOCK_WAIT, AUDIT_DRAIN_AIM_BYTES, AUDIT_DRAIN_BYTES, AUDIT_POLL_MAX, AUDIT_POLL_MIN, AUDIT_SYNC_BYTES,
};

/// One ring, and who waits for what becomes of its records.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) head: Head,
    pub(super) waiters: Arc<Waiters>,
}

/// The thread's state.
#[derive(Debug)]
pub(super) struct Drain {
    log: Log,
    lanes: Vec<Lane>,
    /// Where the rings live; removed when the log is closed in good order.
    ring_file: RingFile,
    health: Arc<Health>,
    control: Arc<Control>,
    options: WriterOptions,
    /// The lane whose turn is first, so that a busy one starves no other.
    first: usize,
    synced: Instant,
    signed: Instant,
    /// When the segment was.
    begun: Instant,
    /// Whether retention has not looked since the log or a segment was begun.
    unretired: bool,
    clock: Clock,
    /// When the disk refuses: the next attempt, and what it said last.
    refused: Option<(Instant, Trouble)>,
}

/// Tells the producers that nobody drains any more, however the thread ends.
struct End(Arc<Health>, Vec<Arc<Waiters>>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.end();
        self.1.iter().for_each(|waiters| waiters.refused(true));
    }
}

impl Drain {
    #[allow(clippy::disallowed_methods, reason = "the writer has timers of its own")]
    pub(super) fn new(
        log: Log,
        (lanes, ring_file): (Vec<Lane>, RingFile),
        health: Arc<Health>,
        control: Arc<Control>,
        options: WriterOptions,
    ) -> Self {
        let start = Instant::now();
        let clock = Clock::new(options.clock);
        Self {
            log,
            lanes,
            ring_file,
            health,
            control,
            options,
            first: 0,
            synced: start,
            signed: start,
            begun: start,
            unretired: true,
            clock,
            refused: None,
        }
    }

    #[allow(clippy::disallowed_methods, reason = "the writer has timers of its own")]
    pub(super) fn run(mut self) -> Result<Summary, WriteError> {
        let waiters = self.lanes.iter().map(|lane| Arc::clone(&lane.waiters)).collect();
        let end = End(Arc::clone(&self.health), waiters);
        let _ = self.control.thread.set(std::thread::current());
        let born = Instant::now();
        let mut pause = AUDIT_POLL_MIN;
        let mut deadline = None;
        let aim = AUDIT_DRAIN_AIM_BYTES.min(self.options.ring_bytes / 8).max(1);
        loop {
            let turn = Instant::now();
            let moved = self.turn(turn);
            let age = u64::try_from(turn.saturating_duration_since(born).as_millis()).unwrap_or(u64::MAX);
            let wait_max = u64::try_from(AUDIT_BLOCK_WAIT.as_millis()).unwrap_or(u64::MAX);
            self.lanes.iter().for_each(|lane| lane.waiters.expire(age, wait_max));
            if self.control.stop.load(Ordering::Acquire) {
                let deadline = *deadline.get_or_insert(turn + self.options.finish_wait);
                if self.is_drained() || turn >= deadline {
                    // From here on producers that still live are refused, so the last turn below finds all they have committed.
                    drop(end);
                    return self.close(deadline);
                }
            }
            // The fewer records a turn finds, the longer the next may take: at a few thousand a second a turn moves many of them in one write
            // instead of waking for each.
            pause = match moved / aim {
                0 => (pause * 2).min(AUDIT_POLL_MAX),
                1..4 => pause,
                _ => AUDIT_POLL_MIN,
            };
            if moved < AUDIT_DRAIN_BYTES {
                std::thread::park_timeout(pause);
            }
        }
    }

    /// One turn; returns the bytes that became free in the rings.
    fn turn(&mut self, turn: Instant) -> usize {
        if let Some((again, _)) = self.refused
            && turn < again
        {
            return 0;
        }
        match self.work(turn) {
            Ok(moved) => {
                self.recover();
                moved
            }
            Err(trouble) => {
                self.refuse(turn, trouble);
                0
            }
        }
    }

    fn work(&mut self, turn: Instant) -> Result<usize, Trouble> {
        if self.log.is_sealed() {
            self.log.rotate(now())?;
        }
        if self.refused.is_some() {
            // Whatever failed, the batch has it: nothing new before that is on disk and vouched for.
            self.log.vouch(now(), false)?;
            self.release();
            self.synced(turn);
        }
        let moved = self.drain();
        self.log.flush()?;
        self.release();
        let awaited = self.lanes.iter().any(|lane| lane.waiters.want_disk());
        let since = turn.saturating_duration_since(self.synced);
        let due = awaited || since >= self.options.sync_wait || self.log.unsynced() >= AUDIT_SYNC_BYTES;
        if self.log.unsynced() > 0 && due {
            self.log.sync()?;
            self.synced(turn);
        }
        let old =
            turn.saturating_duration_since(self.begun) >= self.options.segment_age && self.log.is_ahead_of_segment();
        if self.log.segment_bytes() >= self.options.segment_bytes || old {
            self.log.rotate(now())?;
            self.synced(turn);
            (self.signed, self.begun) = (turn, turn);
            self.unretired = true;
        }
        if std::mem::take(&mut self.unretired) {
            retire::retire(&mut self.log, &self.options)?;
        }
        self.tell_of_the_anchor();
        if let Some(how) = self.clock.stepped() {
            self.event(Lifecycle::ClockStep, &how);
        }
        if self.log.is_ahead_of_head() && turn.saturating_duration_since(self.signed) >= self.options.head_wait {
            self.log.vouch(now(), false)?;
            self.signed = turn;
        }
        Ok(moved)
    }

    /// Delivery of checkpoints has begun to fail, or to succeed again: that is on record, and nothing waits for it.
    fn tell_of_the_anchor(&mut self) {
        match self.options.outbox.as_ref().and_then(|outbox| outbox.turned()) {
            Some(Ok(())) => self.event(Lifecycle::Anchored, ""),
            Some(Err(why)) => self.event(Lifecycle::Unanchored, &why),
            None => {}
        }
    }

    /// Takes what the rings hold, as far as the batch may grow.
    fn drain(&mut self) -> usize {
        let mut moved = 0;
        let lanes = self.lanes.len();
        for turn in 0..lanes {
            if self.log.unsynced() >= AUDIT_SYNC_BYTES {
                break;
            }
            let index = (self.first + turn) % lanes;
            let Some(lane) = self.lanes.get_mut(index) else { break };
            moved += take(&mut self.log, &mut lane.head, index);
        }
        self.first = (self.first + 1) % lanes;
        moved
    }

    /// The kernel has what was taken, so it survives this process without the rings.
    fn release(&mut self) {
        for lane in &mut self.lanes {
            lane.head.release();
            lane.waiters.room();
        }
    }

    /// The disk has everything that was released.
    fn synced(&mut self, turn: Instant) {
        self.synced = turn;
        self.lanes.iter().for_each(|lane| lane.waiters.synced(lane.head.position()));
    }

    #[cold]
    fn refuse(&mut self, turn: Instant, trouble: Trouble) {
        // First the reason, so that whoever is refused can ask for it.
        self.control.say(Some(trouble.to_string()));
        self.health.set(false);
        self.lanes.iter().for_each(|lane| lane.waiters.refused(false));
        if self.refused.is_none() {
            tracing::error!(%trouble, "audit log not writable: traffic is refused until it is");
        }
        self.refused = Some((turn + self.options.retry_wait, trouble));
    }

    fn recover(&mut self) {
        if let Some((_, trouble)) = self.refused.take() {
            self.event(Lifecycle::Resumed, &trouble.to_string());
            self.control.say(None);
            self.health.set(true);
            self.lanes.iter().for_each(|lane| lane.waiters.room());
            tracing::info!("audit log writable again");
        }
    }

    pub(super) fn event(&mut self, event: Lifecycle, detail: &str) {
        lifecycle(&mut self.log, &self.options, event, detail);
    }

    /// Whether every producer is gone and everything it left is taken.
    fn is_drained(&self) -> bool {
        // In this order: what a producer committed before it was gone is seen after.
        self.refused.is_none() && self.lanes.iter().all(|lane| lane.head.is_closed() && lane.head.is_empty())
    }

    #[allow(clippy::disallowed_methods, reason = "the writer has timers of its own")]
    fn close(mut self, deadline: Instant) -> Result<Summary, WriteError> {
        let abandoned = self.lanes.iter().filter(|lane| !lane.head.is_closed()).count();
        let mut stopped = false;
        loop {
            let trouble = match self.end(&mut stopped) {
                Ok(records) => {
                    self.ring_file.remove().map_err(WriteError::Io)?;
                    return Ok(Summary { log: self.log.id(), records, abandoned });
                }
                Err(trouble) => trouble,
            };
            if Instant::now() + self.options.retry_wait >= deadline {
                tracing::error!(%trouble, "the audit log could not be closed");
                return Err(WriteError::Io(trouble));
            }
            std::thread::park_timeout(self.options.retry_wait.min(Duration::from_millis(50)));
        }
    }

    fn end(&mut self, stopped: &mut bool) -> Result<u64, Trouble> {
        while !*stopped {
            if self.log.is_sealed() {
                self.log.rotate(now())?;
            }
            // With an empty batch, a drain that moves nothing has found nothing.
            self.log.sync()?;
            self.release();
            if self.drain() == 0 {
                self.event(Lifecycle::Stop, "");
                *stopped = true;
            }
        }
        self.log.seal(now())?;
        self.log.vouch(now(), true)?;
        self.log.trim()?;
        Ok(self.log.records())
    }
}

/// Puts on record what a ring holds, up to [`AUDIT_DRAIN_BYTES`], and what it refused. Returns the bytes of the ring that were taken.
pub(super) fn take(log: &mut Log, ring: &mut Head, index: usize) -> usize {
    let moved = ring.take(AUDIT_DRAIN_BYTES, log.records(), |record| {
        log.append(Nanos(record.time), Schema(record.schema), record.payload);
    });
    for (cause, code) in [(0, 1), (1, 2)] {
        if let Some(losses) = ring.lost(cause) {
            let [allows, denies, events] = losses;
            let ring_number = u32::try_from(index).unwrap_or(u32::MAX);
            ring.tell(cause, losses, log.records());
            log.append_gap(now(), &Gap { ring: ring_number, cause: code, allows, denies, events });
        }
    }
    moved
}

/// Appends a record about the writer itself.
pub(super) fn lifecycle(log: &mut Log, options: &WriterOptions, event: Lifecycle, detail: &str) {
    let facts = LifecycleFacts {
        event,
        process: std::process::id(),
        agent: &options.agent,
        mode: options.mode,
        policy: options.policy,
        detail,
    };
    let record = Event::new(&facts);
    let mut payload = vec![0; record.bytes_max()];
    if let Some(length) = record.encode(&mut payload) {
        log.append(now(), Schema::LIFECYCLE, &payload[..length]);
    }
}
