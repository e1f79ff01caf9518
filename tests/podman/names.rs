//! The names the binary goes by: podman chooses by the file's name whether it may ask for JSON errors and for a
//! container without cgroup.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::engine::*;
use crate::support::Need;
use crate::support::child::{self, Output};
use crate::support::session::{session, unique};
use crate::tests;

const SAME: &str = "is tested under its own name only";

tests![
    the_binary_works_under_the_name_isolate needs [Need::Isolate],
    the_binary_works_under_the_name_crun needs [Need::Not("runc", SAME), Need::Not("crun", SAME)],
    the_binary_works_under_a_name_podman_does_not_know,
    the_runtime_can_be_named_in_containers_conf,
    the_binary_does_without_cgroup_under_both_names needs [Need::Isolate],
    podman_info_shows_the_runtimes_version,
];

/// The runtime under another name, below a folder of its own.
fn under_the_name(name: &str) -> PathBuf {
    let place = folder().join(unique("named-"));
    fs::create_dir_all(&place).unwrap();
    let file = place.join(name);
    fs::copy(&session().runtime, &file).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    file
}

fn run_under(name: &str, options: &[&str], arguments: &[&str]) -> Output {
    let mut command = command_with(&under_the_name(name));
    command.args(["run", "--rm", "--network", "none"]).args(options).arg(IMAGE).args(arguments);
    child::run(&mut command)
}

fn works(name: &str) {
    assert_eq!(run_under(name, &[], &["echo", "hi"]).ok().text(), "hi");
    run_under(name, &[], &["sh", "-c", "exit 3"]).fails(3, &[]);
    run_under(name, &[], &["no-such-program"]).fails(127, &["no-such-program"]);
    run_under(name, &[], &["/etc"]).fails(126, &["/etc"]);
}

fn the_binary_works_under_the_name_isolate() {
    works("isolate");
}

fn the_binary_works_under_the_name_crun() {
    works("crun");
}

fn the_binary_works_under_a_name_podman_does_not_know() {
    works("some-runtime");
}

fn the_runtime_can_be_named_in_containers_conf() {
    let mut command = command_with("isolate".as_ref());
    command.args(["run", "--rm", "--network", "none", IMAGE, "echo", "hi"]);
    assert_eq!(child::run(&mut command).ok().text(), "hi");
}

fn the_binary_does_without_cgroup_under_both_names() {
    for name in ["isolate", "crun"] {
        let cgroups = run_under(name, &["--cgroups", "disabled"], &["cat", "/proc/self/cgroup"]).ok();
        assert!(!cgroups.stdout.contains("libpod-"), "{name}: {cgroups}");
    }
}

fn podman_info_shows_the_runtimes_version() {
    let info = podman(&["info", "--format", "{{.Host.OCIRuntime.Version}}"]).ok();
    assert!(info.text().contains("version") && info.text().contains("spec: 1."), "{info}");
}
