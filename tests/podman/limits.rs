//! --memory, --cpus, --pids-limit and their like: seen in the cgroup's files, and biting.

use std::fs;
use std::path::PathBuf;

use crate::engine::*;
use crate::support::session::session;
use crate::support::{Need, cgroup, child, skip};
use crate::tests;

tests![
    memory_limit_is_in_the_cgroup,
    memory_and_swap_limits_are_in_the_cgroup,
    memory_limit_bites_and_the_kernel_counts_it_there,
    memory_limit_bites_and_podman_sees_the_oom,
    cpus_become_a_quota_that_bites,
    cpu_shares_are_in_the_cgroup,
    cpuset_cpus_bind_the_program,
    pids_limit_is_in_the_cgroup_and_bites,
    blkio_weight_is_in_the_cgroup,
    read_rate_of_a_device_is_in_the_cgroup,
    cgroup_parent_is_where_the_cgroup_lies,
    cgroups_disabled_makes_no_cgroup needs [
        Need::Not("runc", "podman asks only runtimes of runtime_supports_nocgroup to do without"),
    ],
    an_unlimited_container_has_no_memory_limit,
    update_changes_the_limits_of_a_running_container,
    update_refuses_what_the_kernel_refuses_and_changes_nothing,
];

/// A file of the cgroup of a running container: on v1 in the hierarchy of `controller`, else by its v2 name.
#[track_caller]
fn limit(container: &Container, controller: &str, v1: &str, v2: &str) -> String {
    let file = folder_of(container, controller).join(if is_v2() { v2 } else { v1 });
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    text.trim().to_owned()
}

fn is_v2() -> bool {
    PathBuf::from("/sys/fs/cgroup/cgroup.controllers").exists()
}

fn folder_of(container: &Container, controller: &str) -> PathBuf {
    let text = fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
    let wanted = |line: &&str| match is_v2() {
        true => line.starts_with("0::"),
        false => line.split(':').nth(1).is_some_and(|names| names.split(',').any(|name| name == controller)),
    };
    let path = text.lines().find(wanted).and_then(|line| line.splitn(3, ':').nth(2)).unwrap_or_else(|| {
        skip(format!("no cgroup hierarchy with the controller {controller} is mounted"));
    });
    let point = if is_v2() { PathBuf::from("/sys/fs/cgroup") } else { cgroup::v1(controller).unwrap() };
    point.join(path.trim_start_matches('/'))
}

fn memory_limit_is_in_the_cgroup() {
    needs_cgroups();
    let container = Container::sleeper(&["--memory", "64m"]);
    assert_eq!(limit(&container, "memory", "memory.limit_in_bytes", "memory.max"), "67108864");
}

fn memory_and_swap_limits_are_in_the_cgroup() {
    needs_cgroups();
    let options = ["--memory", "64m", "--memory-swap", "96m", "--memory-reservation", "32m"];
    let container = Container::sleeper(&options);
    assert_eq!(limit(&container, "memory", "memory.soft_limit_in_bytes", "memory.low"), "33554432");
    if !folder_of(&container, "memory").join("memory.memsw.limit_in_bytes").exists() && !is_v2() {
        skip("the kernel does not account swap (CONFIG_SWAP, swapaccount)");
    }
    let (v1, v2) = ("100663296", "33554432");
    let expected = if is_v2() { v2 } else { v1 };
    assert_eq!(limit(&container, "memory", "memory.memsw.limit_in_bytes", "memory.swap.max"), expected);
}

/// What the runtime is answerable for: the limit kills the one that exceeds it, in the container's own cgroup.
fn memory_limit_bites_and_the_kernel_counts_it_there() {
    needs_cgroups();
    let container = Container::start(&OOM_LIMIT, &["sh", "-c", "tail /dev/zero; echo after; exec sleep 600"]);
    child::eventually("tail has ended", || container.logs().contains("after"));
    let folder = folder_of(&container, "memory");
    let events = if is_v2() { "memory.events" } else { "memory.oom_control" };
    let text = fs::read_to_string(folder.join(events)).unwrap();
    assert!(text.lines().any(|line| line == "oom_kill 1"), "{text}");
}

