//! One request and its response, status and body checked.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::framing::Framing;
use super::order::Route;
use super::pipe::Pipe;
use super::scenario::Call;
use super::{body, mcp, origin};
use crate::limits::{BENCH_HELD_BYTES_MAX, HEADERS_MAX};

/// How a connection through the target comes about.
pub(super) struct Way {
    pub(super) address: SocketAddr,
    pub(super) host: String,
    pub(super) route: Route,
    pub(super) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

impl Way {
    /// A new connection, its handshakes done.
    pub(super) async fn connect(&self) -> io::Result<Pipe> {
        let mut pipe = Pipe::connect(self.address).await?;
        let Some((config, name)) = &self.tls else { return Ok(pipe) };
        if self.route == Route::Proxy {
            let host = &self.host;
            pipe.send(format!("CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n").as_bytes()).await?;
            let answer = Head::receive(&mut pipe).await?;
            if answer.status != 200 {
                return Err(io::Error::other(format!("CONNECT was answered {}", answer.status)));
            }
        }
        pipe.secure(Arc::clone(config), name.clone()).await
    }

    /// The request target for a path: an explicit proxy that reads the request wants it absolute.
    pub(super) fn target(&self, path: &str) -> String {
        match (self.route, &self.tls) {
            (Route::Proxy, None) => format!("http://{}{path}", self.host),
            _ => path.to_owned(),
        }
    }

    /// A GET as every client writes it.
    pub(super) fn get(&self, path: &str) -> Vec<u8> {
        let (target, host) = (self.target(path), &self.host);
        format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: ringfence-bench\r\nAccept: */*\r\n\r\n")
            .into_bytes()
    }
}

/// What every request of a generator says, and what every answer must.
pub(super) struct Asking {
    request: Vec<u8>,
    /// Where the ten digits of a call's id stand.
    id_at: Option<usize>,
    bytes: usize,
}

impl Asking {
    /// `session` is MCP's, once it is known.
    pub(super) fn new(way: &Way, call: Call, bytes: usize, session: Option<&str>) -> Asking {
        if call == Call::Mcp {
            let (message, digits) = mcp::call();
            let request = mcp::request(&way.target(mcp::PATH), &way.host, session, &message);
            let id_at = request.len() - message.len() + digits;
            return Asking { request: request.into_bytes(), id_at: Some(id_at), bytes };
        }
        Asking { request: way.get(&format!("{}{bytes}", origin::BYTES)), id_at: None, bytes }
    }

    /// Bytes of a right body, event or text.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Whether an answer was the origin's.
pub(super) enum Checked {
    Right,
    Wrong(String),
}

/// Request number `index` of a turn.
pub(super) async fn exchange(pipe: &mut Pipe, asking: &Asking, index: u64) -> io::Result<Checked> {
    let id = mcp::id(index);
    match asking.id_at {
        None => pipe.send(&asking.request).await?,
        Some(at) => {
            let mut request = asking.request.clone();
            request[at..at + 10].copy_from_slice(id.to_string().as_bytes());
            pipe.send(&request).await?;
        }
    }
    let Head { status, framing, .. } = Head::receive(pipe).await?;
    let mut framing = framing.ok_or_else(|| io::Error::other("a response without a length"))?;
    let right = match asking.id_at {
        None => body::receive(pipe, framing, asking.bytes).await?,
        Some(_) => mcp::is_right(&framing.rest(pipe, BENCH_HELD_BYTES_MAX).await?, id, asking.bytes),
    };
    Ok(match (status, right) {
        (200, true) => Checked::Right,
        (200, false) => Checked::Wrong("a body that the origin did not send".to_owned()),
        _ => Checked::Wrong(format!("status {status}")),
    })
}

/// Opens an MCP session as clients do; its id, where the server gives one.
pub(super) async fn open_session(way: &Way, pipe: &mut Pipe) -> io::Result<Option<String>> {
    let target = way.target(mcp::PATH);
    pipe.send(mcp::request(&target, &way.host, None, &mcp::hello()).as_bytes()).await?;
    let Head { status, framing, session } = Head::receive(pipe).await?;
    let mut framing = framing.ok_or_else(|| io::Error::other("a response without a length"))?;
    framing.rest(pipe, BENCH_HELD_BYTES_MAX).await?;
    if status != 200 {
        return Err(io::Error::other(format!("initialize was answered {status}")));
    }
    pipe.send(mcp::request(&target, &way.host, session.as_deref(), &mcp::thanks()).as_bytes()).await?;
    let answer = Head::receive(pipe).await?;
    if let Some(mut framing) = answer.framing {
        framing.rest(pipe, BENCH_HELD_BYTES_MAX).await?;
    }
    Ok(session)
}

/// What a path is answered with: its status. The body is dropped.
pub(super) async fn status_of(way: &Way, pipe: &mut Pipe, path: &str) -> io::Result<u16> {
    pipe.send(&way.get(path)).await?;
    let Head { status, framing, .. } = Head::receive(pipe).await?;
    if let Some(mut framing) = framing {
        framing.rest(pipe, BENCH_HELD_BYTES_MAX).await?;
    }
    Ok(status)
}

/// A response's head, as far as it matters here.
struct Head {
    status: u16,
    framing: Option<Framing>,
    session: Option<String>,
}

impl Head {
    async fn receive(pipe: &mut Pipe) -> io::Result<Head> {
        loop {
            if !pipe.fill().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
            let mut response = httparse::Response::new(&mut headers);
            if let httparse::Status::Complete(used) = response.parse(pipe.received()).map_err(io::Error::other)? {
                let status = response.code.unwrap_or(0);
                let head =
                    Head { status, framing: Framing::of(response.headers), session: mcp::session(response.headers)? };
                pipe.consume(used);
                // RFC 9110, section 15.3.5: 204 has no body, and says nothing about its length.
                let framing = if status == 204 { Some(Framing::Over) } else { head.framing };
                return Ok(Head { framing, ..head });
            }
        }
    }
}
