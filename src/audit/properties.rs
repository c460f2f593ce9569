//! What holds for every input; the unit tests and the fuzz targets call the same functions.

use std::io::{self, Read};

use super::base::Base;
use super::checkpoint::Checkpoint;
use super::consistency::Consistency;
use super::facts::{DecisionFacts, DecisionId, McpFacts, Nanos, OutcomeFacts, Query, Transport};
use super::head::SignedHead;
use super::proof::Proof;
use super::read::{Check, Reader};
use super::record::{Body, Decision, Message, Outcome, Schema, body, flag};
use super::segment::{self, Header, LogId};
use crate::limits::{AUDIT_RECORD_BYTES_MAX, AUDIT_TEXT_BYTES_MAX, HOST_BYTES_MAX, METHOD_BYTES_MAX, TARGET_BYTES_MAX};

/// A source that gives at most `step` octets at a time.
struct Slow<'a> {
    bytes: &'a [u8],
    step: usize,
}

impl Read for Slow<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let step = self.step.max(1).min(self.bytes.len());
        let read = (&self.bytes[..step]).read(out)?;
        self.bytes = &self.bytes[read..];
        Ok(read)
    }
}

/// Everything a reader says about `bytes`: each record's seq and end, and how it ended.
fn told(bytes: &[u8], step: usize, check: Check) -> (Vec<(u64, u64)>, Option<String>) {
    let mut records = Vec::new();
    let mut reader = match Reader::open(Slow { bytes, step }, check) {
        Ok(reader) => reader,
        Err(error) => return (records, Some(error.to_string())),
    };
    loop {
        let seq = match reader.next() {
            Ok(None) => return (records, None),
            Ok(Some(frame)) => {
                // Whatever it is, it is an answer.
                let _ = frame.body().map(touch);
                frame.seq
            }
            Err(error) => return (records, Some(error.to_string())),
        };
        records.push((seq, reader.offset()));
    }
}

/// Reads every field of a checked archive that could be out of bounds.
fn touch(body: Body<'_>) -> usize {
    match body {
        Body::Decision(record) | Body::Tunnel(record) | Body::Dns(record) => {
            let texts = [&record.agent, &record.sni, &record.host, &record.method, &record.path, &record.query];
            let more = [&record.rule, &record.reason, &record.code];
            let texts: usize = texts.iter().chain(&more).map(|text| text.as_str().chars().count()).sum();
            texts + usize::from(record.source.get().is_some()) + record.looked_at().words().count()
        }
        Body::Message(record) => {
            let texts =
                [&record.server, &record.version, &record.method, &record.tool, &record.resource, &record.prompt];
            let texts: usize = texts.iter().map(|text| text.as_str().chars().count()).sum();
            texts + touch(Body::Decision(&record.decision))
        }
        Body::Outcome(record) => record.code.as_str().len() + record.error.as_str().chars().count(),
        Body::Lifecycle(record) => record.detail.as_str().chars().count() + record.version.as_str().len(),
        Body::Gap(_) | Body::Seal(_) | Body::Unknown => 0,
    }
}

/// A reader gives the same answer however its bytes arrive, records end in order within the file, and checking more finds no more
/// records. Cutting the input after a record that was read leaves the records before.
pub fn a_segment_reads_the_same_in_any_pieces(bytes: &[u8]) {
    let (sums, ended) = told(bytes, usize::MAX, Check::Sums);
    let pieces = told(bytes, 1 + bytes.len() % 97, Check::Sums);
    assert_eq!((&sums, &ended), (&pieces.0, &pieces.1));
    let (links, _) = told(bytes, usize::MAX, Check::Links);
    assert!(sums.starts_with(&links));
    assert!(sums.is_sorted_by(|a, b| a.0 + 1 == b.0 && a.1 < b.1));
    if let Some((_, end)) = sums.get(sums.len() / 2) {
        let end = usize::try_from(*end).unwrap_or(usize::MAX);
        assert!(end <= bytes.len());
        let (cut, ended) = told(&bytes[..end], usize::MAX, Check::Sums);
        assert_eq!((&cut[..], ended), (&sums[..=sums.len() / 2], None));
    }
}

