//! The ring alone: what goes in comes out, in order, and nothing else; what is promised fits.

use std::sync::atomic::{AtomicU64 as Counter, Ordering as Order};

use proptest::prelude::*;

use super::*;

/// A payload that a reader can check without knowing where it comes from.
fn pattern(number: u64, length: usize) -> Vec<u8> {
    (0..length).map(|at| (number as usize).wrapping_mul(31).wrapping_add(at) as u8).collect()
}

fn push(tail: &mut Tail, claim: Claim, number: u64, length: usize) -> Result<Option<Promise>, Full> {
    let bytes = pattern(number, length);
    tail.push(claim, length, number, length as u16, |out| {
        out[..length].copy_from_slice(&bytes);
        Some(length)
    })
}

impl Head {
    fn drain(&mut self, bytes_max: usize, each: impl FnMut(Committed<'_>)) -> usize {
        let taken = self.take(bytes_max, 0, each);
        self.release();
        taken
    }
}

fn check(record: &Committed<'_>) -> u64 {
    assert_eq!(record.payload, pattern(record.time, usize::from(record.schema)));
    assert_eq!(record.payload.as_ptr() as usize % HEADER, 0, "archives are aligned");
    record.time
}

const CREDIT_PAYLOAD: usize = AUDIT_CREDIT_BYTES - HEADER;

#[test]
fn gives_back_a_reservation_that_was_not_used() {
    let (mut tail, mut head) = sized(4096);
    assert_eq!(tail.push(Claim::Plain, 100, 1, 1, |_| None), Err(Full));
    assert_eq!(tail.push(Claim::Plain, 100, 1, 1, |_| Some(101)), Err(Full));
    assert!(head.is_empty());
    // A shorter record than was reserved takes only what it needs.
    assert_eq!(tail.push(Claim::Plain, 1000, 1, 1, |_| Some(1)), Ok(None));
    assert_eq!(head.drain(usize::MAX, |record| assert_eq!(record.payload.len(), 1)), 32);
}

#[test]
fn is_full_before_it_overwrites() {
    let (mut tail, mut head) = sized(4096);
    let pushed = (0..).take_while(|&number| push(&mut tail, Claim::Plain, number, 100).is_ok()).count();
    // One credit always stays free.
    assert_eq!(pushed, (4096 - AUDIT_CREDIT_BYTES) / 128);
    let mut seen = 0;
    head.drain(usize::MAX, |record| {
        assert_eq!(check(&record), seen);
        seen += 1;
    });
    assert_eq!(seen as usize, pushed);
    assert_eq!(push(&mut tail, Claim::Plain, 0, 100), Ok(None));
}

#[test]
fn takes_every_promised_record_even_when_nobody_drains() {
    for lead in 0..64 {
        let (mut tail, mut head) = sized(8192);
        // Move the place where the ring wraps.
        for number in 0..lead {
            push(&mut tail, Claim::Plain, number, 16 * (number as usize % 7)).unwrap();
            head.drain(usize::MAX, |record| assert!(check(&record) < 64));
        }
        let mut open = Vec::new();
        while let Ok(promise) = push(&mut tail, Claim::Opening(7), open.len() as u64, 40) {
            open.push(promise.unwrap());
        }
        assert!(open.len() > 5);
        for (number, promise) in (0..).zip(open) {
            assert_eq!(push(&mut tail, Claim::Promised(promise), number, CREDIT_PAYLOAD), Ok(None), "lead {lead}");
        }
    }
}

#[test]
fn says_closed_when_the_producer_is_gone() {
    let (mut tail, mut head) = sized(4096);
    push(&mut tail, Claim::Plain, 1, 8).unwrap();
    assert!(!head.is_closed());
    drop(tail);
    assert!(head.is_closed() && !head.is_empty());
    head.drain(usize::MAX, |record| assert!(check(&record) < 64));
    assert!(head.is_empty());
}

/// Two threads and a small ring: every accepted record arrives once, whole and in order, every refused one is counted.
#[test]
fn loses_and_invents_nothing_between_two_threads() {
    let records: u64 = if cfg!(debug_assertions) { 60_000 } else { 5_000_000 };
    let (mut tail, mut head) = sized(16 * 1024);
    let seen = Counter::new(0);
    let refused = std::thread::scope(|scope| {
        let producer = scope.spawn(move || {
            let (mut refused, mut open) = (0_u64, Vec::new());
            let mut number = 0;
            while number < records {
                let length = (number as usize * 7919) % 400;
                let claim = match number % 3 {
                    0 => Claim::Opening(number),
                    1 => open.pop().map_or(Claim::Plain, Claim::Promised),
                    _ => Claim::Plain,
                };
                match push(&mut tail, claim, number, length) {
                    Ok(promise) => {
                        open.extend(promise);
                        number += 1;
                    }
                    Err(Full) => {
                        assert!(!matches!(claim, Claim::Promised(_)), "what is promised fits");
                        refused += 1;
                        // Promises that are kept make room for others.
                        for promise in open.drain(..) {
                            assert_eq!(push(&mut tail, Claim::Promised(promise), number, 8), Ok(None));
                            number += 1;
                        }
                        std::thread::yield_now();
                    }
                }
            }
            (refused, number)
        });
        let mut expected = 0;
        loop {
            let closed = head.is_closed();
            head.drain(4096, |record| {
                assert_eq!(check(&record), expected);
                expected += 1;
            });
            if closed && head.is_empty() {
                break;
            }
            std::hint::spin_loop();
        }
        seen.store(expected, Order::Relaxed);
        let (refused, number) = producer.join().unwrap();
        assert_eq!(number, expected);
        refused
    });
    assert!(seen.load(Order::Relaxed) >= records);
    assert!(refused > 0, "the ring was small enough to fill");
}

#[derive(Clone, Debug)]
enum Step {
    Push(usize),
    Open(usize),
    Keep(usize),
    Drain(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..1500_usize).prop_map(Step::Push),
        (0..600_usize).prop_map(Step::Open),
        (0..=CREDIT_PAYLOAD).prop_map(Step::Keep),
        (0..9000_usize).prop_map(Step::Drain),
    ];
    prop::collection::vec(step, 0..300)
}

