//! RFC 4180, one column for each name of the contract; nested names with a dot.

use std::io::Write as _;

use super::escape;
use super::fields::{NAMES, Sink, Value, visit};
use crate::audit::record::Body;
use crate::audit::segment::Frame;

/// Appends the line of column names to `out`.
pub(super) fn header(out: &mut Vec<u8>) {
    out.extend_from_slice(NAMES.join(",").as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends a record to `out`.
pub(super) fn line(frame: &Frame<'_>, body: Body<'_>, out: &mut Vec<u8>) {
    let mut cells = Cells::default();
    visit(frame, body, &mut cells);
    for (at, cell) in cells.0.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(cell);
    }
    out.extend_from_slice(b"\r\n");
}

/// One cell a name.
struct Cells([Vec<u8>; NAMES.len()]);

impl Default for Cells {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Vec::new()))
    }
}

impl Cells {
    fn put(&mut self, is_name: impl Fn(&str) -> bool, write: impl FnOnce(&mut Vec<u8>)) {
        if let Some(cell) = NAMES.iter().position(|name| is_name(name)).and_then(|at| self.0.get_mut(at)) {
            write(cell);
        }
    }
}

impl Sink for Cells {
    fn field(&mut self, name: &'static str, value: Value<'_>) {
        if let Value::Map(entries) = value {
            for (inner, number) in entries {
                let is_name =
                    |column: &str| column.strip_prefix(name).and_then(|rest| rest.strip_prefix('.')) == Some(inner);
                self.put(is_name, |cell| drop(write!(cell, "{number}")));
            }
            return;
        }
        if let Value::Texts(entries) = value {
            for (inner, text) in entries {
                let is_name =
                    |column: &str| column.strip_prefix(name).and_then(|rest| rest.strip_prefix('.')) == Some(inner);
                self.put(is_name, |cell| quoted(text, cell));
            }
            return;
        }
        self.put(
            |column| column == name,
            |cell| match value {
                Value::Text(text) => quoted(text, cell),
                Value::Number(number) => drop(write!(cell, "{number}")),
                Value::False => cell.extend_from_slice(b"false"),
                Value::True => cell.extend_from_slice(b"true"),
                Value::List(words) => cell.extend_from_slice(words.join(" ").as_bytes()),
                Value::Map(_) | Value::Texts(_) => {}
            },
        );
    }
}

/// A cell that spreadsheets read as text: a leading sign that would start a formula is set behind an apostrophe.
fn quoted(text: &str, cell: &mut Vec<u8>) {
    let text = escape::terminal(text);
    let formula = text.starts_with(['=', '+', '-', '@']);
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
