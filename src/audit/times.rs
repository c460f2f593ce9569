//! The index by time that a seal carries: which stretch of its segment holds records of which times.
//!
//! Times in a log are those of the decisions, so they are only roughly in order: workers differ, clocks are set, and what a killed process left
//! in its rings is put on record later. So a stretch states the earliest and the latest time in it, and nothing is concluded from order: who
//! asks for a time misses no record. The seal is part of the chain, and the index with it.

use rkyv::{Archive, Serialize};

use super::facts::Nanos;
use super::record::{self, Schema};
use super::segment::{self, HEADER_BYTES};
use crate::limits::{AUDIT_INDEX_SPAN_BYTES_MIN, AUDIT_INDEX_SPANS};

/// A stretch of a segment that begins with a record.
#[derive(Archive, Serialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Where it begins in the file; 0, where no record begins, in a place of the index that is not used.
    pub offset: u64,
    /// `seq` of its first record.
    pub first: u64,
    /// Time of its earliest record, nanoseconds since 1970 UTC.
    pub earliest: u64,
    /// Time of its latest record.
    pub latest: u64,
}

impl Span {
    /// Whether it may hold a record of a time from `since` on and before `until`.
    pub fn may_hold(&self, since: Nanos, until: Nanos) -> bool {
        self.latest >= since.0 && self.earliest < until.0
    }
}

/// The index of the segment that is being written. Constant memory: when all places are taken, neighbours are joined.
#[derive(Debug)]
pub(super) struct Index {
    spans: [Span; AUDIT_INDEX_SPANS],
    used: usize,
    /// Octets from which on a stretch ends.
    width: u64,
}

impl Default for Index {
    fn default() -> Self {
        Self { spans: [Span::default(); AUDIT_INDEX_SPANS], used: 0, width: AUDIT_INDEX_SPAN_BYTES_MIN }
    }
}

impl Index {
    /// Notes a record that begins at `offset`.
    pub(super) fn push(&mut self, offset: u64, seq: u64, time: Nanos) {
        if let Some(last) = self.used.checked_sub(1).and_then(|last| self.spans.get_mut(last))
            && offset - last.offset < self.width
        {
            last.earliest = last.earliest.min(time.0);
            last.latest = last.latest.max(time.0);
            return;
        }
        if self.used == AUDIT_INDEX_SPANS {
            self.halve();
            return self.push(offset, seq, time);
        }
        self.spans[self.used] = Span { offset, first: seq, earliest: time.0, latest: time.0 };
        self.used += 1;
    }

    /// Joins neighbours, which frees half of the places.
    fn halve(&mut self) {
        self.used /= 2;
        for at in 0..self.used {
            let [left, right] = [self.spans[2 * at], self.spans[2 * at + 1]];
            self.spans[at] =
                Span { earliest: left.earliest.min(right.earliest), latest: left.latest.max(right.latest), ..left };
        }
        self.spans[self.used..].fill(Span::default());
        self.width *= 2;
    }

    pub(super) fn spans(&self) -> &[Span; AUDIT_INDEX_SPANS] {
        &self.spans
    }
}

/// The stretches of a segment of `length` octets, in order, its seal as the last of them. `end` are its last [`segment::SEAL_BYTES`], at an
/// address that is a multiple of 8. Nothing for a segment without a seal that has an index. What it says is a hint of whoever wrote the file:
/// a reader checks what it finds.
pub(super) fn spans(end: &[u8], length: u64) -> Option<Vec<Span>> {
    let offset = length.checked_sub(segment::SEAL_BYTES as u64)?;
    let frame = segment::frame(end).ok().filter(|frame| frame.schema == Schema::SEAL)?;
    let index = record::index(frame.payload).ok()?;
    let used = index.iter().map(|span| Span {
        offset: span.offset.to_native(),
        first: span.first.to_native(),
        earliest: span.earliest.to_native(),
        latest: span.latest.to_native(),
    });
    let mut spans: Vec<_> = used.take_while(|span| span.offset != 0).collect();
    spans.push(Span { offset, first: frame.seq, earliest: frame.time.0, latest: frame.time.0 });
    let starts_where_records_do = spans.first().is_some_and(|span| span.offset == HEADER_BYTES as u64);
    let in_order = spans.is_sorted_by(|a, b| a.offset < b.offset && a.first < b.first);
    let aligned = spans.iter().all(|span| span.offset.is_multiple_of(8));
    (starts_where_records_do && in_order && aligned).then_some(spans)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::read::{self, Check};
    use crate::audit::{DecisionFacts, Writer, WriterOptions};

    /// A sealed segment whose records have these times, and its file.
    fn segment(root: &std::path::Path, times: impl Iterator<Item = u64>) -> std::path::PathBuf {
        let options = WriterOptions { ring_bytes: 64 << 20, ..WriterOptions::new(root.join("log"), root, 1) };
        let (writer, mut seats) = Writer::start(options).unwrap();
        let producer = seats.pop().unwrap().take();
        let path = "/".repeat(1000);
        for time in times {
            let facts = DecisionFacts { path: Some(&path), ..DecisionFacts::default() };
            producer.deny(Nanos(time), &facts).unwrap();
        }
        drop(producer);
        writer.finish().unwrap();
        root.join("log").join(read::segment_name(1))
    }

    #[test]
    fn every_record_lies_in_its_stretch_however_times_run() {
        let root = tempfile::tempdir().unwrap();
        // 12,000 records of more than 1 KiB: more than fit 64 stretches of the least width. Times jump forth and back.
        let file = segment(root.path(), (0..12_000).map(|n: u64| n * 7_919 % 12_000));
        let spans = read::spans(&file).unwrap().unwrap();
        assert!((AUDIT_INDEX_SPANS / 2..=AUDIT_INDEX_SPANS + 1).contains(&spans.len()), "{}", spans.len());
        let mut reader = read::open(&file, Check::Sums).unwrap();
        let mut at = 0;
        loop {
            let offset = reader.offset();
            let Some(frame) = reader.next().unwrap() else { break };
            if spans.get(at + 1).is_some_and(|next| next.offset <= offset) {
                at += 1;
                assert_eq!((spans[at].offset, spans[at].first), (offset, frame.seq));
            }
            assert!((spans[at].earliest..=spans[at].latest).contains(&frame.time.0), "record {}", frame.seq);
        }
        assert_eq!(at + 1, spans.len());
    }

    #[test]
    fn a_stretch_holds_what_lies_between_its_times() {
        let span = Span { offset: 128, first: 0, earliest: 10, latest: 20 };
        let holds = |since, until| span.may_hold(Nanos(since), Nanos(until));
        assert!(holds(0, 11) && holds(20, 30) && holds(12, 13));
        assert!(!holds(0, 10) && !holds(21, 30));
    }

    #[test]
    fn an_index_that_cannot_be_is_none() {
        let root = tempfile::tempdir().unwrap();
        let file = segment(root.path(), 0..3_000);
        let whole = std::fs::read(&file).unwrap();
        let other = root.path().join("other");
        let said = |bytes: &[u8]| {
            std::fs::write(&other, bytes).unwrap();
            read::spans(&other).unwrap()
        };
        assert!(said(&whole).is_some());
        assert_eq!(said(&[]), None);
        assert_eq!(said(&whole[..whole.len() - 8]), None, "cut");
        let end = whole.len() - segment::SEAL_BYTES;
        for at in (end..whole.len() - 32).step_by(13) {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert_eq!(said(&changed), None, "octet {at}");
        }
    }
}
