//! The whole path, from facts in a ring to records in files.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use super::super::read::{self, Check};
use super::super::record::Body;
use super::super::verify::{self, Trust, Verdict as Verification, Why};
use super::*;
use crate::audit::{DecisionFacts, Lifecycle, OutcomeFacts, Producer, Refused, Verdict};

mod faults;
mod flood;
mod killed;
mod retiring;
mod waiting;

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

/// Folders in memory where there is such a place: a killed process leaves the same there as on a disk, and no start waits for a disk.
fn quick_folders() -> Folders {
    let root = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    Folders { dir: root.path().join("log"), state: root.path().join("state"), _root: root }
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

fn verdict(folders: &Folders) -> Verification {
    verify::log(&folders.dir, &Trust { state: folders.state.clone(), anchor: None })
}

fn is_ok(folders: &Folders) -> bool {
    matches!(verdict(folders), Verification::Ok(_))
}

/// Sums of the gap records: allows, denies, events.
fn lost(dir: &Path) -> [u64; 3] {
    let mut sums = [0; 3];
    for segment in read::segments(dir).unwrap() {
        let mut reader = read::open(&segment.path, Check::Links).unwrap();
        while let Some(frame) = reader.next().unwrap() {
            if let Body::Gap(gap) = frame.body().unwrap() {
                let counts = [&gap.allows, &gap.denies, &gap.events].map(|count| count.to_native());
                sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            }
        }
    }
    sums
}

#[test]
fn counts_exactly_what_a_full_ring_refused() {
    let folders = folders();
    let options = WriterOptions { ring_bytes: 1, ..folders.options() };
    let (writer, producer) = start(options);
    let attempts = if cfg!(debug_assertions) { 100_000 } else { 2_000_000 };
    let (mut taken, mut refused, mut hidden) = (0, 0, None);
    for number in 0..attempts {
        match producer.deny(Nanos(number), &denial()) {
            Ok(_) => taken += 1,
            Err(Refused::Full) => refused += 1,
            Err(Refused::Unwritable) => panic!("the disk is good"),
        }
        // One allow among the flood: on record, or refused to the caller's face.
        if number == attempts / 2 {
            hidden = producer.allow(Nanos(number), &allowance()).ok().map(|credit| credit.id());
        }
    }
    drop(producer);
    writer.finish().unwrap();
    assert!(refused > 0, "the flood outran the writer");
    let [allows, denies, events] = lost(&folders.dir);
    assert_eq!((allows, denies, events), (u64::from(hidden.is_none()), refused, 0));
    let kinds = words(&folders.dir);
    let decisions = kinds.iter().filter(|kind| *kind == "decision").count();
    assert_eq!(decisions, taken + usize::from(hidden.is_some()));
    assert_eq!(kinds.iter().filter(|kind| *kind == "outcome aborted").count(), usize::from(hidden.is_some()));
    assert!(is_ok(&folders), "{:?}", verdict(&folders));
}

/// Waits until the log that is being written has so many clock steps and other records.
fn wait_for(dir: &Path, steps: usize, others: usize) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        assert!(Instant::now() < deadline, "{:?}", kinds(dir));
        let mut found = [0; 2];
        for segment in read::segments(dir).unwrap() {
            let Ok(mut reader) = read::open(&segment.path, Check::Links) else { continue };
            while let Ok(Some(frame)) = reader.next() {
                let is_step =
                    matches!(frame.body(), Ok(Body::Lifecycle(event)) if event.event == Lifecycle::ClockStep.code());
                found[usize::from(!is_step)] += 1;
            }
        }
        if found == [steps, others] {
            return;
        }
        std::thread::yield_now();
    }
}

#[test]
fn puts_on_record_that_the_clock_was_set_and_goes_on() {
    static AHEAD: AtomicU64 = AtomicU64::new(0);
    let folders = folders();
    let clock = || Nanos(now().0 + AHEAD.load(Ordering::Relaxed));
    let (writer, producer) = start(WriterOptions { clock, ..folders.options() });
    producer.deny(Nanos(1), &denial()).unwrap();
    wait_for(&folders.dir, 0, 2);
    AHEAD.store(3_600_000_000_000, Ordering::Relaxed);
    wait_for(&folders.dir, 1, 2);
    producer.deny(Nanos(2), &denial()).unwrap();
    wait_for(&folders.dir, 1, 3);
    AHEAD.store(0, Ordering::Relaxed);
    wait_for(&folders.dir, 2, 3);
    drop(producer);
    writer.finish().unwrap();
    assert_eq!(words(&folders.dir), ["start", "decision", "clock_step", "decision", "clock_step", "stop", "seal"]);
    assert!(is_ok(&folders), "{:?}", verdict(&folders));
}

