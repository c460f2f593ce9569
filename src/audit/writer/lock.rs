//! Open-file-description locks on whole files. Such a lock is released when the last descriptor of its opening is closed, however the
//! process ends, and unlike `flock` it can be asked for.

use std::fs::File;
use std::io;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

/// Takes the lock; says whether nobody else had it.
pub(super) fn take(file: &File) -> io::Result<bool> {
    match fcntl(file, FcntlArg::F_OFD_SETLK(&whole(libc::F_WRLCK))) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether somebody has it. Asks without taking it, so it never stands in anybody's way.
pub(super) fn is_taken(file: &File) -> bool {
    let mut lock = whole(libc::F_RDLCK);
    let asked = fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock));
    asked.is_ok() && lock.l_type != lock_type(libc::F_UNLCK)
}

fn whole(kind: libc::c_int) -> libc::flock {
    libc::flock { l_type: lock_type(kind), l_whence: lock_type(libc::SEEK_SET), l_start: 0, l_len: 0, l_pid: 0 }
}

#[allow(clippy::cast_possible_truncation, reason = "the kernel's lock types are 0 to 2")]
fn lock_type(kind: libc::c_int) -> libc::c_short {
    kind as libc::c_short
}
