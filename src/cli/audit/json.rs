//! One JSON object a line, in the contract's shape.

use std::io::Write as _;

use super::escape::is_unsafe;
use super::fields::{Sink, Value, visit};
use crate::audit::record::Body;
use crate::audit::segment::Frame;

/// Appends a record and a line end to `out`.
pub(super) fn line(frame: &Frame<'_>, body: Body<'_>, out: &mut Vec<u8>) {
    out.push(b'{');
    visit(frame, body, &mut Object { out, first: true });
    out.extend_from_slice(b"}\n");
}

struct Object<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl Sink for Object<'_> {
    fn field(&mut self, name: &'static str, value: Value<'_>) {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        string(name, self.out);
        self.out.push(b':');
        match value {
            Value::Text(text) => string(text, self.out),
            Value::Number(number) => self::number(number, self.out),
            Value::False => self.out.extend_from_slice(b"false"),
            Value::True => self.out.extend_from_slice(b"true"),
            Value::List(words) => list(words, self.out),
            Value::Map(entries) => map(entries, self.out, |number, out| self::number(*number, out)),
            Value::Texts(entries) => {
                let present: Vec<_> = entries.iter().filter(|(_, text)| !text.is_empty()).copied().collect();
                map(&present, self.out, |text, out| string(text, out));
            }
        }
    }
}

fn list(words: &[&str], out: &mut Vec<u8>) {
    out.push(b'[');
    for (at, word) in words.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        string(word, out);
    }
    out.push(b']');
}

fn map<T>(entries: &[(&str, T)], out: &mut Vec<u8>, write: impl Fn(&T, &mut Vec<u8>)) {
    out.push(b'{');
    for (at, (name, value)) in entries.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        string(name, out);
        out.push(b':');
        write(value, out);
    }
    out.push(b'}');
}

fn number(number: u64, out: &mut Vec<u8>) {
    // Writing to a vector does not fail.
    let _ = write!(out, "{number}");
}

/// RFC 8259 §7, and `\u` for everything that acts on a terminal, so that `cat` of our output is safe too.
fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let plain = |octet: &u8| (0x20..0x7f).contains(octet) && *octet != b'"' && *octet != b'\\';
    if text.as_bytes().iter().all(plain) {
        out.extend_from_slice(text.as_bytes());
    } else {
        for letter in text.chars() {
            match letter {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                letter if is_unsafe(letter) => {
                    for unit in letter.encode_utf16(&mut [0; 2]) {
                        let _ = write!(out, "\\u{unit:04x}");
                    }
                }
                letter => out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_so_that_a_json_reader_gets_the_text_back() {
        let all: String = ('\0'..='\u{2fff}').chain(['\u{e0041}', '😀', '\u{10ffff}']).collect();
        let mut out = Vec::new();
        string(&all, &mut out);
        let shown = String::from_utf8(out).unwrap();
        assert!(!shown.contains(is_unsafe));
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), all);
    }
}
