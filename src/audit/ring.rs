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
//! This file knows nothing of records, and it is the one place of this floor with `unsafe`: writing an archive in place needs bytes that
//! two threads share. The producer owns `[tail, head + capacity)`, the consumer `[head, tail)`; a release store hands bytes over, an
//! acquire load takes them.

use std::cell::UnsafeCell;
use std::sync::Arc;

use crossbeam::utils::CachePadded;

use self::sync::{AtomicBool, AtomicU64, Ordering};
use crate::limits::{AUDIT_CREDIT_BYTES, AUDIT_RING_BYTES_MAX, AUDIT_RING_BYTES_MIN};

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

/// What a push may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// A record that nothing follows.
    Plain,
    /// A record that will be followed by one promised record.
    Opening,
    /// The promised record.
    Promised,
}

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

/// The producer's end. One thread at a time.
#[derive(Debug)]
pub(super) struct Tail {
    shared: Arc<Shared>,
    tail: u64,
    /// The consumer's position when it was last looked at: a lower bound, so that the shared line is read only when room seems short.
    head_seen: u64,
    promised: u64,
}

/// The consumer's end. One thread at a time.
#[derive(Debug)]
pub(super) struct Head {
    shared: Arc<Shared>,
    head: u64,
}

#[derive(Debug)]
struct Shared {
    tail: CachePadded<AtomicU64>,
    head: CachePadded<AtomicU64>,
    closed: AtomicBool,
    memory: Memory,
}

/// A ring of `bytes`, rounded up to a power of two within the limits, and its two ends.
pub(super) fn ring(bytes: usize) -> (Tail, Head) {
    sized(bytes.clamp(AUDIT_RING_BYTES_MIN, AUDIT_RING_BYTES_MAX).next_power_of_two())
}

fn sized(bytes: usize) -> (Tail, Head) {
    let shared = Arc::new(Shared {
        tail: CachePadded::new(AtomicU64::new(0)),
        head: CachePadded::new(AtomicU64::new(0)),
        closed: AtomicBool::new(false),
        memory: Memory::new(bytes),
    });
    (Tail { shared: Arc::clone(&shared), tail: 0, head_seen: 0, promised: 0 }, Head { shared, head: 0 })
}

impl Tail {
    /// Reserves room for a payload of at most `payload_max` octets, lets `write` fill it, and commits what it says it wrote. `write` sees
    /// old bytes of the ring and returns the payload's length; `None`, or a length beyond its slice, takes the reservation back.
    #[inline]
    pub(super) fn push(
        &mut self,
        claim: Claim,
        payload_max: usize,
        time: u64,
        schema: u16,
        write: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> Result<(), Full> {
        let capacity = self.shared.memory.bytes();
        let place = place(self.tail, capacity);
        let most = HEADER + payload_max.next_multiple_of(HEADER);
        let padding = if capacity - place < most { capacity - place } else { 0 };
        let promised = match claim {
            Claim::Plain => self.promised + CREDIT,
            Claim::Opening => self.promised + 2 * CREDIT,
            Claim::Promised => self.promised.saturating_sub(CREDIT),
        };
        if !self.has_room((padding + most) as u64 + promised) {
            return Err(Full);
        }

        let start = if padding == 0 { place } else { 0 };
        // SAFETY: `[start, start + most)` lies within the memory and within `[tail, head + capacity)`, which only this end touches: it is
        // borrowed mutably, and the consumer reads no byte at or beyond the `tail` that it has loaded.
        let slot = unsafe { self.shared.memory.slot(start, most) };
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
            let mark = unsafe { self.shared.memory.slot(place, HEADER) };
            mark[..4].copy_from_slice(&PADDING.to_le_bytes());
        }

        self.tail += (padding + HEADER + length.next_multiple_of(HEADER)) as u64;
        self.promised = match claim {
            Claim::Plain => self.promised,
            Claim::Opening => self.promised + CREDIT,
            Claim::Promised => self.promised.saturating_sub(CREDIT),
        };
        self.shared.tail.store(self.tail, Ordering::Release);
        Ok(())
    }

    fn has_room(&mut self, need: u64) -> bool {
        let capacity = self.shared.memory.bytes() as u64;
        if self.tail + need <= self.head_seen + capacity {
            return true;
        }
        self.head_seen = self.shared.head.load(Ordering::Acquire);
        self.tail + need <= self.head_seen + capacity
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
    }
}

