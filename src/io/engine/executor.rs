//! The executor: tasks, the ready queue and the turn.
//!
//! A turn polls what is ready (at most [`POLLS_PER_TURN_MAX`] polls, so that busy tasks never starve I/O), enters the kernel once
//! with everything that was submitted, and then hands out completions, due timers and wakes from other threads. Spinning happens
//! here and nowhere else. It knows no io_uring and no epoll.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::driver::{Driver, Wait};
use super::remote::{self, Remote};
use super::select::Spin;
use super::timer::Wheel;
use super::watch::Watch;
use crate::limits::{OPERATIONS_PER_POLL_MAX, POLLS_PER_TURN_MAX};

/// One engine, as its own streams, timers and wakers see it.
pub(super) struct Core {
    pub(super) driver: Driver,
    pub(super) timers: RefCell<Wheel>,
    remote: Arc<Remote>,
    start: Instant,
    now: Cell<Instant>,
    watch: Watch,
    /// Operations the task being polled may still finish.
    budget: Cell<u32>,
    tasks: RefCell<Tasks>,
    ready: RefCell<VecDeque<u32>>,
    /// Kept between turns for their memory.
    due: Cell<Vec<Waker>>,
    woken: Cell<Vec<u32>>,
}

/// The slots; number [`MAIN`] is the future given to `run`, which lives on its stack.
struct Tasks {
    slots: Vec<Task>,
    vacant: Vec<u32>,
}

struct Task {
    /// `None` while it is being polled, and when the slot is vacant.
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
    queued: bool,
    waker: Waker,
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Core>>> = const { RefCell::new(None) };
}

impl Core {
    pub(super) fn new(driver: Driver, remote: Arc<Remote>, spin: Spin) -> Rc<Core> {
        let now = Instant::now();
        let main = Task { future: None, queued: false, waker: remote::waker(&remote, MAIN) };
        Rc::new(Core {
            driver,
            timers: RefCell::new(Wheel::new()),
            remote,
            start: now,
            now: Cell::new(now),
            watch: Watch::new(spin),
            budget: Cell::new(0),
            tasks: RefCell::new(Tasks { slots: vec![main], vacant: Vec::new() }),
            ready: RefCell::new(VecDeque::new()),
            // As many as a turn polls: the first timers that fire together allocate nothing.
            due: Cell::new(Vec::with_capacity(POLLS_PER_TURN_MAX as usize)),
            woken: Cell::new(Vec::new()),
        })
    }

    pub(super) fn run<F: Future>(self: &Rc<Core>, main: F) -> F::Output {
        let _running = Running::begin(self);
        let mut main = pin!(main);
        let waker = self.tasks.borrow().slots[MAIN as usize].waker.clone();
        self.make_ready(MAIN);
        loop {
            for _ in 0..POLLS_PER_TURN_MAX {
                let Some(task) = self.next_ready() else { break };
                self.budget.set(OPERATIONS_PER_POLL_MAX);
                if task != MAIN {
                    self.poll(task);
                } else if let Poll::Ready(output) = main.as_mut().poll(&mut Context::from_waker(&waker)) {
                    return output;
                }
            }
            self.turn();
        }
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()>>>) {
        let mut tasks = self.tasks.borrow_mut();
        let task = match tasks.vacant.pop() {
            Some(task) => {
                tasks.slots[task as usize].future = Some(future);
                task
            }
            None => {
                let task = u32::try_from(tasks.slots.len()).unwrap_or(u32::MAX);
                assert!(task < u32::MAX, "more than 2^32 tasks at once");
                let waker = remote::waker(&self.remote, task);
                tasks.slots.push(Task { future: Some(future), queued: false, waker });
                task
            }
        };
        drop(tasks);
        self.make_ready(task);
    }

    fn make_ready(&self, task: u32) {
        let mut tasks = self.tasks.borrow_mut();
        let Some(slot) = tasks.slots.get_mut(task as usize) else { return };
        if !std::mem::replace(&mut slot.queued, true) {
            self.ready.borrow_mut().push_back(task);
        }
    }

    fn next_ready(&self) -> Option<u32> {
        let task = self.ready.borrow_mut().pop_front()?;
        self.tasks.borrow_mut().slots[task as usize].queued = false;
        Some(task)
    }

    /// Polls one task. A panic ends that task and no other.
    fn poll(&self, task: u32) {
        let (mut future, waker) = {
            let slot = &mut self.tasks.borrow_mut().slots[task as usize];
            let Some(future) = slot.future.take() else { return };
            (future, slot.waker.clone())
        };
        let poll = AssertUnwindSafe(|| future.as_mut().poll(&mut Context::from_waker(&waker)));
        match catch_unwind(poll) {
            Ok(Poll::Pending) => {
                self.tasks.borrow_mut().slots[task as usize].future = Some(future);
                return;
            }
            Ok(Poll::Ready(())) => {}
            Err(panic) => tracing::error!(panic = message(&*panic), "a task panicked and was ended"),
        }
        bury(future);
        self.tasks.borrow_mut().vacant.push(task);
    }

