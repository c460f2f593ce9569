//! The open connections of one worker: how many they are, whose, and what each of them is about.
//!
//! A worker that stops lets exchanges end, but a connection that only waits for its next request would hold it up until its idle time
//! is over: such a connection is told that its client is done. An exchange under way sleeps until something of it happens: when the
//! policy is replaced, it is woken. What one agent may hold at a time is a share of the whole, so that a flood of its connections leaves
//! the others room.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::rc::Rc;
use std::task::Waker;

use nix::sys::socket::{Shutdown, shutdown};

use crate::io::engine::Stream;

/// Who is there.
#[derive(Default)]
pub(crate) struct Census {
    open: RefCell<HashMap<RawFd, Rc<Mark>>>,
}

/// What a connection does.
pub(crate) struct Mark {
    stage: Cell<Stage>,
    /// Of the task whose exchange is under way.
    exchange: RefCell<Option<Waker>>,
}

/// One connection's entry, for as long as it lives; also through a panic.
pub(crate) struct Entry {
    census: Rc<Census>,
    fd: RawFd,
    mark: Rc<Mark>,
}

/// What a connection is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Something arrives of which nothing is on record yet.
    Asking,
    /// Nothing is under way.
    Waiting,
    /// What was asked is decided, and on record.
    Decided,
}

/// How many of something each agent holds. As large as the number of agents that hold any.
#[derive(Default)]
pub(crate) struct Shares {
    held: RefCell<HashMap<Rc<str>, Held>>,
}

#[derive(Default)]
struct Held {
    count: usize,
    refusing: bool,
}

/// One of what an agent holds, until it is dropped.
pub(crate) struct Share {
    of: Rc<Shares>,
    agent: Rc<str>,
}

/// An agent holds as many as it may. `first`: the first refusal since one was granted, which is worth a record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Exhausted {
    pub(crate) first: bool,
}

impl Census {
    /// Enters a connection.
    pub(crate) fn enter(self: &Rc<Census>, stream: &Stream) -> Entry {
        let fd = stream.as_fd().as_raw_fd();
        let mark = Rc::new(Mark { stage: Cell::new(Stage::Asking), exchange: RefCell::default() });
        self.open.borrow_mut().insert(fd, Rc::clone(&mark));
        Entry { census: Rc::clone(self), fd, mark }
    }

    /// How many connections are open.
    pub(crate) fn len(&self) -> usize {
        self.open.borrow().len()
    }

    /// Ends the waits for a next request: the read side is shut down, so the wait finds the end of the stream.
    pub(crate) fn dismiss_waiting(&self) {
        for (fd, mark) in &*self.open.borrow() {
            if mark.stage() == Stage::Waiting {
                // A client that has hung up meanwhile is what was wanted.
                let _ = shutdown(*fd, Shutdown::Read);
            }
        }
    }

    /// Wakes every exchange that is under way.
    pub(crate) fn wake(&self) {
        let wakers = self.open.borrow().values().filter_map(|mark| mark.exchange.take()).collect::<Vec<_>>();
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Entry {
    /// Says what the connection is about now.
    pub(crate) fn is(&self, stage: Stage) {
        self.mark.stage.set(stage);
    }

    /// What the connection does, for somebody who outlives it.
    pub(crate) fn mark(&self) -> Rc<Mark> {
        Rc::clone(&self.mark)
    }

    /// Remembers whom to wake when the policy is replaced.
    pub(crate) fn wakes(&self, waker: &Waker) {
        let mut exchange = self.mark.exchange.borrow_mut();
        match &mut *exchange {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }
}

impl Mark {
    /// What the connection is about.
    pub(crate) fn stage(&self) -> Stage {
        self.stage.get()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.census.open.borrow_mut().remove(&self.fd);
    }
}

impl Shares {
    /// One more for `agent`, of at most `most`.
    pub(crate) fn take(self: &Rc<Shares>, agent: &Rc<str>, most: usize) -> Result<Share, Exhausted> {
        let mut held = self.held.borrow_mut();
        let held = held.entry(Rc::clone(agent)).or_default();
        if held.count >= most {
            return Err(Exhausted { first: !std::mem::replace(&mut held.refusing, true) });
        }
        *held = Held { count: held.count + 1, refusing: false };
        Ok(Share { of: Rc::clone(self), agent: Rc::clone(agent) })
    }

    /// How many all agents hold together.
    pub(crate) fn total(&self) -> usize {
        self.held.borrow().values().map(|held| held.count).sum()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut all = self.of.held.borrow_mut();
        if let Some(held) = all.get_mut(&self.agent) {
            held.count -= 1;
            if held.count == 0 {
                all.remove(&self.agent);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_holds_its_share_and_no_more() {
        let shares = Rc::new(Shares::default());
        let (a, b): (Rc<str>, Rc<str>) = ("a".into(), "b".into());
        let mut held: Vec<Share> = (0..3).map(|_| shares.take(&a, 3).unwrap()).collect();
        assert_eq!(shares.take(&a, 3).err(), Some(Exhausted { first: true }));
        assert_eq!(shares.take(&a, 3).err(), Some(Exhausted { first: false }));
        let other = shares.take(&b, 3);
        assert!(other.is_ok(), "another agent has its own");
        assert_eq!(shares.total(), 4);
        drop(other);
        held.pop();
        held.push(shares.take(&a, 3).unwrap());
        assert_eq!(shares.take(&a, 3).err(), Some(Exhausted { first: true }), "a new run of refusals");
        held.clear();
        assert!(shares.held.borrow().is_empty(), "who holds nothing takes no room");
    }
}
