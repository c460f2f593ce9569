//! Path patterns: `*` within a segment, `**` across segments, `/a/**` also `/a`.
//!
//! `**` as a whole segment stands for any number of segments, none included; inside a segment it stands for any characters. The pattern
//! is kept in the same canonical form as paths.

use crate::limits;

/// A path pattern that can match.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathPattern(Box<str>);

/// Why a text is no path pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathError {
    /// The text is empty or does not begin with `/`.
    NoSlash,
    /// The text holds `?` or `#`, which end a path.
    Query,
    /// The text holds a space, a control character, a backslash or a non-ASCII character.
    Character(char),
    /// A `%` is not followed by two hexadecimal digits.
    Percent,
    /// `%00` or `%5C`, which are refused in every request.
    Refused,
    /// `%2A`: a path that holds a star is matched by `*`, and a pattern cannot ask for it alone.
    Star,
    /// A `.` or `..` segment, which is refused in every request.
    DotSegment,
    /// Longer than any request target.
    Long,
    /// More segments than the index holds.
    Segments,
}

impl PathPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`PathError`] for a text that could not match any path that reaches a decision.
    pub fn read(text: &str) -> Result<Self, PathError> {
        if text.len() > limits::TARGET_BYTES_MAX {
            return Err(PathError::Long);
        }
        if !text.starts_with('/') {
            return Err(PathError::NoSlash);
        }
        let canonical = canonical(text)?;
        let mut segments: Vec<&str> = Vec::new();
        let mut collapsed = Vec::new();
        for segment in canonical.split('/').skip(1) {
            if matches!(segment, "." | "..") {
                return Err(PathError::DotSegment);
            }
            collapsed.push(collapse_stars(segment));
        }
        for segment in &collapsed {
            // `/**/**` says no more than `/**`.
            if segment != "**" || segments.last() != Some(&"**") {
                segments.push(segment);
            }
        }
        if segments.len() > limits::POLICY_PATH_SEGMENTS_MAX {
            return Err(PathError::Segments);
        }
        Ok(Self(format!("/{}", segments.join("/")).into_boxed_str()))
    }

    /// The pattern in canonical form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a canonical path matches. Linear in the path for each `**`; the longest path is bounded by
    /// [`limits::TARGET_BYTES_MAX`].
    pub fn matches(&self, path: &str) -> bool {
        glob(self.0.as_bytes(), path.as_bytes())
    }
}

/// Where to go on when the pattern after a star did not fit.
#[derive(Clone, Copy)]
struct Retry {
    pattern: usize,
    text: usize,
    kind: Star,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Star {
    /// `*`: any characters but `/`.
    Segment,
    /// `**` in a segment: any characters.
    Any,
    /// `/**` as a whole segment: any number of whole segments.
    Deep,
}

/// Matching by remembering one `*` and one `**`.
///
/// One of each is enough: once a later `**` is reached, whatever an earlier star could take it can take too; and a `*` cannot reach
/// past its segment, so that an earlier `*` of another segment has no other way to end.
pub(super) fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut wide: Option<Retry> = None;
    let mut narrow: Option<Retry> = None;
    loop {
        match pattern.get(p..).unwrap_or_default() {
            [b'/', b'*', b'*'] if matches!(text.get(t), None | Some(b'/')) => return true,
            [b'/', b'*', b'*', b'/', ..] if text.get(t) == Some(&b'/') => {
                (p, narrow) = (p + 3, None);
                wide = Some(Retry { pattern: p, text: t, kind: Star::Deep });
                continue;
            }
            [b'/', b'*', b'*'] | [b'/', b'*', b'*', b'/', ..] => {}
            [b'*', b'*', ..] => {
                (p, narrow) = (p + 2, None);
                wide = Some(Retry { pattern: p, text: t, kind: Star::Any });
                continue;
            }
            [b'*', ..] => {
                p += 1;
                narrow = Some(Retry { pattern: p, text: t, kind: Star::Segment });
                continue;
            }
            [] if t == text.len() => return true,
            [byte, ..] if text.get(t) == Some(byte) => {
                (p, t) = (p + 1, t + 1);
                continue;
            }
            _ => {}
        }
        let Some((next, retry)) = resume(&mut narrow, &mut wide, text) else { return false };
        (p, t) = (retry.pattern, next);
    }
}

/// Lets the innermost star take one more piece of the text.
fn resume(narrow: &mut Option<Retry>, wide: &mut Option<Retry>, text: &[u8]) -> Option<(usize, Retry)> {
    if let Some(retry) = narrow {
        if text.get(retry.text).is_some_and(|byte| *byte != b'/') {
            retry.text += 1;
            return Some((retry.text, *retry));
        }
        *narrow = None;
    }
    let retry = wide.as_mut()?;
    let rest = text.get(retry.text + 1..)?;
    retry.text += match retry.kind {
        Star::Deep => 1 + memchr::memchr(b'/', rest)?,
        Star::Any | Star::Segment => 1,
    };
    Some((retry.text, *retry))
}

pub(super) fn collapse_stars(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len());
    for character in segment.chars() {
        if character != '*' || !out.ends_with("**") {
            out.push(character);
        }
    }
    out
}

/// The canonical form that paths have too: every escape of a visible character decoded but those of `/ ; % ? #`, hexadecimal digits in
/// upper case (RFC 3986 §6.2.2).
fn canonical(text: &str) -> Result<String, PathError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        match character {
            '%' => {
                let (Some(high), Some(low)) = (rest.next(), rest.next()) else { return Err(PathError::Percent) };
                let (Some(h), Some(l)) = (high.to_digit(16), low.to_digit(16)) else { return Err(PathError::Percent) };
                match u8::try_from(h * 16 + l).map_err(|_| PathError::Percent)? {
                    0 | b'\\' => return Err(PathError::Refused),
                    // Decoded it would become a wildcard.
                    b'*' => return Err(PathError::Star),
                    b'/' | b';' | b'%' | b'?' | b'#' => {
                        out.extend(['%', high.to_ascii_uppercase(), low.to_ascii_uppercase()])
                    }
                    visible @ b'!'..=b'~' => out.push(char::from(visible)),
                    _ => out.extend(['%', high.to_ascii_uppercase(), low.to_ascii_uppercase()]),
                }
            }
            '?' | '#' => return Err(PathError::Query),
            '\\' => return Err(PathError::Character(character)),
            '!'..='~' => out.push(character),
            _ => return Err(PathError::Character(character)),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
