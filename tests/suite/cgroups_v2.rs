//! What only version 2 has: its files, controllers that are handed down from folder to folder, device filters as
//! programs.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use crate::support::child::eventually;
use crate::support::*;
use crate::tests;

tests![
    swap_is_written_without_the_memory needs [Need::CgroupV2, Need::Cgroup("memory")],
    a_file_of_unified_is_written needs [Need::CgroupV2, Need::Cgroup("memory")],
    a_file_of_a_controller_that_is_not_there_is_refused needs [Need::CgroupV2, Need::Root],
    every_controller_is_handed_down_to_the_container needs [Need::CgroupV2, Need::Cgroup("memory")],
    a_limit_below_a_folder_with_processes_names_controller_and_folder needs [Need::CgroupV2, Need::Cgroup("memory")],
    no_limit_below_a_folder_with_processes_is_fine needs [Need::CgroupV2, Need::Cgroup("memory")],
    below_a_threaded_folder_processes_can_be_limited_in_number needs [Need::CgroupV2, Need::Cgroup("pids")],
    below_a_threaded_folder_memory_is_refused needs [Need::CgroupV2, Need::Cgroup("memory"), Need::Isolate],
    device_rules_hold_for_exec_and_for_cgroups_below needs [Need::CgroupV2, Need::Cgroup("devices"), Need::File("/dev/fuse")],
    a_filter_above_still_counts needs [Need::CgroupV2, Need::Cgroup("devices"), Need::File("/dev/fuse")],
    a_partly_denied_device_is_not_opened_for_both needs [Need::CgroupV2, Need::Cgroup("devices"), Need::File("/dev/fuse")],
    block_io_throttles_are_one_line needs [Need::CgroupV2, Need::Cgroup("io")],
];

fn below(path: &str) -> PathBuf {
    PathBuf::from("/sys/fs/cgroup").join(path.trim_start_matches('/'))
}

fn swap_is_written_without_the_memory() {
    let memory = json!({"limit": 67_108_864, "swap": 134_217_728});
    let container = Bundle::sleeper().limit("memory", memory).create();
    assert_eq!(container.cgroup("memory", "memory.max"), "67108864");
    let swap = below(&container.bundle.cgroups_path()).join("memory.swap.max");
    if swap.exists() {
        assert_eq!(fs::read_to_string(swap).unwrap().trim(), "67108864");
    }
}

fn a_file_of_unified_is_written() {
    let container =
        Bundle::sleeper().limit("unified", json!({"memory.high": "10000000", "pids.max": "77"})).create();
    assert_eq!(container.cgroup("memory", "memory.high"), "9998336");
    assert_eq!(container.cgroup("pids", "pids.max"), "77");
}

fn a_file_of_a_controller_that_is_not_there_is_refused() {
    Bundle::nothing().limit("unified", json!({"nonesuch.max": "1"})).refused(&["nonesuch"]);
}

fn every_controller_is_handed_down_to_the_container() {
    let container = Bundle::sleeper().create();
    let offered = cgroup::offered(&cgroup::top().unwrap());
    assert_eq!(container.cgroup("memory", "cgroup.controllers"), offered.trim());
}

/// A folder of this run with a process of ours in it, which goes with the value.
struct Occupied {
    folder: PathBuf,
    path: String,
    holder: std::process::Child,
}

impl Occupied {
    fn new() -> Occupied {
        let path = cgroup::path_of(&session::unique("occupied"));
        let folder = below(&path);
        fs::create_dir_all(&folder).unwrap();
        let holder = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        fs::write(folder.join("cgroup.procs"), holder.id().to_string()).unwrap();
        Occupied { folder, path, holder }
    }
}

impl Drop for Occupied {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        eventually("the folder is empty", || fs::remove_dir(&self.folder).is_ok() || !self.folder.exists());
    }
}

fn a_limit_below_a_folder_with_processes_names_controller_and_folder() {
    let occupied = Occupied::new();
    let bundle = Bundle::nothing().set("/linux/cgroupsPath", json!(format!("{}/inner", occupied.path)));
    let bundle = bundle.limit("memory", json!({"limit": 33_554_432}));
    let output = bundle.container().create(&[]).fails(1, &["memory", &occupied.path]);
    if session().is_isolate() {
        assert!(output.stderr.contains("linux.resources.memory.limit"), "{output}");
    }
}

