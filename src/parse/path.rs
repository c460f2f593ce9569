//! The path of a request, in every way a recipient may read it.
//!
//! A policy speaks about one path; origins disagree on what a path is. Some decode `%2F` before they split segments, some afterwards; some
//! merge `//`; some cut parameters (`;…`) off a segment; some decode twice. [`read`] gives the canonical form and, for the paths where it
//! matters, the closure of those rewritings, so that an allow can ask for all of them and a deny for any. What is refused outright is what no
//! honest client sends: dot segments in any reading, encoded NUL and backslash, broken escapes and overlong UTF-8.
//!
//! The readings are for matching only. What travels on is the path as received.

use std::borrow::Cow;
use std::fmt;

use crate::limits::PATH_READINGS_MAX;

/// A path and the other ways to read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path<'b> {
    /// The path with each escape decoded that hides a plain character. Escapes that remain (`/ ; % ? #`, blanks, controls, octets above 127)
    /// are written with upper-case digits. Borrowed where that changes nothing.
    pub canonical: Cow<'b, str>,
    /// Every other way to read it.
    pub readings: Readings,
}

/// The ways to read a path besides its canonical form: at most [`PATH_READINGS_MAX`], each different from the others, and mostly none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Readings(Vec<String>);

impl Readings {
    /// Each reading once.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the canonical form is the only way to read the path.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Reads a path of visible ASCII, without its query. It need not begin with `/`.
pub fn read(path: &str) -> Result<Path<'_>, PathError> {
    if is_plain(path)? {
        return Ok(Path { canonical: Cow::Borrowed(path), readings: Readings::default() });
    }
    let canonical = canonicalize(path)?;
    refuse_dot_segments(&canonical)?;
    let readings = other_readings(&canonical)?;
    let canonical = if canonical == path { Cow::Borrowed(path) } else { Cow::Owned(canonical) };
    Ok(Path { canonical, readings })
}

/// Whether there is one way to read the path. The whole cost of an ordinary path.
fn is_plain(path: &str) -> Result<bool, PathError> {
    let mut previous = 0;
    let mut plain = true;
    let mut dot_in_front = false;
    for byte in path.bytes() {
        plain &= byte != b'%' && byte != b';' && (byte != b'/' || previous != b'/');
        dot_in_front |= byte == b'.' && (previous == b'/' || previous == 0);
        previous = byte;
    }
    if dot_in_front {
        refuse_dot_segments(path)?;
    }
    Ok(plain)
}

/// RFC 3986 §6.2.2, and beyond unreserved characters: origins route on the decoded path, so `%40` and `@` are one.
fn canonicalize(path: &str) -> Result<String, PathError> {
    let mut canonical = String::with_capacity(path.len());
    let mut lead = 0;
    let mut rest = path;
    while let Some((plain, escaped)) = rest.split_once('%') {
        canonical.push_str(plain);
        let value = escape(escaped).ok_or(PathError::Escape)?;
        rest = escaped.get(2..).unwrap_or_default();
        if !plain.is_empty() {
            lead = 0;
        }
        match (lead, value) {
            (_, 0) => return Err(PathError::Nul),
            (_, b'\\') => return Err(PathError::Backslash),
            // RFC 3629 §3: never valid, and read as `/` or `.` by decoders that do not know.
            (_, 0xc0 | 0xc1) | (0xe0, 0x80..=0x9f) | (0xf0, 0x80..=0x8f) => return Err(PathError::Overlong),
            (_, b'/' | b';' | b'%' | b'?' | b'#') => push_escape(&mut canonical, value),
            (_, b'!'..=b'~') => canonical.push(char::from(value)),
            _ => push_escape(&mut canonical, value),
        }
        lead = value;
    }
    canonical.push_str(rest);
    Ok(canonical)
}

/// The octet that the two hexadecimal digits at the beginning of `digits` stand for.
fn escape(digits: &str) -> Option<u8> {
    match digits.as_bytes() {
        [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
            u8::from_str_radix(digits.get(..2)?, 16).ok()
        }
        _ => None,
    }
}

fn push_escape(path: &mut String, value: u8) {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    path.push('%');
    path.extend([DIGITS[usize::from(value >> 4)], DIGITS[usize::from(value & 15)]]);
}

/// The closure of `canonical` under the rewritings, without itself. Each rewriting shortens, so there is an end; the bound comes first.
fn other_readings(canonical: &str) -> Result<Readings, PathError> {
    let mut all = vec![canonical.to_owned()];
    let mut next = 0;
    while let Some(path) = all.get(next).cloned() {
        next += 1;
        for reading in [decode(&path)?, cut_parameters(&path), merge_slashes(&path)] {
            if all.contains(&reading) {
                continue;
            }
            refuse_dot_segments(&reading)?;
            if all.len() > PATH_READINGS_MAX {
                return Err(PathError::Readings);
            }
            all.push(reading);
        }
    }
    all.remove(0);
    Ok(Readings(all))
}

/// As an origin reads the path that decodes it whole, once more than we did.
fn decode(path: &str) -> Result<String, PathError> {
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((plain, escaped)) = rest.split_once('%') {
        decoded.push_str(plain);
        rest = escaped.get(2..).unwrap_or_default();
        match escape(escaped) {
            Some(b'/') => decoded.push('/'),
            Some(b';') => decoded.push(';'),
            // A percent sign that is one stays escaped; one that begins an escape begins it now.
            Some(b'%') if escape(rest).is_some() => decoded.push('%'),
            _ => {
                decoded.push('%');
                rest = escaped;
                let digits = escaped.get(..2).unwrap_or_default();
                decoded.push_str(digits);
                rest = rest.get(digits.len()..).unwrap_or_default();
            }
        }
    }
    decoded.push_str(rest);
    canonicalize(&decoded)
}

/// As an origin reads the path that takes `;…` at the end of a segment for parameters (RFC 3986 §3.3).
fn cut_parameters(path: &str) -> String {
    let mut cut = String::with_capacity(path.len());
    for (index, segment) in path.split('/').enumerate() {
        if index > 0 {
            cut.push('/');
        }
        cut.push_str(segment.split_once(';').map_or(segment, |(name, _)| name));
    }
    cut
}

/// As an origin reads the path that takes several slashes for one.
fn merge_slashes(path: &str) -> String {
    let mut merged = String::with_capacity(path.len());
    for character in path.chars() {
        if character != '/' || !merged.ends_with('/') {
            merged.push(character);
        }
    }
    merged
}

fn refuse_dot_segments(path: &str) -> Result<(), PathError> {
    if path.split('/').any(|segment| matches!(segment, "." | "..")) { Err(PathError::DotSegment) } else { Ok(()) }
}

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathError {
    /// `.` or `..` as a segment, in some reading.
    DotSegment,
    /// `%` without two hexadecimal digits.
    Escape,
    /// `%00`, in some reading.
    Nul,
    /// `%5C`, in some reading.
    Backslash,
    /// An escaped UTF-8 sequence that is longer than need be.
    Overlong,
    /// More than [`PATH_READINGS_MAX`] ways to read it.
    Readings,
}

impl fmt::Display for PathError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            PathError::DotSegment => "the path has a dot segment",
            PathError::Escape => "the path has a percent sign without two hexadecimal digits",
            PathError::Nul => "the path has an encoded NUL",
            PathError::Backslash => "the path has an encoded backslash",
            PathError::Overlong => "the path has an overlong UTF-8 sequence",
            PathError::Readings => "the path can be read in too many ways",
        })
    }
}

impl std::error::Error for PathError {}
