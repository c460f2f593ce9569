//! Claims about one connection, each on both backends.

mod doors;
mod harness;
mod identity;
mod refusals;
mod relays;
mod vectors;

/// Runs a claim once per backend, as two tests of its name.
macro_rules! on_both {
    ($($name:ident)+) => {
        mod uring { $(#[test] fn $name() { super::$name($crate::io::engine::Choice::Uring) })+ }
        mod epoll { $(#[test] fn $name() { super::$name($crate::io::engine::Choice::Epoll) })+ }
    };
}
use on_both;
