//! The socket file: made with its folder, taken over from a dead process, never from a living one, removed at the end.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket};
use nix::sys::stat::{Mode, fchmod};

use super::AdminError;
use crate::limits::ADMIN_BACKLOG;

/// Owner and group may ask.
const SOCKET_MODE: u32 = 0o660;
const FOLDER_MODE: u32 = 0o750;

/// A socket file of ours. Dropped, it is removed, unless another one stands in its place by then.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl SocketFile {
    /// Makes the file and listens on it.
    pub(super) fn bind(path: &Path) -> Result<(SocketFile, UnixListener), AdminError> {
        let failed = |error: io::Error| AdminError::Socket(path.to_owned(), error);
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder).map_err(failed)?;
        }
        clear(path)?;
        let listener = listener(path).map_err(|errno| failed(errno.into()))?;
        let identity = fs::symlink_metadata(path).map(|there| (there.dev(), there.ino())).map_err(failed)?;
        let file = SocketFile { path: path.to_owned(), identity };
        // The umask may have taken the group's part.
        fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE)).map_err(failed)?;
        Ok((file, listener))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|there| (there.dev(), there.ino()) == self.identity) {
            // Best effort: what stays behind is a stale socket, which the next start takes over.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes the socket of a dead process.
fn clear(path: &Path) -> Result<(), AdminError> {
    let failed = |error: io::Error| AdminError::Socket(path.to_owned(), error);
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        // The kernel refuses to connect to any other file as it does to a dead socket.
        Ok(there) if !there.file_type().is_socket() => return Err(AdminError::NotASocket(path.to_owned())),
        Ok(_) => {}
    }
    let knock = || {
        let caller = socket(AddressFamily::Unix, SockType::Stream, flags(), None)?;
        connect(caller.as_raw_fd(), &UnixAddr::new(path)?)
    };
    match knock() {
        // EAGAIN: somebody listens, and many wait already.
        Ok(()) | Err(Errno::EAGAIN) => Err(AdminError::Live(path.to_owned())),
        Err(Errno::ECONNREFUSED) => match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
            _ => Ok(()),
        },
        Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(failed(errno.into())),
    }
}

fn listener(path: &Path) -> nix::Result<UnixListener> {
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags(), None)?;
    // Linux gives the file the mode of the socket, less the umask: at no moment may more connect than in the end.
    fchmod(&socket, Mode::from_bits_truncate(SOCKET_MODE))?;
    bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    listen(&socket, Backlog::new(ADMIN_BACKLOG)?)?;
    Ok(UnixListener::from(socket))
}

fn flags() -> SockFlag {
    SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK
}
