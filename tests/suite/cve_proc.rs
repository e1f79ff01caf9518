//! Known escapes by what the runtime itself opens or writes: the null device behind masks, terminals, kernel settings,
//! labels. `docs/cves.md` has the list.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;

use crate::support::console::DescriptorSocket;
use crate::support::*;
use crate::tests;

tests![
    a_planted_null_device_is_never_what_masks
        needs [Need::Root, Need::Not("runc", "1.1 has CVE-2025-31133")],
    a_null_that_is_missing_leaves_no_mask_out,
    a_planted_terminal_is_never_the_console
        needs [Need::Root, Need::Not("runc", "1.1 has CVE-2025-52565")],
    a_file_bound_over_a_kernel_setting_does_not_catch_the_write
        needs [Need::Not("runc", "1.1 refuses the mount by name")],
    a_procfs_covered_by_the_container_does_not_stop_or_fool_exec
        needs [Need::Not("runc", "1.1 has CVE-2015-1334's heir")],
    a_setting_of_the_host_is_not_reached_by_any_spelling,
    only_namespaced_settings_are_written_and_only_in_own_namespaces needs [Need::Root],
    the_dangerous_files_of_procfs_are_closed_by_the_default_config,
];

fn without_dev(bundle: Bundle) -> Bundle {
    bundle.config(|json| {
        json["mounts"].as_array_mut().unwrap().retain(|mount| {
            !mount["destination"].as_str().is_some_and(|destination| destination.starts_with("/dev"))
        });
    })
}

fn a_planted_null_device_is_never_what_masks() {
    // CVE-2025-31133, CVE-2025-62161: /dev comes from a volume in which `null` leads to a file of the kernel.
    let host = Bundle::nothing();
    let mark = Mark::new(&host);
    for planted in ["/proc/sys/kernel/core_pattern", "/etc/passwd", "/dev/zero", "nonesuch"] {
        let bundle =
            Bundle::shell("stat -c %t:%T /proc/version").set("/linux/maskedPaths", json!(["/proc/version"]));
        let dev = bundle.host_folder("planted");
        symlink(planted, dev.join("null")).unwrap();
        let output = without_dev(bundle).bind(&dev, "/dev", &["rprivate"]).run();
        assert!(output.code != 0 || output.text() == "1:3", "{planted}: {output}");
        mark.is_untouched();
    }
}

fn a_null_that_is_missing_leaves_no_mask_out() {
    // Only an absent *target* may be skipped; here it is the source that is absent.
    let bundle = Bundle::shell("cat /etc/secret").file("/etc/secret", "top secret");
    let container = without_dev(bundle).set("/linux/maskedPaths", json!(["/etc/secret"])).container();
    let output = container.run(&[]);
    assert!(!output.stdout.contains("top secret"), "{output}");
}

fn a_planted_terminal_is_never_the_console() {
    // CVE-2025-52565: /dev/pts is a folder of links to a file whose opening or mounting would do harm.
    let bundle = Bundle::shell("stat -c %t /dev/console").set("/process/terminal", json!(true));
    let mark = Mark::new(&bundle);
    let pts = bundle.host_folder("planted");
    for number in 0..10 {
        symlink("/proc/sysrq-trigger", pts.join(number.to_string())).unwrap();
    }
    symlink("/proc/sysrq-trigger", pts.join("ptmx")).unwrap();
    let bundle = bundle.config(|json| {
        json["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/dev/pts");
    });
    let container = bundle.bind(&pts, "/dev/pts", &["rprivate"]).container();
    let socket = DescriptorSocket::listen(container.bundle.folder.join("console.sock"));
    container.create(&["--console-socket", socket.path()]).fails(1, &["terminal"]);
    mark.is_untouched();
}

