//! The suite of tiers 1 and 2: the runtime as its callers see it, on a real kernel with a real root. One
//! file per capability; `tests/support` is the harness. Options are those of `cargo test`: a part of a
//! name runs the tests that have it, `--list` lists them. `ISOLATE_TEST_RUNTIME=runc` asks another runtime.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

/// Declares the files and runs all their tests.
macro_rules! suite {
    ($($file:ident),* $(,)?) => {
        $(mod $file;)*
        fn main() -> std::process::ExitCode {
            support::attacker::act_if_called();
            if let Some(code) = support::vanish::become_program_if_asked() {
                return code;
            }
            support::tracer::act_if_called();
            let mut tests = Vec::new();
            $(tests.extend($file::tests());)*
            support::runner::main(tests)
        }
    };
}

suite![
    annotations,
    bad_input,
    breakout,
    capabilities,
    cgroups,
    cgroups_v2,
    cli_help,
    concurrency,
    conformance,
    cve_descriptors,
    cve_identity,
    cve_list,
    cve_paths,
    cve_proc,
    cve_races,
    cve_state,
    devices,
    events,
    exec,
    faults,
    fields,
    hardening,
    hooks,
    kill,
    killed_runtime,
    labels,
    layering,
    lifecycle,
    lint,
    lint_files,
    lint_process,
    list_ps,
    logging,
    masked,
    mounts,
    mounts_more,
    mounts_running,
    namespaces,
    neighbours,
    nested,
    net_devices,
    no_process,
    notify,
    old_kernels,
    pause,
    placement,
    plan,
    preserve_fds,
    process,
    rlimits,
    rootfs,
    scheduling,
    seccomp,
    seccomp_notify,
    spec_features,
    speed,
    state,
    sysctl,
    systemd,
    systems,
    tenant,
    tenant_bounds,
    tenant_carry,
    tenant_database,
    tenant_disks,
    tenant_doctor,
    tenant_limits,
    tenant_parcels,
    tenant_pull,
    tenant_snapshots,
    tenant_systemd,
    tenant_verbs,
    terminal,
    try_system,
    update,
    userns,
    walls,
];
