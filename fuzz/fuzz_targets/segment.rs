//! A segment file that anyone may have written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringfence::audit::properties;

fuzz_target!(|bytes: &[u8]| {
    properties::a_segment_reads_the_same_in_any_pieces(bytes);
});