/// A segment with one record of any bytes under valid sums and links: the archive check decides, and nothing panics.
pub fn any_payload_under_a_valid_sum_is_an_answer(bytes: &[u8]) {
    let Some((schema, payload)) = bytes.split_first_chunk::<2>() else { return };
    let payload = &payload[..payload.len().min(AUDIT_RECORD_BYTES_MAX)];
    let mut file = header().encode().0.to_vec();
    let schema = Schema(u16::from_le_bytes(*schema));
    segment::append(&mut file, 5, Nanos(1), schema, payload);
    let (records, ended) = told(&file, usize::MAX, Check::Links);
    assert_eq!((records.len(), ended), (1, None));
    a_segment_reads_the_same_in_any_pieces(&file);
}

/// Texts that vouch for something are read or refused, and what is read is what stands there: written again it is the same text, up to the
/// signature lines of others. The text is also tried as what follows the beginning of each form, so that fuzzing gets beyond the first line.
pub fn any_signed_text_is_an_answer(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for begin in [
        "",
        "ringfence audit proof v1\n",
        "ringfence audit consistency proof v1\nfrom ringfence/audit/",
        "ringfence audit head v1\n",
        "ringfence audit base v1\n",
        "ringfence/audit/",
    ] {
        let text = format!("{begin}{text}");
        if let Ok(proof) = Proof::read(&text) {
            assert_eq!(proof.write(), text);
        }
        if let Ok((from, to)) = Consistency::read(&text) {
            assert!(from.segments <= to.segments && from.head.records <= to.head.records);
        }
        if let Ok(head) = SignedHead::read(&text) {
            assert!(text.contains(&format!("records {}\n", head.records)));
        }
        if let Ok(base) = Base::read(&text) {
            assert_eq!(base.tree.peaks().len(), base.tree.leaves().count_ones() as usize);
        }
        if let Ok(checkpoint) = Checkpoint::read(&text) {
            assert!(Checkpoint::is_one(&text) && text.contains(&format!("\n{}\n", checkpoint.segments)));
        }
    }
}

fn header() -> Header {
    let link = super::chain::Link::default();
    Header { log: LogId([1; 16]), segment: 1, first: 5, created: Nanos(7), previous: link, link }
}

