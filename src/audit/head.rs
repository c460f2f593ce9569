//! What vouches for a log: an Ed25519 key, and the statements it signs.
//!
//! A **head** is a small text file outside the log (`STATE/heads/LOG-ID`), replaced at each seal, on a timer and at shutdown, always after
//! the records it counts are on disk. A **seal** is the same kind of statement inside the log, at the end of a segment. Texts are
//! signed as they stand, so that anyone with the public key can check them with any Ed25519 tool. Sans-I/O.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use super::chain::Link;
use super::facts::Nanos;
use super::segment::LogId;

const HEAD_TITLE: &str = "ringfence audit head v1";
const SEAL_TITLE: &str = "ringfence audit seal v2";

/// The key that signs heads and seals.
pub struct Key(Ed25519KeyPair);

/// The bytes are no Ed25519 key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAKey;

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.public())
    }
}

impl Key {
    /// A new key, and its PKCS#8 (RFC 5958) form for the file.
    pub fn generate() -> Result<(Self, Vec<u8>), NotAKey> {
        let pair = Ed25519KeyPair::generate().map_err(|_| NotAKey)?;
        let document = pair.to_pkcs8v1().map_err(|_| NotAKey)?;
        Ok((Self(pair), document.as_ref().to_vec()))
    }

    /// The key in a PKCS#8 file.
    pub fn from_pkcs8(bytes: &[u8]) -> Result<Self, NotAKey> {
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(bytes).map(Self).map_err(|_| NotAKey)
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        let mut key = [0; 32];
        key.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(key)
    }

    /// The key for digests in records. Its octets are a signature that is never shown; Ed25519 makes the same one each time.
    pub fn digest_key(&self) -> DigestKey {
        DigestKey(hmac::Key::new(hmac::HMAC_SHA256, &self.sign(b"ringfence audit digest key v1\n")))
    }

    /// Signs `text`.
    pub fn sign(&self, text: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.0.sign(text).as_ref());
        signature
    }
}

/// Makes a digest that nobody can guess back who does not have the state folder's key: the digests of likely values, which anybody can
/// list, tell nothing. Equal values have equal digests wherever the key is the same.
#[derive(Clone, Debug)]
pub struct DigestKey(hmac::Key);

impl DigestKey {
    /// The keyed digest (HMAC-SHA-256) of a digest.
    pub fn of(&self, digest: &[u8; 32]) -> [u8; 32] {
        let mut keyed = [0; 32];
        keyed.copy_from_slice(hmac::sign(&self.0, digest).as_ref());
        keyed
    }
}

/// An Ed25519 public key; displays as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// Whether `signature` is this key's over `text`.
    pub fn vouches(&self, text: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(text, signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl FromStr for PublicKey {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        from_hex(text.trim_ascii_end()).map(Self).ok_or(NotAKey)
    }
}

/// A signed statement: this log had so many records, and this is the link of the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedHead {
    /// The log.
    pub log: LogId,
    /// The writer closed the log: nothing follows until a new writer says `open` again.
    pub closed: bool,
    /// The segment that the last record is in.
    pub segment: u64,
    /// Number of records, which is the `seq` of the next.
    pub records: u64,
    /// Link of the last record, or of the segment's header when there is none.
    pub link: Link,
    /// When it was signed.
    pub time: Nanos,
    /// Who signed it.
    pub key: PublicKey,
}

/// Why a head file says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// It is not in the form of a head.
    Malformed,
    /// Its signature is not that of the key it names.
    Forged,
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "is not a signed head",
            Self::Forged => "carries a signature that is not its key's",
        })
    }
}

impl std::error::Error for HeadError {}

impl SignedHead {
    fn text(&self) -> String {
        let state = if self.closed { "closed" } else { "open" };
        format!(
            "{HEAD_TITLE}\nlog {}\nstate {state}\nsegment {}\nrecords {}\nlink {}\ntime {}\nkey {}\n",
            self.log, self.segment, self.records, self.link, self.time.0, self.key
        )
    }

