//! The whole path, from facts in a ring to records in files.

use super::super::read::{self, Check};
use super::super::record::Body;
use super::*;
use crate::audit::{DecisionFacts, Lifecycle, OutcomeFacts, Producer, Refused, Verdict};

struct Folders {
    _root: tempfile::TempDir,
    dir: PathBuf,
    state: PathBuf,
}

fn folders() -> Folders {
    let root = tempfile::tempdir().unwrap();
    Folders { dir: root.path().join("log"), state: root.path().join("state"), _root: root }
}

impl Folders {
    fn options(&self) -> WriterOptions {
        WriterOptions::new(&self.dir, &self.state, 1)
    }
}

fn start(options: WriterOptions) -> (Writer, Producer) {
    let (writer, mut seats) = Writer::start(options).unwrap();
    (writer, seats.pop().unwrap().take())
}

fn denial() -> DecisionFacts<'static> {
    DecisionFacts { agent: "coder", host: Some("api.example.com"), path: Some("/v1/x"), ..DecisionFacts::default() }
}

fn allowance() -> DecisionFacts<'static> {
    DecisionFacts { verdict: Verdict::Allow, rule: Some("model calls"), ..denial() }
}

/// `seq` and kind of every record, links checked.
fn kinds(dir: &Path) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    for segment in read::segments(dir).unwrap() {
        let mut reader = read::open(&segment.path, Check::Links).unwrap();
        while let Some(frame) = reader.next().unwrap() {
            let what = match frame.body().unwrap() {
                Body::Lifecycle(event) => Lifecycle::from_code(event.event).unwrap().word().to_owned(),
                Body::Outcome(outcome) => format!("outcome {}", outcome.code.as_str()),
                _ => frame.schema.kind().to_owned(),
            };
            found.push((frame.seq, what));
        }
    }
    found
}

fn words(dir: &Path) -> Vec<String> {
    let found = kinds(dir);
    assert!(found.iter().map(|(seq, _)| *seq).eq(0..found.len() as u64), "seq has no holes");
    found.into_iter().map(|(_, what)| what).collect()
}

#[test]
fn puts_decisions_and_outcomes_on_record_in_order() {
    let folders = folders();
    let (writer, producer) = start(folders.options());
    let credit = producer.allow(Nanos(1), &allowance()).unwrap();
    producer.deny(Nanos(2), &denial()).unwrap();
    credit.outcome(Nanos(3), &OutcomeFacts { status: Some(200), ..OutcomeFacts::default() });
    drop(producer.allow(Nanos(4), &allowance()).unwrap());
    drop(producer);
    let summary = writer.finish().unwrap();
    assert_eq!((summary.records, summary.abandoned), (8, 0));
    let expected = ["start", "decision", "decision", "outcome ", "decision", "outcome aborted", "stop", "seal"];
    assert_eq!(words(&folders.dir), expected);
}
