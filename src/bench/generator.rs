//! The generator: one thread, one engine, client and origin in one.
//!
//! Being both keeps the machine's cores for what is measured: nobody but the target has to be woken on another cpu, and two cpus
//! are enough. It does not know what stands between its two halves. Its schedule is fixed before it starts: request *i* is due at
//! `start + i × interval`, whoever is late, and its latency counts from there.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, BufReader};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::order::{self, Answer, Measured, Order};
use super::pipe::Pipe;
use super::{origin, place, statistics, tls};
use crate::io::engine::{self, Choice, Engine, Listener, Options, Spin};
use crate::limits::{BENCH_CONNECT_WAIT, BENCH_SPIN, HEADERS_MAX};

pub use super::order::{Setup, Slice};

/// Obeys a driver over `control` until it hangs up; `listener` is where the origin's half serves.
///
/// # Errors
/// If the engine cannot be had, or the control connection breaks.
pub fn obey(listener: TcpListener, control: &UnixStream) -> io::Result<()> {
    let mut orders = BufReader::new(control.try_clone()?);
    let setup = match order::hear(&mut orders)? {
        Some(Order::Open(setup)) => setup,
        Some(Order::Slice(_)) => return Err(io::Error::other("a slice before the setup")),
        None => return Ok(()),
    };
    if let Some(cpu) = setup.cpu {
        place::stay_on(&[cpu])?;
    }
    let engine = engine(&setup)?;
    engine.run(async {
        let mut generator = match Generator::open(*setup, listener).await {
            Ok(generator) => generator,
            Err(error) => return order::say(control, &Answer::Failed(error.to_string())),
        };
        order::say(control, &Answer::Ready)?;
        // Waiting here stops the origin as well: between two turns there is nothing to answer.
        while let Some(Order::Slice(slice)) = order::hear(&mut orders)? {
            let measured = generator.slice(slice).await?;
            order::say(control, &Answer::Done(Box::new(measured)))?;
        }
        Ok(())
    })
}

/// An engine for a generator: epoll, because a fenced program gets no ring, and every generator has to be the same.
pub fn engine(setup: &Setup) -> io::Result<Engine> {
    let spin = if setup.spin { Spin::Always(BENCH_SPIN) } else { Spin::Never };
    Engine::new(&Options { choice: Choice::Epoll, spin, ..Options::default() })
}

/// A generator with its connections.
pub struct Generator {
    setup: Setup,
    client: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    idle: Vec<Pipe>,
    asking: Rc<Asking>,
}

/// What every request says, and what every answer must.
struct Asking {
    request: Vec<u8>,
    body: Vec<u8>,
}

impl Generator {
    /// Serves the origin on `listener` and connects. Must be called within [`Engine::run`].
    ///
    /// # Errors
    /// If the target cannot be reached.
    pub async fn open(setup: Setup, listener: TcpListener) -> io::Result<Generator> {
        let server = setup.credentials.as_ref().map(tls::Credentials::server).transpose()?;
        let listener = Listener::from_std(listener)?;
        let behaviour = setup.behaviour.clone();
        // It ends with the engine; a broken listener shows as requests that fail.
        engine::spawn(async move { drop(origin::serve(listener, server, behaviour).await) });
        let client = match &setup.credentials {
            None => None,
            Some(_) if setup.trust_environment => Some(tls::client_of_environment()?),
            Some(credentials) => Some(tls::client(credentials.authority.as_bytes())?),
        };
        let name = ServerName::try_from(setup.host.clone()).map_err(io::Error::other)?;
        let bytes = setup.behaviour.bytes;
        let asking = Asking {
            request: format!(
                "GET /bytes/{bytes} HTTP/1.1\r\nHost: {}\r\nUser-Agent: ringfence-bench\r\nAccept: */*\r\n\r\n",
                setup.host
            )
            .into_bytes(),
            body: origin::body(bytes),
        };
        let client = client.map(|config| (config, name));
        let mut generator = Generator { setup, client, idle: Vec::new(), asking: Rc::new(asking) };
        generator.connect().await?;
        Ok(generator)
    }

    /// Brings the connections up to their number.
    async fn connect(&mut self) -> io::Result<()> {
        if self.idle.len() < self.setup.connections {
            let address = resolve(&self.setup.target)?;
            while self.idle.len() < self.setup.connections {
                let pipe = engine::timeout(BENCH_CONNECT_WAIT, Pipe::connect(address, self.client.clone())).await;
                self.idle.push(pipe.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??);
            }
        }
        Ok(())
    }

    /// Sends for one turn and measures.
    ///
    /// # Errors
    /// If connections that failed in the turn before cannot be replaced, or the CPU clock cannot be read.
    pub async fn slice(&mut self, slice: Slice) -> io::Result<Measured> {
        self.connect().await?;
        let cpu = place::own_cpu_ns()?;
        let alone = self.idle.len() == 1 && self.setup.spin;
        let turn = Rc::new(Turn::new(slice, alone, self.idle.len(), Rc::clone(&self.asking)));
        for pipe in self.idle.drain(..) {
            let turn = Rc::clone(&turn);
            engine::spawn(async move {
                let pipe = turn.work(pipe).await;
                turn.back(pipe);
            });
        }
        turn.over().await;
        self.idle.append(&mut turn.pipes.borrow_mut());
        let mut measured = turn.measured();
        measured.cpu_ns = place::own_cpu_ns()?.saturating_sub(cpu);
        Ok(measured)
    }
}

