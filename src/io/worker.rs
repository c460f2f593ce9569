//! A worker: one thread with one engine, its own listeners, upstream pool, leaf cache and audit ring. Workers share nothing on the hot path.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crate::audit::{DecisionFacts, DecisionId, Nanos, Producer, Seat};
use crate::config::Bounds;
use crate::io::canary;
use crate::io::census::{Census, Entry, Exhausted, Share, Shares};
use crate::io::clock;
use crate::io::door::{Agents, Arrival, Door, Entrance};
use crate::io::engine::{self, Backend, Datagram, Engine, Listener, Sender, Stream};
use crate::io::flow;
use crate::io::held::Holdings;
use crate::io::judge::Resolution;
use crate::io::leaves::Leaves;
use crate::io::mcp::pins::Pins;
use crate::io::metrics::Counters;
use crate::io::names::NameError;
use crate::io::office::Office;
use crate::io::quota::{Granted, Quotas};
use crate::io::resolver::{self, Stub};
use crate::io::synthetic::Synthetic;
use crate::io::upstream::{Identities, Pool};
use crate::limits::{ACCEPT_BACKOFF, CANARY_WAIT, CONTROL_QUEUE_MAX, POOL_SWEEP_EVERY};
use crate::parse::json::Pointers;
use crate::policy::{Policy, Scheme};

/// What a worker is made from; it crosses into the worker's thread.
pub(crate) struct Seed {
    /// This worker's place among how many: connections are numbered so that no two have the same number.
    pub(crate) place: (u64, u64),
    pub(crate) agents: Agents,
    pub(crate) policy: Arc<Policy>,
    pub(crate) identities: Arc<Identities>,
    pub(crate) synthetic: Arc<Mutex<Synthetic>>,
    pub(crate) pins: Arc<Pins>,
    pub(crate) seat: Seat,
    pub(crate) office: Office,
    pub(crate) doors: Vec<Door>,
    pub(crate) stubs: Vec<Stub>,
    /// Our own listeners, of all workers: never an address to forward to.
    pub(crate) own: Vec<SocketAddr>,
    pub(crate) bounds: Bounds,
    pub(crate) counters: Counters,
    pub(crate) engine: engine::Options,
}

/// A running worker.
pub(crate) struct Handle {
    control: Sender<Control>,
    backend: Backend,
    thread: JoinHandle<io::Result<()>>,
}

/// What a connection's tasks share on their thread.
pub(crate) struct Worker {
    pub(crate) agents: Agents,
    pub(crate) producer: Producer,
    pub(crate) office: Office,
    pub(crate) leaves: RefCell<Leaves>,
    pub(crate) pool: RefCell<Pool>,
    pub(crate) quotas: RefCell<Quotas>,
    pub(crate) holdings: Holdings,
    /// Shared by the workers: the one that answers a question is rarely the one that gets the connection.
    pub(crate) synthetic: Arc<Mutex<Synthetic>>,
    /// Compared in memory; [`crate::io::mcp::pins::Keeper`] has the files.
    pub(crate) pins: Arc<Pins>,
    pub(crate) own: Vec<SocketAddr>,
    pub(crate) bounds: Bounds,
    pub(crate) counters: Counters,
    rules: RefCell<Rules>,
    connections: Rc<Census>,
    shares: Rc<Shares>,
    next_connection: Cell<u64>,
    workers: u64,
    stopping: Cell<bool>,
}

/// The policy in force and what it calls for.
struct Rules {
    policy: Arc<Policy>,
    identities: Arc<Identities>,
    /// What it asks of bodies.
    body: Rc<Pointers>,
    /// What it asks of the arguments of MCP messages.
    arguments: Rc<Pointers>,
    /// Counts the policies that were in force.
    generation: u64,
}

impl Rules {
    fn new(policy: Arc<Policy>, identities: Arc<Identities>, generation: u64) -> Rules {
        let body = Rc::new(Pointers::new(policy.body_pointers().iter().map(|pointer| &**pointer)));
        let arguments = Rc::new(Pointers::new(policy.argument_pointers()));
        Rules { policy, identities, body, arguments, generation }
    }
}

