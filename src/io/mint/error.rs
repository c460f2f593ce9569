//! Why an authority or a leaf cannot be had, each with what mends it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Why an authority or a leaf could not be made, or a stored authority is refused.
#[derive(Debug)]
pub enum MintError {
    /// The certificate could not be built or signed.
    Certificate(rcgen::Error),
    /// The TLS library refused the pair.
    Config(rustls::Error),
    /// The authority's life ended while it was in use.
    Over(SystemTime),
    /// A file or folder cannot be read or written.
    File(PathBuf, io::Error),
    /// A stored authority is refused.
    Stored(PathBuf, Flaw),
}

/// What is wrong with a file of a stored authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Others can read or change the key; these are its permission bits.
    Open(u32),
    /// Others can put files into the folder; these are its permission bits.
    OpenFolder(u32),
    /// Another user owns it.
    Owner(u32),
    /// It is not the key or certificate that its name says.
    Unreadable,
    /// The key is gone, the certificate is still there.
    Keyless,
    /// The certificate is for another key.
    OtherKey,
    /// The certificate may not sign others.
    NotAuthority,
    /// Its life has ended.
    Expired(SystemTime),
    /// Its life has not begun.
    NotYet(SystemTime),
}

impl fmt::Display for MintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MintError::Certificate(error) => write!(f, "cannot make a certificate: {error}"),
            MintError::Config(error) => write!(f, "cannot use a minted certificate: {error}"),
            MintError::Over(when) => write!(f, "the authority's life ended at {}: start again", spoken(*when)),
            MintError::File(path, error) => {
                let path = path.display();
                write!(
                    f,
                    "{path}: {error} (`ca.dir` and the folder of `ca.bundle` must be writable for the proxy's user)"
                )
            }
            MintError::Stored(path, flaw) => refuse(f, path, flaw),
        }
    }
}

fn refuse(f: &mut fmt::Formatter<'_>, path: &Path, flaw: &Flaw) -> fmt::Result {
    const RENEW: &str = "move the folder away: the next start makes a new authority, and agents need the new bundle";
    let path = path.display();
    match flaw {
        Flaw::Open(mode) => {
            let renew = format!("if somebody may have read it, {RENEW}");
            write!(f, "{path}: others can read or change the key (mode {mode:04o}) (chmod 600 {path}; {renew})")
        }
        Flaw::OpenFolder(mode) => {
            write!(f, "{path}: others can put files into the folder (mode {mode:04o}) (chmod 700 {path})")
        }
        Flaw::Owner(uid) => write!(f, "{path}: belongs to user {uid} (chown it to the proxy's user)"),
        Flaw::Unreadable => write!(f, "{path}: is not in PEM, or of a kind that is not supported ({RENEW})"),
        Flaw::Keyless => {
            write!(f, "{path}: there is a certificate but no key beside it (put the key back, or {RENEW})")
        }
        Flaw::OtherKey => write!(f, "{path}: the certificate does not belong to the key beside it ({RENEW})"),
        Flaw::NotAuthority => write!(f, "{path}: the certificate may not sign others ({RENEW})"),
        Flaw::Expired(when) => write!(f, "{path}: the certificate expired at {} ({RENEW})", spoken(*when)),
        Flaw::NotYet(when) => {
            write!(f, "{path}: the certificate is not valid before {} (set the clock right)", spoken(*when))
        }
    }
}

/// A time as RFC 3339 has it, to the second.
pub(super) fn spoken(when: SystemTime) -> String {
    jiff::Timestamp::try_from(when)
        .map_or_else(|_| "?".to_owned(), |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

impl std::error::Error for MintError {}

impl From<rcgen::Error> for MintError {
    fn from(error: rcgen::Error) -> MintError {
        MintError::Certificate(error)
    }
}
