//! `isolate lint`: what mounts, masks and hooks give an attacker.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::Command;

use serde_json::json;

use super::lint_process::a_bound_set_user_id_program;
use crate::support::weakness::{run, shows};
use crate::support::*;
use crate::tests;

tests![
    kcore_without_a_mask_is_the_hosts_memory needs [Need::Isolate, Need::Root, Need::File("/proc/kcore")],
    a_path_without_a_mask_tells_of_the_host needs [Need::Isolate, Need::Root, Need::File("/proc/timer_list")],
    a_writable_proc_sys_changes_the_kernel needs [Need::Isolate, Need::Root],
    a_writable_sysrq_trigger_stops_the_host needs [Need::Isolate, Need::Root, Need::File("/proc/sysrq-trigger")],
    a_writable_sysfs_changes_the_kernel needs [Need::Isolate, Need::Root],
    a_writable_cgroup_mount_takes_limits_away needs [Need::Isolate, Need::Root, Need::Cgroup("memory")],
    the_hosts_root_is_written needs [Need::Isolate, Need::Root],
    the_hosts_passwords_are_read needs [Need::Isolate, Need::Root, Need::File("/etc/shadow")],
    a_socket_that_is_bound_read_only_is_talked_to needs [Need::Isolate],
    a_mount_inside_appears_on_the_host needs [Need::Isolate, Need::Root],
    a_set_user_id_program_of_a_bind_makes_root needs [Need::Isolate, Need::Root],
    a_writable_root_keeps_what_an_attacker_leaves needs [Need::Isolate],
    a_hook_that_the_container_writes_runs_on_the_host needs [Need::Isolate],
];

fn without_mask(path: &'static str) -> impl Fn(Bundle) -> Bundle {
    without("/linux/maskedPaths", path)
}

fn without(list: &'static str, path: &'static str) -> impl Fn(Bundle) -> Bundle {
    move |bundle| {
        bundle.config(|json| {
            let paths = json.pointer_mut(list).unwrap().as_array_mut().unwrap();
            paths.retain(|entry| entry != path);
        })
    }
}

fn kcore_without_a_mask_is_the_hosts_memory() {
    let script = "[ $(head -c 64 /proc/kcore | wc -c) = 64 ] && echo gained";
    let sound = || Bundle::shell(script).config(|json| config::add_capabilities(json, &["CAP_SYS_RAWIO"]));
    shows("proc-kcore", "linux.maskedPaths", sound, without_mask("/proc/kcore"), run);
}

fn a_path_without_a_mask_tells_of_the_host() {
    let script = "grep -q 'Timer List' /proc/timer_list && echo gained";
    let sound = || {
        let masks = [
            "/proc/acpi",
            "/proc/keys",
            "/proc/latency_stats",
            "/proc/scsi",
            "/proc/timer_list",
            "/sys/firmware",
        ];
        Bundle::shell(script).set("/linux/maskedPaths", json!(masks))
    };
    shows("unmasked-path", "linux.maskedPaths", sound, without_mask("/proc/timer_list"), run);
}

fn a_writable_proc_sys_changes_the_kernel() {
    // Opened for writing, and left as it is.
    let script = "( : >> /proc/sys/kernel/core_pattern ) && echo gained";
    shows(
        "proc-sys",
        "linux.readonlyPaths",
        || Bundle::shell(script),
        without("/linux/readonlyPaths", "/proc/sys"),
        run,
    );
}

fn a_writable_sysrq_trigger_stops_the_host() {
    let script = "( : >> /proc/sysrq-trigger ) && echo gained";
    let weaken = without("/linux/readonlyPaths", "/proc/sysrq-trigger");
    shows("proc-sysrq", "linux.readonlyPaths", || Bundle::shell(script), weaken, run);
}

fn a_writable_sysfs_changes_the_kernel() {
    let script =
        "f=$(find /sys/kernel/mm /sys/module -type f -perm -200 | head -n 1); ( : >> $f ) && echo gained";
    let weaken = |bundle: Bundle| {
        bundle.config(|json| config::mount_at(json, "/sys")["options"] = json!(["nosuid", "noexec", "nodev"]))
    };
    shows("sysfs-writable", "mounts[2].options", || Bundle::shell(script), weaken, run);
}

fn a_writable_cgroup_mount_takes_limits_away() {
    let (file, value) = match cgroup::is_v2() {
        true => ("/sys/fs/cgroup/memory.max", "max"),
        false => ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "-1"),
    };
    let script = format!("echo {value} > {file} && echo gained");
    let mount = |options: &[&str]| json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options});
    let sound = || {
        let bundle = Bundle::shell(&script).limit("memory", json!({"limit": 64 << 20}));
        bundle.mount(mount(&["nosuid", "noexec", "nodev", "ro"]))
    };
    let weaken =
        |bundle: Bundle| bundle.config(|json| json["mounts"][6] = mount(&["nosuid", "noexec", "nodev"]));
    shows("cgroup-writable", "mounts[6].options", sound, weaken, run);
}