enum Control {
    Policy(Arc<Policy>, Arc<Identities>),
    Canary(std::sync::mpsc::Sender<Result<(), String>>),
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
            let backend = engine.backend();
            engine.run(async move {
                let (worker, entrances) = match Worker::open(seed) {
                    Ok(opened) => opened,
                    Err(error) => {
                        let _ = ready.send(Err(error));
                        return Ok(());
                    }
                };
                let _ = ready.send(Ok(backend));
                worker.obey(orders, &entrances).await;
                Ok(())
            })
        })?;
        let backend = started.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))??;
        Ok(Handle { control, backend, thread })
    }

    /// What its engine runs on.
    pub(crate) fn backend(&self) -> Backend {
        self.backend
    }

    /// Puts another policy in force. `false` when the worker has too many orders waiting, or is gone.
    pub(crate) fn adopt(&self, policy: Arc<Policy>, identities: Arc<Identities>) -> bool {
        self.control.try_send(Control::Policy(policy, identities)).is_ok()
    }

    /// Sends a request for a metadata address through the decision of each of the worker's doors.
    ///
    /// # Errors
    /// Which door did not deny it, or that the worker does not answer.
    pub(crate) fn canary(&self) -> Result<(), String> {
        let (reply, answer) = std::sync::mpsc::channel();
        let asked = self.control.try_send(Control::Canary(reply)).is_ok();
        match asked.then(|| answer.recv_timeout(CANARY_WAIT)) {
            Some(Ok(result)) => result,
            _ => Err("a worker does not answer".to_owned()),
        }
    }

    /// Tells the worker to let what is under way end, within its bound for that.
    pub(crate) fn drain(&self) {
        // A worker that is gone already needs no order.
        let _ = self.control.try_send(Control::Stop);
    }

    /// Drains, and waits for the thread.
    ///
    /// # Errors
    /// Of the worker, a panic included.
    pub(crate) fn stop(self) -> io::Result<()> {
        self.drain();
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("a worker panicked")))
    }
}

impl Worker {
    /// Builds the worker on its own thread and starts its tasks.
    fn open(seed: Seed) -> io::Result<(Rc<Worker>, Vec<Rc<Entrance>>)> {
        let worker = Rc::new(Worker {
            agents: seed.agents,
            producer: seed.seat.take(),
            office: seed.office,
            leaves: RefCell::default(),
            pool: RefCell::default(),
            quotas: RefCell::default(),
            holdings: Holdings::default(),
            synthetic: seed.synthetic,
            pins: seed.pins,
            own: seed.own,
            bounds: seed.bounds,
            counters: seed.counters,
            rules: RefCell::new(Rules::new(seed.policy, seed.identities, 0)),
            connections: Rc::default(),
            shares: Rc::default(),
            next_connection: Cell::new(1 + seed.place.0),
            workers: seed.place.1,
            stopping: Cell::new(false),
        });
        let mut entrances = Vec::new();
        for Door { listener, entrance } in seed.doors {
            let entrance = Rc::new(entrance);
            entrances.push(Rc::clone(&entrance));
            engine::spawn(Rc::clone(&worker).accept(Listener::from_std(listener)?, entrance));
        }
        for Stub { datagrams, listener, service } in seed.stubs {
            let service = Rc::new(service);
            let datagrams = Datagram::from_std(datagrams)?;
            engine::spawn(resolver::serve_datagrams(datagrams, Rc::clone(&service), Rc::clone(&worker)));
            engine::spawn(resolver::serve_streams(Listener::from_std(listener)?, service, Rc::clone(&worker)));
        }
        engine::spawn(Rc::clone(&worker).sweep());
        Ok((worker, entrances))
    }

