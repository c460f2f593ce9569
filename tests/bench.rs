//! The harness against known truths: it shows a stall, counts what is wrong, and keeps its schedule. What `ringfence bench` does as a
//! process is claimed in `bench/runs.rs`.

#![allow(clippy::expect_used, reason = "a test stops at the first surprise")]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use ringfence::bench::generator::{Generator, Route, Setup, Slice, engine};
use ringfence::bench::origin::Behaviour;
use ringfence::bench::scenario::{Arrivals, Busy, Call, Connection};
use ringfence::bench::statistics::{a_second, add, histogram};
use ringfence::bench::{Credentials, Measured, Trust, hgrm};

#[path = "bench/runs.rs"]
mod runs;

const HOST: &str = "origin.bench.test";

fn setup(target: &TcpListener, behaviour: Behaviour, connections: usize) -> Setup {
    Setup {
        target: target.local_addr().expect("bound").to_string(),
        route: Route::Origin,
        host: HOST.to_owned(),
        credentials: None,
        trust: Trust::Authority,
        enforcing: false,
        call: Call::Bytes,
        connections,
        connection: Connection::Kept,
        busy: Busy::Wait,
        idle: 0,
        behaviour,
        cpu: None,
        spin: true,
    }
}

fn slice(count: u64, interval: Duration) -> Slice {
    Slice {
        arrivals: Arrivals::Constant,
        count,
        interval_ns: u64::try_from(interval.as_nanos()).expect("short"),
        grace: Duration::from_secs(5),
        seed: 1,
    }
}

fn measure(setup: Setup, listener: TcpListener, slice: Slice) -> Measured {
    engine(&setup).expect("an engine").run(async move {
        let mut generator = Generator::open(setup, listener).await.expect("connected");
        generator.slice(slice).await.expect("measured")
    })
}

fn measure_direct(behaviour: Behaviour, connections: usize, slice: Slice) -> Measured {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let setup = setup(&listener, behaviour, connections);
    measure(setup, listener, slice)
}

fn quantile_ms(pairs: &[(u64, u64)], quantile: f64) -> f64 {
    let mut whole = histogram();
    add(&mut whole, pairs);
    Duration::from_nanos(whole.value_at_quantile(quantile)).as_secs_f64() * 1e3
}

fn count(pairs: &[(u64, u64)]) -> u64 {
    pairs.iter().map(|(_, count)| count).sum()
}

#[test]
fn a_stall_of_the_origin_shows_in_every_request_that_was_due_meanwhile() {
    // Half of every second stands still, so about half of the requests wait, on average half of the stall. A closed loop would
    // have seen one slow request a second.
    let behaviour = Behaviour { stall_ms: 500, ..Behaviour::default() };
    let measured = measure_direct(behaviour, 1, slice(200, Duration::from_millis(10)));
    assert_eq!((measured.requests, measured.errors, measured.missed), (200, 0, 0), "{:?}", measured.first_error);
    assert_eq!(count(&measured.latency), 200);
    assert!(quantile_ms(&measured.latency, 1.0) >= 450.0);
    assert!(quantile_ms(&measured.latency, 0.75) >= 200.0, "{}", quantile_ms(&measured.latency, 0.75));
    assert!(measured.late > 60, "{}", measured.late);
}

#[test]
fn an_origin_that_stalls_for_100_ms_in_each_second_is_in_the_histogram() {
    // One request in ten falls into a stall, and waits for half of it on average.
    let behaviour = Behaviour { stall_ms: 100, ..Behaviour::default() };
    let measured = measure_direct(behaviour, 1, slice(600, Duration::from_millis(5)));
    assert_eq!((measured.errors, count(&measured.latency)), (0, 600), "{:?}", measured.first_error);
    assert!(quantile_ms(&measured.latency, 0.95) >= 40.0, "{}", quantile_ms(&measured.latency, 0.95));
    assert!(quantile_ms(&measured.latency, 1.0) >= 90.0, "{}", quantile_ms(&measured.latency, 1.0));
}

#[test]
fn a_closed_loop_does_not_see_most_of_a_stall() {
    // The trap that the open loop avoids, kept as a choice: one slow request a stall, however many would have come meanwhile.
    let behaviour = Behaviour { stall_ms: 500, ..Behaviour::default() };
    let closed = Slice { arrivals: Arrivals::Closed, ..slice(2000, Duration::from_millis(1)) };
    let measured = measure_direct(behaviour, 1, closed);
    assert_eq!((measured.errors, measured.late, measured.missed), (0, 0, 0), "{:?}", measured.first_error);
    assert!(measured.requests > 100, "{}", measured.requests);
    let slow: u64 = measured.latency.iter().filter(|(value, _)| *value >= 300_000_000).map(|(_, count)| count).sum();
    assert!((1..=3).contains(&slow), "{slow}");
}

