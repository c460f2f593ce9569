//! Links: each is SHA-256 over the link before it and the bytes of its own record.
//!
//! ```text
//! segment file:  header body │ link ║ record body │ link ║ record body │ link ║ …
//!                             link_n = SHA-256( link_{n−1} ‖ body_n )
//! ```
//!
//! The link of a record follows its body, so that the input of the next one lies in one piece. A segment's header names the last link of
//! the segment before it; its own link is SHA-256 over the header's body, which starts with a fixed magic. What signs a link signs every
//! byte before it.

use std::fmt;

use aws_lc_rs::digest;

/// Octets of a link.
pub const LINK_BYTES: usize = 32;

/// A SHA-256 value that stands for everything up to and including its record.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Link(pub [u8; LINK_BYTES]);

impl Link {
    /// The link of `chained`, which starts with the link before and goes on with the body.
    pub fn of(chained: &[u8]) -> Self {
        let mut link = [0; LINK_BYTES];
        link.copy_from_slice(digest::digest(&digest::SHA256, chained).as_ref());
        Self(link)
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
