//! An HTTP/1.1 origin: the same bytes for everybody, and faults on demand.
//!
//! `GET /bytes/N` answers N bytes of a fixed pattern; any other path answers the default number. The faults exist so that the
//! harness can be held against known truths: it must show a stall, and count a wrong status or body.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use serde::{Deserialize, Serialize};

use super::pipe::Pipe;
use crate::io::engine::{self, Listener};
use crate::limits::{BENCH_BODY_BYTES_MAX, HEAD_BYTES_MAX, HEADERS_MAX};

/// How the origin answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Behaviour {
    /// Body bytes where the path does not say.
    pub bytes: usize,
    /// Status of every answer.
    pub status: u16,
    /// Changes one byte of every body.
    pub wrong_body: bool,
    /// Each second starts with so many milliseconds in which nothing is answered.
    pub stall_ms: u64,
}

impl Default for Behaviour {
    fn default() -> Behaviour {
        Behaviour { bytes: 256, status: 200, wrong_body: false, stall_ms: 0 }
    }
}

/// The body that an honest origin answers.
pub fn body(bytes: usize) -> Vec<u8> {
    (b'a'..=b'w').cycle().take(bytes).collect()
}

/// Serves every connection of `listener` until the engine ends.
///
/// # Errors
/// Of the listener.
pub async fn serve(listener: Listener, tls: Option<Arc<ServerConfig>>, behaviour: Behaviour) -> io::Result<()> {
    let began = Instant::now();
    loop {
        let stream = listener.accept().await?;
        let (tls, behaviour) = (tls.clone(), behaviour.clone());
        engine::spawn(async move {
            // A connection that fails ends by itself; its client sees it.
            if let Ok(pipe) = Pipe::accept(stream, tls).await {
                let _ = converse(pipe, &behaviour, began).await;
            }
        });
    }
}

async fn converse(mut pipe: Pipe, behaviour: &Behaviour, began: Instant) -> io::Result<()> {
    // Built once for each target that this connection asks for in a row.
    let (mut asked, mut answer) = (Vec::new(), Vec::new());
    loop {
        let Some(request) = request(&mut pipe, &mut asked).await? else { return Ok(()) };
        if let Some(target) = request.new_target {
            answer = self::answer(&target, behaviour);
            asked = target;
        }
        let stalled = stall(behaviour, began.elapsed());
        if !stalled.is_zero() {
            engine::sleep(stalled).await;
        }
        pipe.send(&answer).await?;
    }
}

struct Request {
    /// `None`: the target of the request before.
    new_target: Option<Vec<u8>>,
}

/// Reads one request and its body, if it has a length.
async fn request(pipe: &mut Pipe, asked: &mut [u8]) -> io::Result<Option<Request>> {
    let (head, body, new_target) = loop {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        let refuse = |_| io::Error::from(io::ErrorKind::InvalidData);
        if let httparse::Status::Complete(head) = request.parse(pipe.received()).map_err(refuse)? {
            let target = request.path.unwrap_or_default().as_bytes();
            break (head, length(request.headers), (target != &*asked).then(|| target.to_vec()));
        }
        if pipe.received().len() > HEAD_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if !pipe.fill().await? {
            return Ok(None);
        }
    };
    pipe.consume(head);
    let mut left = body.unwrap_or(0);
    while left > 0 {
        if pipe.received().is_empty() && !pipe.fill().await? {
            return Ok(None);
        }
        let here = left.min(pipe.received().len());
        pipe.consume(here);
        left -= here;
    }
    Ok(Some(Request { new_target }))
}

/// The message's `Content-Length`, where there is one that can be read.
pub(super) fn length(headers: &[httparse::Header<'_>]) -> Option<usize> {
    let header = headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"))?;
    std::str::from_utf8(header.value).ok()?.trim().parse().ok()
}

fn answer(target: &[u8], behaviour: &Behaviour) -> Vec<u8> {
    let asked = std::str::from_utf8(target).ok().and_then(|target| target.strip_prefix("/bytes/"));
    let bytes = match asked.map(str::parse) {
        None => behaviour.bytes,
        Some(Ok(bytes)) if bytes <= BENCH_BODY_BYTES_MAX => bytes,
        Some(_) => return b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec(),
    };
    let mut body = body(bytes);
    if let (true, Some(last)) = (behaviour.wrong_body, body.last_mut()) {
        *last = b'!';
    }
    let mut answer = format!(
        "HTTP/1.1 {} Answer\r\ncontent-type: application/octet-stream\r\ncontent-length: {bytes}\r\n\r\n",
        behaviour.status
    )
    .into_bytes();
    answer.extend_from_slice(&body);
    answer
}

/// What is left of the stall, `elapsed` after the origin began.
fn stall(behaviour: &Behaviour, elapsed: Duration) -> Duration {
    let into = Duration::from_nanos(u64::from(elapsed.subsec_nanos()));
    Duration::from_millis(behaviour.stall_ms.min(1000)).saturating_sub(into)
}