fn no_limit_below_a_folder_with_processes_is_fine() {
    let occupied = Occupied::new();
    let path = format!("{}/inner", occupied.path);
    let container = Bundle::sleeper().set("/linux/cgroupsPath", json!(path)).start();
    assert_eq!(cgroup::of_process(container.pid(), "memory"), path);
}

/// A folder whose parent is threaded.
fn threaded() -> String {
    let top = cgroup::path_of(&session::unique("domain"));
    let inner = below(&top).join("threaded");
    fs::create_dir_all(&inner).unwrap();
    fs::write(inner.join("cgroup.type"), "threaded").unwrap();
    format!("{top}/threaded/box")
}

fn remove(path: &str) {
    let folder = below(path);
    for folder in folder.ancestors().skip(1).take(2) {
        let _ = fs::remove_dir(folder);
    }
}

fn below_a_threaded_folder_processes_can_be_limited_in_number() {
    let path = threaded();
    let bundle = Bundle::sleeper().set("/linux/cgroupsPath", json!(path)).limit("pids", json!({"limit": 50}));
    let container = bundle.container();
    let output = container.create(&[]);
    // KERNEL: a process can be in a threaded folder with all its threads, but not be born in it.
    if output.code == 0 {
        assert_eq!(container.cgroup("pids", "pids.max"), "50");
        assert_eq!(container.cgroup("pids", "cgroup.type"), "threaded");
        container.delete_by_force().ok();
    }
    drop(container);
    remove(&path);
    output.ok();
}

fn below_a_threaded_folder_memory_is_refused() {
    let path = threaded();
    let bundle = Bundle::nothing().set("/linux/cgroupsPath", json!(path));
    let container = bundle.limit("memory", json!({"limit": 33_554_432})).container();
    let output = container.create(&[]);
    drop(container);
    remove(&path);
    output.fails(1, &["memory", "threaded"]);
}

fn fuse(bundle: Bundle, rules: serde_json::Value) -> Bundle {
    bundle.config(|json| config::add_capabilities(json, &["CAP_MKNOD"])).limit("devices", rules)
}

fn device_rules_hold_for_exec_and_for_cgroups_below() {
    let container = fuse(Bundle::sleeper(), json!([{"allow": false, "access": "rwm"}])).start();
    let script =
        "mknod /tmp/k c 10 229; (: < /tmp/k) 2>/dev/null || echo refused; : < /dev/null && echo null";
    assert_eq!(container.sh(script), "refused\nnull");
    let inner = below(&container.bundle.cgroups_path()).join("inner");
    fs::create_dir(&inner).unwrap();
    let output = container.exec_with(&["--cgroup", "inner"], &["/bin/sh", "-c", script]);
    assert_eq!(output.ok().text(), "refused\nnull");
}

fn a_filter_above_still_counts() {
    let outer = Bundle::sleeper().create();
    let path = format!("{}/inner", outer.bundle.cgroups_path());
    let everything = json!([{"allow": true, "access": "rwm"}]);
    let script = "mknod /tmp/k c 10 229; (: < /tmp/k) 2>/dev/null || echo refused";
    let inner = fuse(Bundle::shell(script).set("/linux/cgroupsPath", json!(path)), everything);
    assert_eq!(inner.output(), "refused");
}

fn a_partly_denied_device_is_not_opened_for_both() {
    let rules = json!([
        {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rwm"},
        {"allow": false, "type": "c", "major": 10, "minor": 229, "access": "w"}
    ]);
    let script = "mknod /tmp/k c 10 229; : < /tmp/k && echo read; (: <> /tmp/k) 2>/dev/null || echo refused";
    assert_eq!(fuse(Bundle::shell(script), rules).output(), "read\nrefused");
}

fn block_io_throttles_are_one_line() {
    let disks = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let numbers = disks.filter_map(|disk| fs::read_to_string(disk.path().join("dev")).ok());
    let Some(disk) = numbers.map(|text| text.trim().to_owned()).next() else {
        skip("the machine has no block device")
    };
    let (major, minor) = disk.split_once(':').unwrap();
    let (major, minor): (u32, u32) = (major.parse().unwrap(), minor.parse().unwrap());
    let rate = |rate: u64| json!([{"major": major, "minor": minor, "rate": rate}]);
    let block_io = json!({"throttleReadBpsDevice": rate(1_000_000), "throttleWriteIOPSDevice": rate(400)});
    let container = Bundle::sleeper().limit("blockIO", block_io).create();
    assert_eq!(container.cgroup("io", "io.max"), format!("{disk} rbps=1000000 wbps=max riops=max wiops=400"));
}
