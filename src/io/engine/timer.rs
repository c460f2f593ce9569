//! Timers: a hierarchical wheel of milliseconds, and the futures that wait on it.
//!
//! Insert and cancel are O(1) and allocate only when more timers are set than ever before. The wheel knows no clock: the
//! executor tells it the time once a turn. A timer never fires before its time as the turns see it; it fires up to one
//! millisecond, plus the turn under way, after it.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::executor::{Core, current};
use crate::limits::TIMER_MILLISECONDS_MAX;

/// Waits for at least `duration`, counted from [`super::now`].
pub async fn sleep(duration: Duration) {
    Sleep::new(duration).await;
}

/// The deadline passed first; the future it was set for has been dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed;

impl std::fmt::Display for Elapsed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the deadline has passed")
    }
}

impl std::error::Error for Elapsed {}

/// Runs `future` for at most `duration`, counted from [`super::now`].
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    // What is ready at once, as most sends are, needs no timer.
    let mut sleep = None;
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending => {
            let sleep = sleep.get_or_insert_with(|| Sleep::new(duration));
            Pin::new(sleep).poll(cx).map(|()| Err(Elapsed))
        }
    })
    .await
}

struct Sleep {
    core: Rc<Core>,
    when: u64,
    timer: Option<u32>,
}

impl Sleep {
    fn new(duration: Duration) -> Sleep {
        let core = current();
        let when = core.milliseconds_after(duration);
        Sleep { core, when, timer: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Sleep { core, when, timer } = &mut *self;
        let mut wheel = core.timers.borrow_mut();
        if *when <= wheel.elapsed {
            return Poll::Ready(());
        }
        match *timer {
            Some(timer) => wheel.renew(timer, cx.waker()),
            None => *timer = Some(wheel.insert(*when, cx.waker())),
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer {
            self.core.timers.borrow_mut().remove(timer);
        }
    }
}

/// Six levels of 64 slots; a slot of level n spans 64^n milliseconds.
pub(super) struct Wheel {
    /// Milliseconds the wheel has turned.
    elapsed: u64,
    levels: [Level; LEVELS],
    timers: Vec<Timer>,
    vacant: Vec<u32>,
}

struct Level {
    /// Bit n is set when slot n holds a timer.
    occupied: u64,
    heads: [u32; SLOTS],
}

struct Timer {
    when: u64,
    /// Where it hangs; `None` once it fired.
    place: Option<(usize, usize)>,
    previous: u32,
    next: u32,
    waker: Waker,
}

impl Wheel {
    pub(super) fn new() -> Wheel {
        let levels = std::array::from_fn(|_| Level { occupied: 0, heads: [NONE; SLOTS] });
        Wheel { elapsed: 0, levels, timers: Vec::new(), vacant: Vec::new() }
    }

    /// When the wheel wants to be turned next, in milliseconds; at or before the first timer.
    pub(super) fn next(&self) -> Option<u64> {
        self.next_slot().map(|(_, _, start)| start)
    }

    /// Turns the wheel to `now` and moves the wakers of all due timers into `due`.
    pub(super) fn turn(&mut self, now: u64, due: &mut Vec<Waker>) {
        while let Some((level, slot, start)) = self.next_slot() {
            if start > now {
                break;
            }
            self.elapsed = self.elapsed.max(start);
            let mut timer = std::mem::replace(&mut self.levels[level].heads[slot], NONE);
            self.levels[level].occupied &= !(1 << slot);
            while timer != NONE {
                let entry = &mut self.timers[timer as usize];
                let next = entry.next;
                if entry.when <= self.elapsed {
                    entry.place = None;
                    due.push(std::mem::replace(&mut entry.waker, Waker::noop().clone()));
                } else {
                    self.hang(timer);
                }
                timer = next;
            }
        }
        self.elapsed = self.elapsed.max(now);
    }

    /// How many timers are set.
    #[cfg(test)]
    pub(super) fn live(&self) -> usize {
        self.timers.len() - self.vacant.len()
    }

    fn insert(&mut self, when: u64, waker: &Waker) -> u32 {
        let when = when.min(self.elapsed + TIMER_MILLISECONDS_MAX);
        let timer = Timer { when, place: None, previous: NONE, next: NONE, waker: waker.clone() };
        let index = match self.vacant.pop() {
            Some(index) => {
                self.timers[index as usize] = timer;
                index
            }
            None => {
                let index = u32::try_from(self.timers.len()).unwrap_or(NONE);
                assert!(index < NONE, "more than 2^32 timers at once");
                self.timers.push(timer);
                index
            }
        };
        self.hang(index);
        index
    }

    fn renew(&mut self, timer: u32, waker: &Waker) {
        let entry = &mut self.timers[timer as usize];
        if !entry.waker.will_wake(waker) {
            entry.waker = waker.clone();
        }
    }

    fn remove(&mut self, timer: u32) {
        let entry = &mut self.timers[timer as usize];
        entry.waker = Waker::noop().clone();
        let (place, previous, next) = (entry.place.take(), entry.previous, entry.next);
        self.vacant.push(timer);
        let Some((level, slot)) = place else { return };
        if next != NONE {
            self.timers[next as usize].previous = previous;
        }
        if previous != NONE {
            self.timers[previous as usize].next = next;
            return;
        }
        self.levels[level].heads[slot] = next;
        if next == NONE {
            self.levels[level].occupied &= !(1 << slot);
        }
    }

    /// Hangs a timer at the level of the highest digit (base 64) in which its time differs from now.
    fn hang(&mut self, timer: u32) {
        let when = self.timers[timer as usize].when;
        let differs = (when ^ self.elapsed) | 63;
        let level = (differs.ilog2() as usize / 6).min(LEVELS - 1);
        let slot = ((when >> (6 * level)) & 63) as usize;
        let head = std::mem::replace(&mut self.levels[level].heads[slot], timer);
        self.levels[level].occupied |= 1 << slot;
        if head != NONE {
            self.timers[head as usize].previous = timer;
        }
        let entry = &mut self.timers[timer as usize];
        (entry.place, entry.previous, entry.next) = (Some((level, slot)), NONE, head);
    }

    /// The occupied slot that begins first: its level, its number and its first millisecond. Lower levels begin sooner.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        let level = self.levels.iter().position(|level| level.occupied != 0)?;
        let (width, here) = (6 * level, (self.elapsed >> (6 * level)) & 63);
        #[expect(clippy::cast_possible_truncation, reason = "below 64")]
        let ahead = self.levels[level].occupied.rotate_right(here as u32).trailing_zeros();
        let slot = (here + u64::from(ahead)) & 63;
        let turn = self.elapsed >> (width + 6) << (width + 6);
        let start = turn + (slot << width);
        // Only the top level wraps: a slot behind us there belongs to its next round.
        let start = if start < self.elapsed && slot < here { start + (1 << (width + 6)) } else { start };
        Some((level, slot as usize, start))
    }
}

const LEVELS: usize = 6;
const SLOTS: usize = 64;
const NONE: u32 = u32::MAX;

#[cfg(test)]
mod tests;