proptest! {
    /// Against a queue: the same records come out, a promised one always fits, and there is never more in the ring than it has bytes.
    #[test]
    fn behaves_like_a_queue_that_keeps_its_promises(steps in steps()) {
        let (mut tail, mut head) = sized(8192);
        let (mut queue, mut number, mut open) = (std::collections::VecDeque::new(), 0, Vec::new());
        for step in steps {
            let (claim, length) = match step {
                Step::Push(length) => (Claim::Plain, length),
                Step::Open(length) => (Claim::Opening(number), length),
                Step::Keep(length) => match open.pop() {
                    Some(promise) => (Claim::Promised(promise), length),
                    None => continue,
                },
                Step::Drain(bytes) => {
                    head.drain(bytes, |record| assert_eq!(Some(check(&record)), queue.pop_front()));
                    continue;
                }
            };
            match push(&mut tail, claim, number, length) {
                Ok(promise) => {
                    queue.push_back(number);
                    open.extend(promise);
                }
                Err(Full) => prop_assert!(!matches!(claim, Claim::Promised(_))),
            }
            number += 1;
            prop_assert!(tail.tail - head.head <= 8192);
        }
        head.drain(usize::MAX, |record| assert_eq!(Some(check(&record)), queue.pop_front()));
        prop_assert!(queue.is_empty() && head.is_empty());
    }
}

/// Rings in memory that is still there when their ends are gone, as after the death of a process.
fn mapped() -> Arc<memmap2::MmapRaw> {
    let map = memmap2::MmapMut::map_anon(lane_bytes(8192)).expect("memory");
    Arc::new(map.into())
}

#[test]
fn goes_on_after_what_was_safe_when_its_ends_died() {
    for safe in 0..=7_u64 {
        let map = mapped();
        let (mut tail, mut head) = create(&map, 0, 8192, 77).unwrap();
        for number in 0..9 {
            push(&mut tail, Claim::Plain, number, 500).unwrap();
            if number < 4 {
                head.drain(usize::MAX, |_| ());
            }
        }
        // Five are taken as numbers 2 to 6, and their consumer dies before it can say that they are safe.
        assert!(head.take(usize::MAX, 2, |_| ()) > 0);
        drop((tail, head));
        let Revived { mut head, label, .. } = revive(&map, 0, 8192, |record| check(&record) < 9).unwrap();
        assert_eq!(label, 77);
        assert_eq!(head.resume(safe), safe.saturating_sub(2).min(5));
        let mut seen = Vec::new();
        head.drain(usize::MAX, |record| seen.push(check(&record)));
        assert!(seen.into_iter().eq(4 + safe.saturating_sub(2).min(5)..9), "{safe} safe");
    }
}

#[test]
fn finds_exactly_the_promises_that_nobody_kept() {
    let map = mapped();
    let (mut tail, mut head) = create(&map, 0, 8192, 1).unwrap();
    let mut open = std::collections::VecDeque::new();
    for number in 0..100 {
        open.push_back((push(&mut tail, Claim::Opening(number), number, 40).unwrap().unwrap(), number));
        if number % 3 != 0 || open.len() > 4 {
            let (promise, _) = open.pop_front().unwrap();
            push(&mut tail, Claim::Promised(promise), number, 40).unwrap();
        }
        head.drain(usize::MAX, |_| ());
        drop((tail, head));
        let revived = revive(&map, 0, 8192, |_| true).unwrap();
        assert!(revived.tail.open().into_iter().eq(open.iter().copied()), "after {number}");
        (tail, head) = (revived.tail, revived.head);
    }
}

#[test]
fn tells_each_loss_once_across_a_death() {
    for safe in [4_u64, 5] {
        let map = mapped();
        let (tail, mut head) = create(&map, 0, 8192, 1).unwrap();
        tail.count((0, 1));
        let losses = head.lost(0).unwrap();
        head.tell(0, losses, 4);
        tail.count((0, 1));
        drop((tail, head));
        let mut head = revive(&map, 0, 8192, |_| true).unwrap().head;
        head.resume(safe);
        assert_eq!(head.lost(0), Some([0, if safe > 4 { 1 } else { 2 }, 0]));
    }
}
