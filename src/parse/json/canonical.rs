//! The canonical form of a JSON text (RFC 8785), and its digest.
//!
//! Members are sorted by the UTF-16 code units of their names, blanks are gone, strings and numbers are written in one way. Texts of equal
//! meaning have equal digests. Nothing recursive: the members of an object are written as they come and put in order when it ends.

use aws_lc_rs::digest::SHA256;

use super::{JsonError, Kind, Layout, Token, decode, each, number, text};

/// An open container.
#[derive(Debug)]
struct Open {
    is_object: bool,
    /// Where its content begins.
    start: usize,
    members: Vec<Member>,
    /// An array that has an element.
    filled: bool,
}

/// A member that is written from `start` on, up to the next one.
#[derive(Debug)]
struct Member {
    name: Vec<u16>,
    start: usize,
    end: usize,
}

/// The canonical form.
pub fn canonical(bytes: &[u8]) -> Result<Vec<u8>, JsonError> {
    let mut writer = Writer { out: Vec::with_capacity(bytes.len()), open: Vec::new() };
    each(bytes, Layout::Free, |token| writer.take(bytes, token))?;
    Ok(writer.out)
}

/// SHA-256 over the canonical form.
pub fn digest(bytes: &[u8]) -> Result<[u8; 32], JsonError> {
    let canonical = canonical(bytes)?;
    let mut digest = [0; 32];
    for (to, from) in digest.iter_mut().zip(aws_lc_rs::digest::digest(&SHA256, &canonical).as_ref()) {
        *to = *from;
    }
    Ok(digest)
}

struct Writer {
    out: Vec<u8>,
    open: Vec<Open>,
}

impl Writer {
    fn take(&mut self, bytes: &[u8], token: Token) {
        match token.kind {
            Kind::ObjectStart | Kind::ArrayStart => {
                self.separate();
                let is_object = token.kind == Kind::ObjectStart;
                self.out.push(if is_object { b'{' } else { b'[' });
                self.open.push(Open { is_object, start: self.out.len(), members: Vec::new(), filled: false });
                return;
            }
            Kind::Key => {
                let name = decode(token.of(bytes));
                let start = self.out.len();
                text::encode(&name, &mut self.out);
                self.out.push(b':');
                if let Some(open) = self.open.last_mut() {
                    open.members.push(Member { name: name.encode_utf16().collect(), start, end: start });
                }
                return;
            }
            Kind::ObjectEnd => self.close_object(),
            Kind::ArrayEnd => {
                self.open.pop();
                self.out.push(b']');
            }
            _ => {
                self.separate();
                self.scalar(bytes, token);
            }
        }
        // A value has ended; it may be a member's.
        if let Some(member) = self.open.last_mut().and_then(|open| open.members.last_mut()) {
            member.end = self.out.len();
        }
    }

    /// In front of an element; members get their commas at the end.
    fn separate(&mut self) {
        if let Some(open) = self.open.last_mut().filter(|open| !open.is_object) {
            if open.filled {
                self.out.push(b',');
            }
            open.filled = true;
        }
    }

    fn scalar(&mut self, bytes: &[u8], token: Token) {
        match token.kind {
            Kind::String => text::encode(&decode(token.of(bytes)), &mut self.out),
            Kind::Number => number::write_canonical(token.of(bytes), &mut self.out),
            _ => self.out.extend_from_slice(token.of(bytes)),
        }
    }

    fn close_object(&mut self) {
        let Some(mut open) = self.open.pop() else { return };
        open.members.sort_by(|a, b| a.name.cmp(&b.name));
        let mut ordered = Vec::with_capacity(self.out.len() - open.start + open.members.len());
        for (index, member) in open.members.iter().enumerate() {
            if index > 0 {
                ordered.push(b',');
            }
            ordered.extend_from_slice(self.out.get(member.start..member.end).unwrap_or_default());
        }
        self.out.truncate(open.start);
        self.out.extend_from_slice(&ordered);
        self.out.push(b'}');
    }
}
