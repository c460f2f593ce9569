//! What the audit log costs and carries: `cargo bench --bench audit [producer|path|read]`.
//!
//! `producer`: what one record costs the worker's thread, beside a `crossbeam` queue and `tracing-appender`, each with its consumer at work; and the
//! same while nothing outside of the guest took part of the core.
//! `path`: records a second from facts to a synced, chained, signed log, as fast as producers go or at a rate; nothing may be lost. `read`: the
//! log that `path` wrote, read and verified. Environment: `RINGFENCE_BENCH_FOLDER` (default: /dev/shm), `RINGFENCE_BENCH_SECONDS` (default: 5),
//! `RINGFENCE_BENCH_PRODUCERS` (default: 1), `RINGFENCE_BENCH_RATE` (records a second of each producer; default: as fast as it goes),
//! `RINGFENCE_BENCH_KEEP` (octets of the log that are kept, so that a long run fits in memory; each segment is read before it goes).

#![allow(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a measurement that breaks says so"
)]

#[path = "undisturbed.rs"]
mod undisturbed;

use std::hint::black_box;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam::queue::ArrayQueue;
use ringfence::audit::read::{self, Check};
use ringfence::audit::record::Body;
use ringfence::audit::verify::{self, Trust, Verdict as Verified};
use ringfence::audit::{
    DecisionFacts, Inspected, Nanos, OutcomeFacts, Producer, Retention, Scheme, Seat, Verdict, Writer, WriterOptions,
};

use self::undisturbed::Laps;

/// Calls that are timed one by one.
const CALLS: usize = 1 << 20;
/// A burst, as a busy worker makes them; consumers catch up in between.
const BURST: usize = 256;
/// Octets of a decision like the one below in its ring, for the queues that take no facts.
const RECORD_BYTES: usize = 320;

fn main() {
    let which = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let runs = |name: &str| which.as_deref().is_none_or(|which| which == name);
    let folder = std::env::var_os("RINGFENCE_BENCH_FOLDER").map_or_else(|| PathBuf::from("/dev/shm"), PathBuf::from);
    if runs("producer") {
        producer(&folder);
    }
    if runs("path") || runs("read") {
        let root = tempfile::tempdir_in(&folder).unwrap();
        path(root.path());
        // What is left of a log whose beginning is gone says nothing about reading a whole one.
        if setting("KEEP").is_none() {
            read_back(root.path());
        }
    }
}

fn facts() -> DecisionFacts<'static> {
    DecisionFacts {
        agent: "coder",
        connection: 7,
        scheme: Some(Scheme::Https),
        source: Some(([127, 0, 0, 1], 40_000).into()),
        destination: Some(([10, 1, 2, 3], 443).into()),
        sni: Some("api.example.com"),
        host: Some("api.example.com"),
        port: Some(443),
        method: Some("POST"),
        path: Some("/v1/chat/completions"),
        verdict: Verdict::Allow,
        rule: Some("model calls"),
        policy: Some([7; 32]),
        inspected: Inspected::SNI | Inspected::HEAD,
        decide_ns: 850,
        ..DecisionFacts::default()
    }
}

fn start(root: &Path, rings: usize) -> (Writer, Vec<Seat>) {
    let mut options = WriterOptions::new(root.join("log"), root.join("state"), rings);
    options.retention = Retention { bytes: setting("KEEP"), age: None };
    Writer::start(options).unwrap()
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(format!("RINGFENCE_BENCH_{name}")).ok().map(|text| text.parse().unwrap())
}

/// Times single calls in bursts, takes the cost of the clock off, and prints percentiles in nanoseconds: of all calls, and of those in bursts while
/// which the core was ours.
fn time(name: &str, mut call: impl FnMut(u64) -> bool) {
    let clock = (0..100_000).map(|_| Instant::now().elapsed().as_nanos() as u64).min().unwrap_or(0);
    let (mut laps, mut times, mut refused) = (Laps::default(), Vec::with_capacity(CALLS), 0_u64);
    for burst in 0..CALLS / BURST {
        // A burst each 500 µs is half a million records a second.
        let pause = Instant::now();
        while pause.elapsed() < Duration::from_micros(500) {
            std::hint::spin_loop();
        }
        laps.around(|| {
            for number in burst * BURST..(burst + 1) * BURST {
                let begun = Instant::now();
                refused += u64::from(!call(number as u64));
                times.push((begun.elapsed().as_nanos() as u64).saturating_sub(clock));
            }
        });
    }
    let undisturbed = laps.undisturbed();
    let ours = times.chunks(BURST).zip(&undisturbed).filter(|(_, ours)| **ours);
    let ours: Vec<u64> = ours.flat_map(|(burst, _)| burst).copied().collect();
    let share = ours.len() * 100 / times.len();
    print(name, times, &refused.to_string());
    print("  while the core was ours", ours, &format!("{share} %"));
}

