//! Lines out of a stream, in any pieces, within a bound.

use std::fs::File;
use std::io::Read;

use crate::limits::{JSON_BYTES_MAX, STDIO_READ_BYTES};

/// What has come of a stream and is not a whole line yet.
#[derive(Debug, Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    /// Where the first line that nobody has taken begins.
    start: usize,
    /// Up to here there is no line end behind `start`.
    searched: usize,
    /// The line under way is longer than any text; what is left of it is thrown away.
    is_skipping: bool,
}

/// One line without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'l> {
    /// To be read.
    Text(&'l [u8]),
    /// Not to be read at all; the stable word why.
    Unusable(&'static str),
}

impl Lines {
    /// Receives once; false at the end of the stream.
    pub(super) fn fill(&mut self, file: &mut File) -> bool {
        self.bytes.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        let length = self.bytes.len();
        self.bytes.resize(length + STDIO_READ_BYTES, 0);
        let room = self.bytes.get_mut(length..).unwrap_or_default();
        let read = file.read(room);
        self.bytes.truncate(length + read.as_ref().copied().unwrap_or(0));
        match read {
            Ok(read) => read > 0,
            Err(error) => matches!(error.kind(), std::io::ErrorKind::Interrupted | std::io::ErrorKind::WouldBlock),
        }
    }

    /// The next line that has its end. Lines without anything in them are passed over.
    pub(super) fn next(&mut self) -> Option<Line<'_>> {
        loop {
            let unsearched = self.bytes.get(self.searched..).unwrap_or_default();
            let Some(end) = memchr::memchr(b'\n', unsearched).map(|at| self.searched + at) else {
                self.searched = self.bytes.len();
                if self.is_skipping || self.searched - self.start > JSON_BYTES_MAX {
                    self.is_skipping = true;
                    self.bytes.clear();
                    (self.start, self.searched) = (0, 0);
                }
                return None;
            };
            let start = std::mem::replace(&mut self.start, end + 1);
            self.searched = end + 1;
            if std::mem::take(&mut self.is_skipping) || end - start > JSON_BYTES_MAX {
                return Some(Line::Unusable("too_large"));
            }
            if end > start {
                return self.bytes.get(start..end).map(Line::Text);
            }
        }
    }

    /// Whether a line was begun and not ended.
    pub(super) fn has_rest(&self) -> bool {
        self.is_skipping || self.start < self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(pieces: &[&[u8]]) -> (Vec<Result<Vec<u8>, &'static str>>, bool) {
        let (ours, theirs) = nix::unistd::pipe().unwrap();
        let (mut file, mut theirs) = (File::from(ours), File::from(theirs));
        let (mut lines, mut all) = (Lines::default(), Vec::new());
        for piece in pieces {
            for part in piece.chunks(4096) {
                theirs.write_all(part).unwrap();
                assert!(lines.fill(&mut file));
                while let Some(line) = lines.next() {
                    all.push(match line {
                        Line::Text(text) => Ok(text.to_vec()),
                        Line::Unusable(code) => Err(code),
                    });
                }
                assert!(lines.bytes.len() <= JSON_BYTES_MAX + 2 * STDIO_READ_BYTES);
            }
        }
        drop(theirs);
        assert!(!lines.fill(&mut file));
        (all, lines.has_rest())
    }

    #[test]
    fn lines_are_the_same_however_the_bytes_come() {
        let text = b"{\"a\":1}\n\n{\"b\":\"\\n\"}\nrest";
        let whole = (vec![Ok(b"{\"a\":1}".to_vec()), Ok(b"{\"b\":\"\\n\"}".to_vec())], true);
        for cut in 0..text.len() {
            let (one, other) = text.split_at(cut);
            let pieces: Vec<&[u8]> = [one, other].into_iter().filter(|piece| !piece.is_empty()).collect();
            assert_eq!(read(&pieces), whole, "{cut}");
        }
        assert_eq!(read(&[b"a\n"]), (vec![Ok(b"a".to_vec())], false));
    }

    #[test]
    fn a_line_beyond_the_bound_is_told_and_the_next_one_is_whole() {
        let long = vec![b'x'; JSON_BYTES_MAX + 1];
        assert_eq!(read(&[&long, b"\nshort\n"]), (vec![Err("too_large"), Ok(b"short".to_vec())], false));
        assert_eq!(read(&[&long]), (vec![], true));
        let longest = vec![b'x'; JSON_BYTES_MAX];
        assert_eq!(read(&[&longest, b"\n"]), (vec![Ok(longest.clone())], false));
    }
}
