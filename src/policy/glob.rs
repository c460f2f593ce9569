//! Globs over texts that are no request paths: arguments, names of tools, URIs of resources.
//!
//! `*` stands for any characters but `/`, `**` for any characters, and `/a/**` matches `/a` too, as in paths. A pattern with a slash
//! speaks of places in a tree, and a text that can be read as another place than it says is neither in nor out ([`Answer::Unsure`]).

use super::matcher::{Answer, is_winding};
use super::path;

/// A pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Glob {
    text: Box<str>,
    starred: bool,
    slashed: bool,
}

impl Glob {
    /// Reads a pattern; more than two stars in a row say no more than two.
    pub(super) fn new(text: &str) -> Glob {
        let text = path::collapse_stars(text);
        let (starred, slashed) = (text.contains('*'), text.contains('/'));
        Glob { text: text.into_boxed_str(), starred, slashed }
    }

    /// The pattern.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the text has no star, and matches itself only.
    pub(super) fn is_exact(&self) -> bool {
        !self.starred
    }

    /// Whether some texts are neither in nor out.
    pub(super) fn is_slashed(&self) -> bool {
        self.slashed
    }

    /// What every matching text begins with.
    pub(super) fn beginning(&self) -> &str {
        let plain = self.text.split('*').next().unwrap_or_default();
        // `/a/**` also matches `/a`.
        if self.text.get(plain.len()..).is_some_and(|rest| rest.starts_with("**")) {
            plain.strip_suffix('/').unwrap_or(plain)
        } else {
            plain
        }
    }

    pub(super) fn answer(&self, text: &[u8]) -> Answer {
        if self.slashed && is_winding(text) {
            return Answer::Unsure;
        }
        Answer::from(if self.starred { path::glob(self.text.as_bytes(), text) } else { self.text.as_bytes() == text })
    }
}

/// Whether one of some patterns matches a name: for certain in an allow, perhaps in a deny.
pub(super) fn any(globs: &[Glob], name: Option<&str>, allow: bool) -> bool {
    let Some(name) = name else { return false };
    let answer = globs.iter().map(|glob| glob.answer(name.as_bytes())).max().unwrap_or(Answer::No);
    if allow { answer == Answer::Yes } else { answer != Answer::No }
}
