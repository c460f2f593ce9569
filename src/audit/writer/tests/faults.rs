//! Every call on storage × error, short, torn, reordered: what was promised holds, and nothing is called tampered that is not.
//!
//! The story is always the same: a first run, a rotation, a clean end, a second run that goes on with the log. The call that fails moves
//! through it, from the first to the last; where a run could not start or died, the next one takes up what is left. `strict` forwards
//! when the disk has the decision, `batched` when the ring has it.

use super::super::faults::{Fault, Faults};
use super::waiting::block_on;
use super::*;
use crate::audit::{DecisionId, Durability};

const FAULTS: [Fault; 4] = [Fault::Error, Fault::Short, Fault::Torn, Fault::Reordered];
/// More calls than the story makes; it ends where no call is left to fail.
const CALLS_MAX: usize = 400;
/// To record one request; a disk that refuses once is good again long before.
const ATTEMPTS: usize = 200;

/// What the log promises in a story.
#[derive(Clone, Copy, Debug)]
struct Story {
    durability: Durability,
    retention: Retention,
}

fn options(folders: &Folders, story: Story, faults: &Faults) -> WriterOptions {
    WriterOptions {
        durability: story.durability,
        retention: story.retention,
        faults: faults.clone(),
        segment_bytes: 3000,
        ring_bytes: 1,
        sync_wait: Duration::ZERO,
        head_wait: Duration::from_secs(3600),
        retry_wait: Duration::from_micros(200),
        finish_wait: Duration::from_millis(20),
        ..folders.options()
    }
}

/// What a run forwarded, and what it was refused to its face.
#[derive(Default)]
struct Told {
    forwarded: Vec<DecisionId>,
    refused: u64,
}

/// A run: forwards, and ends in good order unless the disk does not let it.
fn run(options: WriterOptions, durability: Durability, told: &mut Told) -> Result<(), String> {
    let (writer, mut seats) = Writer::start(options).map_err(|error| error.to_string())?;
    let producer = seats.pop().unwrap().take();
    for number in 0..6 {
        // Until it is taken, or until the power is clearly off: a disk that refuses once is soon good again.
        let mut taken = false;
        for _ in 0..ATTEMPTS {
            let sent = producer.allow(Nanos(number), &allowance()).ok().map(|credit| {
                let durable = durability == Durability::Batched || block_on(credit.durable()).is_ok();
                (durable, credit)
            });
            match sent {
                Some((true, credit)) => {
                    told.forwarded.push(credit.id());
                    credit.outcome(Nanos(number), &OutcomeFacts::default());
                    taken = true;
                    break;
                }
                Some((false, credit)) => drop(credit),
                None => {
                    told.refused += 1;
                    std::thread::park_timeout(Duration::from_micros(100));
                }
            }
        }
        if !taken {
            break;
        }
        producer.deny(Nanos(number), &denial()).unwrap_or_else(|_| {
            told.refused += 1;
            DecisionId(0)
        });
    }
    drop(producer);
    writer.finish().map(drop).map_err(|error| error.to_string())
}

/// How often each id is a decision on record.
fn decided(dir: &Path) -> std::collections::HashMap<u128, u32> {
    let mut found = std::collections::HashMap::new();
    for segment in read::segments(dir).unwrap() {
        let mut reader = read::open(&segment.path, Check::Links).unwrap();
        while let Some(frame) = reader.next().unwrap() {
            if let Body::Decision(decision) = frame.body().unwrap() {
                *found.entry(u128::from_be_bytes(decision.id)).or_default() += 1;
            }
        }
    }
    found
}

/// Rings that another boot wrote: a power cut leaves no others.
fn forget_rings(folders: &Folders) {
    for entry in std::fs::read_dir(folders.state.join("rings")).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.metadata().unwrap().len() >= 4096 {
            super::killed::repage(&path, 40, &[1; 16]);
        }
    }
}

/// Lets call number `at` fail, and says what that was; `None` when the story has fewer calls.
fn fails_at(at: usize, fault: Fault, story: Story) -> Option<String> {
    let durability = story.durability;
    let folders = quick_folders();
    let faults = Faults::at(at, fault);
    let cuts = matches!(fault, Fault::Torn | Fault::Reordered);
    let (mut told, mut window, mut cut) = (Told::default(), 0, 0);
    for _ in 0..2 {
        let before = told.forwarded.len();
        let ended = run(options(&folders, story, &faults), durability, &mut told);
        if cuts && faults.failed().is_some() && ended.is_err() {
            // The machine: what the disk has is what is left, and of the last run's forwards any may be gone that were only written.
            faults.cut();
            forget_rings(&folders);
            (cut, window) = (before, told.forwarded.len() - before);
        }
    }
    let what = faults.failed()?;
    let what = format!("call {at} ({what}), {fault:?}, {story:?}");
    assert!(!matches!(verdict(&folders), Verification::Tampered(_)), "{what}: {:?}", verdict(&folders));
    // Whatever happened, the next start takes it up, and closes it in good order.
    let last = run(options(&folders, story, &Faults::default()), durability, &mut told);
    assert_eq!(last, Ok(()), "{what}");
    assert!(is_ok(&folders), "{what}: {:?}", verdict(&folders));
    assert_eq!(kinds(&folders.dir).last().map(|(_, kind)| kind.as_str()), Some("seal"), "{what}");
    if story.retention != Retention::default() {
        return Some(what);
    }
    words(&folders.dir);

    let record = decided(&folders.dir);
    assert!(record.values().all(|count| *count == 1), "{what}: each decision once");
    let lost_forwards = told.forwarded.iter().filter(|id| !record.contains_key(&id.0)).count();
    // What a power cut costs is the latest of what its run forwarded, and nothing before.
    let last_kept = told.forwarded[cut..cut + window].iter().rposition(|id| record.contains_key(&id.0));
    assert_eq!(lost_forwards, window - last_kept.map_or(0, |last| last + 1), "{what}: holes");
    let may_lose = if durability == Durability::Strict { 0 } else { window };
    assert!(lost_forwards <= may_lose, "{what}: {lost_forwards} forwards without a record");
    if !cuts {
        assert_eq!(lost(&folders.dir).iter().sum::<u64>(), told.refused, "{what}: what was refused is counted exactly");
    }
    Some(what)
}

fn holds_at_every_call(durability: Durability, retention: Retention) {
    let story = Story { durability, retention };
    for fault in FAULTS {
        let calls = (0..CALLS_MAX).take_while(|at| fails_at(*at, fault, story).is_some()).count();
        assert!((60..CALLS_MAX).contains(&calls), "{fault:?}: {calls} calls failed in turn");
    }
}

#[test]
fn strict_forwards_nothing_without_a_record_whichever_call_fails() {
    holds_at_every_call(Durability::Strict, Retention::default());
}

#[test]
fn batched_loses_no_more_than_its_window_whichever_call_fails() {
    holds_at_every_call(Durability::Batched, Retention::default());
}

#[test]
fn what_retention_leaves_verifies_whichever_call_fails() {
    holds_at_every_call(Durability::Strict, Retention { bytes: Some(4000), age: None });
}