#[test]
fn refuses_a_second_writer_and_names_the_first() {
    let folders = folders();
    let (writer, _producer) = start(folders.options());
    let Err(StartError::Held { holder, .. }) = Writer::start(folders.options()) else { panic!("two writers") };
    assert_eq!(holder, format!("process {}", std::process::id()));
    // Refusing left no trace.
    drop(_producer);
    writer.finish().unwrap();
    assert!(is_ok(&folders));
    assert_eq!(words(&folders.dir), ["start", "stop", "seal"]);
}

#[test]
fn continues_a_log_and_rotates_by_size() {
    let folders = folders();
    for _ in 0..3 {
        let options = WriterOptions { segment_bytes: 4096, ..folders.options() };
        let (writer, producer) = start(options);
        for number in 0..40 {
            while producer.deny(Nanos(number), &denial()).is_err() {}
            if number % 10 == 0 {
                // Let the writer see the segment's size now and then.
                let before = writer.failure();
                assert_eq!(before, None);
                std::thread::yield_now();
            }
        }
        drop(producer);
        writer.finish().unwrap();
        assert!(is_ok(&folders), "{:?}", verdict(&folders));
    }
    let kinds = words(&folders.dir);
    assert_eq!(kinds.iter().filter(|kind| *kind == "decision").count(), 120);
    assert_eq!(kinds.iter().filter(|kind| *kind == "recovered").count(), 0);
    assert!(read::segments(&folders.dir).unwrap().len() >= 3);
}

#[test]
fn vouches_for_a_log_that_is_being_written() {
    let folders = folders();
    let (writer, producer) = start(WriterOptions { head_wait: Duration::ZERO, ..folders.options() });
    producer.deny(Nanos(1), &denial()).unwrap();
    loop {
        let Verification::Ok(vouched) = verdict(&folders) else { panic!("{:?}", verdict(&folders)) };
        assert!(vouched.open);
        if vouched.records == 2 && vouched.unsigned == 0 {
            break;
        }
    }
    drop(producer);
    writer.finish().unwrap();
    assert!(matches!(verdict(&folders), Verification::Ok(vouched) if !vouched.open));
}

/// Ends a log as a crash would: the head says `open`, and the last segment is cut to `keep` of its octets.
fn crash(folders: &Folders, keep: impl Fn(u64) -> u64) {
    let (writer, producer) = start(folders.options());
    for number in 0..5 {
        producer.deny(Nanos(number), &denial()).unwrap();
    }
    let head = folders.state.join(HEADS_FOLDER).join(writer.log().to_string());
    let opened = std::fs::read(&head).unwrap();
    drop(producer);
    writer.finish().unwrap();
    std::fs::write(head, opened).unwrap();
    let last = read::segments(&folders.dir).unwrap().pop().unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(last.path).unwrap();
    file.set_len(keep(file.metadata().unwrap().len())).unwrap();
}

#[test]
fn takes_up_a_log_after_a_crash_and_says_what_it_found() {
    let folders = folders();
    crash(&folders, |length| length - 100);
    let Verification::Unverifiable(Why::Torn { signed: 1, .. }) = verdict(&folders) else {
        panic!("{:?}", verdict(&folders))
    };
    let (writer, producer) = start(folders.options());
    drop(producer);
    writer.finish().unwrap();
    assert!(is_ok(&folders), "{:?}", verdict(&folders));
    let kinds = words(&folders.dir);
    assert_eq!(kinds.iter().filter(|kind| *kind == "recovered").count(), 1, "{kinds:?}");
    let torn =
        std::fs::read_dir(&folders.dir).unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    assert_eq!(torn.filter(|name| name.contains(".torn-")).count(), 1, "the torn end is kept");
}

#[test]
fn takes_up_a_log_whose_last_segment_is_not_even_begun() {
    let folders = folders();
    crash(&folders, |length| length);
    assert!(matches!(verdict(&folders), Verification::Tampered(_) | Verification::Unverifiable(_)));
    std::fs::write(folders.dir.join(read::segment_name(2)), [0; 50]).unwrap();
    let (writer, producer) = start(folders.options());
    drop(producer);
    writer.finish().unwrap();
    assert!(is_ok(&folders), "{:?}", verdict(&folders));
}

#[test]
fn takes_up_a_log_whose_last_header_was_lost_unless_a_seal_follows() {
    let folders = folders();
    crash(&folders, |length| length);
    let (first, second) = (folders.dir.join(read::segment_name(1)), folders.dir.join(read::segment_name(2)));
    // A later write reached the disk, the first did not: zeros, then what was a record.
    let records = std::fs::read(&first).unwrap()[128..600].to_vec();
    std::fs::write(&second, [vec![0; 128], records].concat()).unwrap();
    let (writer, producer) = start(folders.options());
    drop(producer);
    writer.finish().unwrap();
    assert!(is_ok(&folders), "{:?}", verdict(&folders));
    assert!(folders.dir.join("00000002.torn-0").exists());
    // Everything before a seal was on disk before it was, so this is no crash.
    let sealed = std::fs::read(&second).unwrap();
    std::fs::write(folders.dir.join(read::segment_name(3)), [&[0; 128], &sealed[128..]].concat()).unwrap();
    assert!(matches!(Writer::start(folders.options()), Err(StartError::Damaged { .. })));
}

