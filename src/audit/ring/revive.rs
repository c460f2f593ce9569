//! Takes up a ring that a killed process left in a mapping.
//!
//! Nothing in the memory is believed before it is checked: after [`revive()`] every position lies within the ring and every record within its
//! bounds, so that the ends are as sound as those of a new ring. What the records say is for the caller's check.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use memmap2::MmapRaw;

use super::lane::{self, Lane};
use super::sync::{AtomicBool, Ordering};
use super::{CREDIT, Committed, HEADER, Head, PADDING, Promise, Shared, Tail, ends, header_fields, load, place, store};

/// Octets that a ring of `bytes` takes of a file: whole pages.
pub(in super::super) fn lane_bytes(bytes: usize) -> usize {
    lane::lane_bytes(bytes)
}

/// A new ring at `offset` of a mapping that holds zeros and that nobody else uses.
pub(in super::super) fn create(map: &Arc<MmapRaw>, offset: usize, bytes: usize, label: u64) -> Option<(Tail, Head)> {
    let lane = Lane::mapped(map, offset, bytes)?;
    lane.fault_in();
    lane.words().label.0.store(label, Relaxed);
    Some(ends(lane))
}

/// What a killed process left of a ring.
#[derive(Debug)]
pub(in super::super) struct Revived {
    pub(in super::super) tail: Tail,
    pub(in super::super) head: Head,
    pub(in super::super) label: u64,
}

/// The ring at `offset` of a mapping that nobody else uses any more. `None` when it is not as a ring can be, or when a record that is still
/// in it does not pass `is_whole`.
pub(in super::super) fn revive(
    map: &Arc<MmapRaw>,
    offset: usize,
    bytes: usize,
    is_whole: impl FnMut(Committed<'_>) -> bool,
) -> Option<Revived> {
    let lane = Lane::mapped(map, offset, bytes)?;
    let words = lane.words();
    let (tail, head) = (words.tail.0.load(Ordering::Acquire), words.head.0.load(Ordering::Acquire));
    let label = words.label.0.load(Relaxed);
    let told = load(&words.told.0.totals[0]);
    let told = [told, load(&words.told.0.totals[1])];
    check(&lane, is_whole)?;

    let is_open = |number: &u32| lane.slots().get(*number as usize).is_some_and(|slot| slot.is_open(tail));
    let numbers = 0..u32::try_from(lane.slots().len()).ok()?;
    let (open, mut free): (Vec<u32>, Vec<u32>) = numbers.partition(is_open);
    free.reverse();
    let promised = CREDIT * open.len() as u64;
    let shared = Arc::new(Shared { lane, closed: AtomicBool::new(false) });
    let tail = Tail { shared: Arc::clone(&shared), tail, head_seen: head, promised, free };
    Some(Revived { tail, head: Head { shared, head, taken: head, told, telling: [None; 2] }, label })
}

/// Whether all positions are possible and every record that may still be read lies within its bounds.
fn check(lane: &Lane, mut is_whole: impl FnMut(Committed<'_>) -> bool) -> Option<()> {
    let words = lane.words();
    let (tail, head) = (words.tail.0.load(Ordering::Acquire), words.head.0.load(Ordering::Acquire));
    let taken = &words.taken.0;
    let (from, to) = (taken.from.load(Acquire), taken.to.load(Acquire));
    // A mark that means something: records before the head may have to be counted.
    let marked = to > head;
    let start = if marked { from } else { head };
    let possible = start <= head
        && head <= tail
        && tail - start <= lane.bytes() as u64
        && (!marked || to <= tail)
        && tail < u64::MAX / 2
        && [start, head, tail].iter().all(|position| position % HEADER as u64 == 0);
    if !possible {
        return None;
    }
    let mut met = [start == head, !marked];
    let mut at = start;
    while at < tail {
        let (committed, next) = record(lane, at, tail)?;
        if let Some(committed) = committed
            && !is_whole(committed)
        {
            return None;
        }
        at = next;
        met = [met[0] || at == head, met[1] || at == to];
    }
    (at == tail && met == [true, true]).then_some(())
}

/// The record at a position, or the padding there, and where the next one starts.
fn record(lane: &Lane, at: u64, tail: u64) -> Option<(Option<Committed<'_>>, u64)> {
    let (place, capacity) = (place(at, lane.bytes()), lane.bytes());
    // SAFETY: positions are multiples of 16, so the header lies within the memory; nobody writes it, as `revive`'s caller makes sure.
    let (length, schema, time) = header_fields(unsafe { lane.view(place, HEADER) });
    if length == PADDING {
        let next = at + (capacity - place) as u64;
        return (next <= tail).then_some((None, next));
    }
    let length = length as usize;
    if length > capacity - place - HEADER {
        return None;
    }
    let next = at + (HEADER + length.next_multiple_of(HEADER)) as u64;
    // SAFETY: within the memory, by the comparison above; nobody writes it, as above.
    let payload = unsafe { lane.view(place + HEADER, length) };
    (next <= tail).then_some((Some(Committed { time, schema, payload }), next))
}

impl lane::Slot {
    /// Whether its opening is committed and what it promised is not.
    fn is_open(&self, tail: u64) -> bool {
        let (opened, closed) = (self.opened.load(Acquire), self.closed.load(Acquire));
        opened != 0 && opened <= tail && !(closed != 0 && closed <= tail)
    }
}

impl Tail {
    /// The promises that nobody kept, and the labels of their openings, oldest first.
    pub(in super::super) fn open(&self) -> Vec<(Promise, u64)> {
        let slots = (0..).zip(self.shared.lane.slots()).filter(|(_, slot)| slot.is_open(self.tail));
        let mut open: Vec<_> = slots
            .map(|(number, slot)| (slot.opened.load(Acquire), Promise(number), slot.label.load(Acquire)))
            .collect();
        open.sort_unstable_by_key(|(opened, ..)| *opened);
        open.into_iter().map(|(_, promise, label)| (promise, label)).collect()
    }
}

impl Head {
    /// Goes on after the last record that is safe: all with a number below `next` are. Returns how many records need not be taken again.
    ///
    /// It may die as well, at any instant, and be called again: the head is moved before the mark is taken away, and the mark counts from
    /// where its numbers begin.
    pub(in super::super) fn resume(&mut self, next: u64) -> u64 {
        let words = self.shared.lane.words();
        let taken = &words.taken.0;
        let (from, first, to) = (taken.from.load(Acquire), taken.first.load(Acquire), taken.to.load(Acquire));
        let mut safe = 0;
        if to > self.head {
            let tail = words.tail.0.load(Ordering::Acquire);
            let mut at = from;
            while at < to && first.saturating_add(safe) < next {
                let Some((committed, after)) = record(&self.shared.lane, at, tail) else { break };
                safe += u64::from(committed.is_some());
                at = after;
            }
            self.head = self.head.max(at);
            words.head.0.store(self.head, Ordering::Release);
            taken.to.store(0, Release);
        }
        self.taken = self.head;
        for cause in 0..2 {
            let number = words.told.0.number[cause].load(Acquire);
            if number != 0 && number <= next {
                self.told[cause] = load(&words.told.0.next[cause]);
                store(&words.told.0.totals[cause], self.told[cause]);
            }
            words.told.0.number[cause].store(0, Release);
        }
        safe
    }
}
