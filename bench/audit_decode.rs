//! How fast a log is read, by what for: `cargo bench --bench audit_decode [RECORDS]`.
//!
//! Writes a log of a million records of the kinds that a proxy writes (nine allowed exchanges for each denial, 50 hosts, 1,000 paths), then runs
//! the binary on it as a user would, with its output to /dev/null. Rates are records of the log per second of processor time, which a busy
//! machine does not change much; wall time stands beside them. The log lies in memory where /dev/shm is, so no disk is measured.

use std::error::Error;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use ringfence::audit::{
    Credit, DecisionFacts, Inspected, Nanos, OutcomeFacts, Producer, Query, Refused, Scheme, Verdict, Writer,
    WriterOptions,
};

const START_NS: u64 = 1_790_000_000_000_000_000;
/// Between two requests.
const STEP_NS: u64 = 1_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let records: u64 = arguments.next().map_or(Ok(1_000_000), |records| records.parse())?;
    let memory = Path::new("/dev/shm");
    let root = if memory.is_dir() { tempfile::tempdir_in(memory)? } else { tempfile::tempdir()? };
    let log = root.path().join("log");
    let written = Instant::now();
    let requests = write(&log, &root.path().join("state"), records)?;
    let (records, octets) = measure_log(&log)?;
    println!("{records} records, {octets} octets, written in {:.1} s", written.elapsed().as_secs_f64());
    let policy = root.path().join("policy.yaml");
    std::fs::write(&policy, policy_text())?;
    let last_second = Nanos(START_NS + requests * STEP_NS - 1_000_000_000);
    let since = jiff::Timestamp::from_nanosecond(last_second.0.into())?.to_string();
    let (log, policy) = (log.display().to_string(), policy.display().to_string());
    println!("{:<44} {:>14} {:>10} {:>10}", "command", "records/s CPU", "CPU s", "wall s");
    for (name, command) in [
        ("decode --format json", vec!["audit", "decode", &log, "--format", "json"]),
        ("decode --verdict deny", vec!["audit", "decode", &log, "--format", "json", "--verdict", "deny"]),
        ("decode --host h7.example.com", vec!["audit", "decode", &log, "--format", "json", "--host", "h7.example.com"]),
        ("decode --since (the last second)", vec!["audit", "decode", &log, "--format", "json", "--since", &since]),
        ("decode --format csv", vec!["audit", "decode", &log, "--format", "csv"]),
        ("decode --format table", vec!["audit", "decode", &log, "--format", "table"]),
        ("decode --format agt", vec!["audit", "decode", &log, "--format", "agt"]),
        ("stats", vec!["audit", "stats", &log]),
        ("export --format parquet", vec!["audit", "export", &log, "--format", "parquet"]),
        ("export --format otlp", vec!["audit", "export", &log, "--format", "otlp"]),
        ("verify", vec!["audit", "verify", &log]),
        ("policy test --from-audit", vec!["policy", "test", &policy, "--from-audit", &log]),
    ] {
        let (cpu, wall) = timed(root.path(), &command)?;
        let rate = records as f64 / cpu.as_secs_f64();
        println!("{name:<44} {rate:>14.0} {:>10.3} {:>10.3}", cpu.as_secs_f64(), wall.as_secs_f64());
    }
    Ok(())
}

/// Processor and wall time of one run of the binary.
fn timed(state: &Path, command: &[&str]) -> Result<(Duration, Duration), Box<dyn Error>> {
    let before = children()?;
    let started = Instant::now();
    let mut program = Command::new(env!("CARGO_BIN_EXE_ringfence"));
    let status = program.args(command).env("RINGFENCE_STATE", state.join("state")).stdout(Stdio::null()).status()?;
    // `policy test` says with 1 that verdicts would change.
    if status.code().is_none_or(|code| code > 1) {
        return Err(format!("{command:?}: {status}").into());
    }
    Ok((children()? - before, started.elapsed()))
}

