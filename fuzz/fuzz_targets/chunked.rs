//! Any bytes taken as the beginning of a chunked body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringfence::parse::chunked::properties::holds;

fuzz_target!(|bytes: &[u8]| holds(bytes));
