//! The root of a container: where it comes from, what it can reach, what it can change.

use std::fs;

use serde_json::json;

use crate::support::*;
use crate::tests;

tests![
    the_root_is_writable_unless_it_says_otherwise,
    a_read_only_root_refuses_writes_but_not_in_its_mounts,
    a_read_only_root_has_its_devices,
    the_root_may_be_an_absolute_path,
    nothing_of_the_host_is_mounted_inside,
    no_path_leads_out_of_the_root,
    the_parent_of_the_root_is_the_root,
    a_root_of_another_file_system_works needs [Need::Root],
    no_pivot_gives_the_same_root,
    no_pivot_leaves_no_second_proc_to_be_found needs [Need::Root],
    the_host_cannot_be_unmounted_from_inside,
];

fn the_root_is_writable_unless_it_says_otherwise() {
    let container = Bundle::shell("echo text > /made").container();
    container.run(&[]).ok();
    assert_eq!(container.read("/made"), "text\n");
}

fn a_read_only_root_refuses_writes_but_not_in_its_mounts() {
    let script = "touch /made || echo refused; touch /dev/shm/made && echo written; grep ' / / ' /proc/self/mountinfo | wc -l";
    let container = Bundle::shell(script).set("/root/readonly", json!(true)).container();
    let output = container.run(&[]).ok();
    assert!(output.text().starts_with("refused\nwritten"), "{output}");
    assert!(!container.bundle.rootfs().join("made").exists());
}

fn a_read_only_root_has_its_devices() {
    let bundle = Bundle::shell("echo x > /dev/null && readlink /dev/fd").set("/root/readonly", json!(true));
    assert_eq!(bundle.output(), "/proc/self/fd");
}

fn the_root_may_be_an_absolute_path() {
    let bundle = Bundle::shell("cat /etc/here").file("/etc/here", "absolute");
    let path = json!(bundle.rootfs());
    assert_eq!(bundle.set("/root/path", path).output(), "absolute");
}

fn nothing_of_the_host_is_mounted_inside() {
    let points = Bundle::shell("awk '{print $5}' /proc/self/mountinfo").output();
    let known = ["/", "/proc", "/dev", "/sys"];
    let strange: Vec<_> = points
        .lines()
        .filter(|point| {
            !known
                .iter()
                .any(|base| point == base || (*base != "/" && point.starts_with(&format!("{base}/"))))
        })
        .collect();
    assert!(strange.is_empty(), "{strange:?}");
}

fn no_path_leads_out_of_the_root() {
    let script =
        "ls /../../../../../../bin/busybox; cd /proc/1/root && pwd -P; ls /proc/1/cwd/../../bin/busybox";
    let output = Bundle::shell(script).output();
    assert!(output.contains("/bin/busybox") && !output.contains("isolate-test"), "{output}");
}

fn the_parent_of_the_root_is_the_root() {
    assert_eq!(Bundle::shell("test $(stat -c %i /) = $(stat -c %i /..) && echo same").output(), "same");
}

fn a_root_of_another_file_system_works() {
    let bundle = Bundle::shell("stat -f -c %T /").set("/root/path", json!("mounted"));
    let point = bundle.host_folder("mounted");
    child::run(std::process::Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&point)).ok();
    child::run(std::process::Command::new("cp").arg("-a").arg(bundle.rootfs().join(".")).arg(&point)).ok();
    let output = bundle.run();
    let _ = nix::mount::umount2(&point, nix::mount::MntFlags::MNT_DETACH);
    assert_eq!(output.ok().text(), "tmpfs");
}

fn no_pivot_gives_the_same_root() {
    let container = Bundle::shell("cat /etc/here; ls / | grep -c proc; touch /made")
        .file("/etc/here", "inside\n")
        .container();
    assert_eq!(container.run(&["--no-pivot"]).ok().text(), "inside\n1");
    assert!(container.bundle.rootfs().join("made").exists());
    container.leaves_nothing();
}

fn no_pivot_leaves_no_second_proc_to_be_found() {
    // Without a pivot the host's whole /proc stays mounted somewhere; a visible one would let the container
    // mount its own, without masks.
    let script =
        "unshare -Urmp -f sh -c 'mount -t proc proc /tmp' 2>/dev/null && echo unmasked || echo refused";
    let bundle = Bundle::shell(script).config(|json| config::add_capabilities(json, &["CAP_SYS_ADMIN"]));
    let container = bundle.container();
    assert_eq!(container.run(&["--no-pivot"]).ok().text(), "refused");
}

fn the_host_cannot_be_unmounted_from_inside() {
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap().lines().count();
    let script = "umount -l /proc; umount -l /sys; umount -l /dev; umount -l /; true";
    let bundle = Bundle::shell(script).config(|json| config::add_capabilities(json, &["CAP_SYS_ADMIN"]));
    bundle.run().ok();
    let after = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(after.lines().count() >= before || std::env::var_os("ISOLATE_TEST_SHARED_HOST").is_some());
    assert!(after.contains(" /proc ") && after.contains(" /sys "));
}
