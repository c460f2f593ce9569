//! One side of an exchange: a stream in the clear or under TLS, with the bytes that were received and not yet used.
//!
//! Knows nothing of HTTP. Keeps one invariant: bytes leave the inbox in the order in which they arrived, each exactly once.
//! Every method takes `&self`, so that one task may read while it writes; no borrow is held across an await, and at most one
//! read and one write may be under way at a time, which is what the two directions of an exchange need.

use std::cell::{Cell, RefCell};
use std::io::{self, BufRead, Read, Write};

use crate::io::engine::{Buf, Stream};
use crate::limits::{TLS_SEAL_BYTES_MAX, TRANSPORT_INBOX_BYTES_MAX};

/// A stream, in the clear or under TLS.
pub(crate) struct Transport {
    stream: Stream,
    session: Option<RefCell<Box<rustls::Connection>>>,
    inbox: RefCell<Inbox>,
    /// Ciphertext on its way out; kept between writes so that a steady connection allocates nothing.
    wire: Cell<Vec<u8>>,
}

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    /// The inbox holds more than before.
    Bytes,
    /// The peer is done. `clean` is false where TLS was cut without a close_notify (RFC 8446 §6.1), which may be an attacker's
    /// truncation of a body that has no length of its own.
    End { clean: bool },
}

/// Received and unused bytes: as the kernel delivered them, or decrypted and joined on the heap.
enum Inbox {
    Kernel(Buf),
    Heap { bytes: Vec<u8>, start: usize },
}

impl Transport {
    /// A stream in the clear whose first bytes may already have been read.
    pub(crate) fn plain(stream: Stream, first: Buf) -> Transport {
        Transport { stream, session: None, inbox: RefCell::new(Inbox::Kernel(first)), wire: Cell::default() }
    }

    /// A stream under TLS. The handshake has not happened yet: see [`Transport::handshake`].
    pub(crate) fn tls(stream: Stream, session: rustls::Connection) -> Transport {
        Transport {
            stream,
            session: Some(RefCell::new(Box::new(session))),
            inbox: RefCell::new(Inbox::Heap { bytes: Vec::new(), start: 0 }),
            wire: Cell::default(),
        }
    }

    /// Drives the TLS handshake to its end; `first` are ciphertext bytes that were read before the session existed.
    ///
    /// # Errors
    /// Of the stream, or `InvalidData` with the [`rustls::Error`] inside. The matching alert has then been sent.
    pub(crate) async fn handshake(&self, first: &[u8]) -> io::Result<()> {
        let mut result = self.open(first);
        loop {
            self.flush().await?;
            result?;
            let Some(session) = &self.session else { return Ok(()) };
            if !session.borrow().is_handshaking() {
                return Ok(());
            }
            let buf = self.stream.recv().await?;
            if buf.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            result = self.open(&buf);
        }
    }

    /// The unused bytes, as one slice.
    pub(crate) fn received<R>(&self, look: impl FnOnce(&[u8]) -> R) -> R {
        match &*self.inbox.borrow() {
            Inbox::Kernel(buf) => look(buf),
            Inbox::Heap { bytes, start } => look(&bytes[*start..]),
        }
    }

    /// Number of unused bytes.
    pub(crate) fn pending(&self) -> usize {
        self.received(<[u8]>::len)
    }

    /// Drops the first `n` unused bytes.
    pub(crate) fn consume(&self, n: usize) {
        match &mut *self.inbox.borrow_mut() {
            Inbox::Kernel(buf) => buf.advance(n),
            Inbox::Heap { bytes, start } => {
                *start += n;
                assert!(*start <= bytes.len(), "consumed more than was received");
                if *start == bytes.len() {
                    bytes.clear();
                    *start = 0;
                }
            }
        }
    }

