//! The io_uring driver: one ring, entered by one thread.
//!
//! `SINGLE_ISSUER | DEFER_TASKRUN`: completions are produced only inside our own enter, which therefore always carries `GETEVENTS`;
//! `TASKRUN_FLAG` lets the spinning executor see without a system call that there are some; `SUBMIT_ALL` keeps one bad entry from
//! holding up the rest of a batch. This file is the ring itself; `ops` are what is done with it, `start` and `complete` their two ends.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;
use std::sync::Arc;

use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

use self::ops::{Op, Tag};
use super::buf::Pool;
use super::driver::Wait;
use super::remote::Remote;
use super::slab::Slab;
use crate::limits::{RING_COMPLETIONS_PER_ENTRY, RING_ENTRIES_MAX, RING_ENTRIES_MIN};

mod complete;
mod ops;
mod start;

pub(super) struct Ring {
    uring: RefCell<IoUring>,
    /// What the kernel owns; an entry lives until its last completion.
    ops: RefCell<Slab<Op>>,
    /// Completions collected and not yet handed out.
    arrived: RefCell<VecDeque<Completion>>,
    pool: Rc<Pool>,
    remote: Arc<Remote>,
    /// The standing poll on the remote's signal is with the kernel.
    listening: Cell<bool>,
    /// Everything is being cancelled; nothing is started again.
    closing: Cell<bool>,
}

#[derive(Clone, Copy)]
struct Completion {
    cookie: u64,
    result: i32,
    flags: u32,
}

impl Ring {
    /// Sets a ring up on this thread, which must be the one to use it. A kernel short of memory is asked for fewer entries.
    pub(super) fn new(entries: u32, buffers: u16, buffer_bytes: u32, remote: &Arc<Remote>) -> io::Result<Ring> {
        let mut entries = entries.clamp(RING_ENTRIES_MIN, RING_ENTRIES_MAX).next_power_of_two();
        let uring = loop {
            match setup(entries) {
                Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && entries > RING_ENTRIES_MIN => entries /= 2,
                result => break result.map_err(|error| refused("io_uring_setup", &error))?,
            }
        };
        let pool = Rc::new(Pool::shared(buffers, buffer_bytes)?);
        if let Some((address, count)) = pool.ring() {
            // SAFETY: the pool's ring of entries is page-aligned, as long as announced, and alive until `drop` unregisters it.
            let result = unsafe { uring.submitter().register_buf_ring_with_flags(address, count, BUFFER_GROUP, 0) };
            result.map_err(|error| refused("io_uring_register", &error))?;
        }
        // SAFETY: submits nothing, passes no argument. Some seccomp profiles deny this call and grant the other two.
        let entered = unsafe { uring.submitter().enter::<libc::sigset_t>(0, 0, GETEVENTS, None) };
        entered.map_err(|error| refused("io_uring_enter", &error))?;
        Ok(Ring {
            uring: RefCell::new(uring),
            ops: RefCell::new(Slab::new()),
            arrived: RefCell::new(VecDeque::new()),
            pool,
            remote: remote.clone(),
            listening: Cell::new(false),
            closing: Cell::new(false),
        })
    }

    pub(super) fn in_flight(&self) -> usize {
        self.ops.borrow().len()
    }

    /// Enters the kernel, unless nothing is to be submitted, collected or waited for.
    pub(super) fn enter(&self, wait: Wait) {
        if !self.listening.replace(true) {
            let poll = opcode::PollAdd::new(Fd(self.remote.signal.as_fd().as_raw_fd()), READABLE).multi(true);
            self.push(&[poll.build().user_data(Tag::Signal.bare())]);
        }
        // What has been collected on the side, to make room for submissions, must not wait for more.
        let wait = if self.arrived.borrow().is_empty() { wait } else { Wait::Not };
        if matches!(wait, Wait::Not) && self.is_unneeded() {
            return;
        }
        if let Err(error) = self.enter_kernel(wait) {
            match error.raw_os_error() {
                // The wait has ended, by time or by a signal; or the completion queue is full and wants to be collected first.
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => {}
                _ => unreachable!("io_uring_enter: {error}"),
            }
        }
        self.collect();
    }

    pub(super) fn has_news(&self) -> bool {
        let mut uring = self.uring.borrow_mut();
        !self.arrived.borrow().is_empty()
            || !uring.completion().is_empty()
            || uring.submission().taskrun()
            || uring.submission().cq_overflow()
    }

