use super::*;
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A waker that remembers how often it was woken.
struct Count(AtomicU64);

impl std::task::Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn counter() -> (Arc<Count>, Waker) {
    let count = Arc::new(Count(AtomicU64::new(0)));
    (count.clone(), Waker::from(count))
}

fn turn(wheel: &mut Wheel, now: u64) {
    let mut due = Vec::new();
    wheel.turn(now, &mut due);
    due.into_iter().for_each(Waker::wake);
}

proptest! {
    #[test]
    fn fires_exactly_what_the_naive_oracle_fires(
        timers in prop::collection::vec((1u64..20_000_000_000, any::<bool>()), 1..40),
        steps in prop::collection::vec(1u64..3_000_000_000, 1..40),
    ) {
        let mut wheel = Wheel::new();
        let set: Vec<_> = timers.iter().map(|&(when, kept)| {
            let (count, waker) = counter();
            (when, kept, wheel.insert(when, &waker), count)
        }).collect();
        set.iter().filter(|timer| !timer.1).for_each(|timer| wheel.remove(timer.2));
        let mut now = 0;
        for step in steps {
            now += step;
            turn(&mut wheel, now);
            for (when, kept, _, count) in &set {
                prop_assert_eq!(count.0.load(Ordering::Relaxed), u64::from(*kept && *when <= now));
            }
        }
    }

    #[test]
    fn asks_to_be_turned_no_later_than_the_first_timer(start in 0u64..10_000_000_000, ahead in 1u64..10_000_000_000) {
        let mut wheel = Wheel::new();
        turn(&mut wheel, start);
        let (count, waker) = counter();
        wheel.insert(start + ahead, &waker);
        let mut turns = 0;
        while let Some(next) = wheel.next() {
            prop_assert!(next <= start + ahead);
            prop_assert_eq!(count.0.load(Ordering::Relaxed), 0);
            turn(&mut wheel, next);
            turns += 1;
            prop_assert!(turns <= LEVELS);
        }
        prop_assert_eq!(count.0.load(Ordering::Relaxed), 1);
        prop_assert_eq!(wheel.elapsed, start + ahead);
    }
}

#[test]
fn a_timer_beyond_the_last_level_is_not_lost() {
    let mut wheel = Wheel::new();
    turn(&mut wheel, TIMER_MILLISECONDS_MAX / 2 + 12345);
    let (count, waker) = counter();
    wheel.insert(u64::MAX, &waker);
    while let Some(next) = wheel.next() {
        turn(&mut wheel, next);
    }
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
}
