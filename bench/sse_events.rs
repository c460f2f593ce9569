//! How much later an MCP client has each event of a stream because of ringfence, which reads it, decides it and records it first.
//!
//! `cargo build --release && cargo bench --bench sse_events [-- EVENTS-PER-ROUND]`. A server on loopback sends an event every millisecond and writes into each when it
//! did; the client notes when it has it. Both are threads of this process, so that there is one clock. Rounds alternate between the server
//! itself and a gateway in front of it (a process of its own, one worker), so that a machine that slows down slows both. What is printed as added is
//! the difference between percentiles, and no more than an indication where cores are shared.

#![expect(clippy::unwrap_used, reason = "a measurement stops at the first surprise")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

const ROUNDS: usize = 10;
const EVERY: Duration = Duration::from_millis(1);
const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"watch"}}"#;

fn main() {
    let wanted = std::env::args().skip(1).find(|argument| argument != "--bench");
    let events: usize = wanted.map_or(2000, |events| events.parse().unwrap());
    let start = Instant::now();
    let origin = origin(start, events);
    let folder = tempfile::tempdir().unwrap();
    let (mut gateway, port) = gateway(folder.path(), origin);
    let mut direct = Histogram::<u64>::new(3).unwrap();
    let mut through = Histogram::<u64>::new(3).unwrap();
    for _ in 0..ROUNDS {
        receive(origin, start, events, &mut direct);
        receive(port, start, events, &mut through);
    }
    gateway.kill().unwrap();
    gateway.wait().unwrap();
    println!("{ROUNDS} rounds of {events} events each way, one every {EVERY:?}; microseconds from sending to having");
    println!("{:<10}{:>10}{:>10}{:>10}", "", "p50", "p90", "p99");
    let percentiles = [50.0, 90.0, 99.0];
    let of =
        |histogram: &Histogram<u64>| percentiles.map(|percentile| micros(histogram.value_at_percentile(percentile)));
    let (direct, through) = (of(&direct), of(&through));
    let added = [0, 1, 2].map(|at| through[at] - direct[at]);
    for (name, [p50, p90, p99]) in [("direct", direct), ("through", through), ("added", added)] {
        println!("{name:<10}{p50:>10.1}{p90:>10.1}{p99:>10.1}");
    }
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds of a measurement")]
fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1000.0
}

/// A server whose every answer is a stream of events that say when they were sent.
fn origin(start: Instant, events: usize) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.set_nodelay(true).unwrap();
            if !asked(&stream) {
                continue; // somebody has looked whether we listen
            }
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
                .unwrap();
            let mut due = Instant::now();
            for _ in 0..events {
                due += EVERY;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                let sent = start.elapsed().as_nanos();
                let message =
                    format!(r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"sent":{sent}}}}}"#);
                stream.write_all(format!("event: message\ndata: {message}\n\n").as_bytes()).unwrap();
            }
            let answer = r#"data: {"jsonrpc":"2.0","id":1,"result":{}}"#;
            stream.write_all(format!("{answer}\n\n").as_bytes()).unwrap();
        }
    });
    port
}

/// Reads a request to its end.
fn asked(stream: &TcpStream) -> bool {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        if reader.read_line(&mut line).unwrap() == 0 {
            return false;
        }
    }
    let mut body = vec![0; CALL.len()];
    reader.read_exact(&mut body).is_ok()
}

fn gateway(folder: &Path, origin: u16) -> (Child, u16) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let policy = format!(
        "ringfence: v1\nupstreams:\n  \"localhost:{port}\": {{ address: \"127.0.0.1:{origin}\" }}\nmcp_servers:\n  watched: {{ url: \"http://localhost:{port}/mcp\", pin: off }}\nrules:\n  - allow: all of it\n    mcp: {{ server: watched }}\n"
    );
    let config = format!(
        "listen: [{{ mode: gateway, address: \"127.0.0.1\", ports: [{port}] }}]\npolicy: policy.yaml\naudit: {{ dir: audit }}\nca: {{ dir: ca }}\nio: {{ workers: 1 }}\n"
    );
    std::fs::write(folder.join("policy.yaml"), policy).unwrap();
    std::fs::write(folder.join("ringfence.yaml"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
    command.arg("proxy").arg("--config").arg(folder.join("ringfence.yaml")).stderr(Stdio::null());
    let gateway = command.env("RINGFENCE_STATE", folder.join("state")).spawn().unwrap();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::sleep(Duration::from_millis(5));
    }
    (gateway, port)
}

/// Calls once and notes how old each event is when it is here.
fn receive(port: u16, start: Instant, events: usize, ages: &mut Histogram<u64>) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_nodelay(true).unwrap();
    let head =
        format!("POST /mcp HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Type: application/json\r\nConnection: close");
    stream.write_all(format!("{head}\r\nContent-Length: {}\r\n\r\n{CALL}", CALL.len()).as_bytes()).unwrap();
    let mut seen = 0;
    for line in BufReader::new(stream).lines() {
        let line = line.unwrap();
        let Some((_, rest)) = line.split_once("\"sent\":") else { continue };
        let now = start.elapsed().as_nanos();
        let sent: u128 = rest.trim_end_matches('}').parse().unwrap();
        ages.record(u64::try_from(now - sent).unwrap()).unwrap();
        seen += 1;
    }
    assert_eq!(seen, events, "every event came");
}
