//! mounts add, mounts remove: mounts of a container that runs already.

use std::fs;

use serde_json::{Value, json};

use crate::support::*;
use crate::tests;

tests![
    a_folder_of_the_host_comes_and_goes needs [Need::Isolate, Need::Kernel(5, 12)],
    a_single_file_comes_and_goes needs [Need::Isolate, Need::Kernel(5, 12)],
    a_new_filesystem_is_mounted_with_its_options needs [Need::Isolate, Need::Kernel(5, 12)],
    the_list_may_stand_in_a_config_and_on_standard_input needs [Need::Isolate, Need::Kernel(5, 12)],
    a_relative_source_counts_from_the_bundle needs [Need::Isolate, Need::Kernel(5, 12)],
    a_container_with_a_user_namespace_gets_mounts_too needs [Need::Isolate, Need::UserNamespaces, Need::Kernel(5, 12)],
    a_created_container_gets_mounts_before_its_program_starts needs [Need::Isolate, Need::Kernel(5, 12)],
    one_refused_mount_leaves_none_of_the_others needs [Need::Isolate, Need::Kernel(5, 12)],
    a_link_of_the_container_leads_no_mount_out_of_it needs [Need::Isolate, Need::Kernel(5, 12)],
    a_link_into_procfs_is_refused needs [Need::Isolate, Need::Kernel(5, 12)],
    what_protects_the_host_cannot_be_removed needs [Need::Isolate],
    every_fault_of_a_list_is_named_by_its_place needs [Need::Isolate],
    a_stopped_or_unknown_container_gets_no_mounts needs [Need::Isolate],
    nothing_of_it_is_seen_on_the_host needs [Need::Isolate, Need::Kernel(5, 12)],
];

/// `mounts ACTION`, with the list in a file.
#[track_caller]
fn mounts(container: &Container, action: &str, list: &Value) -> Output {
    let file = container.bundle.folder.join(session::unique("mounts"));
    fs::write(&file, list.to_string()).unwrap();
    container.runtime(&["mounts", action, container.id(), file.to_str().unwrap()])
}

fn bind(source: &std::path::Path, destination: &str, options: &[&str]) -> Value {
    json!({"type": "bind", "source": source, "destination": destination, "options": options})
}

/// A container, and a folder of the host with a file in it.
fn with_folder() -> (Container, std::path::PathBuf) {
    let bundle = Bundle::sleeper();
    let folder = bundle.host_folder("outside");
    fs::write(folder.join("word"), "hello").unwrap();
    (bundle.start(), folder)
}

fn is_mounted(container: &Container, path: &str) -> bool {
    let table = container.sh("cat /proc/self/mountinfo");
    table.lines().any(|line| line.split(' ').nth(4) == Some(path))
}

fn a_folder_of_the_host_comes_and_goes() {
    let (container, folder) = with_folder();
    let list = json!([bind(&folder, "/mnt/new", &["bind", "ro"])]);
    let output = mounts(&container, "add", &list).ok();
    assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output}");
    assert_eq!(container.sh("cat /mnt/new/word"), "hello");
    container.exec(&["/bin/sh", "-c", "echo no > /mnt/new/word"]).fails(1, &["Read-only"]);
    // What the container's own init sees counts, not a view of the visitor's.
    assert!(
        fs::read_to_string(format!("/proc/{}/mountinfo", container.pid())).unwrap().contains(" /mnt/new ")
    );
    mounts(&container, "remove", &list).ok();
    assert!(!is_mounted(&container, "/mnt/new"));
    mounts(&container, "remove", &list).fails(1, &["mounts[0] /mnt/new", "nothing is mounted there"]);
    assert_eq!(container.status(), "running");
}

fn a_single_file_comes_and_goes() {
    let (container, folder) = with_folder();
    let list = json!([bind(&folder.join("word"), "/etc/word", &["bind"])]);
    mounts(&container, "add", &list).ok();
    assert_eq!(container.sh("cat /etc/word"), "hello");
    mounts(&container, "remove", &list).ok();
    assert_eq!(container.sh("cat /etc/word"), "");
}

