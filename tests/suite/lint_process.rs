//! `isolate lint`: what capabilities, privileges, groups, system calls and missing limits give an attacker.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use super::lint::with_net_admin_it_changes_the_hosts_network;
use crate::support::weakness::{run, shows};
use crate::support::*;
use crate::tests;

tests![
    with_sys_admin_it_writes_settings_of_the_kernel needs [Need::Isolate, Need::Root],
    with_sys_ptrace_it_reads_files_of_the_host needs [Need::Isolate, Need::Root],
    with_sys_module_the_kernel_reads_its_module needs [Need::Isolate, Need::Root, Need::File("/proc/modules")],
    with_dac_read_search_it_reads_a_file_outside needs [Need::Isolate, Need::Root],
    with_sys_rawio_it_talks_to_the_hardware needs [Need::Isolate, Need::Root],
    with_mknod_it_makes_a_disk needs [Need::Isolate, Need::Root, Need::Cgroup("devices")],
    with_net_admin_it_changes_the_hosts_network needs [Need::Isolate, Need::Root, Need::Program("ip")],
    with_net_raw_it_reads_packets needs [Need::Isolate, Need::Root],
    with_bpf_the_kernel_reads_its_program
        needs [Need::Isolate, Need::Root, Need::File("/proc/sys/kernel/unprivileged_bpf_disabled")],
    with_perfmon_it_measures_everybody
        needs [Need::Isolate, Need::Root, Need::File("/proc/sys/kernel/perf_event_paranoid")],
    with_syslog_it_reads_the_kernels_log needs [Need::Isolate, Need::Root],
    with_sys_time_it_sets_the_clock needs [Need::Isolate, Need::Root],
    with_sys_boot_it_loads_a_kernel needs [Need::Isolate, Need::Root, Need::File("/sys/kernel/kexec_loaded")],
    with_sys_resource_it_raises_its_limits needs [Need::Isolate, Need::Root, Need::Capability("CAP_SYS_RESOURCE", 24)],
    ambient_capabilities_are_any_programs needs [Need::Isolate, Need::Root],
    inheritable_capabilities_come_back_by_a_file needs [Need::Isolate, Need::Root],
    with_new_privileges_a_user_becomes_root needs [Need::Isolate, Need::Root],
    a_group_opens_what_it_may needs [Need::Isolate, Need::Root],
    without_a_label_nothing_confines needs [Need::Isolate, Need::Root, Need::File("/sys/kernel/security/apparmor/profiles")],
    without_a_filter_calls_are_open needs [Need::Isolate],
    with_a_default_of_allow_calls_that_nobody_named_are_open needs [Need::Isolate],
    dangerous_calls_that_are_allowed_reach_the_kernel needs [Need::Isolate],
    devices_that_are_all_allowed_are_open needs [Need::Isolate, Need::Root, Need::Cgroup("devices")],
    a_disk_is_read_as_it_is needs [Need::Isolate, Need::Root, Need::Cgroup("devices")],
    without_a_limit_processes_have_no_end needs [Need::Isolate, Need::Cgroup("pids")],
    without_a_limit_memory_has_no_end needs [Need::Isolate, Need::Cgroup("memory")],
];

const PERMITTED: &str = "process.capabilities.permitted";

fn adding(name: &'static str) -> impl Fn(Bundle) -> Bundle {
    move |bundle| bundle.config(|json| config::add_capabilities(json, &[name]))
}

/// A bundle whose program is the attacker.
fn attack(words: &[&str]) -> Bundle {
    attacker::bring(Bundle::new(&[&[attacker::PATH], words].concat()))
}

/// One system call whose answer is another than `refusal` when it is gained.
fn answered(refusal: &'static str) -> impl Fn(&Container) -> String {
    move |container| {
        let output = container.run(&[]).ok();
        match output.text() == refusal {
            true => format!("refused: {output}"),
            false => format!("gained: {output}"),
        }
    }
}

fn with_sys_admin_it_writes_settings_of_the_kernel() {
    // Opened for writing, and left as it is.
    let script =
        "mkdir /tmp/p && mount -t proc proc /tmp/p && ( : >> /tmp/p/sys/kernel/core_pattern ) && echo gained";
    shows("cap-sys-admin", PERMITTED, || Bundle::shell(script), adding("CAP_SYS_ADMIN"), run);
}

fn with_sys_ptrace_it_reads_files_of_the_host() {
    let secret = session().folder.join(session::unique("secret-"));
    fs::write(&secret, "gained").unwrap();
    let script = format!("cat /proc/{}/root{}", std::process::id(), secret.display());
    let sound = || Bundle::shell(&script).config(config::share_pid_namespace);
    shows("cap-sys-ptrace", PERMITTED, sound, adding("CAP_SYS_PTRACE"), run);
}

