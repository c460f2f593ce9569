//! Random policies and subjects: the table decides as the reference evaluator.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    ringfence::policy::properties::decides_as_the_reference(bytes, 100);
});
