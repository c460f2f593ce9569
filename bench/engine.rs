//! What the engine adds to a request: a relay that reads nothing into its bytes, on each backend, parking at once and spinning.
//!
//! `cargo bench --bench engine [-- SECONDS-PER-ROUND]`. Load and origin share the last CPU and run on epoll; the relay is a process of its
//! own on the first. Rounds alternate direct, candidate, direct, candidate, so that a machine that slows down slows all. "added" is the median
//! over rounds of the difference to the direct round just before. System calls are counted by the kernel's tracepoint where
//! `perf` may use it. Closed loop: good for path lengths, not for tail latencies.

#![expect(clippy::unwrap_used, reason = "a measurement stops at the first surprise")]

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use ringfence::io::engine::{Choice, Engine, Listener, Options, Spin, Stream, sleep, spawn};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [command, backend, spin, origin] = &arguments[..]
        && command == RELAY
    {
        return relay(backend, spin.parse().unwrap(), origin.parse().unwrap());
    }
    let seconds: f64 = arguments.first().map_or(0.25, |seconds| seconds.parse().unwrap());
    let origin = origin();
    let candidates: Vec<Candidate> =
        CANDIDATES.iter().map(|&(backend, spin)| Candidate::start(backend, spin, origin)).collect();
    println!("{REQUEST_BYTES} B each way, {ROUNDS} rounds of {seconds} s");
    println!(
        "{:<22}{:>7}{:>10}{:>10}{:>10}{:>12}{:>12}",
        "", "conns", "added p50", "p90", "p99", "cpu us/req", "calls/req"
    );
    for connections in [1, 16, 128] {
        for candidate in &candidates {
            candidate.measure(connections, Duration::from_secs_f64(seconds), origin);
        }
    }
}

struct Candidate {
    name: String,
    process: Child,
    address: SocketAddr,
}

impl Candidate {
    fn start(backend: &str, spin: u64, origin: SocketAddr) -> Candidate {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([RELAY, backend, &spin.to_string(), &origin.to_string()]).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Candidate { name: format!("{backend}, spin {spin} us"), process, address: line.trim().parse().unwrap() }
    }

    fn measure(&self, connections: usize, time: Duration, origin: SocketAddr) {
        let mut added = [const { Vec::new() }; 3];
        let (mut cpu, mut requests, mut calls) = (0.0, 0, None);
        for _ in 0..ROUNDS {
            let direct = load(origin, connections, time);
            let counter = Calls::start(self.process.id());
            let before = cpu_seconds(self.process.id());
            let through = load(self.address, connections, time);
            cpu += cpu_seconds(self.process.id()) - before;
            requests += through.len();
            calls = counter.map(Calls::stop).map(|count| calls.unwrap_or(0) + count);
            for (added, quantile) in added.iter_mut().zip([0.5, 0.9, 0.99]) {
                let [with, without] = [&through, &direct].map(|times| times.value_at_quantile(quantile) as f64 / 1e3);
                added.push(with - without);
            }
        }
        let [p50, p90, p99] = added.map(median);
        let calls = calls.map_or_else(|| "-".to_owned(), |calls| format!("{:.2}", calls as f64 / requests as f64));
        let cpu = cpu * 1e6 / requests as f64;
        println!("{:<22}{connections:>7}{p50:>10.1}{p90:>10.1}{p99:>10.1}{cpu:>12.2}{calls:>12}", self.name);
    }
}

