//! Checkpoints reach each kind of place, failure is told and mended, and what arrived shows truncation and rollback.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::audit::checkpoint::Checkpoint;
use crate::audit::record::Body;
use crate::audit::verify::{self, Trust as Believed, Verdict};
use crate::audit::{DecisionFacts, Lifecycle, Nanos, Producer, Writer, WriterOptions, read};
use crate::io::tests::harness::{origin, request, tls_origin};

struct Log {
    root: tempfile::TempDir,
}

impl Log {
    fn new() -> Log {
        Log { root: tempfile::tempdir().unwrap() }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn start(&self, carrier: &Carrier) -> (Writer, Producer) {
        let options = WriterOptions {
            outbox: Some(Arc::clone(carrier.outbox())),
            head_wait: Duration::ZERO,
            ..WriterOptions::new(self.at("log"), self.at("state"), 1)
        };
        let (writer, mut seats) = Writer::start(options).unwrap();
        (writer, seats.pop().unwrap().take())
    }

    fn verify(&self, anchor: &Path) -> Verdict {
        verify::log(&self.at("log"), &Believed { state: self.at("state"), anchor: Some(anchor.to_owned()) })
    }

    /// The words of the lifecycle records.
    fn events(&self) -> Vec<&'static str> {
        let mut found = Vec::new();
        for segment in read::segments(&self.at("log")).unwrap() {
            let mut reader = read::open(&segment.path, read::Check::Links).unwrap();
            while let Some(frame) = reader.next().unwrap() {
                if let Body::Lifecycle(event) = frame.body().unwrap() {
                    found.push(Lifecycle::from_code(event.event).unwrap().word());
                }
            }
        }
        found
    }
}

fn until(what: impl Fn() -> bool) {
    while !what() {
        thread::yield_now();
    }
}

#[test]
fn a_checkpoint_in_a_file_shows_a_rollback_and_a_truncation_that_nothing_else_shows() {
    let log = Log::new();
    let anchor = log.at("anchor");
    let run = || {
        let carrier = Carrier::start(&Anchor::File(anchor.clone()), &Trust::system()).unwrap();
        let (writer, producer) = log.start(&carrier);
        producer.deny(Nanos(1), &DecisionFacts::default()).unwrap();
        drop(producer);
        writer.finish().unwrap();
        carrier.finish();
    };
    run();
    let copy = |from: &str, to: &str| {
        let done = std::process::Command::new("cp").arg("-r").args([log.at(from), log.at(to)]).status().unwrap();
        assert!(done.success());
    };
    copy("log", "old-log");
    copy("state", "old-state");
    let old = std::fs::read(&anchor).unwrap();
    assert!(matches!(log.verify(&anchor), Verdict::Ok(vouched) if vouched.anchor.is_some() && vouched.head.is_some()));
    run();
    assert!(matches!(log.verify(&anchor), Verdict::Ok(vouched) if vouched.records == 8 && vouched.unsigned == 0));
    // An older checkpoint still fits, because the log has only grown.
    std::fs::write(log.at("old-anchor"), old).unwrap();
    assert!(matches!(log.verify(&log.at("old-anchor")), Verdict::Ok(_)));

    // Log and state rolled back together: to everything but the anchor, a log in good order.
    for name in ["log", "state"] {
        std::fs::rename(log.at(name), log.at(&format!("new-{name}"))).unwrap();
        std::fs::rename(log.at(&format!("old-{name}")), log.at(name)).unwrap();
    }
    let alone = verify::log(&log.at("log"), &Believed { state: log.at("state"), anchor: None });
    assert!(matches!(alone, Verdict::Ok(_)), "{alone:?}");
    assert!(matches!(log.verify(&anchor), Verdict::Tampered(_)), "{:?}", log.verify(&anchor));

    // The newest segment deleted, and nothing but the anchor to believe.
    std::fs::remove_dir_all(log.at("state")).unwrap();
    assert!(matches!(log.verify(&anchor), Verdict::Tampered(_)));
    std::fs::rename(log.at("new-log"), log.at("whole")).unwrap();
    let whole = verify::log(&log.at("whole"), &Believed { state: log.at("state"), anchor: Some(anchor.clone()) });
    assert!(matches!(whole, Verdict::Ok(vouched) if vouched.head.is_none()));
}

