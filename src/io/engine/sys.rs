//! The few system calls that neither std nor nix offers, behind safe faces.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::time::Duration;

/// Anonymous, zeroed, page-aligned memory that the kernel backs page by page as it is touched.
pub(super) struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
}

impl Mapping {
    pub(super) fn anonymous(bytes: usize) -> io::Result<Mapping> {
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: asks for new memory at an address of the kernel's choice; nothing existing is replaced.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Mapping { start, bytes })
    }

    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the range that `anonymous` mapped, unmapped once.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

/// An eventfd(2): a counter that other threads add to and this engine waits on.
pub(super) struct EventCounter(OwnedFd);

impl EventCounter {
    pub(super) fn new() -> io::Result<EventCounter> {
        // SAFETY: takes no pointer.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        owned(fd).map(EventCounter)
    }

    /// Adds one. Cannot fail short of 2^64 - 2 unread additions.
    pub(super) fn add(&self) {
        let one = 1u64.to_ne_bytes();
        let _ = nix::unistd::write(&self.0, &one);
    }
}

impl AsFd for EventCounter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// An epoll(7) instance.
pub(super) struct Epoll(OwnedFd);

pub(super) type Event = libc::epoll_event;

/// Edge-triggered interest in everything that may happen to a socket.
#[expect(clippy::cast_sign_loss, reason = "EPOLLET is the sign bit of libc's signed constant")]
pub(super) const EVERYTHING: u32 = (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET) as u32;

impl Epoll {
    pub(super) fn new() -> io::Result<Epoll> {
        // SAFETY: takes no pointer.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        owned(fd).map(Epoll)
    }

    pub(super) fn add(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        let mut event = Event { events: EVERYTHING, u64: token };
        // SAFETY: `event` lives across the call, which only reads it; both descriptors are open.
        let result =
            unsafe { libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &raw mut event) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    pub(super) fn remove(&self, fd: BorrowedFd<'_>) {
        let none = std::ptr::null_mut();
        // SAFETY: EPOLL_CTL_DEL ignores the event pointer since Linux 2.6.9; both descriptors are open.
        unsafe { libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_DEL, fd.as_raw_fd(), none) };
    }

    /// Waits at most `timeout` (`None`: for ever) and appends what happened to `events`, within its capacity.
    pub(super) fn wait(&self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        let milliseconds = match timeout {
            // Rounded up: a wait that ends before its timer would only begin again.
            Some(timeout) => i32::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX),
            None => -1,
        };
        let room = events.spare_capacity_mut();
        let length = i32::try_from(room.len()).unwrap_or(i32::MAX);
        // SAFETY: the kernel writes at most `length` events into the spare capacity of `events`.
        let count = unsafe { libc::epoll_wait(self.0.as_raw_fd(), room.as_mut_ptr().cast(), length, milliseconds) };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        let length = events.len() + count;
        // SAFETY: the kernel has just initialised `count` events behind the old length, within capacity.
        unsafe { events.set_len(length) };
        Ok(())
    }
}

/// Takes a descriptor that a system call has just returned.
pub(super) fn owned(fd: i32) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened `fd` for this caller; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
