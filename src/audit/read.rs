//! Reads segments that anyone may have written: bounded, checked, without a panic.
//!
//! [`Reader`] takes any source of bytes; [`segments`] and [`logs`] find files. Memory is one block, whatever the file says.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rkyv::util::AlignedVec;

use super::chain::{LINK_BYTES, Link};
use super::segment::{self, FRAME_BYTES, Fault, Frame, HEADER_BYTES, Header};
use super::times::{self, Span};
use crate::limits::{AUDIT_HEAD_FILE_BYTES_MAX, AUDIT_READ_BYTES, AUDIT_SEGMENT_BYTES_MAX, AUDIT_SEGMENTS_MAX};

/// How much a [`Reader`] checks of each record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Lengths, checksums and sequence: finds accidents.
    Sums,
    /// The links too, one SHA-256 a record: finds changes.
    Links,
}

/// Why reading stopped.
#[derive(Debug)]
pub enum ReadError {
    /// The bytes at this offset of the segment are not what a writer writes.
    Damaged {
        /// Octets from the beginning of the file.
        offset: u64,
        /// What is wrong there.
        fault: Fault,
    },
    /// The file could not be read.
    Io(io::Error),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged { offset, fault } => write!(f, "offset {offset}: {fault}"),
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for ReadError {}

/// Reads one segment from its beginning.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    check: Check,
    /// Records start at multiples of 8 in the file and here, so that archives are aligned.
    block: AlignedVec<16>,
    start: usize,
    end: usize,
    /// Place in the file of `block[start]`.
    offset: u64,
    header: Header,
    link: Link,
    next: u64,
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    pub fn open(source: R, check: Check) -> Result<Self, ReadError> {
        let mut block = AlignedVec::with_capacity(AUDIT_READ_BYTES);
        block.resize(AUDIT_READ_BYTES, 0);
        let mut reader = Self {
            source,
            check,
            block,
            start: 0,
            end: 0,
            offset: 0,
            header: Header {
                log: segment::LogId::default(),
                segment: 0,
                first: 0,
                created: super::Nanos(0),
                previous: Link::default(),
                link: Link::default(),
            },
            link: Link::default(),
            next: 0,
        };
        reader.fill(HEADER_BYTES)?;
        let header = Header::decode(&reader.block[..reader.end]).map_err(|fault| reader.damaged(fault))?;
        reader.start = HEADER_BYTES;
        reader.offset = HEADER_BYTES as u64;
        reader.header = header;
        reader.link = header.link;
        reader.next = header.first;
        Ok(reader)
    }

    /// What the segment says about itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Where the next record starts in the file, which is the end of what was found in order.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// `seq` of the next record.
    pub fn next_seq(&self) -> u64 {
        self.next
    }

    /// Link of the last record; with [`Check::Sums`] as it was stored, with [`Check::Links`] as it must be.
    pub fn link(&self) -> Link {
        self.link
    }

    /// The next record; `None` at the end of the file. After an error the reader stays where it is.
    #[allow(clippy::should_implement_trait, reason = "the record borrows the block, which Iterator cannot say")]
    pub fn next(&mut self) -> Result<Option<Frame<'_>>, ReadError> {
        if self.end - self.start < FRAME_BYTES {
            self.fill(FRAME_BYTES)?;
        }
        if self.start == self.end {
            return Ok(None);
        }
        let needed = segment::needed(&self.block[self.start..self.end]).map_err(|fault| self.damaged(fault))?;
        if self.end - self.start < needed {
            self.fill(needed)?;
        }
        let offset = self.offset;
        let damaged = |fault| ReadError::Damaged { offset, fault };
        let (from, to) = (self.start, self.end.min(self.start + needed));
        let frame = segment::frame(&self.block[from..to]).map_err(damaged)?;
        if frame.seq != self.next {
            return Err(damaged(Fault::Sequence { expected: self.next, found: frame.seq }));
        }
        // The link before this record stands in the octets before it, in the block as in the file.
        if self.check == Check::Links && Link::of(&self.block[from - LINK_BYTES..to - LINK_BYTES]) != frame.link {
            return Err(damaged(Fault::Link));
        }
        self.link = frame.link;
        self.next = frame.seq.wrapping_add(1);
        self.start = to;
        self.offset += needed as u64;
        Ok(Some(frame))
    }

    fn damaged(&self, fault: Fault) -> ReadError {
        ReadError::Damaged { offset: self.offset, fault }
    }

    /// Reads until `needed` octets from `start` on are there, or the file ends. The link before `start` stays in the block.
    fn fill(&mut self, needed: usize) -> Result<(), ReadError> {
        let keep = self.start.saturating_sub(LINK_BYTES);
        if keep > 0 {
            self.block.copy_within(keep..self.end, 0);
            self.start -= keep;
            self.end -= keep;
        }
        while self.end < (self.start + needed).min(self.block.len()) {
            match self.source.read(&mut self.block[self.end..]) {
                Ok(0) => break,
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ReadError::Io(error)),
            }
        }
        Ok(())
    }
}

