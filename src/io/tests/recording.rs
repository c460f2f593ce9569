//! What is forwarded while the disk is slow, or refuses: `durability: strict` and `on_full: block`, through a whole worker.

use std::io::{Read, Write};
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::harness::{Proxy, Recorded, origin, request, response};
use super::on_both;
use crate::audit::faults::Faults;
use crate::audit::{Durability, OnFull, WriterOptions};
use crate::io::engine::Choice;

const ALLOW: &str = "  - allow: all\n    host: origin.test\n    scheme: http\n    port: 80\n";
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n";
const DENIED: &[u8] = b"GET / HTTP/1.1\r\nHost: other.test\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

on_both! {
    strict_sends_nothing_up_before_the_disk_has_the_decision
    strict_passes_no_tunnel_on_before_the_disk_has_its_decision
    strict_refuses_what_the_disk_refuses_and_resumes
    block_waits_until_records_are_taken_again
}

fn on(faults: &Faults, durability: Durability, on_full: OnFull) -> impl FnOnce(WriterOptions) -> WriterOptions {
    let faults = faults.clone();
    move |options| WriterOptions { durability, on_full, faults, retry_wait: Duration::from_millis(2), ..options }
}

fn strict_sends_nothing_up_before_the_disk_has_the_decision(choice: Choice) {
    let faults = Faults::default();
    let released = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&released);
    // The origin says of each connection and of each request whether it came after the disk had the decision.
    let (address, when) = origin(move |mut stream| {
        let connected = seen.load(Ordering::Acquire);
        let whole = request(&mut stream).is_some();
        let _ = stream.write_all(OK);
        (connected, whole && seen.load(Ordering::Acquire))
    });
    let proxy = Proxy::start_recording(choice, (address, 80), ALLOW, on(&faults, Durability::Strict, OnFull::Deny));
    faults.hold();
    let mut client = proxy.client();
    client.write_all(GET).unwrap();
    faults.until_one_waits();
    // The worker goes on meanwhile: what is not forwarded waits for no disk.
    for _ in 0..20 {
        assert!(proxy.ask(DENIED).starts_with("HTTP/1.1 403"));
    }
    released.store(true, Ordering::Release);
    faults.release();
    assert!(response(&mut client).unwrap().ends_with("ok"));
    assert_eq!(when.recv().unwrap(), (true, true));
    drop(client);
    let allowed = proxy.stop();
    assert!(matches!(&allowed[0], Recorded::Decision { verdict, .. } if verdict == "allow"), "{allowed:?}");
}

fn strict_passes_no_tunnel_on_before_the_disk_has_its_decision(choice: Choice) {
    const PASSES: &str = "  - allow: pinned\n    host: origin.test\ntls:\n  passthrough: [origin.test]\n";
    let faults = Faults::default();
    let released = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&released);
    let (address, when) = origin(move |mut stream| {
        let connected = seen.load(Ordering::Acquire);
        let mut first = [0; 1];
        (connected, stream.read(&mut first).is_ok() && first == [0x16])
    });
    let proxy = Proxy::start_recording(choice, (address, 443), PASSES, on(&faults, Durability::Strict, OnFull::Deny));
    let roots = Arc::new(rustls::ClientConfig::builder().with_root_certificates(proxy.roots()).with_no_client_auth());
    let mut hello = rustls::ClientConnection::new(roots, "origin.test".try_into().unwrap()).unwrap();
    faults.hold();
    let mut client = proxy.client();
    hello.write_tls(&mut client).unwrap();
    faults.until_one_waits();
    // The worker goes on meanwhile: the stub answers.
    for _ in 0..20 {
        assert!(is_refused_a_name(&proxy));
    }
    released.store(true, Ordering::Release);
    faults.release();
    assert_eq!(when.recv().unwrap(), (true, true));
    drop(client);
    let records = proxy.stop();
    let verdict = |record: &Recorded| matches!(record, Recorded::Decision { verdict, .. } if verdict == "allow");
    assert_eq!(records.iter().filter(|record| verdict(record)).count(), 1, "{records:?}");
}

fn strict_refuses_what_the_disk_refuses_and_resumes(choice: Choice) {
    let faults = Faults::default();
    let (address, when) = origin(|mut stream| {
        let asked = request(&mut stream);
        let _ = stream.write_all(OK);
        asked
    });
    let proxy = Proxy::start_recording(choice, (address, 80), ALLOW, on(&faults, Durability::Strict, OnFull::Deny));
    faults.refuse();
    // The first is recorded in the ring and waits in vain; the next finds a log that is known to be bad.
    for _ in 0..3 {
        let answer = proxy.ask(GET);
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("audit_unavailable"), "{answer}");
    }
    assert!(proxy.audit_failure().is_some_and(|failure| failure.contains("the power is off")));
    assert!(when.try_recv().is_err(), "nothing reached the origin");
    faults.mend();
    while !proxy.ask(GET).starts_with("HTTP/1.1 200") {}
    assert!(when.recv().unwrap().is_some());
    let records = proxy.stop();
    let refused = |record: &&Recorded| matches!(record, Recorded::Outcome { status: 503, code, .. } if code == "audit_unavailable");
    assert_eq!(records.iter().filter(refused).count(), 1, "{records:?}");
}

fn block_waits_until_records_are_taken_again(choice: Choice) {
    let faults = Faults::default();
    let (address, _when) = origin(|mut stream| {
        request(&mut stream);
        let _ = stream.write_all(OK);
    });
    let proxy = Proxy::start_recording(choice, (address, 80), ALLOW, on(&faults, Durability::Batched, OnFull::Block));
    faults.refuse();
    // Recorded in the ring, and forwarded; only then does the writer learn that the disk refuses.
    assert!(proxy.ask(GET).starts_with("HTTP/1.1 200"));
    while proxy.audit_failure().is_none() {
        std::thread::yield_now();
    }
    let mut clients: Vec<_> = (0..3).map(|_| proxy.client()).collect();
    clients.iter_mut().for_each(|client| client.write_all(GET).unwrap());
    // What no request waits for does not wait either: the stub refuses a name, which is a record too.
    assert!(is_refused_a_name(&proxy));
    for client in &clients {
        client.set_nonblocking(true).unwrap();
        assert!(client.peek(&mut [0]).is_err(), "nobody is answered while nothing can be recorded");
        client.set_nonblocking(false).unwrap();
    }
    faults.mend();
    for client in &mut clients {
        assert!(response(client).unwrap().starts_with("HTTP/1.1 200"), "who waits is not refused");
    }
    drop(clients);
    let records = proxy.stop();
    let allowed = |record: &&Recorded| matches!(record, Recorded::Decision { verdict, .. } if verdict == "allow");
    assert_eq!(records.iter().filter(allowed).count(), 4, "{records:?}");
}

/// Asks the stub for a name that no rule admits.
fn is_refused_a_name(proxy: &Proxy) -> bool {
    let stub = UdpSocket::bind("127.0.0.1:0").unwrap();
    stub.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x05other\x04test\x00\x00\x01\x00\x01";
    stub.send_to(query, proxy.stub()).unwrap();
    let mut answer = [0; 512];
    let (length, _) = stub.recv_from(&mut answer).unwrap();
    length > 12 && answer[3] & 0xf == 3
}
