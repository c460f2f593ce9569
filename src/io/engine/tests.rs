//! Claims about the engine, each on both backends, parking at once and spinning first.

use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use super::*;
use crate::limits::SPIN_WAIT;

mod cancel;
mod exchange;
mod executor;
mod limits;
mod listen;
mod transfer;
mod udp;

/// Runs a claim on every backend; each must end in time and leave nothing with the kernel.
fn on_both<F: Future<Output = ()>>(claim: impl Fn() -> F) {
    with_options(Options::default(), claim);
}

fn with_options<F: Future<Output = ()>>(options: Options, claim: impl Fn() -> F) {
    for choice in [Choice::Uring, Choice::Epoll] {
        for spin in [Spin::Never, Spin::Always(SPIN_WAIT), Spin::AfterShortWaits(SPIN_WAIT)] {
            let engine = Engine::new(&Options { choice, spin, ..options }).expect("the backend is there");
            engine.run(async {
                let in_time = timeout(PATIENCE, claim()).await;
                assert_eq!(in_time, Ok(()), "{choice:?} with spin {spin:?} was still waiting");
            });
            assert_eq!(engine.core.driver.in_flight(), 0, "{choice:?} left operations with the kernel");
        }
    }
}

/// A listener and its address.
fn listener() -> (Listener, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (Listener::from_std(listener).unwrap(), address)
}

/// Two ends of one connection, both on the engine.
async fn pair() -> (Stream, Stream) {
    let (listener, address) = listener();
    let near = Stream::connect(address).await.unwrap();
    (near, listener.accept().await.unwrap())
}

/// A connection whose far end is plain std, blocking: an independent witness.
async fn witnessed() -> (Stream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = Stream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (far, _) = listener.accept().unwrap();
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    (near, far)
}

/// Keeps both kernel buffers small, so that a mebibyte cannot be sent while nobody reads.
fn tighten(near: &Stream, far: &impl AsFd) {
    use nix::sys::socket::{setsockopt, sockopt};
    setsockopt(&near.as_fd(), sockopt::SndBuf, &16_384).unwrap();
    setsockopt(far, sockopt::RcvBuf, &16_384).unwrap();
}

/// Receives until `length` bytes have come.
async fn receive(stream: &Stream, length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < length {
        let buf = stream.recv().await.unwrap();
        assert!(!buf.is_empty(), "ended after {} of {length} bytes", bytes.len());
        bytes.extend_from_slice(&buf);
    }
    bytes
}

/// Lets everything else run, for `turns` turns.
async fn pass(turns: usize) {
    for _ in 0..turns {
        let mut passed = false;
        std::future::poll_fn(|cx| {
            cx.waker().wake_by_ref();
            if std::mem::replace(&mut passed, true) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
    }
}

/// Comes back once `condition` holds; the harness bounds the wait.
async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        sleep(Duration::from_millis(1)).await;
    }
}

/// Bytes that differ everywhere, so that a lost or doubled piece shows.
fn pattern(length: usize) -> Vec<u8> {
    (0..length as u64).map(|index| (index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

const PATIENCE: Duration = Duration::from_secs(30);
