//! Forwards one admitted request and relays its response. Consumes the permit; ends with the outcome on record.

use std::cell::Cell;
use std::pin::{Pin, pin};
use std::time::Instant;

use crate::audit::{Credit, Durable, Nanos, OutcomeFacts};
use crate::io::clock;
use crate::io::engine::{self, Either};
use crate::io::exchange::{End, Exchange, Tally, failed};
use crate::io::flow::{Connection, Next};
use crate::io::judge::{Forward, Method, nanos_since};
use crate::io::metrics::Ending;
use crate::io::recall;
use crate::io::refusal::Refusal;
use crate::io::upstream::{self, Dial, Upstream};
use crate::io::vet::Way;
use crate::limits::RELAY_BATCH_BYTES_MAX;
use crate::parse::framing::Framing;
use crate::parse::head::Version;
use crate::policy::Permit;

impl Connection {
    /// Forwards the request whose head stands in `out`.
    pub(crate) async fn forward(&mut self, forward: Forward) -> Next {
        let Forward { permit, credit, others, way, started, framing, method, version, expects_continue, persistent } =
            forward;
        let tally = Tally::default();
        let reused = !matches!(way, Way::Dial(..));
        let request = self.out.len();
        #[cfg(test)]
        crate::io::tests::fault(&self.out);
        let durable = if others.is_empty() { credit.durable() } else { self.worker.producer.durable() };
        let mut end = match self.reach(durable, permit, way).await {
            Ok(()) => self.exchange_with(framing, (method, version, persistent), expects_continue, &tally).await,
            Err(error) => End::Failed { status: error.status, code: error.code, detail: error.detail },
        };
        if reused && method != Method::Other && framing == Framing::None && tally.status.get().is_none() {
            // The origin closed a kept connection just as we used it (RFC 9110 §9.2.2): once more, on a new one.
            if let End::Failed { code: "upstream_closed", .. } = end
                && self.out.len() == request
                && self.redial().await
            {
                end = self.exchange_with(framing, (method, version, persistent), false, &tally).await;
            }
        }
        self.conclude(end, (credit, others), started, method, &tally).await
    }

    /// Makes `self.upstream` the connection for this exchange. Taking the permit here is what ties dialling to a decision; with `durability:
    /// strict` nothing goes up, not even a handshake, before the disk has that decision.
    pub(crate) async fn reach(
        &mut self,
        durable: Durable,
        _permit: Permit,
        way: Way,
    ) -> Result<(), upstream::DialError> {
        if durable.await.is_err() {
            return Err(upstream::DialError { status: 503, code: "audit_unavailable", detail: String::new() });
        }
        match way {
            Way::Sticky => self.worker.counters.reused(),
            Way::Pooled(route, upstream) => {
                self.worker.counters.reused();
                self.upstream = Some((route, upstream));
            }
            Way::Dial(Dial { route, addresses, manner }) => {
                let upstream = upstream::dial(&addresses, &route.host, &manner, &self.worker.bounds).await?;
                self.worker.counters.dialled();
                self.upstream = Some((route, upstream));
            }
        }
        Ok(())
    }

    /// Replaces a dead connection by a new one to the same vetted address.
    async fn redial(&mut self) -> bool {
        let Some((route, dead)) = self.upstream.take() else { return false };
        let Upstream { transport, vetted, manner } = dead;
        drop(transport);
        match upstream::dial(&[vetted], &route.host, &manner, &self.worker.bounds).await {
            Ok(upstream) => {
                self.worker.counters.dialled();
                self.upstream = Some((route, upstream));
                true
            }
            Err(_) => false,
        }
    }

