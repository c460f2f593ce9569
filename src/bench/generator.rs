//! The generator: one thread, one engine, client and origin in one.
//!
//! Being both keeps the machine's cores for what is measured: nobody but the target has to be woken on another cpu, and two cpus
//! are enough. It does not know what stands between its two halves. What it sends in a turn is in [`super::turn`].

use std::io::{self, BufReader};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use rustls::pki_types::ServerName;

use super::exchange::{self, Asking, Way};
use super::order::{self, Answer, Measured, Order, Trust};
use super::pipe::Pipe;
use super::scenario::{Arrivals, Busy, Call, Connection};
use super::turn::Turn;
use super::{origin, place, tls};
use crate::io::engine::{self, Choice, Engine, Listener, Options, Spin};
use crate::limits::{BENCH_CONNECT_WAIT, BENCH_SPIN};

pub use super::order::{Route, Setup, Slice};

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
            let answer = match generator.slice(slice).await {
                Ok(measured) => Answer::Done(Box::new(measured)),
                Err(error) => Answer::Failed(error.to_string()),
            };
            order::say(control, &answer)?;
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
    way: Rc<Way>,
    asking: Rc<Asking>,
    /// Between two turns.
    pipes: Vec<Pipe>,
    /// Those that say nothing.
    silent: Vec<Pipe>,
}

impl Generator {
    /// Serves the origin on `listener` and connects. Must be called within [`Engine::run`].
    ///
    /// # Errors
    /// If the target cannot be reached, or does not refuse what it has to.
    pub async fn open(setup: Setup, listener: TcpListener) -> io::Result<Generator> {
        let server = setup.credentials.as_ref().map(tls::Credentials::server).transpose()?;
        let listener = Listener::from_std(listener)?;
        let behaviour = setup.behaviour.clone();
        // It ends with the engine; a broken listener shows as requests that fail.
        engine::spawn(async move { drop(origin::serve(listener, server, behaviour).await) });
        let way = Rc::new(way(&setup)?);
        let asking = Rc::new(Asking::new(&way, setup.call, setup.behaviour.bytes, None));
        let mut generator = Generator { setup, way, asking, pipes: Vec::new(), silent: Vec::new() };
        generator.look_around().await?;
        for _ in 0..generator.setup.idle {
            let mut pipe = generator.connected().await?;
            // Once it has carried a request, the target's side is as a keep-alive connection's is.
            exchange::exchange(&mut pipe, &generator.asking, 0).await?;
            generator.silent.push(pipe);
        }
        // Last: a connection that has not said anything yet is not waited for long.
        generator.connect().await?;
        Ok(generator)
    }

    /// What comes before the first request: the target refuses what it has to, and an MCP session is open.
    async fn look_around(&mut self) -> io::Result<()> {
        if self.setup.enforcing {
            let mut pipe = self.connected().await?;
            let status = exchange::status_of(&self.way, &mut pipe, FORBIDDEN).await?;
            if status != 403 {
                return Err(io::Error::other(format!(
                    "it enforces nothing: {FORBIDDEN} was answered {status}, not 403"
                )));
            }
        }
        if self.setup.call == Call::Mcp {
            let mut pipe = self.connected().await?;
            let session = exchange::open_session(&self.way, &mut pipe).await?;
            let bytes = self.setup.behaviour.bytes;
            self.asking = Rc::new(Asking::new(&self.way, Call::Mcp, bytes, session.as_deref()));
        }
        Ok(())
    }

    async fn connected(&self) -> io::Result<Pipe> {
        let pipe = engine::timeout(BENCH_CONNECT_WAIT, self.way.connect()).await;
        pipe.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    /// Brings the kept connections up to their number.
    async fn connect(&mut self) -> io::Result<()> {
        while self.setup.connection == Connection::Kept && self.pipes.len() < self.setup.connections {
            let pipe = self.connected().await?;
            self.pipes.push(pipe);
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
        let mut turn = Turn::new(slice, Rc::clone(&self.asking), Rc::clone(&self.way));
        let closed = slice.arrivals == Arrivals::Closed;
        turn.keeps = self.setup.connection == Connection::Kept;
        let dispatched = !closed && (!turn.keeps || self.setup.busy == Busy::Connect);
        turn.alone = self.setup.connections == 1 && self.setup.spin && !dispatched;
        let turn = Rc::new(turn);
        let pipes = std::mem::take(&mut self.pipes);
        if self.setup.call == Call::Events {
            let streams = pipes.len() as u64;
            for (first, pipe) in (0..).zip(pipes) {
                turn.spawn(Rc::clone(&turn).listen(pipe, first, streams));
            }
        } else if dispatched {
            turn.spawn(Rc::clone(&turn).dispatch(pipes));
        } else {
            let mut pipes = pipes.into_iter();
            for _ in 0..self.setup.connections {
                turn.spawn(Rc::clone(&turn).work(pipes.next()));
            }
        }
        self.pipes = turn.over().await;
        let mut measured = turn.measured();
        measured.cpu_ns = place::own_cpu_ns()?.saturating_sub(cpu);
        measured.silent_lost = self.silent.iter().filter(|pipe| !pipe.is_quiet()).count() as u64;
        Ok(measured)
    }
}

fn way(setup: &Setup) -> io::Result<Way> {
    let resumes = setup.connection == Connection::Resumed;
    let config = match (&setup.credentials, &setup.trust) {
        (None, _) => None,
        (Some(_), Trust::Environment) => Some(tls::client_of_environment(resumes)?),
        (Some(_), Trust::File(path)) => Some(tls::client(&std::fs::read(path)?, resumes)?),
        (Some(credentials), Trust::Authority) => Some(tls::client(credentials.authority.as_bytes(), resumes)?),
    };
    let name = ServerName::try_from(setup.host.clone()).map_err(io::Error::other)?;
    Ok(Way {
        address: resolve(&setup.target)?,
        host: setup.host.clone(),
        route: setup.route,
        tls: config.map(|config| (config, name)),
    })
}

fn resolve(target: &str) -> io::Result<SocketAddr> {
    target.to_socket_addrs()?.next().ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// What every target with a policy refuses.
const FORBIDDEN: &str = "/admin/bench";
