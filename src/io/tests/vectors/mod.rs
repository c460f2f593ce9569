//! Every vector of `tests/vectors`, over real connections: what is answered, what is on record, and what an origin receives.
//!
//! By default each vector runs whole, and cut in two at some places that differ from vector to vector; `RINGFENCE_VECTORS=all` cuts each
//! short one everywhere. After every hostile vector the origin must have seen nothing, after every benign one exactly what stands in the table.

mod table;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use rustls::{ClientConnection, ServerConnection, StreamOwned};

use super::harness::{HOST, Proxy, Recorded};
use super::on_both;
use crate::audit::Mode;
use crate::io::door::{Entrance, Kind};
use crate::io::engine::Choice;
use table::{Expected, Vector, vectors};

const RULES: &str = "  - allow: ordinary\n    host: origin.test\n    method: [GET, HEAD, POST, PUT, DELETE, OPTIONS]\n  - deny: secrets\n    path: /secret/**\n";
/// What the origin answers to everything; without a body, so that it fits HEAD too.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
/// Refused at every door without a delay, and the connection stays.
const BARRIER: &[u8] = b"GET http://169.254.169.254/ HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n";
/// Longer vectors are not cut everywhere.
const SHORT: usize = 400;

on_both! {
    every_vector_in_the_clear
    every_vector_under_tls
    every_vector_to_a_known_proxy
    every_vector_where_everything_is_allowed
}

#[test]
fn there_are_vectors_for_hundreds_of_ways() {
    let mut sent: Vec<(char, Vec<u8>)> = vectors().into_iter().map(|vector| (vector.place, vector.sent)).collect();
    let hostile = vectors().iter().filter(|vector| vector.received.is_empty()).count();
    let all = sent.len();
    sent.sort();
    sent.dedup();
    assert!(sent.len() >= 900 && hostile >= 700, "{} distinct of {all}, {hostile} hostile", sent.len());
}

fn every_vector_in_the_clear(choice: Choice) {
    let origin = Origin::start(None);
    let proxy = Proxy::start(choice, origin.address, 80, RULES);
    run(proxy, &origin, &of(&['*', 'p']), |proxy| Box::new(Clear(proxy.client())));
}

fn every_vector_under_tls(choice: Choice) {
    let (trust, config) = crate::io::demo_certificate(HOST).unwrap();
    let origin = Origin::start(Some(config));
    let proxy = Proxy::start_tls(choice, origin.address, &trust, RULES);
    run(proxy, &origin, &of(&['*', 't']), |proxy| Box::new(Tls(proxy.tls_client(HOST))));
}

fn every_vector_to_a_known_proxy(choice: Choice) {
    let origin = Origin::start(None);
    let entrance = Entrance { mode: Mode::Proxy, kind: Kind::Proxy, from: None, agent: None };
    let proxy = Proxy::start_at(choice, entrance, origin.address, RULES);
    run(proxy, &origin, &of(&['x']), |proxy| Box::new(Clear(proxy.client())));
}

fn every_vector_where_everything_is_allowed(choice: Choice) {
    let rules = "  - allow: everything\n    host: \"*\"\n    port: [80, 443]\n";
    let origin = Origin::start(None);
    let proxy = Proxy::start(choice, origin.address, 80, rules);
    run(proxy, &origin, &of(&['P']), |proxy| Box::new(Clear(proxy.client())));
    let entrance = Entrance { mode: Mode::Proxy, kind: Kind::Proxy, from: None, agent: None };
    let proxy = Proxy::start_at(choice, entrance, origin.address, rules);
    run(proxy, &origin, &of(&['X']), |proxy| Box::new(Clear(proxy.client())));
}

fn of(places: &[char]) -> Vec<Vector> {
    vectors().into_iter().filter(|vector| places.contains(&vector.place)).collect()
}

