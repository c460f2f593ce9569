//! A worker's end: puts facts on record, in its own ring, without allocation, lock, system call or clock.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use super::facts::{DecisionFacts, DecisionId, LifecycleFacts, McpFacts, Nanos, OutcomeFacts};
use super::head::DigestKey;
use super::record::{Decision, Event, Message, Outcome, Schema};
use super::ring::{Claim, Full, Promise, Tail};
use super::wait::{Bell, Durable, Room};
use crate::limits::AUDIT_RECORD_BYTES_MAX;

/// Why a record was not taken. The refusal is counted, and the count goes on record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The ring is full: the writer does not keep up.
    Full,
    /// The log cannot be written (disk full, I/O error), or its writer has ended.
    Unwritable,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the audit ring is full",
            Self::Unwritable => "the audit log cannot be written",
        })
    }
}

impl std::error::Error for Refused {}

/// Whether the log can be written: set by the writer, read before each record.
#[derive(Debug, Default)]
pub(super) struct Health(AtomicU8);

impl Health {
    const GOOD: u8 = 0;
    const BAD: u8 = 1;
    const ENDED: u8 = 2;

    pub(super) fn is_good(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::GOOD
    }

    pub(super) fn set(&self, good: bool) {
        // An ended writer stays ended.
        let _ = self.0.compare_exchange(
            if good { Self::BAD } else { Self::GOOD },
            if good { Self::GOOD } else { Self::BAD },
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
    }

    pub(super) fn is_ended(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::ENDED
    }

    pub(super) fn end(&self) {
        self.0.store(Self::ENDED, Ordering::Release);
    }
}

/// What the caller wanted to record, as its losses are counted.
const ALLOW: usize = 0;
const DENY: usize = 1;
const EVENT: usize = 2;

/// A producer on its way to its thread. Rings have exactly one producing thread, so this can be sent and the [`Producer`] cannot.
#[derive(Debug)]
pub struct Seat {
    pub(super) tail: Tail,
    pub(super) health: Arc<Health>,
    /// For those who wait; one for each thing that is waited for, where the options say so.
    pub(super) durable: Option<Bell>,
    pub(super) block: Option<Bell>,
    /// High half of every decision id of this producer, random.
    pub(super) prefix: u64,
    /// For what only its digest is kept of.
    pub(super) digests: DigestKey,
}

impl Seat {
    /// Makes the producer, on the thread that will use it.
    pub fn take(self) -> Producer {
        let Self { tail, health, durable, block, prefix, digests } = self;
        let inner = Inner { tail, prefix, next: 0, now: Nanos(0), waits: 0 };
        Producer(Rc::new(Desk { inner: RefCell::new(inner), health, durable, block, digests }))
    }
}

/// Puts facts on record. Clones share the ring; all stay on one thread.
#[derive(Clone, Debug)]
pub struct Producer(Rc<Desk>);

#[derive(Debug)]
struct Desk {
    inner: RefCell<Inner>,
    health: Arc<Health>,
    durable: Option<Bell>,
    block: Option<Bell>,
    digests: DigestKey,
}

#[derive(Debug)]
struct Inner {
    tail: Tail,
    prefix: u64,
    /// Low half of the next decision id.
    next: u64,
    /// The latest time that a caller gave: that of outcomes which nobody gave a time.
    now: Nanos,
    /// Names of waiters so far.
    waits: u64,
}

impl Producer {
    /// Records a decision that lets something pass, and holds back the room for its outcome; or does neither. When this returns `Ok`, the
    /// record is in the ring: the caller may send the first byte upstream.
    pub fn allow(&self, time: Nanos, facts: &DecisionFacts<'_>) -> Result<Credit, Refused> {
        match self.0.decide(true, time, facts) {
            Ok((id, promise)) => {
                let position = self.0.inner.borrow().tail.position();
                Ok(Credit { desk: Rc::clone(&self.0), id, promise, position })
            }
            Err(refused) => Err(self.0.refuse(refused, ALLOW)),
        }
    }

    /// Records a decision that ends here: a denial that was answered, a name that was not given.
    pub fn deny(&self, time: Nanos, facts: &DecisionFacts<'_>) -> Result<DecisionId, Refused> {
        let decided = self.0.decide(false, time, facts);
        decided.map(|(id, _)| id).map_err(|refused| self.0.refuse(refused, DENY))
    }

    /// Records what happened to the proxy.
    pub fn event(&self, time: Nanos, facts: &LifecycleFacts<'_>) -> Result<(), Refused> {
        self.0.event(time, facts).map_err(|refused| self.0.refuse(refused, EVENT))
    }

    /// Waits for room, where [`super::OnFull::Block`] says so: await it before facts are gathered, then record at once. When the wait
    /// was in vain, recording is refused and counted as ever.
    pub fn room(&self) -> Room<impl Fn() -> bool + use<>> {
        let desk = Rc::clone(&self.0);
        let bell = desk.block.clone().map(|bell| (bell, desk.waiter()));
        Room { bell, is_there: move || desk.inner.borrow_mut().tail.takes(AUDIT_RECORD_BYTES_MAX) }
    }