fn with_sys_module_the_kernel_reads_its_module() {
    let sound = || attack(&["call", "init_module", "x", "1", "x"]);
    shows("cap-sys-module", PERMITTED, sound, adding("CAP_SYS_MODULE"), answered("EPERM"));
}

fn with_dac_read_search_it_reads_a_file_outside() {
    let sound = || {
        let bundle = attack(&[]);
        let secret = bundle.host_folder("host").join("secret");
        fs::write(&secret, "a secret").unwrap();
        let Some(handle) = deeds::handle_of(&secret) else { skip("this file system has no handles") };
        bundle.set("/process/args", json!([attacker::PATH, "open-by-handle", handle]))
    };
    shows("cap-dac-read-search", PERMITTED, sound, adding("CAP_DAC_READ_SEARCH"), run);
}

fn with_sys_rawio_it_talks_to_the_hardware() {
    let sound = || attack(&["call", "iopl", "3"]);
    shows("cap-sys-rawio", PERMITTED, sound, adding("CAP_SYS_RAWIO"), |container| {
        let output = container.run(&[]).ok();
        match output.text() {
            "ENOSYS" => skip("this kernel has no I/O ports for programs (CONFIG_X86_IOPL_IOPERM)"),
            "0" => "gained".to_owned(),
            other => other.to_owned(),
        }
    });
}

/// A block device that this machine lets its root open, as (major, minor).
fn disk() -> (i64, i64) {
    let disks = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let numbers = disks.map(|entry| entry.path()).find_map(|path| {
        fs::File::open(std::path::Path::new("/dev").join(path.file_name()?)).ok()?;
        let text = fs::read_to_string(path.join("dev")).ok()?;
        let (major, minor) = text.trim().split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    });
    numbers.unwrap_or_else(|| skip("this machine has no block device that its root may open"))
}

const READ_DISK: &str = "dd if=/dev/disk of=/dev/null bs=512 count=1 2>/dev/null && echo gained";

fn make_and_read_disk() -> Bundle {
    let (major, minor) = disk();
    Bundle::shell(&format!("mknod /dev/disk b {major} {minor}; {READ_DISK}"))
}

fn with_mknod_it_makes_a_disk() {
    let sound = || make_and_read_disk().limit("devices", json!([{"allow": true, "access": "rwm"}]));
    shows("cap-mknod", PERMITTED, sound, adding("CAP_MKNOD"), run);
}

fn devices_that_are_all_allowed_are_open() {
    let sound = || adding("CAP_MKNOD")(make_and_read_disk());
    let weaken = |bundle: Bundle| {
        bundle.limit("devices", json!([{"allow": false, "access": "rwm"}, {"allow": true, "access": "rwm"}]))
    };
    shows("devices-all", "linux.resources.devices[1]", sound, weaken, run);
}

fn a_disk_is_read_as_it_is() {
    let (major, minor) = disk();
    let weaken = |bundle: Bundle| {
        let device = json!({"path": "/dev/disk", "type": "b", "major": major, "minor": minor});
        let rule = json!({"allow": true, "type": "b", "major": major, "minor": minor, "access": "r"});
        bundle.set("/linux/devices", json!([device])).limit("devices", json!([rule]))
    };
    shows("block-device", "linux.devices[0]", || Bundle::shell(READ_DISK), weaken, run);
}

fn with_net_raw_it_reads_packets() {
    // AF_PACKET, SOCK_RAW, all protocols.
    let sound = || {
        attack(&["call", "socket", "17", "3", "768"]).config(|json| config::remove_namespace(json, "network"))
    };
    shows("cap-net-raw", PERMITTED, sound, adding("CAP_NET_RAW"), answered("EPERM"));
}

fn with_bpf_the_kernel_reads_its_program() {
    // BPF_BTF_LOAD of nothing.
    shows(
        "cap-bpf",
        PERMITTED,
        || attack(&["call", "bpf", "18", "x", "0"]),
        adding("CAP_BPF"),
        answered("EPERM"),
    );
}

fn with_perfmon_it_measures_everybody() {
    let paranoid = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").unwrap();
    if paranoid.trim().parse().is_ok_and(|level: i32| level <= 0) {
        skip("this host lets everybody measure (kernel.perf_event_paranoid)");
    }
    shows("cap-perfmon", PERMITTED, || attack(&["measure-all"]), adding("CAP_PERFMON"), run);
}

fn with_syslog_it_reads_the_kernels_log() {
    // SYSLOG_ACTION_SIZE_UNREAD.
    shows(
        "cap-syslog",
        PERMITTED,
        || attack(&["call", "syslog", "9", "0", "0"]),
        adding("CAP_SYSLOG"),
        answered("EPERM"),
    );
}

