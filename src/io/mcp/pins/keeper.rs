//! The keeper: one thread for what pins have to do with the disk, so that no worker waits for it.
//!
//! Workers compare definitions in memory; what is new there is written here soon after, and what somebody has accepted meanwhile is read here.
//! What could not be written is tried again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{PinError, Pins};
use crate::limits::{PIN_REFRESH_EVERY, PIN_SAVE_EVERY};

/// The thread, until [`Keeper::finish`].
pub(crate) struct Keeper {
    pins: Arc<Pins>,
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Keeper {
    /// Starts to keep these pins.
    ///
    /// # Errors
    /// If the thread cannot be had.
    pub(crate) fn start(pins: &Arc<Pins>) -> io::Result<Keeper> {
        let is_over = Arc::new(AtomicBool::new(false));
        let (kept, over) = (Arc::clone(pins), Arc::clone(&is_over));
        let work = move || keep(&kept, &over);
        let thread = thread::Builder::new().name("ringfence-pins".to_owned()).spawn(work)?;
        Ok(Keeper { pins: Arc::clone(pins), is_over, thread })
    }

    /// Writes what is not written yet, and ends.
    pub(crate) fn finish(self) {
        {
            // Under the lock, so that the keeper is either before its look at this or already waiting for the news.
            let _servers = self.pins.lock();
            self.is_over.store(true, Ordering::Release);
            self.pins.news.notify_all();
        }
        self.thread.thread().unpark();
        // A panic in there has been reported by the panic hook.
        let _ = self.thread.join();
    }
}

fn keep(pins: &Pins, is_over: &AtomicBool) {
    let mut told = false;
    loop {
        let (due, is_last) = pins.due(is_over);
        let failed = due.iter().find_map(|server| pins.keep(server).err());
        match &failed {
            // Once for each time that it begins to fail.
            Some(error) if !told => tracing::warn!(%error, "pins cannot be kept"),
            _ => {}
        }
        told = failed.is_some();
        if is_last {
            return;
        }
        // Nobody unparks this thread before the end: what is new meanwhile is written together.
        if !is_over.load(Ordering::Acquire) {
            thread::park_timeout(if told { PIN_REFRESH_EVERY } else { PIN_SAVE_EVERY });
        }
    }
}

impl Pins {
    /// Waits until a file has to be written or looked at, or until the end; the servers whose it is, and whether nothing is met after this.
    fn due(&self, is_over: &AtomicBool) -> (Vec<String>, bool) {
        let mut servers = self.lock();
        let mut waited = Duration::ZERO;
        loop {
            let is_late = waited >= PIN_REFRESH_EVERY;
            let due: Vec<String> = servers
                .iter()
                .filter(|(_, known)| known.is_dirty || (is_late && known.is_open()))
                .map(|(server, _)| server.clone())
                .collect();
            // Set under the lock: what was met before is among these.
            let is_last = is_over.load(Ordering::Acquire);
            if !due.is_empty() || is_last {
                return (due, is_last);
            }
            let (back, result) =
                self.news.wait_timeout(servers, PIN_REFRESH_EVERY).unwrap_or_else(std::sync::PoisonError::into_inner);
            servers = back;
            waited = if result.timed_out() { PIN_REFRESH_EVERY } else { Duration::ZERO };
        }
    }

    fn keep(&self, server: &str) -> Result<(), PinError> {
        self.save(server)?;
        self.refresh(server)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::{Met, accept, list};
    use super::*;

    fn until(what: &str, holds: impl Fn() -> bool) {
        let started = Instant::now();
        while !holds() {
            assert!(started.elapsed() < Duration::from_secs(10), "{what}");
            thread::yield_now();
        }
    }

    #[test]
    fn what_is_met_is_written_and_what_is_accepted_is_taken_over_without_anybody_asking() {
        let state = tempfile::tempdir().unwrap();
        let pins = Arc::new(Pins::under(state.path()));
        pins.load("files").unwrap();
        let keeper = Keeper::start(&pins).unwrap();
        assert_eq!(pins.meet("files", "read", b"1"), Met::Known);
        until("the pin is written", || list(state.path()).is_ok_and(|all| all.len() == 1));
        assert!(matches!(pins.meet("files", "read", b"2"), Met::Changed { .. }));
        until("the change is written", || list(state.path()).unwrap()[0].tools["read"].seen.is_some());
        assert!(pins.changed("files", "read").is_some());
        accept(state.path(), "files", &[]).unwrap();
        until("what was accepted counts", || pins.changed("files", "read").is_none());
        assert_eq!(pins.meet("files", "read", b"2"), Met::Known);
        keeper.finish();
    }

    #[test]
    fn what_is_met_last_is_written_before_the_end() {
        // Now and then the keeper is at work on the first ones when the last one comes and the end is said.
        for _ in 0..50 {
            let state = tempfile::tempdir().unwrap();
            let pins = Arc::new(Pins::under(state.path()));
            let keeper = Keeper::start(&pins).unwrap();
            for tool in ["a", "b", "c"] {
                pins.meet("files", tool, b"1");
            }
            keeper.finish();
            assert_eq!(list(state.path()).unwrap()[0].tools.len(), 3);
        }
    }
}
