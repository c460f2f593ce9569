//! A keep-alive request allocates nothing but what rustls takes: counted on the worker's thread of a whole proxy, by an allocator that notes
//! who asks.
//!
//! A test binary of its own, because an allocator is the whole program's. Client and origin are threads of this process too; what they
//! take is theirs and not counted, and so is the audit writer's, whose work is bundled by time and not by request.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod util;

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use ringfence::bench::Credentials;
use ringfence::config;
use ringfence::io::{engine, proxy};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection, StreamOwned};
use tempfile::TempDir;
use util::{PATIENCE, until};

const HOST: &str = "origin.test";
/// Buffers, queues and slabs have their size after so many.
const WARM_UP: usize = 200;
const COUNTED: u64 = 500;

/// What rustls takes for each record that it opens or seals: a vector for what comes out. Its interface without buffers of its own would take
/// none, and is gone from its next release. A request has four: opened and sealed on its way up, opened and sealed on its way down.
const FOR_RECORDS: u64 = 4;

#[test]
fn a_plaintext_request_allocates_nothing_on_io_uring() {
    assert_eq!(Site::new(false).allocations(engine::Choice::Uring), 0);
}

#[test]
fn a_plaintext_request_allocates_nothing_on_epoll() {
    assert_eq!(Site::new(false).allocations(engine::Choice::Epoll), 0);
}

#[test]
fn a_request_under_tls_allocates_once_for_each_record_on_io_uring() {
    assert_eq!(Site::new(true).allocations(engine::Choice::Uring), FOR_RECORDS * COUNTED);
}

#[test]
fn a_request_under_tls_allocates_once_for_each_record_on_epoll() {
    assert_eq!(Site::new(true).allocations(engine::Choice::Epoll), FOR_RECORDS * COUNTED);
}

/// A policy and an origin, and a proxy in front of it.
struct Site {
    folder: TempDir,
    listener: SocketAddr,
    tls: bool,
}

impl Site {
    fn new(tls: bool) -> Site {
        let site = Site { folder: tempfile::tempdir().unwrap(), listener: free_address(), tls };
        let (origin, trust) = match tls {
            false => (origin(None), ""),
            true => {
                let credentials = Credentials::new(&[HOST]).unwrap();
                std::fs::write(site.folder.path().join("trust.pem"), &credentials.authority).unwrap();
                (origin(Some(&credentials)), ", trust: trust.pem")
            }
        };
        let port = site.listener.port();
        let policy = format!(
            "ringfence: v1\nupstreams:\n  {HOST}: {{ address: \"{origin}\"{trust} }}\nrules:\n\
             - {{ deny: administration, path: /admin/** }}\n\
             - {{ allow: the origin, host: {HOST}, port: {port}, method: GET, path: /a/** }}\n"
        );
        let config = format!(
            "listen:\n  - {{ mode: gateway, address: \"127.0.0.1\", ports: [{port}] }}\npolicy: policy.yaml\n\
             audit: {{ dir: audit }}\nca: {{ dir: ca, bundle: bundle.pem }}\nio: {{ workers: 1 }}\n"
        );
        std::fs::write(site.folder.path().join("policy.yaml"), policy).unwrap();
        std::fs::write(site.folder.path().join("ringfence.yaml"), config).unwrap();
        site
    }

    /// How often the worker took memory during [`COUNTED`] requests.
    fn allocations(&self, choice: engine::Choice) -> u64 {
        // One at a time: a worker is known by having come last.
        static ONE: Mutex<()> = Mutex::new(());
        let _one = ONE.lock();
        let before = workers();
        let folder = self.folder.path().to_owned();
        std::thread::spawn(move || {
            let settings = config::read(&folder.join("ringfence.yaml")).unwrap();
            let engine = engine::Options { choice, spin: engine::Spin::Never, ..engine::Options::default() };
            // It serves until the process ends.
            proxy::serve(proxy::Options { settings, state: folder.join("state"), container: None, engine }).unwrap();
        });
        let stream = until("the proxy listens", || TcpStream::connect(self.listener).ok());
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let worker = until("a worker serves", || workers().into_iter().find(|thread| !before.contains(thread)));
        match self.tls {
            false => self.counted(stream, worker),
            true => {
                let config = ClientConfig::builder().with_root_certificates(self.roots()).with_no_client_auth();
                let name = ServerName::try_from(HOST).unwrap();
                let session = ClientConnection::new(Arc::new(config), name).unwrap();
                self.counted(StreamOwned::new(session, stream), worker)
            }
        }
    }

