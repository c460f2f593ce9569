//! A proof, a head, a checkpoint or a base that anyone may have written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringfence::audit::properties;

fuzz_target!(|bytes: &[u8]| {
    properties::any_signed_text_is_an_answer(bytes);
});
