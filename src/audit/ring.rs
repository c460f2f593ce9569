//! A ring of bytes between one producer and one consumer: reserve, write in place, commit.
//!
//! ```text
//!            head (consumer)                    tail (producer)
//!              ▼                                  ▼
//!  ┌───────────┬─────────┬──────────────┬────────┬───────────────────────────────┬─────┐
//!  │ free      │ record  │ record       │ record │ free, of which promised bytes │ pad │
//!  └───────────┴─────────┴──────────────┴────────┴───────────────────────────────┴─────┘
//! ```
//!
//! Positions count bytes since the beginning and never wrap (2⁶⁴ bytes outlast any process); a position modulo the capacity is the place. A
//! record is contiguous: where it would cross the end of the memory, the rest is padded. Each record has a 16-octet header:
//! payload length, schema, zero, time.
//!
//! **Promises.** A record pushed with [`Claim::Opening`] keeps [`AUDIT_CREDIT_BYTES`] of room for one later [`Claim::Promised`] record,
//! which therefore always fits. Invariant after each push that is not `Promised`: free ≥ promised + one credit. The spare credit pays for
//! the one padding that the promised records can meet: a second padding would need more than a lap of promised bytes, and there are
//! at most capacity − credit of them.
//!
//! **Death.** The ring may lie in memory that outlives the process ([`lane`]), and can then be taken up where it was left: [`revive()`] gives
//! both ends, [`Tail::open`] the promises that nobody kept, and [`Head::resume`] goes on after the last record that was put in safety.
//! For that the consumer says which numbers the records get that it takes ([`Head::take`]), and gives their room back only when they
//! are safe ([`Head::release`]).
//!
//! This file knows nothing of records, and with [`lane`] it is the one place of this floor with `unsafe`: writing an archive in place needs
//! bytes that two threads share. The producer owns `[tail, head + capacity)`, the consumer `[head, tail)`; a release store hands bytes
//! over, an acquire load takes them.

use std::sync::Arc;
use std::sync::atomic::compiler_fence;

use self::lane::Lane;
use self::sync::{AtomicBool, Ordering};
use crate::limits::{AUDIT_CREDIT_BYTES, AUDIT_RING_BYTES_MAX, AUDIT_RING_BYTES_MIN};

mod lane;
mod revive;

pub(super) use revive::{Revived, create, lane_bytes, revive};

/// The model checker's atomics under `--cfg ringfence_loom`: a name of our own, because `loom` means something to our dependencies.
mod sync {
    #[cfg(all(test, ringfence_loom))]
    pub(super) use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    #[cfg(not(all(test, ringfence_loom)))]
    pub(super) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
}

/// Octets before each payload, and the alignment of everything in the ring.
pub(super) const HEADER: usize = 16;
/// In place of a payload length: the rest of the memory, up to its end, is padding.
const PADDING: u32 = u32::MAX;
const CREDIT: u64 = AUDIT_CREDIT_BYTES as u64;
/// A cache line.
const LINE: usize = 64;
/// How far ahead of the tail lines are asked for: about two records.
const WARM_AHEAD: u64 = 512;

/// What a push may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// A record that nothing follows.
    Plain,
    /// A record that will be followed by one promised record. The label is kept until then, and survives with the ring.
    Opening(u64),
    /// The promised record.
    Promised(Promise),
}

/// Room for one record, held back. Opening gives it, a promised push takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Promise(u32);

/// There is no room for the record; nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// A committed record, as the consumer sees it.
#[derive(Debug)]
pub(super) struct Committed<'a> {
    pub(super) time: u64,
    pub(super) schema: u16,
    pub(super) payload: &'a [u8],
}

/// Why a push was refused, and what was to be pushed: the place of a count.
pub(super) type Loss = (usize, usize);

/// The producer's end. One thread at a time.
#[derive(Debug)]
pub(super) struct Tail {
    shared: Arc<Shared>,
    tail: u64,
    /// The consumer's position when it was last looked at: a lower bound, so that the shared line is read only when room seems short.
    head_seen: u64,
    promised: u64,
    /// Slots that no promise has, the last used on top.
    free: Vec<u32>,
}

