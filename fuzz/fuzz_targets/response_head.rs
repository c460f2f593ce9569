//! Any bytes taken as the beginning of a response.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringfence::parse::head::properties::response_properties;

fuzz_target!(|bytes: &[u8]| response_properties(bytes));
