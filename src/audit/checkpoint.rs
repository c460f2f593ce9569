//! Checkpoints: a signed head in the form that transparency logs and their witnesses speak, for keeping elsewhere. Sans-I/O.
//!
//! A signed note (c2sp.org/signed-note) whose text is a checkpoint (c2sp.org/tlog-checkpoint): the log's name, the size and root of a Merkle
//! tree, then lines of ours with what a head says. The tree's entries are the segments that are finished, each by its last link, so one
//! that is in the tree can never change or go without the root showing it; the head's lines go on from there to the last record.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::chain::Link;
use super::facts::Nanos;
use super::head::{HeadError, Key, PublicKey, SignedHead, from_hex};
use super::merkle::Hash;
use super::segment::LogId;
use crate::limits::AUDIT_NOTE_SIGNATURES_MAX;

/// Every log's name begins with it.
const ORIGIN: &str = "ringfence/audit/";
/// The signature type of Ed25519 (c2sp.org/signed-note).
const ED25519: u8 = 1;
/// Begins a signature line.
const DASH: &str = "\u{2014} ";

/// A head, and the tree over the segments that are finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// What is signed besides the tree.
    pub head: SignedHead,
    /// Number of finished segments since the log began, retired ones included.
    pub segments: u64,
    /// Root of the tree over their last links.
    pub root: Hash,
}

impl Checkpoint {
    fn text(&self) -> String {
        let SignedHead { log, closed, segment, records, link, time, key } = &self.head;
        let state = if *closed { "closed" } else { "open" };
        format!(
            "{ORIGIN}{log}\n{}\n{}\nstate {state}\nsegment {segment}\nrecords {records}\nlink {link}\ntime {}\nkey {key}\n",
            self.segments,
            STANDARD.encode(self.root.0),
            time.0
        )
    }

    /// The note. `key` must be the pair of the head's.
    pub fn sign(&self, key: &Key) -> String {
        let mut note = self.text();
        let name = format!("{ORIGIN}{}", self.head.log);
        let signature = key.sign(note.as_bytes());
        let blob = [&key_id(&name, &self.head.key)[..], &signature].concat();
        // Writing to a string does not fail.
        let _ = write!(note, "\n{DASH}{name} {}\n", STANDARD.encode(blob));
        note
    }

    /// Whether a text is meant to be one.
    pub fn is_one(note: &str) -> bool {
        note.starts_with(ORIGIN)
    }

    /// Reads a note. The log's own signature must be among its signatures and right; those of others (witnesses) are not looked at. Whether
    /// the key that the note names is to be trusted is for the caller to say.
    pub fn read(note: &str) -> Result<Self, HeadError> {
        let (text, signatures) = note.split_once("\n\n").ok_or(HeadError::Malformed)?;
        let checkpoint = Self::parse(text).ok_or(HeadError::Malformed)?;
        // What is checked is our own writing of what was read, so a second reading of the same bytes cannot exist.
        let signed = checkpoint.text();
        if signed.strip_suffix('\n') != Some(text) || !signatures.ends_with('\n') {
            return Err(HeadError::Malformed);
        }
        let (name, key) = (format!("{ORIGIN}{}", checkpoint.head.log), checkpoint.head.key);
        let mut found = false;
        for (number, line) in signatures.lines().enumerate() {
            let (who, blob) =
                signature(line).filter(|_| number < AUDIT_NOTE_SIGNATURES_MAX).ok_or(HeadError::Malformed)?;
            if who != name || blob[..4] != key_id(&name, &key) {
                continue;
            }
            // One that claims to be ours and is not spoils the note, whatever else it carries.
            if found || !key.vouches(signed.as_bytes(), &blob[4..]) {
                return Err(HeadError::Forged);
            }
            found = true;
        }
        if found { Ok(checkpoint) } else { Err(HeadError::Forged) }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.split('\n');
        let log = LogId(from_hex(lines.next()?.strip_prefix(ORIGIN)?)?);
        let segments = lines.next()?.parse().ok()?;
        let root = Hash(STANDARD.decode(lines.next()?).ok()?.try_into().ok()?);
        let mut line = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let closed = match line("state")? {
            "closed" => true,
            "open" => false,
            _ => return None,
        };
        let head = SignedHead {
            log,
            closed,
            segment: line("segment")?.parse().ok()?,
            records: line("records")?.parse().ok()?,
            link: Link(from_hex(line("link")?)?),
            time: Nanos(line("time")?.parse().ok()?),
            key: PublicKey(from_hex(line("key")?)?),
        };
        Some(Self { head, segments, root })
    }
}

