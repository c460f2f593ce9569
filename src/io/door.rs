//! How connections come in: what a listener is for, who may use it, and what is known of a connection before its first byte.
//!
//! Whoever may not use a door is turned away at it, and that is on record. Without an original destination, where the mode has one, a
//! connection is closed: never a guess.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::rc::Rc;

use ipnet::IpNet;

use crate::audit::{Mode, Protocol};
use crate::io::engine::Stream;
use crate::io::netns;
use crate::io::refuse::refuse;
use crate::io::worker::Worker;
use crate::parse::host::Host;
use crate::parse::target::Form;
use crate::policy::Scheme;

/// A listening socket and what it is for; it crosses into a worker's thread.
pub(crate) struct Door {
    pub(crate) listener: TcpListener,
    pub(crate) entrance: Entrance,
}

/// What a listener is for, and who may use it.
#[derive(Clone, Debug)]
pub(crate) struct Entrance {
    /// The mode that records name.
    pub(crate) mode: Mode,
    pub(crate) kind: Kind,
    /// Who may connect, besides the named agents; `None` where nobody else can reach the listener.
    pub(crate) from: Option<Vec<IpNet>>,
    /// Whose connections all of these are, where the door and not the source tells.
    pub(crate) agent: Option<String>,
}

/// How a connection says where it was meant to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// nftables sent it here: the kernel remembers (SO_ORIGINAL_DST).
    Redirect,
    /// Its name resolved to us: SNI or `Host` tells, and the port is the listener's.
    Gateway,
    /// The client knows that it speaks to a proxy: every request tells.
    Proxy,
    /// Everything goes to one place: for tests of the flow without a namespace.
    #[cfg(test)]
    Fixed(SocketAddr),
}

/// Whose connections come from where.
#[derive(Clone, Debug)]
pub(crate) enum Agents {
    /// All are one agent's.
    One(String),
    /// By source; one that is not listed is named by its address.
    BySource(Vec<(IpNet, String)>),
}

/// What is known of a connection before its first request; every record of the connection carries it.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    /// Number of the connection, unique within the log's run.
    pub(crate) connection: u64,
    /// Whose it is.
    pub(crate) agent: Rc<str>,
    pub(crate) mode: Mode,
    /// The client's address.
    pub(crate) source: SocketAddr,
    /// Where the client meant to connect to, where that is not said by each request. A fact for the record; never what is dialled.
    pub(crate) destination: Option<SocketAddr>,
    /// The port that a `Host` without one means.
    pub(crate) port: u16,
    /// Which forms of target its requests have.
    pub(crate) form: Form,
    /// The authority of the CONNECT that it runs in.
    pub(crate) tunnel: Option<(Host<'static>, u16)>,
    /// Plaintext or TLS on the client's side.
    pub(crate) scheme: Scheme,
    /// The name in the ClientHello.
    pub(crate) sni: Option<Box<str>>,
}

impl Entrance {
    /// What is known of `stream`; `None` when it was turned away, which is then on record.
    pub(crate) fn arrive(&self, stream: &Stream, worker: &Worker) -> Option<Arrival> {
        let source = stream.peer_addr().ok()?;
        let mut arrival = self.arrival(source, worker);
        if !worker.agents.admit(source.ip(), self.from.as_deref()) {
            refuse(worker, &arrival, Protocol::Tcp, "source_not_admitted");
            return None;
        }
        match self.destination(stream) {
            Ok(Some(destination)) if self.kind == Kind::Redirect && worker.own.contains(&destination) => {}
            Ok(destination) => {
                arrival.destination = destination;
                arrival.port = destination.map_or(0, |destination| destination.port());
                return Some(arrival);
            }
            Err(_) => {}
        }
        refuse(worker, &arrival, Protocol::Tcp, "no_original_destination");
        None
    }

    /// A connection from `source` of which nothing else is known yet.
    pub(crate) fn arrival(&self, source: SocketAddr, worker: &Worker) -> Arrival {
        Arrival {
            connection: worker.number(),
            agent: match &self.agent {
                Some(agent) => agent.as_str().into(),
                None => worker.agents.name(source.ip()),
            },
            mode: self.mode,
            source,
            destination: None,
            port: 0,
            form: if self.kind == Kind::Proxy { Form::Proxy } else { Form::Origin },
            tunnel: None,
            scheme: Scheme::Http,
            sni: None,
        }
    }

    fn destination(&self, stream: &Stream) -> io::Result<Option<SocketAddr>> {
        match self.kind {
            Kind::Redirect => netns::original_destination(stream.as_fd()).map(Some),
            Kind::Gateway => stream.local_addr().map(Some),
            Kind::Proxy => Ok(None),
            #[cfg(test)]
            Kind::Fixed(address) => Ok(Some(address)),
        }
    }
}

impl Agents {
    /// The name on record of the agent at `source`. One small allocation for each connection.
    pub(crate) fn name(&self, source: IpAddr) -> Rc<str> {
        let source = source.to_canonical();
        match self.named(source) {
            Some(name) => name.into(),
            None => source.to_string().into(),
        }
    }

    /// Whether a client at `source` may use a door for `from` and the named agents; `None` is for everybody who can reach it.
    pub(crate) fn admit(&self, source: IpAddr, from: Option<&[IpNet]>) -> bool {
        let Some(from) = from else { return true };
        let source = source.to_canonical();
        from.iter().any(|net| net.contains(&source)) || self.named(source).is_some()
    }

    fn named(&self, source: IpAddr) -> Option<&str> {
        match self {
            Agents::One(name) => Some(name),
            Agents::BySource(agents) => {
                agents.iter().find(|(net, _)| net.contains(&source)).map(|(_, name)| name.as_str())
            }
        }
    }
}
