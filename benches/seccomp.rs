//! Compiles `linux.seccomp` objects from standard input, one after the other, and prints each program:
//! `cargo bench --bench seccomp < tests/data/seccomp/podman.json`.
//!
//! A line for each: instructions, and the time the first and the median of 1000 compilations took. With
//! `--json` the whole filter as JSON instead, for comparing with other compilers.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use isolate::plan::seccomp::compile;
use oci_spec::runtime::LinuxSeccomp;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let as_json = std::env::args().any(|argument| argument == "--json");
    let configs = serde_json::Deserializer::from_reader(io::stdin().lock()).into_iter::<LinuxSeccomp>();
    let mut out = io::stdout().lock();
    for config in configs {
        let config = config?;
        let start = Instant::now();
        let filter = compile(&config)?;
        let first = start.elapsed();
        if as_json {
            serde_json::to_writer(&mut out, &filter)?;
            writeln!(out)?;
            continue;
        }
        let median = median(&config);
        writeln!(out, "{} instructions, first {first:?}, median {median:?}", filter.program.len())?;
    }
    Ok(())
}

fn median(config: &LinuxSeccomp) -> Duration {
    let mut times: Vec<Duration> = (0..1000)
        .map(|_| {
            let start = Instant::now();
            let _ = std::hint::black_box(compile(std::hint::black_box(config)));
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}
