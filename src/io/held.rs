//! Request bodies that a decision needs: held back, and read strictly while they arrive.
//!
//! A held body stays in the client's inbox. What was read there is what is forwarded afterwards, framed anew, by the same code that forwards any
//! other. It does not know what the body is decided on. One invariant: as long as a body is held, nothing of its request has gone anywhere.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::io::engine;
use crate::io::flow::Connection;
use crate::io::media;
use crate::io::transport::{Filled, Transport};
use crate::limits::{ENVELOPE_WAIT, HELD_AGENT_BYTES_MAX, HELD_WIRE_BYTES_MAX, JSON_BYTES_MAX};
use crate::parse::Progress;
use crate::parse::chunked::{Decoder, Step};
use crate::parse::framing::Framing;
use crate::parse::head::RequestHead;
use crate::parse::json::{self, Layout, Pointers, Scanner, Watch};
use crate::parse::rpc::Envelope;
use crate::policy::{Look, Lookup, Number, Value};

/// What is to be held.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hold {
    pub(crate) framing: Framing,
    pub(crate) expects_continue: bool,
    pub(crate) want: Want,
}

/// What is wanted of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// The values that policy asks for.
    Values,
    /// The body itself.
    Text,
    /// The body itself as long as it can be JSON-RPC. One that cannot be is let go at once, and so is one that takes too long or too much room.
    Envelope,
}

/// A body that was held, and what it counts for as long as it is kept.
pub(crate) struct Held {
    pub(crate) found: Found,
    _share: Share,
}

/// What came of holding a body.
#[derive(Debug)]
pub(crate) enum Found {
    /// There is no byte of it.
    Absent,
    /// The values that policy asks for.
    Values(Values),
    /// The body itself, and what it takes in the inbox.
    Text { bytes: Vec<u8>, wire: usize },
    /// Nothing that was waited for, as far as it has arrived: the rest may still be on its way.
    Other,
    /// No JSON that all recipients read alike, or too much of it.
    Unreadable,
    /// It did not come, or is not framed as its head says.
    Broken { status: u16, code: &'static str },
}

/// The values of a body by JSON pointer.
#[derive(Debug)]
pub(crate) struct Values(Vec<(Box<str>, Owned)>);

/// One value, on its own.
#[derive(Debug)]
enum Owned {
    Text(Box<str>),
    Number(Number),
    Bool(bool),
    Null,
    List(usize),
    Object,
    Unreadable,
}

/// Whether a body could be read at all, by what its head says: JSON, not encoded, not too long.
pub(crate) fn is_readable(head: &RequestHead<'_>, framing: Framing) -> bool {
    let fits = !matches!(framing, Framing::Length(n) if n > JSON_BYTES_MAX as u64);
    fits && media::is_identity(&head.headers) && head.headers.content_type().is_some_and(media::is_json)
}

impl Connection {
    /// Waits for the body behind a head and finds the values in it that policy asks for. The body stays where it is.
    pub(crate) async fn hold(&self, hold: Hold) -> Held {
        let pointers = self.worker.body_pointers();
        let mut share = Share::new(&self.worker.holdings, &self.arrival.agent);
        if hold.expects_continue && self.client.pending() == 0 {
            // RFC 9110 §10.1.1: the client waits for a word, and the origin is not asked before the body is here.
            let told = self.client.send(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec());
            if !matches!(engine::timeout(self.worker.bounds.held_body, told).await, Ok((Ok(()), _))) {
                return Held { found: Found::Broken { status: 408, code: "body_timeout" }, _share: share };
            }
        }
        let read = read(&self.client, hold.framing, (hold.want, &pointers), &mut share);
        let bound = match hold.want {
            Want::Values | Want::Text => self.worker.bounds.held_body,
            Want::Envelope => self.worker.bounds.held_body.min(ENVELOPE_WAIT),
        };
        let found = match engine::timeout(bound, read).await {
            Ok(Ok(found)) | Ok(Err(found)) => found,
            Err(_) => Found::Broken { status: 408, code: "body_timeout" },
        };
        let found = match found {
            // Nobody has asked to wait for this: what is wrong with it shows when it is forwarded.
            Found::Unreadable | Found::Broken { .. } if hold.want == Want::Envelope => Found::Other,
            found => found,
        };
        Held { found, _share: share }
    }
}

impl Held {
    /// The body itself, where it was wanted.
    pub(crate) fn text(&self) -> Option<&[u8]> {
        match &self.found {
            Found::Text { bytes, .. } => Some(bytes),
            _ => None,
        }
    }

