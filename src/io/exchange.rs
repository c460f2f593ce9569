//! One exchange with an origin: the request goes up, the response comes down. Knows nothing of policy and records; what it counts and how it ended
//! is for [`crate::io::forward`] to put on record.

use std::cell::{Cell, OnceCell};
use std::pin::pin;
use std::time::Instant;

use crate::config::Bounds;
use crate::io::engine::{self, Either};
use crate::io::judge::{Method, nanos_since};
use crate::io::relay::{self, Broken, Direction, Pace, Reframe, Waited};
use crate::io::transport::{Filled, Transport};
use crate::io::wire::{self, Delivery};
use crate::limits::INTERIM_RESPONSES_MAX;
use crate::parse::Progress;
use crate::parse::framing::{self, Framing, ResponseFraming};
use crate::parse::head::{self, Scan, Version};
use crate::parse::location;

/// What is counted while an exchange runs, for its outcome.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) up: Cell<u64>,
    pub(crate) down: Cell<u64>,
    pub(crate) status: Cell<Option<u16>>,
    pub(crate) upstream_ns: Cell<u64>,
    /// The host that a redirect names.
    pub(crate) leads_to: OnceCell<String>,
}

/// How an exchange ended.
pub(crate) enum End {
    /// The response was delivered whole. `upstream`/`client`: that connection may carry another exchange. `whole`: the request went up whole too.
    Delivered { upstream: bool, client: bool, whole: bool },
    /// Nothing of a response has reached the client: it gets an answer of ours.
    Failed { status: u16, code: &'static str, detail: String },
    /// The response broke off after its head was on its way.
    Cut { code: &'static str },
    /// The client is gone.
    ClientGone,
    /// The client is there and does not read.
    ClientStalled,
}

/// What the exchange is about, once the request head is written.
pub(crate) struct Exchange<'x> {
    pub(crate) bounds: &'x Bounds,
    pub(crate) client: &'x Transport,
    pub(crate) upstream: &'x Transport,
    pub(crate) tally: &'x Tally,
    pub(crate) method: Method,
    pub(crate) version: Version,
    pub(crate) persistent: bool,
    /// Whether the origin's connection may carry another exchange, as far as the request is concerned.
    pub(crate) reusable: bool,
    pub(crate) sent: Instant,
    /// When the request had gone up as a whole: from then on the client's side may be watched for its end, and the response is waited for.
    pub(crate) gone_up: Cell<Option<Instant>>,
}

impl Exchange<'_> {
    /// A request that is here as a whole: one entry into the kernel sends it and waits for the response.
    pub(crate) async fn short(&self, out: &mut Vec<u8>) -> End {
        self.gone_up.set(Some(self.sent));
        let sent = self.upstream.send_then_fill(std::mem::take(out));
        match relay::patiently(self.bounds.response_head, sent, Some(self.client)).await {
            Waited::Done((Ok(Filled::Bytes), back)) => {
                *out = back;
                out.clear();
                self.download(out).await
            }
            Waited::Done((Ok(Filled::End { .. }) | Err(_), back)) => {
                // Kept as it was sent: a second try may send it again.
                *out = back;
                failed(502, "upstream_closed", String::new())
            }
            Waited::Expired => failed(504, "upstream_timeout", String::new()),
            Waited::Gone => End::ClientGone,
        }
    }

    /// A request whose body is still arriving: it goes up while the response, which may come early, is awaited.
    pub(crate) async fn long(&self, framing: Framing, expects_continue: bool, out: &mut Vec<u8>) -> End {
        if expects_continue && self.client.pending() == 0 {
            let told = self.client.send(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec());
            if !matches!(engine::timeout(self.bounds.body, told).await, Ok((Ok(()), _))) {
                return End::ClientGone;
            }
        }
        let mut lead = std::mem::take(out);
        let mut response = Vec::new();
        let pace = Pace::new(self.bounds.request_body);
        let way = Direction {
            from: self.client,
            to: self.upstream,
            count: &self.tally.up,
            watched: false,
            wait: self.bounds.body,
            pace: Some(&pace),
        };
        let mut up = pin!(async {
            match framing {
                Framing::Length(n) => relay::length(&way, n, &mut lead).await,
                _ => relay::chunked(&way, Reframe::Chunks, &mut lead).await,
            }
        });
        let end = {
            let mut down = pin!(self.download(&mut response));
            match engine::race(up.as_mut(), down.as_mut()).await {
                Either::Left(Ok(())) => {
                    self.gone_up.set(Some(Instant::now()));
                    down.await
                }
                Either::Left(Err(Broken::Sender(code))) => match self.tally.status.get() {
                    None => failed(400, code, String::new()),
                    Some(_) => End::Cut { code },
                },
                // An origin that stops reading has usually answered; whatever follows, both connections end here.
                Either::Left(Err(Broken::Receiver)) => ended(down.await),
                Either::Left(Err(Broken::Stalled)) => match self.tally.status.get() {
                    None => failed(504, "upstream_timeout", "the origin does not read the request".to_owned()),
                    Some(_) => End::Cut { code: "upstream_timeout" },
                },
                Either::Right(end) => ended(end),
            }
        };
        response.clear();
        *out = response;
        end
    }

