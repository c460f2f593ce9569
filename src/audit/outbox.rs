//! Where the writer leaves checkpoints for whoever carries them elsewhere, and where that one says how it went. Knows no place to carry to.
//!
//! Only the newest counts, so nothing queues; leaving one never waits for its delivery.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Between the writer and the carrier of its checkpoints.
#[derive(Debug, Default)]
pub struct Outbox {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The newest that is not delivered.
    note: Option<String>,
    /// Why the last attempt failed; `None` after one that went well.
    failure: Option<String>,
    /// What the writer has not yet put on record: the last attempt began to fail, or began to go well again.
    turned: bool,
    closed: bool,
    failures: u64,
    deliveries: u64,
}

/// How delivery goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Why the last attempt failed; `None` after one that went well.
    pub failure: Option<String>,
    /// Attempts that failed.
    pub failures: u64,
    /// Checkpoints that were delivered.
    pub deliveries: u64,
}

impl Outbox {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writer: leaves a checkpoint in the place of an older one.
    pub fn leave(&self, note: String) {
        self.state().note = Some(note);
        self.news.notify_all();
    }

    /// The writer: whether delivery has begun to fail, and why, or to succeed again, since this was last asked.
    pub fn turned(&self) -> Option<Result<(), String>> {
        let mut state = self.state();
        std::mem::take(&mut state.turned).then(|| state.failure.clone().map_or(Ok(()), Err))
    }

    /// Nothing more will be left: the carrier delivers what is there and ends.
    pub fn close(&self) {
        self.state().closed = true;
        self.news.notify_all();
    }

    /// The carrier: waits for a checkpoint; `None` when there will be none.
    pub fn take(&self) -> Option<String> {
        let mut state = self.state();
        loop {
            if let Some(note) = state.note.take() {
                return Some(note);
            }
            if state.closed {
                return None;
            }
            state = self.news.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The carrier: it is where it belongs.
    pub fn delivered(&self) {
        let mut state = self.state();
        state.deliveries += 1;
        state.turned |= state.failure.take().is_some();
    }

    /// The carrier: it could not be delivered. Puts it back unless there is a newer one, and waits before the next attempt, but not when
    /// everything is about to end. Says whether another attempt is to be made.
    pub fn failed(&self, note: String, why: String, wait: Duration) -> bool {
        let mut state = self.state();
        state.failures += 1;
        state.turned |= state.failure.is_none();
        state.failure = Some(why);
        state.note.get_or_insert(note);
        if state.closed {
            return false;
        }
        let (state, _) =
            self.news.wait_timeout_while(state, wait, |state| !state.closed).unwrap_or_else(PoisonError::into_inner);
        drop(state);
        true
    }

    /// How it goes.
    pub fn delivery(&self) -> Delivery {
        let state = self.state();
        Delivery { failure: state.failure.clone(), failures: state.failures, deliveries: state.deliveries }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_newest_and_tells_each_turn_once() {
        let outbox = Outbox::default();
        outbox.leave("1".to_owned());
        outbox.leave("2".to_owned());
        let note = outbox.take().unwrap();
        assert_eq!(note, "2");
        assert!(outbox.failed(note, "gone".to_owned(), Duration::ZERO));
        assert_eq!((outbox.turned(), outbox.turned()), (Some(Err("gone".to_owned())), None));
        outbox.leave("3".to_owned());
        assert_eq!(outbox.take().as_deref(), Some("3"));
        outbox.delivered();
        assert_eq!((outbox.turned(), outbox.turned()), (Some(Ok(())), None));
        outbox.close();
        assert_eq!(outbox.take(), None);
        assert_eq!(outbox.delivery(), Delivery { failure: None, failures: 1, deliveries: 1 });
    }
}
