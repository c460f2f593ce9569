//! Bodies, in one direction: from a transport's inbox out through another, bounded, never held back for more than one read.
//!
//! A length-framed body passes span by span, without a copy where both sides are in the clear. A chunked body is decoded and framed anew, so
//! that no size line, extension or trailer of one peer ever reaches the other.

use std::cell::Cell;
use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use crate::io::engine::{self, Either};
use crate::io::transport::{Filled, Transport};
use crate::io::wire;
use crate::limits::{RELAY_BATCH_BYTES_MAX, REQUEST_BODY_BYTES_MIN, WATCH_AFTER};
use crate::parse::chunked::{Decoder, Step};

/// Why a body did not get through.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The sender's fault: the body is cut short or not what its framing says. The stable word.
    Sender(&'static str),
    /// The receiver cannot be written to.
    Receiver,
    /// The receiver has not taken a byte for too long.
    Stalled,
}

/// How a decoded body leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reframe {
    /// In chunks of ours, with a last one.
    Chunks,
    /// As bare bytes.
    Bare,
}

/// One direction of an exchange.
pub(crate) struct Direction<'t> {
    pub(crate) from: &'t Transport,
    pub(crate) to: &'t Transport,
    /// Body bytes that got through.
    pub(crate) count: &'t Cell<u64>,
    /// Whether to notice that the receiver hangs up while the sender is silent. Only where nobody else reads from the receiver.
    pub(crate) watched: bool,
    /// How long the sender may be silent, and how long the receiver may take for what is sent.
    pub(crate) wait: Duration,
    /// How fast the sender has to come forward, where it has to.
    pub(crate) pace: Option<&'t Pace>,
}

/// The least progress of a body whose sender must not drip it: [`REQUEST_BODY_BYTES_MIN`] within a time that counts only while the sender
/// is waited for. A receiver that does not read is not the sender's fault.
pub(crate) struct Pace {
    within: Duration,
    waited: Cell<Duration>,
    come: Cell<usize>,
}

impl Pace {
    /// So much within `within`.
    pub(crate) fn new(within: Duration) -> Pace {
        Pace { within, waited: Cell::default(), come: Cell::default() }
    }

    fn left(&self) -> Duration {
        self.within.saturating_sub(self.waited.get())
    }

    /// Counts a wait and what came of it.
    fn count(&self, waited: Duration, bytes: usize) {
        self.waited.set(self.waited.get() + waited);
        self.come.set(self.come.get() + bytes);
        if self.come.get() >= REQUEST_BODY_BYTES_MIN {
            self.waited.set(Duration::ZERO);
            self.come.set(0);
        }
    }
}

/// Relays exactly `length` bytes. What is in `lead` goes out first, in one piece with the first bytes.
pub(crate) async fn length(way: &Direction<'_>, length: u64, lead: &mut Vec<u8>) -> Result<(), Broken> {
    let Direction { from, to, count, .. } = *way;
    let mut left = length;
    loop {
        let here = usize::try_from(left).unwrap_or(usize::MAX).min(from.pending());
        if !lead.is_empty() {
            // A head travels with as much body as is here, up to a batch: one packet for a small message.
            let along = here.min(RELAY_BATCH_BYTES_MAX);
            from.received(|bytes| lead.extend_from_slice(&bytes[..along]));
            from.consume(along);
            advance(count, &mut left, along);
            send(way, lead).await?;
        } else if here > 0 {
            in_time(way, pin!(to.send_from(from, here))).await?.map_err(|_| Broken::Receiver)?;
            advance(count, &mut left, here);
        }
        if left == 0 {
            return Ok(());
        }
        if from.pending() == 0 {
            fill(way).await?;
        }
    }
}

/// Relays a chunked body to its end. What is in `lead` goes out first, in one piece with the first chunks.
pub(crate) async fn chunked(way: &Direction<'_>, reframe: Reframe, lead: &mut Vec<u8>) -> Result<(), Broken> {
    let Direction { from, count, .. } = *way;
    let mut decoder = Decoder::new();
    loop {
        let (consumed, ended) = from.received(|bytes| transcode(&mut decoder, bytes, reframe, lead, count))?;
        from.consume(consumed);
        if !lead.is_empty() {
            send(way, lead).await?;
        }
        if ended {
            return Ok(());
        }
        if from.pending() == 0 {
            fill(way).await?;
        }
    }
}

