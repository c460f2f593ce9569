//! Server-sent events (HTML, "Server-sent events", §9.2.5 and §9.2.6), one at a time.
//!
//! Lines end with CR, LF or CRLF. An event is there with the line end of its blank line: after a CR nothing more is waited for, and an LF
//! that follows is swallowed later. Recipients are known to read the format in different ways (which characters end a line, what is trimmed,
//! whether a name matters), so what travels on is not what was read but [`Event::write`]: the same fields in the one form that all of
//! them read alike. The parser knows nothing of what events mean.

use std::fmt;

use memchr::memchr2;

use crate::limits::{SSE_EVENT_BYTES_MAX, SSE_ID_BYTES_MAX, SSE_RETRY_MILLISECONDS_MAX, SSE_RETRY_MILLISECONDS_MIN};

/// Decodes one stream.
#[derive(Debug, Clone, Default)]
pub struct Decoder {
    /// The line under way.
    line: Vec<u8>,
    /// What the lines since the last blank one have said.
    block: Block,
    /// Octets since the last blank line.
    octets: usize,
    /// The last octet was a CR: an LF in front belongs to it.
    after_return: bool,
    /// Behind the first line, in front of which a byte order mark may stand.
    begun: bool,
    /// The block has been handed out; the next step begins a new one.
    delivered: bool,
}

#[derive(Debug, Clone, Default)]
struct Block {
    name: Option<String>,
    /// Each line with an LF behind it.
    data: Option<String>,
    id: Option<String>,
    retry: Option<u64>,
}

/// What [`Decoder::step`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'d> {
    /// An event ends after `consumed` octets.
    Event {
        /// Octets up to the end of its blank line; the next step begins behind them.
        consumed: usize,
        /// The event.
        event: Event<'d>,
    },
    /// A comment, which servers send to keep a connection alive, ends after `consumed` octets.
    Comment {
        /// Octets up to the end of its line; the next step begins behind them.
        consumed: usize,
    },
    /// All octets are read; the event under way goes on.
    More,
}

/// The fields of one event. At least one of them is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'d> {
    /// `event`, as the last such line has it. Without one, and where it is empty, the event is a `message`.
    pub name: Option<&'d str>,
    /// The `data` lines, joined with LF. Recipients dispatch nothing for an event without any.
    pub data: Option<&'d str>,
    /// `id`, as the last such line has it.
    pub id: Option<&'d str>,
    /// `retry` in milliseconds, brought within bounds.
    pub retry: Option<u64>,
}

impl Event<'_> {
    /// The type under which a recipient dispatches the event.
    pub fn kind(&self) -> &str {
        self.name.filter(|name| !name.is_empty()).unwrap_or("message")
    }

    /// Appends the event in canonical form: LF, one space behind each colon, one line for each field and each line of data.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut line = |name: &str, value: &str| {
            for part in [name, ": ", value, "\n"] {
                out.extend_from_slice(part.as_bytes());
            }
        };
        if let Some(name) = self.name {
            line("event", name);
        }
        if let Some(id) = self.id {
            line("id", id);
        }
        if let Some(retry) = self.retry {
            line("retry", &retry.to_string());
        }
        for data in self.data.iter().flat_map(|data| data.split('\n')) {
            line("data", data);
        }
        out.push(b'\n');
    }
}

/// A comment in canonical form.
pub const COMMENT: &[u8] = b":\n\n";

impl Decoder {
    /// In front of the first octet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads on. `bytes` are those that follow what earlier steps consumed. What is not followed by a blank line before the stream ends is no
    /// event. After an error the decoder is of no further use.
    pub fn step(&mut self, bytes: &[u8]) -> Result<Step<'_>, SseError> {
        if self.delivered {
            self.block = Block::default();
            self.octets = 0;
            self.delivered = false;
        }
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            if std::mem::take(&mut self.after_return) && rest.first() == Some(&b'\n') {
                at += 1;
                continue;
            }
            let end = memchr2(b'\r', b'\n', rest);
            let part = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
            self.octets += part.len() + usize::from(end.is_some());
            if self.octets > SSE_EVENT_BYTES_MAX {
                return Err(SseError::EventTooLong);
            }
            self.line.extend_from_slice(part);
            at += part.len();
            let Some(end) = end else { break };
            self.after_return = rest.get(end) == Some(&b'\r');
            at += 1;
            match self.end_line()? {
                Line::Blank if self.block.is_empty() => self.octets = 0,
                Line::Blank => {
                    self.delivered = true;
                    return Ok(Step::Event { consumed: at, event: self.block.event() });
                }
                Line::Comment => return Ok(Step::Comment { consumed: at }),
                Line::Field => {}
            }
        }
        Ok(Step::More)
    }

    /// Whether the stream may end here without an event being lost.
    pub fn is_between_events(&self) -> bool {
        self.line.is_empty() && (self.delivered || self.block.is_empty())
    }

    /// The line is complete.
    fn end_line(&mut self) -> Result<Line, SseError> {
        let line = str::from_utf8(&self.line).map_err(|_| SseError::Encoding)?;
        let line = match line.strip_prefix('\u{feff}') {
            Some(rest) if !self.begun => rest,
            _ => line,
        };
        self.begun = true;
        let found = self.block.take(line)?;
        self.line.clear();
        Ok(found)
    }
}

enum Line {
    Blank,
    Comment,
    Field,
}

impl Block {
    fn is_empty(&self) -> bool {
        self.name.is_none() && self.data.is_none() && self.id.is_none() && self.retry.is_none()
    }

    fn take(&mut self, line: &str) -> Result<Line, SseError> {
        if line.is_empty() {
            return Ok(Line::Blank);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => return Ok(Line::Comment),
            "data" => {
                let data = self.data.get_or_insert_default();
                data.push_str(value);
                data.push('\n');
            }
            "event" => self.name = Some(value.to_owned()),
            // An identifier with a NUL is ignored by whoever follows the standard, and kept by others.
            "id" if value.contains('\0') => return Err(SseError::Id),
            "id" if value.len() > SSE_ID_BYTES_MAX => return Err(SseError::Id),
            "id" => self.id = Some(value.to_owned()),
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                let milliseconds = value.parse().unwrap_or(u64::MAX);
                self.retry = Some(milliseconds.clamp(SSE_RETRY_MILLISECONDS_MIN, SSE_RETRY_MILLISECONDS_MAX));
            }
            // Fields that nobody knows are dropped.
            _ => {}
        }
        Ok(Line::Field)
    }

    fn event(&self) -> Event<'_> {
        Event {
            name: self.name.as_deref(),
            data: self.data.as_deref().map(|data| data.strip_suffix('\n').unwrap_or(data)),
            id: self.id.as_deref(),
            retry: self.retry,
        }
    }
}

/// Why a stream is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SseError {
    /// More than [`SSE_EVENT_BYTES_MAX`] octets without a blank line.
    EventTooLong,
    /// A line that is not well-formed UTF-8.
    Encoding,
    /// An identifier with a NUL, or of more than [`SSE_ID_BYTES_MAX`] octets.
    Id,
}

impl SseError {
    /// The stable word for the refusal and the record.
    pub fn code(&self) -> &'static str {
        "malformed"
    }
}

impl fmt::Display for SseError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            SseError::EventTooLong => "an event of the stream is too long",
            SseError::Encoding => "an event of the stream is not well-formed UTF-8",
            SseError::Id => "an event of the stream has an identifier that is too long or has a NUL",
        })
    }
}

impl std::error::Error for SseError {}

#[cfg(any(test, fuzzing))]
pub mod properties;
#[cfg(test)]
mod tests;
