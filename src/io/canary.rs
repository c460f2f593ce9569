//! The canary: a request for a metadata address, through the whole decision of each door, before anybody is told that the proxy is ready.
//!
//! It goes the way of any client's connection from the first byte on, over loopback to ourselves; only where it came from and was meant to go
//! is given. Its denial is on record like any other, under an agent's name of its own.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::rc::Rc;

use crate::io::door::{Arrival, Entrance, Kind};
use crate::io::engine::{self, Stream};
use crate::io::flow;
use crate::io::worker::Worker;
use crate::limits::CANARY_WAIT;

/// The name on record.
const AGENT: &str = "ringfence-canary";
/// The link-local address under which most clouds serve credentials.
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// Sends one through each door; the error says which one did not deny it.
pub(crate) async fn all(entrances: &[Rc<Entrance>], worker: &Rc<Worker>) -> Result<(), String> {
    for entrance in entrances {
        let sent = engine::timeout(CANARY_WAIT, one(entrance, worker)).await;
        let mode = entrance.mode.word();
        match sent {
            Ok(Ok(answer)) if is_denial(&answer) => {}
            Ok(Ok(_)) => return Err(format!("the {mode} listener did not deny a metadata address")),
            Ok(Err(error)) => return Err(format!("the {mode} listener could not be tried: {error}")),
            Err(_) => return Err(format!("the {mode} listener does not answer")),
        }
    }
    Ok(())
}

async fn one(entrance: &Entrance, worker: &Rc<Worker>) -> io::Result<Vec<u8>> {
    let (client, server) = pair().await?;
    let arrival = Arrival {
        agent: AGENT.into(),
        destination: (entrance.kind != Kind::Proxy).then_some(SocketAddr::from((METADATA, 80))),
        port: 80,
        ..entrance.arrival(server.peer_addr()?, worker)
    };
    let entry = worker.enter(&server);
    engine::spawn(flow::converse(server, entry, arrival, Rc::clone(worker)));
    let target = if entrance.kind == Kind::Proxy { "http://169.254.169.254/" } else { "/" };
    let request = format!("GET {target} HTTP/1.1\r\nHost: 169.254.169.254\r\nConnection: close\r\n\r\n");
    client.send_vec(request.into_bytes()).await.0?;
    let mut answer = Vec::new();
    loop {
        let bytes = client.recv().await?;
        if bytes.is_empty() {
            return Ok(answer);
        }
        answer.extend_from_slice(&bytes);
    }
}

fn is_denial(answer: &[u8]) -> bool {
    answer.starts_with(b"HTTP/1.1 403 ") && memchr::memmem::find(answer, br#""code":"metadata""#).is_some()
}

/// Two ends of one connection. Whoever else connects meanwhile is not taken for the other end.
async fn pair() -> io::Result<(Stream, Stream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let client = Stream::connect(listener.local_addr()?).await?;
    let own = client.local_addr()?;
    loop {
        // The connection is complete, so it waits in the backlog: this does not block.
        let (server, peer) = listener.accept()?;
        if peer == own {
            return Ok((client, Stream::from_std(server)?));
        }
    }
}
