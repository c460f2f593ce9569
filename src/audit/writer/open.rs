//! Takes over a log's folder: lock, key, what the last writer left.
//!
//! A log goes on where its chain ends. What a crash may leave (bytes after the last whole record, beyond the signed head) is moved to a
//! file of its own and put on record; everything else that is not in order refuses the start, because writing after it would bury it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::super::base::{BASE_FILE, Base};
use super::super::chain::Link;
use super::super::facts::Lifecycle;
use super::super::head::{Key, SignedHead};
use super::super::merkle::{self, Tree};
use super::super::read::{self, Check, ReadError, SegmentFile};
use super::super::segment::{Fault, HEADER_BYTES, LogId};
use super::disk::Disk;
use super::log::{Log, Place, Position};
use super::{StartError, Trouble, WriterOptions, drain, lock, now, random, retire, rings, trouble};
use crate::limits::AUDIT_HEAD_FILE_BYTES_MAX;

/// Under the state folder: the private key, PKCS#8 DER, 0600.
const KEY_FILE: &str = "audit-key.pk8";
/// Under the state folder: its public half, 64 hexadecimal digits.
pub(in super::super) const PUBLIC_KEY_FILE: &str = "audit-key.pub";
/// Under the state folder: one signed head a log.
pub(in super::super) const HEADS_FOLDER: &str = "heads";
/// In the log's folder: locked by the writer, and says who that is.
const LOCK_FILE: &str = "lock";

/// Opens or begins the log, and puts `start` on disk.
pub(super) fn open(options: &WriterOptions) -> Result<Log, StartError> {
    folder(&options.dir)?;
    let lock = claim_folder(options)?;
    let heads = options.state.join(HEADS_FOLDER);
    folder(&heads)?;
    let disk = options.disk();
    let key = key(&options.state, &disk)?;
    let found = last(&options.dir, (&heads, &key), &disk)?;
    let (found, mut findings) = found;
    let position = found.map_or_else(begin, Ok)?;
    let (base, finished, sealed_through) = past(&options.dir, &key, position.id)?;
    let place = Place {
        dir: options.dir.clone(),
        heads,
        disk: disk.clone(),
        key,
        outbox: options.outbox.clone(),
        base,
        finished,
        sealed_through,
        _lock: lock,
    };
    let safe = position.seq;
    let mut log = Log::begin(place, position, now())?;
    let mut left = rings::left_behind(&options.state, log.id(), safe, &mut findings)?;
    for rings in &mut left {
        findings.push(rings.take_up(&mut log, options.segment_bytes)?);
    }
    if !findings.is_empty() {
        drain::lifecycle(&mut log, options, Lifecycle::Recovered, &findings.join("; "));
    }
    drain::lifecycle(&mut log, options, Lifecycle::Start, "");
    log.vouch(now(), false)?;
    // What they held is on disk. Until here the next start would find them again.
    left.iter().try_for_each(|rings| rings.remove(&disk))?;
    Ok(log)
}

/// Closes logs of the same state folder whose writers were killed, with what their rings hold. Nothing of this writer's depends on it.
pub(super) fn adopt(options: &WriterOptions, own: LogId) {
    for (log, dir) in rings::orphans(&options.state, own).unwrap_or_default() {
        let last = read::segments(&dir).ok().and_then(|mut segments| segments.pop());
        let is_it = last
            .and_then(|segment| read::open(&segment.path, Check::Sums).ok())
            .is_some_and(|reader| reader.header().log == log);
        if !is_it {
            continue;
        }
        let theirs =
            WriterOptions { dir, agent: String::new(), mode: None, policy: None, outbox: None, ..options.clone() };
        match open(&theirs).and_then(|log| Ok(close(log, &theirs)?)) {
            // Its writer lives, or another start was faster.
            Ok(()) | Err(StartError::Held { .. }) => {}
            Err(error) => tracing::warn!(%error, "the audit log of a killed process cannot be put in order"),
        }
    }
}

