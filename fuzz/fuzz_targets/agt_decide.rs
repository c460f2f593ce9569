//! Policies of AGT's and subjects drawn from any bytes: the compiled rules decide as a plain walk over them does.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    ringfence::policy::properties::agt_decides_as_the_reference(bytes);
});
