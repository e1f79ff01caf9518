//! The podman suite: real podman drives the runtime under test, as root or as the ordinary user who starts
//! the suite. One file per theme; `engine` is the private podman they share. Options as for `suite`;
//! `ISOLATE_TEST_RUNTIME=runc` asks another runtime, `ISOLATE_TEST_PODMAN=/path` another podman.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod build;
mod engine;
mod errors;
mod exec;
mod lifecycle;
mod limits;
mod mounts;
mod names;
mod namespaces;
mod nested;
mod network;
mod pods;
mod process;
mod security;
mod terminal;

fn main() -> std::process::ExitCode {
    let mut tests = Vec::new();
    tests.extend(lifecycle::tests());
    tests.extend(process::tests());
    tests.extend(exec::tests());
    tests.extend(terminal::tests());
    tests.extend(limits::tests());
    tests.extend(mounts::tests());
    tests.extend(security::tests());
    tests.extend(namespaces::tests());
    tests.extend(nested::tests());
    tests.extend(network::tests());
    tests.extend(pods::tests());
    tests.extend(build::tests());
    tests.extend(errors::tests());
    tests.extend(names::tests());
    support::runner::main_with(tests, engine::finish)
}