fn print(name: &str, mut times: Vec<u64>, last: &str) {
    times.sort_unstable();
    let at = |share: usize| times.get(times.len().saturating_sub(1) * share / 1000).copied().unwrap_or(0);
    println!("{name:<44} {:>8} {:>8} {:>8} {:>8} {last:>9}", at(500), at(900), at(990), at(999));
}

fn producer(folder: &Path) {
    let columns = ["p50 ns", "p90 ns", "p99 ns", "p99.9 ns", "refused"];
    println!(
        "{:<44} {:>8} {:>8} {:>8} {:>8} {:>9}",
        "one record", columns[0], columns[1], columns[2], columns[3], columns[4]
    );
    let facts = facts();
    let recorder = |call: &mut dyn FnMut(&Producer, u64) -> bool, name: &str| {
        let root = tempfile::tempdir_in(folder).unwrap();
        let (writer, mut seats) = start(root.path(), 1);
        let producer = seats.pop().unwrap().take();
        time(name, |number| call(&producer, number));
        drop(producer);
        writer.finish().unwrap();
    };
    recorder(&mut |producer, number| producer.deny(Nanos(number), black_box(&facts)).is_ok(), "ringfence: a denial");
    let mut both = |producer: &Producer, number| {
        let credit = producer.allow(Nanos(number), black_box(&facts));
        credit.map(|credit| credit.outcome(Nanos(number), &OutcomeFacts::default())).is_ok()
    };
    recorder(&mut both, "ringfence: a decision and its outcome");

    let queue = Arc::new(ArrayQueue::<[u8; RECORD_BYTES]>::new((4 << 20) / RECORD_BYTES));
    let theirs = Arc::clone(&queue);
    let consumer = std::thread::spawn(move || {
        // Ends with the producer, however that ends.
        while Arc::strong_count(&theirs) > 1 {
            if theirs.pop().map(black_box).is_none() {
                std::thread::park_timeout(Duration::from_micros(50));
            }
        }
    });
    time("crossbeam ArrayQueue: 320 octets", |number| {
        let mut record = [0; RECORD_BYTES];
        record[..8].copy_from_slice(&number.to_le_bytes());
        queue.push(black_box(record)).is_ok()
    });
    drop(queue);
    consumer.join().unwrap();

    let root = tempfile::tempdir_in(folder).unwrap();
    let file = tracing_appender::rolling::never(root.path(), "log.jsonl");
    let (mut appender, guard) = tracing_appender::non_blocking(file);
    let line = [b'x'; RECORD_BYTES];
    time("tracing-appender non_blocking: 320 octets", |_| appender.write_all(black_box(&line)).is_ok());
    drop(guard);
}

fn path(root: &Path) {
    let producers = setting("PRODUCERS").unwrap_or(1) as usize;
    let (writer, seats) = start(root, producers);
    let (stop, begun) = (Arc::new(AtomicBool::new(false)), Instant::now());
    let produce = |seat: Seat| {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || produce(seat, &stop))
    };
    let threads: Vec<_> = seats.into_iter().map(produce).collect();
    let (mut memory, end) = (Vec::new(), begun + Duration::from_secs(setting("SECONDS").unwrap_or(5)));
    let mut count = Count::default();
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(500).min(end.saturating_duration_since(Instant::now())));
        memory.push(resident_kib());
        if setting("KEEP").is_some() {
            count.read_finished(&root.join("log"));
        }
    }
    stop.store(true, Ordering::Relaxed);
    let (taken, full) = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .fold((0, 0), |sum, each| (sum.0 + each.0, sum.1 + each.1));
    let summary = writer.finish().unwrap();
    let took = begun.elapsed();
    count.read(&root.join("log"), u64::MAX);
    assert_eq!(count.records, taken, "every record that was taken is there");
    assert_eq!(count.lost, full, "and every other one is counted");
    let rate = |number: u64| number as f64 / took.as_secs_f64();
    println!(
        "whole path: {:.0} records a second, {:.0} MB a second, for {took:.1?} with {producers} producer(s); {} records, 0 lost, {full} refused by a full ring",
        rate(summary.records),
        rate(count.bytes) / 1e6,
        summary.records,
    );
    let third = memory.len() / 3;
    println!(
        "memory: {} KiB after a third of the time, {} KiB at its end, {} KiB at most",
        memory.get(third).copied().unwrap_or(0),
        memory.last().copied().unwrap_or(0),
        memory.iter().max().copied().unwrap_or(0)
    );
    println!(
        "the folder itself, written in sequence: {:.0} MB a second",
        sequential(root, count.bytes.min(1 << 30)) / 1e6
    );
}

