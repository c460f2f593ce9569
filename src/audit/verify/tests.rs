//! A log that was closed in good order, changed in every way we could think of: never `OK`.

use std::fs;
use std::sync::OnceLock;

use super::*;
use crate::audit::head::Key;
use crate::audit::{DecisionFacts, Nanos, OutcomeFacts, Verdict as Said, Writer, WriterOptions};

struct Sample {
    _root: tempfile::TempDir,
    dir: PathBuf,
    state: PathBuf,
}

impl Sample {
    fn trust(&self) -> Trust {
        Trust { state: self.state.clone(), anchor: None }
    }

    fn verdict(&self) -> Verdict {
        log(&self.dir, &self.trust())
    }

    fn segment(&self, number: u64) -> PathBuf {
        self.dir.join(super::super::read::segment_name(number))
    }

    fn head(&self) -> PathBuf {
        fs::read_dir(self.state.join(HEADS_FOLDER)).unwrap().next().unwrap().unwrap().path()
    }

    /// A copy of log and state that may be broken.
    fn copy(&self) -> Self {
        let copy = empty();
        for (from, to) in [
            (&self.dir, &copy.dir),
            (&self.state, &copy.state),
            (&self.state.join(HEADS_FOLDER), &copy.state.join(HEADS_FOLDER)),
        ] {
            fs::create_dir_all(to).unwrap();
            for entry in fs::read_dir(from).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_file() {
                    fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
                }
            }
        }
        copy
    }

    /// Writes `decisions` more, each with its outcome, in segments of `segment_bytes`.
    fn write(&self, decisions: u64, segment_bytes: u64) {
        let options = WriterOptions { segment_bytes, ..WriterOptions::new(&self.dir, &self.state, 1) };
        let (writer, mut seats) = Writer::start(options).unwrap();
        let producer = seats.pop().unwrap().take();
        for number in 0..decisions {
            let path = format!("/v1/items/{number}");
            let facts = DecisionFacts {
                verdict: Said::Allow,
                host: Some("api.example.com"),
                path: Some(&path),
                ..DecisionFacts::default()
            };
            let credit = producer.allow(Nanos(number), &facts).unwrap();
            credit.outcome(Nanos(number + 1), &OutcomeFacts::default());
        }
        drop(producer);
        writer.finish().unwrap();
    }
}

fn empty() -> Sample {
    let root = tempfile::tempdir().unwrap();
    Sample { dir: root.path().join("log"), state: root.path().join("state"), _root: root }
}

/// One segment of 51 records: start, 24 decisions with their outcomes, stop, seal.
fn one_segment() -> &'static Sample {
    static SAMPLE: OnceLock<Sample> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let sample = empty();
        sample.write(24, 1 << 20);
        sample
    })
}

/// Three runs of the writer over one log.
fn three_runs() -> &'static Sample {
    static SAMPLE: OnceLock<Sample> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let sample = empty();
        (0..3).for_each(|_| sample.write(4, 1 << 20));
        sample
    })
}

/// Where each record of a segment starts, and the end.
fn bounds(path: &Path) -> Vec<usize> {
    let mut reader = super::super::read::open(path, super::super::read::Check::Links).unwrap();
    let mut bounds = vec![128];
    while reader.next().unwrap().is_some() {
        bounds.push(usize::try_from(reader.offset()).unwrap());
    }
    bounds
}

fn is_ok(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Ok(_))
}

fn is_tampered(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Tampered(_))
}

#[test]
fn vouches_for_a_closed_log() {
    let Verdict::Ok(vouched) = one_segment().verdict() else { panic!("{:?}", one_segment().verdict()) };
    assert_eq!((vouched.records, vouched.segments, vouched.unsigned), (51, 1, 0));
    assert_eq!(vouched.head, Some(one_segment().head()));
    let Verdict::Ok(vouched) = three_runs().verdict() else { panic!("{:?}", three_runs().verdict()) };
    assert_eq!((vouched.records, vouched.segments), (33, 3));
}