    /// Reads the response head, writes ours, and relays the body.
    async fn download(&self, out: &mut Vec<u8>) -> End {
        let mut interim = 0;
        loop {
            let length = match self.response_head().await {
                Ok(length) => length,
                Err(end) => return end,
            };
            let parsed = self.upstream.received(|bytes| self.answer_head(&bytes[..length], out));
            self.upstream.consume(length);
            match parsed {
                Ok(Answer::Interim) => {
                    interim += 1;
                    if interim > INTERIM_RESPONSES_MAX {
                        return failed(502, "response_interim", String::new());
                    }
                    if out.is_empty() {
                        continue;
                    }
                    let told = self.client.send(std::mem::take(out));
                    let Ok((Ok(()), mut back)) = engine::timeout(self.bounds.body, told).await else {
                        return End::ClientGone;
                    };
                    back.clear();
                    *out = back;
                }
                Ok(Answer::Final { framing, delivery, upstream, client }) => {
                    self.tally.upstream_ns.set(nanos_since(self.sent));
                    let body = self.body(framing, delivery, out).await;
                    return match body {
                        Ok(()) => End::Delivered {
                            upstream: upstream && self.upstream.pending() == 0,
                            client: client && delivery != Delivery::UntilClose,
                            whole: true,
                        },
                        Err(Broken::Sender(code)) => End::Cut { code },
                        Err(Broken::Receiver) => End::ClientGone,
                        Err(Broken::Stalled) => End::ClientStalled,
                    };
                }
                Err(code) => return failed(502, code, String::new()),
            }
        }
    }

    /// Waits for a whole response head.
    pub(crate) async fn response_head(&self) -> Result<usize, End> {
        let mut scan = Scan::default();
        loop {
            match self.upstream.received(|bytes| if bytes.is_empty() { Ok(Progress::More) } else { scan.find(bytes) }) {
                Ok(Progress::Done(length)) => return Ok(length),
                Ok(Progress::More) => {}
                Err(error) => return Err(failed(502, error.code(), String::new())),
            }
            let gone_up = self.gone_up.get();
            // The whole head has one bound, from the end of the request, however slowly its bytes come.
            let bound = self.bounds.response_head;
            let left = gone_up.map_or(bound, |at| bound.saturating_sub(at.elapsed()));
            match relay::patiently(left, self.upstream.fill(), gone_up.map(|_| self.client)).await {
                Waited::Done(Ok(Filled::Bytes)) => {}
                Waited::Done(Ok(Filled::End { .. })) => return Err(failed(502, "upstream_closed", String::new())),
                Waited::Done(Err(error)) => return Err(failed(502, "upstream_closed", error.to_string())),
                // The request is still on its way, which has bounds of its own.
                Waited::Expired if gone_up.is_none() => {}
                Waited::Expired => return Err(failed(504, "upstream_timeout", String::new())),
                Waited::Gone => return Err(End::ClientGone),
            }
        }
    }

    /// Parses one response head and writes what the client gets of it. Synchronous: the parse borrows the inbox.
    fn answer_head(&self, bytes: &[u8], out: &mut Vec<u8>) -> Result<Answer, &'static str> {
        let head = head::response(bytes).map_err(|error| error.code())?;
        match head.status {
            101 => return Err("response_upgrade"),
            // RFC 9110 §15.2: no body, so a framing field is an attempt to have some recipient see one.
            100..200 if framing::response(&head, "GET").is_err() => return Err("malformed"),
            // We have answered the expectation ourselves; a hint (RFC 8297) passes.
            100..200 => {
                if head.status == 103 && self.version == Version::Http11 {
                    wire::interim(&head, out);
                }
                return Ok(Answer::Interim);
            }
            // The client never asked us for credentials; an origin that does is phishing for them.
            407 => return Err("response_407"),
            _ => {}
        }
        let method = if self.method == Method::Head { "HEAD" } else { "GET" };
        let framing = framing::response(&head, method).map_err(|error| error.code())?;
        let announced = framing::declared_length(&head).map_err(|error| error.code())?;
        let delivery = Delivery::of(framing, announced, self.version);
        let upstream =
            self.reusable && framing::persistent(head.version, &head.headers) && framing != ResponseFraming::UntilClose;
        let client = self.persistent && self.version == Version::Http11;
        self.tally.status.set(Some(head.status));
        if (300..400).contains(&head.status) {
            self.redirected(&head);
        }
        wire::response(&head, delivery, !client, out);
        Ok(Answer::Final { framing, delivery, upstream, client })
    }

    /// A redirect is never followed; where it leads is put on record. Of several fields a client may take any: none is named then.
    #[cold]
    fn redirected(&self, head: &head::ResponseHead<'_>) {
        let host = match head.headers.one("location") {
            Ok(field) => field.and_then(location::host),
            Err(_) => Some(location::UNREADABLE.to_owned()),
        };
        if let Some(host) = host {
            let _ = self.tally.leads_to.set(host);
        }
    }

    async fn body(&self, framing: ResponseFraming, delivery: Delivery, out: &mut Vec<u8>) -> Result<(), Broken> {
        let watched = self.gone_up.get().is_some();
        let way = Direction {
            from: self.upstream,
            to: self.client,
            count: &self.tally.down,
            watched,
            wait: self.bounds.body,
            pace: None,
        };
        let reframe = if delivery == Delivery::Chunked { Reframe::Chunks } else { Reframe::Bare };
        match framing {
            ResponseFraming::None => relay::length(&way, 0, out).await,
            ResponseFraming::Length(n) => relay::length(&way, n, out).await,
            ResponseFraming::Chunked => relay::chunked(&way, reframe, out).await,
            ResponseFraming::UntilClose => relay::until_close(&way, reframe, out).await,
        }
    }
}

/// What a response head came to.
enum Answer {
    /// A 1xx; another head follows.
    Interim,
    /// The final head, which stands in the output buffer.
    Final { framing: ResponseFraming, delivery: Delivery, upstream: bool, client: bool },
}

pub(crate) fn failed(status: u16, code: &'static str, detail: String) -> End {
    End::Failed { status, code, detail }
}

/// The response is through although the request is not: neither connection can carry anything after this.
fn ended(end: End) -> End {
    match end {
        End::Delivered { .. } => End::Delivered { upstream: false, client: false, whole: false },
        other => other,
    }
}
