//! What the runtime does where the kernel lacks newer system calls, or a filter around it denies them: it falls back
//! on older calls, or says what is missing. Parts of this suite run once more, with the calls gone.

use serde_json::json;

use crate::support::child;
use crate::support::vanish::{runtime_without, suite_with};
use crate::support::*;
use crate::tests;

tests![
    all_goes_without_openat2 needs [Need::Root, Need::Isolate],
    exec_goes_without_setns_on_a_pidfd needs [Need::Root, Need::Isolate],
    all_goes_without_clone3 needs [Need::Root, Need::Isolate],
    all_goes_without_close_range needs [Need::Root, Need::Isolate],
    all_but_recursive_attributes_goes_without_mount_setattr needs [Need::Root, Need::Isolate],
    attributes_of_all_mounts_below_need_mount_setattr needs [Need::Root, Need::Isolate],
    without_the_newer_mount_calls_the_error_names_them needs [Need::Root, Need::Isolate],
    a_filter_takes_the_call_away needs [Need::Root, Need::Program("strace"), Need::Isolate],
];

/// Runs parts of the suite without a call, once for an old kernel and once for an outer filter.
#[track_caller]
fn goes_without(call: &str, parts: &[&str]) {
    for errno in ["ENOSYS", "EPERM"] {
        let runtime = runtime_without(call, errno);
        for part in parts {
            suite_with(&runtime, part);
        }
    }
}

fn all_goes_without_openat2() {
    goes_without("openat2", &["lifecycle::", "rootfs::"]);
}

/// EINVAL is what an older kernel says to a pidfd there. With a user namespace that one is joined first, without the others.
fn exec_goes_without_setns_on_a_pidfd() {
    let runtime = runtime_without("setns-pidfd", "EINVAL");
    for part in ["exec::exec_gives", "exec::exec_is_in_every"] {
        suite_with(&runtime, part);
    }
    let container = Bundle::sleeper().user_namespace().start();
    let own =
        |name: &str| container.sh(&format!("readlink /proc/1/ns/{name}; readlink /proc/self/ns/{name}"));
    let mut command = std::process::Command::new(&runtime);
    command.arg("--root").arg(&container.bundle.root).args(["exec", container.id()]);
    command.args(["/bin/sh", "-c", "for n in user mnt pid net ipc uts; do readlink /proc/self/ns/$n; done"]);
    let seen = child::run(&mut command).ok().stdout;
    for (name, seen) in ["user", "mnt", "pid", "net", "ipc", "uts"].into_iter().zip(seen.lines()) {
        assert_eq!(own(name), format!("{seen}\n{seen}"), "{name}");
    }
    assert_eq!(seen.lines().count(), 6, "{seen}");
}

fn all_goes_without_clone3() {
    goes_without("clone3", &["lifecycle::", "exec::exec_gives"]);
}

fn all_goes_without_close_range() {
    goes_without("close_range", &["lifecycle::", "preserve_fds::"]);
}

fn all_but_recursive_attributes_goes_without_mount_setattr() {
    goes_without(
        "mount_setattr",
        &["lifecycle::", "masked::", "mounts::flags_of_a_bind", "rootfs::a_read_only_root"],
    );
}

/// `create` with another program in the place of the runtime.
fn create_with(runtime: &std::path::Path, bundle: &Bundle) -> Output {
    bundle.write();
    let mut command = std::process::Command::new(runtime);
    command.arg("--root").arg(&bundle.root).args(["create", "--bundle"]).arg(&bundle.folder).arg(&bundle.id);
    child::run(&mut command)
}

fn attributes_of_all_mounts_below_need_mount_setattr() {
    let folder = Bundle::sleeper();
    let source = folder.host_folder("source");
    let bundle = folder.bind(&source, "/mnt", &["rbind", "rro"]);
    let output = create_with(&runtime_without("mount_setattr", "ENOSYS"), &bundle);
    output.fails(1, &["mount_setattr", "ENOSYS", "older than 5.12"]);
    Container::new(bundle).leaves_nothing();
}

fn without_the_newer_mount_calls_the_error_names_them() {
    for errno in ["ENOSYS", "EPERM"] {
        let bundle = Bundle::sleeper().set("/linux/maskedPaths", json!(["/proc/acpi"]));
        let runtime = runtime_without("open_tree,move_mount,fsopen,fsmount", errno);
        create_with(&runtime, &bundle).fails(1, &["open_tree", errno, "Linux 5.2"]);
        Container::new(bundle).leaves_nothing();
    }
}

/// Otherwise the tests above would prove nothing.
fn a_filter_takes_the_call_away() {
    let bundle = Bundle::nothing();
    let trace = bundle.folder.join("trace");
    bundle.write();
    let mut command = std::process::Command::new("strace");
    command
        .args(["-f", "-e", "trace=clone3,clone", "-o"])
        .arg(&trace)
        .arg(runtime_without("clone3", "ENOSYS"));
    command.arg("--root").arg(&bundle.root).args(["run", "--bundle"]).arg(&bundle.folder).arg(&bundle.id);
    child::run(&mut command).ok();
    let trace = std::fs::read_to_string(trace).unwrap();
    assert!(
        trace.contains("ENOSYS") && trace.contains("clone(child_stack=NULL, flags=CLONE_PIDFD|"),
        "{trace}"
    );
    Container::new(bundle).leaves_nothing();
}
