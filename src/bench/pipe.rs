//! A connection of the generator or the origin, in the clear or under TLS.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ServerConfig, ServerConnection};

use crate::io::engine::Stream;

/// A stream with the bytes that were received and not yet used.
pub(super) struct Pipe {
    stream: Stream,
    session: Option<Box<rustls::Connection>>,
    received: Vec<u8>,
    used: usize,
    /// Bytes on their way out; kept for their memory.
    wire: Vec<u8>,
}

impl Pipe {
    /// In the clear.
    pub(super) async fn connect(address: SocketAddr) -> io::Result<Pipe> {
        Pipe::open(Stream::connect(address).await?, None).await
    }

    /// Begins a TLS session as its client, on a pipe that has none.
    pub(super) async fn secure(self, config: Arc<ClientConfig>, name: ServerName<'static>) -> io::Result<Pipe> {
        if !self.received().is_empty() {
            return Err(io::Error::other("bytes before the handshake"));
        }
        let session = ClientConnection::new(config, name).map_err(io::Error::other)?.into();
        Pipe::open(self.stream, Some(session)).await
    }

    pub(super) async fn accept(stream: Stream, tls: Option<Arc<ServerConfig>>) -> io::Result<Pipe> {
        let session = match tls {
            None => None,
            Some(config) => Some(ServerConnection::new(config).map_err(io::Error::other)?.into()),
        };
        Pipe::open(stream, session).await
    }

    async fn open(stream: Stream, session: Option<rustls::Connection>) -> io::Result<Pipe> {
        let session = session.map(Box::new);
        let mut pipe = Pipe { stream, session, received: Vec::new(), used: 0, wire: Vec::new() };
        pipe.flush().await?;
        while pipe.session.as_ref().is_some_and(|session| session.is_handshaking()) {
            if !pipe.fill().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            pipe.flush().await?;
        }
        Ok(pipe)
    }

    /// Whether its TLS session continues an earlier one.
    pub(super) fn is_resumed(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.handshake_kind() == Some(HandshakeKind::Resumed))
    }

    /// Whether nothing has come since the last receive, not even its end.
    pub(super) fn is_quiet(&self) -> bool {
        self.stream.is_quiet()
    }

    /// Received and unused bytes.
    pub(super) fn received(&self) -> &[u8] {
        &self.received[self.used..]
    }

    /// Drops the first `count` unused bytes; at most all of them.
    pub(super) fn consume(&mut self, count: usize) {
        self.used = (self.used + count).min(self.received.len());
        if self.used == self.received.len() {
            self.received.clear();
            self.used = 0;
        }
    }

    /// Receives once; `false` at the end of the stream. Under TLS a record without data may arrive: then there is nothing more than before.
    pub(super) async fn fill(&mut self) -> io::Result<bool> {
        let bytes = self.stream.recv().await?;
        if bytes.is_empty() {
            return Ok(false);
        }
        let Some(session) = &mut self.session else {
            self.received.extend_from_slice(&bytes);
            return Ok(true);
        };
        let mut ciphertext: &[u8] = &bytes;
        while !ciphertext.is_empty() {
            if session.read_tls(&mut ciphertext)? == 0 {
                return Ok(false);
            }
            let state = session.process_new_packets().map_err(io::Error::other)?;
            let count = state.plaintext_bytes_to_read();
            let end = self.received.len();
            self.received.resize(end + count, 0);
            session.reader().read_exact(&mut self.received[end..])?;
        }
        Ok(true)
    }

    /// Sends all of `bytes`.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.session.is_none() {
            self.wire.extend_from_slice(bytes);
            return self.flush().await;
        }
        let mut left = bytes;
        while let Some(session) = &mut self.session {
            // It takes as much as it has room for.
            let taken = session.writer().write(left)?;
            left = &left[taken..];
            self.flush().await?;
            if left.is_empty() {
                break;
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        if let Some(session) = &mut self.session {
            while session.wants_write() {
                session.write_tls(&mut self.wire)?;
            }
        }
        if self.wire.is_empty() {
            return Ok(());
        }
        let (sent, mut wire) = self.stream.send_vec(std::mem::take(&mut self.wire)).await;
        wire.clear();
        self.wire = wire;
        sent
    }
}