#[test]
fn finds_every_flipped_bit() {
    for sample in [one_segment(), three_runs()] {
        let sample = sample.copy();
        for segment in super::super::read::segments(&sample.dir).unwrap() {
            let whole = fs::read(&segment.path).unwrap();
            // Every bit in a release build. A debug build would take minutes, so there only one bit of every third octet, which one wanders.
            for at in (0..whole.len()).step_by(if cfg!(debug_assertions) { 3 } else { 1 }) {
                for bit in if cfg!(debug_assertions) { at % 8..at % 8 + 1 } else { 0..8 } {
                    let mut changed = whole.clone();
                    changed[at] ^= 1 << bit;
                    fs::write(&segment.path, &changed).unwrap();
                    let verdict = sample.verdict();
                    let version = matches!(verdict, Verdict::Unverifiable(Why::Version(_)));
                    assert!(is_tampered(&verdict) || version, "{segment:?} octet {at} bit {bit}: {verdict:?}");
                }
            }
            fs::write(&segment.path, &whole).unwrap();
        }
        assert!(is_ok(&sample.verdict()));
    }
}

/// A log of 500 records in a few segments.
fn five_hundred() -> Sample {
    let sample = empty();
    sample.write(120, 1 << 20);
    sample.write(126, 1 << 20);
    let Verdict::Ok(vouched) = sample.verdict() else { panic!("{:?}", sample.verdict()) };
    assert!(vouched.records >= 498, "{} records", vouched.records);
    sample
}

/// Flips bits in place, every `step`-th octet from `from` on: all eight, or one that wanders.
fn flips_are_found(sample: &Sample, (from, step): (usize, usize), all: bool) -> u64 {
    use std::os::unix::fs::FileExt;
    let mut flipped = 0;
    for segment in read::segments(&sample.dir).unwrap() {
        let whole = fs::read(&segment.path).unwrap();
        let file = fs::OpenOptions::new().write(true).open(&segment.path).unwrap();
        for at in (from..whole.len()).step_by(step) {
            for bit in if all { 0..8 } else { at % 8..at % 8 + 1 } {
                file.write_all_at(&[whole[at] ^ 1 << bit], at as u64).unwrap();
                let verdict = sample.verdict();
                let version = matches!(verdict, Verdict::Unverifiable(Why::Version(_)));
                assert!(is_tampered(&verdict) || version, "{segment:?} octet {at} bit {bit}: {verdict:?}");
                flipped += 1;
            }
            file.write_all_at(&whole[at..=at], at as u64).unwrap();
        }
    }
    assert!(is_ok(&sample.verdict()));
    flipped
}

#[test]
fn finds_flipped_bits_all_over_500_records() {
    assert!(flips_are_found(&five_hundred(), (1, 509), false) > 200);
}

