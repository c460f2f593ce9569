//! An HTTP/1.1 origin: the same bytes for everybody, and faults on demand.
//!
//! `GET /bytes/N` answers N bytes of a fixed pattern; `GET /events/…` streams; `POST /mcp` answers MCP calls; any other path answers
//! the default number of bytes. The faults exist so that the harness can be held against known truths: it must show a stall, and count
//! a wrong status or body.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use serde::{Deserialize, Serialize};

use super::pipe::Pipe;
use super::{body, events, framing, mcp};
use crate::io::engine::{self, Listener};
use crate::limits::{BENCH_BODY_BYTES_MAX, BENCH_HELD_BYTES_MAX, BENCH_PIECE_BYTES, HEAD_BYTES_MAX, HEADERS_MAX};

/// How the origin answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Behaviour {
    /// Body bytes where the path does not say; of an event's data and of a tool's text too.
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
    let (mut asked, mut answer) = (Vec::new(), Answer::Unknown);
    loop {
        let Some(request) = request(&mut pipe, &mut asked).await? else { return Ok(()) };
        if let Some(target) = request.new_target {
            answer = Answer::to(&target, behaviour);
            asked = target;
        }
        let stalled = stall(behaviour, began.elapsed());
        if !stalled.is_zero() {
            engine::sleep(stalled).await;
        }
        match &answer {
            Answer::Whole(bytes) => pipe.send(bytes).await?,
            Answer::Long(bytes) => {
                let head = head(behaviour.status, OCTETS, *bytes);
                body::send(&mut pipe, head.as_bytes(), *bytes, behaviour.wrong_body).await?;
            }
            Answer::Events(stream) => events::serve(&mut pipe, *stream, behaviour).await?,
            Answer::Mcp => {
                let (status, text) = mcp::answer(&request.body, behaviour.bytes, behaviour.wrong_body);
                let status = if status == 200 { behaviour.status } else { status };
                let answer = format!("{}{text}", head(status, "application/json", text.len()));
                pipe.send(answer.as_bytes()).await?;
            }
            Answer::Unknown => pipe.send(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await?,
        }
    }
}

/// What a path is answered with.
enum Answer {
    /// Head and body.
    Whole(Vec<u8>),
    /// So many bytes, in pieces.
    Long(usize),
    Events(events::Stream),
    Mcp,
    Unknown,
}

impl Answer {
    fn to(target: &[u8], behaviour: &Behaviour) -> Answer {
        let target = std::str::from_utf8(target).unwrap_or_default();
        // The absolute form, which a proxy may leave as it is.
        let path = target.strip_prefix("http://").map_or(target, |rest| rest.find('/').map_or("/", |at| &rest[at..]));
        if path == mcp::PATH {
            return Answer::Mcp;
        }
        if let Some(stream) = path.strip_prefix(events::PREFIX) {
            return events::Stream::read(stream).map_or(Answer::Unknown, Answer::Events);
        }
        let bytes = match path.strip_prefix(BYTES).map(str::parse) {
            None => behaviour.bytes,
            Some(Ok(bytes)) if bytes <= BENCH_BODY_BYTES_MAX => bytes,
            Some(_) => return Answer::Unknown,
        };
        if bytes > BENCH_PIECE_BYTES {
            return Answer::Long(bytes);
        }
        let mut whole = head(behaviour.status, OCTETS, bytes).into_bytes();
        whole.extend_from_slice(&body::body(bytes));
        if let (true, Some(last)) = (behaviour.wrong_body && bytes > 0, whole.last_mut()) {
            *last = b'!';
        }
        Answer::Whole(whole)
    }
}

fn head(status: u16, media: &str, bytes: usize) -> String {
    format!("HTTP/1.1 {status} Answer\r\ncontent-type: {media}\r\ncontent-length: {bytes}\r\n\r\n")
}

struct Request {
    /// `None`: the target of the request before.
    new_target: Option<Vec<u8>>,
    body: Vec<u8>,
}

/// Reads one request and its body; `None` where no more come.
async fn request(pipe: &mut Pipe, asked: &mut [u8]) -> io::Result<Option<Request>> {
    let (head, framing, new_target) = loop {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        let refuse = |_| io::Error::from(io::ErrorKind::InvalidData);
        if let httparse::Status::Complete(head) = request.parse(pipe.received()).map_err(refuse)? {
            let target = request.path.unwrap_or_default().as_bytes();
            let framing = framing::Framing::of(request.headers);
            break (head, framing, (target != &*asked).then(|| target.to_vec()));
        }
        if pipe.received().len() > HEAD_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if !pipe.fill().await? {
            return Ok(None);
        }
    };
    pipe.consume(head);
    let body = match framing {
        Some(mut framing) => framing.rest(pipe, BENCH_HELD_BYTES_MAX).await?,
        None => Vec::new(),
    };
    Ok(Some(Request { new_target, body }))
}

/// What is left of the stall, `elapsed` after the origin began.
fn stall(behaviour: &Behaviour, elapsed: Duration) -> Duration {
    let into = Duration::from_nanos(u64::from(elapsed.subsec_nanos()));
    Duration::from_millis(behaviour.stall_ms.min(1000)).saturating_sub(into)
}

/// Where the origin answers bytes.
pub(super) const BYTES: &str = "/bytes/";
const OCTETS: &str = "application/octet-stream";