    /// From the last poll of one round to the first of the next: one entry into the kernel, or none when nothing calls for it.
    fn turn(&self) {
        let idle = self.ready.borrow().is_empty();
        if idle {
            self.park();
        } else {
            self.driver.enter(Wait::Not);
        }
        let now = Instant::now();
        self.now.set(now);
        self.watch.end(now);
        self.driver.dispatch();
        self.fire_timers();
        let mut woken = self.woken.take();
        self.remote.take(&mut woken);
        woken.drain(..).for_each(|task| self.make_ready(task));
        self.woken.set(woken);
    }

    fn park(&self) {
        if let Some(until) = self.watch.begin()
            && self.spin(until)
        {
            return;
        }
        let wait = if self.remote.may_park() { self.until_next_timer() } else { Wait::Not };
        self.driver.enter(wait);
        self.remote.awake();
    }

    fn until_next_timer(&self) -> Wait {
        let Some(next) = self.timers.borrow().next() else { return Wait::Forever };
        let left = (self.start + Duration::from_millis(next)).saturating_duration_since(self.now.get());
        if left.is_zero() { Wait::Not } else { Wait::AtMost(left) }
    }

    /// Watches for work before parking. Submits first, so that the kernel works while we watch.
    fn spin(&self, mut until: Instant) -> bool {
        self.driver.enter(Wait::Not);
        if self.driver.has_news() {
            self.watch.was_none();
        }
        if let Some(next) = self.timers.borrow().next() {
            until = until.min(self.start + Duration::from_millis(next));
        }
        loop {
            if self.driver.has_news() || self.remote.is_waiting() {
                self.driver.enter(Wait::Not);
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
            std::hint::spin_loop();
        }
    }

    fn fire_timers(&self) {
        let mut due = self.due.take();
        let elapsed = self.now.get().saturating_duration_since(self.start).as_millis();
        self.timers.borrow_mut().turn(u64::try_from(elapsed).unwrap_or(u64::MAX), &mut due);
        due.drain(..).for_each(Waker::wake);
        self.due.set(due);
    }

    /// `duration` after [`now`] on the wheel's scale, rounded up: no timer fires early.
    pub(super) fn milliseconds_after(&self, duration: Duration) -> u64 {
        let elapsed = self.now.get().saturating_duration_since(self.start);
        u64::try_from(elapsed.saturating_add(duration).as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }

    /// Ends what `run` left behind: tasks first, for they cancel their operations, then whatever the kernel still owns.
    fn end(&self) {
        loop {
            let task = self.tasks.borrow_mut().slots.iter_mut().position(|slot| slot.future.is_some());
            let Some(task) = task else { break };
            let future = self.tasks.borrow_mut().slots[task].future.take();
            future.into_iter().for_each(bury);
            self.tasks.borrow_mut().vacant.extend(u32::try_from(task));
        }
        self.driver.quiesce();
        self.ready.borrow_mut().clear();
        self.tasks.borrow_mut().slots.iter_mut().for_each(|slot| slot.queued = false);
    }
}

/// Makes an engine the thread's current one for as long as `run` runs, however it ends.
struct Running<'a> {
    core: &'a Rc<Core>,
    outer: Option<Rc<Core>>,
}

impl Running<'_> {
    fn begin(core: &Rc<Core>) -> Running<'_> {
        core.now.set(Instant::now());
        let outer = CURRENT.replace(Some(core.clone()));
        Running { core, outer }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.core.end();
        CURRENT.set(self.outer.take());
    }
}

/// The engine this code runs on. Being called outside of one is a mistake of ours, not a state of the world.
pub(super) fn current() -> Rc<Core> {
    let core = CURRENT.with_borrow(|current| current.clone());
    let Some(core) = core else { unreachable!("called outside of Engine::run") };
    core
}

/// Starts a task on the current engine. It runs until it is done or the engine's main future is; a panic ends only this task.
pub fn spawn(future: impl Future<Output = ()> + 'static) {
    current().spawn(Box::pin(future));
}

/// The time at which this turn began: cheap, and the same for everything that happens in one turn.
pub fn now() -> Instant {
    CURRENT.with_borrow(|current| current.as_ref().map_or_else(Instant::now, |core| core.now.get()))
}

/// How many operations the kernel still owns on behalf of the current engine's sockets; 0 once they are all dropped and reaped.
pub fn in_flight() -> usize {
    CURRENT.with_borrow(|current| current.as_ref().map_or(0, |core| core.driver.in_flight()))
}

/// Counts one operation against the running task; `Pending` tells it to let others run first, and wakes it again.
pub(super) fn proceed(cx: &Context<'_>) -> Poll<()> {
    CURRENT.with_borrow(|current| {
        let Some(core) = current else { return Poll::Ready(()) };
        match core.budget.get() {
            0 => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            left => {
                core.budget.set(left - 1);
                Poll::Ready(())
            }
        }
    })
}

/// Wakes a task if `remote` belongs to the engine running on this thread.
pub(super) fn wake_here(remote: &Arc<Remote>, task: u32) -> bool {
    let here = CURRENT.try_with(|current| match &*current.borrow() {
        Some(core) if Arc::ptr_eq(&core.remote, remote) => {
            core.make_ready(task);
            true
        }
        _ => false,
    });
    here.unwrap_or(false)
}

/// Drops a task's future. Its destructors may panic as well as its body.
fn bury(future: Pin<Box<dyn Future<Output = ()>>>) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(future))) {
        tracing::error!(panic = message(&*panic), "a task panicked while it was dropped");
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "not a text",
    }
}

const MAIN: u32 = 0;
