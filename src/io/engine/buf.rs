//! Receive buffers: a fixed pool that the kernel (io_uring) or the engine (epoll) fills, and the handles to filled ones.
//!
//! A [`Buf`] is counted without allocating; the buffer goes back to the pool when its last handle is dropped. When all are in use
//! a bounded number of heap buffers stands in; beyond that, receives wait until one comes back. The invariant all `unsafe` here
//! rests on: a pool buffer is either the kernel's (or free), or it has handles; while it has handles nobody writes to it.

use std::cell::{Cell, RefCell};
use std::io;
use std::ops::Deref;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::task::{Context, Waker};

use io_uring::types::BufRingEntry;

use super::sys::Mapping;
use crate::limits::RECEIVE_BUFFERS_OVERFLOW_MAX;

/// Received or heap bytes. Cheap to clone and to split; the default is empty and owns nothing.
#[derive(Clone, Default)]
pub struct Buf(Repr);

#[derive(Default)]
enum Repr {
    #[default]
    Empty,
    Pooled {
        pool: Rc<Pool>,
        index: u16,
        start: u32,
        end: u32,
    },
    Heap {
        bytes: Rc<Heap>,
        start: usize,
        end: usize,
    },
}

/// Heap bytes; those that stand in for a pool buffer are counted there.
struct Heap {
    bytes: Vec<u8>,
    overflow_of: Option<Rc<Pool>>,
}

impl Buf {
    /// Drops the first `count` bytes; at most all of them. Without bytes a handle holds no buffer: a connection keeps its last one for as
    /// long as it is open, and buffers are few.
    pub fn advance(&mut self, count: usize) {
        match &mut self.0 {
            Repr::Empty => {}
            Repr::Pooled { start, end, .. } => *start = (*end).min(start.saturating_add(narrow(count))),
            Repr::Heap { start, end, .. } => *start = (*end).min(start.saturating_add(count)),
        }
        if self.is_empty() {
            self.0 = Repr::Empty;
        }
    }

    /// The same bytes; where the engine runs short of receive buffers, in memory of their own. For bytes whose fate hangs on a peer.
    #[must_use]
    pub fn settled_if_scarce(self) -> Buf {
        let scarce = match &self.0 {
            Repr::Empty => false,
            Repr::Pooled { pool, .. } => 2 * pool.taken.get() > pool.uses.len(),
            Repr::Heap { bytes, .. } => bytes.overflow_of.is_some(),
        };
        if scarce { Buf::from(self.to_vec()) } else { self }
    }

    /// Keeps the first `count` bytes only.
    pub fn truncate(&mut self, count: usize) {
        match &mut self.0 {
            Repr::Empty => {}
            Repr::Pooled { start, end, .. } => *end = (*end).min(start.saturating_add(narrow(count))),
            Repr::Heap { start, end, .. } => *end = (*end).min(start.saturating_add(count)),
        }
    }

    /// Splits off the first `count` bytes (at most all of them); `self` keeps the rest. Copies nothing.
    #[must_use]
    pub fn split_to(&mut self, count: usize) -> Buf {
        let mut front = self.clone();
        front.truncate(count);
        self.advance(count);
        front
    }
}

impl Clone for Repr {
    fn clone(&self) -> Repr {
        match self {
            Repr::Empty => Repr::Empty,
            Repr::Pooled { pool, index, start, end } => {
                let uses = &pool.uses[usize::from(*index)];
                uses.set(uses.get() + 1);
                Repr::Pooled { pool: pool.clone(), index: *index, start: *start, end: *end }
            }
            Repr::Heap { bytes, start, end } => Repr::Heap { bytes: bytes.clone(), start: *start, end: *end },
        }
    }
}

impl Drop for Repr {
    fn drop(&mut self) {
        let Repr::Pooled { pool, index, .. } = self else { return };
        let uses = &pool.uses[usize::from(*index)];
        uses.set(uses.get() - 1);
        if uses.get() == 0 {
            pool.release(*index);
        }
    }
}

impl Deref for Buf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Repr::Empty => &[],
            Repr::Pooled { pool, index, start, end } => {
                let first = pool.address(*index, *start);
                // SAFETY: within one buffer of the mapping, which `pool` keeps alive. `filled` has seen the kernel report these bytes
                // as written, and nobody writes to a buffer that has handles.
                unsafe { std::slice::from_raw_parts(first.as_ptr(), (end - start) as usize) }
            }
            Repr::Heap { bytes, start, end } => &bytes.bytes[*start..*end],
        }
    }
}

