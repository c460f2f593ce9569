//! `kill -9`, again and again: what was forwarded is on record, once, with one outcome.

use std::collections::HashMap;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::audit::DecisionId;
use crate::audit::record::flag;

/// Two threads that forward as fast as they can, as workers do: on record first, then the byte leaves the process. What leaves is the
/// decision's id, in one write to a pipe, so that its reader knows exactly what was forwarded when the process died.
#[test]
#[ignore = "runs in a child process"]
fn forwards_until_killed() {
    let Some((dir, state)) = child_folders() else { return };
    let options = WriterOptions {
        segment_bytes: 256 * 1024,
        sync_wait: Duration::from_millis(1),
        head_wait: Duration::from_millis(5),
        ring_bytes: 1,
        ..WriterOptions::new(dir, state, 2)
    };
    let (_writer, seats) = Writer::start(options).unwrap();
    let out = std::fs::OpenOptions::new().write(true).open("/proc/self/fd/1").unwrap();
    std::thread::scope(|scope| {
        for seat in seats {
            let mut out = &out;
            scope.spawn(move || {
                let producer = seat.take();
                let mut under_way = std::collections::VecDeque::new();
                for number in 0.. {
                    if let Ok(credit) = producer.allow(Nanos(number), &allowance()) {
                        out.write_all(format!("{}\n", credit.id()).as_bytes()).unwrap();
                        under_way.push_back(credit);
                    }
                    if under_way.len() > 3 {
                        let credit: crate::audit::Credit = under_way.pop_front().unwrap();
                        credit.outcome(Nanos(number), &OutcomeFacts { status: Some(200), ..OutcomeFacts::default() });
                    }
                }
            });
        }
    });
}

/// Lets a child forward at least `least` requests, kills it, and returns what it forwarded.
fn forwarded(folders: &Folders, least: usize) -> Vec<DecisionId> {
    let mut child = child("killed::forwards_until_killed", folders);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let id = |line: String| u128::from_str_radix(&line, 16).ok().filter(|_| line.len() == 32).map(DecisionId);
    let mut ids: Vec<_> = lines.by_ref().filter_map(id).take(least).collect();
    assert_eq!(ids.len(), least, "the child forwards");
    child.kill().unwrap();
    // What it still got rid of before it died.
    ids.extend(lines.filter_map(id));
    child.wait().unwrap();
    ids
}

/// Decisions, outcomes and aborted outcomes of each id.
fn on_record(dir: &Path) -> HashMap<u128, [u32; 3]> {
    let mut found: HashMap<u128, [u32; 3]> = HashMap::new();
    for segment in read::segments(dir).unwrap() {
        let mut reader = read::open(&segment.path, Check::Links).unwrap();
        while let Some(frame) = reader.next().unwrap() {
            match frame.body().unwrap() {
                Body::Decision(decision) => found.entry(u128::from_be_bytes(decision.id)).or_default()[0] += 1,
                Body::Outcome(outcome) => {
                    let counts = found.entry(u128::from_be_bytes(outcome.id)).or_default();
                    counts[1] += 1;
                    counts[2] += u32::from(outcome.flags & flag::ABORTED != 0);
                }
                _ => {}
            }
        }
    }
    found
}

/// What the `recovered` records say of rings: records that came back.
fn came_back(dir: &Path) -> u64 {
    let mut sum = 0;
    for segment in read::segments(dir).unwrap() {
        let mut reader = read::open(&segment.path, Check::Links).unwrap();
        while let Some(frame) = reader.next().unwrap() {
            if let Body::Lifecycle(event) = frame.body().unwrap() {
                let detail = event.detail.as_str().split("; ").find(|part| part.contains("came back"));
                sum += detail.map_or(0, |part| part.split(' ').next().unwrap().parse::<u64>().unwrap());
            }
        }
    }
    sum
}