#[test]
#[ignore = "long: cargo test --release --lib -- --ignored --nocapture 500_records"]
fn finds_every_flipped_bit_of_500_records() {
    let sample = five_hundred();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let copies: Vec<_> = (0..threads).map(|_| sample.copy()).collect();
    let flipped: u64 = std::thread::scope(|scope| {
        let each = copies.iter().enumerate();
        let threads: Vec<_> =
            each.map(|(from, copy)| scope.spawn(move || flips_are_found(copy, (from, threads), true))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    println!("{flipped} bits flipped, one after the other: none was OK");
}

#[test]
#[ignore = "long: cargo test --release --lib -- --ignored --nocapture 500_records"]
fn finds_each_of_500_records_gone_moved_or_repeated() {
    let sample = five_hundred();
    (1..=2).for_each(|segment| changes_of_records_are_found(&sample, segment));
}

#[test]
fn finds_a_record_that_is_gone_moved_or_repeated() {
    changes_of_records_are_found(&one_segment().copy(), 1);
}

fn changes_of_records_are_found(sample: &Sample, segment: u64) {
    let path = sample.segment(segment);
    let whole = fs::read(&path).unwrap();
    let bounds = bounds(&path);
    let record = |at: usize| &whole[bounds[at]..bounds[at + 1]];
    for at in 0..bounds.len() - 1 {
        let (before, after) = (&whole[..bounds[at]], &whole[bounds[at + 1]..]);
        let mut changes = vec![
            ("deleted", [before, after].concat()),
            ("repeated", [before, record(at), record(at), after].concat()),
            ("cut off", before.to_vec()),
            ("torn", [before, &record(at)[..record(at).len() / 2]].concat()),
            ("inserted", [before, record(0), record(at), after].concat()),
        ];
        if at + 2 < bounds.len() {
            changes.push(("swapped", [before, record(at + 1), record(at), &whole[bounds[at + 2]..]].concat()));
        }
        for (what, changed) in changes {
            fs::write(&path, changed).unwrap();
            let verdict = sample.verdict();
            assert!(is_tampered(&verdict), "record {at} {what}: {verdict:?}");
        }
    }
    fs::write(&path, whole).unwrap();
    assert!(is_ok(&sample.verdict()));
}

#[test]
fn finds_a_log_that_was_cut_at_any_octet_or_that_grew() {
    let sample = three_runs().copy();
    let path = sample.segment(3);
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(is_tampered(&sample.verdict()), "cut at {length}");
    }
    fs::write(&path, [&whole[..], b"\0"].concat()).unwrap();
    assert!(is_tampered(&sample.verdict()), "one octet more");
}

#[test]
fn finds_a_segment_that_is_gone_or_out_of_place() {
    for gone in 1..=3 {
        let sample = three_runs().copy();
        fs::remove_file(sample.segment(gone)).unwrap();
        assert!(is_tampered(&sample.verdict()), "segment {gone} is gone");
    }
    let sample = three_runs().copy();
    fs::rename(sample.segment(1), sample.segment(4)).unwrap();
    fs::rename(sample.segment(2), sample.segment(1)).unwrap();
    fs::rename(sample.segment(4), sample.segment(2)).unwrap();
    assert!(is_tampered(&sample.verdict()), "swapped");
    let sample = three_runs().copy();
    fs::copy(sample.segment(3), sample.segment(4)).unwrap();
    assert!(is_tampered(&sample.verdict()), "repeated");
    let sample = three_runs().copy();
    fs::copy(one_segment().segment(1), sample.segment(2)).unwrap();
    assert!(is_tampered(&sample.verdict()), "spliced from another log");
}

#[test]
fn finds_a_log_rolled_back_to_an_earlier_end() {
    let early = empty();
    early.write(4, 1 << 20);
    let rolled_back = early.copy();
    early.write(4, 1 << 20);
    // The old files under the new head.
    fs::copy(early.head(), rolled_back.head()).unwrap();
    assert!(is_tampered(&rolled_back.verdict()));
}

#[test]
fn finds_a_rollback_of_log_and_state_by_an_anchor() {
    let sample = empty();
    sample.write(4, 1 << 20);
    let rolled_back = sample.copy();
    sample.write(4, 1 << 20);
    let anchored = |sample: &Sample, anchor: PathBuf| {
        log(&sample.dir, &Trust { state: sample.state.clone(), anchor: Some(anchor) })
    };
    assert!(is_tampered(&anchored(&rolled_back, sample.head())));
    let verdict = anchored(&sample, sample.head());
    assert!(matches!(verdict, Verdict::Ok(Vouched { anchor: Some(_), head: Some(_), .. })), "{verdict:?}");
    // An older anchor still stands: the log has grown, and the state vouches for the rest.
    let verdict = anchored(&sample, rolled_back.head());
    assert!(is_ok(&verdict), "{verdict:?}");
    let verdict = anchored(&sample, one_segment().head());
    assert!(matches!(verdict, Verdict::Unverifiable(Why::BadHead(..))), "another log's anchor: {verdict:?}");
}

#[test]
fn is_vouched_for_by_an_anchor_alone() {
    let sample = one_segment().copy();
    let trust = Trust { state: sample.dir.join("nothing"), anchor: Some(sample.head()) };
    let verdict = log(&sample.dir, &trust);
    assert!(matches!(verdict, Verdict::Ok(Vouched { head: None, anchor: Some(_), .. })), "{verdict:?}");
}

#[test]
fn does_not_believe_a_forged_log_under_another_key() {
    // The same log id and records, written again by somebody with a key of their own.
    let sample = one_segment().copy();
    let forged = one_segment().copy();
    let (key, _) = Key::generate().unwrap();
    let head = read_head(&sample.head()).unwrap();
    fs::write(forged.head(), SignedHead { key: key.public(), ..head }.sign(&key)).unwrap();
    assert!(matches!(forged.verdict(), Verdict::Unverifiable(Why::BadHead(..))), "{:?}", forged.verdict());
}

/// The last record is a seal: puts one in its place that is right in everything but its key.
fn sealed_again(sample: &Sample, key: &Key) -> (u64, crate::audit::chain::Link) {
    let path = sample.segment(1);
    let whole = fs::read(&path).unwrap();
    let mut reader = read::open(&path, read::Check::Links).unwrap();
    let (header, mut tree) = (*reader.header(), super::super::merkle::Tree::default());
    loop {
        let (start, before) = (usize::try_from(reader.offset()).unwrap(), reader.link());
        let frame = reader.next().unwrap().expect("a seal before the end");
        if !matches!(frame.body(), Ok(crate::audit::record::Body::Seal(_))) {
            tree.push(super::super::merkle::leaf(&frame.link.0));
            continue;
        }
        let (seq, time) = (frame.seq, frame.time);
        let text = super::super::head::seal_text((header.log, 1), (0, seq), before, tree.root());
        let bare = crate::audit::record::Seal {
            segment: 1,
            records: seq,
            link: before.0,
            root: tree.root().0,
            key: key.public().0,
            signature: key.sign(text.as_bytes()),
        };
        let mut payload = [0; 4096];
        let seal =
            crate::audit::record::IndexedSeal { seal: bare, index: *crate::audit::times::Index::default().spans() };
        let length = seal.encode(&mut payload).unwrap();
        let mut changed = whole[..start].to_vec();
        let schema = crate::audit::record::Schema::SEAL;
        let link = super::super::segment::append(&mut changed, seq, time, schema, &payload[..length]);
        fs::write(&path, changed).unwrap();
        return (seq + 1, link);
    }
}

#[test]
fn finds_a_log_sealed_again_with_another_key() {
    let sample = one_segment().copy();
    let anchor = sample.state.join("anchor");
    fs::copy(sample.head(), &anchor).unwrap();
    let (key, _) = Key::generate().unwrap();
    let (records, link) = sealed_again(&sample, &key);
    assert!(is_tampered(&sample.verdict()), "{:?}", sample.verdict());
    // With a head to match: nobody has reason to believe that key.
    let head = read_head(&sample.head()).unwrap();
    fs::write(sample.head(), SignedHead { key: key.public(), records, link, ..head }.sign(&key)).unwrap();
    assert!(matches!(sample.verdict(), Verdict::Unverifiable(Why::BadHead(..))), "{:?}", sample.verdict());
    // With the public key replaced too, only what was kept elsewhere shows it.
    fs::write(sample.state.join(PUBLIC_KEY_FILE), key.public().to_string()).unwrap();
    let verdict = log(&sample.dir, &Trust { state: sample.state.clone(), anchor: Some(anchor) });
    assert!(is_tampered(&verdict), "{verdict:?}");
}

#[test]
fn says_unverifiable_where_nothing_vouches() {
    let sample = one_segment().copy();
    fs::remove_file(sample.head()).unwrap();
    assert!(matches!(sample.verdict(), Verdict::Unverifiable(Why::NoHead(_))));
    let sample = one_segment().copy();
    fs::remove_file(sample.state.join(PUBLIC_KEY_FILE)).unwrap();
    assert!(matches!(sample.verdict(), Verdict::Unverifiable(Why::NoKey(_))));
    let sample = empty();
    fs::create_dir(&sample.dir).unwrap();
    assert!(matches!(sample.verdict(), Verdict::Unverifiable(Why::Empty)));
    assert!(matches!(log(Path::new("/nonexistent"), &sample.trust()), Verdict::Unverifiable(Why::Unreadable(..))));
}

#[test]
fn finds_changes_before_a_seal_even_where_nothing_vouches() {
    let sample = one_segment().copy();
    fs::remove_file(sample.head()).unwrap();
    let mut whole = fs::read(sample.segment(1)).unwrap();
    whole[1000] ^= 1;
    fs::write(sample.segment(1), whole).unwrap();
    assert!(is_tampered(&sample.verdict()), "{:?}", sample.verdict());
}
