//! The end of a log on disk: appends, syncs, seals, begins the next segment, signs.
//!
//! Invariant: `batch` holds every byte that the disk has not confirmed, so after any failure the same bytes are written again to the same
//! place. That matters most after a failed sync: the kernel may have dropped the pages and call the next sync a success.

use std::fs::File;
use std::mem::size_of;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::base::{BASE_FILE, Base};
use super::super::chain::{LINK_BYTES, Link};
use super::super::checkpoint::Checkpoint;
use super::super::facts::Nanos;
use super::super::head::{DigestKey, Key, PublicKey, SignedHead, seal_text};
use super::super::merkle::{self, Tree};
use super::super::outbox::Outbox;
use super::super::read::segment_name;
use super::super::record::{ArchivedIndexedSeal, Gap, IndexedSeal, Schema, Seal};
use super::super::segment::{self, HEADER_BYTES, Header, LogId};
use super::super::times::Index;
use super::disk::Disk;
use super::{Trouble, trouble};
use crate::limits::AUDIT_PREALLOCATE_BYTES;

/// Where a log goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    pub(super) id: LogId,
    /// The last segment there is; 0 when there is none.
    pub(super) segment: u64,
    /// `seq` of the next record.
    pub(super) seq: u64,
    /// Link of the last record.
    pub(super) link: Link,
}

/// Folders and key, as [`super::open`] found or made them.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) dir: PathBuf,
    pub(super) heads: PathBuf,
    pub(super) disk: Disk,
    pub(super) key: Key,
    /// Where checkpoints are left for the anchor.
    pub(super) outbox: Option<Arc<Outbox>>,
    /// Where the log begins, when its oldest segments are gone.
    pub(super) base: Option<Base>,
    /// Over the last links of the segments that are finished, those that are gone included.
    pub(super) finished: Tree,
    /// The last segment that a seal covers.
    pub(super) sealed_through: u64,
    /// Held as long as the log is.
    pub(super) _lock: File,
}

/// A log that is being written.
#[derive(Debug)]
pub(super) struct Log {
    place: Place,
    position: Position,
    file: File,
    path: PathBuf,
    /// Octets of the file that the disk has confirmed.
    durable: u64,
    /// Octets of the file that have their place on the disk, written or not.
    reserved: u64,
    /// The link before `durable`, then everything after.
    batch: Vec<u8>,
    /// Octets of the batch, after its first link, that the kernel has.
    written: usize,
    /// Over the links of the segment's records.
    tree: Tree,
    /// Where in the segment which times are.
    index: Index,
    /// The file's name may not be on disk yet.
    unnamed: bool,
    /// The segment's last record is its seal: the next thing is the next segment.
    sealed: bool,
    /// What the last head says: records, closed.
    vouched: (u64, bool),
}

impl Log {
    /// Begins the next segment after `position`. The head says `open` before the first byte is written, so that what a crash leaves
    /// behind can never follow a `closed` one.
    pub(super) fn begin(place: Place, position: Position, time: Nanos) -> Result<Self, Trouble> {
        sign(&place, &position, time, false)?;
        let (file, path) = create(&place, position.segment + 1)?;
        let vouched = (position.seq, false);
        let mut log = Self {
            place,
            position,
            file,
            path,
            durable: 0,
            reserved: 0,
            batch: Vec::new(),
            written: 0,
            tree: Tree::default(),
            index: Index::default(),
            unnamed: true,
            sealed: false,
            vouched,
        };
        log.head_segment(time);
        Ok(log)
    }

    pub(super) fn digest_key(&self) -> DigestKey {
        self.place.key.digest_key()
    }

    pub(super) fn id(&self) -> LogId {
        self.position.id
    }

    pub(super) fn dir(&self) -> &Path {
        &self.place.dir
    }

    pub(super) fn disk(&self) -> &Disk {
        &self.place.disk
    }