#[test]
fn requests_at_random_are_as_many_as_were_asked_for() {
    let random = Slice { arrivals: Arrivals::Poisson, ..slice(500, Duration::from_millis(1)) };
    let measured = measure_direct(Behaviour::default(), 4, random);
    assert_eq!((measured.requests, measured.errors, count(&measured.latency)), (500, 0, 500));
    // 500 exponential distances add up to 500 of them, give or take a hundred and fifty.
    assert!((350_000_000..=1_500_000_000).contains(&measured.elapsed_ns), "{}", measured.elapsed_ns);
}

#[test]
fn a_request_gets_a_connection_of_its_own_and_a_session_is_resumed_where_it_may_be() {
    for (connection, tls) in [(Connection::New, false), (Connection::New, true), (Connection::Resumed, true)] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let credentials = tls.then(|| Credentials::new(&[HOST]).expect("made"));
        let setup = Setup { connection, credentials, ..setup(&listener, Behaviour::default(), 1) };
        // One after the other, so that each has the session of the one before.
        let closed = Slice { arrivals: Arrivals::Closed, ..slice(300, Duration::from_millis(1)) };
        let measured = measure(setup, listener, closed);
        assert_eq!((measured.errors, measured.connected), (0, measured.requests), "{:?}", measured.first_error);
        let resumed = if connection == Connection::Resumed { measured.connected - 1 } else { 0 };
        assert!(measured.connected > 1);
        assert_eq!(measured.resumed, resumed, "{connection:?}");
    }
}

#[test]
fn a_busy_connection_holds_nobody_up_where_another_may_be_opened() {
    let behaviour = Behaviour { stall_ms: 500, ..Behaviour::default() };
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let setup = Setup { busy: Busy::Connect, ..setup(&listener, behaviour, 1) };
    let measured = measure(setup, listener, slice(200, Duration::from_millis(10)));
    assert_eq!((measured.errors, measured.late), (0, 0), "{:?}", measured.first_error);
    assert!(measured.connected > 10, "{}", measured.connected);
}

#[test]
fn events_count_from_when_they_were_due_and_wrong_ones_are_errors() {
    let stream = |behaviour| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let setup = Setup { call: Call::Events, ..setup(&listener, behaviour, 10) };
        measure(setup, listener, slice(205, Duration::from_millis(2)))
    };
    let measured = stream(Behaviour::default());
    assert_eq!((measured.requests, measured.errors), (205, 0), "{:?}", measured.first_error);
    assert_eq!((count(&measured.latency), count(&measured.lag)), (205, 205));
    assert!(measured.elapsed_ns >= 408_000_000, "{}", measured.elapsed_ns);
    let wrong = stream(Behaviour { wrong_body: true, ..Behaviour::default() });
    assert_eq!((wrong.requests, wrong.errors, count(&wrong.latency)), (205, 205, 0));
}

#[test]
fn tool_calls_are_answered_each_with_its_own_id() {
    for (wrong_body, errors) in [(false, 0), (true, 100)] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let behaviour = Behaviour { wrong_body, ..Behaviour::default() };
        let setup = Setup { call: Call::Mcp, ..setup(&listener, behaviour, 2) };
        let measured = measure(setup, listener, slice(100, Duration::from_millis(1)));
        assert_eq!((measured.requests, measured.errors), (100, errors), "{:?}", measured.first_error);
    }
}

#[test]
fn a_long_body_is_checked_to_its_last_byte() {
    for (wrong_body, errors) in [(false, 0), (true, 3)] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let behaviour = Behaviour { bytes: 3_000_001, wrong_body, ..Behaviour::default() };
        let credentials = Some(Credentials::new(&[HOST]).expect("made"));
        let setup = Setup { credentials, ..setup(&listener, behaviour, 1) };
        let measured = measure(setup, listener, slice(3, Duration::from_millis(50)));
        assert_eq!((measured.requests, measured.errors), (3, errors), "{:?}", measured.first_error);
    }
}

#[test]
fn silent_connections_stay_open_beside_the_load() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let setup = Setup { idle: 50, ..setup(&listener, Behaviour::default(), 1) };
    let measured = measure(setup, listener, slice(50, Duration::from_millis(1)));
    assert_eq!((measured.errors, measured.silent_lost), (0, 0), "{:?}", measured.first_error);
}

#[test]
fn wrong_statuses_and_bodies_are_errors_and_no_latencies() {
    for behaviour in
        [Behaviour { status: 500, ..Behaviour::default() }, Behaviour { wrong_body: true, ..Behaviour::default() }]
    {
        let measured = measure_direct(behaviour, 1, slice(100, Duration::from_millis(1)));
        assert_eq!((measured.requests, measured.errors), (100, 100));
        assert_eq!(count(&measured.latency), 0);
        assert!(measured.first_error.is_some());
    }
}

