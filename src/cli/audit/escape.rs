//! Text from a log, made safe to show. What is in a log was chosen by agents and by the servers they talk to.

use std::borrow::Cow;

/// Whether a character acts on a terminal, hides, or reorders what stands around it, rather than being shown.
pub(super) fn is_unsafe(letter: char) -> bool {
    matches!(letter,
        '\0'..='\x1f' | '\x7f'..='\u{9f}'                                  // C0, DEL, C1
        | '\u{ad}' | '\u{61c}' | '\u{180e}'                                // invisible
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'                // zero width, line ends, bidi
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'   // joiners, isolates, annotations
        | '\u{e0000}'..='\u{e0fff}') // tags
}

/// `text` with every unsafe character written as `\u{…}`.
pub(in crate::cli) fn terminal(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if is_unsafe(letter) { out.extend(letter.escape_unicode()) } else { out.push(letter) }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lets_no_control_character_through() {
        let all: String = ('\0'..=char::MAX).filter(|letter| letter.is_control() || is_unsafe(*letter)).collect();
        assert!(!terminal(&all).chars().any(|letter| letter.is_control() || is_unsafe(letter)));
        assert_eq!(terminal("\x1b[31m\u{202e}x\r\n"), r"\u{1b}[31m\u{202e}x\u{d}\u{a}");
    }

    #[test]
    fn leaves_ordinary_text_alone() {
        assert!(matches!(terminal("/v1/naïve/路径?x=é"), Cow::Borrowed(_)));
    }
}