/// The consumer's end. One thread at a time.
#[derive(Debug)]
pub(super) struct Head {
    shared: Arc<Shared>,
    /// Everything before may be overwritten.
    head: u64,
    /// Everything before has been taken.
    taken: u64,
    /// Losses that were told, and that are about to be.
    told: [[u64; 3]; 2],
    telling: [Option<[u64; 3]>; 2],
}

#[derive(Debug)]
struct Shared {
    lane: Lane,
    closed: AtomicBool,
}

/// A ring of `bytes`, rounded as [`rounded`] says, and its two ends.
#[cfg(test)]
pub(super) fn ring(bytes: usize) -> (Tail, Head) {
    sized(rounded(bytes))
}

/// The next power of two within the limits.
pub(super) fn rounded(bytes: usize) -> usize {
    bytes.clamp(AUDIT_RING_BYTES_MIN, AUDIT_RING_BYTES_MAX).next_power_of_two()
}

#[cfg(test)]
fn sized(bytes: usize) -> (Tail, Head) {
    ends(Lane::heap(bytes))
}

/// The ends of a ring that nobody has used.
fn ends(lane: Lane) -> (Tail, Head) {
    let mut free: Vec<u32> = (0..).zip(lane.slots()).map(|(number, _)| number).collect();
    free.reverse();
    let shared = Arc::new(Shared { lane, closed: AtomicBool::new(false) });
    let tail = Tail { shared: Arc::clone(&shared), tail: 0, head_seen: 0, promised: 0, free };
    (tail, Head { shared, head: 0, taken: 0, told: [[0; 3]; 2], telling: [None; 2] })
}

