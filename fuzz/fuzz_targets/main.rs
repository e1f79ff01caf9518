//! One program for all targets, because linking one for each takes minutes; `FUZZ_TARGET` names that which is to run.
#![no_main]

mod cgroup_paths;
mod command_line;
mod config;
mod config_bytes;
mod id_maps;
mod kernel_files;
mod mount_options;
mod seccomp;
mod state_files;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

const TARGETS: &[(&str, fn(&[u8]))] = &[
    ("cgroup_paths", cgroup_paths::run),
    ("command_line", command_line::run),
    ("config", config::run),
    ("config_bytes", config_bytes::run),
    ("id_maps", id_maps::run),
    ("kernel_files", kernel_files::run),
    ("mount_options", mount_options::run),
    ("seccomp", seccomp::run),
    ("state_files", state_files::run),
];

static CHOSEN: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let wanted = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    TARGETS.iter().find(|(name, _)| *name == wanted).map(|(_, run)| *run).unwrap_or_else(|| {
        eprintln!("FUZZ_TARGET={wanted:?} is no target; there are {}", names.join(", "));
        std::process::exit(2)
    })
});

fuzz_target!(init: LazyLock::force(&CHOSEN), |data: &[u8]| CHOSEN(data));