impl Head {
    /// Hands committed records to `each`, oldest first, until it has seen `bytes_max` of the ring or there is none left, and gives their
    /// room back. Returns the bytes of the ring that became free.
    pub(super) fn drain(&mut self, bytes_max: usize, mut each: impl FnMut(Committed<'_>)) -> usize {
        let capacity = self.shared.memory.bytes();
        let tail = self.shared.tail.load(Ordering::Acquire);
        let from = self.head;
        while self.head < tail && self.head - from < bytes_max as u64 {
            let place = place(self.head, capacity);
            // SAFETY: `[head, tail)` was committed by the release store that the load above acquired, and the producer does not touch it
            // again before the release store below. Positions are multiples of 16, so the header lies within the memory.
            let header = unsafe { self.shared.memory.view(place, HEADER) };
            let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
            if length == PADDING {
                self.head += (capacity - place) as u64;
                continue;
            }
            let length = length as usize;
            let schema = u16::from_le_bytes([header[4], header[5]]);
            let mut time = [0; 8];
            time.copy_from_slice(&header[8..]);
            // SAFETY: as above; the producer committed exactly this length, contiguous.
            let payload = unsafe { self.shared.memory.view(place + HEADER, length) };
            each(Committed { time: u64::from_le_bytes(time), schema, payload });
            self.head += (HEADER + length.next_multiple_of(HEADER)) as u64;
        }
        self.shared.head.store(self.head, Ordering::Release);
        usize::try_from(self.head - from).unwrap_or(usize::MAX)
    }

    /// Whether the producer is gone. What it committed before can be drained after this has said yes.
    pub(super) fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire)
    }

    /// Whether everything that was committed has been drained.
    pub(super) fn is_empty(&self) -> bool {
        self.shared.tail.load(Ordering::Acquire) == self.head
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the remainder is below a usize")]
fn place(position: u64, capacity: usize) -> usize {
    (position & (capacity as u64 - 1)) as usize
}

/// Sixteen octets, aligned, so that archives in the ring are.
#[derive(Debug)]
#[repr(C, align(16))]
struct Block(UnsafeCell<[u8; HEADER]>);

/// The ring's bytes. Zeroed at start, which also faults every page in before the first record.
#[derive(Debug)]
struct Memory {
    blocks: Box<[Block]>,
    /// One cell a block, through which the model checker sees who touches it and when.
    #[cfg(all(test, ringfence_loom))]
    shadows: Box<[loom::cell::UnsafeCell<()>]>,
}

// SAFETY: the blocks are reached only through `slot` and `view`, whose callers make sure that no byte is reached from two threads at once
// unless both only read.
unsafe impl Sync for Memory {}

impl Memory {
    fn new(bytes: usize) -> Self {
        Self {
            blocks: (0..bytes / HEADER).map(|_| Block(UnsafeCell::new([0; HEADER]))).collect(),
            #[cfg(all(test, ringfence_loom))]
            shadows: (0..bytes / HEADER).map(|_| loom::cell::UnsafeCell::new(())).collect(),
        }
    }

    fn bytes(&self) -> usize {
        self.blocks.len() * HEADER
    }

    /// # Safety
    ///
    /// `[start, start + length)` lies within the memory, and nothing else reads or writes it while the slice lives.
    #[allow(
        clippy::mut_from_ref,
        reason = "the caller owns the range; the cells make writing through a shared borrow sound"
    )]
    unsafe fn slot(&self, start: usize, length: usize) -> &mut [u8] {
        debug_assert!(start + length <= self.bytes());
        #[cfg(all(test, ringfence_loom))]
        self.shadows[start / HEADER..(start + length).div_ceil(HEADER)]
            .iter()
            .for_each(|shadow| shadow.with_mut(|_| ()));
        let base = self.blocks.as_ptr().cast_mut().cast::<u8>();
        // SAFETY: within the allocation, as the caller makes sure.
        let first = unsafe { base.add(start) };
        // SAFETY: initialised at construction, in bounds and unaliased, as the caller makes sure; octets need no alignment.
        unsafe { std::slice::from_raw_parts_mut(first, length) }
    }

    /// # Safety
    ///
    /// `[start, start + length)` lies within the memory, and nothing writes it while the slice lives.
    unsafe fn view(&self, start: usize, length: usize) -> &[u8] {
        debug_assert!(start + length <= self.bytes());
        #[cfg(all(test, ringfence_loom))]
        self.shadows[start / HEADER..(start + length).div_ceil(HEADER)].iter().for_each(|shadow| shadow.with(|_| ()));
        let base = self.blocks.as_ptr().cast::<u8>();
        // SAFETY: within the allocation, as the caller makes sure.
        let first = unsafe { base.add(start) };
        // SAFETY: initialised at construction, in bounds and not written meanwhile, as the caller makes sure.
        unsafe { std::slice::from_raw_parts(first, length) }
    }
}

#[cfg(all(test, ringfence_loom))]
mod model;
#[cfg(all(test, not(ringfence_loom)))]
#[allow(clippy::cast_possible_truncation)]
mod tests;
