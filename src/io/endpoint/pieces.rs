//! The body of an answer, piece by piece as it arrives, and how often a comment in it is worth passing on. Knows nothing of what it says.

use std::time::Instant;

use crate::io::exchange::Exchange;
use crate::io::relay::{self, Waited};
use crate::io::transport::{Filled, Transport};
use crate::limits::{JSON_BYTES_MAX, RELAY_BATCH_BYTES_MAX, SSE_COMMENT_EVERY};
use crate::parse::chunked::{Decoder, Step};
use crate::parse::framing::ResponseFraming;
use crate::parse::sse;

/// What goes with the events of one stream.
#[derive(Default)]
pub(super) struct Events {
    last_comment: Option<Instant>,
}

impl Events {
    /// A comment keeps a connection alive; more than that is a flood.
    pub(super) fn comment(&mut self, out: &mut Vec<u8>) {
        if self.last_comment.is_none_or(|last| last.elapsed() >= SSE_COMMENT_EVERY) {
            self.last_comment = Some(Instant::now());
            out.extend_from_slice(sse::COMMENT);
        }
    }
}

/// Why a body did not come.
pub(super) enum Broken {
    /// Nobody waits for it any more.
    Client,
    /// The server's fault; the stable word.
    Server(&'static str),
}

/// A response body, piece by piece.
pub(super) struct Pieces {
    framing: ResponseFraming,
    left: u64,
    decoder: Decoder,
}

impl Pieces {
    pub(super) fn new(framing: ResponseFraming) -> Pieces {
        let left = if let ResponseFraming::Length(length) = framing { length } else { 0 };
        Pieces { framing, left, decoder: Decoder::new() }
    }

    /// Moves data that is here to `out`, up to a batch; true when it was the last.
    pub(super) fn take(&mut self, from: &Transport, out: &mut Vec<u8>) -> Result<bool, &'static str> {
        let (consumed, ended) = from.received(|bytes| match self.framing {
            ResponseFraming::None => Ok((0, true)),
            ResponseFraming::Length(_) => {
                let here = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                out.extend_from_slice(&bytes[..here]);
                self.left -= here as u64;
                Ok((here, self.left == 0))
            }
            ResponseFraming::UntilClose => {
                out.extend_from_slice(bytes);
                Ok((bytes.len(), false))
            }
            ResponseFraming::Chunked => self.decode(bytes, out),
        })?;
        from.consume(consumed);
        Ok(ended)
    }

    fn decode(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(usize, bool), &'static str> {
        let mut at = 0;
        while at < bytes.len() && out.len() < JSON_BYTES_MAX + RELAY_BATCH_BYTES_MAX {
            match self.decoder.step(&bytes[at..]).map_err(|error| error.code())? {
                Step::Data { skip, len } => {
                    out.extend_from_slice(&bytes[at + skip..at + skip + len]);
                    at += skip + len;
                }
                Step::More => at = bytes.len(),
                Step::End { consumed } => return Ok((at + consumed, true)),
            }
        }
        Ok((at, false))
    }

    /// Waits for more; true when the server has closed, which ends a body that has no other end.
    pub(super) async fn more(&self, exchange: &Exchange<'_>) -> Result<bool, Broken> {
        match relay::patiently(exchange.bounds.body, exchange.upstream.fill(), Some(exchange.client)).await {
            Waited::Done(Ok(Filled::Bytes)) => Ok(false),
            Waited::Done(Ok(Filled::End { clean: true })) if self.framing == ResponseFraming::UntilClose => Ok(true),
            Waited::Done(Ok(Filled::End { .. })) => Err(Broken::Server("body_truncated")),
            Waited::Done(Err(_)) => Err(Broken::Server("body_unreadable")),
            Waited::Expired => Err(Broken::Server("body_timeout")),
            Waited::Gone => Err(Broken::Client),
        }
    }
}
