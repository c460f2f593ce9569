//! Claims about the engine that need a process of their own: its allocator, its memory, its limits.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use ringfence::io::engine::{Choice, Either, Engine, Listener, Options, Stream, race, sleep, spawn, timeout};

#[test]
fn steady_state_allocates_nothing_per_operation() {
    for choice in [Choice::Uring, Choice::Epoll] {
        run(choice, async {
            let (near, far) = pair().await;
            spawn(echo(far));
            let mut request = b"question".to_vec();
            // Warm up: slabs, queues and wheels grow to what this takes.
            for round in 0..1_100 {
                if round == 100 {
                    ALLOCATIONS.set(0);
                }
                let exchange = timeout(Duration::from_secs(5), near.send_vec_then_recv(request, &near)).await.unwrap();
                assert_eq!(&*exchange.0.unwrap(), b"question");
                request = exchange.1;
                let (sent, vector) = near.send_vec(request).await;
                sent.unwrap();
                request = vector;
                assert!(matches!(race(near.recv(), sleep(Duration::from_secs(5))).await, Either::Left(Ok(_))));
            }
            assert_eq!(ALLOCATIONS.get(), 0, "{choice:?}: 1000 rounds of send, receive, exchange and timers");
        });
    }
}

#[test]
fn memory_stays_flat_over_dropped_receives_and_short_connections() {
    for choice in [Choice::Uring, Choice::Epoll] {
        run(choice, async {
            let (listener, address) = listener();
            let (mut before, mut after) = (0, 0);
            for round in 0..3_000 {
                let near = Stream::connect(address).await.unwrap();
                let far = listener.accept().await.unwrap();
                spawn(echo(far));
                for _ in 0..20 {
                    assert!(matches!(race(near.recv(), std::future::ready(())).await, Either::Right(())));
                }
                let (reply, _) = near.send_vec_then_recv(vec![1; 9_000], &near).await;
                assert!(!reply.unwrap().is_empty());
                near.reset();
                if round == 1_000 {
                    before = resident_bytes();
                }
                after = resident_bytes();
            }
            let grown = after.saturating_sub(before);
            assert!(grown < 1024 * 1024, "{choice:?}: {grown} bytes more after 2000 connections");
        });
    }
}

#[test]
fn a_listener_survives_the_lack_of_descriptors() {
    for backend in ["uring", "epoll"] {
        let name = "in_a_child_a_listener_survives_the_lack_of_descriptors";
        let mut child = Command::new(std::env::current_exe().unwrap());
        let output = child.args(["--exact", name, "--ignored", "--nocapture"]).env(BACKEND, backend).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{backend}: {text}");
    }
}

#[test]
#[ignore = "lowers a limit of its whole process; run by the test above in a child"]
fn in_a_child_a_listener_survives_the_lack_of_descriptors() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let choice = if std::env::var(BACKEND).unwrap() == "uring" { Choice::Uring } else { Choice::Epoll };
    run(choice, async {
        let (listener, address) = listener();
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 64, hard).unwrap();
        let mut far = TcpStream::connect(address).unwrap();
        far.write_all(b"alive").unwrap();
        let mut hogs = Vec::new();
        while let Ok(hog) = std::fs::File::open("/dev/null") {
            hogs.push(hog);
        }
        // No descriptor is left: the listener pauses, tries again, and takes the connection once there is one.
        assert!(matches!(race(listener.accept(), sleep(Duration::from_millis(100))).await, Either::Right(())));
        hogs.truncate(hogs.len() - 2);
        let near = listener.accept().await.unwrap();
        assert_eq!(&*near.recv().await.unwrap(), b"alive");
        drop(near);
        assert_eq!(far.read(&mut [0]).unwrap(), 0);
    });
}

/// A child limited in locked memory asks for smaller rings instead of failing.
#[test]
fn a_ring_shrinks_to_the_locked_memory_there_is() {
    let name = "in_a_child_a_ring_shrinks_to_the_locked_memory_there_is";
    let mut child = Command::new(std::env::current_exe().unwrap());
    let output = child.args(["--exact", name, "--ignored", "--nocapture"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "lowers a limit and leaves root; run by the test above in a child"]
fn in_a_child_a_ring_shrinks_to_the_locked_memory_there_is() {
    use nix::sys::resource::{Resource, setrlimit};
    use nix::unistd::{Uid, setuid};
    setrlimit(Resource::RLIMIT_MEMLOCK, 128 * 1024, 128 * 1024).unwrap();
    if Uid::effective().is_root() {
        // Root's CAP_IPC_LOCK is not charged. The charge is per user, and lifted some time after a ring has gone.
        setuid(Uid::from_raw(20_000 + std::process::id() % 40_000)).unwrap();
    }
    let options = Options { choice: Choice::Auto, entries: 4096, ..Options::default() };
    let mut engines = Vec::new();
    for _ in 0..32 {
        let engine = Engine::new(&options).unwrap();
        engine.run(async {
            let (near, far) = pair().await;
            assert!(near.send_vec(vec![1]).await.0.is_ok());
            assert_eq!(&*far.recv().await.unwrap(), [1]);
        });
        engines.push(engine);
    }
    let refused: Vec<_> = engines.iter().filter_map(|engine| engine.selected().refused).collect();
    assert!(engines[0].selected().refused.is_none(), "the first ring fits: {refused:?}");
    let last = refused.last().expect("not all 32 fit");
    assert!(last.contains("RLIMIT_MEMLOCK"), "{last}");
}

fn run(choice: Choice, claim: impl Future<Output = ()>) {
    let engine = Engine::new(&Options { choice, ..Options::default() }).unwrap();
    engine.run(async { timeout(Duration::from_secs(60), claim).await.unwrap() });
}

fn listener() -> (Listener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (Listener::from_std(listener).unwrap(), address)
}

async fn pair() -> (Stream, Stream) {
    let (listener, address) = listener();
    let near = Stream::connect(address).await.unwrap();
    (near, listener.accept().await.unwrap())
}

async fn echo(stream: Stream) {
    while let Ok(buf) = stream.recv().await {
        if buf.is_empty() || stream.send(buf).await.is_err() {
            return;
        }
    }
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Counts this thread's allocations.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: hands every call on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on; `pointer` came from `alloc` above, so from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const BACKEND: &str = "RINGFENCE_TEST_BACKEND";
