//! Messages into an engine from any thread: a bounded channel, and the answer to one question.
//!
//! Senders never wait: a full channel is an answer. Receivers are futures of any executor; on ours a wake-up costs a system
//! call only when the engine is parked.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::executor;

/// A channel that holds at most `capacity` messages.
pub fn channel<T: Send>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let state = State { messages: VecDeque::with_capacity(capacity), capacity, senders: 1, open: true, waker: None };
    let shared = Arc::new(Mutex::new(state));
    (Sender { shared: shared.clone() }, Receiver { shared })
}

/// The sending half: any number, on any thread.
pub struct Sender<T> {
    shared: Arc<Mutex<State<T>>>,
}

/// The receiving half. Dropping it makes every further send fail.
pub struct Receiver<T> {
    shared: Arc<Mutex<State<T>>>,
}

/// Why a message was not taken; it carries the message back.
#[derive(Debug, PartialEq, Eq)]
pub enum TrySendError<T> {
    /// The channel holds as many messages as it may.
    Full(T),
    /// The receiver is gone.
    Closed(T),
}

struct State<T> {
    messages: VecDeque<T>,
    capacity: usize,
    senders: usize,
    open: bool,
    waker: Option<Waker>,
}

impl<T> Sender<T> {
    /// Leaves a message for the receiver and wakes it; never waits.
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        let mut state = lock(&self.shared);
        if !state.open {
            return Err(TrySendError::Closed(message));
        }
        if state.messages.len() >= state.capacity {
            return Err(TrySendError::Full(message));
        }
        state.messages.push_back(message);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        lock(&self.shared).senders += 1;
        Sender { shared: self.shared.clone() }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = lock(&self.shared);
        state.senders -= 1;
        let waker = if state.senders == 0 { state.waker.take() } else { None };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Receiver<T> {
    /// The next message; `None` once all senders are gone and all messages are taken. Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Option<T> {
        poll_fn(|cx| {
            std::task::ready!(executor::proceed(cx));
            let mut state = lock(&self.shared);
            if let Some(message) = state.messages.pop_front() {
                return Poll::Ready(Some(message));
            }
            if state.senders == 0 {
                return Poll::Ready(None);
            }
            renew(&mut state.waker, cx);
            Poll::Pending
        })
        .await
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = lock(&self.shared);
        state.open = false;
        let unread = std::mem::take(&mut state.messages);
        drop(state);
        drop(unread);
    }
}

/// A question's two ends: whoever holds the [`Reply`] answers, whoever holds the [`Answer`] waits for it.
pub fn oneshot<T: Send>() -> (Reply<T>, Answer<T>) {
    let shared = Arc::new(Mutex::new(Outcome { value: None, settled: false, waker: None }));
    (Reply { shared: shared.clone() }, Answer { shared })
}

/// The end that answers, on any thread. Dropped without an answer it answers `None`.
pub struct Reply<T> {
    shared: Arc<Mutex<Outcome<T>>>,
}

/// The end that waits: a future of `Some(answer)`, or of `None` when the other end is gone.
pub struct Answer<T> {
    shared: Arc<Mutex<Outcome<T>>>,
}

struct Outcome<T> {
    value: Option<T>,
    settled: bool,
    waker: Option<Waker>,
}

impl<T> Reply<T> {
    /// Answers. Whether anybody still waits makes no difference.
    pub fn send(self, value: T) {
        lock(&self.shared).value = Some(value);
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        let mut outcome = lock(&self.shared);
        outcome.settled = true;
        let waker = outcome.waker.take();
        drop(outcome);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Future for Answer<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut outcome = lock(&self.shared);
        if outcome.settled {
            return Poll::Ready(outcome.value.take());
        }
        renew(&mut outcome.waker, cx);
        Poll::Pending
    }
}

/// A panic elsewhere cannot leave these states half changed, so a poisoned lock is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn renew(waker: &mut Option<Waker>, cx: &Context<'_>) {
    match waker {
        Some(known) if known.will_wake(cx.waker()) => {}
        _ => *waker = Some(cx.waker().clone()),
    }
}
