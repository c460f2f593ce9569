//! Any bytes taken as a JSON-RPC message or batch.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringfence::parse::rpc::properties::holds;

fuzz_target!(|bytes: &[u8]| holds(bytes));
