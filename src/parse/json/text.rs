//! JSON strings: which bytes belong to one, and what they say.

use std::borrow::Cow;

use super::JsonError;

/// Where in a string the scanner stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Plain,
    /// Behind a backslash. `paired`: the escape of a high surrogate stands in front, so that only a low one may follow.
    Escape {
        paired: bool,
    },
    /// Behind `\u` and so many digits.
    Hex {
        digits: u8,
        value: u16,
        paired: bool,
    },
    /// Behind the escape of a high surrogate.
    High,
    /// Inside a character of several octets: so many are left, and the next one lies between two bounds.
    Octets {
        left: u8,
        from: u8,
        to: u8,
    },
    /// Behind the closing quote.
    Closed,
}

impl Part {
    /// Reads from `at` on, as far as there are bytes or the string ends, and moves `at` along. Where the string stands then.
    pub(super) fn read(self, bytes: &[u8], at: &mut usize) -> Result<Part, JsonError> {
        let mut part = self;
        while part != Part::Closed {
            if part == Part::Plain {
                *at += bytes.get(*at..).unwrap_or_default().iter().take_while(|&&byte| is_plain(byte)).count();
            }
            let Some(&byte) = bytes.get(*at) else { break };
            part = part.next(byte)?;
            *at += 1;
        }
        Ok(part)
    }

    fn next(self, byte: u8) -> Result<Part, JsonError> {
        Ok(match (self, byte) {
            (Part::Plain, b'"') => Part::Closed,
            (Part::Plain, b'\\') => Part::Escape { paired: false },
            (Part::Plain, 0..0x20) => return Err(JsonError::Control),
            (Part::Plain, 0x20..0x80) => Part::Plain,
            (Part::Plain, _) => lead(byte)?,
            (Part::High, b'\\') => Part::Escape { paired: true },
            (Part::Escape { paired }, b'u') => Part::Hex { digits: 0, value: 0, paired },
            (Part::High | Part::Escape { paired: true }, _) => return Err(JsonError::Surrogate),
            (Part::Escape { .. }, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Part::Plain,
            (Part::Escape { .. }, _) => return Err(JsonError::Escape),
            (Part::Hex { digits, value, paired }, _) => return hex(digits, value, paired, byte),
            (Part::Octets { left, from, to }, _) if (from..=to).contains(&byte) => match left {
                1 => Part::Plain,
                _ => Part::Octets { left: left - 1, from: 0x80, to: 0xbf },
            },
            (Part::Octets { .. }, _) => return Err(JsonError::Encoding),
            (Part::Closed, _) => Part::Closed,
        })
    }
}

fn is_plain(byte: u8) -> bool {
    matches!(byte, 0x20..0x80) && byte != b'"' && byte != b'\\'
}

/// RFC 3629 §4.
fn lead(byte: u8) -> Result<Part, JsonError> {
    let (left, from, to) = match byte {
        0xc2..=0xdf => (1, 0x80, 0xbf),
        0xe0 => (2, 0xa0, 0xbf),
        0xed => (2, 0x80, 0x9f),
        0xe1..=0xef => (2, 0x80, 0xbf),
        0xf0 => (3, 0x90, 0xbf),
        0xf1..=0xf3 => (3, 0x80, 0xbf),
        0xf4 => (3, 0x80, 0x8f),
        _ => return Err(JsonError::Encoding),
    };
    Ok(Part::Octets { left, from, to })
}

fn hex(digits: u8, value: u16, paired: bool, byte: u8) -> Result<Part, JsonError> {
    let digit = char::from(byte).to_digit(16).and_then(|digit| u16::try_from(digit).ok()).ok_or(JsonError::Escape)?;
    let value = value << 4 | digit;
    Ok(match (digits, value) {
        (0..3, _) => Part::Hex { digits: digits + 1, value, paired },
        (_, 0xdc00..=0xdfff) if paired => Part::Plain,
        (_, 0xd800..=0xdbff) if !paired => Part::High,
        (_, 0xd800..=0xdfff) => return Err(JsonError::Surrogate),
        _ if paired => return Err(JsonError::Surrogate),
        _ => Part::Plain,
    })
}

/// What the string of a token says. `span` is the token's, with its quotes. Borrowed where there are no escapes.
pub fn decode(span: &[u8]) -> Cow<'_, str> {
    let inner = span.get(1..span.len().saturating_sub(1)).unwrap_or_default();
    if memchr::memchr(b'\\', inner).is_none() {
        // The scanner has seen that this is well-formed; nothing is ever replaced.
        return String::from_utf8_lossy(inner);
    }
    let mut text = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        text.push_str(&String::from_utf8_lossy(rest.get(..at).unwrap_or_default()));
        let (character, length) = escape(rest.get(at..).unwrap_or_default());
        text.push(character);
        rest = rest.get(at + length..).unwrap_or_default();
    }
    text.push_str(&String::from_utf8_lossy(rest));
    Cow::Owned(text)
}

/// The character that the escape at the beginning stands for, and the length of the escape.
pub(super) fn escape(bytes: &[u8]) -> (char, usize) {
    let unit =
        |at: usize| bytes.get(at..at + 4).and_then(|digits| u32::from_str_radix(str::from_utf8(digits).ok()?, 16).ok());
    let plain = match bytes.get(1) {
        Some(b'u') => {
            let high = unit(2).unwrap_or(0xfffd);
            if !(0xd800..0xdc00).contains(&high) {
                return (char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER), 6);
            }
            let low = unit(8).unwrap_or(0xdc00);
            let joined = 0x10000 + ((high - 0xd800) << 10) + (low.wrapping_sub(0xdc00) & 0x3ff);
            return (char::from_u32(joined).unwrap_or(char::REPLACEMENT_CHARACTER), 12);
        }
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(&other) => char::from(other),
        None => char::REPLACEMENT_CHARACTER,
    };
    (plain, 2)
}

/// Writes a string as RFC 8785 §3.2.2.2 has it: with the escapes that must be and no others.
pub fn encode(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in text.as_bytes() {
        let short = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            0x8 => b'b',
            0x9 => b't',
            0xa => b'n',
            0xc => b'f',
            0xd => b'r',
            0..0x20 => {
                out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
                continue;
            }
            _ => {
                out.push(byte);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', short]);
    }
    out.push(b'"');
}
