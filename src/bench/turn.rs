//! One turn of a generator: what is due when, sent, checked and counted.
//!
//! The schedule is fixed before the turn starts, whoever is late, and a latency counts from there. In a closed loop there is no
//! schedule: a request is due when the one before is answered. All times are nanoseconds of the monotonic clock.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use hdrhistogram::Histogram;

use super::events::{self, Arrived};
use super::exchange::{self, Asking, Checked, Way};
use super::order::{Measured, Slice};
use super::pipe::Pipe;
use super::place::now_ns;
use super::scenario::Arrivals;
use super::statistics::{self, Random};
use super::wait;
use crate::io::engine;
use crate::limits::BENCH_CONNECTIONS_MAX;

/// A turn, as its connections share it.
pub(super) struct Turn {
    slice: Slice,
    start: u64,
    /// Nothing can happen while the only connection waits for its next due time, so it may keep the thread.
    pub(super) alone: bool,
    /// Whether connections outlive a request.
    pub(super) keeps: bool,
    asking: Rc<Asking>,
    way: Rc<Way>,
    next: Cell<u64>,
    /// From the start to the next due time.
    offset: Cell<u64>,
    random: RefCell<Random>,
    working: Cell<usize>,
    pipes: RefCell<Vec<Pipe>>,
    waiting: RefCell<Option<Waker>>,
    latency: RefCell<Histogram<u64>>,
    lag: RefCell<Histogram<u64>>,
    counts: RefCell<Measured>,
}

/// Something to send.
#[derive(Clone, Copy)]
struct Due {
    index: u64,
    at: u64,
}

impl Turn {
    pub(super) fn new(slice: Slice, asking: Rc<Asking>, way: Rc<Way>) -> Turn {
        Turn {
            slice,
            start: now_ns() + HEAD_START_NS,
            alone: false,
            keeps: true,
            asking,
            way,
            next: Cell::new(0),
            offset: Cell::new(0),
            random: RefCell::new(Random::new(slice.seed)),
            working: Cell::new(0),
            pipes: RefCell::default(),
            waiting: RefCell::default(),
            latency: RefCell::new(statistics::histogram()),
            lag: RefCell::new(statistics::histogram()),
            counts: RefCell::default(),
        }
    }

    fn is_closed(&self) -> bool {
        self.slice.arrivals == Arrivals::Closed
    }

    /// The next request; `None` when the turn has no more.
    fn take(&self) -> Option<Due> {
        let index = self.next.get();
        let now = now_ns();
        let over = if self.is_closed() { now >= self.length_end() } else { index >= self.slice.count };
        if over {
            return None;
        }
        self.next.set(index + 1);
        if self.is_closed() {
            return Some(Due { index, at: now.max(self.start) });
        }
        let at = self.start + self.offset.get();
        self.offset.set(self.offset.get() + self.gap());
        Some(Due { index, at })
    }

