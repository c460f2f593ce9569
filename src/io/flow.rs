//! One connection, top to bottom: READ THIS FIRST.
//!
//! ```text
//! accept → original destination → peek → admit TLS | in the clear | refuse → for each request: judge → forward → relay → outcome
//! ```
//!
//! `judge` parses, decides and records without an await in between; only what it returns can be forwarded, and forwarding consumes the
//! permit that policy made. A connection carries requests strictly one after the other; whatever is ambiguous ends it.

use std::pin::pin;
use std::rc::Rc;
use std::time::Instant;

use crate::audit::Protocol;
use crate::io::admit;
use crate::io::census::{Entry, Exhausted, Stage};
use crate::io::door::{Arrival, Entrance};
use crate::io::engine::{self, Buf, Stream};
use crate::io::fault;
use crate::io::held::Held;
use crate::io::judge::{Judged, Known};
use crate::io::refuse::refuse;
use crate::io::transport::{Filled, Transport};
use crate::io::upstream::{Route, Upstream};
use crate::io::worker::Worker;
use crate::limits::{
    DENIED_BODY_BYTES_MAX, DENIED_BODY_WAIT, HEAD_READ_PAUSE, HEAD_READ_PAUSE_MAX, HEAD_READS_AT_ONCE,
};
use crate::parse::Progress;
use crate::parse::head::{self, HeadError, Scan};
use crate::parse::host::Host;
use crate::parse::target::Form;

/// A client connection and what it keeps between exchanges.
pub(crate) struct Connection {
    pub(crate) worker: Rc<Worker>,
    pub(crate) arrival: Arrival,
    pub(crate) entry: Entry,
    pub(crate) client: Transport,
    /// The origin connection of the last exchange: most clients stay with one origin.
    pub(crate) upstream: Option<(Route, Upstream)>,
    /// Bytes on their way out; reused.
    pub(crate) out: Vec<u8>,
    /// Room for a head that the kernel's buffer does not hold; reused.
    pub(crate) spare: Vec<u8>,
    /// The head of the request under way, as it came; reused.
    pub(crate) asked: Vec<u8>,
}

/// What follows an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The connection may carry another request.
    Again,
    /// A CONNECT was granted: what follows on the connection is for this authority.
    Tunnel(Host<'static>, u16),
    /// Everything was said: close in good order.
    Close,
    /// Everything was said, but the client may still be sending: close, and read on for a moment.
    Linger,
    /// A message was left unfinished: close so that the client cannot take it for a whole one.
    Abort,
}

/// Serves one accepted connection to its end.
pub(crate) async fn serve(stream: Stream, entry: Entry, entrance: Rc<Entrance>, worker: Rc<Worker>) {
    let _counted = Counted(Rc::clone(&worker));
    let Some(arrival) = entrance.arrive(&stream, &worker) else { return };
    let _share = match worker.share(&arrival.agent) {
        Ok(share) => share,
        Err(Exhausted { first }) => {
            // One record for a run of refusals; the counters have them all.
            match first {
                true => refuse(&worker, &arrival, Protocol::Tcp, "agent_connections"),
                false => worker.counters.over_limit(),
            }
            return stream.reset();
        }
    };
    let (mark, known) = (entry.mark(), arrival.clone());
    // Pinned here and not there: a future that is handed over is kept twice.
    let work = pin!(converse(stream, entry, arrival, Rc::clone(&worker)));
    if let Err(fault) = fault::caught(work).await {
        // What was decided has its outcome on record. What was not is refused, and that is on record now.
        if mark.stage() != Stage::Decided {
            refuse(&worker, &known, Protocol::Tcp, "internal_error");
        }
        std::panic::resume_unwind(fault);
    }
}

/// Counts the end of a connection, also of one that a panic ended.
struct Counted(Rc<Worker>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.counters.closed();
    }
}

/// Serves a connection of which everything is known that precedes its first byte.
pub(crate) async fn converse(stream: Stream, entry: Entry, arrival: Arrival, worker: Rc<Worker>) {
    let Some(mut connection) = open((stream, entry), Buf::default(), arrival, &worker).await else { return };
    let end = loop {
        match connection.exchange().await {
            Next::Again if !worker.stopping() => {}
            Next::Tunnel(host, port) => match connection.enter(host, port).await {
                Some(inner) => connection = inner,
                None => return,
            },
            end => break end,
        }
    };
    connection.end(end).await;
}