impl Tail {
    /// Reserves room for a payload of at most `payload_max` octets, lets `write` fill it, and commits what it says it wrote. `write` sees
    /// old bytes of the ring and returns the payload's length; `None`, or a length beyond its slice, takes the reservation back. An
    /// opening push gives a promise.
    #[inline]
    pub(super) fn push(
        &mut self,
        claim: Claim,
        payload_max: usize,
        time: u64,
        schema: u16,
        write: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> Result<Option<Promise>, Full> {
        let lane = &self.shared.lane;
        let capacity = lane.bytes();
        let place = place(self.tail, capacity);
        let most = HEADER + payload_max.next_multiple_of(HEADER);
        let padding = if capacity - place < most { capacity - place } else { 0 };
        let promised = match claim {
            Claim::Plain => self.promised + CREDIT,
            Claim::Opening(_) => self.promised + 2 * CREDIT,
            Claim::Promised(_) => self.promised.saturating_sub(CREDIT),
        };
        if !self.has_room((padding + most) as u64 + promised) {
            return Err(Full);
        }

        let lane = &self.shared.lane;
        let start = if padding == 0 { place } else { 0 };
        // SAFETY: `[start, start + most)` lies within the memory and within `[tail, head + capacity)`, which only this end touches: it is
        // borrowed mutably, and the consumer reads no byte at or beyond the `tail` that it has loaded.
        let slot = unsafe { lane.slot(start, most) };
        let (header, payload) = slot.split_at_mut(HEADER);
        let length = write(&mut payload[..payload_max]).filter(|&length| length <= payload_max).ok_or(Full)?;
        let word = u32::try_from(length).map_err(|_| Full)?;
        header[..4].copy_from_slice(&word.to_le_bytes());
        header[4..6].copy_from_slice(&schema.to_le_bytes());
        header[6..8].fill(0);
        header[8..].copy_from_slice(&time.to_le_bytes());
        if padding > 0 {
            // SAFETY: as above, for the 16 octets at `place`; the padding is a multiple of 16 and not empty, and ends where `start` = 0
            // begins, so the two slots do not overlap.
            let mark = unsafe { lane.slot(place, HEADER) };
            mark[..4].copy_from_slice(&PADDING.to_le_bytes());
        }

        // A killed thread's stores stop somewhere in the order of the program; the fence keeps the compiler to that order.
        compiler_fence(std::sync::atomic::Ordering::SeqCst);
        let end = self.tail + (padding + HEADER + length.next_multiple_of(HEADER)) as u64;
        let promise = self.note(claim, end)?;
        self.tail = end;
        self.shared.lane.words().tail.0.store(end, Ordering::Release);
        self.warm(most);
        Ok(promise)
    }

    /// Has the lines that the records after the next one will lie in on their way, while other work is done.
    #[inline]
    fn warm(&self, bytes: usize) {
        let capacity = self.shared.lane.bytes();
        let ahead = self.tail + WARM_AHEAD;
        (0..bytes.next_multiple_of(LINE))
            .step_by(LINE)
            .for_each(|line| self.shared.lane.warm(place(ahead + line as u64, capacity)));
    }

    /// Notes what a record that ends at `end` does to a promise, before it is committed: whoever takes up the ring finds the promise open
    /// from the commit of its opening to the commit of what was promised, at every instant between.
    #[inline]
    fn note(&mut self, claim: Claim, end: u64) -> Result<Option<Promise>, Full> {
        match claim {
            Claim::Plain => Ok(None),
            Claim::Opening(label) => {
                let number = self.free.pop().ok_or(Full)?;
                let slot = self.shared.lane.slots().get(number as usize).ok_or(Full)?;
                slot.label.store(label, std::sync::atomic::Ordering::Relaxed);
                slot.opened.store(end, std::sync::atomic::Ordering::Relaxed);
                // Last: the slot's earlier promise is closed until the new one is beyond the tail.
                slot.closed.store(0, std::sync::atomic::Ordering::Release);
                self.promised += CREDIT;
                Ok(Some(Promise(number)))
            }
            Claim::Promised(Promise(number)) => {
                if let Some(slot) = self.shared.lane.slots().get(number as usize) {
                    slot.closed.store(end, std::sync::atomic::Ordering::Relaxed);
                    self.free.push(number);
                }
                self.promised = self.promised.saturating_sub(CREDIT);
                Ok(None)
            }
        }
    }

    /// Where the last record ends.
    pub(super) fn position(&self) -> u64 {
        self.tail
    }

    /// Whether an opening record with a payload of `payload_max` octets has room, wherever the ring wraps.
    pub(super) fn takes(&mut self, payload_max: usize) -> bool {
        let most = HEADER + payload_max.next_multiple_of(HEADER);
        self.has_room(2 * most as u64 + self.promised + 2 * CREDIT)
    }

    fn has_room(&mut self, need: u64) -> bool {
        let capacity = self.shared.lane.bytes() as u64;
        if self.tail + need <= self.head_seen + capacity {
            return true;
        }
        self.head_seen = self.shared.lane.words().head.0.load(Ordering::Acquire);
        self.tail + need <= self.head_seen + capacity
    }

    /// Counts a push that was refused.
    pub(super) fn count(&self, (cause, what): Loss) {
        let counter = &self.shared.lane.words().losses.0[cause][what];
        // One writer, so a load and a store do; a read-modify-write would lock the line.
        let count = counter.load(std::sync::atomic::Ordering::Relaxed).wrapping_add(1);
        counter.store(count, std::sync::atomic::Ordering::Release);
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
    }
}

impl Head {
    /// Hands committed records to `each`, oldest first, until it has seen `bytes_max` of the ring or there is none left. `first` is the
    /// number that the first of them gets. Their room comes back with [`Head::release`], before which nothing more is handed out.
    /// Returns the bytes of the ring that were taken.
    pub(super) fn take(&mut self, bytes_max: usize, first: u64, mut each: impl FnMut(Committed<'_>)) -> usize {
        if self.taken != self.head {
            return 0;
        }
        let lane = &self.shared.lane;
        let capacity = lane.bytes();
        let tail = lane.words().tail.0.load(Ordering::Acquire);
        let from = self.head;
        let mut at = from;
        while at < tail && at - from < bytes_max as u64 {
            let place = place(at, capacity);
            // SAFETY: `[head, tail)` was committed by the release store that the load above acquired, and the producer does not touch it
            // again before the release store below. Positions are multiples of 16, so the header lies within the memory.
            let header = unsafe { lane.view(place, HEADER) };
            let (length, schema, time) = header_fields(header);
            if length == PADDING {
                at += (capacity - place) as u64;
                continue;
            }
            // SAFETY: as above; the producer committed exactly this length, contiguous.
            let payload = unsafe { lane.view(place + HEADER, length as usize) };
            each(Committed { time, schema, payload });
            at += (HEADER + (length as usize).next_multiple_of(HEADER)) as u64;
        }
        self.taken = at;
        compiler_fence(std::sync::atomic::Ordering::SeqCst);
        let taken = &lane.words().taken.0;
        taken.from.store(from, std::sync::atomic::Ordering::Relaxed);
        taken.first.store(first, std::sync::atomic::Ordering::Relaxed);
        // Last: until now this is the previous end, which is not beyond the head.
        taken.to.store(at, std::sync::atomic::Ordering::Release);
        usize::try_from(at - from).unwrap_or(usize::MAX)
    }

    /// What has been taken and told is safe: gives its room back.
    pub(super) fn release(&mut self) {
        let words = self.shared.lane.words();
        if self.taken != self.head {
            self.head = self.taken;
            words.head.0.store(self.head, Ordering::Release);
        }
        for cause in 0..2 {
            if let Some(totals) = self.telling[cause].take() {
                self.told[cause] = totals;
                store(&words.told.0.totals[cause], totals);
                words.told.0.number[cause].store(0, std::sync::atomic::Ordering::Release);
            }
        }
    }

    /// Everything before has been released.
    pub(super) fn position(&self) -> u64 {
        self.head
    }

    /// What was lost for `cause` since the last time it was told.
    pub(super) fn lost(&self, cause: usize) -> Option<[u64; 3]> {
        let totals = load(&self.shared.lane.words().losses.0[cause]);
        let told = self.told[cause];
        let new = |what: usize| totals[what].wrapping_sub(told[what]);
        (totals != told && self.telling[cause].is_none()).then(|| [new(0), new(1), new(2)])
    }

    /// The record with this number tells the losses that [`Head::lost`] has just said; it is safe with the next [`Head::release`].
    pub(super) fn tell(&mut self, cause: usize, losses: [u64; 3], number: u64) {
        let before = self.told[cause];
        let totals = [0, 1, 2].map(|what: usize| before[what].wrapping_add(losses[what]));
        self.telling[cause] = Some(totals);
        compiler_fence(std::sync::atomic::Ordering::SeqCst);
        let told = &self.shared.lane.words().told.0;
        store(&told.next[cause], totals);
        told.number[cause].store(number.wrapping_add(1), std::sync::atomic::Ordering::Release);
    }

    /// Whether the producer is gone. What it committed before can be taken after this has said yes.
    pub(super) fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire)
    }

