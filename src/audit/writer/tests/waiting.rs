//! `durability: strict` and `on_full: block`: who waits, for what, and what ends the wait.

use std::future::Future;
use std::os::unix::fs::MetadataExt;
use std::pin::pin;
use std::task::{Context, Poll, Wake, Waker};

use super::*;
use crate::audit::{Durability, OnFull};

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits on this thread, and only as long as it is woken for.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

fn is_ready<T>(future: impl Future<Output = T>) -> bool {
    pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

fn strict(folders: &Folders) -> WriterOptions {
    let never = Duration::from_secs(3600);
    WriterOptions { durability: Durability::Strict, sync_wait: never, head_wait: never, ..folders.options() }
}

#[test]
fn strict_waits_for_the_disk_and_batched_for_nothing() {
    let folders = folders();
    let (writer, producer) = start(strict(&folders));
    for number in 0..20 {
        let credit = producer.allow(Nanos(number), &allowance()).unwrap();
        // Nothing but the waiter makes this writer sync.
        assert_eq!(block_on(credit.durable()), Ok(()));
        let decisions = kinds(&folders.dir).iter().filter(|(_, kind)| kind == "decision").count();
        assert_eq!(decisions as u64, number + 1);
    }
    let waiting = producer.allow(Nanos(30), &allowance()).unwrap();
    // Whoever stops waiting is forgotten.
    let _ = is_ready(waiting.durable());
    drop((waiting, producer));
    writer.finish().unwrap();
    assert!(is_ok(&folders), "{:?}", verdict(&folders));

    let (writer, producer) = start(folders.options());
    let credit = producer.allow(Nanos(1), &allowance()).unwrap();
    assert!(is_ready(credit.durable()) && is_ready(producer.room()));
    drop((credit, producer));
    writer.finish().unwrap();
}

#[test]
#[ignore = "runs in a child process"]
fn waits_for_a_full_disk() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Some((dir, state)) = child_folders() else { return };
    let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    let options =
        WriterOptions { durability: Durability::Strict, on_full: OnFull::Block, ..WriterOptions::new(dir, state, 1) };
    let (writer, producer) = start(options);
    setrlimit(Resource::RLIMIT_FSIZE, 64 * 1024, hard).unwrap();
    let mut refused = loop {
        let Ok(credit) = producer.allow(Nanos(1), &allowance()) else { break None };
        if block_on(credit.durable()).is_err() {
            break Some(credit);
        }
    };
    assert!(refused.is_some(), "the disk refused while somebody waited");
    assert!(!is_ready(producer.room()));
    setrlimit(Resource::RLIMIT_FSIZE, hard, hard).unwrap();
    block_on(producer.room());
    let credit = producer.allow(Nanos(2), &allowance()).unwrap();
    assert_eq!(block_on(credit.durable()), Ok(()));
    refused.take();
    drop((credit, producer));
    writer.finish().unwrap();
    println!("waited");
}

#[test]
fn a_disk_that_refuses_ends_the_wait_for_it_and_begins_one_for_room() {
    let folders = folders();
    let output = child("waiting::waits_for_a_full_disk", &folders).wait_with_output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("waited"));
    assert!(is_ok(&folders), "{:?}", verdict(&folders));
    assert_eq!(lost(&folders.dir), [0, 0, 0], "who waits is not refused");
}

#[test]
fn block_waits_until_exchanges_end() {
    let folders = folders();
    let (writer, producer) = start(WriterOptions { ring_bytes: 1, on_full: OnFull::Block, ..folders.options() });
    let mut credits = Vec::new();
    while is_ready(producer.room()) {
        credits.push(producer.allow(Nanos(1), &allowance()).unwrap());
        // What is written gives its room back; what is promised does not.
        while credits.len() < 50 && !is_ready(producer.room()) {
            std::thread::yield_now();
        }
    }
    credits.clear();
    block_on(producer.room());
    producer.allow(Nanos(1), &allowance()).unwrap().outcome(Nanos(2), &OutcomeFacts::default());
    drop(producer);
    writer.finish().unwrap();
    assert_eq!(lost(&folders.dir), [0, 0, 0]);
    assert!(is_ok(&folders), "{:?}", verdict(&folders));
}

#[test]
fn an_ended_writer_ends_every_wait() {
    let folders = folders();
    let options = WriterOptions { on_full: OnFull::Block, ..strict(&folders) };
    let (writer, producer) = start(options);
    let credit = producer.allow(Nanos(1), &allowance()).unwrap();
    assert_eq!(block_on(credit.durable()), Ok(()));
    let summary = std::thread::scope(|scope| scope.spawn(|| writer.finish().unwrap()).join().unwrap());
    assert_eq!(summary.abandoned, 1);
    block_on(producer.room());
    assert_eq!(producer.deny(Nanos(1), &denial()), Err(Refused::Unwritable));
}

#[test]
fn rotates_by_age_and_keeps_no_place_it_does_not_need() {
    let folders = folders();
    let (writer, producer) = start(WriterOptions { segment_age: Duration::ZERO, ..folders.options() });
    for number in 1..4 {
        producer.deny(Nanos(number), &denial()).unwrap();
        while read::segments(&folders.dir).unwrap().len() as u64 <= number {
            std::thread::yield_now();
        }
    }
    drop(producer);
    writer.finish().unwrap();
    assert!(is_ok(&folders), "{:?}", verdict(&folders));
    for segment in read::segments(&folders.dir).unwrap() {
        let metadata = std::fs::metadata(segment.path).unwrap();
        assert!(metadata.blocks() * 512 <= metadata.len() + 64 * 1024, "{metadata:?}");
    }
}