/// Who signed, and the key's id before the signature.
fn signature(line: &str) -> Option<(&str, Vec<u8>)> {
    let (who, blob) = line.strip_prefix(DASH)?.split_once(' ')?;
    let blob = STANDARD.decode(blob).ok().filter(|blob| blob.len() > 4)?;
    (!who.is_empty()).then_some((who, blob))
}

/// The first octets of SHA-256 over name, line feed, type and key.
fn key_id(name: &str, key: &PublicKey) -> [u8; 4] {
    let hashed = digest(&SHA256, &[name.as_bytes(), b"\n", &[ED25519], &key.0].concat());
    let mut id = [0; 4];
    id.copy_from_slice(&hashed.as_ref()[..4]);
    id
}

/// The form in which witnesses are told a log's key (c2sp.org/signed-note, "verifier key").
pub fn verifier_key(log: LogId, key: &PublicKey) -> String {
    let name = format!("{ORIGIN}{log}");
    let id = u32::from_be_bytes(key_id(&name, key));
    format!("{name}+{id:08x}+{}", STANDARD.encode([&[ED25519][..], &key.0].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(key: &Key) -> Checkpoint {
        let head = SignedHead {
            log: LogId([7; 16]),
            closed: false,
            segment: 4,
            records: 1234,
            link: Link([9; 32]),
            time: Nanos(1_700_000_000_000_000_000),
            key: key.public(),
        };
        Checkpoint { head, segments: 3, root: Hash([5; 32]) }
    }

    #[test]
    fn agrees_with_the_vector_of_the_reference_implementation() {
        // The note that golang.org/x/mod/sumdb/note is documented and tested with.
        let encoded = "ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let key = PublicKey(STANDARD.decode(encoded).unwrap()[1..].try_into().unwrap());
        assert_eq!(key_id("PeterNeumann", &key), [0xc7, 0x4f, 0x20, 0xa3]);
        let text =
            "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
        let line = "\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=";
        let (who, blob) = signature(line).unwrap();
        assert_eq!((who, &blob[..4]), ("PeterNeumann", &[0xc7, 0x4f, 0x20, 0xa3][..]));
        assert!(key.vouches(text.as_bytes(), &blob[4..]));
    }

    #[test]
    fn reads_the_note_it_signed_also_with_the_signatures_of_witnesses() {
        let (key, _) = Key::generate().unwrap();
        let note = checkpoint(&key).sign(&key);
        assert_eq!(Checkpoint::read(&note), Ok(checkpoint(&key)));
        let lines: Vec<_> = note.lines().collect();
        assert_eq!(lines[..3], [&format!("{ORIGIN}{}", "07".repeat(16)), "3", &STANDARD.encode([5; 32])]);
        let witnessed = format!("{note}\u{2014} witness.example/w {}\n", STANDARD.encode([1; 72]));
        assert_eq!(Checkpoint::read(&witnessed), Ok(checkpoint(&key)));
        let told = verifier_key(LogId([7; 16]), &key.public());
        assert!(told.starts_with(&format!("{ORIGIN}{}+", "07".repeat(16))), "{told}");
    }

    #[test]
    fn refuses_every_changed_bit_and_every_cut() {
        let (key, _) = Key::generate().unwrap();
        let note = checkpoint(&key).sign(&key);
        for at in 0..note.len() {
            if let Some(cut) = note.get(..at) {
                assert!(Checkpoint::read(cut).is_err(), "cut at {at}");
            }
            for bit in 0..8 {
                let mut changed = note.clone().into_bytes();
                changed[at] ^= 1 << bit;
                if let Ok(text) = std::str::from_utf8(&changed) {
                    assert!(Checkpoint::read(text).is_err(), "bit {bit} of octet {at}");
                }
            }
        }
        let (other, _) = Key::generate().unwrap();
        assert!(Checkpoint::read(&checkpoint(&key).sign(&other)).is_err(), "another key under the name of ours");
        assert!(Checkpoint::read(&format!("{note}{}", note.lines().last().unwrap())).is_err());
    }
}
