//! Is this log what was written? `OK`, `TAMPERED` or `UNVERIFIABLE`, and never a fourth answer.
//!
//! The chain shows whether the records that are there follow from one another. Only something outside the log can show that none is
//! missing at the end and that the whole is not a forgery: the signed head under the state folder, or an anchor kept elsewhere. What
//! none of them vouches for is `UNVERIFIABLE`, and so is what a crash leaves behind; what contradicts one of them, or itself, is
//! `TAMPERED`.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::base::{BASE_FILE, Base};
use super::chain::Link;
use super::checkpoint::Checkpoint;
use super::head::{HeadError, PublicKey, SignedHead};
use super::merkle::Hash;
use super::read;
use super::segment::{Fault, LogId};
use super::writer::{HEADS_FOLDER, PUBLIC_KEY_FILE};

mod walk;

/// Times that a verification starts again because the writer signed a new head meanwhile.
const ATTEMPTS: usize = 3;

/// What to believe.
#[derive(Clone, Debug)]
pub struct Trust {
    /// The state folder: public key and signed heads.
    pub state: PathBuf,
    /// A signed head that was kept elsewhere.
    pub anchor: Option<PathBuf>,
}

/// The answer about one log.
#[derive(Debug)]
pub enum Verdict {
    /// Everything that is vouched for is there and as it was written.
    Ok(Vouched),
    /// Something is not as it was written.
    Tampered(Tampered),
    /// Nothing can be said about all of it.
    Unverifiable(Why),
}

/// What is there and by what it is vouched.
#[derive(Debug)]
pub struct Vouched {
    /// Records in order.
    pub records: u64,
    /// Segment files.
    pub segments: usize,
    /// The signed head under the state folder, when it vouches.
    pub head: Option<PathBuf>,
    /// The anchor, when it vouches.
    pub anchor: Option<PathBuf>,
    /// Who signed.
    pub key: PublicKey,
    /// Records after the last head of a log that is being written; 0 for one that was closed.
    pub unsigned: u64,
    /// A writer holds the log.
    pub open: bool,
    /// Records at the beginning that retention has removed; they count among `records`.
    pub retired: u64,
}

/// Where a log contradicts itself or what vouches for it.
#[derive(Debug)]
pub struct Tampered {
    /// The file.
    pub path: PathBuf,
    /// The segment's number.
    pub segment: u64,
    /// Octets from the beginning of the file.
    pub offset: u64,
    /// How.
    pub what: Contradiction,
}

/// How a log contradicts itself or what vouches for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contradiction {
    /// Bytes that no writer writes.
    Damage(Fault),
    /// The file is not there.
    Missing,
    /// The header does not continue the segment before.
    Misplaced,
    /// A seal that does not fit its place, or whose signature is not its key's.
    Seal,
    /// A record after the seal of its segment.
    AfterSeal,
    /// The log ends before what was signed.
    Short {
        /// Records there are.
        records: u64,
        /// Records that were signed.
        signed: u64,
    },
    /// Another record stands where the signed one was.
    Other {
        /// Its `seq`.
        seq: u64,
    },
    /// Something follows the end that was signed as closed.
    AfterEnd,
    /// The finished segments are not those whose root a checkpoint signed.
    Root {
        /// How many it speaks of.
        segments: u64,
    },
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damage(fault) => fault.fmt(f),
            Self::Missing => f.write_str("the segment is missing"),
            Self::Misplaced => f.write_str("the segment does not continue the one before it"),
            Self::Seal => f.write_str("a seal does not fit its segment"),
            Self::AfterSeal => f.write_str("a record follows the seal of its segment"),
            Self::Short { records, signed } => write!(f, "the log ends after {records} of {signed} signed records"),
            Self::Other { seq } => write!(f, "record {seq} is not the one that was signed"),
            Self::AfterEnd => f.write_str("something follows the signed end of the log"),
            Self::Root { segments } => {
                write!(f, "the first {segments} segments are not those of the checkpoint's tree")
            }
        }
    }
}

impl fmt::Display for Tampered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment {}, offset {}: {}", self.segment, self.offset, self.what)
    }
}

