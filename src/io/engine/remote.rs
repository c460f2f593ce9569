//! How other threads wake this engine.
//!
//! A waker is `Send`: it may be called anywhere. On the engine's own thread it puts its task straight into the ready queue;
//! elsewhere it leaves the task's number here, and makes a system call only when the engine is parked. The two flags make a
//! Dekker pair: the engine says "asleep", then looks for wakes; the waker leaves its wake, then looks whether the engine is
//! asleep. Sequential consistency makes sure that at least one of them sees the other.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

use super::executor;
use super::sys::EventCounter;

pub(super) struct Remote {
    pub(super) signal: EventCounter,
    asleep: AtomicBool,
    waiting: AtomicBool,
    woken: Mutex<Vec<u32>>,
}

impl Remote {
    pub(super) fn new() -> io::Result<Remote> {
        Ok(Remote {
            signal: EventCounter::new()?,
            asleep: AtomicBool::new(false),
            waiting: AtomicBool::new(false),
            woken: Mutex::new(Vec::new()),
        })
    }

    fn wake(&self, task: u32) {
        self.woken.lock().unwrap_or_else(PoisonError::into_inner).push(task);
        self.waiting.store(true, Ordering::SeqCst);
        if self.asleep.swap(false, Ordering::SeqCst) {
            self.signal.add();
        }
    }

    /// Announces that the engine parks. `false`: it must not, somebody is waiting.
    pub(super) fn may_park(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        !self.waiting.load(Ordering::SeqCst)
    }

    pub(super) fn awake(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Moves the tasks woken from elsewhere into `tasks`; both vectors keep their memory.
    pub(super) fn take(&self, tasks: &mut Vec<u32>) {
        if self.is_waiting() {
            self.waiting.store(false, Ordering::SeqCst);
            let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut *woken, tasks);
        }
    }
}

/// The waker of one task slot. It outlives the task: waking the slot's next task needlessly is harmless.
struct TaskWaker {
    remote: Arc<Remote>,
    task: u32,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !executor::wake_here(&self.remote, self.task) {
            self.remote.wake(self.task);
        }
    }
}

pub(super) fn waker(remote: &Arc<Remote>, task: u32) -> Waker {
    Waker::from(Arc::new(TaskWaker { remote: remote.clone(), task }))
}