/// Runs the vectors one after the other and checks everything.
fn run(proxy: Proxy, origin: &Origin, vectors: &[Vector], client: impl Fn(&Proxy) -> Box<dyn Client>) {
    let everywhere = std::env::var_os("RINGFENCE_VECTORS").is_some_and(|value| value == "all");
    let mut barrier = proxy.client();
    let mut expected = BTreeMap::new();
    for (index, vector) in vectors.iter().enumerate() {
        for cut in cuts(vector, index, everywhere) {
            let mut client = client(&proxy);
            if cut > 0 {
                client.send(&vector.sent[..cut]);
                // The worker takes what comes in order: when it has answered this, it has the first part.
                barrier.write_all(BARRIER).unwrap();
                assert!(super::harness::response(&mut barrier).unwrap().starts_with("HTTP/1.1 403 "));
                *expected.entry("metadata".to_owned()).or_insert(0) += 1;
            }
            client.send(&vector.sent[cut..]);
            if vector.ends {
                client.finish();
            }
            check(vector, cut, client, origin);
            for answer in &vector.expected {
                *expected.entry(answer.code.clone().unwrap_or_default()).or_insert(0) += 1;
            }
        }
    }
    drop(barrier);
    let records = proxy.stop();
    let counted = |code: &str| records.iter().filter(|record| record.code() == code).count();
    for (code, count) in expected.iter().filter(|(code, _)| !["", "-"].contains(&&***code)) {
        assert_eq!(counted(code), *count, "records that say {code}");
    }
    let decisions = records.iter().filter(|record| matches!(record, Recorded::Decision { .. })).count();
    assert_eq!(decisions, expected.values().sum::<usize>(), "one decision for each request");
    assert!(origin.whole.try_recv().is_err(), "the origin received a request that stands in no table");
}

/// Where a vector is cut; 0 is nowhere.
fn cuts(vector: &Vector, index: usize, everywhere: bool) -> Vec<usize> {
    let length = vector.sent.len();
    if vector.whole || length < 2 {
        return vec![0];
    }
    if everywhere && length <= SHORT {
        return (0..length).collect();
    }
    let mut cuts = vec![0, 1 + (index * 7) % (length - 1), length - 1 - (index * 3) % (length.min(40) - 1)];
    cuts.dedup();
    cuts
}

/// Reads the answers and what the origin received.
fn check(vector: &Vector, cut: usize, mut client: Box<dyn Client>, origin: &Origin) {
    let shown = &vector.sent[..vector.sent.len().min(SHORT)];
    let what = || format!("{} cut at {cut}: {}", vector.source, shown.escape_ascii());
    for Expected { status, code } in &vector.expected {
        let Some(status) = status else { break };
        let answer = answer(&mut *client).unwrap_or_else(|| panic!("no answer to {}", what()));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{} was answered {answer}", what());
        let Some(code) = code else { continue };
        match code.as_str() {
            "-" => assert!(!answer.contains(r#""code":"#), "{} was answered {answer}", what()),
            code => assert!(answer.contains(&format!(r#""code":"{code}""#)), "{} was answered {answer}", what()),
        }
        assert_eq!(
            answer.contains("connection: close"),
            *status != 403 || answer.contains("connection: close"),
            "{}",
            what()
        );
    }
    let last = vector.expected.last().unwrap();
    if last.status != Some(200) && last.status != Some(403) {
        assert!(client.is_over(), "the connection goes on after {}", what());
    }
    for received in &vector.received {
        let seen =
            origin.whole.recv_timeout(Duration::from_secs(10)).unwrap_or_else(|_| panic!("nothing came of {}", what()));
        assert!(joined(&seen) == joined(received), "{} arrived as {}", what(), seen.escape_ascii());
    }
    assert!(origin.whole.try_recv().is_err(), "the origin received more than its share of {}", what());
}

/// The message with the chunks of its body in one.
fn joined(message: &[u8]) -> Vec<u8> {
    let head = memchr::memmem::find(message, b"\r\n\r\n").unwrap() + 4;
    if memchr::memmem::find(&message[..head], b"\r\nTransfer-Encoding: chunked\r\n").is_none() {
        return message.to_vec();
    }
    let (mut all, mut rest) = (message[..head].to_vec(), &message[head..]);
    while let Some(end) = memchr::memmem::find(rest, b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        all.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 4 + size..];
    }
    all
}

/// One answer with its body.
fn answer(client: &mut dyn Client) -> Option<String> {
    super::harness::response(&mut Reading(client))
}

struct Reading<'c>(&'c mut dyn Client);

impl Read for Reading<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.0.receive(into)
    }
}

/// A client in the clear or under TLS. A proxy that has refused may not read on, so that writing may fail.
trait Client {
    fn send(&mut self, bytes: &[u8]);
    fn finish(&mut self);
    fn receive(&mut self, into: &mut [u8]) -> std::io::Result<usize>;

    /// Whether nothing follows, not even a byte.
    fn is_over(&mut self) -> bool {
        self.finish();
        match self.receive(&mut [0; 1]) {
            Ok(read) => read == 0,
            Err(error) => !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
        }
    }
}

struct Clear(TcpStream);

impl Client for Clear {
    fn send(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes);
    }

    fn finish(&mut self) {
        let _ = self.0.shutdown(Shutdown::Write);
    }

    fn receive(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(into)
    }
}

