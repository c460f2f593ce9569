//! Event streams: the origin sends an event when it is due, and says in it when that was and when it did.
//!
//! `GET /events/COUNT/INTERVAL_NS/DELAY_NS` brings COUNT events, INTERVAL apart, the first DELAY after the request. Times are those of the
//! monotonic clock, which client and origin share wherever they run on one machine.

use std::io;
use std::time::Duration;

use super::body;
use super::framing::Framing;
use super::origin::Behaviour;
use super::pipe::Pipe;
use super::place::now_ns;
use super::wait;
use crate::limits::{BENCH_EVENTS_MAX, BENCH_HELD_BYTES_MAX, HEADERS_MAX};

/// Where the origin streams.
pub(super) const PREFIX: &str = "/events/";

/// What a stream is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stream {
    pub(super) count: u64,
    pub(super) interval_ns: u64,
    pub(super) delay_ns: u64,
}

impl Stream {
    /// The path behind [`PREFIX`].
    pub(super) fn read(path: &str) -> Option<Stream> {
        let mut numbers = path.split('/').map(|number| number.parse::<u64>().ok());
        let stream = Stream { count: numbers.next()??, interval_ns: numbers.next()??, delay_ns: numbers.next()?? };
        let bounded = stream.count <= BENCH_EVENTS_MAX && stream.interval_ns.checked_mul(stream.count.max(1)).is_some();
        (bounded && numbers.next().is_none()).then_some(stream)
    }

    /// The path that [`Stream::read`] reads.
    pub(super) fn path(&self) -> String {
        format!("{PREFIX}{}/{}/{}", self.count, self.interval_ns, self.delay_ns)
    }
}

/// Streams, as the origin.
pub(super) async fn serve(pipe: &mut Pipe, stream: Stream, behaviour: &Behaviour) -> io::Result<()> {
    let begun = now_ns().saturating_add(stream.delay_ns);
    let status = behaviour.status;
    let head = format!(
        "HTTP/1.1 {status} Answer\r\ncontent-type: text/event-stream\r\ncache-control: no-store\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    pipe.send(head.as_bytes()).await?;
    let mut filling = body::body(behaviour.bytes.min(BENCH_HELD_BYTES_MAX));
    if let (true, Some(last)) = (behaviour.wrong_body, filling.last_mut()) {
        *last = b'!';
    }
    let mut event = Vec::new();
    for index in 0..stream.count {
        let due = begun.saturating_add(stream.interval_ns * index);
        wait::until_ns(due).await;
        event.clear();
        event.extend_from_slice(format!("id: {index}\ndata: {due} {} ", now_ns()).as_bytes());
        event.extend_from_slice(&filling);
        event.extend_from_slice(b"\n\n");
        let mut chunk = format!("{:x}\r\n", event.len()).into_bytes();
        chunk.extend_from_slice(&event);
        chunk.extend_from_slice(b"\r\n");
        pipe.send(&chunk).await?;
    }
    pipe.send(b"0\r\n\r\n").await
}

/// An event as it arrived.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Arrived {
    /// From when it was due to here.
    pub(super) delay: Duration,
    /// How late the origin was with it.
    pub(super) lag: Duration,
}

/// Asks for a stream and hands each event to `each`, right or not, until all are there.
pub(super) async fn listen(
    pipe: &mut Pipe,
    request: &[u8],
    bytes: usize,
    mut each: impl FnMut(Result<Arrived, String>),
) -> io::Result<()> {
    pipe.send(request).await?;
    let mut framing = loop {
        if !pipe.fill().await? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        if let httparse::Status::Complete(head) = response.parse(pipe.received()).map_err(io::Error::other)? {
            let (status, framing) = (response.code.unwrap_or(0), Framing::of(response.headers));
            pipe.consume(head);
            if status != 200 {
                return Err(io::Error::other(format!("status {status}")));
            }
            break framing.ok_or_else(|| io::Error::other("a stream without chunks"))?;
        }
    };
    let (mut text, mut expected) = (Vec::new(), 0);
    loop {
        let count = framing.more(pipe).await?;
        if count == 0 {
            return Ok(());
        }
        text.extend_from_slice(&pipe.received()[..count]);
        framing.take(pipe, count);
        let now = now_ns();
        let mut used = 0;
        while let Some(end) = memchr::memmem::find(&text[used..], b"\n\n") {
            each(arrived(&text[used..used + end], expected, bytes, now));
            expected += 1;
            used += end + 2;
        }
        text.drain(..used);
        if text.len() > BENCH_HELD_BYTES_MAX + 256 {
            return Err(io::Error::other("an event longer than any that the origin sends"));
        }
    }
}

fn arrived(event: &[u8], expected: u64, bytes: usize, now: u64) -> Result<Arrived, String> {
    let read = || {
        let (id, data) = std::str::from_utf8(event).ok()?.strip_prefix("id: ")?.split_once("\ndata: ")?;
        let (due, rest) = data.split_once(' ')?;
        let (sent, filling) = rest.split_once(' ')?;
        Some((id.parse::<u64>().ok()?, due.parse::<u64>().ok()?, sent.parse::<u64>().ok()?, filling))
    };
    let (id, due, sent, filling) = read().ok_or_else(|| "an event that the origin did not send".to_owned())?;
    if id != expected {
        return Err(format!("event {id} where {expected} was next"));
    }
    if filling.len() != bytes || !body::matches_at(0, filling.as_bytes()) {
        return Err("an event with data that the origin did not send".to_owned());
    }
    let since = |from: u64, to: u64| Duration::from_nanos(to.saturating_sub(from));
    Ok(Arrived { delay: since(due, now), lag: since(due, sent) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_what_a_stream_brings() {
        let stream = Stream { count: 3, interval_ns: 1000, delay_ns: 5 };
        assert_eq!(stream.path(), "/events/3/1000/5");
        assert_eq!(Stream::read("3/1000/5"), Some(stream));
        for path in
            ["", "3", "3/1000", "3/1000/5/", "3/1000/x", "-1/1000/5", "9/18446744073709551615/0", "100000001/1/0"]
        {
            assert_eq!(Stream::read(path), None, "{path}");
        }
    }

    #[test]
    fn an_event_counts_from_when_it_was_due_and_its_content_is_checked() {
        let event = b"id: 4\ndata: 100 130 abc";
        let right = Arrived { delay: Duration::from_nanos(200), lag: Duration::from_nanos(30) };
        assert_eq!(arrived(event, 4, 3, 300), Ok(right));
        assert!(arrived(event, 5, 3, 300).is_err());
        assert!(arrived(event, 4, 4, 300).is_err());
        assert!(arrived(b"id: 4\ndata: 100 130 ab!", 4, 3, 300).is_err());
        assert!(arrived(b": a comment", 0, 3, 300).is_err());
    }
}
