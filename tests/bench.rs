//! The harness against known truths: it shows a stall, counts what is wrong, and keeps its schedule.

#![allow(clippy::expect_used, reason = "a test stops at the first surprise")]

use std::net::TcpListener;
use std::process::{Command, Output};
use std::time::Duration;

use ringfence::bench::generator::{Generator, Setup, Slice, engine};
use ringfence::bench::origin::Behaviour;
use ringfence::bench::report::hgrm;
use ringfence::bench::statistics::{add, histogram};
use ringfence::bench::{Credentials, Measured};

const HOST: &str = "origin.bench.test";

fn setup(target: &TcpListener, behaviour: Behaviour, connections: usize) -> Setup {
    Setup {
        target: target.local_addr().expect("bound").to_string(),
        host: HOST.to_owned(),
        credentials: None,
        trust_environment: false,
        connections,
        behaviour,
        cpu: None,
        spin: true,
    }
}

fn slice(count: u64, interval: Duration) -> Slice {
    Slice { count, interval_ns: u64::try_from(interval.as_nanos()).expect("short"), grace: Duration::from_secs(5) }
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
    let text = hgrm(&whole);
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

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringfence")).args(["bench", "run"]).args(arguments).output().expect("run")
}

#[test]
fn a_run_leaves_a_summary_its_environment_and_a_histogram_per_target() {
    let out = tempfile::tempdir().expect("a folder");
    let folder = out.path().to_str().expect("text");
    let run = bench(&[
        "--scenario",
        "latency",
        "--target",
        "direct,relay",
        "--rate",
        "100",
        "--duration",
        "0.5",
        "--out",
        folder,
    ]);
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let read = |name: &str| std::fs::read_to_string(out.path().join(name)).expect(name);
    let summary: serde_json::Value = serde_json::from_str(&read("summary.json")).expect("JSON");
    assert_eq!(summary["scenario"], "latency");
    assert_eq!(summary["rounds"], 5);
    assert!(summary["valid"].is_boolean() && summary["why"].is_string());
    for target in ["direct", "relay"] {
        let figures = &summary["targets"][target];
        assert_eq!((&figures["requests"], &figures["errors"]), (&50.into(), &0.into()), "{summary}");
        for figure in ["rps", "p50_us", "p90_us", "p99_us", "p999_us", "max_us", "cpu_us_per_request"] {
            assert!(figures[figure].is_number(), "{target} {figure}");
        }
        assert!(read(&format!("{target}.hgrm")).contains("#[Mean"));
    }
    assert!(summary["targets"]["relay"]["cpu_us_per_request"].as_f64() > Some(0.0));
    assert_eq!(summary["added"]["relay"]["over"], "direct");
    assert_eq!(summary["added"]["relay"]["p50_ci95_us"].as_array().map(Vec::len), Some(2));
    let environment: serde_json::Value = serde_json::from_str(&read("environment.json")).expect("JSON");
    assert_eq!(environment, summary["environment"]);
}

#[test]
fn a_run_with_errors_is_invalid_and_fails_only_when_strict() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("broken.yaml");
    std::fs::write(&file, "targets: [direct]\nrate: 100\nduration: 0.2\norigin: { status: 500 }\n").expect("written");
    let scenario = file.to_str().expect("text");
    let lenient = bench(&["--scenario", scenario]);
    assert_eq!(lenient.status.code(), Some(0), "{}", String::from_utf8_lossy(&lenient.stderr));
    assert!(String::from_utf8_lossy(&lenient.stdout).contains("INVALID"));
    assert_eq!(bench(&["--scenario", scenario, "--strict"]).status.code(), Some(1));
}

#[test]
fn wrong_use_is_told_in_one_line() {
    for arguments in [["--scenario", "nonsense"], ["--scenario", "Cargo.toml"]] {
        let refused = bench(&arguments);
        assert_eq!(refused.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&refused.stderr).starts_with("ringfence: bench: "));
    }
    assert_eq!(bench(&["--scenario", "latency", "--rate", "-1"]).status.code(), Some(2));
}
