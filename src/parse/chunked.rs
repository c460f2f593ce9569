//! The chunked transfer coding (RFC 9112 §7.1): which spans of the received bytes are data.
//!
//! The decoder copies nothing. Chunk extensions and trailers are read for their syntax, bounded, and dropped: they are never forwarded, so
//! they cannot mean something else to the next hop. Line ends are CRLF, and a size is hexadecimal digits: everything that recipients are
//! known to read in two ways is an error.

use std::fmt;

use super::head::is_token;
use crate::limits::{
    CHUNK_EXTENSION_BYTES_MAX, CHUNK_EXTENSION_LINE_BYTES_MAX, CHUNK_SIZE_DIGITS_MAX, TRAILER_BYTES_MAX,
};

/// Decodes one chunked body.
#[derive(Debug, Clone)]
pub struct Decoder {
    state: State,
    /// Octets of data still missing from the chunk under way; while a size is read, the size so far.
    remaining: u64,
    /// Digits of the size so far.
    digits: u32,
    /// Octets of extension in this chunk-size line.
    extension_line: usize,
    /// Octets of extension in this message.
    extensions: usize,
    /// Octets of trailer in this message, without line ends.
    trailer: usize,
}

/// What [`Decoder::step`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// `len` octets of data, at least one, begin after `skip` octets. The next step begins behind them.
    Data {
        /// Octets of framing in front.
        skip: usize,
        /// Octets of data.
        len: usize,
    },
    /// All bytes were framing, or there were none; the body goes on.
    More,
    /// The body is complete; the next message begins after `consumed` octets.
    End {
        /// Octets of framing up to the end of the body.
        consumed: usize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In front of or inside the digits of a size.
    Size,
    /// Behind the `;` of an extension.
    ExtensionStart,
    ExtensionName,
    /// Behind the `=` of an extension.
    ExtensionValueStart,
    ExtensionToken,
    ExtensionQuoted,
    /// Behind a backslash inside quotes.
    ExtensionEscape,
    /// Behind the closing quote.
    ExtensionClosed,
    /// Behind the CR of a size line.
    SizeLineFeed,
    Data,
    DataCarriageReturn,
    DataLineFeed,
    /// In front of a trailer line or the final empty line.
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLineFeed,
    FinalLineFeed,
    Done,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// In front of the first chunk.
    pub const fn new() -> Self {
        Decoder { state: State::Size, remaining: 0, digits: 0, extension_line: 0, extensions: 0, trailer: 0 }
    }

    /// Reads on. `bytes` are those that follow what earlier steps consumed. After an error the decoder is of no further use; after the end
    /// it consumes nothing.
    pub fn step(&mut self, bytes: &[u8]) -> Result<Step, ChunkedError> {
        let mut at = 0;
        loop {
            match self.state {
                State::Done => return Ok(Step::End { consumed: at }),
                State::Data => {
                    let available = bytes.len() - at;
                    if available == 0 {
                        return Ok(Step::More);
                    }
                    let len = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(available);
                    self.remaining -= len as u64;
                    if self.remaining == 0 {
                        self.state = State::DataCarriageReturn;
                    }
                    return Ok(Step::Data { skip: at, len });
                }
                _ => {}
            }
            let Some(&byte) = bytes.get(at) else { return Ok(Step::More) };
            self.framing(byte)?;
            at += 1;
        }
    }

    /// Whether the whole body has been read.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes one octet of framing.
    fn framing(&mut self, byte: u8) -> Result<(), ChunkedError> {
        self.state = match self.state {
            State::Size => return self.size(byte),
            State::SizeLineFeed if byte == b'\n' => self.begin_chunk(),
            State::DataCarriageReturn if byte == b'\r' => State::DataLineFeed,
            State::DataLineFeed if byte == b'\n' => State::Size,
            State::DataCarriageReturn | State::DataLineFeed => return Err(ChunkedError::DataEnd),
            State::ExtensionStart
            | State::ExtensionName
            | State::ExtensionValueStart
            | State::ExtensionToken
            | State::ExtensionQuoted
            | State::ExtensionEscape
            | State::ExtensionClosed => self.extension(byte)?,
            State::TrailerStart | State::TrailerName | State::TrailerValue => self.trailer(byte)?,
            State::TrailerLineFeed if byte == b'\n' => State::TrailerStart,
            State::FinalLineFeed if byte == b'\n' => State::Done,
            State::SizeLineFeed | State::TrailerLineFeed | State::FinalLineFeed => return Err(ChunkedError::LineEnd),
            // Not framing; `step` does not come here.
            State::Data | State::Done => self.state,
        };
        Ok(())
    }

    fn size(&mut self, byte: u8) -> Result<(), ChunkedError> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\r' if self.digits > 0 => {
                self.state = State::SizeLineFeed;
                return Ok(());
            }
            b';' if self.digits > 0 => {
                self.state = State::ExtensionStart;
                return self.count_extension();
            }
            _ => return Err(ChunkedError::Size),
        };
        self.digits += 1;
        if self.digits > CHUNK_SIZE_DIGITS_MAX {
            return Err(ChunkedError::Size);
        }
        self.remaining = self.remaining << 4 | u64::from(digit);
        if self.remaining > SIZE_MAX { Err(ChunkedError::Size) } else { Ok(()) }
    }

    fn begin_chunk(&mut self) -> State {
        self.digits = 0;
        self.extension_line = 0;
        if self.remaining == 0 { State::TrailerStart } else { State::Data }
    }

    /// RFC 9112 §7.1.1: `*( ";" name [ "=" ( token / quoted-string ) ] )`, without the blanks that §7.1.1 calls bad.
    fn extension(&mut self, byte: u8) -> Result<State, ChunkedError> {
        let next = match (self.state, byte) {
            (State::ExtensionQuoted, b'"') => State::ExtensionClosed,
            (State::ExtensionQuoted, b'\\') => State::ExtensionEscape,
            (State::ExtensionQuoted | State::ExtensionEscape, b'\t' | b' '..=b'~') => State::ExtensionQuoted,
            (State::ExtensionStart | State::ExtensionName, byte) if is_token(byte) => State::ExtensionName,
            (State::ExtensionName, b'=') => State::ExtensionValueStart,
            (State::ExtensionValueStart, b'"') => State::ExtensionQuoted,
            (State::ExtensionValueStart | State::ExtensionToken, byte) if is_token(byte) => State::ExtensionToken,
            (State::ExtensionName | State::ExtensionToken | State::ExtensionClosed, b';') => State::ExtensionStart,
            (State::ExtensionName | State::ExtensionToken | State::ExtensionClosed, b'\r') => {
                return Ok(State::SizeLineFeed);
            }
            _ => return Err(ChunkedError::Extension),
        };
        self.count_extension()?;
        Ok(next)
    }

    fn count_extension(&mut self) -> Result<(), ChunkedError> {
        self.extension_line += 1;
        self.extensions += 1;
        if self.extension_line > CHUNK_EXTENSION_LINE_BYTES_MAX || self.extensions > CHUNK_EXTENSION_BYTES_MAX {
            return Err(ChunkedError::ExtensionsTooLong);
        }
        Ok(())
    }

    fn trailer(&mut self, byte: u8) -> Result<State, ChunkedError> {
        let next = match (self.state, byte) {
            (State::TrailerStart, b'\r') => return Ok(State::FinalLineFeed),
            (State::TrailerStart | State::TrailerName, byte) if is_token(byte) => State::TrailerName,
            (State::TrailerName, b':') => State::TrailerValue,
            (State::TrailerValue, b'\r') => return Ok(State::TrailerLineFeed),
            (State::TrailerValue, b'\t' | b' '..=b'~' | 0x80..) => State::TrailerValue,
            _ => return Err(ChunkedError::Trailer),
        };
        self.trailer += 1;
        if self.trailer > TRAILER_BYTES_MAX { Err(ChunkedError::TrailersTooLong) } else { Ok(next) }
    }
}

