//! Whether the wall clock goes on as time does.

use std::time::Instant;

use super::super::facts::Nanos;
use crate::limits::AUDIT_CLOCK_STEP;

/// The wall clock beside one that nobody can set.
#[derive(Debug)]
pub(super) struct Clock {
    wall: fn() -> Nanos,
    last: Option<(Instant, Nanos)>,
}

impl Clock {
    pub(super) fn new(wall: fn() -> Nanos) -> Self {
        Self { wall, last: None }
    }

    /// How the wall clock was set since the last look, in words; nothing where it was not, or by less than [`AUDIT_CLOCK_STEP`]. A machine that
    /// slept has its clock set forward, too.
    #[allow(clippy::disallowed_methods, reason = "the writer has timers of its own")]
    pub(super) fn stepped(&mut self) -> Option<String> {
        let before = Instant::now();
        let wall = (self.wall)();
        // A thread that was held up between the two clocks has learnt nothing.
        if before.elapsed() > AUDIT_CLOCK_STEP / 4 {
            return None;
        }
        let (then, was) = self.last.replace((before, wall))?;
        let passed = before.duration_since(then).as_nanos();
        let expected = u128::from(was.0) + passed;
        let wall = u128::from(wall.0);
        let (by, how) = if wall < expected { (expected - wall, "back") } else { (wall - expected, "forward") };
        (by > AUDIT_CLOCK_STEP.as_nanos())
            .then(|| format!("{how} by {}.{:03} s", by / 1_000_000_000, by / 1_000_000 % 1_000))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    static WALL: AtomicU64 = AtomicU64::new(1_800_000_000_000_000_000);

    #[test]
    fn tells_a_clock_that_was_set_from_one_that_goes() {
        let mut clock = Clock::new(|| Nanos(WALL.load(Ordering::Relaxed)));
        let mut after = |step: i64| {
            WALL.fetch_add(step.cast_unsigned(), Ordering::Relaxed);
            clock.stepped()
        };
        assert_eq!(after(0), None);
        assert_eq!(after(900_000_000), None, "slewed, or late");
        let forward = after(3_600_000_000_000).unwrap();
        assert!(forward.starts_with("forward by 3599.9") || forward == "forward by 3600.000 s", "{forward}");
        let back = after(-7_000_000_000).unwrap();
        assert!(back.starts_with("back by 7.0"), "{back}");
        assert_eq!(after(0), None, "said once");
    }
}
