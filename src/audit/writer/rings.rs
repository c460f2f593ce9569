//! The file that the rings live in, so that they outlive the process, and what a killed process left in such a file.
//!
//! `STATE/rings/LOG-ID.RANDOM`, mode 0600, locked by its writer: a page that says what it is, then the rings. It is memory with a name, never
//! synced, and only the kernel that ran the writer has it whole: after another boot it says nothing, and is set aside. Nothing in a file
//! that is found is believed before it is checked; what does not pass is set aside too. Both go on record.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::{MmapOptions, MmapRaw};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};

use super::super::facts::{DecisionId, Nanos};
use super::super::record::{Body, Outcome, Schema, body};
use super::super::ring::{self, Claim, Committed, Head, Revived, Tail};
use super::super::segment::LogId;
use super::disk::Disk;
use super::log::Log;
use super::{StartError, Trouble, drain, lock, now, open, random, trouble};
use crate::limits::{
    AUDIT_ORPHANS_MAX, AUDIT_RING_BYTES_MAX, AUDIT_RING_BYTES_MIN, AUDIT_RING_FILES_MAX, AUDIT_RINGS_MAX,
    AUDIT_SYNC_BYTES,
};

/// Under the state folder.
const RINGS_FOLDER: &str = "rings";
/// Octets before the first ring: one page.
const PREAMBLE_BYTES: usize = 4096;
const MAGIC: [u8; 8] = *b"RFRINGS\n";
/// Of everything in the file, the words of the rings included. Another version's rings are set aside.
const LAYOUT: u16 = 1;
const BOOT_ID_FILE: &str = "/proc/sys/kernel/random/boot_id";
/// Ends the name of a file that is being made, and of one that is of no use.
const NEW: &str = ".new";
const ASIDE: &str = ".aside";

/// What the first page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Preamble {
    log: LogId,
    boot: [u8; 16],
    process: u32,
    rings: usize,
    ring_bytes: usize,
}

impl Preamble {
    fn encode(&self, log_dir: &Path) -> Vec<u8> {
        let mut page = Vec::with_capacity(PREAMBLE_BYTES);
        page.extend_from_slice(&MAGIC);
        page.extend_from_slice(&LAYOUT.to_le_bytes());
        page.extend_from_slice(&[0; 2]);
        page.extend_from_slice(&u32::try_from(self.rings).unwrap_or(u32::MAX).to_le_bytes());
        page.extend_from_slice(&(self.ring_bytes as u64).to_le_bytes());
        page.extend_from_slice(&self.log.0);
        page.extend_from_slice(&self.boot);
        page.extend_from_slice(&self.process.to_le_bytes());
        page.extend_from_slice(&[0; 4]);
        // Where the log is; one that is too long stays away, and the rings wait for its next start.
        let dir = std::path::absolute(log_dir).unwrap_or_default();
        let dir = dir.as_os_str().as_bytes();
        page.extend_from_slice(if dir.len() < PREAMBLE_BYTES / 2 { dir } else { &[] });
        page.resize(PREAMBLE_BYTES - 4, 0);
        let sum = crc32c::crc32c(&page);
        page.extend_from_slice(&sum.to_le_bytes());
        page
    }

    /// What is wrong with the page, as the end of a sentence.
    fn decode(page: &[u8; PREAMBLE_BYTES]) -> Result<Self, String> {
        let number = |at: usize, octets: usize| {
            page[at..at + octets].iter().rev().fold(0_u64, |number, octet| number << 8 | u64::from(*octet))
        };
        if page[..8] != MAGIC || number(PREAMBLE_BYTES - 4, 4) != u64::from(crc32c::crc32c(&page[..PREAMBLE_BYTES - 4]))
        {
            return Err("it does not start like a file of rings".to_owned());
        }
        if number(8, 2) != u64::from(LAYOUT) {
            return Err(format!("its layout is version {}, and this program's is {LAYOUT}", number(8, 2)));
        }
        let array = |at: usize| std::array::from_fn(|octet| page[at + octet]);
        let (rings, ring_bytes) = (number(12, 4), number(16, 8));
        let possible = (1..=AUDIT_RINGS_MAX as u64).contains(&rings)
            && (AUDIT_RING_BYTES_MIN as u64..=AUDIT_RING_BYTES_MAX as u64).contains(&ring_bytes)
            && ring_bytes.is_power_of_two();
        let sizes = usize::try_from(rings).ok().zip(usize::try_from(ring_bytes).ok()).filter(|_| possible);
        let (rings, ring_bytes) = sizes.ok_or("its sizes are impossible")?;
        let process = u32::try_from(number(56, 4)).unwrap_or(0);
        Ok(Self { log: LogId(array(24)), boot: array(40), process, rings, ring_bytes })
    }

