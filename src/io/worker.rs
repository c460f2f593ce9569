//! A worker: one thread with one engine, its own listeners, upstream pool, leaf cache and audit ring. Workers share nothing on the hot path.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crate::audit::{DecisionFacts, Mode, Producer, Seat};
use crate::io::engine::{self, Datagram, Engine, Listener, Sender, Stream};
use crate::io::flow::{self, Arrival};
use crate::io::leaves::Leaves;
use crate::io::netns;
use crate::io::office::Office;
use crate::io::resolver;
use crate::io::synthetic::Synthetic;
use crate::io::upstream::{Identities, Pool};
use crate::limits::{ACCEPT_BACKOFF, CONNECTIONS_MAX, CONTROL_QUEUE_MAX, DRAIN_WAIT, POOL_SWEEP_EVERY};
use crate::policy::{Policy, Scheme};

/// How a worker learns where a connection was meant to go.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ingress {
    /// nftables sent it here: the kernel remembers (SO_ORIGINAL_DST).
    Redirect,
    /// Everything goes to one place: for tests of the flow without a namespace.
    #[cfg(test)]
    Fixed(SocketAddr),
}

/// What a worker is made from; it crosses into the worker's thread.
pub(crate) struct Seed {
    pub(crate) mode: Mode,
    pub(crate) agent: String,
    pub(crate) ingress: Ingress,
    pub(crate) policy: Arc<Policy>,
    pub(crate) identities: Arc<Identities>,
    pub(crate) seat: Seat,
    pub(crate) office: Office,
    pub(crate) listeners: Vec<TcpListener>,
    pub(crate) dns_datagrams: Vec<UdpSocket>,
    pub(crate) dns_listeners: Vec<TcpListener>,
    pub(crate) engine: engine::Options,
}

/// A running worker.
pub(crate) struct Handle {
    control: Sender<Control>,
    thread: JoinHandle<io::Result<()>>,
}

/// What a connection's tasks share on their thread.
pub(crate) struct Worker {
    pub(crate) agent: Rc<str>,
    pub(crate) ingress: Ingress,
    pub(crate) identities: Arc<Identities>,
    pub(crate) producer: Producer,
    pub(crate) office: Office,
    pub(crate) leaves: RefCell<Leaves>,
    pub(crate) pool: RefCell<Pool>,
    pub(crate) synthetic: RefCell<Synthetic>,
    /// Our own listeners: never an address to forward to.
    pub(crate) own: Vec<SocketAddr>,
    pub(crate) mode: Mode,
    policy: Arc<Policy>,
    next_connection: Cell<u64>,
    open: Cell<usize>,
    stopping: Cell<bool>,
}

enum Control {
    Stop,
}

impl Handle {
    /// Starts a worker's thread; returns when its engine runs and its listeners are armed.
    ///
    /// # Errors
    /// If the thread, the engine or a listener cannot be had.
    pub(crate) fn start(seed: Seed) -> io::Result<Handle> {
        let (control, orders) = engine::channel(CONTROL_QUEUE_MAX);
        let (ready, started) = std::sync::mpsc::sync_channel(1);
        let thread = thread::Builder::new().name("ringfence-worker".to_owned()).spawn(move || {
            let engine = match Engine::new(&seed.engine) {
                Ok(engine) => engine,
                Err(error) => {
                    let _ = ready.send(Err(error));
                    return Ok(());
                }
            };
            if let Some(why) = engine.selected().refused {
                tracing::warn!(%why, "the kernel refuses io_uring; serving on epoll");
            }
            engine.run(async move {
                let worker = match Worker::open(seed) {
                    Ok(worker) => worker,
                    Err(error) => {
                        let _ = ready.send(Err(error));
                        return Ok(());
                    }
                };
                let _ = ready.send(Ok(()));
                worker.obey(orders).await;
                Ok(())
            })
        })?;
        started.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))??;
        Ok(Handle { control, thread })
    }

    /// Lets what is under way end, within [`DRAIN_WAIT`], and waits for the thread.
    ///
    /// # Errors
    /// Of the worker, a panic included.
    pub(crate) fn stop(self) -> io::Result<()> {
        // A worker that is gone already needs no order.
        let _ = self.control.try_send(Control::Stop);
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("a worker panicked")))
    }
}

