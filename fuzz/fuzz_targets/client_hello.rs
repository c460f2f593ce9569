//! Any bytes taken as the beginning of a TLS connection.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringfence::parse::client_hello::properties::holds;

fuzz_target!(|bytes: &[u8]| holds(bytes));
