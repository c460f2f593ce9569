//! Where records come from: the segment files of logs, each read only as far as a filter needs it.

use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use super::filter::Filter;
use crate::audit::read::{self, Check, ReadError, Reader};
use crate::audit::record::Body;
use crate::audit::segment::{Fault, Frame};
use crate::audit::times::Span;

/// One segment file, and whether it is the last of its log, which a crash or a writer at work may leave with a torn end.
pub(super) struct Input {
    pub(super) path: PathBuf,
    pub(super) is_last: bool,
}

/// Whether a file was in order as far as it was read.
pub(super) enum Ended {
    Whole,
    Stopped(ReadError),
}

/// The segment files at a path: itself, those of the log in a folder, or those of all logs below it.
pub(super) fn files(path: &Path) -> io::Result<Vec<Input>> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    if !std::fs::metadata(path).map_err(named)?.is_dir() {
        return Ok(vec![Input { path: path.to_owned(), is_last: true }]);
    }
    let mut files = Vec::new();
    for log in read::logs(path).map_err(named)? {
        let segments = read::segments(&log).map_err(named)?;
        let count = segments.len();
        let inputs = segments.into_iter().enumerate();
        files.extend(inputs.map(|(at, segment)| Input { path: segment.path, is_last: at + 1 == count }));
    }
    if files.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("{}: no audit log here", path.display())));
    }
    Ok(files)
}

/// Hands the records of one file that `filter` wants to `see`, in order. The outer error is that of `see`.
pub(super) fn scan(
    path: &Path,
    filter: &Filter,
    see: &mut impl FnMut(&Frame<'_>, Body<'_>) -> io::Result<()>,
) -> io::Result<Ended> {
    // Whatever stands against reading the index, reading the whole file will tell.
    let spans = if filter.has_time() { read::spans(path).ok().flatten() } else { None };
    if spans.as_ref().is_some_and(|spans| !spans.iter().any(|span| filter.wants_span(span))) {
        return Ok(Ended::Whole);
    }
    match read::open(path, Check::Sums) {
        Ok(reader) => scan_spans(reader, spans.as_deref(), filter, see),
        Err(error) => Ok(Ended::Stopped(error)),
    }
}

/// Like [`scan`], for a file that is open: reads the stretches that may hold what is asked for, or all without an index.
fn scan_spans<R: Read + Seek>(
    mut reader: Reader<R>,
    spans: Option<&[Span]>,
    filter: &Filter,
    see: &mut impl FnMut(&Frame<'_>, Body<'_>) -> io::Result<()>,
) -> io::Result<Ended> {
    let Some(spans) = spans else { return to_the_end(&mut reader, u64::MAX, filter, see) };
    let ends = spans.iter().skip(1).map(|span| span.offset).chain([u64::MAX]);
    for (span, end) in spans.iter().zip(ends).filter(|(span, _)| filter.wants_span(span)) {
        if reader.offset() != span.offset
            && let Err(error) = reader.skip_to(span.offset, span.first)
        {
            return Ok(Ended::Stopped(error));
        }
        if let stopped @ Ended::Stopped(_) = to_the_end(&mut reader, end, filter, see)? {
            return Ok(stopped);
        }
    }
    Ok(Ended::Whole)
}

/// Reads records that begin before `end`.
fn to_the_end<R: Read>(
    reader: &mut Reader<R>,
    end: u64,
    filter: &Filter,
    see: &mut impl FnMut(&Frame<'_>, Body<'_>) -> io::Result<()>,
) -> io::Result<Ended> {
    while reader.offset() < end {
        match next(reader, filter, see)? {
            Next::Record => {}
            Next::End => break,
            Next::Stopped(error) => return Ok(Ended::Stopped(error)),
        }
    }
    Ok(Ended::Whole)
}

/// What one step through a file came to.
pub(super) enum Next {
    Record,
    End,
    Stopped(ReadError),
}