fn close(mut log: Log, options: &WriterOptions) -> Result<(), Trouble> {
    drain::lifecycle(&mut log, options, Lifecycle::Stop, "");
    log.seal(now())?;
    log.vouch(now(), true)?;
    log.trim()
}

/// What is before the last segment: the base, the tree over the segments that are finished, the last one that a seal covers. Only headers are
/// read; what is between them is for `verify`.
fn past(dir: &Path, key: &Key, log: LogId) -> Result<(Option<Base>, Tree, u64), StartError> {
    let path = dir.join(BASE_FILE);
    let damaged = |path: &Path, what: &str| StartError::Damaged { path: path.to_owned(), what: what.to_owned() };
    let base = retire::base(dir).map_err(|what| damaged(&path, &what))?;
    if base.as_ref().is_some_and(|base| base.key != key.public() || base.log != log) {
        return Err(damaged(&path, "is not the base of this log"));
    }
    let mut tree = base.as_ref().map(|base| base.tree.clone()).unwrap_or_default();
    let first = base.as_ref().map_or(1, |base| base.segment);
    let mut segments = read::segments(dir).map_err(trouble("list", dir))?;
    // What the base stands for may still be there.
    segments.retain(|segment| segment.number >= first);
    for (number, segment) in (first..).zip(&segments) {
        let header = read::header(&segment.path).map_err(trouble("read", &segment.path))?;
        let header = header.filter(|header| segment.number == number && header.log == log);
        let Some(header) = header else {
            return Err(damaged(&segment.path, "does not continue the segment before it"));
        };
        if number > first {
            tree.push(merkle::leaf(&header.previous.0));
        }
    }
    let mut sealed_through = 0;
    for segment in segments.iter().rev() {
        if read::ends_sealed(&segment.path).map_err(trouble("read", &segment.path))? {
            sealed_through = segment.number;
            break;
        }
    }
    Ok((base, tree, sealed_through))
}

fn begin() -> Result<Position, StartError> {
    let [high, low] = [random()?, random()?];
    let id = LogId((u128::from(high) << 64 | u128::from(low)).to_be_bytes());
    Ok(Position { id, segment: 0, seq: 0, link: Link::default() })
}

pub(super) fn folder(path: &Path) -> Result<(), StartError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(trouble("create", path))?;
    Ok(())
}

/// Takes the writer's lock, or says who holds it.
fn claim_folder(options: &WriterOptions) -> Result<File, StartError> {
    let path = options.dir.join(LOCK_FILE);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(trouble("open", &path))?;
    if !lock::take(&file).map_err(trouble("lock", &path))? {
        return Err(StartError::Held { dir: options.dir.clone(), holder: holder(&mut file) });
    }
    let agent = if options.agent.is_empty() { String::new() } else { format!(" (agent {})", options.agent) };
    let text = format!("process {}{agent}\n", std::process::id());
    file.set_len(0).and_then(|()| file.write_all(text.as_bytes())).map_err(trouble("write to", &path))?;
    Ok(file)
}

/// Whether a writer holds the log in `dir`. Asks without taking the lock, so it never stands in a writer's way.
pub(in super::super) fn is_held(dir: &Path) -> bool {
    let Ok(file) = File::open(dir.join(LOCK_FILE)) else { return false };
    lock::is_taken(&file)
}

/// How the holder of a lock describes itself, on one line and without control characters.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(AUDIT_HEAD_FILE_BYTES_MAX).read_to_string(&mut text);
    let line: String = text.lines().next().unwrap_or("").chars().filter(|letter| !letter.is_control()).collect();
    if read.is_err() || line.is_empty() { "another process".to_owned() } else { line }
}

