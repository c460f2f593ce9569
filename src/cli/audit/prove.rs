//! `ringfence audit prove`: one record, and the way from it to a signed root, so that it can be shown without the rest of the log.

use std::fs::File;
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::filter::parse_id;
use super::{UNVERIFIABLE, complain, escape, grown};
use crate::audit::DecisionId;
use crate::audit::chain::LINK_BYTES;
use crate::audit::consistency::Consistency;
use crate::audit::head::PublicKey;
use crate::audit::merkle::{self, Hash};
use crate::audit::proof::{Proof, Sealed};
use crate::audit::read::{self, Check};
use crate::audit::record::Body;
use crate::audit::segment::Frame;
use crate::audit::verify::public_key;
use crate::limits::{AUDIT_PROOF_BYTES_MAX, AUDIT_PROOF_LEAVES_MAX};

#[derive(Debug, Args)]
pub(super) struct ProveArgs {
    /// The log's folder, or the folder that holds logs
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The decision
    #[arg(value_name = "ID", value_parser = parse_id, required_unless_present = "from")]
    id: Option<DecisionId>,
    /// A checkpoint that an anchor has kept: prove that the log has only grown since
    #[arg(long, value_name = "FILE", requires = "to", conflicts_with = "id")]
    from: Option<PathBuf>,
    /// A later checkpoint, up to which it is proven
    #[arg(long, value_name = "FILE", requires = "from")]
    to: Option<PathBuf>,
}

/// What a segment says about one record.
enum Found {
    /// Proven.
    Proof(Box<Proof>),
    /// It is there, but nothing has signed a root over it.
    Unsealed,
}

pub(super) fn run(args: &ProveArgs) -> io::Result<ExitCode> {
    match (args.id, &args.from, &args.to) {
        (Some(id), ..) => decision(&args.dir, id),
        (None, Some(from), Some(to)) => match grown::prove(&args.dir, from, to)? {
            Ok(proof) => print_proof(&proof.write()),
            Err(why) => {
                complain(&why);
                Ok(ExitCode::FAILURE)
            }
        },
        (None, ..) => Ok(ExitCode::FAILURE),
    }
}

fn print_proof(text: &str) -> io::Result<ExitCode> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn decision(dir: &Path, id: DecisionId) -> io::Result<ExitCode> {
    for log in read::logs(dir)? {
        for segment in read::segments(&log)? {
            match find(&segment.path, id)? {
                Some(Found::Proof(proof)) => return print_proof(&proof.write()),
                Some(Found::Unsealed) => {
                    complain(
                        "the decision is on record, but its segment has no seal (yet): nothing has signed a root over it",
                    );
                    return Ok(ExitCode::from(UNVERIFIABLE));
                }
                None => {}
            }
        }
    }
    complain(&format!("no decision {id} is on record here"));
    Ok(ExitCode::FAILURE)
}

/// Looks for a decision in one segment, and proves it when the segment goes on to its seal.
fn find(path: &Path, id: DecisionId) -> io::Result<Option<Found>> {
    let Ok(mut reader) = read::open(path, Check::Links) else { return Ok(None) };
    let header = *reader.header();
    let (mut leaves, mut found) = (Vec::new(), None);
    loop {
        let previous = reader.link();
        let frame = match reader.next() {
            Ok(Some(frame)) => frame,
            // What is damaged proves nothing; `verify` says what it is.
            Ok(None) | Err(_) => return Ok(found.map(|_| Found::Unsealed)),
        };
        match frame.body() {
            Ok(body)
                if found.is_none() && body.decision().is_some_and(|decision| decision.id == id.0.to_be_bytes()) =>
            {
                found = Some((leaves.len(), frame.seq, previous, octets(&frame)));
            }
            Ok(Body::Seal(seal)) => {
                let sealed = Sealed {
                    log: header.log,
                    segment: header.segment,
                    first: header.first,
                    records: frame.seq,
                    link: previous,
                    root: Hash(seal.root),
                    key: PublicKey(seal.key),
                    signature: seal.signature,
                };
                return Ok(found.and_then(|(index, seq, previous, record)| {
                    let path = merkle::path(&leaves, index)?;
                    Some(Found::Proof(Box::new(Proof { sealed, seq, previous, record, path })))
                }));
            }
            _ => {}
        }
        if leaves.len() == AUDIT_PROOF_LEAVES_MAX {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "more records than a proof is made for"));
        }
        leaves.push(merkle::leaf(&frame.link.0));
    }
}

