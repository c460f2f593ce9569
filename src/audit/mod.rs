//! One record per decision, and proof that none is missing.
//!
//! The tour, in the order in which a record meets the modules:
//!
//! 1. [`facts`] is what the data plane hands in: borrowed, with times as plain numbers.
//! 2. [`producer`] puts them into the worker's [`ring`] as a [`record`] archive, before the first upstream byte. A full ring and a log that
//!    cannot be written are answers; the caller denies. It may also [`wait`] for room, and for the disk.
//! 3. [`writer`] is one thread: it drains every ring, gives the sequence, links each record to the one before ([`chain`]), appends to
//!    [`segment`] files and signs [`head`]s.
//! 4. [`read`] takes a segment from anywhere and trusts nothing in it; [`verify`] says whether a log is what was written.
//! 5. A seal signs the root of a [`merkle`] tree over its segment, so that a [`proof`] can show one record without the others.
//!
//! Invariants: no allocation, lock, system call or clock on the producer's path; no record without the room for its outcome; no hole in
//! `seq`; no byte of a segment that the chain does not cover. The format is written down in `docs/AUDIT.md`.

pub mod base;
pub mod chain;
pub mod checkpoint;
pub mod consistency;
pub mod facts;
pub mod head;
pub mod merkle;
pub mod outbox;
pub mod producer;
pub mod proof;
pub mod read;
pub mod record;
mod ring;
pub mod segment;
pub mod times;
pub mod verify;
mod wait;
pub mod writer;
#[cfg(test)]
pub(crate) use writer::faults;

#[cfg(any(test, fuzzing))]
#[allow(missing_docs, reason = "for tests and fuzz targets")]
pub mod properties;

pub use facts::{
    DecisionFacts, DecisionId, Inspected, Lifecycle, LifecycleFacts, McpFacts, Mode, Nanos, OutcomeFacts, Protocol,
    Query, Scheme, Topic, Transport, Verdict,
};
pub use producer::{Credit, Producer, Refused, Seat};
pub use wait::{Durability, Durable, OnFull, Room};
pub use writer::{Retention, StartError, Summary, WriteError, Writer, WriterOptions};