    /// Waits until all that was recorded so far is on disk, where [`super::Durability::Strict`] says so; see [`Credit::durable`].
    pub fn durable(&self) -> Durable {
        let position = self.0.inner.borrow().tail.position();
        self.0.durable(position)
    }

    /// Whether the log can be written now: one load. [`Producer::allow`] and [`Producer::deny`] ask by themselves.
    pub fn is_writable(&self) -> bool {
        self.0.health.is_good()
    }
}

impl Desk {
    fn durable(&self, position: u64) -> Durable {
        let bell = self.durable.clone().map(|bell| (bell, self.waiter()));
        Durable { bell, position }
    }

    fn waiter(&self) -> u64 {
        let inner = &mut *self.inner.borrow_mut();
        inner.waits += 1;
        inner.waits
    }

    fn decide(
        &self,
        opens: bool,
        time: Nanos,
        facts: &DecisionFacts<'_>,
    ) -> Result<(DecisionId, Option<Promise>), Refused> {
        if !self.health.is_good() {
            return Err(Refused::Unwritable);
        }
        let inner = &mut *self.inner.borrow_mut();
        let id = DecisionId(u128::from(inner.prefix) << 64 | u128::from(inner.next));
        let record = Decision::new(id, facts);
        inner.now = time;
        let claim = if opens { Claim::Opening(inner.next) } else { Claim::Plain };
        let pushed = match &facts.mcp {
            None => {
                let schema = Schema::of(facts.topic).0;
                inner.tail.push(claim, record.bytes(), time.0, schema, |out| record.encode(out))
            }
            Some(mcp) => {
                let arguments_digest = mcp.arguments_digest.map(|digest| self.digests.of(&digest));
                let record = Message::new(record, &McpFacts { arguments_digest, ..*mcp });
                inner.tail.push(claim, record.bytes(), time.0, Schema::MESSAGE.0, |out| record.encode(out))
            }
        };
        match pushed {
            Ok(promise) => {
                inner.next = inner.next.wrapping_add(1);
                Ok((id, promise))
            }
            Err(Full) => Err(Refused::Full),
        }
    }

    fn event(&self, time: Nanos, facts: &LifecycleFacts<'_>) -> Result<(), Refused> {
        if !self.health.is_good() {
            return Err(Refused::Unwritable);
        }
        let inner = &mut *self.inner.borrow_mut();
        inner.now = time;
        let record = Event::new(facts);
        inner
            .tail
            .push(Claim::Plain, record.bytes_max(), time.0, Schema::LIFECYCLE.0, |out| record.encode(out))
            .map(drop)
            .map_err(|Full| Refused::Full)
    }

    /// An outcome does not ask for health: its room is its own, and it is written when the disk is back.
    fn outcome(&self, promise: Promise, time: Option<Nanos>, outcome: &Outcome<'_>) {
        let inner = &mut *self.inner.borrow_mut();
        let time = time.unwrap_or(inner.now);
        inner.now = time;
        let claim = Claim::Promised(promise);
        let pushed = inner.tail.push(claim, outcome.bytes(), time.0, Schema::OUTCOME.0, |out| outcome.encode(out));
        debug_assert_eq!(pushed, Ok(None), "the room for an outcome is held back");
        if pushed.is_err() {
            inner.tail.count((0, EVENT));
        }
    }

    #[cold]
    fn refuse(&self, refused: Refused, what: usize) -> Refused {
        let cause = usize::from(refused == Refused::Unwritable);
        self.inner.borrow().tail.count((cause, what));
        refused
    }
}

/// Room for the outcome of one recorded decision. Dropped without [`Credit::outcome`], it writes the outcome `aborted`.
#[derive(Debug)]
#[must_use = "dropping a credit records the outcome as aborted"]
pub struct Credit {
    desk: Rc<Desk>,
    id: DecisionId,
    /// Taken by the outcome.
    promise: Option<Promise>,
    /// Where the decision ends in its ring.
    position: u64,
}

impl Credit {
    /// The decision that this is the outcome of.
    pub fn id(&self) -> DecisionId {
        self.id
    }

    /// Waits until the decision is on disk, where [`super::Durability::Strict`] says so: await it before the first byte goes upstream. An
    /// error says that the disk has refused it: nothing may be sent.
    pub fn durable(&self) -> Durable {
        self.desk.durable(self.position)
    }

    /// Records how it ended. Cannot fail: the room is held back.
    pub fn outcome(mut self, time: Nanos, facts: &OutcomeFacts<'_>) {
        if let Some(promise) = self.promise.take() {
            self.desk.outcome(promise, Some(time), &Outcome::new(self.id, facts));
        }
    }
}

impl Drop for Credit {
    fn drop(&mut self) {
        if let Some(promise) = self.promise.take() {
            self.desk.outcome(promise, None, &Outcome::aborted(self.id));
        }
    }
}

#[cfg(test)]
mod tests;
