//! What holds for every input of the chunked decoder. Unit tests, property tests and the fuzz target call the same functions.

use super::*;

/// What a decoder makes of a buffer: the data, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// All data, in order.
    pub data: Vec<u8>,
    /// How it ended.
    pub end: End,
}

/// How a decoding ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// After so many bytes.
    Done(usize),
    /// More bytes are needed.
    More,
    /// With a fault.
    Fault,
}

/// Everything that holds for any bytes taken as the beginning of a chunked body.
pub fn holds(bytes: &[u8]) {
    let whole = decode(bytes, bytes.len().max(1));
    for piece in [1, 2, 3, 7, 64] {
        assert_eq!(decode(bytes, piece), whole, "in pieces of {piece}");
    }
    let naive = naive(bytes);
    assert_eq!(whole.end, naive.end);
    if naive.end != End::Fault {
        assert_eq!(whole.data, naive.data);
    }
    if let End::Done(consumed) = whole.end {
        let step = consumed / 64 + 1;
        for end in (0..consumed).step_by(step) {
            assert_eq!(decode(&bytes[..end], end.max(1)).end, End::More, "{end} bytes of {consumed} are no body");
        }
        assert_eq!(decode(&bytes[..consumed], 5).data, whole.data);
    }
    for size in [1, 5, 1000] {
        round_trip(bytes, size);
    }
}

/// What is written as chunks of `size` octets is read back, and nothing shorter is a whole body.
fn round_trip(data: &[u8], size: usize) {
    let mut written = Vec::new();
    for chunk in data.chunks(size) {
        written.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
        written.extend_from_slice(chunk);
        written.extend_from_slice(b"\r\n");
    }
    written.extend_from_slice(b"0\r\n\r\n");
    let end = End::Done(written.len());
    assert_eq!(decode(&written, written.len()), Outcome { data: data.to_vec(), end });
    assert_eq!(decode(&written[..written.len() - 1], 9).end, End::More);
    written.extend_from_slice(b"GET ");
    assert_eq!(decode(&written, 11).end, end, "the next message is left alone");
}

/// Decodes `bytes` as they come in pieces, through the spans of the decoder, which must lie in them one behind the other.
pub fn decode(bytes: &[u8], piece: usize) -> Outcome {
    let mut decoder = Decoder::new();
    let mut data = Vec::new();
    let mut before = 0;
    for part in bytes.chunks(piece) {
        let mut at = 0;
        loop {
            match decoder.step(&part[at..]) {
                Ok(Step::Data { skip, len }) => {
                    assert!(len > 0);
                    data.extend_from_slice(&part[at + skip..at + skip + len]);
                    at += skip + len;
                }
                Ok(Step::More) => break,
                Ok(Step::End { consumed }) => {
                    assert!(decoder.is_done());
                    assert_eq!(decoder.step(b"5\r\n"), Ok(Step::End { consumed: 0 }));
                    return Outcome { data, end: End::Done(before + at + consumed) };
                }
                Err(_) => return Outcome { data, end: End::Fault },
            }
        }
        before += part.len();
    }
    Outcome { data, end: if decoder.is_done() { End::Done(before) } else { End::More } }
}

/// The rules one after the other, on a whole buffer. A line under way is judged as soon as it cannot become valid.
fn naive(bytes: &[u8]) -> Outcome {
    let mut data = Vec::new();
    let mut at = 0;
    let mut extensions = 0;
    loop {
        let (line, ended) = match naive_line(&bytes[at..]) {
            Ok(line) => line,
            Err(()) => return Outcome { data, end: End::Fault },
        };
        // In front of a CR the line has all its characters, whatever comes behind it.
        let complete = at + line.len() < bytes.len();
        let Some((size, extension)) = naive_size_line(line, complete) else { return Outcome { data, end: End::Fault } };
        extensions += extension;
        if extension > CHUNK_EXTENSION_LINE_BYTES_MAX || extensions > CHUNK_EXTENSION_BYTES_MAX {
            return Outcome { data, end: End::Fault };
        }
        if !ended {
            return Outcome { data, end: End::More };
        }
        at += line.len() + 2;
        if size == 0 {
            let end = naive_trailers(&bytes[at..]);
            return Outcome { data, end: if let End::Done(length) = end { End::Done(at + length) } else { end } };
        }
        let available = usize::try_from(size).unwrap_or(usize::MAX).min(bytes.len() - at);
        data.extend_from_slice(&bytes[at..at + available]);
        at += available;
        match &bytes[at..] {
            [b'\r', b'\n', ..] if available as u64 == size => at += 2,
            [] | [b'\r'] => return Outcome { data, end: End::More },
            _ => return Outcome { data, end: End::Fault },
        }
    }
}

