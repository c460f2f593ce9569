//! The archives that every request makes, written straight to where they lie.
//!
//! rkyv resolves a record on the stack, copies it, and calls `memcpy` for each text, however short; of a decision that was
//! a fifth of the instructions. Here the same octets are written once: first the texts that are longer than [`INLINE`], in the order of their fields, then, at a
//! multiple of eight, the fixed part. The layout is rkyv's own, field by field ([`offset_of!`](std::mem::offset_of)), and a test holds
//! every octet against what rkyv writes.

use std::mem::{offset_of, size_of};

use super::{Address, ArchivedAddress, ArchivedDecision, ArchivedMessage, ArchivedOutcome, Decision, Message, Outcome};

/// Octets of a text that stand in the place of a reference to it.
const INLINE: usize = 8;

const DECISION: usize = size_of::<ArchivedDecision<'_>>();
const MESSAGE: usize = size_of::<ArchivedMessage<'_>>();
const OUTCOME: usize = size_of::<ArchivedOutcome<'_>>();

/// The part of an archive that its texts do not change.
pub(super) trait Fixed<const N: usize> {
    /// Octets of the texts that do not stand in their own places.
    fn outside(&self) -> usize;

    /// Writes the fixed part into `root` and the texts into `texts`.
    fn emplace(&self, root: &mut [u8; N], texts: &mut Texts<'_>);

    /// Octets that the archive takes.
    #[inline(always)]
    fn bytes(&self) -> usize {
        self.outside().next_multiple_of(8) + N
    }

    /// Writes the archive into `out`, whose start is aligned to 8, and says how long it is. `None` when it does not fit.
    #[inline(always)]
    fn write(&self, out: &mut [u8]) -> Option<usize> {
        let before = self.outside().next_multiple_of(8);
        let (room, rest) = out.split_at_mut_checked(before)?;
        let root = rest.first_chunk_mut::<N>()?;
        // Padding is zero.
        if let Some(last) = room.last_chunk_mut::<8>() {
            *last = [0; 8];
        }
        *root = [0; N];
        self.emplace(root, &mut Texts { room, at: 0, root: before });
        Some(before + N)
    }
}

/// Where texts go that are longer than their places.
pub(super) struct Texts<'o> {
    room: &'o mut [u8],
    at: usize,
    /// Where the fixed part begins, from the start of the room.
    root: usize,
}

impl Texts<'_> {
    /// What stands in the place of a text, which is `place` octets into the fixed part: the text, or how long it is and how far away.
    #[inline(always)]
    fn put(&mut self, text: &str, place: usize) -> [u8; INLINE] {
        let text = text.as_bytes();
        if text.len() <= INLINE {
            return short(text).to_le_bytes();
        }
        if let Some(room) = self.room.get_mut(self.at..self.at + text.len()) {
            copy(text, room);
        }
        // Bits 6 and 7 of the first octet say which it is; no text has an octet there that begins like that. Texts are cut far below 2³⁰.
        #[allow(clippy::cast_possible_truncation, reason = "texts are cut to a few thousand octets")]
        let (length, away) = (text.len() as u32, (self.at as u32).wrapping_sub((self.root + place) as u32));
        self.at += text.len();
        let marked = length & 0x3f | 0x80 | (length & !0x3f) << 2;
        (u64::from(marked) | u64::from(away) << 32).to_le_bytes()
    }
}

/// A text of at most eight octets and, behind it, octets that no text has.
#[inline(always)]
fn short(text: &[u8]) -> u64 {
    let length = text.len();
    let octets = match (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        // The two overlap, where they say the same.
        (Some(first), Some(last)) => {
            u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << ((length - 4) * 8)
        }
        _ => match *text {
            [a] => u64::from(a),
            [a, b] => u64::from(a) | u64::from(b) << 8,
            [a, b, c] => u64::from(a) | u64::from(b) << 8 | u64::from(c) << 16,
            _ => 0,
        },
    };
    if length < INLINE { octets | u64::MAX << (length * 8) } else { octets }
}

/// Copies as many octets as both have: most texts are between nine and 32 octets long, for which two copies that overlap do.
#[inline(always)]
fn copy(text: &[u8], room: &mut [u8]) {
    if text.len() <= 16
        && let (Some(first), Some(last)) = (text.first_chunk::<8>(), text.last_chunk::<8>())
    {
        room.first_chunk_mut().into_iter().for_each(|start| *start = *first);
        room.last_chunk_mut().into_iter().for_each(|end| *end = *last);
    } else if text.len() <= 32
        && let (Some(first), Some(last)) = (text.first_chunk::<16>(), text.last_chunk::<16>())
    {
        room.first_chunk_mut().into_iter().for_each(|start| *start = *first);
        room.last_chunk_mut().into_iter().for_each(|end| *end = *last);
    } else {
        room.copy_from_slice(text);
    }
}