    pub(super) fn key(&self) -> PublicKey {
        self.place.key.public()
    }

    /// Where the log begins, when its oldest segments are gone.
    pub(super) fn base(&self) -> Option<&Base> {
        self.place.base.as_ref()
    }

    /// The last segment that a seal covers.
    pub(super) fn sealed_through(&self) -> u64 {
        self.place.sealed_through
    }

    /// Lets the log begin later.
    pub(super) fn rebase(&mut self, base: Base) -> Result<(), Trouble> {
        let path = self.place.dir.join(BASE_FILE);
        self.place.disk.replace(&path, base.sign(&self.place.key).as_bytes()).map_err(trouble("replace", &path))?;
        self.place.base = Some(base);
        Ok(())
    }

    /// `seq` of the next record.
    pub(super) fn records(&self) -> u64 {
        self.position.seq
    }

    /// Octets that the disk has not confirmed.
    pub(super) fn unsynced(&self) -> usize {
        self.batch.len() - LINK_BYTES
    }

    /// Whether the segment holds a record.
    pub(super) fn is_ahead_of_segment(&self) -> bool {
        self.segment_bytes() > HEADER_BYTES as u64
    }

    /// Whether the kernel has not yet got everything.
    pub(super) fn has_news(&self) -> bool {
        self.written < self.unsynced()
    }

    /// Octets of the segment so far.
    pub(super) fn segment_bytes(&self) -> u64 {
        self.durable + self.unsynced() as u64
    }

    /// Whether the seal is written, so that nothing may be appended before [`Log::rotate`] has succeeded.
    pub(super) fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// Whether the last head says less than there is.
    pub(super) fn is_ahead_of_head(&self) -> bool {
        self.vouched.0 != self.position.seq
    }

    pub(super) fn append(&mut self, time: Nanos, schema: Schema, payload: &[u8]) {
        self.index.push(self.segment_bytes(), self.position.seq, time);
        self.position.link = segment::append(&mut self.batch, self.position.seq, time, schema, payload);
        self.position.seq += 1;
        self.tree.push(merkle::leaf(&self.position.link.0));
    }

    pub(super) fn append_gap(&mut self, time: Nanos, gap: &Gap) {
        let mut payload = [0; 64];
        if let Some(length) = gap.encode(&mut payload) {
            self.append(time, Schema::GAP, &payload[..length]);
        }
    }

    /// Hands what is new to the kernel: from here on it survives the process.
    pub(super) fn flush(&mut self) -> Result<(), Trouble> {
        let new = &self.batch[LINK_BYTES + self.written..];
        if new.is_empty() {
            return Ok(());
        }
        let (from, length) = (self.durable + self.written as u64, new.len() as u64);
        if from + length > self.reserved {
            self.reserved = from + length + AUDIT_PREALLOCATE_BYTES;
            self.place.disk.reserve(&self.file, self.reserved);
        }
        self.place.disk.write((&self.file, &self.path), new, from).map_err(trouble("write to", &self.path))?;
        self.written = self.batch.len() - LINK_BYTES;
        Ok(())
    }

    /// Hands everything to the disk: from here on it survives the machine.
    pub(super) fn sync(&mut self) -> Result<(), Trouble> {
        self.flush()?;
        if self.written > 0 {
            if let Err(error) = self.place.disk.sync((&self.file, &self.path)) {
                // What the kernel had may be gone: write it all again.
                self.written = 0;
                return Err(trouble("sync", &self.path)(error));
            }
            self.durable += self.written as u64;
            self.written = 0;
            self.batch.clear();
            self.batch.extend_from_slice(&self.position.link.0);
        }
        if self.unnamed {
            self.place.disk.sync_folder(&self.place.dir).map_err(trouble("sync", &self.place.dir))?;
            self.unnamed = false;
        }
        Ok(())
    }