    fn log_dir(page: &[u8; PREAMBLE_BYTES]) -> PathBuf {
        let dir = page[64..PREAMBLE_BYTES - 4].split(|octet| *octet == 0).next().unwrap_or_default();
        PathBuf::from(OsStr::from_bytes(dir))
    }

    fn file_bytes(&self) -> u64 {
        (PREAMBLE_BYTES + self.rings * ring::lane_bytes(self.ring_bytes)) as u64
    }

    fn offset(&self, index: usize) -> usize {
        PREAMBLE_BYTES + index * ring::lane_bytes(self.ring_bytes)
    }
}

/// The rings' memory of a running writer.
#[derive(Debug)]
pub(super) struct RingFile {
    path: PathBuf,
    preamble: Preamble,
    map: Arc<MmapRaw>,
    disk: Disk,
    /// Holds the lock.
    _file: File,
}

impl RingFile {
    /// A new file for the rings of a log, under a name that nobody looks at before [`RingFile::publish`].
    pub(super) fn create(
        (state, disk): (&Path, Disk),
        (log, dir): (LogId, &Path),
        (rings, ring_bytes): (usize, usize),
    ) -> Result<Self, StartError> {
        let folder = state.join(RINGS_FOLDER);
        open::folder(&folder)?;
        let path = folder.join(format!("{log}.{:016x}", random()?));
        let (boot, process, ring_bytes) = (boot_id(), std::process::id(), ring::rounded(ring_bytes));
        let preamble = Preamble { log, boot, process, rings, ring_bytes };
        let beside = with_end(&path, NEW);
        let file = disk.create(&beside).map_err(trouble("create", &beside))?;
        let made = || -> io::Result<Arc<MmapRaw>> {
            // Every block now: a mapping of a hole would end the process where a full disk refuses a page.
            allocate(&file, preamble.file_bytes())?;
            disk.write((&file, &beside), &preamble.encode(dir), 0)?;
            lock::take(&file)?;
            map(&file, &preamble)
        };
        let map = made().map_err(|error| {
            let _ = std::fs::remove_file(&beside);
            trouble("make", &beside)(error)
        })?;
        Ok(Self { path, preamble, map, disk, _file: file })
    }

    /// The ends of one ring, once each.
    pub(super) fn ring(&self, index: usize, prefix: u64) -> Result<(Tail, Head), Trouble> {
        let ends = ring::create(&self.map, self.preamble.offset(index), self.preamble.ring_bytes, prefix);
        ends.ok_or_else(|| trouble("use", &self.path)(io::ErrorKind::InvalidInput.into()))
    }

    /// From here on the next start finds it.
    pub(super) fn publish(&self) -> Result<(), Trouble> {
        self.disk.rename(&with_end(&self.path, NEW), &self.path).map_err(trouble("rename to", &self.path))
    }

    /// Back after a power cut, it would be taken for rings whose content was lost: the name is gone from the disk too.
    pub(super) fn remove(&self) -> Result<(), Trouble> {
        self.disk.remove(&self.path).map_err(trouble("remove", &self.path))
    }
}

fn map(file: &File, preamble: &Preamble) -> io::Result<Arc<MmapRaw>> {
    let bytes = usize::try_from(preamble.file_bytes()).map_err(|_| io::ErrorKind::FileTooLarge)?;
    MmapOptions::new().len(bytes).map_raw(file).map(Arc::new)
}

fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, i64::try_from(bytes).unwrap_or(i64::MAX)) {
        Ok(()) => return Ok(()),
        Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => {}
        Err(error) => return Err(error.into()),
    }
    let (mut file, zeros) = (file, [0; PREAMBLE_BYTES]);
    (0..bytes.div_ceil(PREAMBLE_BYTES as u64)).try_for_each(|_| file.write_all(&zeros))
}

/// Names one boot of this kernel; zeros where it cannot be asked, which vouch for nothing.
fn boot_id() -> [u8; 16] {
    let text = std::fs::read_to_string(BOOT_ID_FILE).unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    u128::from_str_radix(&digits, 16).unwrap_or(0).to_be_bytes()
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

/// The rings of a killed process, ready to be drained.
#[derive(Debug)]
pub(super) struct LeftBehind {
    path: PathBuf,
    process: u32,
    rings: Vec<Head>,
    /// Exchanges that were under way.
    aborted: u64,
    /// Holds the lock.
    _file: File,
}

/// Finds the rings that killed writers of a log left behind: checked, with the outcome `aborted` for each exchange that was under way, and
/// without the records that are among the log's first `safe`. What cannot be used is set aside, which is a finding.
///
/// All this must be done before the log gets its next record, because the rings say what is safe by the log's numbers.
pub(super) fn left_behind(
    state: &Path,
    log: LogId,
    safe: u64,
    findings: &mut Vec<String>,
) -> Result<Vec<LeftBehind>, StartError> {
    let mut left = Vec::new();
    for path in ring_files(state)?.into_iter().filter(|path| is_of(path, log)) {
        match take_over(&path, log, safe) {
            Ok(Some(found)) => left.push(found),
            // A living writer's: of a copy of this log, because this log has one writer.
            Ok(None) => {}
            Err(why) => {
                let aside = with_end(&path, ASIDE);
                std::fs::rename(&path, &aside).map_err(trouble("set aside", &path))?;
                let name = aside.file_name().unwrap_or_default().to_string_lossy();
                findings
                    .push(format!("a file of rings was set aside as {name}, and what it held is not on record: {why}"));
            }
        }
    }
    Ok(left)
}

/// Files of rings, of whatever log.
fn ring_files(state: &Path) -> Result<Vec<PathBuf>, StartError> {
    let folder = state.join(RINGS_FOLDER);
    open::folder(&folder)?;
    let listed = || -> io::Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(&folder)?.take(AUDIT_RING_FILES_MAX);
        entries.map(|entry| entry.map(|entry| entry.path())).collect()
    };
    let mut found = listed().map_err(trouble("list", &folder))?;
    found.retain(|path| path.to_str().is_some_and(|path| !path.ends_with(ASIDE) && !path.ends_with(NEW)));
    found.sort();
    Ok(found)
}

fn is_of(path: &Path, log: LogId) -> bool {
    path.file_stem().is_some_and(|stem| stem == log.to_string().as_str())
}

/// Folders of other logs whose writers were killed, with the logs' ids: a log that is never written to again, as that of a single run, would
/// otherwise never get what its rings hold.
pub(super) fn orphans(state: &Path, log: LogId) -> Result<Vec<(LogId, PathBuf)>, StartError> {
    let mut found = Vec::new();
    for path in ring_files(state)?.into_iter().filter(|path| !is_of(path, log)) {
        let Ok(file) = open_ours(&path) else { continue };
        let mut page = [0; PREAMBLE_BYTES];
        if lock::is_taken(&file) || file.read_exact_at(&mut page, 0).is_err() {
            continue;
        }
        if let Ok(preamble) = Preamble::decode(&page)
            && is_of(&path, preamble.log)
        {
            found.push((preamble.log, Preamble::log_dir(&page)));
        }
        if found.len() == AUDIT_ORPHANS_MAX {
            break;
        }
    }
    Ok(found)
}

