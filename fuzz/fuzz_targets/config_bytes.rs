//! Any bytes as a config.

pub fn run(data: &[u8]) {
    isolate_fuzz::plan(data, &isolate_fuzz::host(data.len() as u8));
    let _ = isolate::oci::read::parse_process(data);
}
