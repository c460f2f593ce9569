//! A payload of any bytes under valid sums, and facts of any text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringfence::audit::properties;

fuzz_target!(|bytes: &[u8]| {
    properties::any_payload_under_a_valid_sum_is_an_answer(bytes);
    properties::facts_survive_their_archive(bytes);
});
