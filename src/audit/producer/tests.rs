//! What a record costs the worker. Run with `cargo test --release -- --ignored --nocapture measures`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::super::ring;
use super::*;
use crate::audit::{Inspected, Scheme, Verdict, Writer, WriterOptions};

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

fn desk() -> (Producer, ring::Head) {
    let (tail, head) = ring::ring(crate::limits::AUDIT_RING_BYTES);
    let seat = Seat { tail, health: Arc::default(), durable: None, block: None, prefix: 1 };
    (seat.take(), head)
}

#[test]
fn gives_every_decision_an_id_of_its_own() {
    let (producer, _head) = desk();
    let first = producer.deny(Nanos(1), &facts()).unwrap();
    let second = producer.allow(Nanos(1), &facts()).unwrap();
    assert_ne!(first, second.id());
    assert_eq!(first.to_string(), "00000000000000010000000000000000");
}

fn percentile(sorted: &[u64], share: f64) -> u64 {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

/// Times single calls, takes the cost of the clock off, and prints percentiles in nanoseconds.
fn measure(name: &str, mut call: impl FnMut(u64), mut between: impl FnMut()) {
    const CALLS: usize = 1_000_000;
    let clock = (0..10_000)
        .map(|_| {
            let start = Instant::now();
            start.elapsed().as_nanos() as u64
        })
        .min()
        .unwrap();
    let mut times = Vec::with_capacity(CALLS);
    for number in 0..CALLS {
        if number % 1024 == 0 {
            between();
        }
        let start = Instant::now();
        call(number as u64);
        times.push((start.elapsed().as_nanos() as u64).saturating_sub(clock));
    }
    times.sort_unstable();
    let [p50, p90, p99, p999] = [0.5, 0.9, 0.99, 0.999].map(|share| percentile(&times, share));
    let start = Instant::now();
    let mut spent = Duration::ZERO;
    for block in 0..1000 {
        between();
        let start = Instant::now();
        (0..1024).for_each(|number| call(block * 1024 + number));
        spent += start.elapsed();
    }
    let mean = spent.as_nanos() as f64 / 1_024_000.0;
    println!(
        "{name}: p50 {p50} p90 {p90} p99 {p99} p99.9 {p999} ns (clock {clock} taken off); mean of blocks {mean:.1} ns"
    );
    black_box(start);
}

#[test]
#[ignore = "a measurement"]
fn measures_the_producer() {
    let facts = facts();
    let (producer, head) = desk();
    let head = std::cell::RefCell::new(head);
    let drain = || {
        let mut head = head.borrow_mut();
        head.take(usize::MAX, 0, |record| {
            black_box(record.payload);
        });
        head.release();
    };
    let deny = |n| {
        black_box(producer.deny(Nanos(n), black_box(&facts)).unwrap());
    };
    measure("deny", deny, drain);
    measure(
        "allow + outcome",
        |n| producer.allow(Nanos(n), black_box(&facts)).unwrap().outcome(Nanos(n), &OutcomeFacts::default()),
        drain,
    );
}

/// One producer as fast as it goes, a writer with chain and group commit: records a second that reach the disk, none lost.
#[test]
#[ignore = "a measurement"]
fn measures_the_whole_path() {
    let root = std::env::var_os("RINGFENCE_MEASURE_FOLDER").map_or_else(std::env::temp_dir, Into::into);
    let root = tempfile::tempdir_in(root).unwrap();
    let records = 3_000_000_u64;
    let options = WriterOptions::new(root.path().join("log"), root.path().join("state"), 1);
    let (writer, mut seats) = Writer::start(options).unwrap();
    let start = Instant::now();
    let seat = seats.pop().unwrap();
    let full = std::thread::spawn(move || {
        let (producer, facts, mut full) = (seat.take(), facts(), 0_u64);
        for number in 0..records {
            while producer.deny(Nanos(number), &facts).is_err() {
                full += 1;
                std::thread::yield_now();
            }
        }
        full
    });
    let full = full.join().unwrap();
    let summary = writer.finish().unwrap();
    let took = start.elapsed();
    let rate = summary.records as f64 / took.as_secs_f64();
    println!("{} records in {took:?}: {rate:.0} a second, ring full {full} times", summary.records);

    let (trust, start) =
        (crate::audit::verify::Trust { state: root.path().join("state"), anchor: None }, Instant::now());
    let verdict = crate::audit::verify::log(&root.path().join("log"), &trust);
    println!("verified at {:.0} a second: {verdict:?}", summary.records as f64 / start.elapsed().as_secs_f64());
}