/// Waits for the client's first bytes, unless some have come already, and learns what they speak; `None` when it was refused.
async fn open(
    (stream, entry): (Stream, Entry),
    first: Buf,
    arrival: Arrival,
    worker: &Rc<Worker>,
) -> Option<Connection> {
    let (speech, first) = match Speech::of(&first) {
        Progress::Done(speech) => (speech, first),
        Progress::More => match engine::timeout(worker.bounds.head, learn(&stream, first)).await {
            Ok(learnt) => learnt?,
            Err(_) => {
                refuse(worker, &arrival, Protocol::Tcp, "no_request");
                return None;
            }
        },
    };
    let (arrival, client) = match speech {
        // To a proxy's client TLS is for the inside of a CONNECT, and there nothing else is spoken.
        Speech::Tls if arrival.form == Form::Origin => admit::tls(stream, first, arrival, worker).await?,
        Speech::Http if arrival.tunnel.is_none() => (arrival, Transport::plain(stream, first)),
        _ => {
            stream.reset();
            refuse(worker, &arrival, Protocol::Tcp, "protocol_unsupported");
            return None;
        }
    };
    let worker = Rc::clone(worker);
    Some(Connection {
        worker,
        arrival,
        entry,
        client,
        upstream: None,
        out: Vec::new(),
        spare: Vec::new(),
        asked: Vec::new(),
    })
}

/// Receives until it can be told what the client speaks; `None` when it ends first: a scan, a health check, or a protocol in which the
/// server speaks first.
async fn learn(stream: &Stream, mut first: Buf) -> Option<(Speech, Buf)> {
    loop {
        let more = stream.recv().await.ok().filter(|more| !more.is_empty())?;
        // What is cut within its first line is joined; nearly nothing is.
        first = if first.is_empty() { more } else { Buf::from([&*first, &*more].concat()) };
        match Speech::of(&first) {
            Progress::Done(speech) => return Some((speech, first)),
            // Not kept in the engine's buffer: whoever sends a byte and waits must not hold one.
            Progress::More => first = Buf::from(first.to_vec()),
        }
    }
}

impl Connection {
    /// One request and its response.
    async fn exchange(&mut self) -> Next {
        let length = match self.head().await {
            Ok(length) => length,
            Err(next) => return next,
        };
        // What a held body takes counts until it is forwarded; a message's is kept, to be asked about again.
        let (judged, held) = self.weigh(length).await;
        match judged {
            Judged::Forward(forward) => {
                self.entry.is(Stage::Decided);
                self.forward(forward).await
            }
            Judged::Message(message) => {
                self.entry.is(Stage::Decided);
                Box::pin(self.converse(*message, held.as_deref())).await
            }
            Judged::Refused { body, close } => self.refused(body, close).await,
            Judged::Tunnel(host, port) => Next::Tunnel(host, port),
            Judged::Resolve(_) | Judged::Hold(_) | Judged::Ask(_) => Next::Close,
        }
    }

    /// Judges the head of `length` octets in the inbox, as often as something has to be found out first.
    async fn weigh(&mut self, length: usize) -> (Judged, Option<Box<Held>>) {
        let started = Instant::now();
        let mut head = self.client.take(length, std::mem::take(&mut self.spare));
        #[cfg(test)]
        crate::io::tests::fault_before_the_decision(&head);
        let mut known = Known::default();
        let mut begun = None;
        let mut judged = loop {
            // With `on_full: block` a request waits here until it can be recorded; else nothing does.
            self.worker.producer.room().await;
            match self.judge(&head, started, &known) {
                Judged::Resolve(host) => known.resolved = Some(self.worker.resolve(&self.arrival.agent, &host).await),
                Judged::Hold(hold) => {
                    head = head.settled();
                    // Boxed, so that exchanges without one do not carry its size.
                    known.held = Some(Box::new(Box::pin(self.hold(hold)).await));
                }
                Judged::Ask(asking) => {
                    head = head.settled();
                    let (leave, has_begun) = Box::pin(self.ask_somebody(&asking)).await;
                    known.leave.set(Some(leave));
                    begun = has_begun;
                    // That may have taken minutes, and another policy may be in force.
                    known.resolved = None;
                }
                judged => break judged,
            }
        };
        match (&mut judged, begun) {
            (Judged::Message(message), begun) => message.begun = begun,
            (Judged::Refused { close, .. }, Some(id)) => {
                self.refuse_in_events(&id);
                *close = true;
            }
            _ => {}
        }
        if matches!(judged, Judged::Forward(_) | Judged::Message(_)) {
            self.asked.clear();
            self.asked.extend_from_slice(&head);
        }
        self.spare = head.into_spare();
        (judged, known.held)
    }

