//! Why a JSON text is refused.

use std::fmt;

/// Why a text is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonError {
    /// More than [`crate::limits::JSON_BYTES_MAX`] bytes.
    TooLong,
    /// Against the grammar of RFC 8259, where nothing more specific is said.
    Syntax,
    /// The text ends inside the value, or before it.
    Truncated,
    /// Something other than blanks behind the value.
    Trailing,
    /// U+FEFF in front.
    ByteOrderMark,
    /// A string is not well-formed UTF-8 (RFC 3629).
    Encoding,
    /// A control character stands in a string as it is.
    Control,
    /// A backslash with something behind it that no escape has.
    Escape,
    /// An escaped half of a surrogate pair without the other half.
    Surrogate,
    /// A number against the grammar.
    Number,
    /// A number of more than [`crate::limits::JSON_NUMBER_BYTES_MAX`] characters.
    NumberTooLong,
    /// A number too large for a double, or so small that a double makes nothing of it.
    NumberRange,
    /// A key of more than [`crate::limits::JSON_KEY_BYTES_MAX`] bytes.
    KeyTooLong,
    /// A name stands twice in one object.
    DuplicateKey,
    /// More than [`crate::limits::JSON_DEPTH_MAX`] levels.
    Depth,
    /// More than [`crate::limits::JSON_TOKENS_MAX`] tokens.
    Tokens,
    /// More than [`crate::limits::JSON_BLANKS_MAX`] blanks around the value.
    Blanks,
    /// A line break or a tab between tokens, where the text is a line.
    Layout,
}

impl JsonError {
    /// The stable word for the refusal and the record.
    pub fn code(&self) -> &'static str {
        "malformed"
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            JsonError::TooLong => "the JSON text is too long",
            JsonError::Syntax => "the text is no JSON",
            JsonError::Truncated => "the JSON text ends too early",
            JsonError::Trailing => "something follows the JSON value",
            JsonError::ByteOrderMark => "the JSON text begins with a byte order mark",
            JsonError::Encoding => "a JSON string is not well-formed UTF-8",
            JsonError::Control => "a JSON string has a bare control character",
            JsonError::Escape => "a JSON string has an unknown escape",
            JsonError::Surrogate => "a JSON string has half of a surrogate pair",
            JsonError::Number => "a JSON number is malformed",
            JsonError::NumberTooLong => "a JSON number is too long",
            JsonError::NumberRange => "a JSON number is beyond what recipients can hold",
            JsonError::KeyTooLong => "a name in a JSON object is too long",
            JsonError::DuplicateKey => "a name stands twice in a JSON object",
            JsonError::Depth => "the JSON text is nested too deeply",
            JsonError::Tokens => "the JSON text has too many values",
            JsonError::Blanks => "too many blanks stand around the JSON value",
            JsonError::Layout => "a line break or tab stands inside a line of JSON",
        })
    }
}

impl std::error::Error for JsonError {}