fn with_sys_time_it_sets_the_clock() {
    shows("cap-sys-time", PERMITTED, || attack(&["set-clock"]), adding("CAP_SYS_TIME"), run);
}

fn with_sys_boot_it_loads_a_kernel() {
    // With a flag that there is not, so that nothing is loaded.
    let sound = || attack(&["call", "kexec_load", "0", "0", "0", "256"]);
    shows("cap-sys-boot", PERMITTED, sound, adding("CAP_SYS_BOOT"), answered("EPERM"));
}

fn with_sys_resource_it_raises_its_limits() {
    let sound = || Bundle::shell("ulimit -n 2000 && echo gained");
    shows("cap-sys-resource", PERMITTED, sound, adding("CAP_SYS_RESOURCE"), run);
}

const HAS_KILL: &str = "CapEff /proc/self/status | grep -q '20$' && echo gained";

fn as_user(bundle: Bundle) -> Bundle {
    bundle.set("/process/user", json!({"uid": 1000, "gid": 1000}))
}

fn ambient_capabilities_are_any_programs() {
    let kill = json!(["CAP_KILL"]);
    let sound = || {
        as_user(Bundle::shell(&format!("grep {HAS_KILL}")))
            .set("/process/capabilities/inheritable", kill.clone())
    };
    let weaken = |bundle: Bundle| bundle.set("/process/capabilities/ambient", kill.clone());
    shows("ambient-capabilities", "process.capabilities.ambient", sound, weaken, run);
}

fn inheritable_capabilities_come_back_by_a_file() {
    let sound = || {
        let bundle = as_user(Bundle::shell(&format!("/usr/bin/grep {HAS_KILL}")));
        let program = bundle.rootfs().join("usr/bin/grep");
        child::while_nothing_is_spawned(|| fs::copy(bundle.rootfs().join("bin/busybox"), &program)).unwrap();
        // struct vfs_cap_data, version 2: effective, nothing permitted, CAP_KILL inheritable.
        let words: [u32; 5] = [0x0200_0001, 0, 1 << 5, 0, 0];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        if let Err(error) = xattr::set(&program, "security.capability", &bytes) {
            skip(format!("this file system keeps no capabilities of files: {error}"));
        }
        bundle
    };
    let weaken = |bundle: Bundle| bundle.set("/process/capabilities/inheritable", json!(["CAP_KILL"]));
    shows("inheritable-capabilities", "process.capabilities.inheritable", sound, weaken, run);
}

/// The attacker as a set-user-id program of root, in `folder`.
fn set_user_id_program(folder: &std::path::Path) {
    let program = folder.join("attacker");
    child::while_nothing_is_spawned(|| fs::copy(std::env::current_exe().unwrap(), &program)).unwrap();
    fs::set_permissions(program, fs::Permissions::from_mode(0o4755)).unwrap();
}

fn with_new_privileges_a_user_becomes_root() {
    let sound = || {
        let bundle =
            as_user(Bundle::new(&[attacker::PATH, "who"])).set("/process/noNewPrivileges", json!(true));
        set_user_id_program(&bundle.rootfs());
        bundle
    };
    shows(
        "new-privileges",
        "process.noNewPrivileges",
        sound,
        |bundle| bundle.unset("/process/noNewPrivileges"),
        run,
    );
}

/// The same, bound into the container.
pub fn a_bound_set_user_id_program(options: &[&str]) -> Bundle {
    let bundle = as_user(Bundle::new(&[attacker::PATH, "who"]));
    let volume = bundle.host_folder("vol");
    set_user_id_program(&volume);
    bundle.bind(&volume.join("attacker"), attacker::PATH, options)
}

fn a_group_opens_what_it_may() {
    let sound = || {
        let bundle = as_user(Bundle::shell("cat /secret"));
        let secret = bundle.host_folder("host").join("secret");
        fs::write(&secret, "gained").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o640)).unwrap();
        bundle.bind(&secret, "/secret", &["ro"])
    };
    let weaken = |bundle: Bundle| bundle.set("/process/user/additionalGids", json!([0]));
    shows("powerful-group", "process.user.additionalGids[0]", sound, weaken, run);
}

fn without_a_label_nothing_confines() {
    let profiles = fs::read_to_string("/sys/kernel/security/apparmor/profiles").unwrap();
    let Some(profile) = profiles.lines().find_map(|line| line.strip_suffix(" (enforce)")) else {
        skip("no profile of AppArmor is loaded");
    };
    let sound = || {
        let script = "[ \"$(cat /proc/self/attr/current)\" != unconfined ] || echo gained";
        Bundle::shell(script).set("/process/apparmorProfile", json!(profile))
    };
    let weaken = |bundle: Bundle| bundle.unset("/process/apparmorProfile");
    shows("no-label", "process.apparmorProfile", sound, weaken, run);
}