fn children() -> Result<Duration, Box<dyn Error>> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let time = |time: nix::sys::time::TimeVal| -> Result<Duration, Box<dyn Error>> {
        Ok(Duration::from_secs(time.tv_sec().try_into()?) + Duration::from_micros(time.tv_usec().try_into()?))
    };
    Ok(time(usage.user_time())? + time(usage.system_time())?)
}

/// Writes about so many records; returns how many requests that were.
fn write(log: &Path, state: &Path, records: u64) -> Result<u64, Box<dyn Error>> {
    let options = WriterOptions { agent: "coder".into(), ..WriterOptions::new(log, state, 1) };
    let (writer, mut seats) = Writer::start(options)?;
    let producer = seats.pop().ok_or("one ring has one seat")?.take();
    let mut requests = 0;
    let mut written = 0;
    while written < records {
        written += exchange(&producer, requests);
        requests += 1;
    }
    drop(producer);
    writer.finish()?;
    Ok(requests)
}

/// One request; returns how many records it is.
fn exchange(producer: &Producer, number: u64) -> u64 {
    let host = format!("h{}.example.com", number % 50);
    let path = format!("/v1/items/{}/parts", number % 1_000);
    let time = Nanos(START_NS + number * STEP_NS);
    let is_denied = number % 10 == 9;
    let facts = DecisionFacts {
        agent: "coder",
        connection: number / 10,
        scheme: Some(Scheme::Https),
        source: "127.0.0.1:40000".parse().ok(),
        destination: "203.0.113.7:443".parse().ok(),
        sni: Some(&host),
        host: Some(&host),
        port: Some(443),
        method: Some(if is_denied { "DELETE" } else { "POST" }),
        path: Some(&path),
        query: number.is_multiple_of(4).then_some(Query::Redacted),
        verdict: if is_denied { Verdict::Deny } else { Verdict::Allow },
        rule: Some(if is_denied { "delete anything" } else { "model calls" }),
        reason: is_denied.then_some("Deletion needs a person."),
        status: is_denied.then_some(403),
        policy: Some([0xab; 32]),
        inspected: Inspected::ADDRESS | Inspected::SNI | Inspected::HEAD,
        decide_ns: 850,
        ..DecisionFacts::default()
    };
    if is_denied {
        again(|| producer.deny(time, &facts));
        return 1;
    }
    let credit: Credit = again(|| producer.allow(time, &facts));
    let outcome = OutcomeFacts {
        status: Some(200),
        upstream: "203.0.113.7:443".parse().ok(),
        bytes_up: 1_200,
        bytes_down: 24_000,
        upstream_ns: 80_000_000 + number % 1_000,
        total_ns: 90_000_000 + number % 1_000,
        ..OutcomeFacts::default()
    };
    credit.outcome(Nanos(time.0 + 500_000), &outcome);
    2
}

/// Until the ring has room.
fn again<T>(mut record: impl FnMut() -> Result<T, Refused>) -> T {
    loop {
        match record() {
            Ok(recorded) => return recorded,
            Err(_) => std::thread::yield_now(),
        }
    }
}

/// Records and octets of a log; refused attempts have left gaps, which count.
fn measure_log(log: &Path) -> Result<(u64, u64), Box<dyn Error>> {
    use ringfence::audit::read;
    let (mut records, mut octets) = (0, 0);
    for segment in read::segments(log)? {
        octets += std::fs::metadata(&segment.path)?.len();
        let mut reader = read::open(&segment.path, read::Check::Sums)?;
        while reader.next()?.is_some() {}
        records = reader.next_seq();
    }
    Ok((records, octets))
}

/// Twenty rules, one of which is about the requests.
fn policy_text() -> String {
    let others: String = (0..18)
        .map(|n| format!("  - allow: other {n}\n    host: other{n}.example.com\n    path: /v{n}/**\n"))
        .collect();
    format!(
        "ringfence: v1\nrules:\n  - allow: model calls\n    host: \"*.example.com\"\n    method: POST\n    path: /v1/**\n  \
         - deny: delete anything\n    method: DELETE\n{others}"
    )
}
