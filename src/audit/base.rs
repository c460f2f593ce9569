//! Where a log begins whose oldest segments were retired: a small signed text beside the segments, `LOG/base`. Sans-I/O.
//!
//! It stands for everything before the first segment that is kept: how many records there were, the link that the chain goes on from, and
//! the tree over the segments that are gone, so that roots and links after it mean what they meant before.

use std::fmt::Write as _;

use super::chain::Link;
use super::head::{HeadError, Key, PublicKey, from_hex};
use super::merkle::{Hash, Tree};
use super::segment::LogId;

/// In the log's folder.
pub const BASE_FILE: &str = "base";
const TITLE: &str = "ringfence audit base v1";

/// A signed statement: this log goes on here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// The log.
    pub log: LogId,
    /// The oldest segment that is kept.
    pub segment: u64,
    /// `seq` of its first record: so many records are before it.
    pub records: u64,
    /// Last link of the segment before it.
    pub link: Link,
    /// Over the last links of the segments before it.
    pub tree: Tree,
    /// Who signed it.
    pub key: PublicKey,
}

impl Base {
    fn text(&self) -> String {
        let Self { log, segment, records, link, tree, key } = self;
        let mut text = format!("{TITLE}\nlog {log}\nsegment {segment}\nrecords {records}\nlink {link}\n");
        for peak in tree.peaks() {
            // Writing to a string does not fail.
            let _ = writeln!(text, "peak {peak}");
        }
        let _ = writeln!(text, "key {key}");
        text
    }

    /// The file: the statement and its signature. `key` must be the pair of `self.key`.
    pub fn sign(&self, key: &Key) -> String {
        let mut text = self.text();
        let signature = key.sign(text.as_bytes());
        text.push_str("signature ");
        for octet in signature {
            let _ = write!(text, "{octet:02x}");
        }
        text.push('\n');
        text
    }

    /// Reads a base file and checks its signature; whether its key is to be trusted is for the caller to say.
    pub fn read(file: &str) -> Result<Self, HeadError> {
        let (base, signature) = Self::parse(file).ok_or(HeadError::Malformed)?;
        // As with heads: what is checked is our own writing of what was read.
        let text = base.text();
        if !file.starts_with(&text) {
            return Err(HeadError::Malformed);
        }
        if base.key.vouches(text.as_bytes(), &signature) { Ok(base) } else { Err(HeadError::Forged) }
    }

    fn parse(file: &str) -> Option<(Self, [u8; 64])> {
        let mut lines = file.lines();
        let mut line = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let (title, version) = TITLE.rsplit_once(' ')?;
        (line(title)? == version).then_some(())?;
        let log = LogId(from_hex(line("log")?)?);
        let segment: u64 = line("segment")?.parse().ok()?;
        let records = line("records")?.parse().ok()?;
        let link = Link(from_hex(line("link")?)?);
        let retired = segment.checked_sub(1)?;
        let mut peaks = Vec::new();
        for _ in 0..retired.count_ones() {
            peaks.push(Hash(from_hex(line("peak")?)?));
        }
        let tree = Tree::of(retired, peaks)?;
        let key = PublicKey(from_hex(line("key")?)?);
        let signature = from_hex(line("signature")?)?;
        lines.next().is_none().then_some((Self { log, segment, records, link, tree, key }, signature))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::merkle::leaf;

    #[test]
    fn reads_the_base_it_signed_and_no_other() {
        let (key, _) = Key::generate().unwrap();
        let mut tree = Tree::default();
        (0..6_u8).for_each(|number| tree.push(leaf(&[number; 32])));
        let base = Base { log: LogId([7; 16]), segment: 7, records: 99, link: Link([3; 32]), tree, key: key.public() };
        let file = base.sign(&key);
        assert_eq!(Base::read(&file), Ok(base));
        for at in 0..file.len() - 1 {
            let mut changed = file.clone().into_bytes();
            changed[at] ^= 1;
            assert!(std::str::from_utf8(&changed).map_or(true, |text| Base::read(text).is_err()), "octet {at}");
            assert!(Base::read(&file[..at]).is_err(), "cut at {at}");
        }
    }
}
