//! How a response's body is delimited: a length, or chunks (RFC 9112, sections 6 and 7).
//!
//! The harness reads its own origin's answers as they come out of any proxy, which may have framed them anew. What it cannot
//! read is an error of the target.

use std::io;

use super::pipe::Pipe;
use crate::limits::HEAD_BYTES_MAX;

/// Where in a body a reader is.
#[derive(Debug)]
pub(super) enum Framing {
    /// So many bytes are still to come.
    Length(u64),
    /// A chunk's size line is next.
    Size,
    /// So many bytes of a chunk are still to come.
    Chunk(u64),
    /// The line end behind a chunk is next.
    ChunkEnd,
    /// The lines behind the last chunk are next.
    Trailer,
    /// The body is over.
    Over,
}

impl Framing {
    /// As the head says; `None` where the body would last until the connection ends.
    pub(super) fn of(headers: &[httparse::Header<'_>]) -> Option<Framing> {
        let chunked = |header: &httparse::Header<'_>| {
            header.name.eq_ignore_ascii_case("transfer-encoding")
                && header.value.trim_ascii().eq_ignore_ascii_case(b"chunked")
        };
        if headers.iter().any(chunked) {
            return Some(Framing::Size);
        }
        length(headers).map(Framing::Length)
    }

    /// Waits for bytes of the body; as many of the pipe's received bytes are. 0: it is over.
    pub(super) async fn more(&mut self, pipe: &mut Pipe) -> io::Result<usize> {
        loop {
            let received = pipe.received();
            let here = |left: u64| usize::try_from(left).unwrap_or(usize::MAX).min(received.len());
            match *self {
                Framing::Over | Framing::Length(0) => return Ok(0),
                Framing::Length(left) | Framing::Chunk(left) if !received.is_empty() => return Ok(here(left)),
                Framing::Length(_) | Framing::Chunk(_) => {}
                Framing::Size => match httparse::parse_chunk_size(received) {
                    Ok(httparse::Status::Complete((used, size))) => {
                        pipe.consume(used);
                        *self = if size == 0 { Framing::Trailer } else { Framing::Chunk(size) };
                        continue;
                    }
                    Ok(httparse::Status::Partial) if received.len() <= HEAD_BYTES_MAX => {}
                    _ => return Err(io::Error::other("a chunk without a size")),
                },
                Framing::ChunkEnd | Framing::Trailer => {
                    if let Some(used) = line(received)? {
                        let ends = used == 2;
                        pipe.consume(used);
                        *self = match (&*self, ends) {
                            (Framing::ChunkEnd, true) => Framing::Size,
                            (Framing::ChunkEnd, false) => return Err(io::Error::other("a chunk longer than its size")),
                            (_, true) => Framing::Over,
                            (_, false) => Framing::Trailer,
                        };
                        continue;
                    }
                }
            }
            if !pipe.fill().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Takes the first `count` bytes, at most as many as [`Framing::more`] said, out of the pipe.
    pub(super) fn take(&mut self, pipe: &mut Pipe, count: usize) {
        pipe.consume(count);
        let count = count as u64;
        *self = match *self {
            Framing::Length(left) => Framing::Length(left.saturating_sub(count)),
            Framing::Chunk(left) if left <= count => Framing::ChunkEnd,
            Framing::Chunk(left) => Framing::Chunk(left - count),
            _ => return,
        };
    }

    /// The rest of the body, as long as it is no longer than `bytes_max`.
    pub(super) async fn rest(&mut self, pipe: &mut Pipe, bytes_max: usize) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let count = self.more(pipe).await?;
            if count == 0 {
                return Ok(body);
            }
            if body.len() + count > bytes_max {
                return Err(io::Error::other("a body longer than any that the origin sends"));
            }
            body.extend_from_slice(&pipe.received()[..count]);
            self.take(pipe, count);
        }
    }
}

/// The length of the first line with its end; `None` while it is not there as a whole.
fn line(received: &[u8]) -> io::Result<Option<usize>> {
    match memchr::memchr(b'\n', received) {
        Some(at) if at > 0 && received[at - 1] == b'\r' => Ok(Some(at + 1)),
        None if received.len() <= HEAD_BYTES_MAX => Ok(None),
        _ => Err(io::Error::other("a line of a chunked body without its end")),
    }
}

/// The message's `Content-Length`, where there is one that can be read.
pub(super) fn length(headers: &[httparse::Header<'_>]) -> Option<u64> {
    let header = headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"))?;
    std::str::from_utf8(header.value).ok()?.trim().parse().ok()
}