/// Sizes up to here have the same value in every recipient, whether it counts with or without a sign.
const SIZE_MAX: u64 = i64::MAX as u64;

/// What is wrong with a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkedError {
    /// A size that is not 1 to 16 hexadecimal digits below 2^63.
    Size,
    /// An extension against the grammar.
    Extension,
    /// More extension than is put up with.
    ExtensionsTooLong,
    /// A line of framing that does not end in CRLF.
    LineEnd,
    /// Chunk data that is not followed by CRLF: it is longer or shorter than its size.
    DataEnd,
    /// A trailer line against the grammar.
    Trailer,
    /// More trailer than is put up with.
    TrailersTooLong,
}

impl ChunkedError {
    /// The stable word for the refusal and the record.
    pub fn code(&self) -> &'static str {
        "malformed"
    }
}

impl fmt::Display for ChunkedError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            ChunkedError::Size => "a chunk size is malformed",
            ChunkedError::Extension => "a chunk extension is malformed",
            ChunkedError::ExtensionsTooLong => "the chunk extensions are too long",
            ChunkedError::LineEnd => "a line of the chunked coding does not end in CRLF",
            ChunkedError::DataEnd => "chunk data is not as long as its size says",
            ChunkedError::Trailer => "a trailer line is malformed",
            ChunkedError::TrailersTooLong => "the trailer section is too long",
        })
    }
}

impl std::error::Error for ChunkedError {}

#[cfg(any(test, fuzzing))]
pub mod properties;
#[cfg(test)]
mod tests;