fn a_new_filesystem_is_mounted_with_its_options() {
    let (container, _) = with_folder();
    let options = ["size=64k", "mode=700", "nosuid", "noexec"];
    let list = json!([{"type": "tmpfs", "source": "scratch", "destination": "/scratch", "options": options}]);
    mounts(&container, "add", &list).ok();
    let table = container.sh("grep ' /scratch ' /proc/self/mountinfo");
    assert!(
        table.contains("nosuid") && table.contains("noexec") && table.contains("tmpfs scratch"),
        "{table}"
    );
    assert!(table.contains("size=64k"), "{table}");
    assert_eq!(container.sh("stat -c %a /scratch"), "700");
    container.sh("echo x > /scratch/x");
    mounts(&container, "remove", &list).ok();
    assert!(!is_mounted(&container, "/scratch"));
}

fn the_list_may_stand_in_a_config_and_on_standard_input() {
    let (container, folder) = with_folder();
    let file = container.bundle.folder.join("whole.json");
    fs::write(
        &file,
        json!({"ociVersion": "1.0.0", "mounts": [bind(&folder, "/mnt/a", &["bind"])]}).to_string(),
    )
    .unwrap();
    let mut command = container.command(&["mounts", "add", container.id(), "-"]);
    Run::start_with(&mut command, fs::File::open(&file).unwrap().into()).finish().ok();
    assert_eq!(container.sh("cat /mnt/a/word"), "hello");
    // Only the destination counts for a removal.
    mounts(&container, "remove", &json!([{"destination": "/mnt/a"}])).ok();
    assert!(!is_mounted(&container, "/mnt/a"));
}

fn a_relative_source_counts_from_the_bundle() {
    let (container, _) = with_folder();
    mounts(&container, "add", &json!([bind("outside".as_ref(), "/mnt/a", &["bind"])])).ok();
    assert_eq!(container.sh("cat /mnt/a/word"), "hello");
}

fn a_container_with_a_user_namespace_gets_mounts_too() {
    // Root of the user namespace may not own the root folder, and makes nothing there.
    let bundle = Bundle::sleeper().user_namespace().directory("/mnt/a").directory("/mnt/b");
    let folder = bundle.host_folder("outside");
    fs::write(folder.join("word"), "hello").unwrap();
    let container = bundle.start();
    let tmpfs = json!({"type": "tmpfs", "source": "tmpfs", "destination": "/mnt/b", "options": ["size=64k"]});
    let list = json!([bind(&folder, "/mnt/a", &["rbind", "ro"]), tmpfs]);
    mounts(&container, "add", &list).ok();
    assert_eq!(container.sh("cat /mnt/a/word; echo x > /mnt/b/x; stat -c %u /mnt/b/x"), "hello0");
    mounts(&container, "remove", &list).ok();
    assert!(!is_mounted(&container, "/mnt/a") && !is_mounted(&container, "/mnt/b"));
}

fn a_created_container_gets_mounts_before_its_program_starts() {
    let bundle = Bundle::shell("cat /mnt/a/word > /tmp/seen; sleep 100");
    let folder = bundle.host_folder("outside");
    fs::write(folder.join("word"), "hello").unwrap();
    let container = bundle.create();
    mounts(&container, "add", &json!([bind(&folder, "/mnt/a", &["bind"])])).ok();
    container.start().ok();
    child::eventually("the program has read it", || container.peek("/tmp/seen") == "hello");
}

fn one_refused_mount_leaves_none_of_the_others() {
    let (container, folder) = with_folder();
    let table = container.sh("cat /proc/self/mountinfo");
    let good = bind(&folder, "/mnt/a", &["bind"]);
    let file = bind(&folder.join("word"), "/etc/word", &["bind"]);
    // A folder cannot cover a file.
    let bad = bind(&folder, "/bin/busybox", &["bind"]);
    mounts(&container, "add", &json!([good, file, bad])).fails(1, &["mounts[2]", "/bin/busybox"]);
    assert_eq!(container.sh("cat /proc/self/mountinfo"), table);
    let absent = bind("/nonexistent/x".as_ref(), "/mnt/b", &["bind"]);
    mounts(&container, "add", &json!([good, absent])).fails(1, &["mounts[1]", "the source does not exist"]);
    assert_eq!(container.sh("cat /proc/self/mountinfo"), table);
}