/// The octets of a record in its file, without its link.
fn octets(frame: &Frame<'_>) -> Vec<u8> {
    let mut chained = vec![0; LINK_BYTES];
    crate::audit::segment::append(&mut chained, frame.seq, frame.time, frame.schema, frame.payload);
    chained[LINK_BYTES..chained.len() - LINK_BYTES].to_vec()
}

/// What `verify` says of a proof: the exit status' rank as for logs, the first word, and a sentence.
pub(super) fn verify(file: &Path, state: &Path) -> (u8, &'static str, String) {
    let mut text = String::new();
    let read = File::open(file).and_then(|file| file.take(AUDIT_PROOF_BYTES_MAX).read_to_string(&mut text));
    if let Err(error) = read {
        return (1, "UNVERIFIABLE", error.to_string());
    }
    let key = match public_key(state) {
        Ok(key) => key,
        Err(why) => return (1, "UNVERIFIABLE", why.to_string()),
    };
    if Consistency::is_one(&text) {
        return grown::verify(&text, &key);
    }
    match Proof::read(&text) {
        Err(why) => (2, "TAMPERED", why.to_string()),
        Ok(proof) if proof.sealed.key != key => {
            (1, "UNVERIFIABLE", "was signed by a key that is not this state folder's".to_owned())
        }
        Ok(proof) => (0, "OK", sentence(&proof)),
    }
}

fn sentence(proof: &Proof) -> String {
    let Sealed { log, segment, key, .. } = proof.sealed;
    let key: String = key.to_string().chars().take(16).collect();
    format!("record {} was in log {log} when segment {segment} was sealed (signed root; key {key})", proof.seq)
}

/// Prints what was found about a proof.
pub(super) fn print(file: &Path, (_, word, sentence): &(u8, &'static str, String)) -> io::Result<()> {
    let line = format!("{word} {}: {sentence}", file.display());
    writeln!(io::stdout().lock(), "{}", escape::terminal(&line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{DecisionFacts, Nanos, Writer, WriterOptions};

    #[test]
    fn proves_each_decision_and_no_changed_one() {
        let root = tempfile::tempdir().unwrap();
        let (dir, state) = (root.path().join("log"), root.path().join("state"));
        let (writer, mut seats) = Writer::start(WriterOptions::new(&dir, &state, 1)).unwrap();
        let producer = seats.pop().unwrap().take();
        let ids: Vec<_> = (0..13).map(|time| producer.deny(Nanos(time), &DecisionFacts::default()).unwrap()).collect();
        drop(producer);
        let segment = dir.join(read::segment_name(1));
        while !find(&segment, ids[12]).unwrap().is_some_and(|found| matches!(found, Found::Unsealed)) {
            std::thread::yield_now();
        }
        writer.finish().unwrap();
        let file = root.path().join("proof");
        for (number, id) in ids.iter().enumerate() {
            let Some(Found::Proof(proof)) = find(&segment, *id).unwrap() else { panic!("no proof") };
            // The first record is the start.
            assert_eq!(proof.seq, number as u64 + 1);
            std::fs::write(&file, proof.write()).unwrap();
            let answer = verify(&file, &state);
            assert_eq!((answer.0, answer.1), (0, "OK"), "{answer:?}");
        }
        assert!(find(&segment, DecisionId(7)).unwrap().is_none());

        let text = std::fs::read(&file).unwrap();
        for at in 0..text.len() {
            let mut changed = text.clone();
            changed[at] ^= 1;
            std::fs::write(&file, changed).unwrap();
            assert_ne!(verify(&file, &state).1, "OK", "octet {at}");
        }
        std::fs::write(&file, &text).unwrap();
        let other = tempfile::tempdir().unwrap();
        assert_eq!(verify(&file, other.path()).1, "UNVERIFIABLE");
        let log = other.path().join("log");
        Writer::start(WriterOptions::new(&log, other.path(), 1)).unwrap();
        assert_eq!(verify(&file, other.path()).1, "UNVERIFIABLE", "signed by another key");
    }
}