    /// Takes the first `n` unused bytes out: without a copy where the kernel's buffer holds them, else into `spare`.
    pub(crate) fn take(&self, n: usize, mut spare: Vec<u8>) -> Taken {
        if let Inbox::Kernel(buf) = &mut *self.inbox.borrow_mut() {
            return Taken::Kernel(buf.split_to(n), spare);
        }
        spare.clear();
        self.received(|bytes| spare.extend_from_slice(&bytes[..n]));
        self.consume(n);
        Taken::Heap(spare)
    }

    /// Receives once and adds to the inbox. Dropping the future loses no byte. What is in the inbox already moves to memory of its own: the
    /// engine's buffers are few, and a peer that sends one byte and waits must not hold one.
    ///
    /// # Errors
    /// Of the stream; `InvalidData` for TLS that cannot be read; `OutOfMemory` when the inbox is at its bound, which says that
    /// the caller waits for something that will not fit.
    pub(crate) async fn fill(&self) -> io::Result<Filled> {
        self.fill_within(TRANSPORT_INBOX_BYTES_MAX).await
    }

    /// The same with another bound, for who looks at more than a head before any of it is used.
    ///
    /// # Errors
    /// As of [`Transport::fill`].
    pub(crate) async fn fill_within(&self, bound: usize) -> io::Result<Filled> {
        loop {
            if self.pending() >= bound {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            self.inbox.borrow_mut().settle();
            let buf = self.stream.recv().await?;
            if let Some(filled) = self.add(buf)? {
                return Ok(filled);
            }
        }
    }

    /// Sends `bytes`, sealed where the session says so, and gives the vector back.
    pub(crate) async fn send(&self, bytes: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        if self.session.is_none() {
            return self.stream.send_vec(bytes).await;
        }
        (self.send_sealed(&bytes).await, bytes)
    }

    /// Sends `bytes` and receives once: one entry into the kernel for both where the engine can.
    pub(crate) async fn send_then_fill(&self, bytes: Vec<u8>) -> (io::Result<Filled>, Vec<u8>) {
        let (received, bytes) = match &self.session {
            None => self.stream.send_vec_then_recv(bytes, &self.stream).await,
            Some(_) if bytes.len() <= TLS_SEAL_BYTES_MAX => {
                let mut wire = self.wire.take();
                if let Err(error) = self.seal(&bytes, &mut wire) {
                    return (Err(error), bytes);
                }
                let (received, mut wire) = self.stream.send_vec_then_recv(wire, &self.stream).await;
                wire.clear();
                self.wire.set(wire);
                (received, bytes)
            }
            Some(_) => match self.send_sealed(&bytes).await {
                Ok(()) => (self.stream.recv().await, bytes),
                Err(error) => (Err(error), bytes),
            },
        };
        match received.and_then(|buf| self.add(buf)) {
            Ok(Some(filled)) => (Ok(filled), bytes),
            Ok(None) => (self.fill().await, bytes),
            Err(error) => (Err(error), bytes),
        }
    }

    /// Moves the first `n` unused bytes of `from` out through this transport, without a copy where neither side is under TLS.
    pub(crate) async fn send_from(&self, from: &Transport, n: usize) -> io::Result<()> {
        let taken = match &mut *from.inbox.borrow_mut() {
            Inbox::Kernel(buf) => Taken::Kernel(buf.split_to(n), Vec::new()),
            // The whole inbox changes hands and comes back empty: no copy either.
            Inbox::Heap { bytes, start } if *start == 0 && bytes.len() == n => Taken::Heap(std::mem::take(bytes)),
            Inbox::Heap { bytes, start } => {
                let part = bytes[*start..*start + n].to_vec();
                *start += n;
                Taken::Heap(part)
            }
        };
        match (taken, &self.session) {
            // A receiver that does not read holds what is being sent to it, so that it must not be the engine's last buffers.
            (Taken::Kernel(buf, _), None) => self.stream.send(buf.settled_if_scarce()).await,
            (Taken::Kernel(buf, _), Some(_)) => self.send_sealed(&buf.settled_if_scarce()).await,
            (Taken::Heap(bytes), _) => {
                let (sent, bytes) = self.send(bytes).await;
                from.give_back(bytes);
                sent
            }
        }
    }

    /// Says goodbye in the way of its protocol; the descriptor closes when the transport is dropped.
    pub(crate) async fn close(&self) {
        if let Some(session) = &self.session {
            session.borrow_mut().send_close_notify();
            // The peer may be gone already; there is nobody left to tell.
            let _ = self.flush().await;
        }
        let _ = self.stream.shutdown_write();
    }

    /// The stream of a transport in the clear, and what was received and not used.
    pub(crate) fn into_parts(self) -> (Stream, Buf) {
        let first = match self.inbox.into_inner() {
            Inbox::Kernel(buf) => buf,
            Inbox::Heap { bytes, start } => Buf::from(bytes[start..].to_vec()),
        };
        (self.stream, first)
    }

    /// Cuts the connection with a reset, so that a peer cannot take what it got for a complete message.
    pub(crate) fn reset(self) {
        self.stream.reset();
    }

    /// Returns when the peer has hung up. What arrives meanwhile waits in the inbox, up to its bound.
    pub(crate) async fn gone(&self) {
        while matches!(self.fill().await, Ok(Filled::Bytes)) {}
        if self.pending() >= TRANSPORT_INBOX_BYTES_MAX {
            // Somebody who sends that much is still there.
            std::future::pending().await
        }
    }

    /// Whether nothing unread is waiting: only such a connection may carry another request (RFC 9112 §9.2).
    pub(crate) fn is_quiet(&self) -> bool {
        self.pending() == 0 && self.stream.is_quiet()
    }

    /// Gives a buffer back for reuse where the inbox has none of its own.
    fn give_back(&self, mut spare: Vec<u8>) {
        if let Inbox::Heap { bytes, .. } = &mut *self.inbox.borrow_mut()
            && bytes.capacity() == 0
        {
            spare.clear();
            *bytes = spare;
        }
    }

    /// Adds what the stream delivered; `None` when TLS needs more before it yields a byte.
    fn add(&self, buf: Buf) -> io::Result<Option<Filled>> {
        let Some(session) = &self.session else {
            if buf.is_empty() {
                return Ok(Some(Filled::End { clean: true }));
            }
            self.inbox.borrow_mut().append(buf);
            return Ok(Some(Filled::Bytes));
        };
        if buf.is_empty() {
            return Ok(Some(Filled::End { clean: false }));
        }
        let before = self.pending();
        self.open(&buf)?;
        if self.pending() > before {
            return Ok(Some(Filled::Bytes));
        }
        let mut session = session.borrow_mut();
        match session.reader().read(&mut [0; 1]) {
            Ok(0) => Ok(Some(Filled::End { clean: true })),
            _ => Ok(None),
        }
    }

    /// Decrypts `ciphertext` into the inbox. Each record costs one allocation, in rustls.
    fn open(&self, mut ciphertext: &[u8]) -> io::Result<()> {
        let Some(session) = &self.session else { return Ok(()) };
        let mut session = session.borrow_mut();
        let mut inbox = self.inbox.borrow_mut();
        while !ciphertext.is_empty() {
            if session.read_tls(&mut ciphertext)? == 0 {
                break;
            }
            let state =
                session.process_new_packets().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let n = state.plaintext_bytes_to_read();
            if n > 0 {
                inbox.read_in(&mut session.reader(), n)?;
            }
        }
        Ok(())
    }

    /// Encrypts `bytes` into `wire`. Each record costs one allocation, in rustls.
    fn seal(&self, bytes: &[u8], wire: &mut Vec<u8>) -> io::Result<()> {
        let Some(session) = &self.session else { return Ok(()) };
        let mut session = session.borrow_mut();
        session.writer().write_all(bytes)?;
        while session.wants_write() {
            session.write_tls(wire)?;
        }
        Ok(())
    }

    /// Encrypts and sends in portions, so that ciphertext in memory stays bounded whatever the caller hands over.
    async fn send_sealed(&self, bytes: &[u8]) -> io::Result<()> {
        for portion in bytes.chunks(TLS_SEAL_BYTES_MAX) {
            let mut wire = self.wire.take();
            self.seal(portion, &mut wire)?;
            let (sent, mut wire) = self.stream.send_vec(wire).await;
            wire.clear();
            self.wire.set(wire);
            sent?;
        }
        Ok(())
    }

    /// Sends whatever the session wants to say by itself: handshake flights, alerts, key updates.
    async fn flush(&self) -> io::Result<()> {
        let Some(session) = &self.session else { return Ok(()) };
        let mut wire = self.wire.take();
        while session.borrow().wants_write() {
            session.borrow_mut().write_tls(&mut wire)?;
        }
        if wire.is_empty() {
            return Ok(());
        }
        let (sent, mut wire) = self.stream.send_vec(wire).await;
        wire.clear();
        self.wire.set(wire);
        sent
    }
}

/// Bytes taken out of an inbox.
pub(crate) enum Taken {
    /// Still in the kernel's buffer; the spare vector was not needed.
    Kernel(Buf, Vec<u8>),
    /// Copied.
    Heap(Vec<u8>),
}

impl Taken {
    /// The same bytes in memory of their own: who waits with them must not hold one of the engine's few buffers.
    pub(crate) fn settled(self) -> Taken {
        match self {
            Taken::Kernel(buf, mut spare) => {
                spare.clear();
                spare.extend_from_slice(&buf);
                Taken::Heap(spare)
            }
            heap => heap,
        }
    }

