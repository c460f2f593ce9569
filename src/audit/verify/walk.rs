//! From the first segment to the last, once, with constant memory.

use std::path::{Path, PathBuf};

use super::super::chain::Link;
use super::super::head::{PublicKey, seal_text};
use super::super::merkle::{self, Hash, Tree};
use super::super::read::{self, Check, ReadError, Reader, SegmentFile};
use super::super::record::{ArchivedSeal, Body};
use super::super::segment::{Fault, Frame, Header, LogId};
use super::{Contradiction, Heads, Tampered, Verdict, Vouched, Why};

/// How far the walk has come.
struct Walk<'h> {
    heads: &'h Heads,
    /// Points of the chain that are still to be met.
    marks: Vec<(u64, Link)>,
    id: Option<LogId>,
    records: u64,
    link: Link,
    /// Over the links of the segment's records.
    tree: Tree,
    /// Over the last links of the segments before this one.
    finished: Tree,
    path: PathBuf,
    segment: u64,
    offset: u64,
    sealed: bool,
}

/// Why a walk ends early.
enum Stop {
    Tampered(Contradiction),
    /// Bytes that no writer writes: a crash or a change, which depends on where.
    Damaged(Fault),
    Unverifiable(Why),
}

pub(super) fn walk(dir: &Path, heads: &Heads) -> Verdict {
    let base = heads.base.as_ref();
    let segments = match read::segments(dir) {
        // What the base stands for is about to be removed, or somebody has put it back: it is not part of the log.
        Ok(segments) => segments.into_iter().filter(|segment| base.is_none_or(|base| segment.number >= base.segment)),
        Err(error) => return Verdict::Unverifiable(Why::Unreadable(dir.to_owned(), error)),
    };
    let segments: Vec<_> = segments.collect();
    let mut walk = Walk {
        heads,
        marks: heads.marks(),
        id: None,
        records: base.map_or(0, |base| base.records),
        link: base.map_or(Link::default(), |base| base.link),
        tree: Tree::default(),
        finished: base.map_or(Tree::default(), |base| base.tree.clone()),
        path: dir.to_owned(),
        segment: base.map_or(0, |base| base.segment - 1),
        offset: 0,
        sealed: false,
    };
    walk.marks.retain(|(records, _)| *records > 0);
    // An anchor may be as old as the base.
    walk.pass(walk.link);
    if let Err(Stop::Tampered(what)) = walk.root() {
        return walk.tampered(what);
    }
    for (at, segment) in segments.iter().enumerate() {
        let is_last = at + 1 == segments.len();
        if let Err(stop) = walk.segment(dir, segment) {
            return walk.stopped(stop, is_last);
        }
    }
    walk.ended(segments.len())
}