impl Worker {
    /// Builds the worker on its own thread and starts its tasks.
    fn open(seed: Seed) -> io::Result<Rc<Worker>> {
        let own = seed.listeners.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
        let worker = Rc::new(Worker {
            agent: seed.agent.into(),
            ingress: seed.ingress,
            identities: seed.identities,
            producer: seed.seat.take(),
            office: seed.office,
            leaves: RefCell::default(),
            pool: RefCell::default(),
            synthetic: RefCell::default(),
            own,
            mode: seed.mode,
            policy: seed.policy,
            next_connection: Cell::new(1),
            open: Cell::new(0),
            stopping: Cell::new(false),
        });
        for listener in seed.listeners {
            engine::spawn(Rc::clone(&worker).accept(Listener::from_std(listener)?));
        }
        for socket in seed.dns_datagrams {
            engine::spawn(resolver::serve_datagrams(Datagram::from_std(socket)?, Rc::clone(&worker)));
        }
        for listener in seed.dns_listeners {
            engine::spawn(resolver::serve_streams(Listener::from_std(listener)?, Rc::clone(&worker)));
        }
        engine::spawn(Rc::clone(&worker).sweep());
        Ok(worker)
    }

    /// The policy in force.
    pub(crate) fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy)
    }

    /// Whether no new request may begin.
    pub(crate) fn stopping(&self) -> bool {
        self.stopping.get()
    }

    /// The next connection's number.
    pub(crate) fn number(&self) -> u64 {
        self.next_connection.replace(self.next_connection.get() + 1)
    }

    /// The facts that every record of a connection carries.
    pub(crate) fn facts<'f>(&'f self, arrival: &Arrival) -> DecisionFacts<'f> {
        DecisionFacts {
            agent: &self.agent,
            mode: self.mode,
            connection: arrival.connection,
            scheme: Some(match arrival.scheme {
                Scheme::Http => crate::audit::Scheme::Http,
                Scheme::Https => crate::audit::Scheme::Https,
            }),
            source: Some(arrival.source),
            destination: Some(arrival.destination),
            ..DecisionFacts::default()
        }
    }

    async fn accept(self: Rc<Self>, listener: Listener) {
        while !self.stopping() {
            match listener.accept().await {
                Ok(stream) if self.open.get() < CONNECTIONS_MAX => {
                    let guard = Guard::new(&self);
                    engine::spawn(async move {
                        let worker = Rc::clone(&guard.0);
                        flow::serve(stream, worker).await;
                        drop(guard);
                    });
                }
                // Over the bound: closed at once, which the client sees; there is nothing to decide about it.
                Ok(stream) => Stream::reset(stream),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    engine::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    }

    async fn sweep(self: Rc<Self>) {
        loop {
            engine::sleep(POOL_SWEEP_EVERY).await;
            self.pool.borrow_mut().sweep();
        }
    }

    /// Waits for orders; returns when the worker may end.
    async fn obey(&self, mut orders: engine::Receiver<Control>) {
        // A sender that is gone means the process is ending: the same as an order to stop.
        let _: Option<Control> = orders.recv().await;
        self.stopping.set(true);
        let _ = engine::timeout(DRAIN_WAIT, async {
            while self.open.get() > 0 {
                engine::sleep(ACCEPT_BACKOFF).await;
            }
        })
        .await;
    }
}

impl Ingress {
    /// Where the connection was meant to go.
    ///
    /// # Errors
    /// If the kernel does not know: such a connection was not redirected.
    pub(crate) fn original_destination(self, stream: &Stream) -> io::Result<SocketAddr> {
        match self {
            Ingress::Redirect => netns::original_destination(stream.as_fd()),
            #[cfg(test)]
            Ingress::Fixed(address) => Ok(address),
        }
    }
}

/// Counts an open connection for as long as it lives, also through a panic.
struct Guard(Rc<Worker>);

impl Guard {
    fn new(worker: &Rc<Worker>) -> Guard {
        worker.open.set(worker.open.get() + 1);
        Guard(Rc::clone(worker))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
    }
}
