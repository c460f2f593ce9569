//! A flood of denials around one allowed call, on a disk that is slow: the call is on record in its place or was refused, and every
//! denial is on record or counted.

use std::time::Instant;

use super::super::faults::Faults;
use super::*;
use crate::audit::DecisionId;

/// One sync of a disk that is much slower than the flood.
const SYNC: Duration = Duration::from_millis(20);

/// `denials` of them, a second's worth being `rate` where one is given, and one allowed call in their midst.
fn is_counted(denials: u64, rate: Option<u64>) {
    let folders = quick_folders();
    let faults = Faults::default();
    faults.slow(SYNC);
    let (writer, producer) = start(WriterOptions { faults, ..folders.options() });
    let (mut taken, mut refused, mut allowed): (u64, u64, Option<DecisionId>) = (0, 0, None);
    let begun = Instant::now();
    for number in 0..denials {
        if let Some(rate) = rate
            && number % 1000 == 0
        {
            while begun.elapsed() < Duration::from_millis(number * 1000 / rate) {
                std::hint::spin_loop();
            }
        }
        match producer.deny(Nanos(2 * number), &denial()) {
            Ok(_) => taken += 1,
            Err(why) => {
                assert_eq!(why, Refused::Full, "the disk is slow, not bad");
                refused += 1;
            }
        }
        if number == denials / 2 {
            allowed = producer.allow(Nanos(2 * number + 1), &allowance()).ok().map(|credit| credit.id());
        }
    }
    let took = begun.elapsed();
    drop(producer);
    writer.finish().unwrap();
    assert!(is_ok(&folders), "{:?}", verdict(&folders));

    let (mut recorded, mut found, mut last) = (0, None, 0);
    for segment in read::segments(&folders.dir).unwrap() {
        let mut reader = read::open(&segment.path, Check::Sums).unwrap();
        while let Some(frame) = reader.next().unwrap() {
            let Body::Decision(decision) = frame.body().unwrap() else { continue };
            // Each has its own number for a time, so order in the log is order in time.
            assert!(recorded == 0 || frame.time.0 > last, "record {} is out of order", frame.seq);
            (recorded, last) = (recorded + 1, frame.time.0);
            if frame.time.0 % 2 == 1 {
                found = Some(DecisionId(u128::from_be_bytes(decision.id)));
            }
        }
    }
    assert_eq!(found, allowed, "on record exactly when it was not refused");
    assert_eq!(recorded, taken + u64::from(allowed.is_some()));
    assert_eq!(lost(&folders.dir), [u64::from(allowed.is_none()), refused, 0]);
    println!("{denials} denials in {took:?}: {taken} on record, {refused} counted; the allowed call: {allowed:?}");
}

#[test]
fn one_allowed_call_in_a_flood_is_on_record_or_was_refused() {
    is_counted(200_000, None);
}

#[test]
#[ignore = "long: cargo test --release --lib -- --ignored --nocapture flood"]
fn one_allowed_call_among_a_million_denials_a_second_is_on_record_or_was_refused() {
    is_counted(10_000_000, Some(1_000_000));
}