    fn counted(&self, mut client: impl Read + Write, worker: i32) -> u64 {
        let port = self.listener.port();
        let request = format!("GET /a/b HTTP/1.1\r\nHost: {HOST}:{port}\r\nAccept: text/plain\r\n\r\n");
        let mut ask = || {
            client.write_all(request.as_bytes()).unwrap();
            assert!(head(&mut client).unwrap().starts_with("HTTP/1.1 200 "));
            client.read_exact(&mut [0; BODY.len()]).unwrap();
        };
        (0..WARM_UP).for_each(|_| ask());
        let before = taken(worker);
        WATCHED.store(worker, Ordering::SeqCst);
        (0..COUNTED).for_each(|_| ask());
        WATCHED.store(0, Ordering::SeqCst);
        let count = taken(worker) - before;
        // Shown when the test fails.
        SEEN.lock().unwrap().drain(..).for_each(|trace| println!("{trace}\n"));
        count
    }

    fn roots(&self) -> RootCertStore {
        let bundle = std::fs::read(self.folder.path().join("bundle.pem")).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&bundle).map(Result::unwrap));
        roots
    }
}

const BODY: &[u8] = b"what was asked for";

/// Answers every request with [`BODY`], each in one write.
fn origin(credentials: Option<&Credentials>) -> SocketAddr {
    let config = credentials.map(|credentials| credentials.server().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map(Result::unwrap) {
            stream.set_nodelay(true).unwrap();
            match &config {
                None => answer(stream),
                Some(config) => {
                    answer(StreamOwned::new(ServerConnection::new(Arc::clone(config)).unwrap(), stream));
                }
            }
        }
    });
    address
}

fn answer(mut stream: impl Read + Write) {
    let mut whole = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n", BODY.len());
    whole.push_str(std::str::from_utf8(BODY).unwrap());
    while head(&mut stream).is_some() {
        stream.write_all(whole.as_bytes()).unwrap();
    }
}

/// The head of a message; `None` when there is none any more.
fn head(stream: &mut impl Read) -> Option<String> {
    let mut bytes = Vec::new();
    let mut octet = [0; 1];
    while !bytes.ends_with(b"\r\n\r\n") {
        if stream.read(&mut octet).ok()? == 0 {
            return None;
        }
        bytes.push(octet[0]);
    }
    String::from_utf8(bytes).ok()
}

/// The threads that serve, by the name that the kernel has of them.
fn workers() -> Vec<i32> {
    let tasks = std::fs::read_dir(Path::new("/proc/self/task")).unwrap().map(Result::unwrap);
    let serves = |task: &std::fs::DirEntry| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.starts_with("ringfence-worke"))
    };
    tasks.filter(serves).map(|task| task.file_name().to_str().unwrap().parse().unwrap()).collect()
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Counts for each thread how often it takes memory, and notes where the watched one does.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

/// A thread's id and its count. More threads than places are not counted, which no test here comes near.
static THREADS: [(AtomicI32, AtomicU64); 128] = [const { (AtomicI32::new(0), AtomicU64::new(0)) }; 128];
/// The thread whose allocations are noted.
static WATCHED: AtomicI32 = AtomicI32::new(0);
/// Where the first of them came from.
static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());
const SEEN_MAX: usize = 8;

thread_local! {
    static THREAD: Cell<i32> = const { Cell::new(0) };
    static NOTING: Cell<bool> = const { Cell::new(false) };
}

fn count() {
    let thread = THREAD.get();
    let thread = if thread != 0 { thread } else { nix::unistd::gettid().as_raw() };
    THREAD.set(thread);
    for (id, taken) in &THREADS {
        let mine = id.load(Ordering::Relaxed) == thread
            || id.compare_exchange(0, thread, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if mine {
            // What noting takes is not the program's.
            if !NOTING.get() {
                taken.fetch_add(1, Ordering::Relaxed);
            }
            break;
        }
    }
    if WATCHED.load(Ordering::Relaxed) == thread && !NOTING.replace(true) {
        if let Ok(mut seen) = SEEN.lock()
            && seen.len() < SEEN_MAX
        {
            let trace = Backtrace::force_capture().to_string();
            let ours: Vec<&str> = trace.lines().filter(|line| !line.contains("/rustc/")).take(60).collect();
            seen.push(ours.join("\n"));
        }
        NOTING.set(false);
    }
}

/// How often `thread` has taken memory so far.
fn taken(thread: i32) -> u64 {
    let found = THREADS.iter().find(|(id, _)| id.load(Ordering::Relaxed) == thread);
    found.map_or(0, |(_, taken)| taken.load(Ordering::Relaxed))
}

// SAFETY: every call goes to the system's allocator with what it came with.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`, which is this one's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: `memory` came from `System` by one of the others.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as for `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as for `dealloc`; the caller vouches for the size.
        unsafe { System.realloc(memory, layout, size) }
    }
}