impl std::fmt::Debug for Buf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buf({} bytes)", self.len())
    }
}

impl From<Vec<u8>> for Buf {
    /// Takes the vector as it is; one allocation, for the count.
    fn from(bytes: Vec<u8>) -> Buf {
        let end = bytes.len();
        Buf(Repr::Heap { bytes: Rc::new(Heap { bytes, overflow_of: None }), start: 0, end })
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        if let Some(pool) = &self.overflow_of {
            pool.overflow.set(pool.overflow.get() - 1);
            pool.feed();
        }
    }
}

/// The receive buffers of one engine.
pub(super) struct Pool {
    memory: Mapping,
    buffer_bytes: u32,
    /// Handles per buffer; 0 for a free one and for one the kernel has.
    uses: Box<[Cell<u32>]>,
    /// Buffers that have handles.
    taken: Cell<usize>,
    overflow: Cell<usize>,
    home: Home,
    /// Receives that found no buffer at all.
    starved: RefCell<Vec<Waker>>,
}

/// Where free buffers wait.
enum Home {
    Kernel(BufferRing),
    List(RefCell<Vec<u16>>),
}

impl Pool {
    /// A pool whose free buffers lie in a ring shared with the kernel (io_uring_register_buf_ring(3)), still to be registered.
    pub(super) fn shared(count: u16, buffer_bytes: u32) -> io::Result<Pool> {
        let ring =
            BufferRing { entries: Mapping::anonymous(usize::from(count) * ENTRY_BYTES)?, count, tail: Cell::new(0) };
        let pool = Pool::new(count, buffer_bytes, Home::Kernel(ring))?;
        (0..count).for_each(|index| pool.give_to_kernel(index));
        Ok(pool)
    }

    /// A pool whose free buffers lie in a list: the one used last is used next, while it is still in the cache.
    pub(super) fn listed(count: u16, buffer_bytes: u32) -> io::Result<Pool> {
        Pool::new(count, buffer_bytes, Home::List(RefCell::new((0..count).rev().collect())))
    }

    fn new(count: u16, buffer_bytes: u32, home: Home) -> io::Result<Pool> {
        Ok(Pool {
            memory: Mapping::anonymous(usize::from(count) * buffer_bytes as usize)?,
            buffer_bytes,
            uses: (0..count).map(|_| Cell::new(0)).collect(),
            taken: Cell::new(0),
            overflow: Cell::new(0),
            home,
            starved: RefCell::new(Vec::new()),
        })
    }

    /// Address of the ring of free buffers and its length, for registration.
    pub(super) fn ring(&self) -> Option<(u64, u16)> {
        match &self.home {
            Home::Kernel(ring) => Some((ring.entries.start().as_ptr().expose_provenance() as u64, ring.count)),
            Home::List(_) => None,
        }
    }

    pub(super) fn buffer_bytes(&self) -> usize {
        self.buffer_bytes as usize
    }

    /// A handle to the buffer that the kernel has just taken from the ring and filled with `length` bytes.
    pub(super) fn filled(self: &Rc<Pool>, index: u16, length: usize) -> Buf {
        let end = narrow(length);
        assert!(end <= self.buffer_bytes && usize::from(index) < self.uses.len(), "the kernel names a buffer of ours");
        self.uses[usize::from(index)].set(1);
        self.taken.set(self.taken.get() + 1);
        Buf(Repr::Pooled { pool: self.clone(), index, start: 0, end })
    }

