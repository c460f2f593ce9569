//! `ringfence audit prove --from --to`: that a log has only grown from one checkpoint to another.

use std::io;
use std::path::Path;

use crate::audit::base::{BASE_FILE, Base};
use crate::audit::checkpoint::Checkpoint;
use crate::audit::consistency::Consistency;
use crate::audit::head::PublicKey;
use crate::audit::merkle::{self, Hash, Tree, consistency};
use crate::audit::read::{self, Check, ReadError};
use crate::audit::segment::LogId;
use crate::limits::AUDIT_SEGMENTS_MAX;

/// The proof from one checkpoint's file to another's by the log below `dir`, or why there is none.
pub(super) fn prove(dir: &Path, from: &Path, to: &Path) -> io::Result<Result<Consistency, String>> {
    let (older, from) = checkpoint(from)?;
    let (newer, to) = checkpoint(to)?;
    if older.head.records > newer.head.records {
        return Ok(Err("the checkpoint after --from is newer than the one after --to".to_owned()));
    }
    for log in read::logs(dir)? {
        let Some((gone, kept)) = finished(&log, newer.head.log, newer.segments)? else { continue };
        let Some(path) = consistency::prove(&gone, &kept, older.segments) else {
            let why = format!("{}: segments that the older checkpoint ends in are retired or missing", log.display());
            return Ok(Err(why));
        };
        let proof = Consistency { from, to, path };
        // The log is believed nothing: what it says either leads from one signed root to the other or it does not.
        return Ok(match proof.check() {
            Ok(_) => Ok(proof),
            Err(why) => Err(format!("{}: the proof {why}", log.display())),
        });
    }
    Ok(Err(format!("no log {} is here", newer.head.log)))
}

/// What `verify` says of such a proof: the exit status' rank, the first word, and a sentence.
pub(super) fn verify(text: &str, key: &PublicKey) -> (u8, &'static str, String) {
    let (from, to) = match Consistency::read(text) {
        Ok(both) => both,
        Err(why) => return (2, "TAMPERED", why.to_string()),
    };
    if to.head.key != *key {
        return (1, "UNVERIFIABLE", "was signed by a key that is not this state folder's".to_owned());
    }
    let key: String = key.to_string().chars().take(16).collect();
    let sentence = format!(
        "log {} has only grown: the {} segments finished at {} records are as they were among the {} finished at {} (key {key})",
        to.head.log, from.segments, from.head.records, to.segments, to.head.records
    );
    (0, "OK", sentence)
}

fn checkpoint(path: &Path) -> io::Result<(Checkpoint, String)> {
    let say = |what: String| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}", path.display()));
    let text = read::small(path).map_err(|error| say(error.to_string()))?;
    let read = Checkpoint::read(&text).map_err(|_| say("is not a checkpoint that its key has signed".to_owned()))?;
    Ok((read, text))
}

/// The tree over the segments that retention has removed, and the leaves of those that are kept, up to the `segments`th. `None` when the
/// log in this folder is another one.
fn finished(log: &Path, id: LogId, segments: u64) -> io::Result<Option<(Tree, Vec<Hash>)>> {
    if segments > AUDIT_SEGMENTS_MAX as u64 {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "more segments than a log has"));
    }
    let base = read::small(&log.join(BASE_FILE)).ok().and_then(|text| Base::read(&text).ok());
    let (first, gone) = match base.filter(|base| base.log == id) {
        Some(base) => (base.segment, base.tree),
        None => (1, Tree::default()),
    };
    let mut kept = Vec::new();
    for number in first..=segments {
        let path = log.join(read::segment_name(number));
        // The next segment says in its header where this one ended.
        let next = read::open(&log.join(read::segment_name(number + 1)), Check::Sums);
        let link = match next {
            Ok(next) if next.header().log == id => next.header().previous,
            Ok(_) => return Ok(None),
            Err(_) => match end(&path, id) {
                Ok(Some(link)) => link,
                Ok(None) => return Ok(None),
                // Nothing is proven by what is not there; the caller says so.
                Err(_) => break,
            },
        };
        kept.push(merkle::leaf(&link.0));
    }
    Ok(Some((gone, kept)))
}

/// The last link of a segment.
fn end(path: &Path, id: LogId) -> Result<Option<crate::audit::chain::Link>, ReadError> {
    let mut reader = read::open(path, Check::Links)?;
    while reader.next()?.is_some() {}
    Ok((reader.header().log == id).then(|| reader.link()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::*;
    use crate::audit::outbox::Outbox;
    use crate::audit::{DecisionFacts, Nanos, Writer, WriterOptions};

    /// One more life of a log; the last checkpoint that it leaves for its anchor.
    fn live(root: &Path) -> PathBuf {
        let outbox = Arc::new(Outbox::default());
        let options = WriterOptions::new(root.join("log"), root.join("state"), 1);
        let (writer, mut seats) = Writer::start(WriterOptions { outbox: Some(outbox.clone()), ..options }).unwrap();
        seats.pop().unwrap().take().deny(Nanos(1), &DecisionFacts::default()).unwrap();
        writer.finish().unwrap();
        let kept = (1..).map(|number| root.join(format!("kept-{number}"))).find(|path| !path.exists()).unwrap();
        fs::write(&kept, outbox.take().unwrap()).unwrap();
        kept
    }

    #[test]
    fn proves_that_a_log_has_grown_from_each_checkpoint_to_each_later_one() {
        let root = tempfile::tempdir().unwrap();
        let log = root.path().join("log");
        let key = || crate::audit::verify::public_key(&root.path().join("state")).unwrap();
        let checkpoints: Vec<_> = (0..6).map(|_| live(root.path())).collect();
        for (number, to) in checkpoints.iter().enumerate() {
            for from in &checkpoints[..=number] {
                let text = prove(&log, from, to).unwrap().unwrap().write();
                let answer = verify(&text, &key());
                assert_eq!((answer.0, answer.1), (0, "OK"), "{answer:?}");
            }
        }
        let back = prove(&log, &checkpoints[5], &checkpoints[1]).unwrap();
        assert!(back.unwrap_err().contains("newer"), "a log does not grow backwards");

        let text = prove(&log, &checkpoints[2], &checkpoints[4]).unwrap().unwrap().write();
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] ^= 1;
            if let Ok(changed) = String::from_utf8(changed) {
                assert_ne!(verify(&changed, &key()).1, "OK", "octet {at}");
            }
        }
        assert_eq!(verify(&text, &PublicKey([1; 32])).1, "UNVERIFIABLE", "signed by another key");
    }

    #[test]
    fn proves_nothing_of_a_log_that_was_rewritten_under_the_same_key() {
        let root = tempfile::tempdir().unwrap();
        let before: Vec<_> = (0..3).map(|_| live(root.path())).collect();
        // Whoever holds the key begins the log anew, under its old name: only the name of the log tells, so that is kept as well.
        let id = Checkpoint::read(&fs::read_to_string(&before[0]).unwrap()).unwrap().head.log;
        fs::remove_dir_all(root.path().join("log")).unwrap();
        let after: Vec<_> = (0..4).map(|_| live(root.path())).collect();
        let newer = Checkpoint::read(&fs::read_to_string(&after[3]).unwrap()).unwrap();
        assert_ne!(newer.head.log, id);
        let why = prove(&root.path().join("log"), &before[2], &after[3]).unwrap().unwrap_err();
        assert!(why.contains("two logs"), "{why}");
    }
}