    pub(super) fn dispatch(&self) {
        loop {
            let Some(completion) = self.arrived.borrow_mut().pop_front() else { return };
            self.complete(completion);
        }
    }

    /// Cancels all there is, and comes back once the kernel owns nothing of ours.
    pub(super) fn quiesce(&self) {
        self.closing.set(true);
        while self.in_flight() > 0 || self.listening.get() {
            let cancel = opcode::AsyncCancel2::new(CancelBuilder::any()).build();
            self.push(&[cancel.user_data(Tag::Nobody.bare())]);
            // The cancellation's own completion ends this wait.
            if let Err(error) = self.enter_kernel(Wait::Forever) {
                tracing::debug!(%error, "io_uring_enter while closing");
            }
            self.collect();
            self.dispatch();
        }
        self.closing.set(false);
    }

    fn is_unneeded(&self) -> bool {
        let mut uring = self.uring.borrow_mut();
        let queue = uring.submission();
        queue.is_empty() && !queue.taskrun() && !queue.cq_overflow()
    }

    fn enter_kernel(&self, wait: Wait) -> io::Result<usize> {
        let mut uring = self.uring.borrow_mut();
        let count = u32::try_from(uring.submission().len()).unwrap_or(u32::MAX);
        let submitter = uring.submitter();
        let want = u32::from(!matches!(wait, Wait::Not));
        let Wait::AtMost(time) = wait else {
            // SAFETY: no argument is passed; the submission queue holds only entries that `push` vouches for.
            return unsafe { submitter.enter::<libc::sigset_t>(count, want, GETEVENTS, None) };
        };
        let time = Timespec::from(time);
        let arguments = SubmitArgs::new().timespec(&time);
        // SAFETY: `arguments` is what EXT_ARG announces, and lives across the call as the time it points to does.
        unsafe { submitter.enter(count, want, GETEVENTS | EXT_ARG, Some(&arguments)) }
    }

    /// Queues entries that belong together; they go into one submission, for a link does not outlive it.
    fn push(&self, entries: &[squeue::Entry]) {
        loop {
            {
                let mut uring = self.uring.borrow_mut();
                let mut queue = uring.submission();
                if queue.capacity() - queue.len() >= entries.len() {
                    // SAFETY: whatever an entry points to is owned by its `Op` (or by its socket, which the `Op` holds) until
                    // its last completion, and stays where it is when the slab grows.
                    let result = unsafe { queue.push_multiple(entries) };
                    debug_assert!(result.is_ok(), "there was room");
                    return;
                }
            }
            if let Err(error) = self.enter_kernel(Wait::Not) {
                tracing::debug!(%error, "io_uring_enter to make room");
            }
            self.collect();
        }
    }

    /// Moves completions out of the kernel's queue, so that it never stays full while we hand them out.
    fn collect(&self) {
        let mut uring = self.uring.borrow_mut();
        let completions = uring.completion().map(|completion: cqueue::Entry| Completion {
            cookie: completion.user_data(),
            result: completion.result(),
            flags: completion.flags(),
        });
        self.arrived.borrow_mut().extend(completions);
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // `run` has reaped every operation, so the kernel holds no buffer any more.
        let _ = self.uring.borrow().submitter().unregister_buf_ring(BUFFER_GROUP);
    }
}

fn setup(entries: u32) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag().setup_submit_all();
    builder.setup_cqsize(entries * RING_COMPLETIONS_PER_ENTRY).dontfork();
    builder.build(entries)
}

/// Names the system call in an error whose kind and number callers may want to look at.
fn refused(call: &str, error: &io::Error) -> io::Error {
    let remedy = match error.raw_os_error() {
        Some(libc::EPERM) => "denied by a seccomp profile or by kernel.io_uring_disabled",
        Some(libc::ENOSYS) => "not in this kernel, or denied by a seccomp profile",
        Some(libc::ENOMEM) => "more locked memory than RLIMIT_MEMLOCK allows",
        Some(libc::EINVAL) => "needs Linux 6.1",
        _ => "unexpected",
    };
    io::Error::new(error.kind(), format!("{call}: {error}: {remedy}"))
}

const BUFFER_GROUP: u16 = 0;
/// POLLIN of poll(2).
const READABLE: u32 = 0x001;
/// IORING_ENTER_GETEVENTS and IORING_ENTER_EXT_ARG of io_uring_enter(2); the crate does not export them.
const GETEVENTS: u32 = 1 << 0;
const EXT_ARG: u32 = 1 << 3;