/// Why nothing can be said about all of a log.
#[derive(Debug)]
pub enum Why {
    /// There are no segments.
    Empty,
    /// A file could not be read.
    Unreadable(PathBuf, io::Error),
    /// A segment of a later version.
    Version(u16),
    /// The state folder has no public key, so it vouches for nothing.
    NoKey(PathBuf),
    /// There is no signed head of this log.
    NoHead(PathBuf),
    /// A head or anchor that says nothing, and why.
    BadHead(PathBuf, &'static str),
    /// Nobody closed the log: what followed the last signed record, if anything, is not vouched for.
    NotClosed {
        /// Records that are vouched for.
        signed: u64,
        /// Records after them, in order.
        unsigned: u64,
    },
    /// As above, and the end is torn.
    Torn {
        /// Records that are vouched for.
        signed: u64,
        /// Records after them, in order.
        unsigned: u64,
        /// The last segment.
        segment: u64,
        /// Where it stops making sense.
        offset: u64,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("there is no audit log here"),
            Self::Unreadable(path, error) => write!(f, "cannot read {}: {error}", path.display()),
            Self::Version(version) => write!(f, "format version {version} is not known to this reader"),
            Self::NoKey(path) => write!(f, "nothing vouches for it: there is no public key {}", path.display()),
            Self::NoHead(path) => write!(f, "nothing vouches for it: there is no signed head {}", path.display()),
            Self::BadHead(path, why) => write!(f, "nothing vouches for it: {} {why}", path.display()),
            Self::NotClosed { signed, unsigned } => write!(
                f,
                "the log was not closed: {signed} records are vouched for, {unsigned} after them and what may have followed are not"
            ),
            Self::Torn { signed, unsigned, segment, offset } => write!(
                f,
                "the log was not closed and its end is torn (segment {segment}, offset {offset}): {signed} records are vouched for, \
                 {unsigned} after them and what may have followed are not"
            ),
        }
    }
}

/// Verifies the log in `dir`.
pub fn log(dir: &Path, trust: &Trust) -> Verdict {
    let mut verdict = Verdict::Unverifiable(Why::Empty);
    for _ in 0..ATTEMPTS {
        let (now, heads) = match Heads::collect(dir, trust) {
            Ok(Some(heads)) => (walk::walk(dir, &heads), heads),
            Ok(None) => return Verdict::Unverifiable(Why::Empty),
            Err(why) => return Verdict::Unverifiable(why),
        };
        verdict = now;
        // A writer that signed or closed meanwhile has changed what the answer must be.
        if matches!(verdict, Verdict::Ok(_)) || heads.still_stand() {
            break;
        }
    }
    verdict
}

/// What vouches for a log.
#[derive(Debug)]
struct Heads {
    state: Result<(PathBuf, SignedHead), Why>,
    state_path: PathBuf,
    anchor: Option<(PathBuf, SignedHead)>,
    /// What the anchor says of the finished segments, when it is a checkpoint: how many, and the root of their tree.
    root: Option<(u64, Hash)>,
    /// Where the log begins, when its oldest segments were retired. By the key of what vouches.
    base: Option<Base>,
    base_text: Option<String>,
    base_path: PathBuf,
    /// A writer holds the log.
    open: bool,
}

