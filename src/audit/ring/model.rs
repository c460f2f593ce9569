//! Every interleaving and every reordering that the memory model allows, on a ring small enough to go through them all.
//!
//! `RUSTFLAGS="--cfg ringfence_loom" cargo test --release --lib audit::ring::model`

use super::*;

fn push(tail: &mut Tail, claim: Claim, number: u64, length: usize) -> Result<Option<Promise>, Full> {
    tail.push(claim, length, number, 7, |out| {
        out.fill(u8::try_from(number).unwrap_or(0));
        Some(length)
    })
}

/// What one drain yields; each record checked against what was pushed under its number.
fn take(head: &mut Head, seen: &mut Vec<u64>) {
    head.take(usize::MAX, 0, |record| {
        assert!(record.payload.iter().all(|&octet| u64::from(octet) == record.time));
        seen.push(record.time);
    });
    head.release();
}

/// `lead` small records go round first, so that the wrap falls at every place. Then the producer pushes more than a lap while the consumer
/// drains: blocks that the consumer has just read are written again.
fn goes_round(lead: u64) {
    loom::model(move || {
        let (mut tail, mut head) = sized(2048);
        let mut taken = Vec::new();
        for number in 0..lead {
            push(&mut tail, Claim::Plain, number, 240).unwrap();
            take(&mut head, &mut taken);
        }
        let producer = loom::thread::spawn(move || {
            let mut pushed = lead;
            for _ in 0..6 {
                if push(&mut tail, Claim::Plain, pushed, 496).is_ok() {
                    pushed += 1;
                }
            }
            pushed
        });
        for _ in 0..2 {
            take(&mut head, &mut taken);
        }
        let pushed = producer.join().unwrap();
        assert!(head.is_closed());
        take(&mut head, &mut taken);
        assert!(taken.into_iter().eq(0..pushed), "everything once and in order");
    });
}

#[test]
fn hands_over_whole_records_wherever_the_ring_wraps() {
    (0..=8).for_each(goes_round);
}

#[test]
fn keeps_its_promise_while_the_consumer_is_at_work() {
    loom::model(|| {
        let (mut tail, mut head) = sized(2048);
        let mut seen = Vec::new();
        for number in 0..7 {
            push(&mut tail, Claim::Plain, number, 240).unwrap();
            take(&mut head, &mut seen);
        }
        let producer = loom::thread::spawn(move || {
            let opened = push(&mut tail, Claim::Opening(7), 7, 16).ok().flatten();
            let mut pushed = 7 + u64::from(opened.is_some());
            while push(&mut tail, Claim::Plain, pushed, 112).is_ok() && pushed < 12 {
                pushed += 1;
            }
            if let Some(promise) = opened {
                let claim = Claim::Promised(promise);
                assert_eq!(push(&mut tail, claim, pushed, AUDIT_CREDIT_BYTES - HEADER), Ok(None));
            }
        });
        take(&mut head, &mut seen);
        producer.join().unwrap();
        take(&mut head, &mut seen);
        assert!(seen.is_sorted());
    });
}
