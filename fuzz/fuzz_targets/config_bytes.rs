//! Any bytes as a config.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    isolate_fuzz::plan(data, &isolate_fuzz::host(data.len() as u8));
    let _ = isolate::oci::read::parse_process(data);
});
