//! Names that some recipient takes for one another.
//!
//! Decoders are known that compare names without regard to case (Go's does, with the Kelvin sign and the long s), after compatibility
//! normalization, or up to a NUL. A name that folds to a known one without being it is nothing an honest client sends.

use icu_normalizer::DecomposingNormalizerBorrowed;

/// The form in which look-alikes are equal: compatibility-decomposed, without case, and without whatever is neither a letter nor a digit
/// nor visible ASCII (controls, blanks, joiners, combining marks, soft hyphens, variation selectors).
pub fn fold(name: &str) -> String {
    if name.is_ascii() {
        return name.chars().filter(char::is_ascii_graphic).map(|character| character.to_ascii_lowercase()).collect();
    }
    let decomposed = DecomposingNormalizerBorrowed::new_nfkd().normalize(name);
    let kept = decomposed.chars().filter(|&character| character.is_ascii_graphic() || is_letter(character));
    // Upper case first: it takes in what has no lower case of its own, such as the dotless i and the sharp s.
    kept.flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

/// Whether `name` is not `known` and yet folds to the same.
pub fn is_twin(name: &str, known: &str) -> bool {
    name != known && fold(name) == fold(known)
}

fn is_letter(character: char) -> bool {
    // Fillers are letters to Unicode, and invisible.
    character.is_alphanumeric() && !matches!(character, '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}')
}
