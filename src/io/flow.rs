//! One connection, top to bottom: READ THIS FIRST.
//!
//! ```text
//! accept → original destination → peek → admit TLS | in the clear | refuse → for each request: judge → forward → relay → outcome
//! ```
//!
//! `judge` parses, decides and records without an await in between; only what it returns can be forwarded, and forwarding consumes the
//! permit that policy made. A connection carries requests strictly one after the other; whatever is ambiguous ends it.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use crate::audit::Protocol;
use crate::io::admit;
use crate::io::engine::{self, Buf, Stream};
use crate::io::judge::Judged;
use crate::io::refuse::refuse;
use crate::io::transport::{Filled, Transport};
use crate::io::upstream::{Route, Upstream};
use crate::io::worker::Worker;
use crate::limits::{DENIED_BODY_BYTES_MAX, DENIED_BODY_WAIT, HEAD_WAIT, IDLE_WAIT};
use crate::parse::Progress;
use crate::parse::head::{self, HeadError, Scan};
use crate::policy::Scheme;

/// What is known of a connection before its first request; every record of the connection carries it.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    /// Number of the connection, unique within the log's run.
    pub(crate) connection: u64,
    /// The client's address.
    pub(crate) source: SocketAddr,
    /// Where the client meant to connect to. A fact for the record; never what is dialled.
    pub(crate) destination: SocketAddr,
    /// Plaintext or TLS on the client's side.
    pub(crate) scheme: Scheme,
    /// The name in the ClientHello.
    pub(crate) sni: Option<Box<str>>,
}

/// A client connection and what it keeps between exchanges.
pub(crate) struct Connection {
    pub(crate) worker: Rc<Worker>,
    pub(crate) arrival: Arrival,
    pub(crate) client: Transport,
    /// The origin connection of the last exchange: most clients stay with one origin.
    pub(crate) upstream: Option<(Route, Upstream)>,
    /// Bytes on their way out; reused.
    pub(crate) out: Vec<u8>,
    /// Room for a head that the kernel's buffer does not hold; reused.
    pub(crate) spare: Vec<u8>,
}

/// What follows an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The connection may carry another request.
    Again,
    /// Everything was said: close in good order.
    Close,
    /// Everything was said, but the client may still be sending: close, and read on for a moment.
    Linger,
    /// A message was left unfinished: close so that the client cannot take it for a whole one.
    Abort,
}

/// Serves one accepted connection to its end.
pub(crate) async fn serve(stream: Stream, worker: Rc<Worker>) {
    let Some(arrival) = arrive(&stream, &worker) else { return };
    let first = match engine::timeout(HEAD_WAIT, stream.recv()).await {
        Ok(Ok(first)) if !first.is_empty() => first,
        // Nothing was asked: a scan, a health check, or a protocol in which the server speaks first.
        Ok(_) => return,
        Err(_) => return refuse(&worker, &arrival, Protocol::Tcp, "no_request"),
    };
    let (arrival, client) = match Speech::of(&first) {
        Speech::Tls => match admit::tls(stream, first, arrival, &worker).await {
            Some(admitted) => admitted,
            None => return,
        },
        Speech::Http => (arrival, Transport::plain(stream, first)),
        Speech::Other => {
            stream.reset();
            return refuse(&worker, &arrival, Protocol::Tcp, "protocol_unsupported");
        }
    };
    let mut connection = Connection { worker, arrival, client, upstream: None, out: Vec::new(), spare: Vec::new() };
    let mut next = Next::Again;
    while next == Next::Again && !connection.worker.stopping() {
        next = connection.exchange().await;
    }
    connection.end(next).await;
}

impl Connection {
    /// One request and its response.
    async fn exchange(&mut self) -> Next {
        let length = match self.head().await {
            Ok(length) => length,
            Err(next) => return next,
        };
        let started = Instant::now();
        let head = self.client.take(length, std::mem::take(&mut self.spare));
        let mut resolved = None;
        let judged = loop {
            match self.judge(&head, started, resolved.as_ref()) {
                Judged::Resolve(host) => resolved = Some(self.resolve(&host).await),
                judged => break judged,
            }
        };
        self.spare = head.into_spare();
        match judged {
            Judged::Forward(forward) => self.forward(forward).await,
            Judged::Refused { body, close } => self.refused(body, close).await,
            Judged::Resolve(_) => Next::Close,
        }
    }

    /// Waits for a whole request head and says how long it is, or how the connection ends without one.
    async fn head(&mut self) -> Result<usize, Next> {
        if self.client.pending() == 0
            && !matches!(engine::timeout(IDLE_WAIT, self.client.fill()).await, Ok(Ok(Filled::Bytes)))
        {
            return Err(Next::Close);
        }
        let mut scan = Scan::default();
        // Nearly every head arrives as a whole: only one that does not costs a timer.
        let found = match self.client.received(|bytes| scan.find(bytes)) {
            Ok(Progress::More) => engine::timeout(HEAD_WAIT, self.rest_of_head(&mut scan)).await,
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
        loop {
            if !matches!(self.client.fill().await, Ok(Filled::Bytes)) {
                return None;
            }
            match self.client.received(|bytes| scan.find(bytes)) {
                Ok(Progress::More) => {}
                found => return Some(found),
            }
        }
    }

    /// Asks the office for the addresses of `host`.
    async fn resolve(&self, host: &str) -> crate::io::judge::Resolution {
        match self.worker.office.resolve(host).await {
            Ok(found) => found.map_err(crate::io::names::NameError::code),
            Err(_) => Err("overloaded"),
        }
    }

    /// Sends the refusal in `out`. With a `body` still arriving the connection ends, and lingers so that the answer is not lost in a reset.
    pub(crate) async fn refused(&mut self, body: bool, close: bool) -> Next {
        let (sent, out) = self.client.send(std::mem::take(&mut self.out)).await;
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
    /// A TLS record starts with its type (RFC 8446 §5.1); an HTTP request with a method, a space, and on its first line a version.
    fn of(first: &Buf) -> Speech {
        if first.first() == Some(&0x16) {
            return Speech::Tls;
        }
        let line = memchr::memchr(b'\n', first).map(|end| &first[..end]);
        match head::opens_request(first) {
            Progress::Done(false) => Speech::Other,
            _ if line.is_some_and(|line| line.len() > 1 && memchr::memmem::find(line, b" HTTP/").is_none()) => {
                Speech::Other
            }
            _ => Speech::Http,
        }
    }
}

/// Learns where the connection was meant to go. Without an original destination it is closed: never a guess.
fn arrive(stream: &Stream, worker: &Worker) -> Option<Arrival> {
    let source = stream.peer_addr().ok()?;
    let mut arrival =
        Arrival { connection: worker.number(), source, destination: source, scheme: Scheme::Http, sni: None };
    match worker.ingress.original_destination(stream) {
        Ok(destination) if !worker.own.contains(&destination) => {
            arrival.destination = destination;
            Some(arrival)
        }
        _ => {
            refuse(worker, &arrival, Protocol::Tcp, "no_original_destination");
            None
        }
    }
}