    /// Waits for a whole request head and says how long it is, or how the connection ends without one.
    async fn head(&mut self) -> Result<usize, Next> {
        if self.client.pending() == 0 {
            self.entry.is(Stage::Waiting);
            let filled = engine::timeout(self.worker.bounds.idle, self.client.fill()).await;
            if !matches!(filled, Ok(Ok(Filled::Bytes))) {
                return Err(Next::Close);
            }
        }
        self.entry.is(Stage::Asking);
        let mut scan = Scan::default();
        // Nearly every head arrives as a whole: only one that does not costs a timer.
        let found = match self.client.received(|bytes| scan.find(bytes)) {
            Ok(Progress::More) => engine::timeout(self.worker.bounds.head, self.rest_of_head(&mut scan)).await,
            found => Ok(Some(found)),
        };
        match found {
            Ok(Some(Ok(Progress::Done(length)))) => Ok(length),
            Ok(Some(Err(error))) => Err(self.refuse_head(&error).await),
            Ok(Some(Ok(Progress::More)) | None) => Err(Next::Close),
            Err(_) => {
                refuse(&self.worker, &self.arrival, Protocol::Http11, "head_timeout");
                Err(Next::Close)
            }
        }
    }

    /// Receives until the head is whole or wrong; `None` when the client is done.
    async fn rest_of_head(&self, scan: &mut Scan) -> Option<Result<Progress<usize>, HeadError>> {
        for read in 1_u32.. {
            let paced = read.saturating_sub(HEAD_READS_AT_ONCE);
            if paced > 0 {
                // Who sends octet by octet must not have the kernel wake us for each.
                let doubled = 1 << ((paced - 1) / HEAD_READS_AT_ONCE).min(8);
                engine::sleep((HEAD_READ_PAUSE * doubled).min(HEAD_READ_PAUSE_MAX)).await;
            }
            if !matches!(self.client.fill().await, Ok(Filled::Bytes)) {
                return None;
            }
            match self.client.received(|bytes| scan.find(bytes)) {
                Ok(Progress::More) => {}
                found => return Some(found),
            }
        }
        None
    }

    /// Grants a CONNECT (RFC 9110 §9.3.6): what follows on the connection is admitted anew, as a connection to its authority.
    async fn enter(mut self, host: Host<'static>, port: u16) -> Option<Connection> {
        if let Some((route, upstream)) = self.upstream.take() {
            self.worker.pool.borrow_mut().put(route, upstream);
        }
        let granted = self.client.send(b"HTTP/1.1 200 Connection established\r\n\r\n".to_vec());
        if !matches!(engine::timeout(self.worker.bounds.idle, granted).await, Ok((Ok(()), _))) {
            return None;
        }
        let Connection { worker, mut arrival, entry, client, .. } = self;
        arrival.port = port;
        arrival.form = Form::Origin;
        arrival.tunnel = Some((host, port));
        let (stream, first) = client.into_parts();
        open((stream, entry), first, arrival, &worker).await
    }

    /// Sends the refusal in `out`. With a `body` still arriving the connection ends, and lingers so that the answer is not lost in a reset.
    pub(crate) async fn refused(&mut self, body: bool, close: bool) -> Next {
        self.entry.is(Stage::Decided);
        let send = self.client.send(std::mem::take(&mut self.out));
        // Who asks and does not read the answers is gone after the time that an idle connection has.
        let Ok((sent, out)) = engine::timeout(self.worker.bounds.idle, send).await else { return Next::Abort };
        self.keep(out);
        match sent {
            Err(_) => Next::Abort,
            Ok(()) if body => Next::Linger,
            Ok(()) if close => Next::Close,
            Ok(()) => Next::Again,
        }
    }

    /// Reads on and throws away, up to a bound: a close with unread bytes would be a reset (RFC 9112 §9.6).
    async fn discard(&self) {
        let mut read = 0;
        while read <= DENIED_BODY_BYTES_MAX {
            read += self.client.pending();
            self.client.consume(self.client.pending());
            if !matches!(self.client.fill().await, Ok(Filled::Bytes)) {
                return;
            }
        }
    }

    /// Keeps a buffer for the next message.
    pub(crate) fn keep(&mut self, mut out: Vec<u8>) {
        out.clear();
        self.out = out;
    }

    /// Ends the connection; a clean upstream goes to the pool.
    async fn end(mut self, next: Next) {
        if let Some((route, upstream)) = self.upstream.take() {
            self.worker.pool.borrow_mut().put(route, upstream);
        }
        if next == Next::Abort {
            return self.client.reset();
        }
        let _ = engine::timeout(DENIED_BODY_WAIT, async {
            self.client.close().await;
            if next == Next::Linger {
                self.discard().await;
            }
        })
        .await;
    }
}

/// What the first bytes speak.
enum Speech {
    Tls,
    Http,
    Other,
}

impl Speech {
    /// A TLS record starts with its type (RFC 8446 §5.1); an HTTP request with a line that names a version. However the bytes are cut, the answer
    /// is the same.
    fn of(first: &[u8]) -> Progress<Speech> {
        if first.first() == Some(&0x16) {
            return Progress::Done(Speech::Tls);
        }
        match head::opens_request(first) {
            Progress::Done(true) => Progress::Done(Speech::Http),
            Progress::Done(false) => Progress::Done(Speech::Other),
            Progress::More => Progress::More,
        }
    }
}