    /// From one due time to the next.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a positive number of nanoseconds, saturated"
    )]
    #[allow(clippy::cast_precision_loss, reason = "what a double drops of an interval is below a nanosecond")]
    fn gap(&self) -> u64 {
        match self.slice.arrivals {
            Arrivals::Poisson => (-self.random.borrow_mut().unit().ln() * self.slice.interval_ns as f64) as u64,
            _ => self.slice.interval_ns,
        }
    }

    fn length_end(&self) -> u64 {
        self.start + self.slice.interval_ns.saturating_mul(self.slice.count)
    }

    /// When an answer to what was due at `due` would be too late.
    fn end(&self, due: u64) -> u64 {
        self.length_end().max(due) + statistics::nanoseconds(self.slice.grace)
    }

    /// Runs a task of the turn.
    pub(super) fn spawn<F: Future<Output = Option<Pipe>> + 'static>(self: &Rc<Turn>, task: F) {
        let turn = Rc::clone(self);
        turn.working.set(turn.working.get() + 1);
        engine::spawn(async move {
            let pipe = task.await;
            turn.back(pipe);
        });
    }

    /// Sends what is due, one after the other. Gives back the connection that is left.
    pub(super) async fn work(self: Rc<Turn>, mut pipe: Option<Pipe>) -> Option<Pipe> {
        while let Some(due) = self.take() {
            let free = now_ns();
            if !self.is_closed() {
                if free > due.at + self.slice.interval_ns {
                    self.counts.borrow_mut().late += 1;
                }
                if free >= self.end(due.at) {
                    self.miss(due.at, free);
                    continue;
                }
            }
            self.wait_for(due.at).await;
            if !self.is_closed() {
                record(&self.lag, now_ns().saturating_sub(due.at.max(free)));
            }
            pipe = self.call(due, pipe).await;
            if pipe.is_none() && self.is_closed() {
                // A target that breaks connections is not asked as fast as it can refuse.
                return None;
            }
            pipe = pipe.filter(|_| self.keeps);
        }
        pipe
    }

    /// Sends what is due when it is due, whatever is under way: over an idle connection, else over a new one.
    pub(super) async fn dispatch(self: Rc<Turn>, idle: Vec<Pipe>) -> Option<Pipe> {
        self.pipes.borrow_mut().extend(idle);
        while let Some(due) = self.take() {
            self.wait_for(due.at).await;
            record(&self.lag, now_ns().saturating_sub(due.at));
            if self.working.get() > BENCH_CONNECTIONS_MAX {
                self.miss(due.at, now_ns());
                continue;
            }
            let pipe = if self.keeps { self.pipes.borrow_mut().pop() } else { None };
            let turn = Rc::clone(&self);
            self.spawn(async move { turn.call(due, pipe).await.filter(|_| turn.keeps) });
        }
        None
    }

    /// Listens to one stream of events, `first` of them later than the first stream.
    pub(super) async fn listen(self: Rc<Turn>, mut pipe: Pipe, first: u64, streams: u64) -> Option<Pipe> {
        let count = self.slice.count.saturating_sub(first).div_ceil(streams);
        let stream = events::Stream {
            count,
            interval_ns: self.slice.interval_ns.saturating_mul(streams),
            delay_ns: STREAM_LEAD_NS + self.slice.interval_ns.saturating_mul(first),
        };
        let request = self.way.get(&stream.path());
        let mut right = 0;
        let each = |event: Result<Arrived, String>| match event {
            Ok(Arrived { delay, lag }) => {
                right += 1;
                record(&self.latency, statistics::nanoseconds(delay));
                record(&self.lag, statistics::nanoseconds(lag));
            }
            Err(what) => self.first_error(what),
        };
        let left = Duration::from_nanos(self.end(self.start).saturating_sub(now_ns()));
        let heard = engine::timeout(left, events::listen(&mut pipe, &request, self.asking.bytes(), each)).await;
        self.next.set(self.next.get() + count);
        let lacking = count.saturating_sub(right);
        self.counts.borrow_mut().errors += lacking;
        match heard {
            Ok(Ok(())) if lacking == 0 => return Some(pipe),
            Ok(Ok(())) => self.first_error(format!("a stream ended {lacking} events early")),
            Ok(Err(error)) => self.first_error(format!("the stream broke: {error}")),
            Err(_) => self.first_error("no event in time".to_owned()),
        }
        None
    }

    /// One request over `pipe` or a new connection. Gives back what can be used again.
    async fn call(&self, due: Due, pipe: Option<Pipe>) -> Option<Pipe> {
        let left = Duration::from_nanos(self.end(due.at).saturating_sub(now_ns()));
        let outcome = engine::timeout(left, self.connected(due, pipe)).await;
        let done = now_ns();
        match outcome {
            Ok(Ok((pipe, Checked::Right))) => {
                record(&self.latency, done.saturating_sub(due.at));
                return Some(pipe);
            }
            Ok(Ok((pipe, Checked::Wrong(what)))) => {
                self.fail(what);
                return Some(pipe);
            }
            Ok(Err(error)) => self.fail(format!("the connection broke: {error}")),
            Err(_) => {
                record(&self.latency, done.saturating_sub(due.at));
                self.fail("no answer in time".to_owned());
            }
        }
        None
    }

    async fn connected(&self, due: Due, pipe: Option<Pipe>) -> io::Result<(Pipe, Checked)> {
        let mut pipe = match pipe {
            Some(pipe) => pipe,
            None => {
                let pipe = self.way.connect().await?;
                let mut counts = self.counts.borrow_mut();
                counts.connected += 1;
                counts.resumed += u64::from(pipe.is_resumed());
                pipe
            }
        };
        let checked = exchange::exchange(&mut pipe, &self.asking, due.index).await?;
        Ok((pipe, checked))
    }

    async fn wait_for(&self, due: u64) {
        if self.alone { wait::hold_until_ns(due) } else { wait::until_ns(due).await }
    }

    fn first_error(&self, what: String) {
        self.counts.borrow_mut().first_error.get_or_insert(what);
    }

    fn fail(&self, what: String) {
        self.counts.borrow_mut().errors += 1;
        self.first_error(what);
    }

    fn miss(&self, due: u64, now: u64) {
        record(&self.latency, now.saturating_sub(due));
        self.counts.borrow_mut().missed += 1;
        self.fail("never sent: every connection was busy".to_owned());
    }

    fn back(&self, pipe: Option<Pipe>) {
        self.pipes.borrow_mut().extend(pipe);
        self.working.set(self.working.get() - 1);
        if self.working.get() == 0 {
            self.counts.borrow_mut().elapsed_ns = now_ns().saturating_sub(self.start);
            self.waiting.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Waits until every task of the turn is done; the connections that are left.
    pub(super) async fn over(&self) -> Vec<Pipe> {
        poll_fn(|cx| {
            if self.working.get() == 0 {
                return Poll::Ready(());
            }
            *self.waiting.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
        self.pipes.take()
    }

    /// The counts. What no connection was left to send counts as missed.
    pub(super) fn measured(&self) -> Measured {
        if !self.is_closed() {
            while let Some(due) = self.take() {
                self.miss(due.at, now_ns());
            }
        }
        let mut measured = self.counts.take();
        measured.requests = self.next.get();
        measured.latency = statistics::pairs(&self.latency.borrow());
        measured.lag = statistics::pairs(&self.lag.borrow());
        measured
    }
}

fn record(histogram: &RefCell<Histogram<u64>>, nanoseconds: u64) {
    histogram.borrow_mut().saturating_record(nanoseconds);
}

/// From the order to the first due time, so that the first request is not late.
const HEAD_START_NS: u64 = 1_000_000;
/// From a stream's request to its first event: the streams of a turn are all there before one of them speaks.
const STREAM_LEAD_NS: u64 = 20_000_000;