    /// Whether everything that was committed has been taken and released.
    pub(super) fn is_empty(&self) -> bool {
        self.shared.lane.words().tail.0.load(Ordering::Acquire) == self.head
    }
}

fn load(counters: &[std::sync::atomic::AtomicU64; 3]) -> [u64; 3] {
    [0, 1, 2].map(|what: usize| counters[what].load(std::sync::atomic::Ordering::Acquire))
}

fn store(counters: &[std::sync::atomic::AtomicU64; 3], values: [u64; 3]) {
    counters.iter().zip(values).for_each(|(counter, value)| counter.store(value, std::sync::atomic::Ordering::Relaxed));
}

/// Length, schema and time of a record.
fn header_fields(header: &[u8]) -> (u32, u16, u64) {
    let header = header.first_chunk::<HEADER>().copied().unwrap_or([0; HEADER]);
    let number = u128::from_le_bytes(header);
    #[allow(clippy::cast_possible_truncation, reason = "takes the number apart")]
    (number as u32, (number >> 32) as u16, (number >> 64) as u64)
}

#[allow(clippy::cast_possible_truncation, reason = "the remainder is below a usize")]
fn place(position: u64, capacity: usize) -> usize {
    (position & (capacity as u64 - 1)) as usize
}

#[cfg(all(test, ringfence_loom))]
mod model;
#[cfg(all(test, not(ringfence_loom)))]
#[allow(clippy::cast_possible_truncation, clippy::expect_used)]
mod tests;
