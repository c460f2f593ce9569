//! What hostile clients cost, in figures: processor time, memory, and the waits of somebody who behaves.
//!
//! Ignored by default: these measure, for minutes, and want a quiet machine. `docs/THREATS-HTTP.md` has the commands. With
//! `RINGFENCE_MEASURE=small` they run in seconds, print their figures, and hold them against nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "in tests a broken assumption is a failure")]
#![allow(clippy::print_stdout, reason = "the figures are what these are for")]

#[path = "hostile/clients.rs"]
mod clients;
#[path = "hostile/site.rs"]
mod site;
#[path = "../tests/util/mod.rs"]
mod util;

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use nix::time::ClockId;

use clients::{FLOOD, Latencies, Slow, hello, steady};
use ringfence::limits::{CLIENT_HELLO_BYTES_MAX, HEAD_BYTES_MAX};
use ringfence::parse::Progress;
use ringfence::parse::head::Scan;
use site::Site;

/// Whether the figures are held against what is claimed.
fn counts() -> bool {
    std::env::var_os("RINGFENCE_MEASURE").is_none_or(|value| value != "small")
}

/// The whole measure, or the small one.
fn size<T>(whole: T, small: T) -> T {
    if counts() { whole } else { small }
}

fn claim(holds: bool, what: &str) {
    println!("  {what}: {}", if holds { "holds" } else { "does not hold" });
    assert!(holds || !counts(), "{what}");
}

#[test]
#[ignore = "measures"]
fn a_head_of_32_kib_a_byte_at_a_time_costs_little() {
    let head = long_head("origin.test");
    let started = cpu_of_this_thread();
    let mut scan = Scan::default();
    for end in 1..=head.len() {
        assert_eq!(scan.find(&head[..end]).unwrap() == Progress::Done(head.len()), end == head.len());
    }
    let parser = cpu_of_this_thread() - started;
    println!("{} octets of head, one at a time", head.len());
    println!("  the parser: {:.3} ms", parser.as_secs_f64() * 1e3);
    claim(parser <= Duration::from_millis(50), "at most 50 ms in the parser");

    // The whole process as well, which the kernel could wake for each octet.
    let site = Site::start("head: 600");
    let head = long_head(&site.host());
    let mut client = site.connect(FLOOD);
    let before = site.cpu();
    for octet in &head {
        client.write_all(&[*octet]).unwrap();
        std::thread::sleep(Duration::from_micros(20));
    }
    assert!(clients::answered(&mut client), "the head was not understood");
    let spent = site.cpu() - before;
    println!("  the process, entries into the kernel included: {:.1} ms", spent.as_secs_f64() * 1e3);
    claim(spent <= Duration::from_millis(50), "at most 50 ms in the process");
}

/// As long as a head may be, in fields of ordinary length.
fn long_head(host: &str) -> Vec<u8> {
    let mut head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n").into_bytes();
    for n in 0..80 {
        let room = (HEAD_BYTES_MAX - 2 - head.len()) / (80 - n);
        head.extend_from_slice(format!("X-{n:02}: {}\r\n", "v".repeat(room - 8)).as_bytes());
    }
    head.extend_from_slice(b"\r\n");
    assert!(head.len() > HEAD_BYTES_MAX - 100 && head.len() <= HEAD_BYTES_MAX);
    head
}

fn cpu_of_this_thread() -> Duration {
    Duration::from(ClockId::CLOCK_THREAD_CPUTIME_ID.now().unwrap())
}

#[test]
#[ignore = "measures"]
fn memory_is_a_small_multiple_of_what_is_not_acknowledged() {
    let connections = size(500, 50);
    println!("{connections} connections of each kind; growth of anonymous memory");
    let idle = of_idle(connections);
    println!("  nothing sent                       {:6.1} KiB each", idle as f64 / 1024.0);
    for (what, bytes) in unfinished() {
        let site = Site::start("head: 600, handshake: 300, connections_per_agent: 20000");
        let before = site.memory();
        let mut held: Vec<TcpStream> = (0..connections).map(|_| site.connect(FLOOD)).collect();
        held.iter_mut().for_each(|client| client.write_all(&bytes(&site.host())).unwrap());
        let sent = bytes(&site.host()).len();
        grown(what, &site, before, connections, idle, (connections * sent) as u64);
    }
    for (what, head) in [
        ("a response that is not read", "GET /endless HTTP/1.1\r\n"),
        ("a response in chunks that is not read", "GET /chunks HTTP/1.1\r\n"),
    ] {
        let site = Site::start("connections_per_agent: 20000");
        let before = site.memory();
        let mut held: Vec<TcpStream> = (0..connections).map(|_| site.connect(FLOOD)).collect();
        held.iter_mut().for_each(|client| write!(client, "{head}Host: {}\r\n\r\n", site.host()).unwrap());
        // What the origin got rid of and nobody has taken: in the kernel's buffers and in ours.
        grown(what, &site, before, connections, idle, site.stalled());
    }
    let site = Site::start("connections_per_agent: 20000");
    let before = site.memory();
    let mut held: Vec<TcpStream> = (0..connections).map(|_| site.connect(FLOOD)).collect();
    let sent = clients::fill(&mut held, "/unread", &site.host());
    grown("a request that the origin does not read", &site, before, connections, idle, sent);
}