impl Drop for Candidate {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The candidate's process: relays each connection to the origin, one message at a time.
fn relay(backend: &str, spin: u64, origin: SocketAddr) {
    pin(0);
    let choice = if backend == "io_uring" { Choice::Uring } else { Choice::Epoll };
    let options = Options {
        choice,
        spin: if spin == 0 { Spin::Never } else { Spin::Always(Duration::from_micros(spin)) },
        ..Options::default()
    };
    Engine::new(&options).unwrap().run(async {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        println!("{}", listener.local_addr().unwrap());
        let listener = Listener::from_std(listener).unwrap();
        loop {
            let inner = listener.accept().await.unwrap();
            spawn(async move {
                let outer = Stream::connect(origin).await.unwrap();
                let mut bytes = Vec::new();
                let mut next = inner.recv().await;
                loop {
                    for (to, from) in [(&outer, &outer), (&inner, &inner)] {
                        match next {
                            Ok(buf) if !buf.is_empty() => {
                                bytes.clear();
                                bytes.extend_from_slice(&buf);
                            }
                            _ => return,
                        }
                        (next, bytes) = to.send_vec_then_recv(bytes, from).await;
                    }
                }
            });
        }
    });
}

/// Answers each message with itself, on a thread of its own.
fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        pin(last_cpu());
        let options = Options { choice: Choice::Epoll, ..Options::default() };
        Engine::new(&options).unwrap().run(async {
            let listener = Listener::from_std(listener).unwrap();
            loop {
                let stream = listener.accept().await.unwrap();
                spawn(async move {
                    while let Ok(buf) = stream.recv().await {
                        if buf.is_empty() || stream.send(buf).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
    });
    address
}

/// Keeps `connections` busy for `time`, one request at a time each; nanoseconds per request.
fn load(address: SocketAddr, connections: usize, time: Duration) -> Histogram<u64> {
    pin(last_cpu());
    let times = Rc::new(RefCell::new(Histogram::new(3).unwrap()));
    let options = Options { choice: Choice::Epoll, ..Options::default() };
    Engine::new(&options).unwrap().run(async {
        for _ in 0..connections {
            let times = times.clone();
            let stream = Stream::connect(address).await.unwrap();
            spawn(async move {
                let mut request = vec![b'x'; REQUEST_BYTES];
                loop {
                    let start = Instant::now();
                    let (mut reply, vector) = stream.send_vec_then_recv(request, &stream).await;
                    request = vector;
                    let mut length = 0;
                    while length < REQUEST_BYTES {
                        length += reply.as_ref().unwrap().len();
                        if length < REQUEST_BYTES {
                            reply = stream.recv().await;
                        }
                    }
                    times.borrow_mut().record(u64::try_from(start.elapsed().as_nanos()).unwrap()).unwrap();
                }
            });
        }
        sleep(time).await;
    });
    times.take_inner()
}

trait TakeInner<T> {
    fn take_inner(self) -> T;
}

impl<T> TakeInner<T> for Rc<RefCell<T>> {
    fn take_inner(self) -> T {
        Rc::into_inner(self).unwrap().into_inner()
    }
}

/// The kernel's count of a process's system calls.
struct Calls(Child);

impl Calls {
    fn start(process: u32) -> Option<Calls> {
        let mut perf = Command::new("perf");
        perf.args(["stat", "-x", ",", "-e", "raw_syscalls:sys_enter", "-p", &process.to_string()]);
        let child = perf.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().ok()?;
        // It says nothing when it has attached; its own start takes some milliseconds.
        std::thread::sleep(Duration::from_millis(50));
        Some(Calls(child))
    }

    fn stop(mut self) -> u64 {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.0.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
        let mut text = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        self.0.wait().unwrap();
        text.lines().find_map(|line| line.split(',').next()?.parse().ok()).unwrap_or(0)
    }
}

fn cpu_seconds(process: u32) -> f64 {
    let schedstat = std::fs::read_to_string(format!("/proc/{process}/schedstat")).unwrap();
    schedstat.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn pin(cpu: usize) {
    let mut set = nix::sched::CpuSet::new();
    set.set(cpu).unwrap();
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set).unwrap();
}

fn last_cpu() -> usize {
    std::thread::available_parallelism().map_or(0, |count| count.get() - 1)
}

const RELAY: &str = "relay";
const CANDIDATES: [(&str, u64); 4] = [("io_uring", 0), ("epoll", 0), ("io_uring", 50), ("epoll", 50)];
const REQUEST_BYTES: usize = 256;
const ROUNDS: usize = 10;
