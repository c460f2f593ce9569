//! Any two lines taken as request target and `Host`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringfence::parse::target::properties::{path_properties, target_properties};

fuzz_target!(|text: &str| {
    let (target, host) = text.split_once('\n').unwrap_or((text, "a.example"));
    target_properties(target, host);
    // Only what a request target can hold comes to the path parser.
    if target.bytes().all(|byte| byte.is_ascii_graphic()) {
        path_properties(target);
    }
});
