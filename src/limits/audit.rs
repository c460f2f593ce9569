//! The bounds of the audit log: rings, records, segments, readers.

use std::time::Duration;

/// Longest text of a decision record other than its path and query (agent, rule, reason, code, …), in octets; longer ones are cut at a
/// character and the record says so.
pub const AUDIT_TEXT_BYTES_MAX: usize = 1024;
/// Longest text of an outcome record. Small, because room for every outcome is held back in the ring while its exchange runs.
pub const AUDIT_OUTCOME_TEXT_BYTES_MAX: usize = 160;
/// Longest payload of one record.
pub const AUDIT_RECORD_BYTES_MAX: usize = 32 * 1024;
/// Ring bytes held back for one outcome, header included: what an allowed exchange costs of its ring until it ends.
pub const AUDIT_CREDIT_BYTES: usize = 512;
/// Ring of one worker. At 300 octets a record, 13,000 records wait while the disk is busy; 4,000 exchanges under way hold half of it.
pub const AUDIT_RING_BYTES: usize = 4 * 1024 * 1024;
/// Smallest ring: a few of the longest records and some outcomes.
pub const AUDIT_RING_BYTES_MIN: usize = 128 * 1024;
/// Largest ring.
pub const AUDIT_RING_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// Most rings that one writer drains.
pub const AUDIT_RINGS_MAX: usize = 1024;
/// Most entries of the folder of ring files that a start looks at; each killed process leaves one until its log's next start.
pub const AUDIT_RING_FILES_MAX: usize = 100_000;
/// Most logs of other killed writers that one start puts in order.
pub const AUDIT_ORPHANS_MAX: usize = 16;
/// Bytes taken from one ring before the next has its turn, and before the producer sees the room again.
pub const AUDIT_DRAIN_BYTES: usize = 256 * 1024;
/// Bytes that the writer keeps in memory until the disk has confirmed them; it stops draining beyond.
pub const AUDIT_BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Group commit by size: a sync follows at the latest after so many bytes.
pub const AUDIT_SYNC_BYTES: usize = 4 * 1024 * 1024;
/// Group commit by time: what a power cut may cost in `batched` durability, plus the time of one sync.
pub const AUDIT_SYNC_WAIT: Duration = Duration::from_millis(10);
/// By how much the wall clock may differ from what has passed before that is put on record: what is slewed differs by less.
pub const AUDIT_CLOCK_STEP: Duration = Duration::from_secs(1);
/// A signed head follows a record at the latest after this long.
pub const AUDIT_HEAD_WAIT: Duration = Duration::from_secs(1);
/// Longest path of an inclusion proof: a tree with more leaves than numbers go.
pub const AUDIT_PROOF_STEPS_MAX: usize = 64;
/// Most records of a segment that a proof is made for; each takes 32 octets of memory meanwhile.
pub const AUDIT_PROOF_LEAVES_MAX: usize = 8 * 1024 * 1024;
/// Longest proof that is read: the longest record and its path, in hexadecimal digits.
pub const AUDIT_PROOF_BYTES_MAX: u64 = 128 * 1024;
/// Size at which a segment is sealed and the next one begun.
pub const AUDIT_SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
/// Age at which a segment is sealed and the next one begun, unless it is empty.
pub const AUDIT_SEGMENT_AGE: Duration = Duration::from_secs(24 * 3600);
/// Stretches of a segment that the index of its seal tells apart by time; even, because neighbours are joined when it is full.
pub const AUDIT_INDEX_SPANS: usize = 64;
/// The shortest of these stretches. A full segment has stretches of 1 MiB.
pub const AUDIT_INDEX_SPAN_BYTES_MIN: u64 = 64 * 1024;
/// Room that a segment's file has on the disk beyond what is written.
pub const AUDIT_PREALLOCATE_BYTES: u64 = 8 * 1024 * 1024;
/// Smallest log that retention may leave: two segments.
pub const AUDIT_RETENTION_BYTES_MIN: u64 = 2 * AUDIT_SEGMENT_BYTES;
/// Longest age that retention may be told, so that it is a number of nanoseconds: a hundred years.
pub const AUDIT_RETENTION_AGE_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// Most segments that one turn of the writer removes.
pub const AUDIT_RETIRE_SEGMENTS_MAX: usize = 64;
/// Most signatures of a checkpoint that is read: the log's own and those of witnesses.
pub const AUDIT_NOTE_SIGNATURES_MAX: usize = 16;
/// How long one attempt to hand a checkpoint to the anchor may take, for each of connecting, writing and reading.
pub const AUDIT_ANCHOR_WAIT: Duration = Duration::from_secs(5);
/// Between two attempts after the anchor refused.
pub const AUDIT_ANCHOR_RETRY_WAIT: Duration = Duration::from_secs(1);
/// How long a proxy that stops waits for its last checkpoint to be delivered.
pub const AUDIT_ANCHOR_FINISH_WAIT: Duration = Duration::from_secs(10);
/// Longest answer of an anchor that is looked at: its status line.
pub const AUDIT_ANCHOR_ANSWER_BYTES_MAX: u64 = 4096;
/// How long a request waits for room with `on_full: block` before it is refused.
pub const AUDIT_BLOCK_WAIT: Duration = Duration::from_secs(60);
/// Largest segment that a reader takes for one.
pub const AUDIT_SEGMENT_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Most segments of one log that a reader lists, and most logs under one parent.
pub const AUDIT_SEGMENTS_MAX: usize = 1_000_000;
/// Block that a reader asks the file for.
pub const AUDIT_READ_BYTES: usize = 256 * 1024;
/// What a turn of the writer should find: with less the pause before the next grows.
pub const AUDIT_DRAIN_AIM_BYTES: usize = 64 * 1024;
/// The writer's shortest and longest pause between turns. The longest, times the highest record rate, must fit a ring.
pub const AUDIT_POLL_MIN: Duration = Duration::from_micros(50);
/// See [`AUDIT_POLL_MIN`].
pub const AUDIT_POLL_MAX: Duration = Duration::from_millis(5);
/// Between two looks of `decode --follow` for what is new.
pub const AUDIT_FOLLOW_WAIT: Duration = Duration::from_millis(100);
/// Records that `decode --follow` reads of one log before it looks at the next, and whether it shall end.
pub const AUDIT_FOLLOW_RECORDS: usize = 4096;
/// Most rules, hosts, agents or codes that `stats` tells apart; what comes later is counted together.
pub const AUDIT_STATS_KEYS_MAX: usize = 100_000;
/// Most selected decisions whose outcome `stats` waits for; outcomes of later ones are not counted.
pub const AUDIT_STATS_OPEN_MAX: usize = 1_000_000;
/// Rows of a Parquet row group, which an export holds in memory.
pub const AUDIT_EXPORT_ROWS: usize = 65_536;
/// Records of one request to an OTLP collector.
pub const AUDIT_EXPORT_SEND_RECORDS: usize = 1_000;
/// How long an OTLP collector has for one request, and the longest pause that it may ask for.
pub const AUDIT_EXPORT_SEND_WAIT: Duration = Duration::from_secs(30);
/// How often a request is sent to a collector that is busy or cannot be reached.
pub const AUDIT_EXPORT_ATTEMPTS: u32 = 5;
/// The first pause between two of these attempts; each next one is twice as long.
pub const AUDIT_EXPORT_RETRY_WAIT: Duration = Duration::from_millis(500);
/// Between two attempts to write after the disk refused.
pub const AUDIT_RETRY_WAIT: Duration = Duration::from_millis(200);
/// At shutdown: how long the writer waits for producers that still live and for a disk that still refuses.
pub const AUDIT_FINISH_WAIT: Duration = Duration::from_secs(5);
/// Longest signed head, base, checkpoint, key or lock file that is read: a base of a large tree with its 64 peaks, a note with many
/// signatures.
pub const AUDIT_HEAD_FILE_BYTES_MAX: u64 = 8192;
