//! Any bytes taken as the beginning of an event stream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringfence::parse::sse::properties::holds;

fuzz_target!(|bytes: &[u8]| holds(bytes));
