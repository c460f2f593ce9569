//! A proof that a log has only grown from one checkpoint to another: a text that stands for itself, checked with the public key alone.
//!
//! It holds both checkpoints and the consistency proof of RFC 9162 between their trees. Whoever trusts the key then knows, without the log,
//! that every segment that was finished at the first is, as it was, among those that were finished at the second. Sans-I/O.

use std::fmt::{self, Write as _};

use super::checkpoint::Checkpoint;
use super::head::from_hex;
use super::merkle::{Hash, consistency};
use crate::limits::{AUDIT_NOTE_SIGNATURES_MAX, AUDIT_PROOF_STEPS_MAX};

const TITLE: &str = "ringfence audit consistency proof v1";
/// Lines of a checkpoint before its signatures.
const NOTE_LINES: usize = 10;

/// Two checkpoints of one log, and the way from one to the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consistency {
    /// The older checkpoint's note, as it was kept.
    pub from: String,
    /// The newer one's.
    pub to: String,
    /// The consistency proof.
    pub path: Vec<Hash>,
}

/// Why a proof proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotConsistent {
    /// It is not in the form of a proof.
    Malformed,
    /// A checkpoint that its key has not signed.
    Forged,
    /// They are of two logs, or signed by two keys.
    Strangers,
    /// The way does not lead from one to the other.
    Path,
}

impl fmt::Display for NotConsistent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "is not a proof",
            Self::Forged => "holds a checkpoint that its key has not signed",
            Self::Strangers => "holds checkpoints of two logs, or of two keys",
            Self::Path => "does not lead from one checkpoint to the other",
        })
    }
}

impl std::error::Error for NotConsistent {}

impl Consistency {
    /// Whether a text is meant to be one.
    pub fn is_one(text: &str) -> bool {
        text.starts_with(TITLE)
    }

    /// The text of the proof.
    pub fn write(&self) -> String {
        let mut text = format!("{TITLE}\n");
        for (name, note) in [("from", &self.from), ("to", &self.to)] {
            for line in note.lines() {
                // Writing to a string does not fail.
                let _ = writeln!(text, "{name} {line}");
            }
        }
        for step in &self.path {
            let _ = writeln!(text, "path {step}");
        }
        text
    }

    /// Reads a proof and checks it; returns both checkpoints, which have the same key. Whether that is to be trusted is for the caller to say.
    pub fn read(text: &str) -> Result<(Checkpoint, Checkpoint), NotConsistent> {
        let proof = Self::parse(text).ok_or(NotConsistent::Malformed)?;
        // What is checked is our own writing of what was read, so a second reading of the same bytes cannot exist.
        if proof.write() != text {
            return Err(NotConsistent::Malformed);
        }
        proof.check()
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().peekable();
        (lines.next()? == TITLE).then_some(())?;
        let mut note = |name: &str| {
            let mut note = String::new();
            for _ in 0..NOTE_LINES + AUDIT_NOTE_SIGNATURES_MAX {
                let Some(line) = lines.next_if(|line| line.starts_with(name)) else { break };
                note.push_str(&line[name.len()..]);
                note.push('\n');
            }
            note
        };
        let (from, to) = (note("from "), note("to "));
        let steps = lines.take(AUDIT_PROOF_STEPS_MAX);
        let path = steps.map(|line| from_hex(line.strip_prefix("path ")?).map(Hash)).collect::<Option<_>>()?;
        Some(Self { from, to, path })
    }

    /// Whether it shows what it is for; both checkpoints if so.
    pub fn check(&self) -> Result<(Checkpoint, Checkpoint), NotConsistent> {
        let read = |note: &str| Checkpoint::read(note).map_err(|_| NotConsistent::Forged);
        let (from, to) = (read(&self.from)?, read(&self.to)?);
        if (from.head.log, from.head.key) != (to.head.log, to.head.key) {
            return Err(NotConsistent::Strangers);
        }
        // The records after the finished segments are not in the trees, but their number can only have grown, too.
        let grown = from.head.records <= to.head.records && from.head.segment <= to.head.segment;
        if grown && consistency::holds(&self.path, (from.segments, from.root), (to.segments, to.root)) {
            Ok((from, to))
        } else {
            Err(NotConsistent::Path)
        }
    }
}
