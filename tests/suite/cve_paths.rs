//! Known escapes by a path in a hostile root: links where something is mounted, made or read. Each attack aims at a
//! folder of the host, which must be the same afterwards. `docs/cves.md` has the list.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use crate::support::*;
use crate::tests;

tests![
    a_mount_target_that_leads_to_the_host_stays_in_the_root,
    a_bind_target_that_leads_to_the_host_makes_nothing_there,
    a_link_in_the_middle_of_a_target_makes_no_folder_on_the_host,
    nothing_but_procfs_is_mounted_at_proc_or_below,
    a_label_is_never_written_to_what_covers_proc,
    proc_and_sys_that_are_links_are_refused,
    a_link_at_proc_with_a_proc_below_it_is_refused,
    a_dev_that_is_a_link_changes_nothing_on_the_host needs [Need::Not("runc", "1.1 has CVE-2026-41579")],
    device_nodes_of_the_config_stay_in_the_root needs [Need::Root],
    the_files_that_the_runtime_reads_are_the_roots,
    a_masked_or_read_only_path_that_leads_to_the_host_covers_nothing_there,
    nothing_in_the_image_is_a_way_to_write_a_file_of_the_runtimes,
    the_working_folder_is_made_in_the_root_alone,
];

/// Makes, starts and removes it, whatever comes of that, and looks whether the host is as it was.
#[track_caller]
fn attack(bundle: Bundle, mark: &Mark) -> Output {
    let container = bundle.container();
    let output = container.create(&[]);
    if output.code == 0 {
        container.start();
    }
    container.delete_by_force();
    mark.is_untouched();
    output
}

fn a_mount_target_that_leads_to_the_host_stays_in_the_root() {
    // CVE-2015-3629, CVE-2015-1335: a link in the image that climbs, and one that is absolute.
    let bundle = Bundle::nothing();
    let mark = Mark::new(&bundle);
    for target in [mark.climb(), mark.path().to_owned()] {
        let bundle = Bundle::shell("echo x > /x/made/written");
        symlink(&target, bundle.rootfs().join("x")).unwrap();
        let mount = json!({"destination": "/x/made", "type": "tmpfs", "source": "tmpfs"});
        attack(bundle.mount(mount), &mark);
    }
}

fn a_bind_target_that_leads_to_the_host_makes_nothing_there() {
    // CVE-2019-18837, CVE-2015-1335: a folder and a file, which the runtime would make where the link leads.
    let bundle = Bundle::nothing();
    let mark = Mark::new(&bundle);
    let source = bundle.host_folder("shared");
    fs::write(source.join("f"), "shared").unwrap();
    let bundle = Bundle::nothing().link(&mark.climb(), "x").link(mark.path(), "y");
    attack(
        bundle.bind(&source, "/x/folder", &["rw"]).bind(&source.join("f"), "/y/file", &["rw"]).bind(
            &source.join("f"),
            "/x/deep/er/file",
            &[],
        ),
        &mark,
    );
}

fn a_link_in_the_middle_of_a_target_makes_no_folder_on_the_host() {
    // CVE-2024-45310 without the race: a chain of links, the last one dangling on the host.
    let bundle = Bundle::nothing();
    let mark = Mark::new(&bundle);
    let bundle =
        bundle.link(&format!("{}/new", mark.climb()), "one").link("one", "two").link("/two/..", "three");
    let mounts = ["/two", "/two/a/b", "/three/c"];
    let tmpfs = |at: &str| json!({"destination": at, "type": "tmpfs", "source": "tmpfs"});
    attack(mounts.into_iter().fold(bundle, |bundle, at| bundle.mount(tmpfs(at))), &mark);
}

fn nothing_but_procfs_is_mounted_at_proc_or_below() {
    // CVE-2015-3627, CVE-2015-3631, CVE-2019-16884.
    for destination in ["/proc", "/proc/self/attr", "/proc/sys", "/proc/1", "/proc/../proc/sys/kernel"] {
        let mount = json!({"destination": destination, "type": "tmpfs", "source": "tmpfs"});
        Bundle::nothing().mount(mount).refused(&["proc"]);
        let bundle = Bundle::nothing();
        let folder = bundle.host_folder("fake");
        bundle.bind(&folder, destination, &[]).refused(&["proc"]);
    }
}

fn a_label_is_never_written_to_what_covers_proc() {
    // CVE-2019-16884, CVE-2025-62596: the image's /proc has an `attr/exec` of its own, which is not the kernel's.
    let bundle = Bundle::nothing().file("/proc/thread-self/attr/exec", "").file("/proc/self/attr/exec", "");
    let bundle = bundle.set("/process/apparmorProfile", json!("unconfined"));
    let container = bundle.container();
    container.create(&[]);
    assert_eq!(container.peek("/proc/thread-self/attr/exec") + &container.peek("/proc/self/attr/exec"), "");
}

