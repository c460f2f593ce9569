//! Any bytes as a policy file: no panic, and a policy exactly when there is no error.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| ringfence::policy::properties::loads_or_says_why(text));
