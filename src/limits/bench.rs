//! The bounds of the load-test harness, which is no part of the proxy.

use std::time::Duration;

/// Longest body that the harness's origin answers. It is sent in pieces and never held.
pub const BENCH_BODY_BYTES_MAX: usize = 4 * 1024 * 1024 * 1024;
/// One piece of it.
pub const BENCH_PIECE_BYTES: usize = 64 * 1024;
/// Longest request body and longest event that the harness holds: its own, and what a peer makes of them.
pub const BENCH_HELD_BYTES_MAX: usize = 1024 * 1024;
/// Events of one stream.
pub const BENCH_EVENTS_MAX: u64 = 100_000_000;
/// Longest name of a peer.
pub const BENCH_NAME_BYTES_MAX: usize = 32;
/// Rules of a scenario's policy.
pub const BENCH_RULES_MAX: usize = 100_000;
/// From a peer's start to its word that it is ready.
pub const BENCH_PEER_WAIT: Duration = Duration::from_secs(60);
/// How long a target has to end before it is killed.
pub const BENCH_END_WAIT: Duration = Duration::from_secs(5);
/// Keep-alive connections of one generator.
pub const BENCH_CONNECTIONS_MAX: usize = 10_000;
/// Highest rate that a scenario may ask for, in requests a second.
pub const BENCH_RATE_MAX: f64 = 10_000_000.0;
/// Longest scenario, per target.
pub const BENCH_DURATION_MAX: Duration = Duration::from_secs(24 * 3600);
/// From a generator's start to a connection's use, handshake included.
pub const BENCH_CONNECT_WAIT: Duration = Duration::from_secs(10);
/// How long a generator watches for work before it parks: for ever, as far as a turn is concerned.
pub const BENCH_SPIN: Duration = Duration::from_secs(3600);
/// Longest latency that a histogram tells apart from longer ones.
pub const BENCH_LATENCY_MAX: Duration = Duration::from_secs(60);
/// One turn of one target, roughly.
pub const BENCH_SLICE: Duration = Duration::from_millis(500);
/// Rounds of a run: enough for an interval, few enough for turns of a useful length.
pub const BENCH_ROUNDS_MIN: u32 = 5;
/// See [`BENCH_ROUNDS_MIN`].
pub const BENCH_ROUNDS_MAX: u32 = 60;
/// Rounds run for one that counts, while other processes keep disturbing them.
pub const BENCH_ATTEMPTS_PER_ROUND: u32 = 4;
/// Resamples of a bootstrap.
pub const BENCH_RESAMPLES: usize = 10_000;