/// Octets of a text that does not stand in its own place.
#[inline(always)]
fn beyond(text: &str) -> usize {
    if text.len() > INLINE { text.len() } else { 0 }
}

/// Writes a field where it lies in the archive of its record.
macro_rules! put {
    ($root:ident, $archive:ty, $($field:ident: $octets:expr),+ $(,)?) => {
        $({
            let octets = $octets;
            let at = offset_of!($archive, $field);
            $root[at..at + octets.len()].copy_from_slice(&octets);
        })+
    };
}

/// The same of texts.
macro_rules! put_texts {
    ($root:ident, $texts:ident, $record:ident, $archive:ty, $($field:ident),+ $(,)?) => {
        put!($root, $archive, $($field: $texts.put($record.$field, offset_of!($archive, $field))),+)
    };
}

impl Address {
    #[inline(always)]
    fn octets(&self) -> [u8; size_of::<ArchivedAddress>()] {
        let mut root = [0; size_of::<ArchivedAddress>()];
        put!(root, ArchivedAddress, ip: self.ip, port: self.port.to_le_bytes(), family: self.family);
        root
    }
}

impl Fixed<DECISION> for Decision<'_> {
    #[inline(always)]
    fn outside(&self) -> usize {
        beyond(self.agent)
            + beyond(self.sni)
            + beyond(self.host)
            + beyond(self.method)
            + beyond(self.path)
            + beyond(self.query)
            + beyond(self.rule)
            + beyond(self.reason)
            + beyond(self.code)
    }

    #[inline(always)]
    fn emplace(&self, root: &mut [u8; DECISION], texts: &mut Texts<'_>) {
        put!(
            root,
            ArchivedDecision<'static>,
            id: self.id,
            connection: self.connection.to_le_bytes(),
            decide_ns: self.decide_ns.to_le_bytes(),
            policy: self.policy,
            source: self.source.octets(),
            destination: self.destination.octets(),
            upstream: self.upstream.octets(),
            port: self.port.to_le_bytes(),
            status: self.status.to_le_bytes(),
            mode: [self.mode],
            protocol: [self.protocol],
            scheme: [self.scheme],
            verdict: [self.verdict],
            inspected: [self.inspected],
            flags: [self.flags],
        );
        put_texts!(
            root,
            texts,
            self,
            ArchivedDecision<'static>,
            agent,
            sni,
            host,
            method,
            path,
            query,
            rule,
            reason,
            code
        );
    }
}

impl Fixed<MESSAGE> for Message<'_> {
    #[inline(always)]
    fn outside(&self) -> usize {
        self.decision.outside()
            + beyond(self.server)
            + beyond(self.version)
            + beyond(self.method)
            + beyond(self.tool)
            + beyond(self.resource)
            + beyond(self.prompt)
    }

    #[inline(always)]
    fn emplace(&self, root: &mut [u8; MESSAGE], texts: &mut Texts<'_>) {
        const { assert!(offset_of!(ArchivedMessage<'static>, decision) == 0) };
        if let Some(decision) = root.first_chunk_mut::<DECISION>() {
            self.decision.emplace(decision, texts);
        }
        put!(
            root,
            ArchivedMessage<'static>,
            arguments_digest: self.arguments_digest,
            transport: [self.transport],
            flags: [self.flags],
        );
        put_texts!(root, texts, self, ArchivedMessage<'static>, server, version, method, tool, resource, prompt);
    }
}

impl Fixed<OUTCOME> for Outcome<'_> {
    #[inline(always)]
    fn outside(&self) -> usize {
        beyond(self.code) + beyond(self.error)
    }

    #[inline(always)]
    fn emplace(&self, root: &mut [u8; OUTCOME], texts: &mut Texts<'_>) {
        put!(
            root,
            ArchivedOutcome<'static>,
            id: self.id,
            bytes_up: self.bytes_up.to_le_bytes(),
            bytes_down: self.bytes_down.to_le_bytes(),
            upstream_ns: self.upstream_ns.to_le_bytes(),
            total_ns: self.total_ns.to_le_bytes(),
            upstream: self.upstream.octets(),
            status: self.status.to_le_bytes(),
            flags: [self.flags],
        );
        put_texts!(root, texts, self, ArchivedOutcome<'static>, code, error);
    }
}

#[cfg(test)]
mod tests;
