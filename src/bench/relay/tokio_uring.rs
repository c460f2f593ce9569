//! The relay on tokio-uring, for the question why the engine is our own.
//!
//! Buffers change hands as that crate has it: a receive and a send each take one and give it back.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;

use tokio_uring::buf::BoundedBuf;
use tokio_uring::net::{TcpListener as Listener, TcpStream};

/// Relays every connection until the process ends.
///
/// # Errors
/// If the kernel refuses a ring, or of the listener.
pub fn serve_on_tokio_uring(listener: TcpListener, origin: SocketAddr) -> io::Result<()> {
    let mut uring = tokio_uring::uring_builder();
    uring.setup_cqsize(4 * ENTRIES);
    tokio_uring::builder().entries(ENTRIES).uring_builder(&uring).start(async move {
        let listener = Listener::from_std(listener);
        loop {
            let (client, _) = listener.accept().await?;
            tokio_uring::spawn(async move {
                let Ok(upstream) = TcpStream::connect(origin).await else { return };
                let nodelay = client.set_nodelay(true).and_then(|()| upstream.set_nodelay(true));
                if nodelay.is_err() {
                    return;
                }
                let (client, upstream) = (Rc::new(client), Rc::new(upstream));
                let (from, to) = (Rc::clone(&upstream), Rc::clone(&client));
                tokio_uring::spawn(async move { drop(pump(&from, &to).await) });
                // A side that fails is closed, which the other side sees.
                let _ = pump(&client, &upstream).await;
            });
        }
    })
}

async fn pump(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let (received, filled) = from.read(buffer).await;
        let count = received?;
        if count == 0 {
            return to.shutdown(std::net::Shutdown::Write);
        }
        let (sent, slice) = to.write_all(filled.slice(..count)).await;
        sent?;
        buffer = slice.into_inner();
    }
}

/// Submission entries.
const ENTRIES: u32 = 1024;
/// As much as our engine receives at once.
const BUFFER_BYTES: usize = 16 * 1024;
