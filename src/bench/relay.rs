//! The floor: a relay that passes bytes on and does nothing else.
//!
//! It runs on the engine, spin and cpu that ringfence runs on, so what it costs is what any proxy of this make must cost: two more
//! sockets and two more wake-ups. While it sends what it has, it already waits for what comes next, so that each direction takes
//! one entry into the kernel.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use crate::io::engine::{self, Buf, Listener, Stream};

#[cfg(feature = "relay-tokio-uring")]
mod tokio_uring;
#[cfg(feature = "relay-tokio-uring")]
pub use tokio_uring::serve_on_tokio_uring;

/// The relay on tokio-uring, which this build does not have.
///
/// # Errors
/// Always.
#[cfg(not(feature = "relay-tokio-uring"))]
pub fn serve_on_tokio_uring(_listener: std::net::TcpListener, _origin: SocketAddr) -> io::Result<()> {
    Err(io::Error::other("not in this build: cargo build --release --features relay-tokio-uring"))
}

/// Relays every connection of `listener` to a new connection to `origin`, until the engine ends.
///
/// # Errors
/// Of the listener.
pub async fn serve(listener: Listener, origin: SocketAddr) -> io::Result<()> {
    loop {
        let client = listener.accept().await?;
        engine::spawn(async move {
            let Ok(upstream) = Stream::connect(origin).await else { return };
            let (client, upstream) = (Rc::new(client), Rc::new(upstream));
            let (from, to) = (Rc::clone(&upstream), Rc::clone(&client));
            engine::spawn(async move { drop(pump(&from, &to).await) });
            // A side that fails is closed, which the other side sees.
            let _ = pump(&client, &upstream).await;
        });
    }
}

async fn pump(from: &Stream, to: &Stream) -> io::Result<()> {
    let mut bytes = from.recv().await?;
    while !bytes.is_empty() {
        let (sent, next) = both(to.send(bytes), from.recv()).await;
        sent?;
        bytes = next?;
    }
    to.shutdown_write()
}

/// Both at once; done when both are.
async fn both(
    send: impl Future<Output = io::Result<()>>,
    receive: impl Future<Output = io::Result<Buf>>,
) -> (io::Result<()>, io::Result<Buf>) {
    let (mut send, mut receive) = (pin!(send), pin!(receive));
    let (mut sent, mut received) = (None, None);
    poll_fn(|cx| {
        if sent.is_none()
            && let Poll::Ready(result) = send.as_mut().poll(cx)
        {
            sent = Some(result);
        }
        if received.is_none()
            && let Poll::Ready(result) = receive.as_mut().poll(cx)
        {
            received = Some(result);
        }
        match (sent.take(), received.take()) {
            (Some(sent), Some(received)) => Poll::Ready((sent, received)),
            (left, right) => {
                (sent, received) = (left, right);
                Poll::Pending
            }
        }
    })
    .await
}
