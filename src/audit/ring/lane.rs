//! Where a ring lives: words that both ends share, a slot for each promise, and the bytes of the records.
//!
//! A lane lies in a mapping of a file that outlives the process (in tests also on the heap). All of it is plain words, so that another process can take
//! it up where this one was killed. What the layout relies on then: a killed thread has executed its stores in program order up to some
//! point and none after, so a store that publishes (`Release`) is seen only with everything before it. Nothing here speaks of power
//! loss; the file's owner makes sure that a mapping of an earlier boot is never taken up.

#[cfg(test)]
use std::cell::UnsafeCell;
use std::mem::size_of;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use memmap2::MmapRaw;

#[cfg(test)]
use super::HEADER;
use super::sync;
use crate::limits::AUDIT_CREDIT_BYTES;

/// Octets of a lane before its slots: one page.
const WORDS_BYTES: usize = 4096;

/// Bytes on lines of their own: 128 octets, because processors fetch lines in pairs.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub(super) struct Line<T>(pub(super) T);

/// What both ends share.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Words {
    /// Written by the producer: everything before is committed.
    pub(super) tail: Line<sync::AtomicU64>,
    /// Written by the consumer: everything before may be overwritten.
    pub(super) head: Line<sync::AtomicU64>,
    pub(super) taken: Line<Taken>,
    /// Written by the producer: what it could not push, by cause and kind.
    pub(super) losses: Line<[[AtomicU64; 3]; 2]>,
    pub(super) told: Line<Told>,
    /// Whatever the producer's owner wants to know of it after its death.
    pub(super) label: Line<AtomicU64>,
}

/// What the consumer has taken but not yet put where it survives: the records from `from` to `to` have the numbers from `first` on. It
/// means something only while `to` is beyond the head.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Taken {
    pub(super) from: AtomicU64,
    pub(super) first: AtomicU64,
    pub(super) to: AtomicU64,
}

/// Which losses are on record, and which will be once the record with that number is.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Told {
    pub(super) totals: [[AtomicU64; 3]; 2],
    /// By cause: the record's number plus one, or 0; and the totals that it tells.
    pub(super) number: [AtomicU64; 2],
    pub(super) next: [[AtomicU64; 3]; 2],
}

const _: () = assert!(size_of::<Words>() <= WORDS_BYTES);

/// One promise. It is open while `opened` is committed and `closed` is not; the positions are the ends of the two records.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Slot {
    pub(super) opened: AtomicU64,
    pub(super) closed: AtomicU64,
    pub(super) label: AtomicU64,
    _zero: AtomicU64,
}

/// Sixteen octets, aligned, so that archives in the ring are.
#[cfg(test)]
#[derive(Debug)]
#[repr(C, align(16))]
struct Block(UnsafeCell<[u8; HEADER]>);

/// Octets of a lane whose ring has `bytes`.
pub(super) const fn lane_bytes(bytes: usize) -> usize {
    WORDS_BYTES + slots(bytes) * size_of::<Slot>() + bytes
}

/// More promises than a ring of `bytes` can have given.
const fn slots(bytes: usize) -> usize {
    bytes / AUDIT_CREDIT_BYTES
}

/// The memory of one ring, and what keeps it alive.
#[derive(Debug)]
pub(super) struct Lane {
    words: *const Words,
    slots: *const Slot,
    data: *mut u8,
    bytes: usize,
    _owner: Owner,
    /// One cell a block, through which the model checker sees who touches it and when.
    #[cfg(all(test, ringfence_loom))]
    shadows: Box<[loom::cell::UnsafeCell<()>]>,
}

#[derive(Debug)]
#[allow(dead_code, reason = "held, not read: the pointers of the lane lead into it")]
enum Owner {
    #[cfg(test)]
    Heap(Vec<Words>, Vec<Slot>, Vec<Block>),
    Mapping(Arc<MmapRaw>),
}

// SAFETY: the pointers lead into memory that `_owner` keeps alive and nobody moves. Words and slots are atomics; the data are reached only
// through `slot` and `view`, whose callers make sure that no byte is reached from two threads at once unless both only read.
unsafe impl Send for Lane {}
// SAFETY: as above.
unsafe impl Sync for Lane {}