/// Relays until the sender closes its side.
pub(crate) async fn until_close(way: &Direction<'_>, reframe: Reframe, lead: &mut Vec<u8>) -> Result<(), Broken> {
    let Direction { from, count, .. } = *way;
    loop {
        #[cfg(test)]
        from.received(crate::io::tests::fault_in_a_body);
        let here = from.pending().min(RELAY_BATCH_BYTES_MAX);
        if here > 0 {
            from.received(|bytes| chunk(&bytes[..here], reframe, lead));
            from.consume(here);
            count.set(count.get() + here as u64);
        }
        if !lead.is_empty() {
            send(way, lead).await?;
        }
        if from.pending() > 0 {
            continue;
        }
        match more(way).await? {
            Filled::Bytes => {}
            Filled::End { clean: true } => break,
            // Without a close_notify nobody can tell the end from a cut (RFC 8446 §6.1).
            Filled::End { clean: false } => return Err(Broken::Sender("body_truncated")),
        }
    }
    if reframe == Reframe::Chunks {
        lead.extend_from_slice(wire::LAST_CHUNK);
        send(way, lead).await?;
    }
    Ok(())
}

/// Decodes what is in `bytes` into `out`, up to a batch; says how much was consumed and whether the body ended.
fn transcode(
    decoder: &mut Decoder,
    bytes: &[u8],
    reframe: Reframe,
    out: &mut Vec<u8>,
    count: &Cell<u64>,
) -> Result<(usize, bool), Broken> {
    let mut at = 0;
    while at < bytes.len() && out.len() < RELAY_BATCH_BYTES_MAX {
        match decoder.step(&bytes[at..]).map_err(|error| Broken::Sender(error.code()))? {
            Step::Data { skip, len } => {
                chunk(&bytes[at + skip..at + skip + len], reframe, out);
                count.set(count.get() + len as u64);
                at += skip + len;
            }
            Step::More => at = bytes.len(),
            Step::End { consumed } => {
                if reframe == Reframe::Chunks {
                    out.extend_from_slice(wire::LAST_CHUNK);
                }
                return Ok((at + consumed, true));
            }
        }
    }
    Ok((at, false))
}

fn chunk(data: &[u8], reframe: Reframe, out: &mut Vec<u8>) {
    if data.is_empty() {
        return;
    }
    if reframe == Reframe::Bare {
        out.extend_from_slice(data);
        return;
    }
    wire::chunk_size(data.len(), out);
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// Sends `bytes` and leaves the vector empty, with its room.
async fn send(way: &Direction<'_>, bytes: &mut Vec<u8>) -> Result<(), Broken> {
    let (sent, mut back) = in_time(way, pin!(way.to.send(std::mem::take(bytes)))).await?;
    back.clear();
    *bytes = back;
    sent.map_err(|_| Broken::Receiver)
}

/// Waits for the receiver to take what is sent, as long as the sender may be silent: a peer that never reads is one that is gone. (Pinned by
/// the caller: a future that is handed over is kept twice.)
async fn in_time<T>(way: &Direction<'_>, send: Pin<&mut impl Future<Output = T>>) -> Result<T, Broken> {
    engine::timeout(way.wait, send).await.map_err(|_| Broken::Stalled)
}

async fn fill(way: &Direction<'_>) -> Result<(), Broken> {
    match more(way).await? {
        Filled::Bytes => Ok(()),
        Filled::End { .. } => Err(Broken::Sender("body_truncated")),
    }
}

async fn more(way: &Direction<'_>) -> Result<Filled, Broken> {
    let watched = way.watched.then_some(way.to);
    let (bound, started) = match way.pace {
        Some(pace) => (way.wait.min(pace.left()), Some(Instant::now())),
        None => (way.wait, None),
    };
    let filled = patiently(bound, way.from.fill(), watched).await;
    if let (Some(pace), Some(started)) = (way.pace, started) {
        pace.count(started.elapsed(), way.from.pending());
    }
    match filled {
        Waited::Done(filled) => filled.map_err(|_| Broken::Sender("body_unreadable")),
        Waited::Expired => Err(Broken::Sender("body_timeout")),
        Waited::Gone => Err(Broken::Receiver),
    }
}

/// How a wait for one peer ended.
pub(crate) enum Waited<T> {
    /// As hoped.
    Done(T),
    /// Not in time.
    Expired,
    /// The other peer hung up meanwhile.
    Gone,
}

/// Waits for `work`. A wait that turns out to be long also watches the other peer, if one is given, so that an origin does not work on for a client
/// that left; a short wait, which is nearly every one, costs nothing for it.
pub(crate) async fn patiently<F: Future>(bound: Duration, work: F, watched: Option<&Transport>) -> Waited<F::Output> {
    let mut work = pin!(work);
    let first = WATCH_AFTER.min(bound);
    if let Ok(done) = engine::timeout(first, work.as_mut()).await {
        return Waited::Done(done);
    }
    let rest = bound - first;
    let outcome = match watched {
        None => engine::timeout(rest, work).await.map(Either::Left),
        Some(peer) => engine::timeout(rest, engine::race(work, peer.gone())).await,
    };
    match outcome {
        Ok(Either::Left(done)) => Waited::Done(done),
        Ok(Either::Right(())) => Waited::Gone,
        Err(_) => Waited::Expired,
    }
}

fn advance(count: &Cell<u64>, left: &mut u64, by: usize) {
    count.set(count.get() + by as u64);
    *left -= by as u64;
}