    /// The file: the statement and its signature. `key` must be the pair of `self.key`.
    pub fn sign(&self, key: &Key) -> String {
        let mut text = self.text();
        let signature = key.sign(text.as_bytes());
        text.push_str("signature ");
        for octet in signature {
            // Writing to a string does not fail.
            let _ = write!(text, "{octet:02x}");
        }
        text.push('\n');
        text
    }

    /// Reads a head file. The signature is checked against the key that the file names; whether that key is to be trusted is for the
    /// caller to say.
    pub fn read(file: &str) -> Result<Self, HeadError> {
        let mut lines = file.lines();
        let mut line = |name: &str| {
            let rest = lines.next()?.strip_prefix(name)?;
            if name.is_empty() { Some(rest) } else { rest.strip_prefix(' ') }
        };
        let mut parse = || {
            if line("")? != HEAD_TITLE {
                return None;
            }
            let head = Self {
                log: LogId(from_hex(line("log")?)?),
                closed: match line("state")? {
                    "closed" => true,
                    "open" => false,
                    _ => return None,
                },
                segment: line("segment")?.parse().ok()?,
                records: line("records")?.parse().ok()?,
                link: Link(from_hex(line("link")?)?),
                time: Nanos(line("time")?.parse().ok()?),
                key: PublicKey(from_hex(line("key")?)?),
            };
            Some((head, from_hex::<64>(line("signature")?)?))
        };
        let (head, signature) = parse().ok_or(HeadError::Malformed)?;
        // What is checked is our own writing of what was read, so a second reading of the same bytes cannot exist.
        let text = head.text();
        if !file.starts_with(&text) {
            return Err(HeadError::Malformed);
        }
        if head.key.vouches(text.as_bytes(), &signature) { Ok(head) } else { Err(HeadError::Forged) }
    }
}

/// The text that a seal signs: `first` is the `seq` of its segment's first record, `records` precede it in the log, `link` is the last one's,
/// and `root` that of the tree over the links from `first` on.
pub fn seal_text(
    (log, segment): (LogId, u64),
    (first, records): (u64, u64),
    link: Link,
    root: super::merkle::Hash,
) -> String {
    format!("{SEAL_TITLE}\nlog {log}\nsegment {segment}\nfirst {first}\nrecords {records}\nlink {link}\nroot {root}\n")
}

fn write_hex(f: &mut fmt::Formatter<'_>, octets: &[u8]) -> fmt::Result {
    octets.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
}

pub(super) fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut octets = [0; N];
    for (octet, pair) in octets.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |digit: u8| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        };
        *octet = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(key: &Key) -> SignedHead {
        SignedHead {
            log: LogId([7; 16]),
            closed: true,
            segment: 3,
            records: 1234,
            link: Link([9; 32]),
            time: Nanos(1_700_000_000_000_000_000),
            key: key.public(),
        }
    }

    #[test]
    fn reads_the_head_it_signed() {
        let (key, _) = Key::generate().unwrap();
        assert_eq!(SignedHead::read(&head(&key).sign(&key)), Ok(head(&key)));
    }

    #[test]
    fn reads_the_key_it_wrote() {
        let (key, document) = Key::generate().unwrap();
        assert_eq!(Key::from_pkcs8(&document).unwrap().public(), key.public());
        assert_eq!(key.public().to_string().parse(), Ok(key.public()));
    }

    #[test]
    fn refuses_every_changed_octet_of_a_head() {
        let (key, _) = Key::generate().unwrap();
        let file = head(&key).sign(&key).into_bytes();
        // The last octet is the newline, which says nothing.
        for at in 0..file.len() - 1 {
            for bit in 0..8 {
                let mut changed = file.clone();
                changed[at] ^= 1 << bit;
                if let Ok(text) = std::str::from_utf8(&changed) {
                    assert!(SignedHead::read(text).is_err(), "bit {bit} of octet {at}");
                }
            }
        }
    }
}