/// The signing key of the state folder, made when there is none.
fn key(state: &Path, disk: &Disk) -> Result<Key, StartError> {
    let path = state.join(KEY_FILE);
    let bad = |why| StartError::Key { path: path.clone(), why };
    let key = match File::open(&path) {
        Ok(file) => {
            let metadata = file.metadata().map_err(trouble("read", &path))?;
            if metadata.permissions().mode() & 0o077 != 0 {
                return Err(bad("others may read the audit key; it should have mode 0600"));
            }
            let mut bytes = Vec::new();
            file.take(AUDIT_HEAD_FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(trouble("read", &path))?;
            Key::from_pkcs8(&bytes)
                .map_err(|_| bad("is not an Ed25519 key in PKCS#8 form; move it away to make a new one"))?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let (key, document) = Key::generate().map_err(|_| bad("no key could be made"))?;
            if !claim(&path, &document, disk).map_err(trouble("create", &path))? {
                // Another first start was faster: its key is the key.
                return self::key(state, disk);
            }
            key
        }
        Err(error) => return Err(trouble("open", &path)(error).into()),
    };
    let public = state.join(PUBLIC_KEY_FILE);
    let text = format!("{}\n", key.public());
    if std::fs::read_to_string(&public).ok().as_deref() != Some(text.as_str()) {
        disk.replace(&public, text.as_bytes()).map_err(trouble("replace", &public))?;
    }
    Ok(key)
}

/// Puts a file in place as a whole unless there is one; says whether it did.
fn claim(path: &Path, content: &[u8], disk: &Disk) -> io::Result<bool> {
    disk.reach("create", path)?;
    let beside = path.with_extension(format!("new-{}", std::process::id()));
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    disk.write((&file, &beside), content, 0)?;
    disk.sync((&file, &beside))?;
    let linked = std::fs::hard_link(&beside, path);
    std::fs::remove_file(&beside)?;
    match linked {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Where the log in `dir` ends, and what was not in order about it; `None` when there is no log.
fn last(dir: &Path, (heads, key): (&Path, &Key), disk: &Disk) -> Result<(Option<Position>, Vec<String>), StartError> {
    let mut segments = read::segments(dir).map_err(trouble("list", dir))?;
    let mut findings = Vec::new();
    while let Some(segment) = segments.pop() {
        match end_of(&segment, (heads, key), disk, &mut findings)? {
            Some(position) => return Ok((Some(position), findings)),
            // A crash while the segment was begun: not even its header is whole.
            None => {
                let aside = aside(&segment.path, 0, disk)?;
                findings.push(format!("a segment without a whole header was set aside in {}", name(&aside)));
            }
        }
    }
    Ok((None, findings))
}

/// Where a segment ends; `None` when its header never reached the disk. Whether anything was vouched for that it held is seen at the end of the
/// segment before.
fn end_of(
    segment: &SegmentFile,
    (heads, key): (&Path, &Key),
    disk: &Disk,
    findings: &mut Vec<String>,
) -> Result<Option<Position>, StartError> {
    let damaged = |what: String| StartError::Damaged { path: segment.path.clone(), what };
    let mut reader = match read::open(&segment.path, Check::Links) {
        Ok(reader) => reader,
        Err(ReadError::Damaged { offset: 0, fault: Fault::Torn }) => return Ok(None),
        Err(ReadError::Damaged { offset: 0, fault: Fault::NotASegment }) if was_lost(&segment.path)? => {
            return Ok(None);
        }
        Err(ReadError::Damaged { offset, fault }) => return Err(damaged(format!("offset {offset}: {fault}"))),
        Err(ReadError::Io(error)) => return Err(trouble("read", &segment.path)(error).into()),
    };
    let header = *reader.header();
    if header.segment != segment.number {
        return Err(damaged(format!("is segment {} under the name of another", header.segment)));
    }
    let head = signed_head(heads, header.log, key, findings)?;
    let vouched = head.map_or(0, |head| head.records);
    // A head over the last record before this segment may name its link or, when a writer began here and got no further, the header's.
    let before = head.is_none_or(|head| {
        vouched < header.first || vouched == header.first && [header.previous, header.link].contains(&head.link)
    });
    let mut agrees = before || vouched == 0;
    let torn = loop {
        match reader.next() {
            Ok(None) => break false,
            Ok(Some(frame)) => {
                if let Some(head) = head
                    && frame.seq + 1 == vouched
                {
                    agrees = frame.link == head.link;
                }
            }
            Err(ReadError::Damaged { .. }) => break true,
            Err(ReadError::Io(error)) => return Err(trouble("read", &segment.path)(error).into()),
        }
    };
    let (records, offset) = (reader.next_seq(), reader.offset());
    if vouched > records {
        return Err(damaged(format!("holds {records} records in order, but its signed head speaks of {vouched}")));
    }
    let closed = head.is_some_and(|head| head.closed);
    if !agrees || closed && (torn || vouched != records) {
        return Err(damaged("is not the log that its signed head speaks of".to_owned()));
    }
    if torn {
        let aside = aside(&segment.path, offset, disk)?;
        findings.push(format!(
            "{} holds what followed the last whole record of segment {}",
            name(&aside),
            segment.number
        ));
    }
    if !closed {
        // A crash leaves place reserved beyond the end of the file.
        let file = OpenOptions::new().write(true).open(&segment.path);
        file.and_then(|file| disk.trim(&file, &segment.path)).map_err(trouble("trim", &segment.path))?;
    }
    if head.is_some() && !closed {
        let after = records - vouched;
        findings.push(format!("the last writer did not close the log; {after} records after its last signed head"));
    }
    Ok(Some(Position { id: header.log, segment: segment.number, seq: records, link: reader.link() }))
}

/// Whether zeros stand where the header should: the write was lost, in a power cut that kept a later one or in a sync that failed. Not where a
/// seal follows, because everything before a seal was on disk before it.
fn was_lost(path: &Path) -> Result<bool, Trouble> {
    let looked = || -> io::Result<bool> {
        let mut header = [0; HEADER_BYTES];
        File::open(path)?.read_exact(&mut header)?;
        Ok(header == [0; HEADER_BYTES] && !read::holds_a_seal(path, 0)?)
    };
    looked().map_err(trouble("read", path))
}

/// The signed head of a log. Absent, or signed by another key, it vouches for nothing, which is a finding; forged, it refuses the start.
fn signed_head(
    heads: &Path,
    log: LogId,
    key: &Key,
    findings: &mut Vec<String>,
) -> Result<Option<SignedHead>, StartError> {
    let path = heads.join(log.to_string());
    let mut text = String::new();
    match File::open(&path).and_then(|file| file.take(AUDIT_HEAD_FILE_BYTES_MAX).read_to_string(&mut text)) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            findings.push("no signed head of this log was found".to_owned());
            return Ok(None);
        }
        Err(error) => return Err(trouble("read", &path)(error).into()),
    }
    let head =
        SignedHead::read(&text).map_err(|error| StartError::Damaged { path: path.clone(), what: error.to_string() })?;
    if head.log != log {
        return Err(StartError::Damaged { path, what: "is the head of another log".to_owned() });
    }
    if head.key != key.public() {
        findings.push(format!("the signed head of this log is by another key, {}", head.key));
        return Ok(None);
    }
    Ok(Some(head))
}

/// Moves what follows `offset` to a file beside, on disk before it is cut off.
fn aside(segment: &Path, offset: u64, disk: &Disk) -> Result<PathBuf, Trouble> {
    let path = segment.with_extension(format!("torn-{offset}"));
    let copy = || -> io::Result<()> {
        let mut from = OpenOptions::new().read(true).write(true).open(segment)?;
        from.seek(SeekFrom::Start(offset))?;
        let mut to = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        disk.reach("write to", &path)?;
        io::copy(&mut from, &mut to)?;
        disk.reach("sync", &path)?;
        to.sync_all()?;
        if offset < HEADER_BYTES as u64 {
            disk.reach("remove", segment)?;
            std::fs::remove_file(segment)?;
        } else {
            disk.reach("cut", segment)?;
            from.set_len(offset)?;
            from.sync_all()?;
        }
        path.parent().map_or(Ok(()), |folder| disk.sync_folder(folder))
    };
    copy().map_err(trouble("set aside the torn end of", segment))?;
    Ok(path)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
