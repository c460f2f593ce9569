//! Any bytes taken as a DNS query.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringfence::parse::dns::properties::holds;

fuzz_target!(|bytes: &[u8]| holds(bytes));
