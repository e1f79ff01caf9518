//! Masked and read-only paths: what a container sees of them, and what it can do to them.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use crate::support::*;
use crate::tests;

tests![
    masked_file_reads_as_empty,
    masked_folder_is_empty_and_read_only,
    a_masked_path_that_is_absent_is_skipped,
    a_masked_path_below_a_file_is_skipped needs [Need::Not("runc", "1.1 fails")],
    a_path_may_be_masked_twice,
    a_read_only_path_cannot_be_written,
    a_read_only_file_cannot_be_written,
    a_read_only_path_keeps_the_flags_of_its_mount,
    a_read_only_path_that_is_absent_is_skipped,
    a_masked_path_through_a_link_stays_inside,
    a_planted_null_device_masks_nothing_with_a_host_file
        needs [Need::Root, Need::Not("runc", "1.1 has CVE-2025-31133")],
    the_masks_of_podman_hold,
    exec_sees_the_masks_too,
    a_proc_or_sys_exchanged_after_its_mount_is_an_error_and_not_a_missing_mask
        needs [Need::Not("runc", "1.1 skips the masks: CVE-2023-27561")],
    what_covers_sys_is_where_masks_are_looked_for,
];

fn masked_file_reads_as_empty() {
    let bundle =
        Bundle::shell("cat /etc/secret; stat -c %t:%T /etc/secret").file("/etc/secret", "top secret");
    let container = bundle.set("/linux/maskedPaths", json!(["/etc/secret"])).container();
    assert_eq!(container.run(&[]).ok().text(), "1:3");
    assert_eq!(container.read("/etc/secret"), "top secret");
}

fn masked_folder_is_empty_and_read_only() {
    let bundle = Bundle::shell("ls -A /secrets | wc -l; touch /secrets/x || echo refused");
    let bundle = bundle.file("/secrets/one", "1").set("/linux/maskedPaths", json!(["/secrets"]));
    assert_eq!(bundle.output(), "0\nrefused");
}

fn a_masked_path_that_is_absent_is_skipped() {
    let container = Bundle::nothing().set("/linux/maskedPaths", json!(["/nonesuch/at/all"])).container();
    container.run(&[]).ok();
    assert!(!container.bundle.rootfs().join("nonesuch").exists());
}

fn a_masked_path_below_a_file_is_skipped() {
    Bundle::nothing().set("/linux/maskedPaths", json!(["/etc/passwd/x"])).run().ok();
}

fn a_path_may_be_masked_twice() {
    let paths = json!(["/etc/secret", "/etc/secret", "/secrets", "/secrets"]);
    let bundle =
        Bundle::shell("cat /etc/secret; ls /secrets").file("/etc/secret", "s").file("/secrets/one", "1");
    assert_eq!(bundle.set("/linux/maskedPaths", paths).output(), "");
}

fn a_read_only_path_cannot_be_written() {
    let bundle = Bundle::shell("cat /kept/f; touch /kept/g || echo refused; touch /tmp/g && echo written");
    let bundle = bundle.file("/kept/f", "text\n").set("/linux/readonlyPaths", json!(["/kept"]));
    assert_eq!(bundle.output(), "text\nrefused\nwritten");
}

fn a_read_only_file_cannot_be_written() {
    let bundle = Bundle::shell("echo more >> /etc/kept || echo refused").file("/etc/kept", "text");
    assert_eq!(bundle.set("/linux/readonlyPaths", json!(["/etc/kept"])).output(), "refused");
}

fn a_read_only_path_keeps_the_flags_of_its_mount() {
    let line = Bundle::shell("grep ' /proc/sys ' /proc/self/mountinfo").output();
    for option in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(line.split([' ', ',']).any(|seen| seen == option), "{option}: {line}");
    }
}

fn a_read_only_path_that_is_absent_is_skipped() {
    Bundle::nothing().set("/linux/readonlyPaths", json!(["/nonesuch"])).run().ok();
}