fn a_link_of_the_container_leads_no_mount_out_of_it() {
    let bundle = Bundle::sleeper();
    let (outside, target) = (bundle.host_folder("outside"), bundle.host_folder("target"));
    fs::write(outside.join("word"), "hello").unwrap();
    let container = bundle.link("/../../../../../../tmp", "/climb").start();
    container.sh(&format!("mkdir -p {0}; ln -s {0} /abs", target.display()));
    let host = fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts(&container, "add", &json!([bind(&outside, "/climb/a", &["bind"])])).ok();
    assert_eq!(container.sh("cat /tmp/a/word"), "hello");
    mounts(&container, "add", &json!([bind(&outside, "/abs", &["bind"])])).ok();
    assert!(!target.join("word").exists());
    let after = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let of_bundle = |text: &str| text.lines().filter(|line| line.contains(container.id())).count();
    assert_eq!(of_bundle(&host), of_bundle(&after));
    // The container could lead a removal to a mount that hides something from it.
    mounts(&container, "remove", &json!([{"destination": "/climb/a"}]))
        .fails(1, &["mounts[0] /climb/a", "ELOOP"]);
    mounts(&container, "remove", &json!([{"destination": "/tmp/a"}])).ok();
}

fn a_link_into_procfs_is_refused() {
    let bundle = Bundle::sleeper();
    let outside = bundle.host_folder("outside");
    let container = bundle.link("/proc", "/p").start();
    mounts(&container, "add", &json!([bind(&outside, "/p/sys", &["bind"])])).fails(1, &["leads into procfs"]);
    let list = json!([{"type": "tmpfs", "source": "tmpfs", "destination": "/p/1"}]);
    mounts(&container, "add", &list).fails(1, &["leads into procfs"]);
}

fn what_protects_the_host_cannot_be_removed() {
    let container =
        Bundle::sleeper().set("/linux/maskedPaths", json!(["/proc/kcore", "/etc/passwd"])).start();
    let table = container.sh("cat /proc/self/mountinfo");
    for path in ["/", "/proc", "/proc/kcore", "/etc/passwd", "/dev", "/sys", "/mnt/../proc/kcore"] {
        mounts(&container, "remove", &json!([{"destination": path}]))
            .fails(1, &["mounts[0]", "protects the host"]);
    }
    assert_eq!(container.sh("cat /proc/self/mountinfo"), table);
}

fn every_fault_of_a_list_is_named_by_its_place() {
    let container = Bundle::sleeper().start();
    let list = json!([{"destination": "relative", "type": "tmpfs"}, {"type": "tmpfs"}, {"destination": 7}]);
    mounts(&container, "add", &list).fails(1, &["mounts[0]", "mounts[1]", "mounts[2]"]);
    for (list, words) in [
        (json!([]), "is empty"),
        (json!({}), "no list of mounts"),
        (json!([{"destination": "/", "type": "tmpfs"}]), "over the root"),
        (json!([{"destination": "/x", "type": "cgroup"}]), "of this type"),
        (json!([{"destination": "/x", "type": "nofs"}]), "no such filesystem"),
    ] {
        mounts(&container, "add", &list).fails(1, &[words]);
    }
    container.runtime(&["mounts", "change", container.id(), "-"]).fails(1, &["invalid value \"change\""]);
    container
        .runtime(&["mounts", "add", container.id(), "/nonexistent/list"])
        .fails(1, &["/nonexistent/list", "ENOENT"]);
}

fn a_stopped_or_unknown_container_gets_no_mounts() {
    let (container, folder) = with_folder();
    container.kill("KILL").ok();
    container.wait_for("stopped");
    let list = json!([bind(&folder, "/mnt/a", &["bind"])]);
    mounts(&container, "add", &list).fails(1, &["container not running"]);
    mounts(&container, "remove", &list).fails(1, &["container not running"]);
    let input = container.bundle.folder.join("list.json");
    fs::write(&input, list.to_string()).unwrap();
    bundle::runtime(&["mounts", "add", "nonesuch", input.to_str().unwrap()]).fails(1, &["does not exist"]);
}

fn nothing_of_it_is_seen_on_the_host() {
    let (container, folder) = with_folder();
    let list = json!([bind(&folder, "/mnt/a", &["rbind"]),
        {"type": "tmpfs", "source": "tmpfs", "destination": "/mnt/a/below", "options": ["size=64k"]}]);
    mounts(&container, "add", &list).ok();
    container.sh("echo x > /mnt/a/below/x");
    assert!(fs::read_dir(folder.join("below")).unwrap().next().is_none());
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!table.contains(&format!("{}/below", folder.display())), "{table}");
}