    /// Gives back the place that the segment does not need.
    pub(super) fn trim(&mut self) -> Result<(), Trouble> {
        self.place.disk.trim(&self.file, &self.path).map_err(trouble("trim", &self.path))
    }

    /// Syncs, then signs a head over what is there.
    pub(super) fn vouch(&mut self, time: Nanos, closed: bool) -> Result<(), Trouble> {
        self.sync()?;
        if self.vouched != (self.position.seq, closed) {
            sign(&self.place, &self.position, time, closed)?;
            self.vouched = (self.position.seq, closed);
        }
        Ok(())
    }

    /// Writes the segment's seal, once.
    pub(super) fn seal(&mut self, time: Nanos) -> Result<(), Trouble> {
        if self.sealed {
            return Ok(());
        }
        // Everything before the seal is on disk before it is, so a seal that can be read stands for bytes that can.
        self.sync()?;
        let Position { id, segment, seq, link } = self.position;
        let (first, root) = (seq - self.tree.leaves(), self.tree.root());
        let signature = self.place.key.sign(seal_text((id, segment), (first, seq), link, root).as_bytes());
        let seal =
            Seal { segment, records: seq, link: link.0, root: root.0, key: self.place.key.public().0, signature };
        let seal = IndexedSeal { seal, index: *self.index.spans() };
        let mut payload = [0; size_of::<ArchivedIndexedSeal>()];
        if let Some(length) = seal.encode(&mut payload) {
            self.append(time, Schema::SEAL, &payload[..length]);
        }
        self.sealed = true;
        Ok(())
    }

    /// Seals, syncs, signs, and begins the next segment. After an error: call again.
    pub(super) fn rotate(&mut self, time: Nanos) -> Result<(), Trouble> {
        self.seal(time)?;
        self.vouch(time, false)?;
        self.place.sealed_through = self.position.segment;
        self.trim()?;
        let (file, path) = create(&self.place, self.position.segment + 1)?;
        (self.file, self.path) = (file, path);
        (self.durable, self.reserved) = (0, 0);
        self.unnamed = true;
        self.sealed = false;
        self.head_segment(time);
        Ok(())
    }

    /// Makes the header of the segment after the present one the first thing of the batch.
    fn head_segment(&mut self, time: Nanos) {
        if self.position.segment > 0 {
            self.place.finished.push(merkle::leaf(&self.position.link.0));
        }
        self.position.segment += 1;
        self.tree.clear();
        self.index = Index::default();
        let Position { id, segment, seq, link } = self.position;
        let header = Header { log: id, segment, first: seq, created: time, previous: link, link };
        let (bytes, link) = header.encode();
        self.position.link = link;
        self.written = 0;
        self.batch.clear();
        self.batch.extend_from_slice(&[0; LINK_BYTES]);
        self.batch.extend_from_slice(&bytes);
        debug_assert_eq!(self.batch.len(), LINK_BYTES + HEADER_BYTES);
    }
}

/// A new segment file. Its number is always new, so an existing one is somebody else's.
fn create(place: &Place, number: u64) -> Result<(File, PathBuf), Trouble> {
    let path = place.dir.join(segment_name(number));
    let file = place.disk.create(&path).map_err(trouble("create", &path))?;
    Ok((file, path))
}

fn sign(place: &Place, position: &Position, time: Nanos, closed: bool) -> Result<(), Trouble> {
    let head = SignedHead {
        log: position.id,
        closed,
        segment: position.segment,
        records: position.seq,
        link: position.link,
        time,
        key: place.key.public(),
    };
    let path = place.heads.join(position.id.to_string());
    place.disk.replace(&path, head.sign(&place.key).as_bytes()).map_err(trouble("replace", &path))?;
    if let Some(outbox) = &place.outbox {
        // Only what this machine's own disk has is told elsewhere.
        let checkpoint = Checkpoint { head, segments: place.finished.leaves(), root: place.finished.root() };
        outbox.leave(checkpoint.sign(&place.key));
    }
    Ok(())
}