/// Opens a file that is this user's alone.
fn open_ours(path: &Path) -> Result<File, String> {
    let said = |error: io::Error| error.to_string();
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path).map_err(said)?;
    let metadata = file.metadata().map_err(said)?;
    let ours = metadata.is_file()
        && metadata.uid() == nix::unistd::geteuid().as_raw()
        && metadata.mode() & 0o077 == 0
        && metadata.nlink() == 1;
    if !ours {
        return Err("it is not a file of this user's alone".to_owned());
    }
    Ok(file)
}

/// `None` when a living writer has it; an error says why it cannot be used, as the end of a sentence.
fn take_over(path: &Path, log: LogId, safe: u64) -> Result<Option<LeftBehind>, String> {
    let said = |error: io::Error| error.to_string();
    let file = open_ours(path)?;
    if !lock::take(&file).map_err(said)? {
        return Ok(None);
    }
    let mut page = [0; PREAMBLE_BYTES];
    file.read_exact_at(&mut page, 0).map_err(said)?;
    let preamble = Preamble::decode(&page)?;
    if preamble.log != log || preamble.file_bytes() != file.metadata().map_err(said)?.len() {
        return Err("it is not what its name or its first page says".to_owned());
    }
    if preamble.boot != boot_id() || preamble.boot == [0; 16] {
        return Err(format!("the machine was started again since process {} wrote it", preamble.process));
    }
    let map = map(&file, &preamble).map_err(said)?;
    let revived = |index| ring::revive(&map, preamble.offset(index), preamble.ring_bytes, is_whole);
    let revived: Option<Vec<Revived>> = (0..preamble.rings).map(revived).collect();
    let mut revived = revived.ok_or("it is not as any program leaves its rings")?;
    let aborted = revived.iter_mut().map(|ring| abort(ring, now())).sum();
    let rings = revived
        .into_iter()
        .map(|Revived { mut head, .. }| {
            head.resume(safe);
            head
        })
        .collect();
    Ok(Some(LeftBehind { path: path.to_owned(), process: preamble.process, rings, aborted, _file: file }))
}

/// Whether the payload of a record is what its schema says. Archives are aligned in rings as in files.
fn is_whole(record: Committed<'_>) -> bool {
    !matches!(body(Schema(record.schema), record.payload), Err(_) | Ok(Body::Unknown | Body::Seal(_) | Body::Gap(_)))
}

/// Does what the killed process would have done with its exchanges: each gets its outcome, in the room that was held back for it.
fn abort(ring: &mut Revived, time: Nanos) -> u64 {
    let mut aborted = 0;
    for (promise, label) in ring.tail.open() {
        let outcome = Outcome::aborted(DecisionId(u128::from(ring.label) << 64 | u128::from(label)));
        let claim = Claim::Promised(promise);
        let pushed = ring.tail.push(claim, outcome.bytes(), time.0, Schema::OUTCOME.0, |out| outcome.encode(out));
        aborted += u64::from(pushed.is_ok());
    }
    aborted
}

impl LeftBehind {
    /// Puts on record what the rings hold. Returns what was found, as a sentence.
    pub(super) fn take_up(&mut self, log: &mut Log, segment_bytes: u64) -> Result<String, Trouble> {
        let before = log.records();
        for (index, ring) in self.rings.iter_mut().enumerate() {
            while drain::take(log, ring, index) > 0 || log.has_news() {
                log.flush()?;
                ring.release();
                if log.unsynced() >= AUDIT_SYNC_BYTES {
                    log.sync()?;
                }
                if log.segment_bytes() >= segment_bytes {
                    log.rotate(now())?;
                }
            }
        }
        let (process, aborted) = (self.process, self.aborted);
        let records = log.records() - before;
        Ok(format!(
            "{records} records came back from the rings of process {process}, {aborted} of them outcomes of what it left under way"
        ))
    }

    pub(super) fn remove(&self, disk: &Disk) -> Result<(), Trouble> {
        disk.remove(&self.path).map_err(trouble("remove", &self.path))
    }
}