#[test]
fn a_socket_gets_each_checkpoint_and_its_absence_is_on_record_and_stops_nothing() {
    let log = Log::new();
    let path = log.at("witness.sock");
    let carrier = Carrier::start(&Anchor::Socket(path.clone()), &Trust::system()).unwrap();
    let outbox = Arc::clone(carrier.outbox());
    let (writer, producer) = log.start(&carrier);
    until(|| outbox.delivery().failure.is_some());
    // Nobody is there, and records are taken all the same.
    producer.deny(Nanos(1), &DecisionFacts::default()).unwrap();
    let listener = UnixListener::bind(&path).unwrap();
    let (told, heard) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut note = String::new();
            stream.unwrap().read_to_string(&mut note).unwrap();
            if told.send(note).is_err() {
                return;
            }
        }
    });
    let note = heard.recv().unwrap();
    assert!(Checkpoint::read(&note).is_ok_and(|checkpoint| !checkpoint.head.closed), "{note}");
    until(|| outbox.delivery().failure.is_none());
    // Another turn of the writer puts on record that it is mended.
    until(|| log.events().contains(&"anchored"));
    drop(producer);
    let summary = writer.finish().unwrap();
    carrier.finish();
    let last = heard.try_iter().last().unwrap();
    let last = Checkpoint::read(&last).unwrap();
    assert_eq!((last.head.closed, last.head.records), (true, summary.records));
    assert_eq!(log.events(), ["start", "unanchored", "anchored", "stop"]);
    assert!(outbox.delivery().failures >= 1);
}

#[test]
fn an_https_server_gets_checkpoints_and_only_success_counts() {
    // The first answer is a refusal, so that the same checkpoint, or a newer one, comes again.
    let mut answers = 0;
    let (address, seen, pem) = tls_origin("localhost", move |mut stream| {
        let asked = request(&mut stream);
        answers += 1;
        let answer = if answers == 1 { "HTTP/1.1 503 Busy" } else { "HTTP/1.1 204 No Content" };
        let _ = stream.write_all(format!("{answer}\r\nConnection: close\r\n\r\n").as_bytes());
        stream.conn.send_close_notify();
        let _ = stream.flush();
        asked
    });
    let log = Log::new();
    std::fs::write(log.at("trust.pem"), pem).unwrap();
    let trust = Trust::system().and_file(&log.at("trust.pem")).unwrap();
    let anchor = Anchor::Post {
        host: "localhost".to_owned(),
        port: address.port(),
        authority: format!("localhost:{}", address.port()),
        target: "/add?log=1".to_owned(),
    };
    let carrier = Carrier::start(&anchor, &trust).unwrap();
    let outbox = Arc::clone(carrier.outbox());
    let (writer, producer) = log.start(&carrier);
    until(|| outbox.delivery().deliveries > 0);
    assert_eq!(outbox.delivery().failures, 1);
    let asked = seen.recv().unwrap().unwrap();
    assert!(asked.starts_with("POST /add?log=1 HTTP/1.1\r\nHost: localhost:"), "{asked}");
    assert!(Checkpoint::read(asked.split_once("\r\n\r\n").unwrap().1).is_ok(), "{asked}");
    drop(producer);
    writer.finish().unwrap();
    carrier.finish();
}

#[test]
fn a_server_that_nobody_vouches_for_gets_nothing() {
    let (address, seen) = origin(|mut stream| {
        let mut first = [0; 1];
        let _ = stream.read(&mut first);
        first[0]
    });
    let anchor = Anchor::Post {
        host: "localhost".to_owned(),
        port: address.port(),
        authority: "localhost".to_owned(),
        target: "/".to_owned(),
    };
    let carrier = Carrier::start(&anchor, &Trust::system()).unwrap();
    let outbox = Arc::clone(carrier.outbox());
    outbox.leave("a note".to_owned());
    until(|| outbox.delivery().failure.is_some());
    assert_eq!(seen.recv().unwrap(), 0x16, "a handshake, and no more");
    assert_eq!(outbox.delivery().deliveries, 0);
}
