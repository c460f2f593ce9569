//! What people do with a log: the binary's `audit` commands on logs that a writer writes here.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "in tests a broken assumption is a failure")]

#[path = "util/mod.rs"]
mod util;

use ringfence::audit::{DecisionFacts, Nanos, OutcomeFacts, Producer, Verdict, Writer, WriterOptions};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use util::Program;

fn audit(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
    command.arg("audit").args(arguments);
    command
}

fn output(command: &mut Command) -> Output {
    command.output().unwrap()
}

/// A log that is being written, with small segments.
struct Log {
    dir: PathBuf,
    writer: Writer,
    producer: Producer,
}

impl Log {
    fn begin(root: &Path) -> Log {
        let dir = root.join("log");
        // Segments of 16 KiB, so that a hundred records fill some.
        let options = WriterOptions {
            agent: "coder".into(),
            segment_bytes: 16 * 1024,
            ..WriterOptions::new(&dir, root.join("state"), 1)
        };
        let (writer, mut seats) = Writer::start(options).unwrap();
        Log { dir, writer, producer: seats.pop().unwrap().take() }
    }

    /// An allowed exchange: two records.
    fn call(&self, time: u64, path: &str) {
        let facts = DecisionFacts {
            agent: "coder",
            host: Some("api.example.com"),
            method: Some("POST"),
            path: Some(path),
            verdict: Verdict::Allow,
            rule: Some("model calls"),
            decide_ns: 900,
            ..DecisionFacts::default()
        };
        let outcome = OutcomeFacts {
            status: Some(200),
            bytes_up: 10,
            bytes_down: 20,
            total_ns: 5_000_000,
            ..OutcomeFacts::default()
        };
        self.producer.allow(Nanos(time), &facts).unwrap().outcome(Nanos(time + 1), &outcome);
    }

    fn close(self) -> PathBuf {
        drop(self.producer);
        self.writer.finish().unwrap();
        self.dir
    }
}

/// Where the build and what `scripts/test` installs are.
fn target() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_ringfence")).ancestors().nth(2).unwrap().to_owned()
}