    /// Gives the spare vector back.
    pub(crate) fn into_spare(self) -> Vec<u8> {
        match self {
            Taken::Kernel(_, spare) | Taken::Heap(spare) => spare,
        }
    }
}

impl std::ops::Deref for Taken {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Taken::Kernel(buf, _) => buf,
            Taken::Heap(bytes) => bytes,
        }
    }
}

impl Inbox {
    /// Copies what lies in the engine's buffer, which goes back. The next append would copy it anyway.
    fn settle(&mut self) {
        if let Inbox::Kernel(held) = self
            && !held.is_empty()
        {
            *self = Inbox::Heap { bytes: held.to_vec(), start: 0 };
        }
    }

    /// Joins `buf` to what is there. The join copies, but only where a message is split over reads.
    fn append(&mut self, buf: Buf) {
        match self {
            Inbox::Kernel(held) if held.is_empty() => *held = buf,
            Inbox::Kernel(held) => {
                let mut bytes = Vec::with_capacity(2 * (held.len() + buf.len()));
                bytes.extend_from_slice(held);
                bytes.extend_from_slice(&buf);
                *self = Inbox::Heap { bytes, start: 0 };
            }
            Inbox::Heap { bytes, start } if *start == bytes.len() => *self = Inbox::Kernel(buf),
            Inbox::Heap { bytes, .. } => bytes.extend_from_slice(&buf),
        }
    }

    /// Reads `n` decrypted bytes in.
    fn read_in(&mut self, reader: &mut rustls::Reader<'_>, n: usize) -> io::Result<()> {
        let Inbox::Heap { bytes, start } = self else { unreachable!("a TLS inbox is on the heap") };
        if *start > 0 {
            bytes.drain(..*start);
            *start = 0;
        }
        bytes.reserve(n);
        let mut left = n;
        // From where they were decrypted: room made for them would have to be zeroed first.
        while left > 0 {
            let here = reader.fill_buf()?;
            let taken = here.len().min(left);
            if taken == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            bytes.extend_from_slice(&here[..taken]);
            reader.consume(taken);
            left -= taken;
        }
        Ok(())
    }
}
