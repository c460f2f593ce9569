//! Retention: what goes, what never goes, and that what is left still verifies.

use super::super::super::base::{BASE_FILE, Base};
use super::super::super::head::Key;
use super::*;

const SMALL: u64 = 4096;

fn options(folders: &Folders, retention: Retention) -> WriterOptions {
    WriterOptions { segment_bytes: SMALL, retention, ..folders.options() }
}

/// Writes until `segments` more were begun, and closes the log.
fn fill(options: WriterOptions, segments: u64) {
    let dir = options.dir.clone();
    let (writer, producer) = start(options);
    let last = || read::segments(&dir).unwrap().pop().unwrap();
    let end = || {
        let last = last();
        (last.number, std::fs::metadata(last.path).map_or(0, |metadata| metadata.len()))
    };
    let until = last().number + segments;
    while last().number < until {
        // A few at a time, so that no burst makes one segment as long as several.
        let before = end();
        for number in 0..4 {
            let _ = producer.deny(Nanos(number), &denial());
        }
        while end() == before {
            std::thread::yield_now();
        }
    }
    drop(producer);
    writer.finish().unwrap();
}

fn numbers(folders: &Folders) -> Vec<u64> {
    read::segments(&folders.dir).unwrap().iter().map(|segment| segment.number).collect()
}

fn total(folders: &Folders) -> u64 {
    let segments = read::segments(&folders.dir).unwrap();
    segments.iter().map(|segment| std::fs::metadata(&segment.path).unwrap().len()).sum()
}

/// The details of the `retired` records that are still there.
fn retired(folders: &Folders) -> Vec<String> {
    let mut found = Vec::new();
    for segment in read::segments(&folders.dir).unwrap() {
        let mut reader = read::open(&segment.path, Check::Links).unwrap();
        while let Some(frame) = reader.next().unwrap() {
            match frame.body().unwrap() {
                Body::Lifecycle(event) if Lifecycle::from_code(event.event) == Some(Lifecycle::Retired) => {
                    found.push(event.detail.as_str().to_owned());
                }
                _ => {}
            }
        }
    }
    found
}

const BYTES: Retention = Retention { bytes: Some(5 * SMALL), age: None };

#[test]
fn the_oldest_segments_go_when_there_is_too_much_and_the_rest_verifies() {
    let folders = quick_folders();
    fill(options(&folders, BYTES), 12);
    let first = numbers(&folders)[0];
    assert!(first > 1, "{:?}", numbers(&folders));
    // A burst may make one segment much longer than it should be; what counts is that no more than needed is kept.
    let oldest = std::fs::metadata(folders.dir.join(read::segment_name(first))).unwrap().len();
    let newest =
        std::fs::metadata(folders.dir.join(read::segment_name(*numbers(&folders).last().unwrap()))).unwrap().len();
    assert!(total(&folders) <= 5 * SMALL + oldest + newest, "{} octets", total(&folders));
    let Verification::Ok(vouched) = verdict(&folders) else { panic!("{:?}", verdict(&folders)) };
    assert!(vouched.retired > 0 && vouched.records > vouched.retired);
    let told = retired(&folders).pop().unwrap();
    let end = format!("records {} to {}", told.rsplit(' ').nth(2).unwrap(), vouched.retired - 1);
    assert!(told.starts_with("retention removes segments ") && told.ends_with(&end), "{told}");
    // The log goes on, and so does retention.
    fill(options(&folders, BYTES), 8);
    assert!(is_ok(&folders), "{:?}", verdict(&folders));
    assert!(numbers(&folders)[0] > first);
}

#[test]
fn everything_that_is_sealed_goes_when_it_is_too_old() {
    let folders = quick_folders();
    fill(options(&folders, Retention { age: Some(Duration::ZERO), bytes: None }), 4);
    assert_eq!(numbers(&folders).len(), 1, "{:?}", numbers(&folders));
    assert!(is_ok(&folders), "{:?}", verdict(&folders));
    let folders = quick_folders();
    fill(options(&folders, Retention { age: Some(Duration::from_secs(3600)), bytes: None }), 4);
    assert_eq!(numbers(&folders)[0], 1, "an hour has not passed");
}