/// Records until it is told to stop; how many were taken, and how many a full ring refused.
fn produce(seat: Seat, stop: &AtomicBool) -> (u64, u64) {
    let (producer, facts, mut taken, mut full) = (seat.take(), facts(), 0_u64, 0_u64);
    let (rate, begun) = (setting("RATE"), Instant::now());
    while !stop.load(Ordering::Relaxed) {
        // A clock reading for each burst, not for each record.
        if let Some(rate) = rate
            && taken.is_multiple_of(BURST as u64)
            && begun.elapsed().as_nanos() < u128::from(taken) * 1_000_000_000 / u128::from(rate)
        {
            std::thread::sleep(Duration::from_micros(100));
            continue;
        }
        if producer.deny(Nanos(taken), &facts).is_ok() {
            taken += 1;
        } else {
            full += 1;
            // As a worker that refuses would be: busy with something else.
            std::thread::yield_now();
        }
    }
    (taken, full)
}

/// What stands in the segments that were read so far, each of them once.
#[derive(Default)]
struct Count {
    /// Decisions.
    records: u64,
    /// What gaps count.
    lost: u64,
    bytes: u64,
    /// The last segment that was read.
    last: u64,
}

impl Count {
    /// Everything but the segment that is being written.
    fn read_finished(&mut self, log: &Path) {
        let newest = read::segments(log).unwrap().last().map_or(0, |segment| segment.number);
        self.read(log, newest);
    }

    fn read(&mut self, log: &Path, before: u64) {
        for segment in read::segments(log).unwrap() {
            if segment.number <= self.last || segment.number >= before {
                continue;
            }
            assert!(self.last == 0 || segment.number == self.last + 1, "a segment went before it was read: keep more");
            self.last = segment.number;
            self.bytes += std::fs::metadata(&segment.path).unwrap().len();
            let mut reader = read::open(&segment.path, Check::Sums).unwrap();
            while let Some(frame) = reader.next().unwrap() {
                match frame.body().unwrap() {
                    Body::Decision(_) => self.records += 1,
                    Body::Gap(gap) => self.lost += gap.denies.to_native(),
                    _ => {}
                }
            }
        }
    }
}

/// Octets a second of the same amount in writes and syncs of the writer's own size.
fn sequential(root: &Path, bytes: u64) -> f64 {
    let (path, block) = (root.join("sequential"), vec![0x5a_u8; 4 << 20]);
    let begun = Instant::now();
    let mut file = std::fs::File::create(&path).unwrap();
    let blocks = bytes.div_ceil(block.len() as u64).max(1);
    for _ in 0..blocks {
        file.write_all(&block).unwrap();
        file.sync_data().unwrap();
    }
    let took = begun.elapsed();
    std::fs::remove_file(path).unwrap();
    (blocks * block.len() as u64) as f64 / took.as_secs_f64()
}

fn read_back(root: &Path) {
    let log = root.join("log");
    for (name, check) in [("read, sums and archives", Check::Sums), ("read, links and archives", Check::Links)] {
        let (begun, mut records) = (Instant::now(), 0_u64);
        for segment in read::segments(&log).unwrap() {
            let mut reader = read::open(&segment.path, check).unwrap();
            while let Some(frame) = reader.next().unwrap() {
                black_box(frame.body().is_ok());
                records += 1;
            }
        }
        println!("{name}: {:.0} records a second on one core", records as f64 / begun.elapsed().as_secs_f64());
    }
    let begun = Instant::now();
    let Verified::Ok(vouched) = verify::log(&log, &Trust { state: root.join("state"), anchor: None }) else {
        println!("the log does not verify");
        std::process::exit(1);
    };
    println!("verify: {:.0} records a second on one core", vouched.records as f64 / begun.elapsed().as_secs_f64());
}

/// Resident memory of this process.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
