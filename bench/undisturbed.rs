//! Whether the core was ours.
//!
//! A virtual cpu may share its physical core with whatever else the host puts there, which takes part of what the core can do, and comes and
//! goes within microseconds; no figure of the guest's kernel shows it. So work is timed between two laps of arithmetic that needs nothing but
//! registers: it was undisturbed if neither lap took noticeably longer than the fastest one of the whole measurement.

use std::hint::black_box;
use std::time::Instant;

/// A lap takes about five microseconds: more than a clock is exact to, less than a disturbance lasts.
const ROUNDS: u64 = 4_000;
/// A lap this much longer than the fastest was disturbed, in hundredths.
const SLACK: u64 = 5;

/// The laps before and after each piece of work.
#[derive(Debug, Default)]
pub(crate) struct Laps(Vec<(u64, u64)>);

impl Laps {
    /// Does a piece of work between two laps.
    pub(crate) fn around<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let before = lap();
        let done = work();
        self.0.push((before, lap()));
        done
    }

    /// Which pieces of work were undisturbed, in their order.
    pub(crate) fn undisturbed(&self) -> Vec<bool> {
        let fastest = self.0.iter().map(|(before, after)| *before.min(after)).min().unwrap_or(0);
        let quiet = |lap: u64| lap * 100 <= fastest * (100 + SLACK);
        self.0.iter().map(|(before, after)| quiet(*before) && quiet(*after)).collect()
    }
}

/// Nanoseconds that six chains of arithmetic take, which a core with its units to itself works on side by side.
#[inline(never)]
fn lap() -> u64 {
    let begun = Instant::now();
    let [mut a, mut b, mut c, mut d, mut e, mut f] = black_box([1_u64, 2, 3, 4, 5, 6]);
    for round in 0..ROUNDS {
        // No two chains do the same, so that none of it is done in vectors, of which a core can do fewer at a time.
        a = a.rotate_left(7) ^ round;
        b = b.wrapping_add(b >> 3);
        c = (c ^ round).wrapping_add(5);
        d = d.wrapping_sub(round) ^ 9;
        e = e ^ e << 5;
        f = f.rotate_right(11).wrapping_add(round);
    }
    black_box([a, b, c, d, e, f]);
    u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
