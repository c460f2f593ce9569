//! Who behaves, and who does not.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests, which clippy takes for other code")]
#![allow(clippy::print_stdout, reason = "the figures are what these are for")]

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::site::Site;

/// The agent that floods.
pub(crate) const FLOOD: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// The agent that behaves.
pub(crate) const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));
/// Requests of that one in a second.
const RATE: u32 = 200;

/// From the moment at which each request was due to its answer.
pub(crate) struct Latencies {
    pub(crate) p99: Duration,
    p50: Duration,
    max: Duration,
    count: usize,
    errors: usize,
}

impl Latencies {
    pub(crate) fn print(&self, what: &str) {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let Latencies { p99, p50, max, count, errors } = self;
        println!(
            "  the other agent, {what}: {count} requests, {errors} errors, p50 {:.3} ms, p99 {:.3} ms, max {:.3} ms",
            ms(*p50),
            ms(*p99),
            ms(*max)
        );
    }

    pub(crate) fn errors(&self) -> usize {
        self.errors
    }
}

/// Requests at a steady rate for `time`.
pub(crate) fn steady(site: &Site, time: Duration) -> Latencies {
    let started = Instant::now();
    steady_while(site, || started.elapsed() < time)
}

/// Requests at a steady rate as long as `more` says so; at least one.
pub(crate) fn steady_while(site: &Site, more: impl Fn() -> bool) -> Latencies {
    let mut client = site.connect(OTHER);
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", site.host());
    let (mut times, mut errors, mut due) = (Vec::new(), 0, Instant::now());
    while times.is_empty() || more() {
        due += Duration::from_secs(1) / RATE;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if client.write_all(request.as_bytes()).is_err() || !answered(&mut client) {
            errors += 1;
            client = site.connect(OTHER);
        }
        times.push(due.elapsed());
    }
    times.sort();
    let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)];
    Latencies { p99: at(99), p50: at(50), max: times[times.len() - 1], count: times.len(), errors }
}

/// Whether a whole answer came that says `ok`.
pub(crate) fn answered(client: &mut TcpStream) -> bool {
    let (mut all, mut piece) = (Vec::new(), [0; 4096]);
    while !all.ends_with(b"\r\n\r\nok") {
        match client.read(&mut piece) {
            Ok(0) | Err(_) => return false,
            Ok(n) => all.extend_from_slice(&piece[..n]),
        }
    }
    all.starts_with(b"HTTP/1.1 200 ")
}

/// Lets everybody else go first on the processor.
pub(crate) fn step_back() {
    // SAFETY: no pointer is passed; on Linux 0 is the calling thread.
    assert_eq!(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 19) }, 0);
}

/// One TLS handshake as far as the server's first flight; whether it was granted.
pub(crate) fn hello(site: &Site, name: &str) -> bool {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| {
        let versions = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap();
        Arc::new(versions.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
    });
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut session = ClientConnection::new(Arc::clone(config), name).unwrap();
    let mut client = site.connect(FLOOD);
    let mut first = Vec::new();
    session.write_tls(&mut first).unwrap();
    let mut kind = [0; 1];
    // A handshake record, or an alert.
    client.write_all(&first).is_ok() && client.read_exact(&mut kind).is_ok() && kind[0] == 22
}

/// One question to the stub; whether it was answered with an address.
pub(crate) fn ask(site: &Site, name: &str) -> bool {
    let socket = UdpSocket::bind((FLOOD, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut message = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend_from_slice(label.as_bytes());
    }
    message.extend_from_slice(&[0, 0, 1, 0, 1]);
    let mut answer = [0; 512];
    // Without an error code, and with one answer. A datagram may be lost.
    socket.send_to(&message, site.dns).is_ok()
        && socket.recv(&mut answer).is_ok_and(|n| n > 12)
        && answer[3] & 15 == 0
        && answer[7] == 1
}

/// Sends request bodies until nothing more of any is taken; how much that was.
pub(crate) fn fill(clients: &mut [TcpStream], path: &str, host: &str) -> u64 {
    for client in &mut *clients {
        write!(client, "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 4611686018427387904\r\n\r\n").unwrap();
        client.set_nonblocking(true).unwrap();
    }
    let (mut sent, piece) = (0, [b'x'; 65536]);
    super::site::settled(|| {
        for client in &mut *clients {
            match client.write(&piece) {
                Ok(n) => sent += n as u64,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "the proxy gave up"),
            }
        }
        sent
    })
}

/// Clients that keep an octet coming every second, each in another place of a request, and read nothing.
pub(crate) struct Slow {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
    held: usize,
}

impl Slow {
    pub(crate) fn start(site: &Site, count: usize) -> Slow {
        let starts: [(Vec<u8>, &[u8]); 5] = [
            (b"GET / HTTP/1.1\r\nX: ".to_vec(), b"x"),
            (format!("POST / HTTP/1.1\r\nHost: {}\r\nContent-Length: 1000000\r\n\r\n", site.host()).into_bytes(), b"x"),
            (vec![22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3], b"\0"),
            (format!("GET /endless HTTP/1.1\r\nHost: {}\r\n\r\n", site.host()).into_bytes(), b""),
            (Vec::new(), b""),
        ];
        let mut all: Vec<(TcpStream, &'static [u8])> = Vec::new();
        for n in 0..count {
            let (start, drip) = &starts[n % starts.len()];
            let mut client = site.connect(FLOOD);
            client.write_all(start).unwrap();
            client.set_nonblocking(true).unwrap();
            all.push((client, *drip));
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let held = all.len();
        let thread = thread::spawn(move || {
            let mut due = Instant::now();
            while !stopped.load(Ordering::Relaxed) {
                // Spread over the second.
                for slice in all.chunks_mut(held.div_ceil(100)) {
                    for (client, drip) in slice {
                        let _ = client.write(drip);
                    }
                    due += Duration::from_millis(10);
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                }
            }
            all.iter().filter(|(client, _)| is_open(client)).count()
        });
        Slow { stop, thread, held }
    }

    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Ends them; how many were still being served.
    pub(crate) fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Whether the other side has neither ended nor reset it.
fn is_open(mut client: &TcpStream) -> bool {
    match client.read(&mut [0; 1]) {
        Ok(n) => n > 0,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}