impl Lane {
    /// Zeroed memory on the heap, for a ring of `bytes`, a power of two.
    #[cfg(test)]
    pub(super) fn heap(bytes: usize) -> Self {
        let words = vec![Words::default()];
        let slots: Vec<Slot> = (0..slots(bytes)).map(|_| Slot::default()).collect();
        let blocks: Vec<Block> = (0..bytes / HEADER).map(|_| Block(UnsafeCell::new([0; HEADER]))).collect();
        Self {
            words: words.as_ptr(),
            slots: slots.as_ptr(),
            data: blocks.as_ptr().cast_mut().cast(),
            bytes,
            #[cfg(all(test, ringfence_loom))]
            shadows: (0..bytes / HEADER).map(|_| loom::cell::UnsafeCell::new(())).collect(),
            _owner: Owner::Heap(words, slots, blocks),
        }
    }

    /// The lane at `offset` of a mapping; `None` when it does not lie within, or not at the start of a page.
    ///
    /// The caller makes sure that nobody else uses that part of the file, as the folder of rings does with a lock.
    pub(super) fn mapped(map: &Arc<MmapRaw>, offset: usize, bytes: usize) -> Option<Self> {
        // The model checker's atomics are no plain words.
        if cfg!(all(test, ringfence_loom)) {
            return None;
        }
        let fits = offset.checked_add(lane_bytes(bytes)).is_some_and(|end| end <= map.len());
        if !fits || !offset.is_multiple_of(WORDS_BYTES) || !bytes.is_power_of_two() || bytes < WORDS_BYTES {
            return None;
        }
        let base = map.as_mut_ptr().wrapping_add(offset);
        let slots_at = base.wrapping_add(WORDS_BYTES);
        let data = slots_at.wrapping_add(slots(bytes) * size_of::<Slot>());
        Some(Self {
            words: base.cast_const().cast(),
            slots: slots_at.cast_const().cast(),
            data,
            bytes,
            #[cfg(all(test, ringfence_loom))]
            shadows: Box::default(),
            _owner: Owner::Mapping(Arc::clone(map)),
        })
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn words(&self) -> &Words {
        // SAFETY: aligned (a vector's element, or the start of a page), alive as long as `_owner`, and atomics, for which any bytes do.
        unsafe { &*self.words }
    }

    pub(super) fn slots(&self) -> &[Slot] {
        // SAFETY: as for `words`; the lane has so many slots.
        unsafe { std::slice::from_raw_parts(self.slots, slots(self.bytes)) }
    }

    /// Touches every page, so that the first records do not wait for the kernel. For a lane that nobody uses yet.
    pub(super) fn fault_in(&self) {
        // SAFETY: the data lie within the memory, and nobody else has the lane yet.
        unsafe { std::ptr::write_bytes(self.data, 0, self.bytes) }
    }

    /// # Safety
    ///
    /// `[start, start + length)` lies within the data, and nothing else reads or writes it while the slice lives.
    #[allow(
        clippy::mut_from_ref,
        reason = "the caller owns the range; the memory is reached through raw pointers alone"
    )]
    pub(super) unsafe fn slot(&self, start: usize, length: usize) -> &mut [u8] {
        debug_assert!(start + length <= self.bytes);
        #[cfg(all(test, ringfence_loom))]
        self.shadows[start / HEADER..(start + length).div_ceil(HEADER)]
            .iter()
            .for_each(|shadow| shadow.with_mut(|_| ()));
        // SAFETY: within the allocation, as the caller makes sure.
        let first = unsafe { self.data.add(start) };
        // SAFETY: initialised at construction, in bounds and unaliased, as the caller makes sure; octets need no alignment.
        unsafe { std::slice::from_raw_parts_mut(first, length) }
    }

    /// Asks the processor for the line at `place`, to be written soon: the other end has read it last, and has it.
    #[inline]
    pub(super) fn warm(&self, place: usize) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a hint, which reads and writes nothing and cannot fault, whatever the address; every x86-64 processor decodes it.
        unsafe {
            std::arch::asm!("prefetchw [{}]", in(reg) self.data.wrapping_add(place), options(nostack, preserves_flags));
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = place;
    }

    /// # Safety
    ///
    /// `[start, start + length)` lies within the data, and nothing writes it while the slice lives.
    pub(super) unsafe fn view(&self, start: usize, length: usize) -> &[u8] {
        debug_assert!(start + length <= self.bytes);
        #[cfg(all(test, ringfence_loom))]
        self.shadows[start / HEADER..(start + length).div_ceil(HEADER)].iter().for_each(|shadow| shadow.with(|_| ()));
        // SAFETY: within the allocation, as the caller makes sure.
        let first = unsafe { self.data.add(start) };
        // SAFETY: initialised at construction, in bounds and not written meanwhile, as the caller makes sure.
        unsafe { std::slice::from_raw_parts(first, length) }
    }
}