fn the_hosts_root_is_written() {
    let sound = || {
        let bundle = Bundle::shell("");
        let folder = bundle.host_folder("data");
        let script = format!("echo x > /host{}/mark && echo gained", folder.display());
        bundle.bind(&folder, "/host", &["rw"]).set("/process/args", json!(["/bin/sh", "-c", script]))
    };
    let weaken = |bundle: Bundle| bundle.set("/mounts/6", bind("/", &["rbind", "rw"]));
    shows("host-path-writable", "mounts[6].source", sound, weaken, run);
}

fn bind(source: &str, options: &[&str]) -> serde_json::Value {
    json!({"destination": "/host", "type": "bind", "source": source, "options": options})
}

fn the_hosts_passwords_are_read() {
    let sound = || {
        let bundle = Bundle::shell("grep -q ^root: /host/shadow && echo gained");
        let folder = bundle.host_folder("data");
        bundle.bind(&folder, "/host", &["ro"])
    };
    let weaken = |bundle: Bundle| bundle.set("/mounts/6", bind("/etc", &["bind", "ro"]));
    shows("host-path-readable", "mounts[6].source", sound, weaken, run);
}

fn a_socket_that_is_bound_read_only_is_talked_to() {
    let folder = session().folder.join(session::unique("engine-"));
    fs::create_dir(&folder).unwrap();
    let socket = folder.join("docker.sock");
    let _engine = UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    let sound = || attacker::bring(Bundle::new(&[attacker::PATH, "connect", "/run/docker.sock"]));
    let weaken = |bundle: Bundle| bundle.bind(&socket, "/run/docker.sock", &["ro"]);
    shows("engine-socket", "mounts[7].source", sound, weaken, run);
}

fn a_mount_inside_appears_on_the_host() {
    let sound = || {
        let bundle = Bundle::shell("mkdir -p /vol/sub && mount -t tmpfs tmpfs /vol/sub");
        let volume = bundle.host_folder("vol");
        let bundle = bundle.config(|json| config::add_capabilities(json, &["CAP_SYS_ADMIN"]));
        bundle.bind(&volume, "/vol", &["rprivate"])
    };
    let weaken = |bundle: Bundle| {
        bundle
            .set("/mounts/6/options", json!(["rbind", "rshared"]))
            .set("/linux/rootfsPropagation", json!("rshared"))
    };
    shows("shared-propagation", "linux.rootfsPropagation", sound, weaken, |container| {
        let run = container.bundle_command("run", &[]);
        let arguments = run.get_args().map(|part| format!("'{}'", part.to_str().unwrap()));
        let volume = container.bundle.folder.join("vol");
        let line = format!(
            "mount --bind {0} {0} && mount --make-shared {0} && {1:?} {2}; grep -q {0}/sub /proc/self/mountinfo && printf ga'%s' ined",
            volume.display(),
            run.get_program(),
            arguments.collect::<Vec<_>>().join(" ")
        );
        // The host is a mount namespace of this test's own.
        child::run(Command::new("unshare").args(["--mount", "sh", "-c", &line])).to_string()
    });
}

fn a_set_user_id_program_of_a_bind_makes_root() {
    let sound = || a_bound_set_user_id_program(&["rw", "nosuid"]);
    let weaken = |bundle: Bundle| bundle.set("/mounts/6/options", json!(["rbind", "rw"]));
    shows("bind-setuid", "mounts[6].options", sound, weaken, run);
}

fn a_writable_root_keeps_what_an_attacker_leaves() {
    let sound = || Bundle::shell("echo x >> /etc/passwd && echo gained").set("/root/readonly", json!(true));
    shows("root-writable", "root.readonly", sound, |bundle| bundle.set("/root/readonly", json!(false)), run);
}

fn a_hook_that_the_container_writes_runs_on_the_host() {
    let sound = || {
        let bundle = Bundle::shell("echo 'echo x > mark' >> /hooks/hook");
        let hooks = bundle.host_folder("hooks");
        let hook = hooks.join("hook");
        child::while_nothing_is_spawned(|| fs::write(&hook, "#!/bin/sh\ncd $(dirname $0)/..\n")).unwrap();
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
        bundle.bind(&hooks, "/hooks", &["ro"]).set("/hooks", json!({"poststop": [{"path": hook}]}))
    };
    let weaken = |bundle: Bundle| bundle.set("/mounts/6/options", json!(["rbind", "rw"]));
    shows("hook-writable", "hooks.poststop[0].path", sound, weaken, |container| {
        let output = container.run(&[]);
        let is_there = container.bundle.folder.join("mark").exists();
        format!("{} {output}", if is_there { "gained" } else { "the hook is as it was" })
    });
}
