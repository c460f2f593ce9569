//! Python's word characters, put in place of ours.
//!
//! Our engines take marks and joiners for word characters and superscripts not; Python has it the other way round. A pattern that names only ASCII
//! characters cannot tell one character beyond ASCII from another of the same kind, so a text is changed where the two disagree, and `\w` and `\b`
//! find in it what Python finds in the text as it was.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex_automata::meta::Regex;

use super::translate::PYTHON_WORD;

/// A letter to both.
const WORD: char = '\u{aa}';
/// A word character to neither.
const OTHER: char = '\u{a7}';

/// Finds the characters about which the two disagree.
static DISPUTED: LazyLock<Option<[Regex; 2]>> = LazyLock::new(|| {
    let of = |pattern: &str| Regex::new(pattern).ok();
    Some([of(&format!("[\\w--[{PYTHON_WORD}]]"))?, of(&format!("[[{PYTHON_WORD}]--\\w]"))?])
});

/// The text in which our word characters are Python's.
pub(super) fn placed(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    // Both patterns are constants that the tests compile.
    let Some([ours, theirs]) = &*DISPUTED else { return Cow::Borrowed(text) };
    if !ours.is_match(text) && !theirs.is_match(text) {
        return Cow::Borrowed(text);
    }
    let mut buffer = [0; 4];
    let place = |character: char| {
        let one: &str = character.encode_utf8(&mut buffer);
        match () {
            () if one.is_ascii() => character,
            () if ours.is_match(one) => OTHER,
            () if theirs.is_match(one) => WORD,
            () => character,
        }
    };
    Cow::Owned(text.chars().map(place).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_no_word_character_and_a_superscript_is_one() {
        assert!(DISPUTED.is_some());
        assert_eq!(placed("key\u{301} x\u{b2} \u{203f} \u{e9}_1"), "key\u{a7} x\u{aa} \u{a7} \u{e9}_1");
        assert!(matches!(placed("plain \u{e9}"), Cow::Borrowed(_)));
    }
}
