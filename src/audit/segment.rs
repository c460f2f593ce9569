//! The bytes of a segment file: a header, then records to the end. Sans-I/O; `docs/AUDIT.md` has the same tables.
//!
//! ```text
//! header, 128 octets                        record
//!   0  8  magic "RFAUDIT" 0x0a                0  4  CRC32C of octets 4 .. end of padding
//!   8  2  version, 1                          4  4  payload length n
//!  10  2  header length, 128                  8  8  seq
//!  12  4  zero                               16  8  time, ns since 1970 UTC
//!  16 16  log id                             24  2  schema
//!  32  8  segment number, from 1             26  6  zero
//!  40  8  seq of the first record            32  n  payload, an rkyv archive
//!  48  8  time of creation                       …  zero up to a multiple of 8
//!  56 32  last link of the segment before        32  link
//!  88  4  zero
//!  92  4  CRC32C of octets 0 .. 92
//!  96 32  link
//! ```
//!
//! All numbers are little-endian. The CRC finds accidents; the link finds everything.

use std::fmt;
use std::mem::size_of;

use super::chain::{LINK_BYTES, Link};
use super::facts::Nanos;
use super::record::{ArchivedIndexedSeal, ArchivedSeal, Body, NotThatArchive, Schema, body};
use crate::limits::AUDIT_RECORD_BYTES_MAX;

/// Octets of a segment header, its link included.
pub const HEADER_BYTES: usize = 128;
/// Octets of a record before its payload.
pub const FRAME_BYTES: usize = 32;
const HEADER_BODY: usize = HEADER_BYTES - LINK_BYTES;
const MAGIC: [u8; 8] = *b"RFAUDIT\n";
const VERSION: u16 = 1;

/// The random name of a log, in each of its segments and heads.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct LogId(pub [u8; 16]);

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a segment says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The log it belongs to.
    pub log: LogId,
    /// Its number, from 1 without holes.
    pub segment: u64,
    /// `seq` of its first record.
    pub first: u64,
    /// When it was begun.
    pub created: Nanos,
    /// Last link of the segment before; zero in the first.
    pub previous: Link,
    /// Its own link; computed by [`Header::encode`], so any value will do before.
    pub link: Link,
}

impl Header {
    /// The header's bytes and its link.
    pub fn encode(&self) -> ([u8; HEADER_BYTES], Link) {
        let mut out = [0; HEADER_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        out[8..10].copy_from_slice(&VERSION.to_le_bytes());
        out[10..12].copy_from_slice(&128_u16.to_le_bytes());
        out[16..32].copy_from_slice(&self.log.0);
        out[32..40].copy_from_slice(&self.segment.to_le_bytes());
        out[40..48].copy_from_slice(&self.first.to_le_bytes());
        out[48..56].copy_from_slice(&self.created.0.to_le_bytes());
        out[56..88].copy_from_slice(&self.previous.0);
        let sum = crc32c::crc32c(&out[..92]);
        out[92..96].copy_from_slice(&sum.to_le_bytes());
        let link = Link::of(&out[..HEADER_BODY]);
        out[HEADER_BODY..].copy_from_slice(&link.0);
        (out, link)
    }

    /// Reads a header. Its link is checked too.
    pub fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else { return Err(Fault::Torn) };
        if bytes[..8] != MAGIC {
            return Err(Fault::NotASegment);
        }
        if u32::from_le_bytes(array(&bytes[92..96])) != crc32c::crc32c(&bytes[..92]) {
            return Err(Fault::Sum);
        }
        let version = u16::from_le_bytes(array(&bytes[8..10]));
        if version != VERSION {
            return Err(Fault::Version(version));
        }
        let header = Self {
            log: LogId(array(&bytes[16..32])),
            segment: u64::from_le_bytes(array(&bytes[32..40])),
            first: u64::from_le_bytes(array(&bytes[40..48])),
            created: Nanos(u64::from_le_bytes(array(&bytes[48..56]))),
            previous: Link(array(&bytes[56..88])),
            link: Link(array(&bytes[HEADER_BODY..])),
        };
        // Encoding again covers the octets that mean nothing yet: they must be what this version writes.
        let (again, link) = header.encode();
        if link != header.link {
            return Err(Fault::Link);
        }
        if again != *bytes {
            return Err(Fault::Reserved);
        }
        Ok(header)
    }
}

/// What is wrong at an offset of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The file ends within a header or record.
    Torn,
    /// The file does not start like a segment.
    NotASegment,
    /// A segment of a later version.
    Version(u16),
    /// A payload longer than any record.
    Length(u32),
    /// The checksum does not match.
    Sum,
    /// Octets that must be zero are not.
    Reserved,
    /// The record's `seq` is not the next one.
    Sequence {
        /// The one that had to follow.
        expected: u64,
        /// The one that stands there.
        found: u64,
    },
    /// The link does not follow from the one before and the bytes in between.
    Link,
    /// The payload is no archive of its schema.
    Archive(Schema),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Torn => f.write_str("ends in the middle of a record"),
            Self::NotASegment => f.write_str("is not a segment of an audit log"),
            Self::Version(version) => write!(f, "has format version {version}, which this reader does not know"),
            Self::Length(length) => write!(f, "a record claims {length} octets"),
            Self::Sum => f.write_str("a checksum does not match"),
            Self::Reserved => f.write_str("octets that must be zero are not"),
            Self::Sequence { expected, found } => write!(f, "record {found} stands where {expected} belongs"),
            Self::Link => f.write_str("a record does not follow from the one before it"),
            Self::Archive(schema) => write!(f, "a {} record is not well-formed", schema.kind()),
        }
    }
}

