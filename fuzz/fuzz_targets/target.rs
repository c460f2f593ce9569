//! Any two lines taken as request target and `Host`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringfence::parse::target::properties::target_properties;

fuzz_target!(|text: &str| {
    let (target, host) = text.split_once('\n').unwrap_or((text, "a.example"));
    target_properties(target, host);
});
