//! One JSON object a line, in the contract's shape.

use std::io::Write as _;

use super::escape::is_unsafe;
use super::fields::{Name, Sink, Value, visit};
use super::scratch::Scratch;
use crate::audit::record::Body;
use crate::audit::segment::Frame;

/// Appends a record and a line end to `out`.
pub(super) fn line(frame: &Frame<'_>, body: Body<'_>, scratch: &mut Scratch, out: &mut Vec<u8>) {
    out.push(b'{');
    visit(frame, body, scratch, &mut Object { out, first: true });
    out.extend_from_slice(b"}\n");
}

struct Object<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl Sink for Object<'_> {
    fn field(&mut self, name: Name, value: Value<'_>) {
        // Only the first member has no comma.
        self.out.extend_from_slice(&name.member.as_bytes()[usize::from(self.first)..]);
        self.first = false;
        match value {
            Value::Text(text) => string(text, self.out),
            Value::Plain(text) => {
                self.out.push(b'"');
                self.out.extend_from_slice(text.as_bytes());
                self.out.push(b'"');
            }
            Value::Number(number) => self::number(number, self.out),
            Value::False => self.out.extend_from_slice(b"false"),
            Value::True => self.out.extend_from_slice(b"true"),
            Value::List(words) => list(words, self.out),
            Value::Map(entries) => map(entries.iter(), self.out, |number, out| self::number(*number, out)),
            Value::Texts(entries) => {
                let present = entries.iter().filter(|(_, text)| !text.is_empty());
                map(present, self.out, |text, out| string(text, out));
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

fn map<'a, T: 'a>(
    entries: impl Iterator<Item = &'a (&'a str, T)>,
    out: &mut Vec<u8>,
    write: impl Fn(&T, &mut Vec<u8>),
) {
    out.push(b'{');
    for (at, (name, value)) in entries.enumerate() {
        name_of(name, at == 0, out);
        write(value, out);
    }
    out.push(b'}');
}

/// Begins a member. Names are ours, and plain.
fn name_of(name: &str, is_first: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(if is_first { b"\"" } else { b",\"" });
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// RFC 8259 §7, and `\u` for everything that acts on a terminal, so that `cat` of our output is safe too.
fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    // Without a way out, so that the loop becomes one of vectors.
    let plain = |octet: &u8| ((0x20..0x7f).contains(octet)) & (*octet != b'"') & (*octet != b'\\');
    if text.as_bytes().iter().fold(true, |all, octet| all & plain(octet)) {
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