fn a_masked_path_through_a_link_stays_inside() {
    let bundle = Bundle::sleeper();
    let outside = bundle.host_folder("outside");
    fs::write(outside.join("f"), "of the host").unwrap();
    let bundle = bundle.link(outside.to_str().unwrap(), "away").set("/linux/maskedPaths", json!(["/away/f"]));
    let container = bundle.container();
    container.create(&[]);
    assert_eq!(fs::read_to_string(outside.join("f")).unwrap(), "of the host");
}

fn a_planted_null_device_masks_nothing_with_a_host_file() {
    // CVE-2025-31133: the root brings its own /dev/null, a link to a file of the host's kernel.
    let before = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let bundle =
        Bundle::shell("stat -c %t:%T /proc/version").set("/linux/maskedPaths", json!(["/proc/version"]));
    let dev = bundle.host_folder("planted");
    symlink("/proc/sys/kernel/core_pattern", dev.join("null")).unwrap();
    let bundle = bundle.config(|json| {
        json["mounts"].as_array_mut().unwrap().retain(|mount| {
            !mount["destination"].as_str().is_some_and(|destination| destination.starts_with("/dev"))
        });
    });
    let output = bundle.bind(&dev, "/dev", &["rprivate"]).run();
    assert!(output.code != 0 || output.text() == "1:3", "{output}");
    assert_eq!(fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap(), before);
}

fn the_masks_of_podman_hold() {
    let script = "cat /proc/kcore /proc/keys /proc/timer_list /proc/sched_debug 2>/dev/null | wc -c; \
                  ls -A /proc/acpi /proc/scsi /sys/firmware 2>/dev/null | grep -v : | grep .; \
                  echo 1 > /proc/sys/kernel/panic || echo refused; echo h > /proc/sysrq-trigger || echo refused";
    assert_eq!(Bundle::shell(script).output(), "0\nrefused\nrefused");
}

fn exec_sees_the_masks_too() {
    let container = Bundle::sleeper()
        .file("/etc/secret", "top secret")
        .set("/linux/maskedPaths", json!(["/etc/secret"]))
        .start();
    assert_eq!(container.sh("cat /etc/secret"), "");
}

fn a_proc_or_sys_exchanged_after_its_mount_is_an_error_and_not_a_missing_mask() {
    // Whoever else writes to the root may do this at any moment; a hook does it at the right one.
    for (name, which) in
        [("proc", "maskedPaths"), ("proc", "readonlyPaths"), ("sys", "maskedPaths"), ("sys", "readonlyPaths")]
    {
        let bundle = Bundle::nothing().unset("/linux/maskedPaths").unset("/linux/readonlyPaths");
        let script = format!("cd {} && mv {name} other && ln -s /tmp {name}", bundle.rootfs().display());
        let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]});
        let paths = json!([format!("/{name}/kcore"), format!("/{name}/firmware")]);
        let bundle =
            bundle.set(&format!("/linux/{which}"), paths).set("/hooks", json!({"createRuntime": [hook]}));
        bundle.refused(&["is not what was mounted there"]);
    }
}

fn what_covers_sys_is_where_masks_are_looked_for() {
    let tmpfs = json!({"destination": "/sys", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755", "size=64k"]});
    let hide = json!(["/sys/firmware"]);
    let bundle =
        Bundle::shell("stat -f -c %T /sys; ls /sys").mount(tmpfs).set("/linux/maskedPaths", hide.clone());
    assert_eq!(bundle.output(), "tmpfs");
    let bundle = Bundle::shell("cat /sys/firmware/f; ls /sys");
    let folder = bundle.host_folder("own-sys");
    std::fs::create_dir(folder.join("firmware")).unwrap();
    std::fs::write(folder.join("firmware/f"), "seen").unwrap();
    assert_eq!(
        bundle.bind(&folder, "/sys", &["ro"]).set("/linux/maskedPaths", hide).run().stdout,
        "firmware\n"
    );
}
