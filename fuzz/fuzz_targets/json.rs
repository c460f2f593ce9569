//! Any bytes taken as a JSON text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringfence::parse::json::properties::holds;

fuzz_target!(|bytes: &[u8]| holds(bytes));
