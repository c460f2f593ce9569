//! What holds for every event stream. Unit tests, property tests and the fuzz target call the same functions.

#![allow(clippy::expect_used, reason = "a property that does not hold panics, as the fuzzer wants it")]

use super::*;

/// An event that borrows nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Owned {
    /// See [`Event::name`].
    pub name: Option<String>,
    /// See [`Event::data`].
    pub data: Option<String>,
    /// See [`Event::id`].
    pub id: Option<String>,
    /// See [`Event::retry`].
    pub retry: Option<u64>,
}

/// What a decoder makes of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Every event, with the number of octets after which it was there.
    pub events: Vec<(usize, Owned)>,
    /// How many comments there were.
    pub comments: usize,
    /// Whether it ended in a fault.
    pub fault: bool,
}

/// Everything that holds for any bytes taken as the beginning of a stream.
pub fn holds(bytes: &[u8]) {
    let whole = decode(bytes, bytes.len().max(1));
    for piece in [1, 2, 3, 7, 64] {
        assert_eq!(decode(bytes, piece), whole, "in pieces of {piece}");
    }
    let naive = naive(bytes);
    assert_eq!(whole, naive);
    // Each event is there with the last octet of its blank line: without that octet it is not, with it nothing more is needed.
    for (index, (end, _)) in whole.events.iter().enumerate().take(32) {
        assert_eq!(decode(&bytes[..*end], 5).events.len(), index + 1);
        assert_eq!(decode(&bytes[..end - 1], 5).events.len(), index);
    }
    let canonical = written(&whole);
    let again = decode(&canonical, 4096);
    assert!(!again.fault && again.comments == 0);
    let events = |outcome: &Outcome| outcome.events.iter().map(|(_, event)| event.clone()).collect::<Vec<_>>();
    assert_eq!(events(&again), events(&whole), "what is written is read back");
    assert_eq!(written(&again), canonical);
    assert!(!canonical.contains(&b'\r'));
}

/// The events in canonical form.
pub fn written(outcome: &Outcome) -> Vec<u8> {
    let mut out = Vec::new();
    for (_, event) in &outcome.events {
        let Owned { name, data, id, retry } = event;
        let event = Event { name: name.as_deref(), data: data.as_deref(), id: id.as_deref(), retry: *retry };
        event.write(&mut out);
    }
    out
}

/// Decodes `bytes` as they come in pieces.
pub fn decode(bytes: &[u8], piece: usize) -> Outcome {
    let mut decoder = Decoder::new();
    let mut outcome = Outcome::default();
    let mut before = 0;
    for part in bytes.chunks(piece) {
        let mut at = 0;
        loop {
            match decoder.step(&part[at..]) {
                Ok(Step::Event { consumed, event: Event { name, data, id, retry } }) => {
                    at += consumed;
                    let owned = |text: Option<&str>| text.map(str::to_owned);
                    let event = Owned { name: owned(name), data: owned(data), id: owned(id), retry };
                    assert_ne!(event, Owned::default());
                    outcome.events.push((before + at, event));
                    assert!(decoder.is_between_events());
                }
                Ok(Step::Comment { consumed }) => {
                    at += consumed;
                    outcome.comments += 1;
                }
                Ok(Step::More) => break,
                Err(_) => return Outcome { fault: true, ..outcome },
            }
        }
        before += part.len();
    }
    outcome
}

/// The standard's own words, on the whole text: first lines, then fields, then blocks.
fn naive(bytes: &[u8]) -> Outcome {
    let mut outcome = Outcome::default();
    let mut event = Owned::default();
    let mut block_start = 0;
    for (index, (start, end, next)) in naive_lines(bytes).into_iter().enumerate() {
        let fault = Outcome { fault: true, ..outcome.clone() };
        // Up to and with the first octet of the line end.
        if end + usize::from(next > end) - block_start > SSE_EVENT_BYTES_MAX {
            return fault;
        }
        if next == end {
            break;
        }
        let Ok(mut line) = str::from_utf8(&bytes[start..end]) else { return fault };
        if index == 0 {
            line = line.strip_prefix('\u{feff}').unwrap_or(line);
        }
        if line.is_empty() {
            if event != Owned::default() {
                outcome.events.push((end + 1, std::mem::take(&mut event)));
            }
            block_start = next;
        } else if line.starts_with(':') {
            outcome.comments += 1;
        } else {
            let colon = line.find(':').unwrap_or(line.len());
            let value = line.get(colon + 1..).unwrap_or("");
            let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
            match &line[..colon] {
                "event" => event.name = Some(value),
                "data" => event.data = Some(event.data.map_or(value.clone(), |data| format!("{data}\n{value}"))),
                "id" if value.contains('\0') || value.len() > SSE_ID_BYTES_MAX => return fault,
                "id" => event.id = Some(value),
                "retry" if !value.is_empty() && value.chars().all(|digit| digit.is_ascii_digit()) => {
                    let digits = value.trim_start_matches('0');
                    let number =
                        if digits.len() > 9 { u64::MAX } else { format!("0{digits}").parse().expect("digits") };
                    event.retry = Some(number.clamp(SSE_RETRY_MILLISECONDS_MIN, SSE_RETRY_MILLISECONDS_MAX));
                }
                _ => {}
            }
        }
    }
    outcome
}

/// Where each line begins, ends, and where the next one begins; an unfinished last line ends where "the next one" begins.
fn naive_lines(bytes: &[u8]) -> Vec<(usize, usize, usize)> {
    let mut lines = Vec::new();
    let mut start = 0;
    while start < bytes.len() {
        let end = (start..bytes.len()).find(|&at| bytes[at] == b'\r' || bytes[at] == b'\n').unwrap_or(bytes.len());
        let next = match &bytes[end..] {
            [b'\r', b'\n', ..] => end + 2,
            [] => end,
            _ => end + 1,
        };
        lines.push((start, end, next));
        start = next;
    }
    lines
}