impl Heads {
    /// Before the log is read, so that the log is at least as far as they are. `None` when there is no log.
    fn collect(dir: &Path, trust: &Trust) -> Result<Option<Self>, Why> {
        let open = super::writer::is_held(dir);
        let segments = read::segments(dir).map_err(|error| Why::Unreadable(dir.to_owned(), error))?;
        let Some(first) = segments.first() else { return Ok(None) };
        let (anchor, root) = match &trust.anchor {
            Some(path) => {
                let (head, root) = read_anchor(path)?;
                (Some((path.clone(), head)), root)
            }
            None => (None, None),
        };
        let base_path = dir.join(BASE_FILE);
        let base_text = read::small(&base_path).ok();
        // The name of the log is in every segment; a first one that cannot be read still has a head to be measured against if any
        // other segment or the anchor names it.
        let id = segments
            .iter()
            .find_map(|segment| read::open(&segment.path, read::Check::Sums).ok())
            .map(|reader| reader.header().log)
            .or(anchor.as_ref().map(|(_, head)| head.log));
        let state_path = match id {
            Some(id) => trust.state.join(HEADS_FOLDER).join(id.to_string()),
            None => first.path.clone(),
        };
        let state = match id {
            Some(id) => state_head(&trust.state, &state_path, id),
            None => Err(Why::BadHead(first.path.clone(), "does not say which log it belongs to")),
        };
        if let (Some(id), Some((path, head))) = (id, &anchor)
            && head.log != id
        {
            return Err(Why::BadHead(path.clone(), "is the anchor of another log"));
        }
        let keys = [state.as_ref().ok(), anchor.as_ref()].map(|head| head.map(|(_, head)| head.key));
        let base = base_text.as_deref().and_then(|text| Base::read(text).ok());
        // One that nobody vouches for is as good as none, and then the segments that it stands for are missing.
        let base = base.filter(|base| Some(base.log) == id && keys.contains(&Some(base.key)));
        if let (Some(base), Some((path, head))) = (&base, &anchor)
            && head.records < base.records
        {
            return Err(Why::BadHead(path.clone(), "speaks of records that were retired since: take a newer one"));
        }
        Ok(Some(Self { state, state_path, anchor, root, base, base_text, base_path, open }))
    }

    fn still_stand(&self) -> bool {
        let now = read_head(&self.state_path).ok();
        let head = now == self.state.as_ref().ok().map(|(_, head)| *head) || self.state.is_err();
        head && read::small(&self.base_path).ok() == self.base_text
    }

    /// Points that the chain must pass through: this many records, ending in this link.
    fn marks(&self) -> Vec<(u64, Link)> {
        let state = self.state.as_ref().ok().map(|(_, head)| head);
        let anchor = self.anchor.as_ref().map(|(_, head)| head);
        state.into_iter().chain(anchor).map(|head| (head.records, head.link)).collect()
    }

    /// Records that something vouches for.
    fn signed(&self) -> u64 {
        self.marks().iter().map(|(records, _)| *records).max().unwrap_or(0)
    }

    /// The records after which nothing may follow.
    fn end(&self) -> Option<u64> {
        self.state.as_ref().ok().filter(|(_, head)| head.closed).map(|(_, head)| head.records)
    }
}

/// The public key of a state folder.
pub fn public_key(state: &Path) -> Result<PublicKey, Why> {
    let key_path = state.join(PUBLIC_KEY_FILE);
    let key = read::small(&key_path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Why::NoKey(key_path.clone()),
        _ => Why::Unreadable(key_path.clone(), error),
    })?;
    key.parse::<PublicKey>().map_err(|_| Why::BadHead(key_path, "is not a public key"))
}

fn state_head(state: &Path, path: &Path, id: LogId) -> Result<(PathBuf, SignedHead), Why> {
    let key = public_key(state)?;
    let head = read_head(path)?;
    if head.log != id {
        return Err(Why::BadHead(path.to_owned(), "is the head of another log"));
    }
    if head.key != key {
        return Err(Why::BadHead(path.to_owned(), "was signed by a key that is not this state folder's"));
    }
    Ok((path.to_owned(), head))
}

fn read_head(path: &Path) -> Result<SignedHead, Why> {
    SignedHead::read(&text_of(path)?).map_err(|error| bad_head(path, error))
}

/// A signed head, or a checkpoint and what it says of the finished segments.
fn read_anchor(path: &Path) -> Result<(SignedHead, Option<(u64, Hash)>), Why> {
    let text = text_of(path)?;
    if !Checkpoint::is_one(&text) {
        return SignedHead::read(&text).map(|head| (head, None)).map_err(|error| bad_head(path, error));
    }
    let checkpoint = Checkpoint::read(&text).map_err(|error| bad_head(path, error))?;
    Ok((checkpoint.head, Some((checkpoint.segments, checkpoint.root))))
}

fn text_of(path: &Path) -> Result<String, Why> {
    read::small(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Why::NoHead(path.to_owned()),
        _ => Why::Unreadable(path.to_owned(), error),
    })
}

fn bad_head(path: &Path, error: HeadError) -> Why {
    let why = match error {
        HeadError::Malformed => "is not a signed head",
        HeadError::Forged => "carries a signature that is not its key's",
    };
    Why::BadHead(path.to_owned(), why)
}

#[cfg(test)]
mod tests;
