//! A config that is nearly right, through reading, checking and planning, for hosts of several kinds.

use arbitrary::Unstructured;

pub fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let kind = input.arbitrary().unwrap_or(0);
    if let Ok(config) = isolate_fuzz::edited(&mut input) {
        isolate_fuzz::plan(&config, &isolate_fuzz::host(kind));
    }
}