struct Tls(StreamOwned<ClientConnection, TcpStream>);

impl Client for Tls {
    fn send(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes).and_then(|()| self.0.flush());
    }

    fn finish(&mut self) {
        self.0.conn.send_close_notify();
        let _ = self.0.flush();
        let _ = self.0.sock.shutdown(Shutdown::Write);
    }

    fn receive(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(into)
    }
}

/// An origin that understands nothing but what the proxy may write, and says what it received.
struct Origin {
    address: SocketAddr,
    /// Every whole request.
    whole: Receiver<Vec<u8>>,
}

impl Origin {
    fn start(tls: Option<Arc<rustls::ServerConfig>>) -> Origin {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (told, whole) = channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, told, tls) = (stream.unwrap(), told.clone(), tls.clone());
                stream.set_nodelay(true).unwrap();
                thread::spawn(move || match tls {
                    None => serve(stream, &told),
                    Some(config) => serve(StreamOwned::new(ServerConnection::new(config).unwrap(), stream), &told),
                });
            }
        });
        Origin { address, whole }
    }
}

fn serve(mut stream: impl Read + Write, told: &Sender<Vec<u8>>) {
    let own = format!("Via: 1.1 {}\r\n", crate::io::via::pseudonym());
    while let Some(mut request) = whole_request(&mut stream) {
        // Sent to loopback only; it has a claim of its own.
        let at = memchr::memmem::find(&request, own.as_bytes()).unwrap();
        request.drain(at..at + own.len());
        if told.send(request).is_err() || stream.write_all(ANSWER).and_then(|()| stream.flush()).is_err() {
            return;
        }
    }
}

/// A request with its body; `None` where the connection ends before it does.
fn whole_request(stream: &mut impl Read) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    until(stream, &mut bytes, b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
    if let Some(length) = head.lines().find_map(|line| line.strip_prefix("content-length: ")) {
        let mut body = vec![0; usize::try_from(length.parse::<u64>().ok()?.min(1 << 20)).ok()?];
        stream.read_exact(&mut body).ok()?;
        bytes.extend_from_slice(&body);
    } else if head.contains("\r\ntransfer-encoding: chunked\r\n") {
        loop {
            let start = bytes.len();
            until(stream, &mut bytes, b"\r\n")?;
            let line = std::str::from_utf8(&bytes[start..]).ok()?.trim_end();
            let size = usize::from_str_radix(line, 16).unwrap_or_else(|_| panic!("a size line that says {line}"));
            let mut data = vec![0; size + 2];
            stream.read_exact(&mut data).ok()?;
            bytes.extend_from_slice(&data);
            if size == 0 {
                break;
            }
        }
    }
    Some(bytes)
}

fn until(stream: &mut impl Read, bytes: &mut Vec<u8>, end: &[u8]) -> Option<()> {
    let from = bytes.len();
    let mut octet = [0; 1];
    while !bytes[from..].ends_with(end) {
        if stream.read(&mut octet).unwrap_or(0) == 0 {
            return None;
        }
        bytes.push(octet[0]);
    }
    Some(())
}
