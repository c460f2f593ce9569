//! Composes the other floors: sockets, threads, clocks and files live here.

pub mod engine;
pub mod netns;