/// conmon 2.1.6 writes its mark of an OOM into the folder it was started in, and podman 4.3 looks for it in the
/// container's: so podman starts this container from there. What goes on after the kill gives conmon time to see it.
fn memory_limit_bites_and_podman_sees_the_oom() {
    needs_cgroups();
    if cgroup_manager() == "systemd" {
        skip("with systemd's cgroups podman's monitor misses some OOMs, whatever the runtime");
    }
    let container = Container::create(&OOM_LIMIT, &["sh", "-c", "tail /dev/zero; sleep 2; exit 3"]);
    let config = container.podman(&["inspect"]).ok().json()[0]["StaticDir"].as_str().unwrap().to_owned();
    let mut start = command();
    start.args(["start", "--attach", &container.name]).current_dir(config);
    child::run(&mut start).fails(3, &["Killed"]);
    assert_eq!(container.inspect(".State.OOMKilled"), "true");
}

const OOM_LIMIT: [&str; 4] = ["--memory", "32m", "--memory-swap", "32m"];

fn cpus_become_a_quota_that_bites() {
    needs_cgroups();
    let container = Container::sleeper(&["--cpus", "0.1"]);
    if is_v2() {
        assert_eq!(limit(&container, "cpu", "", "cpu.max"), "10000 100000");
    } else {
        assert_eq!(limit(&container, "cpu", "cpu.cfs_quota_us", ""), "10000");
        assert_eq!(limit(&container, "cpu", "cpu.cfs_period_us", ""), "100000");
    }
    container.exec(&["-d"], &["sh", "-c", "while :; do :; done"]).ok();
    child::eventually("the quota bites", || {
        let stat = limit(&container, "cpu", "cpu.stat", "cpu.stat");
        stat.lines().any(|line| line.strip_prefix("nr_throttled ").is_some_and(|count| count != "0"))
    });
}

fn cpu_shares_are_in_the_cgroup() {
    needs_cgroups();
    let container = Container::sleeper(&["--cpu-shares", "512"]);
    // The curve on which 1024 shares are a weight of 100; runc before 1.3.2 and crun before 1.23 had a line.
    let weight = if session().is_isolate() { "59" } else { "20" };
    assert_eq!(limit(&container, "cpu", "cpu.shares", "cpu.weight"), if is_v2() { weight } else { "512" });
}

