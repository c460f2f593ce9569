//! Any bytes taken as the beginning of a request.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringfence::parse::head::properties::request_properties;

fuzz_target!(|bytes: &[u8]| request_properties(bytes));
