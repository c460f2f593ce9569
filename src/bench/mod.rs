//! The load-test harness: what ringfence adds to a call, measured so that the figure can be trusted.
//!
//! Three claims shape it. Load is an open loop: a request counts from the moment it was meant to leave, so a target that stalls
//! cannot hide it (no coordinated omission). Targets take turns in rounds of random order, so whatever else the machine does hits
//! all of them. And each response is checked, so an error is never a fast answer.
//!
//! The tour, from the outside in:
//!
//! 1. [`scenario`] says what is measured; [`driver`] starts the targets and gives each its turn; `place` pins processes to cpus and
//!    reads their clocks; `order` is the language between driver and generator.
//! 2. [`generator`] is one thread that is client and origin in one: it sends on schedule, and answers what the target passes on.
//!    [`origin`] is the answering half, also on its own as `ringfence bench origin`; `pipe` is a connection of either half.
//! 3. [`relay`] is the floor: bytes passed on and nothing else, on the engine that ringfence uses.
//! 4. [`statistics`] turns rounds into medians and intervals; [`report`] gives them the shape of `summary.json` and `.hgrm`.
//!
//! It knows the engine and nothing else of the proxy: the instrument is not made of what it measures. Nothing here prints.

pub mod driver;
pub mod generator;
pub mod origin;
pub mod relay;
pub mod report;
pub mod scenario;
pub mod statistics;

mod order;
mod pipe;
mod place;
mod tls;

pub use order::Measured;
pub use tls::Credentials;
