//! How much of a log is kept: the oldest segments go, whole, when there is too much or they are too old.
//!
//! A segment goes only when a seal covers it (its own, or, where a crash ended it, that of a later one), never the one that is being
//! written. First a record and a head say so, then the base takes the place of what goes, then the files go; whatever fails in between is
//! done again at the next occasion, and what is left of a log verifies at every instant.

use std::path::Path;
use std::time::Duration;

use super::super::base::{BASE_FILE, Base};
use super::super::facts::{Lifecycle, Nanos};
use super::super::merkle;
use super::super::read::{self, SegmentFile};
use super::log::Log;
use super::{Trouble, WriterOptions, drain, now, trouble};
use crate::limits::AUDIT_RETIRE_SEGMENTS_MAX;

/// How much of a log is kept. Where nothing is said, all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Octets of all segments. One segment more may be there until the present one is sealed.
    pub bytes: Option<u64>,
    /// Since the last record of a segment.
    pub age: Option<Duration>,
}

/// Retires what is due. Only a log that cannot be written is an error; files that cannot be removed are told of and tried again.
pub(super) fn retire(log: &mut Log, options: &WriterOptions) -> Result<(), Trouble> {
    if options.retention == Retention::default() {
        return Ok(());
    }
    // So that the present segment's header, which says where it begins, can be read.
    log.flush()?;
    if let Some(base) = due(log, options.retention).map_err(trouble("list", log.dir()))? {
        let before = log.base().map_or((1, 0), |base| (base.segment, base.records));
        let detail = format!(
            "retention removes segments {} to {}, records {} to {}",
            before.0,
            base.segment - 1,
            before.1,
            base.records.saturating_sub(1)
        );
        drain::lifecycle(log, options, Lifecycle::Retired, &detail);
        log.vouch(now(), false)?;
        if let Err(trouble) = log.rebase(base) {
            tracing::warn!(%trouble, "old segments of the audit log cannot be removed");
            return Ok(());
        }
    }
    if let Err(trouble) = remove(log) {
        tracing::warn!(%trouble, "old segments of the audit log cannot be removed");
    }
    Ok(())
}

/// Where the log is to begin from now on, if that is a change.
fn due(log: &Log, retention: Retention) -> std::io::Result<Option<Base>> {
    let first = log.base().map_or(1, |base| base.segment);
    let mut segments = read::segments(log.dir())?;
    segments.retain(|segment| segment.number >= first);
    let mut sizes = Vec::new();
    for segment in &segments {
        sizes.push(std::fs::metadata(&segment.path)?.len());
    }
    let mut total: u64 = sizes.iter().sum();
    let mut tree = log.base().map(|base| base.tree.clone()).unwrap_or_default();
    let mut next_base = None;
    for (pair, size) in segments.windows(2).zip(sizes).take(AUDIT_RETIRE_SEGMENTS_MAX) {
        let [segment, next] = pair else { break };
        if segment.number > log.sealed_through() || next.number != segment.number + 1 {
            break;
        }
        // The header that follows was written after the segment's last record.
        let Some(header) = read::header(&next.path)? else { break };
        let is_old = retention.age.is_some_and(|age| Nanos(nanos(age)) < since(header.created));
        let is_much = retention.bytes.is_some_and(|bytes| total > bytes);
        if !is_old && !is_much {
            break;
        }
        total -= size;
        tree.push(merkle::leaf(&header.previous.0));
        next_base = Some((header.segment, header.first, header.previous, tree.clone()));
    }
    Ok(next_base.map(|(segment, records, link, tree)| Base {
        log: log.id(),
        segment,
        records,
        link,
        tree,
        key: log.key(),
    }))
}

/// Removes the files that the base stands for, oldest first.
fn remove(log: &Log) -> Result<(), Trouble> {
    let Some(base) = log.base() else { return Ok(()) };
    let gone = |segment: &SegmentFile| segment.number < base.segment;
    let segments = read::segments(log.dir()).map_err(trouble("list", log.dir()))?;
    for segment in segments.iter().filter(|segment| gone(segment)) {
        log.disk().remove(&segment.path).map_err(trouble("remove", &segment.path))?;
    }
    Ok(())
}

/// The base of the log in `dir`, if it has one; an error says what is wrong with it.
pub(super) fn base(dir: &Path) -> Result<Option<Base>, String> {
    match read::small(&dir.join(BASE_FILE)) {
        Ok(text) => Base::read(&text).map(Some).map_err(|error| error.to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

fn nanos(age: Duration) -> u64 {
    u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)
}

/// How long ago. The wall clock may have been set back, and then nothing is old.
fn since(time: Nanos) -> Nanos {
    Nanos(now().0.saturating_sub(time.0))
}
