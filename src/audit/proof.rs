//! A proof that one record is in the log: a text that stands for itself, checked with the public key alone.
//!
//! It holds the record's octets, the link before it, its place among its segment's records, the Merkle path from there to the root, and what the
//! segment's seal signed. Whoever trusts the key then knows that the record was in the log when the segment was sealed. Sans-I/O.

use std::fmt::{self, Write as _};

use super::chain::{LINK_BYTES, Link};
use super::head::{PublicKey, from_hex, seal_text};
use super::merkle::{self, Hash};
use super::segment::{self, Frame, LogId};
use crate::limits::AUDIT_PROOF_STEPS_MAX;

const TITLE: &str = "ringfence audit proof v1";

/// What a seal says, and who signed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The log.
    pub log: LogId,
    /// The segment.
    pub segment: u64,
    /// `seq` of the segment's first record.
    pub first: u64,
    /// Records of the log before the seal.
    pub records: u64,
    /// Link of the last of them.
    pub link: Link,
    /// Root of the tree over the links of the segment's records, the seal apart.
    pub root: Hash,
    /// Who signed it.
    pub key: PublicKey,
    /// Ed25519 over [`seal_text`].
    pub signature: [u8; 64],
}

/// One record and its way to a seal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// What vouches.
    pub sealed: Sealed,
    /// The record's place in the log.
    pub seq: u64,
    /// The link before it.
    pub previous: Link,
    /// Its octets in the file, without its link.
    pub record: Vec<u8>,
    /// From its leaf upwards.
    pub path: Vec<Hash>,
}

/// Why a proof proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotProven {
    /// It is not in the form of a proof.
    Malformed,
    /// The record is none, or not the one that the proof speaks of.
    Record,
    /// Record and path do not lead to the root that was signed.
    Path,
    /// The signature is not that of the key it names.
    Forged,
}

impl fmt::Display for NotProven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "is not a proof",
            Self::Record => "holds another record than it says",
            Self::Path => "its record does not lead to the root that was signed",
            Self::Forged => "carries a signature that is not its key's",
        })
    }
}

impl std::error::Error for NotProven {}

impl Proof {
    /// The text of the proof.
    pub fn write(&self) -> String {
        let sealed = &self.sealed;
        let mut text = format!(
            "{TITLE}\nlog {}\nsegment {}\nfirst {}\nrecords {}\nlink {}\nroot {}\nkey {}\nsignature {}\nseq {}\nprevious {}\nrecord {}\n",
            sealed.log,
            sealed.segment,
            sealed.first,
            sealed.records,
            sealed.link,
            sealed.root,
            sealed.key,
            Hex(&sealed.signature),
            self.seq,
            self.previous,
            Hex(&self.record)
        );
        for step in &self.path {
            // Writing to a string does not fail.
            let _ = writeln!(text, "path {step}");
        }
        text
    }

    /// Reads a proof and checks it. Whether its key is to be trusted is for the caller to say.
    pub fn read(text: &str) -> Result<Self, NotProven> {
        let proof = Self::parse(text).ok_or(NotProven::Malformed)?;
        // What is checked is our own writing of what was read, so a second reading of the same bytes cannot exist.
        if proof.write() != text {
            return Err(NotProven::Malformed);
        }
        proof.check()?;
        Ok(proof)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let mut line = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let (title, version) = TITLE.rsplit_once(' ')?;
        (line(title)? == version).then_some(())?;
        let sealed = Sealed {
            log: LogId(from_hex(line("log")?)?),
            segment: line("segment")?.parse().ok()?,
            first: line("first")?.parse().ok()?,
            records: line("records")?.parse().ok()?,
            link: Link(from_hex(line("link")?)?),
            root: Hash(from_hex(line("root")?)?),
            key: PublicKey(from_hex(line("key")?)?),
            signature: from_hex(line("signature")?)?,
        };
        let seq = line("seq")?.parse().ok()?;
        let previous = Link(from_hex(line("previous")?)?);
        let digits = line("record")?.as_bytes();
        let pair = |pair: &[u8]| from_hex::<1>(std::str::from_utf8(pair).ok()?).map(|[octet]| octet);
        let record = digits.chunks(2).map(pair).collect::<Option<_>>()?;
        let steps = lines.take(AUDIT_PROOF_STEPS_MAX).map(|line| from_hex(line.strip_prefix("path ")?).map(Hash));
        Some(Self { sealed, seq, previous, record, path: steps.collect::<Option<_>>()? })
    }

    /// The record with its link, as a reader of segments takes it. Aligned when its start is.
    pub fn framed(&self) -> Vec<u8> {
        let link = self.link();
        [&self.record[..], &link.0].concat()
    }

    fn link(&self) -> Link {
        Link::of(&[&self.previous.0[..], &self.record].concat())
    }

    fn check(&self) -> Result<(), NotProven> {
        let Sealed { log, segment, first, records, link, root, key, signature } = self.sealed;
        let framed = self.framed();
        let is_it = |frame: &Frame<'_>| frame.seq == self.seq && frame.bytes() == self.record.len() + LINK_BYTES;
        if !segment::frame(&framed).is_ok_and(|frame| is_it(&frame)) || self.seq < first {
            return Err(NotProven::Record);
        }
        let leaf = merkle::leaf(&self.link().0);
        let leaves = records.checked_sub(first).ok_or(NotProven::Path)?;
        if merkle::root_by(&self.path, leaf, self.seq - first, leaves) != Some(root) {
            return Err(NotProven::Path);
        }
        let text = seal_text((log, segment), (first, records), link, root);
        if key.vouches(text.as_bytes(), &signature) { Ok(()) } else { Err(NotProven::Forged) }
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}