/// Kills so many children over one log. Each start reads the rings of the one before.
fn is_killed(rounds: usize) {
    let folders = quick_folders();
    let mut sent = Vec::new();
    for round in 0..rounds {
        sent.extend(forwarded(&folders, 1 + round * 7 % 200));
        if round % 20 == 0 {
            let verdict = verdict(&folders);
            assert!(!matches!(verdict, Verification::Tampered(_)), "round {round}: {verdict:?}");
        }
    }
    start(folders.options()).0.finish().unwrap();
    assert!(is_ok(&folders), "{:?}", verdict(&folders));

    let record = on_record(&folders.dir);
    let missing = sent.iter().filter(|id| !record.contains_key(&id.0)).count();
    assert_eq!(missing, 0, "of {} forwarded requests", sent.len());
    for (id, [decisions, outcomes, _]) in &record {
        assert_eq!((*decisions, *outcomes), (1, 1), "{id:032x}");
    }
    // Four under way for each of two threads, give or take the one that was just being written.
    let aborted: u32 = record.values().map(|[.., aborted]| aborted).sum();
    assert!(aborted as usize >= rounds && aborted as usize <= rounds * 2 * 4, "{aborted} aborted");
    assert!(came_back(&folders.dir) > u64::from(aborted), "the kills hit rings that were not empty");
    let recovered = words(&folders.dir).iter().filter(|kind| *kind == "recovered").count();
    assert_eq!(recovered, rounds);
    assert_eq!(std::fs::read_dir(folders.state.join("rings")).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn loses_no_forwarded_request_to_200_kills() {
    is_killed(200);
}

#[test]
#[ignore = "long"]
fn loses_no_forwarded_request_to_2000_kills() {
    is_killed(2000);
}

/// A log and its ring file as a killed process leaves them, and what it had forwarded.
fn left_behind() -> (Folders, PathBuf, Vec<DecisionId>) {
    let folders = quick_folders();
    let sent = forwarded(&folders, 10);
    let path = std::fs::read_dir(folders.state.join("rings")).unwrap().next().unwrap().unwrap().path();
    (folders, path, sent)
}

fn details(dir: &Path) -> String {
    let mut all = String::new();
    for segment in read::segments(dir).unwrap() {
        let mut reader = read::open(&segment.path, Check::Links).unwrap();
        while let Some(frame) = reader.next().unwrap() {
            if let Body::Lifecycle(event) = frame.body().unwrap() {
                all.push_str(event.detail.as_str());
            }
        }
    }
    all
}

#[test]
fn keeps_the_rings_where_only_their_user_gets_at_them() {
    let folders = folders();
    let (_writer, _producer) = start(folders.options());
    let path = std::fs::read_dir(folders.state.join("rings")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::metadata(folders.state.join("rings")).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn takes_up_rings_whose_writer_is_gone() {
    let (folders, path, sent) = left_behind();
    start(folders.options()).0.finish().unwrap();
    assert!(is_ok(&folders), "{:?}", verdict(&folders));
    let record = on_record(&folders.dir);
    assert!(sent.iter().all(|id| record.get(&id.0).is_some_and(|counts| counts[..2] == [1, 1])), "{record:?}");
    assert!(!path.exists());
}

#[test]
fn closes_the_log_of_another_run_that_was_killed() {
    let folders = quick_folders();
    let sent = forwarded(&folders, 50);
    let other = WriterOptions { dir: folders.dir.with_file_name("other"), ..folders.options() };
    start(other).0.finish().unwrap();
    assert!(is_ok(&folders), "{:?}", verdict(&folders));
    let record = on_record(&folders.dir);
    assert!(sent.iter().all(|id| record.get(&id.0).is_some_and(|counts| counts[..2] == [1, 1])));
    assert_eq!(std::fs::read_dir(folders.state.join("rings")).unwrap().count(), 0);
}

#[test]
fn shares_its_state_folder_with_a_writer_of_another_log() {
    let folders = folders();
    let other = WriterOptions { dir: folders.dir.with_file_name("other"), ..folders.options() };
    let (writer, producer) = start(folders.options());
    producer.deny(Nanos(1), &denial()).unwrap();
    start(other).0.finish().unwrap();
    producer.deny(Nanos(2), &denial()).unwrap();
    drop(producer);
    assert_eq!(writer.finish().unwrap().records, 5);
    assert!(is_ok(&folders), "{:?}", verdict(&folders));
    assert_eq!(words(&folders.dir), ["start", "decision", "decision", "stop", "seal"]);
}

#[test]
fn leaves_rings_alone_that_a_living_writer_holds() {
    let (copied, path, _) = left_behind();
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    assert!(super::super::lock::take(&file).unwrap());
    start(copied.options()).0.finish().unwrap();
    assert!(path.exists());
    assert!(is_ok(&copied), "{:?}", verdict(&copied));
}

/// Whatever stands in the file, the start succeeds, the log is in order, and what was not used is kept and on record.
fn is_set_aside(spoil: impl Fn(&Path), why: &str) {
    let (copied, path, _) = left_behind();
    spoil(&path);
    start(copied.options()).0.finish().unwrap();
    assert!(is_ok(&copied), "{why}: {:?}", verdict(&copied));
    let details = details(&copied.dir);
    assert!(details.contains("was set aside") && details.contains(why), "{why}: {details}");
    let names: Vec<_> =
        std::fs::read_dir(copied.state.join("rings")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(matches!(&names[..], [aside] if aside.to_string_lossy().ends_with(".aside")), "{names:?}");
}

fn change(path: &Path, at: u64, octets: &[u8]) {
    use std::os::unix::fs::FileExt;
    std::fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(octets, at).unwrap();
}

/// Changes the first page and makes its sum right again.
pub(super) fn repage(path: &Path, at: usize, octets: &[u8]) {
    let mut page = std::fs::read(path).unwrap()[..4096].to_vec();
    page[at..at + octets.len()].copy_from_slice(octets);
    let sum = crc32c::crc32c(&page[..4092]);
    page[4092..].copy_from_slice(&sum.to_le_bytes());
    change(path, 0, &page);
}

#[test]
fn sets_aside_what_is_not_its_rings() {
    is_set_aside(|path| change(path, 100, &[1]), "does not start like");
    is_set_aside(|path| repage(path, 8, &[9, 0]), "layout is version 9");
    is_set_aside(|path| repage(path, 40, &[1; 16]), "started again");
    is_set_aside(|path| repage(path, 12, &[0xff; 4]), "sizes are impossible");
    is_set_aside(|path| repage(path, 12, &[3]), "first page says");
    is_set_aside(|path| repage(path, 24, &[2]), "first page says");
    is_set_aside(|path| std::fs::set_permissions(path, PermissionsExt::from_mode(0o644)).unwrap(), "alone");
    is_set_aside(|path| std::fs::hard_link(path, path.parent().unwrap().with_file_name("x")).unwrap(), "alone");
}

#[test]
fn follows_no_link_to_rings_and_waits_for_no_pipe() {
    let moved = |path: &Path| {
        let elsewhere = path.parent().unwrap().with_file_name("elsewhere");
        std::fs::rename(path, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, path).unwrap();
    };
    is_set_aside(moved, "symbolic links");
    let pipe = |path: &Path| {
        std::fs::remove_file(path).unwrap();
        nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    };
    is_set_aside(pipe, "alone");
}

/// Every word that a ring believes, set to what it cannot be, and every octet of the first record.
#[test]
fn believes_no_position_and_no_record_of_a_ring() {
    const LANE: u64 = 4096;
    let impossible = "not as any program leaves its rings";
    for tail in [1_u64, 16, 4 << 20, u64::MAX - 15] {
        is_set_aside(|path| change(path, LANE, &tail.to_le_bytes()), impossible);
    }
    for head in [8_u64, 16, 1 << 40, u64::MAX - 15] {
        is_set_aside(|path| change(path, LANE + 128, &head.to_le_bytes()), impossible);
    }
}