    /// The policy in force.
    pub(crate) fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.rules.borrow().policy)
    }

    /// The client configurations that it calls for.
    pub(crate) fn identities(&self) -> Arc<Identities> {
        Arc::clone(&self.rules.borrow().identities)
    }

    /// What it asks of bodies.
    pub(crate) fn body_pointers(&self) -> Rc<Pointers> {
        Rc::clone(&self.rules.borrow().body)
    }

    /// What it asks of the arguments of MCP messages.
    pub(crate) fn argument_pointers(&self) -> Rc<Pointers> {
        Rc::clone(&self.rules.borrow().arguments)
    }

    /// Which of the policies since the start is in force.
    pub(crate) fn generation(&self) -> u64 {
        self.rules.borrow().generation
    }

    /// Asks the office for the addresses of `host`.
    pub(crate) async fn resolve(&self, agent: &str, host: &str) -> Resolution {
        if self.quotas.borrow_mut().name(agent, host, Instant::now()) != Granted::Yes {
            return Err("name_entropy");
        }
        match self.office.resolve(host).await {
            Ok(found) => found.map_err(NameError::code),
            Err(_) => Err("overloaded"),
        }
    }

    /// Whether no new request may begin.
    pub(crate) fn stopping(&self) -> bool {
        self.stopping.get()
    }

    /// The next connection's number.
    pub(crate) fn number(&self) -> u64 {
        self.next_connection.replace(self.next_connection.get() + self.workers)
    }

    /// Enters a connection among the open ones.
    pub(crate) fn enter(&self, stream: &Stream) -> Entry {
        self.connections.enter(stream)
    }

    /// Counts a connection as `agent`'s, for as long as the share lives.
    pub(crate) fn share(&self, agent: &Rc<str>) -> Result<Share, Exhausted> {
        self.shares.take(agent, self.bounds.connections_per_agent)
    }

    /// The facts that every record of a connection carries.
    pub(crate) fn facts<'f>(&self, arrival: &'f Arrival) -> DecisionFacts<'f> {
        DecisionFacts {
            agent: &arrival.agent,
            mode: arrival.mode,
            connection: arrival.connection,
            scheme: Some(match arrival.scheme {
                Scheme::Http => crate::audit::Scheme::Http,
                Scheme::Https => crate::audit::Scheme::Https,
            }),
            source: Some(arrival.source),
            destination: arrival.destination,
            ..DecisionFacts::default()
        }
    }

    /// Records a refusal. What is refused stays refused when it cannot be recorded: the loss is counted, and shows as a gap.
    pub(crate) fn record_denial(&self, facts: &DecisionFacts<'_>) -> Option<DecisionId> {
        match self.producer.deny(Nanos(clock::wall()), facts) {
            Ok(id) => Some(id),
            Err(refused) => {
                self.counters.audit_refused(refused);
                None
            }
        }
    }

    async fn accept(self: Rc<Self>, listener: Listener, entrance: Rc<Entrance>) {
        while !self.stopping() {
            match listener.accept().await {
                // It came while nothing new is begun any more: the client sees that nobody took its request.
                Ok(stream) if self.stopping() => Stream::reset(stream),
                Ok(stream) if self.connections.len() < self.bounds.connections => {
                    self.counters.accepted();
                    let entry = self.enter(&stream);
                    engine::spawn(flow::serve(stream, entry, Rc::clone(&entrance), Rc::clone(&self)));
                }
                // Over the bound: closed at once, which the client sees; there is nothing to decide about it.
                Ok(stream) => {
                    self.counters.over_limit();
                    Stream::reset(stream);
                }
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
            self.counters.beat();
        }
    }

    /// Carries out orders; returns when the worker may end.
    async fn obey(self: Rc<Self>, mut orders: engine::Receiver<Control>, entrances: &[Rc<Entrance>]) {
        loop {
            match orders.recv().await {
                Some(Control::Policy(policy, identities)) => self.adopt(policy, identities),
                Some(Control::Canary(reply)) => {
                    // Who asked may have given up; that is theirs to say.
                    let _ = reply.send(canary::all(entrances, &self).await);
                }
                // A sender that is gone means the process is ending: the same as an order to stop.
                Some(Control::Stop) | None => break,
            }
        }
        self.stopping.set(true);
        self.connections.dismiss_waiting();
        let _ = engine::timeout(self.bounds.drain, async {
            while self.connections.len() > 0 {
                engine::sleep(ACCEPT_BACKOFF).await;
            }
        })
        .await;
    }

    /// Puts another policy in force: for every request from here on, also on connections that are open, and for exchanges under way.
    fn adopt(&self, policy: Arc<Policy>, identities: Arc<Identities>) {
        let mut rules = self.rules.borrow_mut();
        let generation = rules.generation + 1;
        *rules = Rules::new(policy, identities, generation);
        self.pool.borrow_mut().renew(generation);
        drop(rules);
        self.connections.wake();
    }
}
