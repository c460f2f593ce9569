//! RFC 4180, one column for each name of the contract; nested names with a dot.

use super::escape;
use super::fields::{NAMES, Name, Sink, Value, visit};
use super::scratch::Scratch;
use crate::audit::record::Body;
use crate::audit::segment::Frame;

/// Appends the line of column names to `out`.
pub(super) fn header(out: &mut Vec<u8>) {
    out.extend_from_slice(NAMES.join(",").as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends a record to `out`.
pub(super) fn line(frame: &Frame<'_>, body: Body<'_>, scratch: &mut Scratch, out: &mut Vec<u8>) {
    let mut row = Row { out, at: 0 };
    visit(frame, body, scratch, &mut row);
    let left = NAMES.len() - 1 - row.at;
    row.out.extend(std::iter::repeat_n(b',', left));
    out.extend_from_slice(b"\r\n");
}

/// A row under way. Fields come in the order of the columns.
struct Row<'a> {
    out: &'a mut Vec<u8>,
    /// The column that is being written.
    at: usize,
}

impl Row<'_> {
    /// Goes on to a column; writes nothing where there is none of that name.
    fn put(&mut self, is_name: impl Fn(&str) -> bool, write: impl FnOnce(&mut Vec<u8>)) {
        if let Some(steps) = NAMES[self.at..].iter().position(|name| is_name(name)) {
            self.out.extend(std::iter::repeat_n(b',', steps));
            self.at += steps;
            write(self.out);
        }
    }

    /// Goes on to the column of a nested name.
    fn put_nested(&mut self, name: &str, inner: &str, write: impl FnOnce(&mut Vec<u8>)) {
        let is_name = |column: &str| column.strip_prefix(name).and_then(|rest| rest.strip_prefix('.')) == Some(inner);
        self.put(is_name, write);
    }
}

impl Sink for Row<'_> {
    fn field(&mut self, Name { plain: name, .. }: Name, value: Value<'_>) {
        match value {
            Value::Map(entries) => {
                for (inner, value) in entries {
                    self.put_nested(name, inner, |out| number(*value, out));
                }
            }
            Value::Texts(entries) => {
                for (inner, text) in entries.iter().filter(|(_, text)| !text.is_empty()) {
                    self.put_nested(name, inner, |out| quoted(text, out));
                }
            }
            _ => self.put(|column| column == name, |out| cell(value, out)),
        }
    }
}

fn cell(value: Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Text(text) => quoted(text, out),
        Value::Plain(text) => out.extend_from_slice(text.as_bytes()),
        Value::Number(value) => number(value, out),
        Value::False => out.extend_from_slice(b"false"),
        Value::True => out.extend_from_slice(b"true"),
        Value::List(words) => out.extend_from_slice(words.join(" ").as_bytes()),
        Value::Map(_) | Value::Texts(_) => {}
    }
}

fn number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// A cell that spreadsheets read as text: a leading sign that would start a formula is set behind an apostrophe.
fn quoted(text: &str, cell: &mut Vec<u8>) {
    let formula = text.starts_with(['=', '+', '-', '@']);
    let plain = |octet: &u8| ((0x20..0x7f).contains(octet)) & (*octet != b',') & (*octet != b'"');
    if !formula && text.as_bytes().iter().fold(true, |all, octet| all & plain(octet)) {
        cell.extend_from_slice(text.as_bytes());
        return;
    }
    let text = escape::terminal(text);
    if !formula && !text.contains([',', '"']) {
        cell.extend_from_slice(text.as_bytes());
        return;
    }
    cell.push(b'"');
    if formula {
        cell.push(b'\'');
    }
    cell.extend_from_slice(text.replace('"', "\"\"").as_bytes());
    cell.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_what_would_end_a_cell_or_start_a_formula() {
        let cell = |text: &str| {
            let mut cell = Vec::new();
            quoted(text, &mut cell);
            String::from_utf8(cell).unwrap()
        };
        assert_eq!(cell("/v1/x"), "/v1/x");
        assert_eq!(cell("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(cell("=1+1"), "\"'=1+1\"");
        assert_eq!(cell("a\r\nb"), r"a\u{d}\u{a}b");
    }
}