    /// The facts for policy.
    pub(crate) fn look(&self) -> Look<'_> {
        match &self.found {
            Found::Absent => Look::Absent,
            Found::Text { bytes, .. } if bytes.is_empty() => Look::Absent,
            Found::Values(values) => Look::At(values),
            Found::Text { .. } | Found::Other | Found::Unreadable | Found::Broken { .. } => Look::Unreadable,
        }
    }
}

/// What is wanted of a body.
async fn read(
    client: &Transport,
    framing: Framing,
    (want, pointers): (Want, &Pointers),
    share: &mut Share,
) -> Result<Found, Found> {
    let mut body = Body::new(framing);
    if want != Want::Values {
        let mut envelope = (want == Want::Envelope).then(Envelope::default);
        while !body.advance(client)? {
            if let Some(envelope) = &mut envelope
                && body.text(client, |text| envelope.step(text, false)) == Progress::Done(false)
            {
                return Ok(Found::Other);
            }
            body.more(client, share).await?;
        }
        // The same answer whether it came with the head, in pieces, or behind it at once.
        if let Some(envelope) = &mut envelope
            && body.text(client, |text| envelope.step(text, true)) == Progress::Done(false)
        {
            return Ok(Found::Other);
        }
        let bytes = body.text(client, <[u8]>::to_vec);
        return Ok(Found::Text { bytes, wire: body.on_the_wire() });
    }
    let mut scanner = Scanner::new(Layout::Free);
    let mut watch = Watch::new(pointers);
    loop {
        let whole = body.advance(client)?;
        if whole && body.is_empty() {
            return Ok(Found::Absent);
        }
        // Refused as soon as it cannot become a text any more: the rest is not waited for.
        match body.text(client, |text| scan(&mut scanner, &mut watch, text, whole)) {
            Ok(Progress::Done(())) => {
                return Ok(body.text(client, |text| Found::Values(Values::of(watch, text, pointers))));
            }
            Ok(Progress::More) => {}
            Err(_) => return Ok(Found::Unreadable),
        }
        body.more(client, share).await?;
    }
}

fn scan(
    scanner: &mut Scanner,
    watch: &mut Watch<'_>,
    text: &[u8],
    whole: bool,
) -> Result<Progress<()>, json::JsonError> {
    loop {
        match scanner.step(text, whole)? {
            json::Step::Token(token) => watch.take(text, token),
            json::Step::More => return Ok(Progress::More),
            json::Step::End => return Ok(Progress::Done(())),
        }
    }
}

/// A body while it arrives in an inbox.
pub(crate) struct Body {
    framing: Framing,
    decoder: Decoder,
    /// Octets of the inbox that were decoded.
    decoded: usize,
    /// The data of a chunked body. One with a length is its own.
    text: Vec<u8>,
    /// Octets of the data that are here.
    here: usize,
}

impl Body {
    pub(crate) fn new(framing: Framing) -> Body {
        Body { framing, decoder: Decoder::new(), decoded: 0, text: Vec::new(), here: 0 }
    }

    /// Looks at what is in the inbox; true when that is the whole body.
    ///
    /// # Errors
    /// What the body comes to when it cannot be had, or is too long.
    pub(crate) fn advance(&mut self, client: &Transport) -> Result<bool, Found> {
        match self.framing {
            Framing::None => Ok(true),
            Framing::Length(length) => {
                let length = usize::try_from(length).map_err(|_| Found::Unreadable)?;
                self.here = length.min(client.pending());
                Ok(self.here == length)
            }
            Framing::Chunked => client.received(|bytes| self.decode(bytes)),
        }
    }

    fn decode(&mut self, bytes: &[u8]) -> Result<bool, Found> {
        let mut whole = false;
        while !whole && self.decoded < bytes.len() {
            let rest = &bytes[self.decoded..];
            match self.decoder.step(rest).map_err(|error| Found::Broken { status: 400, code: error.code() })? {
                Step::Data { skip, len } => {
                    self.text.extend_from_slice(&rest[skip..skip + len]);
                    self.decoded += skip + len;
                }
                Step::More => self.decoded = bytes.len(),
                Step::End { consumed } => {
                    self.decoded += consumed;
                    whole = true;
                }
            }
        }
        self.here = self.text.len();
        if self.here > JSON_BYTES_MAX { Err(Found::Unreadable) } else { Ok(whole) }
    }

