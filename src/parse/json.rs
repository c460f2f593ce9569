//! JSON, read strictly: one pass, in pieces, without a tree.
//!
//! A [`Scanner`] walks over one JSON text (RFC 8259) and yields its tokens as spans of the bytes that will travel on. It holds no bytes, only
//! where each open container began and a hash of each of its keys. Whatever two recipients are known to read differently is an error: a
//! name that stands twice in an object (compared after decoding), a byte order mark, a lone surrogate, ill-formed UTF-8, a number that a
//! double cannot hold, bytes behind the value. It does not know what the keys mean; [`crate::parse::rpc`] does.

mod canonical;
mod error;
mod fold;
mod keys;
mod number;
mod pointer;
mod text;

use self::keys::Keys;
use self::number::Number;
use self::text::Part;
use crate::limits::{
    JSON_BLANKS_MAX, JSON_BYTES_MAX, JSON_DEPTH_MAX, JSON_KEY_BYTES_MAX, JSON_NUMBER_BYTES_MAX, JSON_TOKENS_MAX,
};

pub use self::canonical::{canonical, digest};
pub use self::error::JsonError;
pub use self::fold::{fold, is_twin};
pub use self::number::is_exact;
pub use self::pointer::{Facts, Pointers, Value, Watch, facts};
pub use self::text::{decode, encode};

/// Reads one JSON text.
#[derive(Debug, Clone)]
pub struct Scanner {
    layout: Layout,
    state: State,
    /// Bytes read.
    at: usize,
    /// Where the token under way began.
    start: usize,
    /// The containers around, outermost first.
    frames: Vec<Frame>,
    keys: Keys,
    tokens: usize,
    /// Blanks in front of and behind the value.
    blanks: usize,
}

/// Which blanks may stand between tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Those of RFC 8259: space, tab, line feed, carriage return.
    Free,
    /// Spaces only: readers of lines disagree on what ends one.
    Line,
}

/// One token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Where it begins; the end of a container begins where the container does.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// How many containers are around it. A container's own start and end lie outside of it.
    pub depth: usize,
}

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `{`
    ObjectStart,
    /// `}`; the span is that of the whole object.
    ObjectEnd,
    /// `[`
    ArrayStart,
    /// `]`; the span is that of the whole array.
    ArrayEnd,
    /// A name within an object, with its quotes.
    Key,
    /// A string, with its quotes.
    String,
    /// A number.
    Number,
    /// `true`
    True,
    /// `false`
    False,
    /// `null`
    Null,
}

/// What [`Scanner::step`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The next token.
    Token(Token),
    /// More bytes are needed.
    More,
    /// The value is complete and nothing follows.
    End,
}

#[derive(Debug, Clone, Copy)]
struct Frame {
    is_object: bool,
    start: usize,
    /// The first of its keys.
    keys: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In front of a value.
    Value,
    /// Behind `[`.
    ValueOrEnd,
    /// Behind `,` in an object.
    Key,
    /// Behind `{`.
    KeyOrEnd,
    Colon,
    CommaOrEnd,
    /// Inside a string or a key.
    Text(Part, Kind),
    Number(Number),
    /// Inside a word, behind so many of its letters.
    Word(Kind, usize),
    /// Behind the value.
    Done,
}

impl Token {
    /// Its bytes. `bytes` is the text it was found in.
    pub fn of<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        bytes.get(self.start..self.end).unwrap_or_default()
    }
}

impl Scanner {
    /// In front of the first byte.
    pub fn new(layout: Layout) -> Self {
        Scanner {
            layout,
            state: State::Value,
            at: 0,
            start: 0,
            frames: Vec::new(),
            keys: Keys::default(),
            tokens: 0,
            blanks: 0,
        }
    }

    /// Reads on to the next token. `bytes` is the text from its beginning, as far as it has arrived; `last` says that this is all of it.
    /// No byte is looked at twice. After an error the scanner is of no further use.
    pub fn step(&mut self, bytes: &[u8], last: bool) -> Result<Step, JsonError> {
        if bytes.len() > JSON_BYTES_MAX {
            return Err(JsonError::TooLong);
        }
        while let Some(&byte) = bytes.get(self.at) {
            if let Some(token) = self.take(byte, bytes)? {
                self.tokens += 1;
                return if self.tokens > JSON_TOKENS_MAX { Err(JsonError::Tokens) } else { Ok(Step::Token(token)) };
            }
        }
        match self.state {
            _ if !last => Ok(Step::More),
            State::Done => Ok(Step::End),
            State::Number(number) if self.frames.is_empty() => self.number(number, bytes).map(Step::Token),
            _ => Err(JsonError::Truncated),
        }
    }

    /// Bytes read so far; after an error, where it was found.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// Takes the byte at the front, or as many as belong to a text.
    fn take(&mut self, byte: u8, bytes: &[u8]) -> Result<Option<Token>, JsonError> {
        match self.state {
            State::Text(part, kind) => return self.text(part, kind, bytes),
            State::Number(number) => match number.next(byte) {
                Some(next) => {
                    self.state = State::Number(next);
                    self.at += 1;
                    let length = self.at - self.start;
                    return if length > JSON_NUMBER_BYTES_MAX { Err(JsonError::NumberTooLong) } else { Ok(None) };
                }
                None => return self.number(number, bytes).map(Some),
            },
            State::Word(kind, matched) => return self.word(kind, matched, byte),
            _ if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') => return self.blank(byte).map(|()| None),
            State::Value | State::ValueOrEnd | State::Key | State::KeyOrEnd => {
                if byte == 0xef && self.at == 0 {
                    return Err(JsonError::ByteOrderMark);
                }
            }
            State::Colon | State::CommaOrEnd | State::Done => {}
        }
        self.start = self.at;
        match (self.state, byte) {
            (State::ValueOrEnd | State::CommaOrEnd, b']') => return self.close(false).map(Some),
            (State::KeyOrEnd | State::CommaOrEnd, b'}') => return self.close(true).map(Some),
            (State::CommaOrEnd, b',') => {
                let in_object = self.frames.last().is_some_and(|frame| frame.is_object);
                self.state = if in_object { State::Key } else { State::Value };
            }
            (State::Colon, b':') => self.state = State::Value,
            (State::Key | State::KeyOrEnd, b'"') => self.state = State::Text(Part::Plain, Kind::Key),
            (State::Value | State::ValueOrEnd, _) => return self.value(byte),
            (State::Done, _) => return Err(JsonError::Trailing),
            _ => return Err(JsonError::Syntax),
        }
        self.at += 1;
        Ok(None)
    }