/// A filter that answers ENOSYS to `names` and allows the rest.
fn all_but(names: &[&str]) -> Value {
    let rule = json!({"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": libc::ENOSYS});
    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]})
}

fn without_a_filter_calls_are_open() {
    // KEYCTL_GET_KEYRING_ID of the session's.
    let sound = || attack(&["call", "keyctl", "0", "-3", "0"]).set("/linux/seccomp", all_but(&["keyctl"]));
    shows("no-seccomp", "linux.seccomp", sound, |bundle| bundle.unset("/linux/seccomp"), answered("ENOSYS"));
}

fn with_a_default_of_allow_calls_that_nobody_named_are_open() {
    let sound = || {
        attack(&["call", "kcmp", "1", "1", "0"]).set("/linux/seccomp", isolate::tenant::seccomp::profile())
    };
    let weaken = |bundle: Bundle| bundle.set("/linux/seccomp/defaultAction", json!("SCMP_ACT_ALLOW"));
    let weaken = |bundle| weaken(bundle).unset("/linux/seccomp/defaultErrnoRet");
    let at = "linux.seccomp.defaultAction";
    shows("seccomp-default-allow", at, sound, weaken, answered("ENOSYS"));
}

fn dangerous_calls_that_are_allowed_reach_the_kernel() {
    let calls: [(&str, &[&str], &[&str]); 7] = [
        ("call-keyring", &["keyctl", "add_key", "request_key"], &["call", "keyctl", "0", "-3", "0"]),
        ("call-bpf", &["bpf"], &["call", "bpf", "18", "x", "0"]),
        ("call-userfaultfd", &["userfaultfd"], &["call", "userfaultfd", "1"]),
        // PTRACE_TRACEME.
        ("call-ptrace", &["ptrace", "process_vm_writev"], &["call", "ptrace", "0"]),
        // CLONE_NEWUSER.
        ("call-user-namespace", &["unshare", "clone3"], &["call", "unshare", "268435456"]),
        (
            "call-io-uring",
            &["io_uring_setup", "io_uring_enter", "io_uring_register"],
            &["call", "io_uring_setup", "1", "0"],
        ),
        ("call-perf", &["perf_event_open"], &["call", "perf_event_open", "0", "0", "0", "0", "0"]),
    ];
    for (rule, names, words) in calls {
        // clone with CLONE_NEWUSER is refused as well, but programs need clone.
        let clone = json!({"names": ["clone"], "action": "SCMP_ACT_ERRNO", "args": [
            {"index": 0, "value": libc::CLONE_NEWUSER, "valueTwo": libc::CLONE_NEWUSER, "op": "SCMP_CMP_MASKED_EQ"}]});
        let sound = || {
            let mut filter = all_but(names);
            filter["syscalls"].as_array_mut().unwrap().push(clone.clone());
            attack(words).set("/linux/seccomp", filter)
        };
        let weaken = |bundle: Bundle| bundle.set("/linux/seccomp", all_but(&["acct"]));
        shows(rule, "linux.seccomp.syscalls", sound, weaken, answered("ENOSYS"));
    }
    let sound = || {
        let rule = json!({"names": ["ioctl"], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::ENOSYS, "args": [
            {"index": 1, "value": 0xffff_ffffu32, "valueTwo": libc::TIOCSTI, "op": "SCMP_CMP_MASKED_EQ"}]});
        let filter = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]});
        attack(&["type-into-terminal"]).set("/linux/seccomp", filter)
    };
    let weaken = |bundle: Bundle| bundle.set("/linux/seccomp", all_but(&["acct"]));
    shows("call-tiocsti", "linux.seccomp.syscalls", sound, weaken, |container| {
        let output = container.run(&[]).ok();
        // Standard input is no terminal here: it is the terminal's driver that says so.
        if output.stdout.contains("ENOSYS") { output.to_string() } else { format!("gained: {output}") }
    });
}

fn without_a_limit_processes_have_no_end() {
    let script = "i=0; while [ $i -lt 60 ]; do sleep 3 & i=$((i + 1)); done; echo gained";
    let sound = || Bundle::shell(script).limit("pids", json!({"limit": 20}));
    shows(
        "no-pids-limit",
        "linux.resources.pids.limit",
        sound,
        |bundle| bundle.unset("/linux/resources/pids"),
        run,
    );
}

fn without_a_limit_memory_has_no_end() {
    let script = "awk 'BEGIN { s = \"x\"; while (length(s) < 40000000) s = s s; print \"gained\" }'";
    let sound = || Bundle::shell(script).limit("memory", json!({"limit": 16 << 20, "swap": 16 << 20}));
    let weaken = |bundle: Bundle| bundle.unset("/linux/resources/memory");
    shows("no-memory-limit", "linux.resources.memory.limit", sound, weaken, run);
}
