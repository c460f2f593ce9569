//! A listening TCP socket.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::task::ready;

use nix::sys::socket::getsockname;

use super::executor::{Core, current, proceed};
use super::select::Backend;
use super::socket::Socket;
use super::stream::{Stream, address};
use super::timer::sleep;
use crate::limits::ACCEPT_PAUSE;

/// A listening socket. Dropping it closes the connections nobody has accepted yet.
pub struct Listener {
    core: Rc<Core>,
    socket: Rc<Socket>,
    accepted: Rc<Accepted>,
    /// Said once, until a connection is accepted again.
    complained: Cell<bool>,
}

/// Connections the kernel has accepted ahead of us.
pub(super) struct Accepted(RefCell<VecDeque<io::Result<OwnedFd>>>);

impl Accepted {
    /// Returns how many wait.
    pub(super) fn put(&self, result: io::Result<OwnedFd>) -> usize {
        let mut waiting = self.0.borrow_mut();
        if !matches!(&result, Err(error) if error.raw_os_error() == Some(libc::ECANCELED)) {
            waiting.push_back(result);
        }
        waiting.len()
    }

    pub(super) fn take(&self) -> Option<io::Result<OwnedFd>> {
        self.0.borrow_mut().pop_front()
    }
}

impl Listener {
    /// Takes up a listening socket.
    pub fn from_std(listener: TcpListener) -> io::Result<Listener> {
        let core = current();
        // Accepted connections inherit it: one system call here instead of one for each.
        super::stream::furnish(&listener)?;
        listener.set_nonblocking(core.driver.backend() == Backend::Epoll)?;
        let accepted = Rc::new(Accepted(RefCell::new(VecDeque::new())));
        Ok(Listener { core, socket: Socket::new(listener.into()), accepted, complained: Cell::new(false) })
    }

    /// The next connection. Outlives connections that fail before they are accepted, and a lack of descriptors or memory, in
    /// which case it pauses and tries again. Dropping the future loses no connection.
    pub async fn accept(&self) -> io::Result<Stream> {
        let _claim = self.socket.claim_rx()?;
        loop {
            let next = poll_fn(|cx| {
                ready!(proceed(cx));
                self.core.driver.poll_accept(&self.socket, &self.accepted, cx)
            });
            let error = match next.await {
                Ok(fd) => {
                    self.complained.set(false);
                    return Ok(Stream::adopt(self.core.clone(), fd));
                }
                Err(error) => error,
            };
            match error.raw_os_error() {
                // accept(2) asks to treat the network errors of one connection like EAGAIN.
                Some(
                    libc::ECONNABORTED
                    | libc::EINTR
                    | libc::EPROTO
                    | libc::EPERM
                    | libc::ENETDOWN
                    | libc::ENETUNREACH
                    | libc::EHOSTDOWN
                    | libc::EHOSTUNREACH
                    | libc::ENONET
                    | libc::ENOPROTOOPT
                    | libc::EOPNOTSUPP,
                ) => {}
                Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                    if !self.complained.replace(true) {
                        tracing::warn!(%error, "cannot accept connections; trying again");
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
                _ => return Err(error),
            }
        }
    }

    /// How many connections wait on our side of the kernel.
    #[cfg(test)]
    pub(super) fn ahead(&self) -> usize {
        self.accepted.0.borrow().len()
    }

    /// The address listened on.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        address(getsockname(self.socket.raw())?)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.core.driver.release(&self.socket, false);
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Listener({})", self.socket.raw())
    }
}
