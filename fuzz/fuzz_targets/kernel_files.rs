//! Any bytes as what the kernel writes: mountinfo, cgroup tables and statistics, stat of a process.

pub fn run(data: &[u8]) {
    isolate::cgroup::probe::fuzz(data);
    isolate::cgroup::statistics::fuzz(&String::from_utf8_lossy(data));
    isolate::sys::process::fuzz(data);
}