#[test]
fn a_segment_that_no_seal_covers_stays() {
    let folders = quick_folders();
    crash(&folders, |length| length - 100);
    let gone_at_once = Retention { age: Some(Duration::ZERO), bytes: None };
    let (writer, producer) =
        start(WriterOptions { retention: gone_at_once, head_wait: Duration::ZERO, ..folders.options() });
    producer.deny(Nanos(1), &denial()).unwrap();
    // The writer has had its turn when the record is signed.
    while !matches!(verdict(&folders), Verification::Ok(vouched) if vouched.unsigned == 0 && vouched.records > 4) {}
    assert_eq!(numbers(&folders), [1, 2]);
    drop(producer);
    writer.finish().unwrap();
    // Its successor is sealed now, and covers it; the next start sees that.
    fill(options(&folders, gone_at_once), 1);
    assert!(numbers(&folders)[0] > 2, "{:?}", numbers(&folders));
    assert!(is_ok(&folders), "{:?}", verdict(&folders));
}

#[test]
fn retention_hides_no_deletion_by_others() {
    let folders = quick_folders();
    fill(options(&folders, BYTES), 8);
    let base = folders.dir.join(BASE_FILE);
    let early = std::fs::read(&base).unwrap();
    fill(options(&folders, BYTES), 8);
    assert!(is_ok(&folders));
    let late = std::fs::read_to_string(&base).unwrap();
    let is_tampered = || matches!(verdict(&folders), Verification::Tampered(_));

    std::fs::remove_file(&base).unwrap();
    assert!(is_tampered(), "no base: {:?}", verdict(&folders));
    std::fs::write(&base, early).unwrap();
    assert!(is_tampered(), "an older base: {:?}", verdict(&folders));
    // Somebody deletes more, and says so with a key of their own.
    let first = numbers(&folders)[0];
    let mut forged = Base::read(&late).unwrap();
    let next = read::header(&folders.dir.join(read::segment_name(first + 1))).unwrap().unwrap();
    let (key, _) = Key::generate().unwrap();
    forged.tree.push(super::super::super::merkle::leaf(&next.previous.0));
    (forged.segment, forged.records, forged.link, forged.key) = (first + 1, next.first, next.previous, key.public());
    std::fs::write(&base, forged.sign(&key)).unwrap();
    assert!(is_tampered(), "a base by another key: {:?}", verdict(&folders));
    assert!(matches!(Writer::start(folders.options()), Err(StartError::Damaged { .. })));

    std::fs::write(&base, &late).unwrap();
    assert!(is_ok(&folders));
    let oldest = folders.dir.join(read::segment_name(first));
    let kept = std::fs::read(&oldest).unwrap();
    std::fs::remove_file(&oldest).unwrap();
    assert!(is_tampered(), "the oldest that is kept: {:?}", verdict(&folders));
    assert!(matches!(Writer::start(folders.options()), Err(StartError::Damaged { .. })));
    std::fs::write(&oldest, &kept).unwrap();

    // A retired segment that is there again (a crash before it was removed) changes nothing, and goes at the next occasion.
    std::fs::write(folders.dir.join(read::segment_name(1)), &kept).unwrap();
    assert!(is_ok(&folders), "{:?}", verdict(&folders));
    fill(options(&folders, BYTES), 1);
    assert!(numbers(&folders)[0] > 1);
    assert!(is_ok(&folders), "{:?}", verdict(&folders));
}

#[test]
fn an_anchor_older_than_the_base_says_nothing() {
    let folders = quick_folders();
    fill(folders.options(), 0);
    let head = std::fs::read_dir(folders.state.join(HEADS_FOLDER)).unwrap().next().unwrap().unwrap().path();
    let anchor = folders.state.join("anchor");
    std::fs::copy(head, &anchor).unwrap();
    let anchored = || verify::log(&folders.dir, &Trust { state: folders.state.clone(), anchor: Some(anchor.clone()) });
    assert!(matches!(anchored(), Verification::Ok(_)), "{:?}", anchored());
    fill(options(&folders, BYTES), 12);
    assert!(matches!(anchored(), Verification::Unverifiable(Why::BadHead(..))), "{:?}", anchored());
}
