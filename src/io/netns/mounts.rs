//! The mount calls that the view is made of, each with the kernel's answer and nothing else.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use nix::mount::{MsFlags, mount};

/// Cuts every mount off from the host's: what is mounted there later does not appear here, nor the other way round.
pub(super) fn make_private() -> io::Result<()> {
    Ok(mount::<str, _, str, str>(None, "/", None, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None)?)
}

/// Makes device nodes and set-user-ID bits void on every mount that exists now. Root without a capability may still open the device nodes
/// that it owns, wherever they lie.
pub(super) fn void_devices() -> io::Result<()> {
    set_attributes(Path::new("/"), true, libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOSUID)
}

/// An empty, writable folder over `target`. `mode` is octal text, as tmpfs wants it.
pub(super) fn cover(target: &Path, mode: &str, bytes_max: u64) -> io::Result<()> {
    let options = format!("mode={mode},size={bytes_max}");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    Ok(mount(Some("tmpfs"), target, Some("tmpfs"), flags, Some(options.as_str()))?)
}

/// An empty folder over `target` that stays so.
pub(super) fn cover_sealed(target: &Path) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_RDONLY;
    Ok(mount(Some("tmpfs"), target, Some("tmpfs"), flags, Some("mode=0555,size=4096"))?)
}

/// Makes the tmpfs at `target` read-only wherever it is bound, by its superblock, which a nested user namespace cannot undo.
pub(super) fn seal(target: &Path) -> io::Result<()> {
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    Ok(mount::<str, _, str, str>(None, target, None, flags, None)?)
}

/// Mounts a kernel file system.
pub(super) fn special(kind: &str, target: &Path, flags: MsFlags, options: &str) -> io::Result<()> {
    Ok(mount(Some(kind), target, Some(kind), flags, Some(options))?)
}

/// Puts the file or folder `source` over `target`.
pub(super) fn bind(source: &Path, target: &Path) -> io::Result<()> {
    Ok(mount::<_, _, str, str>(Some(source), target, None, MsFlags::MS_BIND | MsFlags::MS_REC, None)?)
}

/// Makes everything at and below `target` read-only, whether a mount begins there or not.
pub(super) fn make_read_only(target: &Path) -> io::Result<()> {
    bind(target, target)?;
    set_attributes(target, true, libc::MOUNT_ATTR_RDONLY)
}

/// Makes the one mount that begins at `target` read-only.
pub(super) fn make_mount_read_only(target: &Path) -> io::Result<()> {
    set_attributes(target, false, libc::MOUNT_ATTR_RDONLY)
}

/// A copy of what is mounted at `path` and below, out of reach of what happens to the tree from now on, to be attached later.
pub(super) fn detach(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_RECURSIVE.cast_unsigned();
    // SAFETY: `path` is NUL-terminated and outlives the call, which reads nothing else.
    let answer = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) };
    let descriptor = RawFd::try_from(checked(answer)?).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    // SAFETY: the kernel has just made this descriptor for us and nothing else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Attaches what [`detach`] took over the existing file or folder `target`.
pub(super) fn attach(tree: &OwnedFd, target: &Path) -> io::Result<()> {
    let target = c_path(target)?;
    let (from, flags) = (tree.as_raw_fd(), libc::MOVE_MOUNT_F_EMPTY_PATH);
    // SAFETY: both paths are NUL-terminated and outlive the call; `from` is an open descriptor that `tree` keeps open.
    let answer =
        unsafe { libc::syscall(libc::SYS_move_mount, from, c"".as_ptr(), libc::AT_FDCWD, target.as_ptr(), flags) };
    checked(answer).map(drop)
}

fn set_attributes(target: &Path, recursive: bool, attributes: u64) -> io::Result<()> {
    let target = c_path(target)?;
    let flags = if recursive { libc::AT_RECURSIVE } else { 0 };
    let change = libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let (change, size) = (&raw const change, size_of::<libc::mount_attr>());
    // SAFETY: `target` is NUL-terminated, `change` points at `size` initialised bytes, and both outlive the call.
    let answer =
        unsafe { libc::syscall(libc::SYS_mount_setattr, libc::AT_FDCWD, target.as_ptr(), flags, change, size) };
    checked(answer).map(drop)
}

fn checked(answer: libc::c_long) -> io::Result<libc::c_long> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}