    /// Lends a free buffer (or a heap one) to `fill`, which reports how many bytes it wrote. `None`: there is none to lend.
    pub(super) fn fill(self: &Rc<Pool>, fill: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> Option<io::Result<Buf>> {
        let Some(index) = self.pop() else {
            let mut bytes = self.overflow()?;
            let result = fill(&mut bytes);
            let buf = self.overflowed(bytes, *result.as_ref().unwrap_or(&0));
            return Some(result.map(|_| buf));
        };
        // A handle from here on, so that a panic or an error in `fill` gives the buffer back.
        let mut buf = self.filled(index, self.buffer_bytes());
        let first = self.address(index, 0);
        // SAFETY: the buffer was free, its only handle is `buf`, which nobody reads before the slice is gone; the mapping is zeroed.
        let room = unsafe { std::slice::from_raw_parts_mut(first.as_ptr(), self.buffer_bytes()) };
        let result = fill(room);
        buf.truncate(*result.as_ref().unwrap_or(&0));
        Some(result.map(|_| buf))
    }

    fn pop(&self) -> Option<u16> {
        match &self.home {
            Home::Kernel(_) => None,
            Home::List(free) => free.borrow_mut().pop(),
        }
    }

    /// A heap buffer in place of a pool one, while the bound allows it; to be given back through [`Pool::overflowed`].
    pub(super) fn overflow(&self) -> Option<Vec<u8>> {
        let count = self.overflow.get();
        if count >= RECEIVE_BUFFERS_OVERFLOW_MAX {
            return None;
        }
        self.overflow.set(count + 1);
        Some(vec![0; self.buffer_bytes()])
    }

    /// Turns a heap buffer of [`Pool::overflow`], `length` bytes of it filled, into a handle.
    pub(super) fn overflowed(self: &Rc<Pool>, bytes: Vec<u8>, length: usize) -> Buf {
        let end = length.min(bytes.len());
        Buf(Repr::Heap { bytes: Rc::new(Heap { bytes, overflow_of: Some(self.clone()) }), start: 0, end })
    }

    /// Whether some buffer has no handles. The kernel may be about to fill it.
    pub(super) fn has_free(&self) -> bool {
        self.taken.get() < self.uses.len()
    }

    /// Wakes the caller once some buffer comes back.
    pub(super) fn starve(&self, cx: &Context<'_>) {
        self.starve_waker(cx.waker());
    }

    pub(super) fn starve_waker(&self, waker: &Waker) {
        self.starved.borrow_mut().push(waker.clone());
    }

    fn release(&self, index: u16) {
        self.taken.set(self.taken.get() - 1);
        match &self.home {
            Home::Kernel(_) => self.give_to_kernel(index),
            Home::List(free) => free.borrow_mut().push(index),
        }
        self.feed();
    }

    /// All of the starved are woken: one alone might have lost interest.
    fn feed(&self) {
        if !self.starved.borrow().is_empty() {
            let starved = self.starved.take();
            starved.into_iter().for_each(Waker::wake);
        }
    }

    fn give_to_kernel(&self, index: u16) {
        if let Home::Kernel(ring) = &self.home {
            ring.put(index, self.address(index, 0), self.buffer_bytes);
        }
    }

    fn address(&self, index: u16, offset: u32) -> NonNull<u8> {
        debug_assert!(usize::from(index) < self.uses.len() && offset <= self.buffer_bytes);
        let distance = usize::from(index) * self.buffer_bytes as usize + offset as usize;
        // SAFETY: `index` is below the count and `offset` at most the size of a buffer, so the result stays within the mapping.
        unsafe { self.memory.start().add(distance) }
    }
}

/// The free buffers' ring: we write entries and then its tail, the kernel reads them and keeps its own head.
struct BufferRing {
    entries: Mapping,
    count: u16,
    tail: Cell<u16>,
}

impl BufferRing {
    fn put(&self, index: u16, address: NonNull<u8>, bytes: u32) {
        let tail = self.tail.get();
        let base: NonNull<BufRingEntry> = self.entries.start().cast();
        // SAFETY: the masked index is below the count, and the mapping holds `count` entries.
        let slot = unsafe { base.add(usize::from(tail & (self.count - 1))) };
        // SAFETY: at most `count` buffers exist, so the kernel has consumed this entry, and it reads it again only after the tail
        // below has moved; only this thread writes entries. Zeroed memory is a valid entry.
        let entry = unsafe { &mut *slot.as_ptr() };
        entry.set_addr(address.as_ptr().expose_provenance() as u64);
        entry.set_len(bytes);
        entry.set_bid(index);
        self.tail.set(tail.wrapping_add(1));
        // SAFETY: `base` is the first entry of the ring; its last field holds the tail.
        let shared = unsafe { BufRingEntry::tail(base.as_ptr()) };
        // SAFETY: aligned, alive as long as the mapping, and the kernel only reads it, with acquire semantics.
        let shared = unsafe { AtomicU16::from_ptr(shared.cast_mut()) };
        shared.store(self.tail.get(), Ordering::Release);
    }
}

/// Positions within a pool buffer fit 32 bits; longer counts mean "all of it".
fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

const ENTRY_BYTES: usize = size_of::<BufRingEntry>();

#[cfg(test)]
mod tests;