fn of_idle(connections: usize) -> u64 {
    let site = Site::start("head: 600, connections_per_agent: 20000");
    let before = site.memory();
    let held: Vec<TcpStream> = (0..connections).map(|_| site.connect(FLOOD)).collect();
    let grown = site.settled_memory().saturating_sub(before);
    drop(held);
    grown / connections as u64
}

/// Messages that never become whole.
type Unfinished = (&'static str, fn(&str) -> Vec<u8>);
fn unfinished() -> [Unfinished; 4] {
    [
        ("the first octet of a request", |_| b"G".to_vec()),
        ("31 KiB of a head", |host| long_head(host)[..31 * 1024].to_vec()),
        ("a ClientHello short of its end", |_| {
            let length = CLIENT_HELLO_BYTES_MAX - 512;
            let size = |n: usize| u16::try_from(n).unwrap().to_be_bytes();
            let mut hello = [&[22, 3, 1][..], &size(length), &[1, 0], &size(length - 4), &[3, 3]].concat();
            hello.resize(length - 16, 0);
            hello
        }),
        ("a length of 2^62 and 1 KiB of body", |host| {
            let body = "x".repeat(1024);
            format!("POST /unread HTTP/1.1\r\nHost: {host}\r\nContent-Length: 4611686018427387904\r\n\r\n{body}")
                .into_bytes()
        }),
    ]
}

fn grown(what: &str, site: &Site, before: u64, connections: usize, idle: u64, unacknowledged: u64) {
    let grown = site.settled_memory().saturating_sub(before);
    let over = grown.saturating_sub(idle * connections as u64);
    let each = |bytes: u64| bytes as f64 / connections as f64 / 1024.0;
    let (own, theirs, factor) = (each(grown), each(unacknowledged), over as f64 / unacknowledged as f64);
    if theirs < 1.0 {
        // A few octets cannot be a multiple: there a connection's fixed budget is what counts.
        println!("  {what:41} {own:6.1} KiB each");
        return claim(own <= 16.0, "at most 16 KiB a connection");
    }
    println!("  {what:41} {own:6.1} KiB each, {theirs:8.1} KiB unacknowledged, {factor:5.2} times");
    claim(factor <= 8.0, "at most 8 times");
}

#[test]
#[ignore = "measures"]
fn a_flood_of_names_neither_grows_memory_nor_stalls_others() {
    let names = size(100_000, 2_000);
    let site = Site::start("connections_per_agent: 20000");
    let calm = steady(&site, size(Duration::from_secs(10), Duration::from_secs(1)));
    calm.print("alone");
    let before = site.settled_memory();
    for (what, one) in [
        ("TLS names", (|site, n| hello(site, &format!("h{n}.wild.test"))) as fn(&Site, usize) -> bool),
        ("DNS names", |site, n| clients::ask(site, &format!("n{n}.wild.test"))),
    ] {
        let started = Instant::now();
        let (granted, flooded) = std::thread::scope(|scope| {
            let flood = scope.spawn(|| {
                // What is measured is the proxy, not how two cores are shared with whoever floods.
                clients::step_back();
                (0..names).filter(|n| one(&site, *n)).count()
            });
            let flooded = clients::steady_while(&site, || !flood.is_finished());
            (flood.join().unwrap(), flooded)
        });
        let grown = site.settled_memory().saturating_sub(before) as f64 / 1024.0 / 1024.0;
        println!(
            "{names} {what} in {:.1} s: {granted} granted, memory {grown:+.1} MiB",
            started.elapsed().as_secs_f64()
        );
        flooded.print("meanwhile");
        // Leaves, names and their quotas have bounded tables, which fill.
        claim(grown <= 32.0, "at most 32 MiB more");
        claim(flooded.p99 <= calm.p99 * 2 + Duration::from_millis(1), "p99 at most twice what it is alone, and 1 ms");
    }
}

#[test]
#[ignore = "measures"]
fn five_thousand_slow_clients_leave_the_others_their_latency() {
    let (clients, time) = (size(5_000, 200), size(Duration::from_secs(60), Duration::from_secs(3)));
    let site = Site::start(
        "head: 600, handshake: 300, idle: 600, request_body: 600, connections: 16384, connections_per_agent: 8192",
    );
    let calm = steady(&site, time / 3);
    calm.print("alone");
    let slow = Slow::start(&site, clients);
    let held = slow.held();
    // When the buffers between the origin and those that do not read are full.
    site.stalled();
    let crowded = steady(&site, time);
    let left = slow.stop();
    println!("{held} slow clients for {} s, of which {left} were still served at the end", time.as_secs());
    crowded.print("beside them");
    println!("  anonymous memory: {:.1} MiB", site.memory() as f64 / 1024.0 / 1024.0);
    println!("  p99: {:.2} times", crowded.p99.as_secs_f64() / calm.p99.as_secs_f64());
    claim(left == held, "all of them were there all the time");
    claim(crowded.p99 <= calm.p99 * 2, "p99 at most twice what it is alone");
    claim(Latencies::errors(&crowded) == 0, "no request of the second agent failed");
}
