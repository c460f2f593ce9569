//! A fault of ours ends one connection, never passes, never looks like an end in good order, and is on record.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use super::harness::{Proxy, Recorded, origin, request};
use super::on_both;
use crate::io::engine::Choice;

const ALLOW: &str = "  - allow: all\n    host: origin.test\n    scheme: http\n    port: 80\n";

on_both! {
    a_panic_ends_its_connection_and_is_on_record
    a_panic_in_front_of_the_decision_is_on_record
    a_panic_within_a_response_does_not_look_like_its_end
}

fn a_panic_ends_its_connection_and_is_on_record(choice: Choice) {
    let (address, seen) = origin(answer);
    let proxy = Proxy::start(choice, address, 80, ALLOW);
    let mut client = proxy.client();
    client.write_all(b"GET /panics HTTP/1.1\r\nHost: origin.test\r\n\r\n").unwrap();
    assert_eq!(client.read(&mut [0; 1]).unwrap_or(0), 0);
    assert!(seen.try_recv().is_err(), "the request passed");
    // The worker goes on.
    let answer = proxy.ask(b"GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n");
    assert!(answer.ends_with("ok"), "{answer}");
    let records = proxy.stop();
    assert_eq!(records.len(), 4, "{records:?}");
    assert!(
        matches!(&records[..2], [Recorded::Decision { path, .. }, Recorded::Outcome { code, .. }] if path == "/panics" && code == "aborted"),
        "{records:?}"
    );
}

fn a_panic_in_front_of_the_decision_is_on_record(choice: Choice) {
    let (address, seen) = origin(answer);
    let proxy = Proxy::start(choice, address, 80, ALLOW);
    // The second on a connection that has carried a request, whose decision is not this one's.
    for before in ["", "GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n"] {
        let mut client = proxy.client();
        write!(client, "{before}GET /panics-early HTTP/1.1\r\nHost: origin.test\r\n\r\n").unwrap();
        let mut all = Vec::new();
        let _ = client.read_to_end(&mut all);
        let requests = usize::from(!before.is_empty());
        assert_eq!(seen.try_iter().count(), requests, "the request passed");
    }
    assert!(proxy.ask(b"GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n").ends_with("ok"), "the worker goes on");
    let records = proxy.stop();
    let faults: Vec<&Recorded> = records.iter().filter(|record| record.code() == "internal_error").collect();
    assert!(
        matches!(&faults[..], [Recorded::Decision { verdict: a, .. }, Recorded::Decision { verdict: b, .. }] if a == "deny" && b == "deny"),
        "{records:?}"
    );
    let decisions = records.iter().filter(|record| matches!(record, Recorded::Decision { .. })).count();
    assert_eq!(decisions, 4, "one for each request: {records:?}");
}

fn a_panic_within_a_response_does_not_look_like_its_end(choice: Choice) {
    let (told, tell) = std::sync::mpsc::channel::<()>();
    let (address, _seen) = origin(move |mut stream| {
        request(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nall there i").unwrap();
        tell.recv().unwrap();
        let _ = stream.write_all(b"panics");
        let _ = stream.read(&mut [0; 1]);
    });
    let proxy = Proxy::start(choice, address, 80, ALLOW);
    let mut client = proxy.client();
    // For a client of HTTP/1.0 a body ends where its connection does.
    client.write_all(b"GET / HTTP/1.0\r\nHost: origin.test\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let mut octet = [0; 1];
    while !answer.ends_with(b"all there i") {
        assert_eq!(client.read(&mut octet).unwrap(), 1, "{}", answer.escape_ascii());
        answer.push(octet[0]);
    }
    told.send(()).unwrap();
    assert_eq!(client.read(&mut octet).map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
    let records = proxy.stop();
    assert!(records.iter().any(|record| record.code() == "aborted"), "{records:?}");
    assert!(records.iter().all(|record| record.code() != "internal_error"), "it was decided: {records:?}");
}

fn answer(mut stream: TcpStream) {
    if request(&mut stream).is_some() {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }
}