impl Walk<'_> {
    fn segment(&mut self, dir: &Path, segment: &SegmentFile) -> Result<(), Stop> {
        if self.id.is_some() {
            self.finished.push(merkle::leaf(&self.link.0));
            self.root()?;
        }
        self.segment += 1;
        self.offset = 0;
        self.sealed = false;
        if segment.number != self.segment {
            self.path = dir.join(read::segment_name(self.segment));
            return Err(Stop::Tampered(Contradiction::Missing));
        }
        self.path.clone_from(&segment.path);
        let mut reader = read::open(&segment.path, Check::Links).map_err(|error| self.error(error))?;
        let header = *reader.header();
        let continues = header.segment == self.segment && header.first == self.records && header.previous == self.link;
        if !continues || self.id.is_some_and(|id| id != header.log) {
            return Err(Stop::Tampered(Contradiction::Misplaced));
        }
        self.id = Some(header.log);
        self.pass(header.link);
        self.tree.clear();
        loop {
            self.offset = reader.offset();
            let before = self.link;
            match next(&mut reader, &header, (before, &mut self.tree)) {
                Ok(None) => return Ok(()),
                Ok(Some(record)) => self.record(&record)?,
                Err(Problem::Read(error)) => return Err(self.error(error)),
                Err(Problem::Seal) => return Err(Stop::Tampered(Contradiction::Seal)),
            }
        }
    }

    fn record(&mut self, record: &Record) -> Result<(), Stop> {
        if self.heads.end().is_some_and(|end| record.seq >= end) {
            return Err(Stop::Tampered(Contradiction::AfterEnd));
        }
        if self.sealed {
            return Err(Stop::Tampered(Contradiction::AfterSeal));
        }
        // A head that was signed between the last record and this one must have been met by now.
        self.missed(record.seq)?;
        self.sealed = record.is_seal;
        self.records = record.seq + 1;
        self.pass(record.link);
        Ok(())
    }

    /// Moves on to `link`, and strikes the marks that it meets: a head speaks of the link of its last record, or of the header that
    /// follows when the writer began anew there.
    fn pass(&mut self, link: Link) {
        self.link = link;
        let here = (self.records, link);
        self.marks.retain(|mark| *mark != here);
    }

    /// What a checkpoint says of the segments that are finished, where as many are.
    fn root(&self) -> Result<(), Stop> {
        match self.heads.root {
            Some((segments, root)) if segments == self.finished.leaves() && root != self.finished.root() => {
                Err(Stop::Tampered(Contradiction::Root { segments }))
            }
            _ => Ok(()),
        }
    }

    fn missed(&self, records: u64) -> Result<(), Stop> {
        match self.marks.iter().find(|(signed, _)| *signed <= records) {
            Some((signed, _)) => Err(Stop::Tampered(Contradiction::Other { seq: signed - 1 })),
            None => Ok(()),
        }
    }

    fn error(&mut self, error: ReadError) -> Stop {
        match error {
            ReadError::Damaged { offset, fault } => {
                self.offset = offset;
                match fault {
                    Fault::Version(version) => Stop::Unverifiable(Why::Version(version)),
                    fault => Stop::Damaged(fault),
                }
            }
            ReadError::Io(error) => Stop::Unverifiable(Why::Unreadable(self.path.clone(), error)),
        }
    }

    fn stopped(self, stop: Stop, is_last: bool) -> Verdict {
        let fault = match stop {
            Stop::Tampered(what) => return self.tampered(what),
            Stop::Unverifiable(why) => return Verdict::Unverifiable(why),
            Stop::Damaged(fault) => fault,
        };
        let signed = self.heads.signed();
        let beyond = self.heads.end().is_none() && self.records >= signed && is_last;
        // Everything before a seal was on disk before the seal was, so damage before one is not the work of a crash.
        if !beyond || read::holds_a_seal(&self.path, self.offset).unwrap_or(false) {
            return self.tampered(Contradiction::Damage(fault));
        }
        if let Err(Stop::Tampered(what)) = self.missed(self.records) {
            return self.tampered(what);
        }
        match &self.heads.state {
            // The writer is in the middle of writing it.
            Ok(_) if self.heads.open => self.ok(usize::try_from(self.segment).unwrap_or(usize::MAX)),
            _ => Verdict::Unverifiable(Why::Torn {
                signed,
                unsigned: self.records - signed,
                segment: self.segment,
                offset: self.offset,
            }),
        }
    }

    fn ended(mut self, segments: usize) -> Verdict {
        let signed = self.heads.signed();
        if self.records < signed {
            let records = self.records;
            return self.tampered(Contradiction::Short { records, signed });
        }
        if let Err(Stop::Tampered(what)) = self.missed(self.records) {
            return self.tampered(what);
        }
        if let Some((segments, _)) = self.heads.root.filter(|(segments, _)| *segments > self.finished.leaves()) {
            return self.tampered(Contradiction::Root { segments });
        }
        self.offset = 0;
        let unsigned = self.records - signed;
        let anchored = self.heads.anchor.as_ref().is_some_and(|(_, head)| head.closed);
        match &self.heads.state {
            Ok((_, head)) if head.closed || self.heads.open => self.ok(segments),
            // The anchor alone vouches, for a log that was closed when it was taken and has not grown since.
            Err(_) if anchored && unsigned == 0 => self.ok(segments),
            Err(_) if self.heads.anchor.is_none() => self.nothing_vouches(),
            _ => Verdict::Unverifiable(Why::NotClosed { signed, unsigned }),
        }
    }

    fn nothing_vouches(&self) -> Verdict {
        let again = match &self.heads.state {
            Err(Why::NoKey(path)) => Why::NoKey(path.clone()),
            Err(Why::BadHead(path, why)) => Why::BadHead(path.clone(), why),
            Err(Why::Unreadable(path, error)) => Why::Unreadable(path.clone(), error.kind().into()),
            _ => Why::NoHead(self.heads.state_path.clone()),
        };
        Verdict::Unverifiable(again)
    }

    fn ok(&self, segments: usize) -> Verdict {
        let head = self.heads.state.as_ref().ok();
        let anchor = self.heads.anchor.as_ref();
        let Some((_, signer)) = head.or(anchor) else { return self.nothing_vouches() };
        Verdict::Ok(Vouched {
            records: self.records,
            segments,
            head: head.map(|(path, _)| path.clone()),
            anchor: anchor.map(|(path, _)| path.clone()),
            key: signer.key,
            unsigned: self.records - self.heads.signed(),
            open: self.heads.open && self.heads.end().is_none(),
            retired: self.heads.base.as_ref().map_or(0, |base| base.records),
        })
    }

    fn tampered(self, what: Contradiction) -> Verdict {
        Verdict::Tampered(Tampered { path: self.path, segment: self.segment, offset: self.offset, what })
    }
}

/// What the walk needs of a record.
struct Record {
    seq: u64,
    link: Link,
    is_seal: bool,
}

enum Problem {
    Read(ReadError),
    Seal,
}

/// The next record, with its archive checked, and its signature when it is a seal.
fn next<R: std::io::Read>(
    reader: &mut Reader<R>,
    header: &Header,
    (before, tree): (Link, &mut Tree),
) -> Result<Option<Record>, Problem> {
    let offset = reader.offset();
    let Some(frame) = reader.next().map_err(Problem::Read)? else { return Ok(None) };
    let body = frame.body().map_err(|fault| Problem::Read(ReadError::Damaged { offset, fault }))?;
    if let Body::Seal(seal) = body
        && !is_true(seal, &frame, header, (before, tree.root()))
    {
        return Err(Problem::Seal);
    }
    tree.push(merkle::leaf(&frame.link.0));
    Ok(Some(Record { seq: frame.seq, link: frame.link, is_seal: matches!(body, Body::Seal(_)) }))
}

fn is_true(seal: &ArchivedSeal, frame: &Frame<'_>, header: &Header, (before, root): (Link, Hash)) -> bool {
    let text = seal_text((header.log, header.segment), (header.first, frame.seq), before, root);
    seal.segment == header.segment
        && seal.records == frame.seq
        && seal.link == before.0
        && seal.root == root.0
        && PublicKey(seal.key).vouches(text.as_bytes(), &seal.signature)
}