#[test]
fn the_schedule_is_kept_over_one_and_over_many_connections() {
    for connections in [1, 8] {
        let measured = measure_direct(Behaviour::default(), connections, slice(500, Duration::from_millis(1)));
        assert_eq!((measured.requests, measured.errors), (500, 0), "{:?}", measured.first_error);
        assert_eq!(count(&measured.latency), 500);
        assert_eq!(count(&measured.lag), 500);
        // Sent on schedule, the last request leaves 499 ms after the first: never sooner, however fast the origin is.
        assert!(measured.elapsed_ns >= 499_000_000, "{}", measured.elapsed_ns);
    }
}

#[test]
fn an_answer_that_never_comes_counts_with_the_time_it_was_waited_for() {
    // The target takes connections and says nothing: it is not the generator's own origin.
    let silent = TcpListener::bind("127.0.0.1:0").expect("bound");
    let origin = TcpListener::bind("127.0.0.1:0").expect("bound");
    let setup = setup(&silent, Behaviour::default(), 1);
    let slice = Slice { grace: Duration::from_millis(200), ..slice(10, Duration::from_millis(1)) };
    let measured = measure(setup, origin, slice);
    assert_eq!((measured.requests, measured.errors, measured.missed), (10, 10, 9));
    assert_eq!(count(&measured.latency), 10);
    assert!(quantile_ms(&measured.latency, 0.0) >= 190.0);
}

#[test]
fn speaks_tls_with_the_origin() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let credentials = Credentials::new(&[HOST]).expect("made");
    let setup = Setup { credentials: Some(credentials), ..setup(&listener, Behaviour::default(), 2) };
    let measured = measure(setup, listener, slice(50, Duration::from_millis(1)));
    assert_eq!((measured.requests, measured.errors), (50, 0), "{:?}", measured.first_error);
}

#[test]
fn histograms_have_the_form_that_the_plotter_reads() {
    let mut whole = histogram();
    (1..=1000).for_each(|value| whole.saturating_record(value * 1000));
    let text = hgrm::write(&whole);
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("       Value     Percentile TotalCount 1/(1-Percentile)"));
    let rows: Vec<Vec<f64>> = lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_whitespace().map(|word| word.parse().expect("a number")).collect())
        .collect();
    assert!(rows.iter().all(|row| (0.0..=1.0).contains(&row[1])));
    assert!(rows.is_sorted_by(|a, b| a[1] <= b[1] && a[2] <= b[2]));
    assert_eq!(rows.last().map(|row| (row[1], row[2])), Some((1.0, 1000.0)));
    let middle = rows.iter().find(|row| row[1] >= 0.5).expect("half");
    assert!((499.0..502.0).contains(&middle[0]), "{middle:?}");
}

/// The first number of the line that starts with `label`, of a program that measures the origin at `url`.
fn told(program: &str, arguments: &[&str], label: &str) -> f64 {
    let output = Command::new(program).args(arguments).output().expect(program);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(label));
    let number = |word: &str| word.trim_end_matches(|letter: char| !letter.is_ascii_digit()).parse::<f64>().ok();
    // h2load has the time first: "finished in 5.00s, 61234.20 req/s, …".
    let mut numbers = line.expect(label).split(',').flat_map(str::split_whitespace).filter_map(number);
    if program == "h2load" { numbers.nth(1) } else { numbers.next() }.expect("a rate")
}

#[test]
#[ignore = "measures; needs wrk and h2load, a release build and a quiet machine"]
fn wrk_and_h2load_agree_with_the_harness_on_one_origin() {
    let mut origin = Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .args(["bench", "origin", "--spin", "0"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("an origin");
    let mut line = String::new();
    BufReader::new(origin.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    let address = line.trim().strip_prefix("http ").expect("an address").to_owned();
    let url = format!("http://{address}/bytes/256");
    // In turns, because a virtual machine's minutes differ by more than instruments do.
    let (mut wrk, mut h2load, mut ours) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..7 {
        wrk.push(told("wrk", &["-t1", "-c16", "-d2s", &url], "Requests/sec:"));
        h2load.push(told("h2load", &["--h1", "-t1", "-c16", "-D2", &url], "finished in"));
        let own = TcpListener::bind("127.0.0.1:0").expect("bound");
        let setup = Setup { target: address.clone(), spin: false, ..setup(&own, Behaviour::default(), 16) };
        let closed = Slice { arrivals: Arrivals::Closed, ..slice(2000, Duration::from_millis(1)) };
        let measured = measure(setup, own, closed);
        assert_eq!(measured.errors, 0, "{:?}", measured.first_error);
        ours.push(a_second(measured.requests, measured.elapsed_ns));
    }
    origin.kill().expect("ended");
    origin.wait().expect("ended");
    let [wrk, h2load, ours] = [wrk, h2load, ours].map(median);
    println!("requests a second, medians of seven: wrk {wrk:.0}, h2load {h2load:.0}, ringfence {ours:.0}");
    for other in [wrk, h2load] {
        assert!((ours / other - 1.0).abs() < 0.1, "{ours:.0} and {other:.0}");
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