/// Reads one record, and hands it over when it is wanted.
pub(super) fn next<R: Read>(
    reader: &mut Reader<R>,
    filter: &Filter,
    see: &mut impl FnMut(&Frame<'_>, Body<'_>) -> io::Result<()>,
) -> io::Result<Next> {
    let offset = reader.offset();
    let frame = match reader.next() {
        Ok(Some(frame)) => frame,
        Ok(None) => return Ok(Next::End),
        Err(error) => return Ok(Next::Stopped(error)),
    };
    if !filter.may_want(&frame) {
        return Ok(Next::Record);
    }
    match frame.body() {
        Ok(body) if filter.wants(&frame, body) => see(&frame, body)?,
        Ok(_) => {}
        Err(fault) => return Ok(Next::Stopped(ReadError::Damaged { offset, fault })),
    }
    Ok(Next::Record)
}

/// Whether reading stopped in the middle of a record, as at the end of a file that is still being written.
pub(super) fn is_torn(error: &ReadError) -> bool {
    matches!(error, ReadError::Damaged { fault: Fault::Torn, .. })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs::File;
    use std::io::SeekFrom;
    use std::rc::Rc;

    use super::*;
    use crate::audit::{DecisionFacts, Nanos, Writer, WriterOptions};

    /// Counts what is read of a file.
    struct Counting(File, Rc<Cell<u64>>);

    impl Read for Counting {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let read = self.0.read(out)?;
            self.1.set(self.1.get() + read as u64);
            Ok(read)
        }
    }

    impl Seek for Counting {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.0.seek(to)
        }
    }

    /// Records of about 1 KiB, one a second, in one sealed segment.
    fn log(root: &Path, records: u64) -> PathBuf {
        let options = WriterOptions { ring_bytes: 64 << 20, ..WriterOptions::new(root.join("log"), root, 1) };
        let (writer, mut seats) = Writer::start(options).unwrap();
        let producer = seats.pop().unwrap().take();
        let path = "/".repeat(800);
        for second in 0..records {
            let facts = DecisionFacts { path: Some(&path), ..DecisionFacts::default() };
            producer.deny(Nanos(second * 1_000_000_000), &facts).unwrap();
        }
        drop(producer);
        writer.finish().unwrap();
        root.join("log").join(read::segment_name(1))
    }

    #[test]
    fn a_filter_by_time_reads_the_stretches_that_may_hold_it_and_finds_the_same() {
        let root = tempfile::tempdir().unwrap();
        let file = log(root.path(), 20_000);
        let length = std::fs::metadata(&file).unwrap().len();
        assert!(length > 16 << 20);
        for (since, until) in [(19_900, 20_000), (10_000, 10_100), (0, 50), (19_999, 30_000)] {
            let filter = Filter::between(since * 1_000_000_000, until * 1_000_000_000);
            let found = |spans: Option<&[Span]>| {
                let (mut seqs, read) = (Vec::new(), Rc::new(Cell::new(0)));
                let counting = Counting(File::open(&file).unwrap(), Rc::clone(&read));
                let reader = Reader::open(counting, Check::Sums).unwrap();
                let mut see = |frame: &Frame<'_>, _: Body<'_>| {
                    seqs.push(frame.seq);
                    Ok(())
                };
                let ended = scan_spans(reader, spans, &filter, &mut see).unwrap();
                assert!(matches!(ended, Ended::Whole));
                (seqs, read.get())
            };
            let spans = read::spans(&file).unwrap().unwrap();
            let ((with, few), (without, all)) = (found(Some(&spans)), found(None));
            assert_eq!(with, without, "{since}..{until}");
            assert!(!with.is_empty());
            assert_eq!(all, length);
            // Two of 64 stretches, a block at the beginning and one beyond the end of each stretch.
            assert!(few < length / 10, "{few} of {length} octets");
        }
    }

    #[test]
    fn a_segment_of_another_time_is_not_opened() {
        let root = tempfile::tempdir().unwrap();
        let file = log(root.path(), 100);
        let mut whole = std::fs::read(&file).unwrap();
        // A change at the beginning, which whoever reads it would stumble over.
        whole[200] ^= 1;
        std::fs::write(&file, whole).unwrap();
        let mut see = |_: &Frame<'_>, _: Body<'_>| Ok(());
        let year_2100 = 4_102_444_800_000_000_000;
        let later = scan(&file, &Filter::between(year_2100, u64::MAX), &mut see).unwrap();
        assert!(matches!(later, Ended::Whole));
        let all = scan(&file, &Filter::default(), &mut see).unwrap();
        assert!(matches!(all, Ended::Stopped(_)));
    }
}