fn proc_and_sys_that_are_links_are_refused() {
    // CVE-2019-19921, CVE-2023-27561, CVE-2023-28642, CVE-2025-54867.
    for name in ["proc", "sys"] {
        for target in ["/tmp/fake", "tmp/fake", "/fake", "."] {
            let bundle = Bundle::nothing().directory("/tmp/fake").directory("/fake/self/attr");
            fs::remove_dir(bundle.rootfs().join(name)).unwrap();
            bundle.link(target, name).refused(&["must be mounted on ordinary directory"]);
        }
    }
}

fn a_link_at_proc_with_a_proc_below_it_is_refused() {
    // The same where the config mounts below it, so that the link is on the way.
    let bundle = Bundle::nothing();
    let mark = Mark::new(&bundle);
    let bundle = bundle.link(&mark.climb(), "way");
    let output =
        attack(bundle.mount(json!({"destination": "/way/proc", "type": "proc", "source": "proc"})), &mark);
    assert_eq!(output.code, 1, "{output}");
}

fn without_dev(bundle: Bundle) -> Bundle {
    bundle.config(|json| {
        json["mounts"].as_array_mut().unwrap().retain(|mount| {
            !mount["destination"].as_str().is_some_and(|destination| destination.starts_with("/dev"))
        });
    })
}

fn a_dev_that_is_a_link_changes_nothing_on_the_host() {
    // CVE-2026-41579, CVE-2026-47766: no mount on /dev, and /dev leads to a folder with files called ptmx and null.
    let bundle = Bundle::nothing();
    let mark = Mark::new(&bundle);
    for target in [mark.climb(), mark.path().to_owned()] {
        let bundle = without_dev(Bundle::nothing());
        fs::remove_dir(bundle.rootfs().join("dev")).unwrap();
        attack(bundle.link(&target, "dev"), &mark);
    }
}

fn device_nodes_of_the_config_stay_in_the_root() {
    let bundle = Bundle::nothing();
    let mark = Mark::new(&bundle);
    let device = json!([{"path": "/x/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 438, "uid": 0, "gid": 0}]);
    attack(bundle.link(&mark.climb(), "x").set("/linux/devices", device), &mark);
}

fn the_files_that_the_runtime_reads_are_the_roots() {
    // CVE-2016-3697 and its like: /etc/passwd is a link to a file of the host, which names another home.
    let bundle = Bundle::shell("echo home $HOME").unset("/process/env");
    let mark = Mark::new(&bundle);
    fs::write(mark.folder.join("passwd"), "root:x:0:0:root:/of-the-host:/bin/sh\n").unwrap();
    fs::remove_file(bundle.rootfs().join("etc/passwd")).unwrap();
    let output = bundle.link(&format!("{}/passwd", mark.path()), "etc/passwd").run();
    assert!(!output.stdout.contains("of-the-host"), "{output}");
}

fn a_masked_or_read_only_path_that_leads_to_the_host_covers_nothing_there() {
    let bundle = Bundle::nothing();
    let mark = Mark::new(&bundle);
    let paths = json!(["/x/precious", "/x"]);
    let bundle = bundle.link(&mark.climb(), "x").set("/linux/maskedPaths", paths.clone());
    attack(bundle.set("/linux/readonlyPaths", paths), &mark);
}

fn nothing_in_the_image_is_a_way_to_write_a_file_of_the_runtimes() {
    // CVE-2025-24965: names that runtimes and engines place in a root, laid out as links beforehand.
    let bundle = Bundle::shell("true");
    let mark = Mark::new(&bundle);
    let names =
        ["etc/hosts", "etc/resolv.conf", "etc/hostname", "run/notify", ".krun_config.json", "dev/console"];
    let bundle = names.iter().fold(bundle, |bundle, name| {
        bundle.link(&format!("{}/{}", mark.climb(), name.replace('/', "-")), name)
    });
    let container = without_dev(bundle).set("/process/terminal", json!(false)).container();
    let mut run = container.bundle_command("run", &[]);
    let socket = container.bundle.folder.join("n");
    let _listener = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    child::run(run.env("NOTIFY_SOCKET", &socket));
    container.delete_by_force();
    mark.is_untouched();
}

fn the_working_folder_is_made_in_the_root_alone() {
    let bundle = Bundle::nothing();
    let mark = Mark::new(&bundle);
    let bundle = bundle.link(&mark.climb(), "x").set("/process/cwd", json!("/x/new/folder"));
    attack(bundle, &mark);
}