    /// Takes the first byte of a value.
    fn value(&mut self, byte: u8) -> Result<Option<Token>, JsonError> {
        self.state = match byte {
            b'"' => State::Text(Part::Plain, Kind::String),
            b'{' => return self.open(true).map(Some),
            b'[' => return self.open(false).map(Some),
            b't' => State::Word(Kind::True, 1),
            b'f' => State::Word(Kind::False, 1),
            b'n' => State::Word(Kind::Null, 1),
            _ => State::Number(Number::first(byte).ok_or(JsonError::Syntax)?),
        };
        self.at += 1;
        Ok(None)
    }

    fn blank(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.layout == Layout::Line && byte != b' ' {
            return Err(JsonError::Layout);
        }
        self.at += 1;
        if self.frames.is_empty() {
            self.blanks += 1;
        }
        if self.blanks > JSON_BLANKS_MAX { Err(JsonError::Blanks) } else { Ok(()) }
    }

    fn open(&mut self, is_object: bool) -> Result<Token, JsonError> {
        let token = Token {
            kind: if is_object { Kind::ObjectStart } else { Kind::ArrayStart },
            start: self.at,
            end: self.at + 1,
            depth: self.frames.len(),
        };
        if self.frames.len() == JSON_DEPTH_MAX {
            return Err(JsonError::Depth);
        }
        self.frames.push(Frame { is_object, start: self.at, keys: self.keys.mark() });
        self.state = if is_object { State::KeyOrEnd } else { State::ValueOrEnd };
        self.at += 1;
        Ok(token)
    }

    fn close(&mut self, is_object: bool) -> Result<Token, JsonError> {
        let frame = self.frames.pop().filter(|frame| frame.is_object == is_object).ok_or(JsonError::Syntax)?;
        self.keys.close(frame.keys, frame.start);
        self.at += 1;
        let kind = if is_object { Kind::ObjectEnd } else { Kind::ArrayEnd };
        Ok(self.ended(kind, frame.start))
    }

    /// A value that begins at `start` ends here.
    fn ended(&mut self, kind: Kind, start: usize) -> Token {
        self.state = if self.frames.is_empty() { State::Done } else { State::CommaOrEnd };
        Token { kind, start, end: self.at, depth: self.frames.len() }
    }

    fn number(&mut self, number: Number, bytes: &[u8]) -> Result<Token, JsonError> {
        if !number.may_end() {
            return Err(JsonError::Number);
        }
        let token = self.ended(Kind::Number, self.start);
        if number::is_in_range(token.of(bytes)) { Ok(token) } else { Err(JsonError::NumberRange) }
    }

    fn word(&mut self, kind: Kind, matched: usize, byte: u8) -> Result<Option<Token>, JsonError> {
        let word: &[u8] = match kind {
            Kind::True => b"true",
            Kind::False => b"false",
            _ => b"null",
        };
        if word.get(matched) != Some(&byte) {
            return Err(JsonError::Syntax);
        }
        self.at += 1;
        if matched + 1 < word.len() {
            self.state = State::Word(kind, matched + 1);
            return Ok(None);
        }
        Ok(Some(self.ended(kind, self.start)))
    }

    /// Takes what there is of a text.
    fn text(&mut self, part: Part, kind: Kind, bytes: &[u8]) -> Result<Option<Token>, JsonError> {
        let end = if kind == Kind::Key { self.start + JSON_KEY_BYTES_MAX + 2 } else { JSON_BYTES_MAX };
        if self.at >= end {
            return Err(JsonError::KeyTooLong);
        }
        let part = part.read(bytes.get(..end).unwrap_or(bytes), &mut self.at)?;
        self.state = State::Text(part, kind);
        if part != Part::Closed {
            return Ok(None);
        }
        if kind == Kind::String {
            return Ok(Some(self.ended(kind, self.start)));
        }
        self.state = State::Colon;
        let token = Token { kind, start: self.start, end: self.at, depth: self.frames.len() };
        let frame = self.frames.last().ok_or(JsonError::Syntax)?;
        let fresh = self.keys.add(frame.keys, frame.start, &decode(token.of(bytes)));
        if fresh { Ok(Some(token)) } else { Err(JsonError::DuplicateKey) }
    }
}

/// Calls `take` with every token of a whole text.
pub fn each(bytes: &[u8], layout: Layout, mut take: impl FnMut(Token)) -> Result<(), JsonError> {
    let mut scanner = Scanner::new(layout);
    loop {
        match scanner.step(bytes, true)? {
            Step::Token(token) => take(token),
            Step::End => return Ok(()),
            Step::More => return Err(JsonError::Truncated),
        }
    }
}

#[cfg(any(test, fuzzing))]
pub mod properties;
#[cfg(test)]
mod tests;