fn resolve(target: &str) -> io::Result<SocketAddr> {
    target.to_socket_addrs()?.next().ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// One turn, as its connections share it.
struct Turn {
    slice: Slice,
    start: Instant,
    /// One connection: nothing can happen while it waits for its next due time, so it may keep the thread.
    alone: bool,
    asking: Rc<Asking>,
    next: Cell<u64>,
    working: Cell<usize>,
    pipes: RefCell<Vec<Pipe>>,
    waiting: RefCell<Option<Waker>>,
    latency: RefCell<Histogram<u64>>,
    lag: RefCell<Histogram<u64>>,
    counts: RefCell<Measured>,
}

impl Turn {
    fn new(slice: Slice, alone: bool, working: usize, asking: Rc<Asking>) -> Turn {
        Turn {
            slice,
            start: Instant::now() + HEAD_START,
            alone,
            asking,
            next: Cell::new(0),
            working: Cell::new(working),
            pipes: RefCell::default(),
            waiting: RefCell::default(),
            latency: RefCell::new(statistics::histogram()),
            lag: RefCell::new(statistics::histogram()),
            counts: RefCell::default(),
        }
    }

    fn due(&self, index: u64) -> Instant {
        self.start + Duration::from_nanos(self.slice.interval_ns * index)
    }

    /// When even the last answer would be too late.
    fn end(&self) -> Instant {
        self.due(self.slice.count) + self.slice.grace
    }

    /// Sends what is due, one after the other, over one connection. Gives it back unless it broke.
    async fn work(&self, mut pipe: Pipe) -> Option<Pipe> {
        while self.next.get() < self.slice.count {
            let index = self.next.get();
            self.next.set(index + 1);
            let (due, free) = (self.due(index), Instant::now());
            if free > due + Duration::from_nanos(self.slice.interval_ns) {
                self.counts.borrow_mut().late += 1;
            }
            if free >= self.end() {
                self.miss(due, free);
                continue;
            }
            self.wait_for(due).await;
            let sent = Instant::now();
            record(&self.lag, sent.saturating_duration_since(due.max(free)));
            let left = self.end().saturating_duration_since(sent);
            let outcome = engine::timeout(left, exchange(&mut pipe, &self.asking)).await;
            let done = Instant::now();
            match outcome {
                Ok(Ok(Checked::Right)) => record(&self.latency, done - due),
                Ok(Ok(Checked::Wrong(what))) => self.fail(what),
                Ok(Err(error)) => {
                    self.fail(format!("the connection broke: {error}"));
                    return None;
                }
                Err(_) => {
                    record(&self.latency, done - due);
                    self.fail("no answer in time".to_owned());
                    return None;
                }
            }
        }
        Some(pipe)
    }

    /// Waits until `due` to the microsecond, which the engine's timers, made for minutes, cannot.
    async fn wait_for(&self, due: Instant) {
        if self.alone {
            while Instant::now() < due {
                std::hint::spin_loop();
            }
            return;
        }
        let left = due.saturating_duration_since(Instant::now());
        if left > TIMER_GRAIN {
            engine::sleep(left - TIMER_GRAIN).await;
        }
        poll_fn(|cx| {
            if Instant::now() >= due {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    fn fail(&self, what: String) {
        let mut counts = self.counts.borrow_mut();
        counts.errors += 1;
        counts.first_error.get_or_insert(what);
    }

    fn miss(&self, due: Instant, now: Instant) {
        record(&self.latency, now - due);
        let mut counts = self.counts.borrow_mut();
        counts.missed += 1;
        counts.errors += 1;
        counts.first_error.get_or_insert_with(|| "never sent: every connection was busy".to_owned());
    }

    fn back(&self, pipe: Option<Pipe>) {
        self.pipes.borrow_mut().extend(pipe);
        self.working.set(self.working.get() - 1);
        if self.working.get() == 0 {
            self.counts.borrow_mut().elapsed_ns = statistics::nanoseconds(self.start.elapsed());
            self.waiting.take().into_iter().for_each(Waker::wake);
        }
    }

    async fn over(&self) {
        poll_fn(|cx| {
            if self.working.get() == 0 {
                return Poll::Ready(());
            }
            *self.waiting.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// The counts. What no connection was left to send counts as missed.
    fn measured(&self) -> Measured {
        let now = Instant::now();
        for index in self.next.get()..self.slice.count {
            self.miss(self.due(index), now.max(self.due(index)));
        }
        let mut measured = self.counts.take();
        measured.requests = self.slice.count;
        measured.latency = statistics::pairs(&self.latency.borrow());
        measured.lag = statistics::pairs(&self.lag.borrow());
        measured
    }
}

enum Checked {
    Right,
    Wrong(String),
}

/// One request and its response, status and body checked.
async fn exchange(pipe: &mut Pipe, asking: &Asking) -> io::Result<Checked> {
    pipe.send(&asking.request).await?;
    let (head, status, length) = loop {
        if !pipe.fill().await? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        if let httparse::Status::Complete(head) = response.parse(pipe.received()).map_err(io::Error::other)? {
            break (head, response.code.unwrap_or(0), origin::length(response.headers));
        }
    };
    let length = length.ok_or_else(|| io::Error::other("a response without a length"))?;
    while pipe.received().len() < head + length {
        if !pipe.fill().await? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let right = pipe.received()[head..head + length] == asking.body;
    pipe.consume(head + length);
    Ok(match (status, right) {
        (200, true) => Checked::Right,
        (200, false) => Checked::Wrong("a body that the origin did not send".to_owned()),
        _ => Checked::Wrong(format!("status {status}")),
    })
}

fn record(histogram: &RefCell<Histogram<u64>>, value: Duration) {
    histogram.borrow_mut().saturating_record(statistics::nanoseconds(value));
}

/// From the order to the first due time, so that the first request is not late.
const HEAD_START: Duration = Duration::from_millis(1);
/// What the engine's timers cannot tell apart.
const TIMER_GRAIN: Duration = Duration::from_millis(2);