fn a_file_bound_over_a_kernel_setting_does_not_catch_the_write() {
    // CVE-2025-52881: a mount on the file that the runtime is about to write. The mount is refused, or the value is
    // set where it should be.
    let bundle = Bundle::shell("cat /proc/sys/kernel/msgmax");
    let fake = bundle.host_folder("fake").join("value");
    fs::write(&fake, "untouched").unwrap();
    let bundle = bundle.set("/linux/sysctl", json!({"kernel.msgmax": "23456"}));
    let output = bundle.bind(&fake, "/proc/sys/kernel/msgmax", &["rprivate"]).run();
    assert!(output.code == 1 || output.text() == "23456", "{output}");
    assert_eq!(fs::read_to_string(&fake).unwrap_or("untouched".into()), "untouched");
    // The same by a link in the image that leads there.
    let bundle = Bundle::shell("cat /proc/sys/kernel/msgmax").link("/proc/sys/kernel", "way");
    let fake = bundle.host_folder("fake").join("value");
    fs::write(&fake, "untouched").unwrap();
    let bundle = bundle.set("/linux/sysctl", json!({"kernel.msgmax": "23456"}));
    let output = bundle.bind(&fake, "/way/msgmax", &["rprivate"]).run();
    assert!(output.code == 1 || output.text() == "23456", "{output}");
}

fn a_procfs_covered_by_the_container_does_not_stop_or_fool_exec() {
    // CVE-2015-1334: the container mounts something over its /proc once it runs; exec has to be the same for it.
    let bundle = Bundle::shell(
        "mount -t tmpfs tmpfs /proc; mkdir -p /proc/self/attr /proc/thread-self/attr; echo up; sleep 100",
    );
    let bundle = bundle.config(|json| config::add_capabilities(json, &["CAP_SYS_ADMIN"]));
    let container = bundle.container();
    container.create(&[]).ok();
    container.start().ok();
    child::eventually("it is covered", || {
        let root = format!("/proc/{}/root/proc", container.pid());
        !Path::new(&root).join("version").exists() && Path::new(&root).join("self/attr").exists()
    });
    assert_eq!(container.sh("echo inside; ls /proc | tr '\\n' ' '"), "inside\nself thread-self");
    let written = container.sh("find /proc -type f | wc -l");
    assert_eq!(written, "0", "exec wrote into what the container has put over /proc");
}

fn a_setting_of_the_host_is_not_reached_by_any_spelling() {
    // CVE-2022-0811.
    let bundle = Bundle::nothing();
    let mark = Mark::new(&bundle);
    let names = [
        "kernel.core_pattern",
        "kernel/core_pattern",
        "net/../kernel/core_pattern",
        "net.x+kernel.core_pattern",
        "net//../kernel.core_pattern",
        "net.ipv4.conf.all/../../../../kernel/core_pattern",
        "fs.mqueue./../../kernel/core_pattern",
        "net.ipv4=1+kernel.core_pattern",
        "",
        "/",
        "net",
    ];
    for name in names {
        Bundle::nothing().set("/linux/sysctl", json!({name: "|/bin/false"})).refused(&[]);
        mark.is_untouched();
    }
}

fn only_namespaced_settings_are_written_and_only_in_own_namespaces() {
    let shared = |kind: &str, name: &str| {
        let bundle = Bundle::nothing().config(|json| {
            config::remove_namespace(json, kind);
            json["mounts"].as_array_mut().unwrap().retain(|mount| mount["type"] != "mqueue");
        });
        bundle.set("/linux/sysctl", json!({name: "1"})).refused(&[name]);
    };
    shared("ipc", "kernel/shm_rmid_forced");
    shared("ipc", "fs.mqueue.msg_max");
    shared("network", "net.ipv4.ip_forward");
    shared("uts", "kernel.domainname");
}

fn the_dangerous_files_of_procfs_are_closed_by_the_default_config() {
    // CVE-2015-3630: what `isolate spec` writes covers or closes them.
    let container = Bundle::sleeper().container();
    fs::remove_file(container.bundle.folder.join("config.json")).unwrap();
    let options: &[&str] = if nix::unistd::geteuid().is_root() { &["spec"] } else { &["spec", "--rootless"] };
    child::run(container.command(options).current_dir(&container.bundle.folder)).ok();
    let text = fs::read_to_string(container.bundle.folder.join("config.json")).unwrap();
    let spec: serde_json::Value = serde_json::from_str(&text).unwrap();
    let named =
        |list: &str, path: &str| spec["linux"][list].as_array().unwrap().iter().any(|entry| entry == path);
    for path in [
        "/proc/kcore",
        "/proc/keys",
        "/proc/timer_stats",
        "/proc/sched_debug",
        "/proc/latency_stats",
        "/sys/firmware",
        "/proc/acpi",
        "/proc/scsi",
    ] {
        assert!(named("maskedPaths", path), "{path}");
    }
    for path in ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"] {
        assert!(named("readonlyPaths", path), "{path}");
    }
}