    /// Sends the request and relays the response.
    async fn exchange_with(
        &mut self,
        framing: Framing,
        (method, version, persistent): (Method, Version, bool),
        expects_continue: bool,
        tally: &Tally,
    ) -> End {
        let mut out = std::mem::take(&mut self.out);
        let Some((_, upstream)) = &self.upstream else { return failed(502, "upstream_closed", String::new()) };
        let exchange = Exchange {
            bounds: &self.worker.bounds,
            client: &self.client,
            upstream: &upstream.transport,
            tally,
            method,
            version,
            persistent,
            // Some origins take the body of such a request for the next request, and answer both.
            reusable: framing == Framing::None || method == Method::Other,
            sent: Instant::now(),
            gone_up: Cell::new(None),
        };
        let whole = match framing {
            Framing::None => Some(0),
            Framing::Length(n) => {
                usize::try_from(n).ok().filter(|n| *n <= RELAY_BATCH_BYTES_MAX && *n <= self.client.pending())
            }
            Framing::Chunked => None,
        };
        let end = match whole {
            Some(n) => {
                self.client.received(|bytes| out.extend_from_slice(&bytes[..n]));
                self.client.consume(n);
                tally.up.set(n as u64);
                or_recalled(pin!(exchange.short(&mut out)), self.recalled(), tally).await
            }
            None => or_recalled(pin!(exchange.long(framing, expects_continue, &mut out)), self.recalled(), tally).await,
        };
        self.out = out;
        end
    }

    /// Ends an exchange that was not finished. With a reset: some origins take the end of a connection for the end of a body.
    fn abandon_upstream(&mut self) {
        if let Some((_, upstream)) = self.upstream.take() {
            upstream.transport.reset();
        }
    }

    /// Puts the outcome on record, answers where nothing has been said yet, and says what follows.
    async fn conclude(
        &mut self,
        end: End,
        (credit, others): (Credit, Vec<Credit>),
        started: Instant,
        method: Method,
        tally: &Tally,
    ) -> Next {
        let id = credit.id();
        let address = self.upstream.as_ref().map(|(_, upstream)| upstream.vetted.address());
        let mut outcome = OutcomeFacts {
            status: tally.status.get(),
            upstream: address,
            bytes_up: tally.up.get(),
            bytes_down: tally.down.get(),
            upstream_ns: tally.upstream_ns.get(),
            location: tally.leads_to.get().map(String::as_str),
            ..OutcomeFacts::default()
        };
        let mut answer = None;
        let next = match &end {
            End::Delivered { upstream, client, whole } => {
                if !upstream {
                    self.upstream = None;
                }
                match (client, whole) {
                    (true, _) => Next::Again,
                    (false, true) => Next::Close,
                    (false, false) => Next::Linger,
                }
            }
            End::Failed { status, code, detail } => {
                self.abandon_upstream();
                outcome.status = Some(*status);
                outcome.code = Some(code);
                outcome.error = Some(detail).filter(|detail| !detail.is_empty()).map(String::as_str);
                answer = Some((*status, *code));
                Next::Close
            }
            End::Cut { code } => {
                self.abandon_upstream();
                outcome.code = Some(code);
                Next::Abort
            }
            End::ClientGone | End::ClientStalled => {
                self.abandon_upstream();
                outcome.code = Some(if matches!(end, End::ClientGone) { "client_gone" } else { "client_stalled" });
                Next::Abort
            }
        };
        outcome.total_ns = nanos_since(started);
        others.into_iter().chain([credit]).for_each(|credit| credit.outcome(Nanos(clock::wall()), &outcome));
        let ending = match &end {
            End::Delivered { .. } => Ending::Delivered,
            End::Failed { status, .. } => Ending::failed(*status),
            End::Cut { .. } => Ending::Cut,
            End::ClientGone | End::ClientStalled => Ending::ClientGone,
        };
        self.worker.counters.concluded(ending, &outcome);
        let Some((status, code)) = answer else {
            self.out.clear();
            return next;
        };
        self.out.clear();
        let decision = id.to_string();
        let head_only = method == Method::Head;
        Refusal { status, decision: Some(&decision), code: Some(code), close: true, head_only, ..Refusal::default() }
            .write(&mut self.out);
        self.refused(true, true).await
    }
}

/// Runs an exchange until it ends or a new policy ends it. (Pinned by the caller: a future that is handed over is kept twice.)
pub(crate) async fn or_recalled(
    exchange: Pin<&mut impl Future<Output = End>>,
    recalled: impl Future<Output = ()>,
    tally: &Tally,
) -> End {
    match engine::race(exchange, recalled).await {
        Either::Left(end) => end,
        Either::Right(()) if tally.status.get().is_none() => failed(403, recall::CODE, String::new()),
        Either::Right(()) => End::Cut { code: recall::CODE },
    }
}
