//! The load-test harness: what ringfence adds to a call, measured so that the figure can be trusted.
//!
//! Three claims shape it. Load is an open loop: a request counts from the moment it was meant to leave, so a target that stalls
//! cannot hide it (no coordinated omission). Targets take turns in rounds of random order, so whatever else the machine does hits
//! all of them. And each response is checked, so an error is never a fast answer.
//!
//! The tour, from the outside in:
//!
//! 1. [`scenario`] says what is measured and [`target`] through what; [`driver`] gives each target its turn on a `stage`, where it is
//!    started: `rules` writes ringfence's policy, `peer` brings up other programs. `place` pins processes to cpus and reads their
//!    clocks; `interrupt` notices signals; `order` is the language between driver and generator.
//! 2. [`generator`] is one thread that is client and origin in one; `turn` sends on schedule. `exchange`, `events`, `mcp` and `body`
//!    are what is asked and answered; [`origin`] is the answering half, also on its own as `ringfence bench origin`; `pipe` is a
//!    connection of either half and `framing` reads what comes out of it.
//! 3. [`relay`] is the floor: bytes passed on and nothing else, on the engine that ringfence uses.
//! 4. [`statistics`] turns rounds into medians and intervals; [`report`], [`environment`] and [`hgrm`] give them the shape of files;
//!    [`page`] shows them with the curves of [`plot`], and [`compare`] holds two runs side by side.
//!
//! It knows the engine and nothing else of the proxy: the instrument is not made of what it measures. Nothing here prints.

pub mod compare;
pub mod driver;
pub mod environment;
pub mod generator;
pub mod hgrm;
pub mod origin;
pub mod page;
pub mod peer;
pub mod plot;
pub mod relay;
pub mod report;
pub mod rules;
pub mod scenario;
pub mod statistics;
pub mod target;

mod body;
mod events;
mod exchange;
mod framing;
mod interrupt;
mod mcp;
mod order;
mod pipe;
mod place;
mod stage;
mod tls;
mod turn;
mod wait;

pub use order::{Measured, Trust};
pub use tls::Credentials;