#[test]
fn does_not_continue_a_log_that_was_cut_before_its_head() {
    let folders = folders();
    let (writer, producer) = start(folders.options());
    producer.deny(Nanos(1), &denial()).unwrap();
    drop(producer);
    writer.finish().unwrap();
    let path = folders.dir.join(read::segment_name(1));
    let whole = std::fs::read(&path).unwrap();
    for changed in [&whole[..whole.len() - 1], &whole[..400], &[&whole[..], &[0; 8]].concat()] {
        std::fs::write(&path, changed).unwrap();
        assert!(
            matches!(Writer::start(folders.options()), Err(StartError::Damaged { .. })),
            "{} octets",
            changed.len()
        );
    }
    std::fs::write(&path, whole).unwrap();
    assert!(Writer::start(folders.options()).is_ok());
}

#[test]
fn refuses_a_key_that_others_may_read() {
    use std::os::unix::fs::PermissionsExt;
    let folders = folders();
    drop(Writer::start(folders.options()).unwrap());
    let key = folders.state.join("audit-key.pk8");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(Writer::start(folders.options()), Err(StartError::Key { .. })));
}

#[test]
fn says_how_many_producers_were_left_behind() {
    let folders = folders();
    let (writer, producer) = start(folders.options());
    let summary = std::thread::scope(|scope| scope.spawn(|| writer.finish().unwrap()).join().unwrap());
    assert_eq!(summary.abandoned, 1);
    assert_eq!(producer.deny(Nanos(1), &denial()), Err(Refused::Unwritable));
    assert!(is_ok(&folders));
}

/// This test binary once more, running one ignored test of this file, with a folder to work in.
fn child(test: &str, folders: &Folders) -> Child {
    let name = format!("{}::{test}", module_path!().split_once("::").unwrap().1);
    // The shell ignores the signal of the file size limit on the child's behalf, so that the limit is an error of the write.
    Command::new("/bin/sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$1\" --exact --ignored --nocapture"])
        .args([std::env::current_exe().unwrap().into_os_string(), name.into()])
        .env("RINGFENCE_TEST_FOLDER", folders.dir.parent().unwrap())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn child_folders() -> Option<(PathBuf, PathBuf)> {
    let root = PathBuf::from(std::env::var_os("RINGFENCE_TEST_FOLDER")?);
    Some((root.join("log"), root.join("state")))
}

#[test]
#[ignore = "runs in a child process"]
fn meets_a_full_disk() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Some((dir, state)) = child_folders() else { return };
    // A file size limit refuses writes as a full disk does, with an error of its own, and can be lifted again.
    let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    let (writer, producer) = start(WriterOptions::new(dir, state, 1));
    let open = producer.allow(Nanos(1), &allowance()).unwrap();
    setrlimit(Resource::RLIMIT_FSIZE, 64 * 1024, hard).unwrap();
    let mut full = 0_u64;
    while producer.is_writable() {
        full += u64::from(producer.deny(Nanos(2), &denial()) == Err(Refused::Full));
    }
    assert!(writer.failure().is_some_and(|failure| failure.contains("write to")));
    assert_eq!(producer.allow(Nanos(3), &allowance()).err(), Some(Refused::Unwritable));
    assert_eq!(producer.deny(Nanos(3), &denial()), Err(Refused::Unwritable));
    // What was under way ends on record all the same.
    open.outcome(Nanos(4), &OutcomeFacts::default());
    setrlimit(Resource::RLIMIT_FSIZE, hard, hard).unwrap();
    while !producer.is_writable() {
        std::hint::spin_loop();
    }
    producer.deny(Nanos(5), &denial()).unwrap();
    drop(producer);
    writer.finish().unwrap();
    println!("refused {full}");
}

#[test]
fn refuses_while_the_disk_does_and_resumes_with_exact_counts() {
    let folders = folders();
    let output = child("meets_a_full_disk", &folders).wait_with_output().unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let full = output.lines().find_map(|line| line.strip_prefix("refused ")).expect(&output).parse::<u64>().unwrap();
    assert_eq!(lost(&folders.dir), [1, full + 1, 0]);
    let kinds = words(&folders.dir);
    assert_eq!(kinds.iter().filter(|kind| *kind == "resumed").count(), 1);
    assert_eq!(kinds.iter().filter(|kind| kind.starts_with("outcome")).count(), 1);
    assert!(is_ok(&folders), "{:?}", verdict(&folders));
}