/// The line that begins here, up to its CRLF, and whether the CRLF is there.
fn naive_line(bytes: &[u8]) -> Result<(&[u8], bool), ()> {
    let end = bytes.iter().position(|&byte| byte == b'\r' || byte == b'\n').unwrap_or(bytes.len());
    match &bytes[end..] {
        [] | [b'\r'] => Ok((&bytes[..end], false)),
        [b'\r', b'\n', ..] => Ok((&bytes[..end], true)),
        _ => Err(()),
    }
}

/// Size and octets of extension, where the line is valid or, not being complete, can become so.
fn naive_size_line(line: &[u8], complete: bool) -> Option<(u64, usize)> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let size = match digits {
        0 => (line.is_empty() && !complete).then_some(0),
        1..=16 => u64::from_str_radix(std::str::from_utf8(&line[..digits]).ok()?, 16).ok(),
        _ => None,
    };
    let size = size.filter(|&size| i64::try_from(size).is_ok())?;
    let mut rest = &line[digits..];
    let mut extension = 0;
    while let [b';', after @ ..] = rest {
        extension += 1;
        let name = after.iter().take_while(|&&byte| naive_token(byte)).count();
        extension += name;
        rest = &after[name..];
        if name == 0 {
            return (rest.is_empty() && !complete).then_some((size, extension));
        }
        let [b'=', after @ ..] = rest else { continue };
        extension += 1;
        let (length, whole) = naive_value(after)?;
        extension += length;
        rest = &after[length..];
        if !whole {
            return (rest.is_empty() && !complete).then_some((size, extension));
        }
    }
    rest.is_empty().then_some((size, extension))
}

/// The length of the token or quoted string at the beginning, and whether it is whole.
fn naive_value(bytes: &[u8]) -> Option<(usize, bool)> {
    if bytes.first() != Some(&b'"') {
        let length = bytes.iter().take_while(|&&byte| naive_token(byte)).count();
        return Some((length, length > 0));
    }
    let mut at = 1;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'"' => return Some((at, true)),
            b'\\' => match bytes.get(at) {
                Some(b'\t' | b' '..=b'~') => at += 1,
                Some(_) => return None,
                None => {}
            },
            b'\t' | b' '..=b'~' => {}
            _ => return None,
        }
    }
    Some((at, false))
}

fn naive_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn naive_trailers(bytes: &[u8]) -> End {
    let mut at = 0;
    let mut length = 0;
    loop {
        let Ok((line, ended)) = naive_line(&bytes[at..]) else { return End::Fault };
        let name = line.iter().take_while(|&&byte| naive_token(byte)).count();
        let sound = match &line[name..] {
            [b':', value @ ..] => name > 0 && value.iter().all(|&byte| byte == b'\t' || byte >= b' ' && byte != 0x7f),
            [] => line.is_empty() || !ended && bytes.len() == at + line.len(),
            _ => false,
        };
        length += line.len();
        if !sound || length > TRAILER_BYTES_MAX {
            return End::Fault;
        }
        at += line.len() + 2;
        match (ended, line.is_empty()) {
            (false, _) => return End::More,
            (true, true) => return End::Done(at),
            (true, false) => {}
        }
    }
}