fn cpuset_cpus_bind_the_program() {
    needs_cgroups();
    if cgroup::hierarchy_of("cpuset").is_none() {
        skip("the kernel has no controller cpuset (CONFIG_CPUSETS)");
    }
    let container = Container::sleeper(&["--cpuset-cpus", "0", "--cpuset-mems", "0"]);
    assert_eq!(limit(&container, "cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
    assert_eq!(container.sh("grep Cpus_allowed_list /proc/self/status | cut -f2"), "0");
}

fn pids_limit_is_in_the_cgroup_and_bites() {
    needs_cgroups();
    let container = Container::sleeper(&["--pids-limit", "9"]);
    assert_eq!(limit(&container, "pids", "pids.max", "pids.max"), "9");
    let fork =
        container.exec(&[], &["sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done; wait"]);
    assert!(fork.code != 0 && fork.stderr.contains("can't fork"), "{fork}");
}

fn blkio_weight_is_in_the_cgroup() {
    needs_cgroups();
    if is_v2() && !has_weights() {
        skip(
            "the kernel has no io.weight and no io.bfq.weight (CONFIG_BLK_CGROUP_IOCOST, CONFIG_BFQ_GROUP_IOSCHED)",
        );
    }
    let container = Container::sleeper(&["--blkio-weight", "300"]);
    let names = if is_v2() { ["io.bfq.weight", "io.weight"] } else { ["blkio.weight", "blkio.weight"] };
    let folder = folder_of(&container, "blkio");
    let Some(file) = names.map(|name| folder.join(name)).into_iter().find(|file| file.exists()) else {
        skip("the kernel has no weights where podman looks for them (blkio.weight of CFQ; io.weight on v2)")
    };
    let text = fs::read_to_string(&file).unwrap();
    // What of 10..1000 becomes of 1..10000: 1 + (300 - 10) * 9999 / 990, as with runc.
    let wanted = if file.ends_with("io.weight") { "2930" } else { "300" };
    assert!(text.split_whitespace().any(|word| word == wanted), "{}: {text}", file.display());
}

fn read_rate_of_a_device_is_in_the_cgroup() {
    needs_cgroups();
    let Some(device) = block_device() else { skip("the machine shows no block device in /dev") };
    let container = Container::sleeper(&["--device-read-bps", &format!("{device}:1mb")]);
    let folder = folder_of(&container, "blkio");
    let files = ["blkio.throttle.read_bps_device", "io.max"].map(|name| folder.join(name));
    let Some(file) = files.iter().find(|file| file.exists()) else {
        skip("the kernel throttles no block I/O (CONFIG_BLK_DEV_THROTTLING)")
    };
    assert!(fs::read_to_string(file).unwrap().contains("1048576"), "{}", file.display());
}

/// A cgroup below the root shows what files there are.
fn has_weights() -> bool {
    let folders = fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path());
    folders
        .flat_map(|folder| [folder.join("io.weight"), folder.join("io.bfq.weight")])
        .any(|file| file.exists())
}

fn block_device() -> Option<String> {
    let names = fs::read_dir("/sys/block").ok()?.flatten().map(|entry| entry.file_name());
    names.map(|name| format!("/dev/{}", name.to_string_lossy())).find(|path| PathBuf::from(path).exists())
}

fn cgroup_parent_is_where_the_cgroup_lies() {
    needs_cgroups();
    if cgroup_manager() == "systemd" {
        return slice_is_where_the_scope_lies();
    }
    let parent = format!("/{}-parent", session().mark);
    let container = Container::sleeper(&["--cgroup-parent", &parent]);
    let folder = folder_of(&container, "memory");
    assert!(folder.to_string_lossy().contains(&parent), "{}", folder.display());
    drop(container);
    // podman keeps the parent, with the cgroup of its monitors; the container's own must have gone.
    for (point, _) in cgroup::hierarchies() {
        let parent = point.join(parent.trim_start_matches('/'));
        child::eventually("the monitor has ended", || {
            !parent.join("conmon").exists() || fs::remove_dir(parent.join("conmon")).is_ok()
        });
        if parent.exists() {
            fs::remove_dir(&parent).unwrap_or_else(|error| panic!("{}: {error}", parent.display()));
        }
    }
}

/// With systemd podman wants a slice, whose name tells what it lies in.
fn slice_is_where_the_scope_lies() {
    let slice = format!("{}.slice", session().mark.replace('-', "_"));
    let container = Container::sleeper(&["--cgroup-parent", &slice]);
    let folder = folder_of(&container, "memory");
    assert!(folder.to_string_lossy().contains(&format!("/{slice}/libpod-")), "{}", folder.display());
    drop(container);
    child::eventually("the container's scope is gone", || !folder.exists());
    let bus = if is_rootless() { "--user" } else { "--system" };
    child::run(std::process::Command::new("systemctl").args([bus, "stop", &slice])).ok();
}

fn cgroups_disabled_makes_no_cgroup() {
    let container = Container::sleeper(&["--cgroups", "disabled"]);
    let cgroups = fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
    assert!(!cgroups.contains("libpod-"), "{cgroups}");
}

fn an_unlimited_container_has_no_memory_limit() {
    needs_cgroups();
    let container = Container::sleeper(&[]);
    let limit = limit(&container, "memory", "memory.limit_in_bytes", "memory.max");
    assert!(limit == "max" || limit.parse::<u64>().is_ok_and(|bytes| bytes > 1 << 60), "{limit}");
}

/// Ends the calling test as skipped unless this podman can update.
fn needs_update() {
    needs_cgroups();
    if version() < (4, 3) {
        skip("podman update came with podman 4.3");
    }
}

fn update_changes_the_limits_of_a_running_container() {
    needs_update();
    let container = Container::sleeper(&["--memory", "64m", "--memory-swap", "64m", "--pids-limit", "50"]);
    container.podman(&["update", "--memory", "96m", "--memory-swap", "128m", "--cpus", "0.5"]).ok();
    assert_eq!(limit(&container, "memory", "memory.limit_in_bytes", "memory.max"), "100663296");
    match is_v2() {
        true => assert_eq!(limit(&container, "cpu", "", "cpu.max"), "50000 100000"),
        false => assert_eq!(limit(&container, "cpu", "cpu.cfs_quota_us", ""), "50000"),
    }
    assert_eq!(limit(&container, "pids", "pids.max", "pids.max"), "50");
    assert_eq!(container.sh("echo still there"), "still there");
}

fn update_refuses_what_the_kernel_refuses_and_changes_nothing() {
    needs_update();
    let container = Container::sleeper(&["--memory", "64m", "--memory-swap", "64m"]);
    let output =
        container.podman(&["update", "--memory", "80m", "--memory-swap", "80m", "--cpuset-cpus", "4095"]);
    assert!(output.code != 0 && output.stderr.contains("linux.resources.cpu.cpus"), "{output}");
    assert_eq!(limit(&container, "memory", "memory.limit_in_bytes", "memory.max"), "67108864");
}
