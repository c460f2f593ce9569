//! What a worker waits for: that a record is on disk (`durability: strict`), that there is room for one (`on_full: block`).
//!
//! Both are futures that the writer wakes; with `batched` and `deny` they are ready at once and touch nothing shared. A waiter's end is never
//! in doubt: the writer wakes it when what it waits for has come, when the disk refuses, when the wait is over, and when it ends itself.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::producer::{Health, Refused};

/// When the first byte of a request may go upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// When its decision is in the ring. A power cut may cost the last few milliseconds of records.
    #[default]
    Batched,
    /// When its decision is on disk.
    Strict,
}

/// What happens to a request for whose record there is no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFull {
    /// It is refused.
    #[default]
    Deny,
    /// It waits, within [`crate::limits::AUDIT_BLOCK_WAIT`], and is refused then.
    Block,
}

/// Waiters of one ring: the worker adds and removes them, the writer wakes them.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    /// Everything of the ring before this position is on disk.
    synced: AtomicU64,
    /// How many wait, so that the writer need not take the lock to learn that nobody does.
    count: AtomicUsize,
    list: Mutex<Vec<Waiter>>,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    wants: Wants,
    waker: Waker,
    /// The writer's time when it first saw it, in milliseconds of its own clock.
    since: Option<u64>,
    over: bool,
}

/// What a waiter waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wants {
    /// That the ring is on disk up to here.
    Disk(u64),
    Room,
}

impl Waiters {
    fn list(&self) -> MutexGuard<'_, Vec<Waiter>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, id: u64, wants: Wants, waker: &Waker) {
        let mut list = self.list();
        match list.iter_mut().find(|waiter| waiter.id == id) {
            Some(waiter) => waiter.waker.clone_from(waker),
            None => list.push(Waiter { id, wants, waker: waker.clone(), since: None, over: false }),
        }
        self.count.store(list.len(), Ordering::Release);
    }

    fn remove(&self, id: u64) {
        let mut list = self.list();
        list.retain(|waiter| waiter.id != id);
        self.count.store(list.len(), Ordering::Release);
    }

    fn is_over(&self, id: u64) -> bool {
        self.list().iter().any(|waiter| waiter.id == id && waiter.over)
    }

    /// Whether a sync would release somebody.
    pub(super) fn want_disk(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
            && self.list().iter().any(|waiter| matches!(waiter.wants, Wants::Disk(_)))
    }

    /// The writer: everything before this position is on disk.
    pub(super) fn synced(&self, position: u64) {
        self.synced.store(position, Ordering::Release);
        self.wake(|waiter| matches!(waiter.wants, Wants::Disk(until) if until <= position));
    }

    /// The writer: there may be room again.
    pub(super) fn room(&self) {
        self.wake(|waiter| waiter.wants == Wants::Room);
    }

    /// The writer: the disk has refused, or nobody writes any more.
    pub(super) fn refused(&self, ended: bool) {
        self.wake(|waiter| ended || matches!(waiter.wants, Wants::Disk(_)));
    }

    /// The writer, now and then: ends waits for room that are too long. `now` and `wait_max` are milliseconds.
    pub(super) fn expire(&self, now: u64, wait_max: u64) {
        self.wake(|waiter| {
            let since = *waiter.since.get_or_insert(now);
            waiter.over |= waiter.wants == Wants::Room && now.saturating_sub(since) >= wait_max;
            waiter.over
        });
    }

    fn wake(&self, mut which: impl FnMut(&mut Waiter) -> bool) {
        if self.count.load(Ordering::Acquire) > 0 {
            self.list()
                .iter_mut()
                .filter_map(|waiter| which(waiter).then_some(&waiter.waker))
                .for_each(Waker::wake_by_ref);
        }
    }
}

/// What a future needs to wait, and to be seen waiting.
#[derive(Clone)]
pub(super) struct Bell {
    pub(super) waiters: Arc<Waiters>,
    pub(super) health: Arc<Health>,
    /// Wakes the writer, so that a waiter need not wait for the end of its pause.
    pub(super) ring: Arc<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for Bell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bell").field("waiters", &self.waiters).finish_non_exhaustive()
    }
}

/// Resolves when a record is on disk, or with the reason why it is not. Ready at once with [`Durability::Batched`].
#[derive(Debug)]
#[must_use = "nothing waits before this is awaited"]
pub struct Durable {
    pub(super) bell: Option<(Bell, u64)>,
    /// End of the record in its ring.
    pub(super) position: u64,
}

impl Future for Durable {
    type Output = Result<(), Refused>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some((bell, id)) = &self.bell else { return Poll::Ready(Ok(())) };
        let answer = || {
            if bell.waiters.synced.load(Ordering::Acquire) >= self.position {
                return Some(Ok(()));
            }
            (!bell.health.is_good()).then_some(Err(Refused::Unwritable))
        };
        if let Some(answer) = answer() {
            return Poll::Ready(answer);
        }
        bell.waiters.add(*id, Wants::Disk(self.position), context.waker());
        // Once more, now that the writer sees the waiter: what came between woke nobody.
        if let Some(answer) = answer() {
            return Poll::Ready(answer);
        }
        (bell.ring)();
        Poll::Pending
    }
}

impl Drop for Durable {
    fn drop(&mut self) {
        if let Some((bell, id)) = &self.bell {
            bell.waiters.remove(*id);
        }
    }
}

/// Resolves when a record of any length has room and the disk takes it, or when the wait is over. Ready at once with [`OnFull::Deny`].
#[must_use = "nothing waits before this is awaited"]
pub struct Room<F: Fn() -> bool> {
    pub(super) bell: Option<(Bell, u64)>,
    pub(super) is_there: F,
}

impl<F: Fn() -> bool> std::fmt::Debug for Room<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Room").field("bell", &self.bell).finish_non_exhaustive()
    }
}

impl<F: Fn() -> bool> Future for Room<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some((bell, id)) = &self.bell else { return Poll::Ready(()) };
        let is_done = || (self.is_there)() && bell.health.is_good() || bell.health.is_ended();
        if is_done() || bell.waiters.is_over(*id) {
            return Poll::Ready(());
        }
        bell.waiters.add(*id, Wants::Room, context.waker());
        if is_done() {
            return Poll::Ready(());
        }
        (bell.ring)();
        Poll::Pending
    }
}

impl<F: Fn() -> bool> Drop for Room<F> {
    fn drop(&mut self) {
        if let Some((bell, id)) = &self.bell {
            bell.waiters.remove(*id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_for_room_is_over_when_its_time_is() {
        let bell = Bell { waiters: Arc::default(), health: Arc::default(), ring: Arc::new(|| ()) };
        let mut room = std::pin::pin!(Room { bell: Some((bell.clone(), 7)), is_there: || false });
        let mut context = Context::from_waker(Waker::noop());
        assert!(room.as_mut().poll(&mut context).is_pending());
        // The clock starts when the writer first sees it.
        bell.waiters.expire(1000, 10);
        bell.waiters.expire(1009, 10);
        assert!(room.as_mut().poll(&mut context).is_pending());
        bell.waiters.expire(1010, 10);
        assert!(room.as_mut().poll(&mut context).is_ready());
    }
}
