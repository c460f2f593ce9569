//! Characters that a model reads and a person does not see.
//!
//! Descriptions of tools go to a model unread by anybody: zero-width characters, bidirectional controls and tag characters carry text that no
//! review shows. Joiners and variation selectors have honest uses, in scripts that join and in emoji, and are hidden elsewhere.

use std::borrow::Cow;

use crate::parse::json::{JsonError, Kind, Layout, decode, each, encode};

/// Why a character is not seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hidden {
    /// It has no width: spaces and joiners of width zero, soft hyphens, fillers, invisible operators, stray variation selectors.
    ZeroWidth,
    /// It changes the order in which text is shown (UAX #9).
    Bidi,
    /// A tag character (U+E0000 to U+E007F), which mirrors ASCII.
    Tag,
    /// A control character other than tab and line ends; terminals act on some.
    Control,
}

/// The first hidden character of a text, by its offset.
pub fn find(text: &str) -> Option<(usize, Hidden)> {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\r')) {
        return None;
    }
    let mut before = '\0';
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        let behind = characters.peek().map_or('\0', |&(_, next)| next);
        if let Some(hidden) = classify(before, character, behind) {
            return Some((at, hidden));
        }
        before = character;
    }
    None
}

/// The text without its hidden characters.
pub fn strip(text: &str) -> Cow<'_, str> {
    let Some((first, _)) = find(text) else { return Cow::Borrowed(text) };
    let mut kept = String::with_capacity(text.len());
    let mut before = '\0';
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if classify(before, character, characters.peek().copied().unwrap_or('\0')).is_none() {
            kept.push(character);
        }
        before = character;
    }
    debug_assert!(kept.len() >= first);
    // What stood apart may now stand together: once more, until nothing is hidden. Each turn is shorter.
    match find(&kept) {
        Some(_) => Cow::Owned(strip(&kept).into_owned()),
        None => Cow::Owned(kept),
    }
}

/// The first hidden character in the names and strings of a JSON text, by the offset of the string that has it.
pub fn find_in_json(bytes: &[u8]) -> Result<Option<(usize, Hidden)>, JsonError> {
    let mut found = None;
    each(bytes, Layout::Free, |token| {
        if found.is_none() && matches!(token.kind, Kind::Key | Kind::String) {
            found = find(&decode(token.of(bytes))).map(|(_, hidden)| (token.start, hidden));
        }
    })?;
    Ok(found)
}

/// A JSON text whose strings are without hidden characters; all other bytes stay. Nothing if a name has any: without them it would be
/// another name.
pub fn strip_json(bytes: &[u8]) -> Result<Option<Cow<'_, [u8]>>, JsonError> {
    let mut out = Vec::new();
    let mut copied = 0;
    let mut named = false;
    each(bytes, Layout::Free, |token| {
        if !matches!(token.kind, Kind::Key | Kind::String) {
            return;
        }
        if let Cow::Owned(stripped) = strip(&decode(token.of(bytes))) {
            named |= token.kind == Kind::Key;
            out.extend_from_slice(bytes.get(copied..token.start).unwrap_or_default());
            encode(&stripped, &mut out);
            copied = token.end;
        }
    })?;
    if named {
        return Ok(None);
    }
    if copied == 0 {
        return Ok(Some(Cow::Borrowed(bytes)));
    }
    out.extend_from_slice(bytes.get(copied..).unwrap_or_default());
    Ok(Some(Cow::Owned(out)))
}

fn classify(before: char, character: char, behind: char) -> Option<Hidden> {
    match character {
        '\t' | '\n' | '\r' => None,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' => Some(Hidden::Control),
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => Some(Hidden::Bidi),
        '\u{e0000}'..='\u{e007f}' => Some(Hidden::Tag),
        '\u{200c}' | '\u{200d}' if joins(before) && joins(behind) => None,
        // One selector behind something that is shown, as in emoji, is no message; several in a row are.
        '\u{fe00}'..='\u{fe0f}' if is_selectable(before) => None,
        '\u{ad}'
        | '\u{34f}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200d}'
        | '\u{2028}'
        | '\u{2029}'
        | '\u{2060}'..='\u{2065}'
        | '\u{206a}'..='\u{206f}'
        | '\u{2800}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0080}'..='\u{e0fff}' => Some(Hidden::ZeroWidth),
        _ => None,
    }
}

/// Letters of scripts that join, and emoji. Not what is itself invisible.
fn joins(character: char) -> bool {
    let is_script = matches!(character, '\u{600}'..='\u{1fff}') && character != '\u{61c}';
    let is_emoji = matches!(character, '\u{2190}'..='\u{2bff}' | '\u{fe0f}' | '\u{1f000}'..='\u{1faff}');
    (is_script && !matches!(character, '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'))
        || is_emoji && character != '\u{2800}'
}

/// What a variation selector may stand behind: digits, `#` and `*` of keycaps, symbols, ideographs.
fn is_selectable(character: char) -> bool {
    matches!(
        character,
        '0'..='9' | '#' | '*' | '\u{a9}' | '\u{ae}' | '\u{203c}' | '\u{2049}' | '\u{2122}' | '\u{2139}'
            | '\u{2190}'..='\u{27ff}' | '\u{2900}'..='\u{2bff}' | '\u{3030}' | '\u{303d}' | '\u{3297}' | '\u{3299}'
            | '\u{3400}'..='\u{9fff}' | '\u{1f000}'..='\u{1faff}' | '\u{20000}'..='\u{3ffff}'
    )
}
