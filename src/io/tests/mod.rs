//! Claims about one connection, each on both backends.

mod approvals;
mod bodies;
mod bounds;
mod doors;
mod elsewhere;
mod events;
mod faults;
pub(crate) mod harness;
mod identity;
mod messages;
mod names;
mod older;
mod passthrough;
mod privacy;
mod recalls;
mod recording;
mod refusals;
mod relays;
mod resumption;
mod revocation;
mod vectors;
mod zoo;

/// Runs a claim once per backend, as two tests of its name.
macro_rules! on_both {
    ($($name:ident)+) => {
        mod uring { $(#[test] fn $name() { super::$name($crate::io::engine::Choice::Uring) })+ }
        mod epoll { $(#[test] fn $name() { super::$name($crate::io::engine::Choice::Epoll) })+ }
    };
}
use on_both;

/// Panics in front of the decision on a request that asks for it.
pub(crate) fn fault_before_the_decision(head: &[u8]) {
    assert!(!head.starts_with(b"GET /panics-early "), "a fault of ours");
}

/// Panics in the midst of a response's body that asks for it.
pub(crate) fn fault_in_a_body(bytes: &[u8]) {
    assert!(!bytes.starts_with(b"panics"), "a fault of ours");
}

/// Panics in the midst of an admitted exchange that asks for it, as a fault of ours would.
pub(crate) fn fault(head: &[u8]) {
    assert!(!head.starts_with(b"GET /panics "), "a fault of ours");
}
