//! Raising the network inside a namespace that somebody else made: a container without a network of its own.
//!
//! The caller's other threads stay where they are; only the sockets come out. What the fence does about processes, mounts and system calls
//! is the container engine's business here.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use nix::net::if_::if_nameindex;
use nix::sched::{CloneFlags, setns};

use super::error::{At, FenceError, Step};
use super::network::{self, Sockets};

/// Sets up the network namespace behind `namespace` as [`super::raise`] sets up its own, and gives the listeners in it.
///
/// # Errors
/// If it is not ours to enter, has a way out of its own, or a step fails.
pub fn enter(namespace: &File) -> Result<Sockets, FenceError> {
    let entered = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET).map_err(io::Error::from).at(Step::Enter, "")?;
                let interfaces = if_nameindex().map_err(io::Error::from).at(Step::Enter, "")?;
                let names: Vec<_> =
                    interfaces.iter().map(|found| found.name().to_string_lossy().into_owned()).collect();
                match names.iter().find(|name| *name != "lo") {
                    None => network::raise(),
                    Some(other) => {
                        Err(FenceError::new(Step::OwnNetwork, other, io::Error::from(io::ErrorKind::AlreadyExists)))
                    }
                }
            })
            .join()
    });
    entered.unwrap_or_else(|_| Err(FenceError::new(Step::Enter, "", io::Error::from(io::ErrorKind::Other))))
}
