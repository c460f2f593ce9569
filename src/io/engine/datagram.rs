//! A bound UDP socket, for the DNS stub. Not a hot path: readiness on either driver, then the plain system call.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;
use std::task::ready;

use super::buf::Buf;
use super::driver::Interest;
use super::executor::{Core, current, proceed};
use super::socket::Socket;
use crate::limits::DATAGRAM_BYTES_MAX;

/// A bound UDP socket. What it sends leaves from the address it is bound to.
pub struct Datagram {
    core: Rc<Core>,
    /// Wraps a duplicate of the descriptor, whose operations the driver accounts for.
    socket: Rc<Socket>,
    udp: UdpSocket,
    room: RefCell<Vec<u8>>,
}

impl Datagram {
    /// Takes up a bound socket.
    pub fn from_std(udp: UdpSocket) -> io::Result<Datagram> {
        udp.set_nonblocking(true)?;
        let socket = Socket::new(udp.try_clone()?.into());
        Ok(Datagram { core: current(), socket, udp, room: RefCell::new(vec![0; DATAGRAM_BYTES_MAX]) })
    }

    /// The next datagram and who sent it. Allocates its bytes.
    pub async fn recv_from(&self) -> io::Result<(Buf, SocketAddr)> {
        let _claim = self.socket.claim_rx()?;
        loop {
            self.ready(Interest::Read).await?;
            let mut room = self.room.borrow_mut();
            match self.udp.recv_from(&mut room) {
                Ok((length, from)) => return Ok((Buf::from(room[..length].to_vec()), from)),
                Err(error) => self.blocked(error, Interest::Read)?,
            }
        }
    }

    /// Sends one datagram.
    pub async fn send_to(&self, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        let _claim = self.socket.claim_tx()?;
        loop {
            self.ready(Interest::Write).await?;
            match self.udp.send_to(bytes, to) {
                Ok(_) => return Ok(()),
                Err(error) => self.blocked(error, Interest::Write)?,
            }
        }
    }

    /// The address it is bound to.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }

    async fn ready(&self, interest: Interest) -> io::Result<()> {
        poll_fn(|cx| {
            ready!(proceed(cx));
            self.core.driver.poll_ready(&self.socket, interest, cx)
        })
        .await
    }

    fn blocked(&self, error: io::Error, interest: Interest) -> io::Result<()> {
        match error.kind() {
            io::ErrorKind::WouldBlock => {
                self.socket.blocked(interest);
                Ok(())
            }
            io::ErrorKind::Interrupted => Ok(()),
            _ => Err(error),
        }
    }
}

impl Drop for Datagram {
    fn drop(&mut self) {
        self.core.driver.release(&self.socket, false);
    }
}

impl std::fmt::Debug for Datagram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Datagram({:?})", self.udp.local_addr())
    }
}