fn dir(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn follows_a_log_into_its_next_segments_until_interrupted() {
    let root = tempfile::tempdir().unwrap();
    let log = Log::begin(root.path());
    let program = Program::start(&mut audit(&["decode", dir(&log.dir), "--follow", "--format", "json"]));
    let next = || -> Value { serde_json::from_str(&program.line().unwrap()).unwrap() };
    assert_eq!(next()["kind"], "lifecycle");
    let mut seq = 0;
    for number in 0..200 {
        log.call(number, &format!("/v1/{number}"));
        if number % 50 != 0 {
            continue;
        }
        // What has come so far is printed while the writer is at work.
        loop {
            let record = next();
            seq += 1;
            assert_eq!(record["seq"], seq);
            if record["path"] == format!("/v1/{number}") {
                break;
            }
        }
    }
    let dir = log.close();
    let last = loop {
        let record = next();
        seq += 1;
        assert_eq!(record["seq"], seq, "nothing is left out and nothing comes twice");
        if record["event"] == "stop" {
            break next();
        }
    };
    assert_eq!(last["kind"], "seal");
    assert!(last["segment"].as_u64().unwrap() > 2, "{last}");
    let pid = nix::unistd::Pid::from_raw(program.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let finished = program.finish();
    assert_eq!((finished.status.code(), finished.stderr.as_str()), (Some(0), ""));
    assert!(dir.exists());
}

#[test]
fn following_with_filters_starts_where_the_index_says_and_ends_with_its_reader() {
    let root = tempfile::tempdir().unwrap();
    let log = Log::begin(root.path());
    (0..200).for_each(|number| log.call(number * 1_000_000_000, &format!("/v1/{number}")));
    let dir = log.close();
    let since = ["--since", "1970-01-01T00:03:19Z", "--until", "1970-01-01T01:00:00Z", "--rule", "model calls"];
    let arguments = [&["decode", self::dir(&dir), "--follow", "--format", "json"], &since[..]].concat();
    let program = Program::start(&mut audit(&arguments));
    let record: Value = serde_json::from_str(&program.line().unwrap()).unwrap();
    assert_eq!(record["path"], "/v1/199");
    let mut reader = Command::new("sh");
    let follow = format!(
        "{} audit decode {} --follow --format json | head -1",
        env!("CARGO_BIN_EXE_ringfence"),
        self::dir(&dir)
    );
    // Ends although nothing more is ever written.
    let head = output(reader.args(["-c", &follow]));
    assert!(head.status.success());
    assert_eq!(String::from_utf8(head.stdout).unwrap().lines().count(), 1);
}

#[test]
fn decode_since_finds_the_same_as_reading_everything() {
    let root = tempfile::tempdir().unwrap();
    let log = Log::begin(root.path());
    (0..300).for_each(|number| log.call(number * 1_000_000_000, "/v1/chat"));
    let dir = log.close();
    let seqs = |options: &[&str]| -> Vec<u64> {
        let out = output(&mut audit(&[&["decode", self::dir(&dir), "--format", "json"], options].concat()));
        assert!(out.status.success());
        let text = String::from_utf8(out.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64().unwrap()).collect()
    };
    let all = seqs(&[]);
    assert!(all.iter().copied().eq(0..all.len() as u64));
    // A hundred exchanges; what the writer says of itself happened now.
    assert_eq!(seqs(&["--since", "1970-01-01T00:01:40Z", "--until", "1970-01-01T00:03:20Z"]).len(), 200);
    assert_eq!(seqs(&["--until", "1970-01-01T00:00:00Z"]).len(), 0);
}

#[test]
fn stats_counts_on_a_pipe_and_as_json() {
    let root = tempfile::tempdir().unwrap();
    let log = Log::begin(root.path());
    (0..100).for_each(|number| log.call(number, "/v1/chat"));
    let dir = log.close();
    let out = output(&mut audit(&["stats", self::dir(&dir), "--rule", "model calls", "--json"]));
    let stats: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(stats["kinds"], serde_json::json!({"decision": 100, "outcome": 100}));
    assert_eq!((&stats["bytes_up"], &stats["bytes_down"]), (&1000.into(), &2000.into()));
    assert_eq!(stats["latency_ns"]["total"]["count"], 100);
    let out = output(&mut audit(&["stats", self::dir(&dir)]));
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.contains("model calls") && text.contains("p99") && !text.contains('█'), "{text}");
}

/// The verifier that users of the Agent Governance Toolkit have, from its own package: `scripts/test` installs it.
#[test]
#[ignore = "needs the packages of tests/audit/requirements.txt; scripts/test installs them and runs it"]
fn agts_own_verifier_accepts_the_export_and_refuses_a_changed_one() {
    let root = tempfile::tempdir().unwrap();
    let log = Log::begin(root.path());
    (0..50).for_each(|number| log.call(number * 1_000_000_007, "/v1/na\u{ef}ve/\u{202e}\u{1f600}\"\\"));
    let refused = DecisionFacts { host: Some("evil.example"), code: Some("default"), ..DecisionFacts::default() };
    log.producer.deny(Nanos(7), &refused).unwrap();
    let dir = log.close();
    let (key, entries) = (root.path().join("key"), root.path().join("entries.jsonl"));
    std::fs::write(&key, b"correct horse").unwrap();
    let verify = |secret: &str| -> String {
        let python = target().join("audit-venv/bin/python");
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/audit/verify_agt.py");
        let out = Command::new(python).args([program, self::dir(&entries), secret]).output();
        let out = out.expect("scripts/test has made target/audit-venv");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    };
    let export = |options: &[&str]| {
        let out = output(&mut audit(&[&["decode", self::dir(&dir), "--format", "agt"], options].concat()));
        assert!(out.status.success());
        std::fs::write(&entries, &out.stdout).unwrap();
        String::from_utf8(out.stdout).unwrap()
    };
    let text = export(&["--agt-key", self::dir(&key)]);
    assert!(text.lines().count() > 100);
    assert_eq!(verify("correct horse"), "True 0");
    assert!(verify("another").starts_with("False"));
    for (from, to) in
        [("POST", "GET "), ("model calls", "other calls"), ("\"seq\": 9,", "\"seq\": 8,"), ("denied", "succes")]
    {
        assert!(text.contains(from), "{from}");
        std::fs::write(&entries, text.replacen(from, to, 1)).unwrap();
        assert!(verify("correct horse").starts_with("False"), "{from}");
    }
    let without_a_line: Vec<_> = text.lines().enumerate().filter(|(at, _)| *at != 20).map(|(_, line)| line).collect();
    std::fs::write(&entries, without_a_line.join("\n")).unwrap();
    assert!(verify("correct horse").starts_with("False"));
    export(&[]);
    assert_eq!(verify(""), "True 0", "without a key file the secret is empty");
}