/// A record within its bytes: lengths and checksum are in order, the rest is for the caller to check.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Its place in the log.
    pub seq: u64,
    /// When.
    pub time: Nanos,
    /// What.
    pub schema: Schema,
    /// The archive.
    pub payload: &'a [u8],
    /// The link that was stored with it.
    pub link: Link,
}

impl<'a> Frame<'a> {
    /// The checked payload.
    pub fn body(&self) -> Result<Body<'a>, Fault> {
        body(self.schema, self.payload).map_err(|NotThatArchive| Fault::Archive(self.schema))
    }

    /// Octets of the record in its file.
    pub fn bytes(&self) -> usize {
        frame_bytes(self.payload.len())
    }
}

/// Octets in the file of a record with a payload of `length`.
pub const fn frame_bytes(length: usize) -> usize {
    FRAME_BYTES + length.next_multiple_of(8) + LINK_BYTES
}

/// Octets of the record at the start of `bytes`, from its fixed part alone.
pub fn needed(bytes: &[u8]) -> Result<usize, Fault> {
    let Some(fixed) = bytes.first_chunk::<FRAME_BYTES>() else { return Err(Fault::Torn) };
    let length = u32::from_le_bytes(array(&fixed[4..8]));
    if length as usize > AUDIT_RECORD_BYTES_MAX {
        return Err(Fault::Length(length));
    }
    Ok(frame_bytes(length as usize))
}

/// The record at the start of `bytes`, with its length, checksum and zeros checked.
pub fn frame(bytes: &[u8]) -> Result<Frame<'_>, Fault> {
    let whole = bytes.get(..needed(bytes)?).ok_or(Fault::Torn)?;
    let (body, link) = whole.split_at(whole.len() - LINK_BYTES);
    if u32::from_le_bytes(array(body)) != crc32c::crc32c(&body[4..]) {
        return Err(Fault::Sum);
    }
    let (fixed, rest) = body.split_at(FRAME_BYTES);
    let (payload, padding) = rest.split_at(u32::from_le_bytes(array(&fixed[4..8])) as usize);
    if fixed[26..] != [0; 6] || padding.iter().any(|&octet| octet != 0) {
        return Err(Fault::Reserved);
    }
    Ok(Frame {
        seq: u64::from_le_bytes(array(&fixed[8..16])),
        time: Nanos(u64::from_le_bytes(array(&fixed[16..24]))),
        schema: Schema(u16::from_le_bytes(array(&fixed[24..26]))),
        payload,
        link: Link(array(link)),
    })
}

/// Octets of every [`Schema::SEAL`] in a file.
pub(super) const SEAL_BYTES: usize = frame_bytes(size_of::<ArchivedIndexedSeal>());
const BARE_SEAL_BYTES: usize = frame_bytes(size_of::<ArchivedSeal>());

/// Whether a seal of any version, with its checksum in order, begins with `bytes`.
pub(super) fn is_a_seal(bytes: &[u8]) -> bool {
    let length = match bytes.get(24..26) {
        Some(schema) if schema == Schema::SEAL.0.to_le_bytes() => SEAL_BYTES,
        Some(schema) if schema == Schema::BARE_SEAL.0.to_le_bytes() => BARE_SEAL_BYTES,
        _ => return false,
    };
    needed(bytes) == Ok(length) && bytes.get(..length).is_some_and(|seal| frame(seal).is_ok())
}

/// Appends a record to `chained`, which ends with the link before it, and returns the new link.
pub fn append(chained: &mut Vec<u8>, seq: u64, time: Nanos, schema: Schema, payload: &[u8]) -> Link {
    let start = chained.len();
    let mut fixed = [0; FRAME_BYTES];
    #[allow(clippy::cast_possible_truncation, reason = "the ring takes no longer payload")]
    fixed[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    fixed[8..16].copy_from_slice(&seq.to_le_bytes());
    fixed[16..24].copy_from_slice(&time.0.to_le_bytes());
    fixed[24..26].copy_from_slice(&schema.0.to_le_bytes());
    chained.extend_from_slice(&fixed);
    chained.extend_from_slice(payload);
    chained.resize(start + FRAME_BYTES + payload.len().next_multiple_of(8), 0);
    let sum = crc32c::crc32c(&chained[start + 4..]);
    chained[start..start + 4].copy_from_slice(&sum.to_le_bytes());
    let link = Link::of(&chained[start - LINK_BYTES..]);
    chained.extend_from_slice(&link.0);
    link
}

/// The first `N` octets of a slice that has them; zeros otherwise, which the callers' slices never are.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.first_chunk::<N>().copied().unwrap_or([0; N])
}