    /// Lets `look` see the data that is here.
    pub(crate) fn text<R>(&self, client: &Transport, look: impl FnOnce(&[u8]) -> R) -> R {
        match self.framing {
            Framing::None => look(&[]),
            Framing::Length(_) => client.received(|bytes| look(&bytes[..self.here])),
            Framing::Chunked => look(&self.text),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.here == 0
    }

    /// Octets that the whole body takes in the inbox, once it is there.
    fn on_the_wire(&self) -> usize {
        if self.framing == Framing::Chunked { self.decoded } else { self.here }
    }

    /// Waits for more.
    ///
    /// # Errors
    /// As of [`Body::advance`].
    pub(crate) async fn more(&mut self, client: &Transport, share: &mut Share) -> Result<(), Found> {
        if client.pending() >= HELD_WIRE_BYTES_MAX {
            return Err(Found::Unreadable);
        }
        if !share.grow(client.pending() + self.text.len()) {
            return Err(Found::Broken { status: 503, code: "overloaded" });
        }
        match client.fill_within(HELD_WIRE_BYTES_MAX).await {
            Ok(Filled::Bytes) => Ok(()),
            Ok(Filled::End { .. }) => Err(Found::Broken { status: 400, code: "body_truncated" }),
            Err(_) => Err(Found::Broken { status: 400, code: "body_unreadable" }),
        }
    }
}

impl Values {
    /// The values of a text; nothing if it is not strict.
    pub(crate) fn read(text: &[u8], pointers: &Pointers) -> Option<Values> {
        let mut watch = Watch::new(pointers);
        json::each(text, Layout::Free, |token| watch.take(text, token)).ok()?;
        Some(Values::of(watch, text, pointers))
    }

    fn of(watch: Watch<'_>, text: &[u8], pointers: &Pointers) -> Values {
        let facts = watch.finish(text);
        let value = |pointer: &str| Some((Box::from(pointer), Owned::of(facts.value(pointer)?)));
        Values(pointers.names().filter_map(value).collect())
    }
}

impl Owned {
    fn of(value: json::Value<'_>) -> Owned {
        match value {
            json::Value::Text(text) => Owned::Text(text.into()),
            json::Value::Number(digits) => Number::read(digits).map_or(Owned::Unreadable, Owned::Number),
            json::Value::Bool(flag) => Owned::Bool(flag),
            json::Value::Null => Owned::Null,
            json::Value::List(length) => Owned::List(length),
            json::Value::Object => Owned::Object,
            json::Value::Unreadable => Owned::Unreadable,
        }
    }
}

impl Lookup for Values {
    fn values(&self, name: &str, found: &mut dyn FnMut(Value<'_>)) {
        let Ok(at) = self.0.binary_search_by(|(pointer, _)| (**pointer).cmp(name)) else { return };
        found(match &self.0[at].1 {
            Owned::Text(text) => Value::Text(text.as_bytes()),
            Owned::Number(number) => Value::Number(*number),
            Owned::Bool(flag) => Value::Bool(*flag),
            Owned::Null => Value::Null,
            Owned::List(length) => Value::List(*length),
            Owned::Object => Value::Object,
            Owned::Unreadable => Value::Unreadable,
        });
    }
}

/// What held bodies take of one worker, by agent.
#[derive(Debug, Default)]
pub(crate) struct Holdings(Rc<RefCell<HashMap<Rc<str>, usize>>>);

/// What one held body counts for, until it is dropped.
pub(crate) struct Share {
    all: Rc<RefCell<HashMap<Rc<str>, usize>>>,
    agent: Rc<str>,
    bytes: usize,
}

impl Share {
    pub(crate) fn new(holdings: &Holdings, agent: &Rc<str>) -> Share {
        Share { all: Rc::clone(&holdings.0), agent: Rc::clone(agent), bytes: 0 }
    }

    /// Whether the body may take so many bytes. The first read of each is free: it is the connection's own.
    fn grow(&mut self, bytes: usize) -> bool {
        let mut all = self.all.borrow_mut();
        let sum = all.entry(Rc::clone(&self.agent)).or_default();
        let grown = *sum - self.bytes + bytes.max(self.bytes);
        if grown > HELD_AGENT_BYTES_MAX {
            return false;
        }
        self.bytes = self.bytes.max(bytes);
        *sum = grown;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut all = self.all.borrow_mut();
        if let Some(sum) = all.get_mut(&self.agent) {
            *sum -= self.bytes;
            if *sum == 0 {
                all.remove(&self.agent);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_has_its_share_and_no_more_and_gets_it_back() {
        let holdings = Holdings::default();
        let (a, b): (Rc<str>, Rc<str>) = ("a".into(), "b".into());
        let mut first = Share::new(&holdings, &a);
        assert!(first.grow(HELD_AGENT_BYTES_MAX - 1) && first.grow(5), "a share only grows");
        let mut second = Share::new(&holdings, &a);
        assert!(second.grow(1) && !second.grow(2));
        assert!(Share::new(&holdings, &b).grow(HELD_AGENT_BYTES_MAX), "another agent has its own");
        drop(first);
        assert!(second.grow(HELD_AGENT_BYTES_MAX));
        drop(second);
        assert!(holdings.0.borrow().is_empty());
    }
}
