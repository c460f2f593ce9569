//! ringfence: a transparent governance proxy for AI agents.
//!
//! The tour, in the order in which a connection meets the modules:
//!
//! 1. [`cli`] turns arguments into a [`config`], raises the fence and starts the workers.
//! 2. [`io`] owns sockets, clocks, threads and files. `io::flow` is one connection from top to bottom: read it first.
//! 3. [`parse`] turns bytes into facts: what does the client say hello to, what does it ask for, where does its body end?
//! 4. [`policy`] turns facts into a decision. Only it can make the `Permit` that forwarding consumes.
//! 5. [`audit`] puts the decision on record before the first upstream byte, and the outcome after.
//! 6. [`limits`] holds every bound of the others.
//!
//! Beside the way stands [`mod@bench`], the load-test harness: it uses the engine and measures the rest from outside.
//!
//! `parse`, `policy` and `audit` are floors without doors between them: bytes and time come in, facts come out. Only `io`
//! composes them. `tests/tidy.rs` keeps it so.

#![cfg_attr(fuzzing, allow(unused_imports, dead_code, reason = "what is not fuzzed, and is left out below, uses them"))]

pub mod audit;
// What reads bytes of others without doing anything is fuzzed; what stands above it takes longer to build than all fuzz targets do.
#[cfg(not(fuzzing))]
pub mod bench;
#[cfg(not(fuzzing))]
pub mod cli;
#[cfg(not(fuzzing))]
pub mod config;
#[cfg(not(fuzzing))]
pub mod io;
#[deny(clippy::disallowed_types, clippy::disallowed_methods)]
pub mod limits;
#[deny(clippy::disallowed_types, clippy::disallowed_methods)]
pub mod parse;
#[deny(clippy::disallowed_types, clippy::disallowed_methods)]
pub mod policy;