impl<R: Read + Seek> Reader<R> {
    /// Goes on with the record at `offset`, whose `seq` is `seq`, as an index has it. What stands there is checked like any other record.
    pub fn skip_to(&mut self, offset: u64, seq: u64) -> Result<(), ReadError> {
        // The link before it comes along.
        let from = offset.saturating_sub(LINK_BYTES as u64);
        self.source.seek(SeekFrom::Start(from)).map_err(ReadError::Io)?;
        (self.start, self.end, self.offset, self.next) = (0, 0, from, seq);
        self.fill(LINK_BYTES)?;
        let Some(link) = self.block[..self.end].first_chunk::<LINK_BYTES>() else {
            return Err(self.damaged(Fault::Torn));
        };
        self.link = Link(*link);
        self.start = LINK_BYTES;
        self.offset = offset;
        Ok(())
    }
}

/// One segment file of a log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentFile {
    /// Its number, from its name.
    pub number: u64,
    /// Where it is.
    pub path: PathBuf,
}

/// The name of a segment file.
pub fn segment_name(number: u64) -> String {
    format!("{number:08}.seg")
}

fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    let number = digits.parse().ok()?;
    (segment_name(number) == name).then_some(number)
}

/// The segments of the log in `dir`, in order; empty when it holds no log.
pub fn segments(dir: &Path) -> io::Result<Vec<SegmentFile>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if let Some(number) = entry.file_name().to_str().and_then(segment_number) {
            bounded(&found)?;
            found.push(SegmentFile { number, path: entry.path() });
        }
    }
    found.sort();
    Ok(found)
}

/// The logs at `path`: itself when it holds segments, else the folders below it that do, oldest name first.
pub fn logs(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !segments(path)?.is_empty() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        // A folder that is not ours to read is not a log of ours either.
        if entry.file_type()?.is_dir() && segments(&entry.path()).is_ok_and(|segments| !segments.is_empty()) {
            bounded(&found)?;
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

fn bounded<T>(found: &[T]) -> io::Result<()> {
    if found.len() < AUDIT_SEGMENTS_MAX {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::FileTooLarge, "more segments than a log may have"))
}

/// Opens a segment file: a regular file of bounded size. A pipe or device under its name is refused, not waited for.
pub fn open(path: &Path, check: Check) -> Result<Reader<File>, ReadError> {
    let (file, _) = open_file(path).map_err(ReadError::Io)?;
    Reader::open(file, check)
}

/// The stretches of a segment file, as the index of its seal has them; `None` for a file that has to be read as a whole. Reads the end of the
/// file alone.
pub fn spans(path: &Path) -> io::Result<Option<Vec<Span>>> {
    let (file, length) = open_file(path)?;
    let Some(offset) = length.checked_sub(segment::SEAL_BYTES as u64) else { return Ok(None) };
    let mut end = AlignedVec::<16>::with_capacity(segment::SEAL_BYTES);
    end.resize(segment::SEAL_BYTES, 0);
    file.read_exact_at(&mut end, offset)?;
    Ok(times::spans(&end, length))
}

/// A segment file and its length.
fn open_file(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "is not a regular file"));
    }
    if metadata.len() > AUDIT_SEGMENT_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "is larger than any segment"));
    }
    Ok((file, metadata.len()))
}

/// The header of a segment file; `None` when there is no whole one in good order.
pub(super) fn header(path: &Path) -> io::Result<Option<Header>> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES);
    File::open(path)?.take(HEADER_BYTES as u64).read_to_end(&mut bytes)?;
    Ok(Header::decode(&bytes).ok())
}

/// Whether a segment file ends in a seal whose checksum is in order.
pub(super) fn ends_sealed(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let Some(at) = file.metadata()?.len().checked_sub(segment::SEAL_BYTES as u64) else { return Ok(false) };
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = Vec::with_capacity(segment::SEAL_BYTES);
    file.take(segment::SEAL_BYTES as u64).read_to_end(&mut bytes)?;
    Ok(segment::is_a_seal(&bytes))
}

/// A small text file: a head, a key, a base, a checkpoint.
pub fn small(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(AUDIT_HEAD_FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// Whether a seal stands anywhere after `offset` of a file, with its checksum in order, whatever stands before it: for telling a change
/// from a crash. One look at each octet, whatever the file holds, because a seal has one of two lengths.
pub(super) fn holds_a_seal(path: &Path, offset: u64) -> io::Result<bool> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut file = file.take(AUDIT_SEGMENT_BYTES_MAX);
    let mut bytes = Vec::with_capacity(2 * AUDIT_READ_BYTES);
    loop {
        let read = file.by_ref().take(AUDIT_READ_BYTES as u64).read_to_end(&mut bytes)?;
        if (0..bytes.len()).any(|at| bytes.get(at..).is_some_and(segment::is_a_seal)) {
            return Ok(true);
        }
        if read == 0 {
            return Ok(false);
        }
        // What is shorter than a seal is looked at again, together with the next block.
        bytes.drain(..bytes.len().saturating_sub(segment::SEAL_BYTES - 1));
    }
}