/// Facts come back from their archive as they went in, cut where they are longer than a record takes; the archive never outgrows its
/// bound; and no part of it is taken for the whole.
pub fn facts_survive_their_archive(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let part = |at: usize| {
        let from = text.floor_char_boundary(text.len() * at / 8);
        let to = text.floor_char_boundary(text.len() * (at + 1) / 8);
        &text[from..to]
    };
    let number = bytes.iter().fold(0_u64, |sum, octet| sum.wrapping_mul(257).wrapping_add(u64::from(*octet)));
    let facts = DecisionFacts {
        agent: part(0),
        connection: number,
        sni: Some(part(1)),
        host: Some(part(2)),
        method: Some(part(3)),
        path: Some(part(4)),
        query: Some(Query::Kept(part(5))),
        rule: Some(part(6)),
        reason: Some(part(7)),
        decide_ns: !number,
        ..DecisionFacts::default()
    };
    let record = Decision::new(DecisionId(u128::from(number)), &facts);
    let mut out = rkyv::util::AlignedVec::<16>::new();
    out.resize(record.bytes(), 0xa5);
    let length = record.encode(&mut out).unwrap_or(0);
    assert!((1..=AUDIT_RECORD_BYTES_MAX).contains(&length));
    let Ok(Body::Decision(read)) = body(Schema::DECISION, &out[..length]) else { unreachable!("{facts:?}") };
    let texts = [
        (facts.agent, read.agent.as_str(), AUDIT_TEXT_BYTES_MAX),
        (part(1), read.sni.as_str(), HOST_BYTES_MAX),
        (part(2), read.host.as_str(), HOST_BYTES_MAX),
        (part(3), read.method.as_str(), METHOD_BYTES_MAX),
        (part(4), read.path.as_str(), TARGET_BYTES_MAX),
        (part(5), read.query.as_str(), TARGET_BYTES_MAX),
        (part(6), read.rule.as_str(), AUDIT_TEXT_BYTES_MAX),
        (part(7), read.reason.as_str(), AUDIT_TEXT_BYTES_MAX),
    ];
    for (wrote, read, max) in texts {
        assert_eq!(read, &wrote[..wrote.floor_char_boundary(max.min(wrote.len()))]);
    }
    assert_eq!((read.connection.to_native(), read.decide_ns.to_native()), (number, !number));

    let mcp = McpFacts {
        server: part(0),
        transport: Transport::Stdio,
        version: part(1),
        method: part(2),
        tool: part(3),
        resource: part(4),
        prompt: part(5),
        arguments_digest: (number % 2 == 0).then_some([7; 32]),
    };
    let message = Message::new(Decision::new(DecisionId(1), &facts), &mcp);
    out.resize(message.bytes(), 0xa5);
    let length = message.encode(&mut out).unwrap_or(0);
    assert!((1..=AUDIT_RECORD_BYTES_MAX).contains(&length));
    let Ok(Body::Message(read)) = body(Schema::MESSAGE, &out[..length]) else { unreachable!("{mcp:?}") };
    let texts = [&read.server, &read.version, &read.method, &read.tool, &read.resource, &read.prompt];
    for (at, read) in texts.iter().enumerate() {
        assert_eq!(read.as_str(), &part(at)[..part(at).floor_char_boundary(AUDIT_TEXT_BYTES_MAX.min(part(at).len()))]);
    }
    assert_eq!(
        (read.flags & flag::ARGUMENTS != 0, read.arguments_digest == [7; 32]),
        (number % 2 == 0, number % 2 == 0)
    );
    assert_eq!(read.decision.host.as_str(), &part(2)[..part(2).floor_char_boundary(HOST_BYTES_MAX.min(part(2).len()))]);

    let facts = OutcomeFacts { code: Some(part(0)), error: Some(part(1)), bytes_up: number, ..OutcomeFacts::default() };
    let record = Outcome::new(DecisionId(1), &facts);
    assert!(record.bytes() + 2 * super::ring::HEADER <= crate::limits::AUDIT_CREDIT_BYTES);
    let length = record.encode(&mut out).unwrap_or(0);
    assert!(matches!(body(Schema::OUTCOME, &out[..length]), Ok(Body::Outcome(read)) if read.bytes_up == number));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::audit::segment::HEADER_BYTES;

    /// A segment of three records.
    fn sample() -> Vec<u8> {
        let mut file = header().encode().0.to_vec();
        for seq in 5..8 {
            let record = Outcome::aborted(DecisionId(seq.into()));
            let mut out = rkyv::util::AlignedVec::<16>::new();
            out.resize(record.bytes(), 0);
            let length = record.encode(&mut out).unwrap();
            segment::append(&mut file, seq, Nanos(seq), Schema::OUTCOME, &out[..length]);
        }
        file
    }

    #[test]
    fn reads_what_was_appended() {
        let (records, ended) = told(&sample(), 1, Check::Links);
        assert_eq!((records.len(), ended), (3, None));
    }

    #[test]
    fn finds_every_cut_and_every_changed_octet() {
        let whole = sample();
        let (records, _) = told(&whole, usize::MAX, Check::Links);
        let ends: Vec<_> =
            records.iter().map(|(_, end)| usize::try_from(*end).unwrap()).chain([HEADER_BYTES]).collect();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0x10;
            assert!(told(&changed, usize::MAX, Check::Links).1.is_some(), "octet {at}");
            assert_eq!(told(&whole[..at], usize::MAX, Check::Links).1.is_none(), ends.contains(&at), "cut at {at}");
            a_segment_reads_the_same_in_any_pieces(&changed);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer(bytes: Vec<u8>) {
            a_segment_reads_the_same_in_any_pieces(&bytes);
            any_payload_under_a_valid_sum_is_an_answer(&bytes);
            any_signed_text_is_an_answer(&bytes);
        }

        #[test]
        fn facts_come_back(text in ".{0,400}", repeat in 1..200_usize) {
            facts_survive_their_archive(text.repeat(repeat).as_bytes());
        }
    }
}
