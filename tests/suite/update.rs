//! update: new limits for a container that stands, all that are asked for or none.

use std::fs;
use std::path::PathBuf;
use std::thread;

use serde_json::{Value, json};

use crate::support::child::eventually;
use crate::support::*;
use crate::tests;

tests![
    every_option_reaches_the_cgroup needs [Need::Cgroup("memory"), Need::Cgroup("cpu"), Need::Cgroup("pids")],
    processors_and_memory_nodes_reach_the_cgroup needs [Need::Cgroup("cpuset")],
    what_is_not_named_stays needs [Need::Cgroup("memory"), Need::Cgroup("cpu")],
    a_new_period_keeps_the_quota needs [Need::Cgroup("cpu"), Need::Not("runc", "1.1 drops the quota")],
    limits_come_from_a_file_or_standard_input needs [Need::Cgroup("memory")],
    zeroes_and_nulls_change_nothing needs [Need::Cgroup("memory")],
    memory_and_swap_grow_and_shrink_together needs [Need::Cgroup("memory"), Need::Swap],
    swap_alone_counts_from_the_limit_that_is_there needs [Need::Cgroup("memory"), Need::Swap],
    limits_are_lifted_by_minus_one needs [Need::Cgroup("memory")],
    a_created_container_can_be_updated needs [Need::Cgroup("pids")],
    a_paused_container_can_be_updated_and_stays_paused needs [Need::Cgroup("freezer"), Need::Cgroup("pids")],
    a_stopped_container_cannot_be_updated needs [Need::Cgroup("pids")],
    an_unknown_container_cannot_be_updated,
    a_limit_below_what_is_in_use_is_refused_when_asked_to_look needs [Need::Cgroup("memory")],
    one_refused_limit_leaves_all_others_as_they_were
        needs [Need::Cgroup("memory"), Need::Cgroup("cpu"), Need::Cgroup("cpuset"), Need::Isolate],
    every_fault_of_the_resources_is_named_at_once needs [Need::Isolate],
    a_new_limit_bites needs [Need::Cgroup("pids")],
    device_rules_that_hold_already_are_left_alone needs [Need::CgroupV1("devices"), Need::Isolate],
    new_device_rules_replace_the_old_ones needs [Need::CgroupV1("devices"), Need::Isolate],
    new_device_rules_take_effect_at_once needs [Need::Cgroup("devices"), Need::File("/dev/fuse"), Need::Isolate],
    a_refused_update_leaves_the_devices_as_they_were
        needs [Need::Root, Need::Cgroup("devices"), Need::Cgroup("cpuset"), Need::Isolate],
    an_update_whose_state_cannot_be_written_changes_nothing needs [Need::Root, Need::CgroupV1("pids"), Need::Isolate],
    updates_at_the_same_time_never_mix
        needs [Need::Cgroup("memory"), Need::Cgroup("cpu"), Need::Cgroup("cpuset"), Need::Isolate],
    an_update_that_was_killed_leaves_nothing_half_done
        needs [Need::Cgroup("memory"), Need::Cgroup("cpu"), Need::Cgroup("cpuset"), Need::Isolate],
    without_a_cgroup_the_missing_delegation_is_named needs [Need::OrdinaryUser, Need::NoCgroup, Need::Isolate],
];

#[track_caller]
fn update(container: &Container, options: &[&str]) -> Output {
    let mut command = container.command(&["update"]);
    child::run(command.args(options).arg(container.id()))
}

/// `update --resources -`.
#[track_caller]
fn update_by(container: &Container, resources: &Value) -> Output {
    let file = container.bundle.folder.join(session::unique("resources"));
    fs::write(&file, resources.to_string()).unwrap();
    let mut command = container.command(&["update", "-r", "-"]);
    let input = fs::File::open(file).unwrap();
    Run::start_with(command.arg(container.id()), input.into()).finish()
}

fn memory(container: &Container) -> String {
    setting(container, "memory.limit_in_bytes")
}

/// What a limit is, by its file of version 1. On version 2 that is read from the file that stands for it, and shown as
/// version 1 would; a weight stays a weight.
fn setting(container: &Container, file: &str) -> String {
    let controller = file.split_once('.').unwrap().0;
    if !cgroup::is_v2() {
        return container.cgroup(controller, file);
    }
    let read = |name: &str| container.cgroup(controller, name);
    let word = |index: usize| read("cpu.max").split(' ').nth(index).unwrap().replace("max", "-1");
    match file {
        "memory.limit_in_bytes" => read("memory.max"),
        "memory.soft_limit_in_bytes" => read("memory.low"),
        "memory.memsw.limit_in_bytes" => {
            let bytes = |name: &str| read(name).parse::<u64>().unwrap();
            (bytes("memory.max") + bytes("memory.swap.max")).to_string()
        }
        "cpu.cfs_quota_us" => word(0),
        "cpu.cfs_period_us" => word(1),
        "cpu.cfs_burst_us" => read("cpu.max.burst"),
        "cpu.shares" => format!("weight {}", read("cpu.weight")),
        other => read(other),
    }
}

/// `shares` as [`setting`] shows them.
fn shares(shares: &str, weight: &str) -> String {
    if cgroup::is_v2() { format!("weight {weight}") } else { shares.to_owned() }
}

/// Whether the container's cgroup has this file.
fn has(container: &Container, file: &str) -> bool {
    cgroup::folder("cpu", &container.bundle.cgroups_path()).join(file).exists()
}

fn every_option_reaches_the_cgroup() {
    let container = Bundle::sleeper().start();
    let options = [
        "--memory",
        "64m",
        "--memory-reservation=32M",
        "--cpu-period",
        "50000",
        "--cpu-quota",
        "20000",
        "--cpu-share",
        "300",
        "--pids-limit",
        "77",
    ];
    let output = update(&container, &options).ok();
    assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output}");
    assert_eq!(memory(&container), "67108864");
    assert_eq!(setting(&container, "memory.soft_limit_in_bytes"), "33554432");
    assert_eq!(setting(&container, "cpu.cfs_period_us"), "50000");
    assert_eq!(setting(&container, "cpu.cfs_quota_us"), "20000");
    assert_eq!(setting(&container, "cpu.shares"), shares("300", "39"));
    assert_eq!(container.cgroup("pids", "pids.max"), "77");
    if (has(&container, "cpu.cfs_burst_us") || has(&container, "cpu.max.burst")) && !is_runc() {
        update(&container, &["--cpu-burst", "1000"]).ok();
        assert_eq!(setting(&container, "cpu.cfs_burst_us"), "1000");
    }
    if has(&container, "cpu.idle") && !is_runc() {
        update(&container, &["--cpu-idle=1"]).ok();
        assert_eq!(container.cgroup("cpu", "cpu.idle"), "1");
    }
}

fn processors_and_memory_nodes_reach_the_cgroup() {
    let container = Bundle::sleeper().start();
    update(&container, &["--cpuset-cpus", "0", "--cpuset-mems", "0"]).ok();
    assert_eq!(container.cgroup("cpuset", "cpuset.cpus"), "0");
    assert_eq!(container.cgroup("cpuset", "cpuset.mems"), "0");
}

fn is_runc() -> bool {
    session().flavour() == "runc"
}

fn what_is_not_named_stays() {
    let limits = json!({"limit": 67_108_864, "reservation": 33_554_432});
    let container = Bundle::sleeper().limit("memory", limits).limit("cpu", json!({"shares": 200})).start();
    update(&container, &["--memory", "96m"]).ok();
    assert_eq!(memory(&container), "100663296");
    assert_eq!(setting(&container, "memory.soft_limit_in_bytes"), "33554432");
    assert_eq!(setting(&container, "cpu.shares"), shares("200", "29"));
    assert_eq!(container.status(), "running");
}

fn a_new_period_keeps_the_quota() {
    let container = Bundle::sleeper().limit("cpu", json!({"quota": 20_000, "period": 50_000})).start();
    update(&container, &["--cpu-period", "40000"]).ok();
    assert_eq!(setting(&container, "cpu.cfs_quota_us"), "20000");
    assert_eq!(setting(&container, "cpu.cfs_period_us"), "40000");
    update(&container, &["--cpu-quota", "10000"]).ok();
    assert_eq!(setting(&container, "cpu.cfs_period_us"), "40000");
}

fn limits_come_from_a_file_or_standard_input() {
    let container = Bundle::sleeper().start();
    let file = container.bundle.folder.join("resources.json");
    fs::write(&file, r#"{"memory": {"limit": 67108864}, "pids": {"limit": 55}}"#).unwrap();
    update(&container, &["--resources", file.to_str().unwrap()]).ok();
    assert_eq!(
        (memory(&container).as_str(), container.cgroup("pids", "pids.max").as_str()),
        ("67108864", "55")
    );
    update_by(&container, &json!({"memory": {"limit": 100_663_296}})).ok();
    assert_eq!(
        (memory(&container).as_str(), container.cgroup("pids", "pids.max").as_str()),
        ("100663296", "55")
    );
}

/// What `runc update --help` shows as a template, and what engines send for a container without limits.
fn zeroes_and_nulls_change_nothing() {
    let container = Bundle::sleeper()
        .limit("memory", json!({"limit": 67_108_864}))
        .limit("pids", json!({"limit": 9}))
        .start();
    let nothing = json!({
        "memory": {"limit": 0, "reservation": 0, "swap": 0, "kernel": 0},
        "cpu": {"shares": 0, "quota": 0, "period": 0, "realtimeRuntime": 0, "realtimePeriod": 0, "cpus": "", "mems": ""},
        "blockIO": {"weight": 0}, "hugepageLimits": null, "network": null
    });
    update_by(&container, &nothing).ok();
    assert_eq!(
        (memory(&container).as_str(), container.cgroup("pids", "pids.max").as_str()),
        ("67108864", "9")
    );
}

fn memory_and_swap_grow_and_shrink_together() {
    let container =
        Bundle::sleeper().limit("memory", json!({"limit": 67_108_864, "swap": 67_108_864})).start();
    for size in ["128m", "256m", "48m", "64m"] {
        update(&container, &["--memory", size, "--memory-swap", size]).ok();
        let bytes = (size.trim_end_matches('m').parse::<u64>().unwrap() << 20).to_string();
        assert_eq!(memory(&container), bytes);
        assert_eq!(setting(&container, "memory.memsw.limit_in_bytes"), bytes);
    }
}

fn swap_alone_counts_from_the_limit_that_is_there() {
    let container =
        Bundle::sleeper().limit("memory", json!({"limit": 67_108_864, "swap": 67_108_864})).start();
    update(&container, &["--memory-swap", "96m"]).ok();
    assert_eq!(setting(&container, "memory.memsw.limit_in_bytes"), "100663296");
    assert_eq!(memory(&container), "67108864");
    update(&container, &["--memory-swap", "32m"]).fails(1, &[]);
    assert_eq!(setting(&container, "memory.memsw.limit_in_bytes"), "100663296");
}

fn limits_are_lifted_by_minus_one() {
    let container = Bundle::sleeper()
        .limit("memory", json!({"limit": 67_108_864}))
        .limit("cpu", json!({"quota": 20_000}))
        .limit("pids", json!({"limit": 9}))
        .start();
    update(&container, &["--memory=-1", "--cpu-quota", "-1", "--pids-limit", "-1"]).ok();
    let top = cgroup::v1("memory").map(|top| fs::read_to_string(top.join("memory.limit_in_bytes")).unwrap());
    assert_eq!(memory(&container), top.as_deref().map_or("max", str::trim));
    assert_eq!(setting(&container, "cpu.cfs_quota_us"), "-1");
    assert_eq!(container.cgroup("pids", "pids.max"), "max");
}

fn a_created_container_can_be_updated() {
    let container = Bundle::sleeper().create();
    update(&container, &["--pids-limit", "33"]).ok();
    assert_eq!(container.status(), "created");
    container.start().ok();
    assert_eq!(container.cgroup("pids", "pids.max"), "33");
}

fn a_paused_container_can_be_updated_and_stays_paused() {
    let container = Bundle::sleeper().start();
    container.runtime(&["pause", container.id()]).ok();
    update(&container, &["--pids-limit", "33"]).ok();
    assert_eq!(container.cgroup("pids", "pids.max"), "33");
    assert_eq!(container.status(), "paused");
    container.runtime(&["resume", container.id()]).ok();
}

fn a_stopped_container_cannot_be_updated() {
    let container = Bundle::sleeper().start();
    container.kill("KILL").ok();
    container.wait_for("stopped");
    update(&container, &["--pids-limit", "33"]).fails(1, &["not running"]);
}

fn an_unknown_container_cannot_be_updated() {
    bundle::runtime(&["update", "--pids-limit", "3", "nonesuch"]).fails(1, &["does not exist"]);
}

fn a_limit_below_what_is_in_use_is_refused_when_asked_to_look() {
    let hold =
        "x=$(head -c 12000000 /dev/zero | tr '\\0' x); touch /tmp/held; sleep 100; echo $x > /dev/null";
    let container = Bundle::shell(hold).limit("memory", json!({"limit": 134_217_728})).start();
    eventually("the memory is held", || container.bundle.rootfs().join("tmp/held").exists());
    let resources = json!({"memory": {"limit": 4_194_304, "checkBeforeUpdate": true}, "pids": {"limit": 44}});
    update_by(&container, &resources).fails(1, &["rejecting memory limit"]);
    assert_eq!(
        (memory(&container).as_str(), container.cgroup("pids", "pids.max").as_str()),
        ("134217728", "max")
    );
    assert_eq!(container.status(), "running");
}

fn one_refused_limit_leaves_all_others_as_they_were() {
    let container = Bundle::sleeper()
        .limit("memory", json!({"limit": 67_108_864}))
        .limit("cpu", json!({"quota": 20_000, "period": 50_000, "shares": 200}))
        .limit("pids", json!({"limit": 9}))
        .start();
    let files = all_settings(&container);
    let mut new = json!({
        "memory": {"limit": 134_217_728, "reservation": 67_108_864, "swappiness": 40},
        "cpu": {"quota": 30_000, "period": 60_000, "shares": 300},
        "pids": {"limit": 99}
    });
    only_what_is_here(&mut new);
    let mut refused = new.clone();
    let why = refuse(&mut refused);
    update_by(&container, &refused).fails(1, &[why, "write("]);
    assert_eq!(all_settings(&container), files);
    update_by(&container, &new).ok();
    assert!(all_settings(&container) != files);
}

/// Version 2 knows no swappiness.
fn only_what_is_here(resources: &mut Value) {
    if cgroup::is_v2() {
        resources["memory"].as_object_mut().unwrap().remove("swappiness");
    }
}

/// Gives `resources` a value that the kernel refuses, written after others; its path.
fn refuse(resources: &mut Value) -> &'static str {
    resources["cpu"]["cpus"] = json!("4095");
    "linux.resources.cpu.cpus"
}

/// What the files say that an update of the tests below changes.
fn all_settings(container: &Container) -> Vec<String> {
    let mut files = vec![
        "memory.limit_in_bytes",
        "memory.soft_limit_in_bytes",
        "cpu.cfs_quota_us",
        "cpu.cfs_period_us",
        "cpu.shares",
        "pids.max",
    ];
    if !cgroup::is_v2() {
        files.push("memory.swappiness");
    }
    if cgroup::is_writable("cpuset") {
        files.push("cpuset.cpus");
    }
    files.iter().map(|file| setting(container, file)).collect()
}

fn every_fault_of_the_resources_is_named_at_once() {
    let container = Bundle::sleeper().start();
    let faults = ["linux.resources.cpu.idle", "linux.resources.memory.swap", "linux.resources.pids.limit"];
    update_by(&container, &json!({"cpu": {"idle": 7}, "memory": {"swap": 5}, "pids": {"limit": -4}}))
        .fails(1, &faults);
    update_by(&container, &json!({"memory": {"limit": "64m"}})).fails(1, &["linux.resources.memory.limit"]);
    update(&container, &[]).fails(1, &["nothing is to be changed"]);
    update(&container, &["--memory", "much"]).fails(1, &["--memory"]);
    let file = container.bundle.folder.join("broken");
    fs::write(&file, "{").unwrap();
    update(&container, &["-r", file.to_str().unwrap()]).fails(1, &["it is not JSON"]);
}

fn a_new_limit_bites() {
    let container = Bundle::new(&["/bin/sleep", "100"]).start();
    update(&container, &["--pids-limit", "3"]).ok();
    let output = container.exec(&["/bin/sh", "-c", "for i in 1 2 3 4; do sleep 10 & done; echo all"]);
    assert!(!output.stdout.contains("all"), "{output}");
}

/// An engine that sends all resources again must not make the container stumble over its devices.
fn device_rules_that_hold_already_are_left_alone() {
    let rules = json!([{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"}]);
    let loop_ = "while :; do : > /dev/null || touch /tmp/denied; done";
    let container = Bundle::shell(loop_).limit("devices", rules.clone()).start();
    let list = container.cgroup("devices", "devices.list");
    for limit in 0..20 {
        update_by(&container, &json!({"devices": rules, "pids": {"limit": 100 + limit}})).ok();
    }
    assert_eq!(container.cgroup("devices", "devices.list"), list);
    assert!(!container.bundle.rootfs().join("tmp/denied").exists());
}

fn new_device_rules_replace_the_old_ones() {
    let container = Bundle::shell("while :; do : > /dev/null || touch /tmp/denied; done").start();
    let rules = json!([{"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"}]);
    update_by(&container, &json!({"devices": rules})).ok();
    let list = container.cgroup("devices", "devices.list");
    assert!(list.contains("c 10:229 rw") && list.contains("c 1:3 rwm"), "{list}");
    assert_eq!(container.status(), "running");
    assert!(!container.bundle.rootfs().join("tmp/denied").exists());
}

fn new_device_rules_take_effect_at_once() {
    let bundle = Bundle::sleeper().config(|json| config::add_capabilities(json, &["CAP_MKNOD"]));
    let container = bundle.start();
    let script =
        "mknod /tmp/$0 c 10 229; (: < /tmp/$0) 2>/dev/null && echo opened; : < /dev/null && echo null";
    assert_eq!(container.exec(&["/bin/sh", "-c", script, "before"]).text(), "null");
    let fuse =
        |allow: bool| json!([{"allow": allow, "type": "c", "major": 10, "minor": 229, "access": "rwm"}]);
    update_by(&container, &json!({"devices": fuse(true)})).ok();
    assert_eq!(container.exec(&["/bin/sh", "-c", script, "allowed"]).text(), "opened\nnull");
    update_by(&container, &json!({"devices": fuse(false)})).ok();
    assert_eq!(container.exec(&["/bin/sh", "-c", script, "denied"]).text(), "null");
}

/// The list of a v1 cgroup in which all is allowed does not show what is excepted; the program of a v2 cgroup shows nothing.
fn a_refused_update_leaves_the_devices_as_they_were() {
    let rules = json!([{"allow": true, "access": "rwm"}, {"allow": false, "type": "c", "major": 10, "minor": 229, "access": "rw"}]);
    let node = json!([{"path": "/dev/except", "type": "c", "major": 10, "minor": 229, "fileMode": 438}]);
    let container = Bundle::sleeper().limit("devices", rules).set("/linux/devices", node).start();
    let is_denied = || {
        let output = container.exec(&["/bin/sh", "-c", ": < /dev/except"]);
        output.code != 0 && output.stderr.contains("Operation not permitted")
    };
    assert!(is_denied());
    let new = json!([{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rwm"}]);
    update_by(&container, &json!({"devices": new, "cpu": {"cpus": "4095"}}))
        .fails(1, &["linux.resources.cpu.cpus"]);
    assert!(is_denied());
    if cgroup::v1("devices").is_some() {
        assert_eq!(container.cgroup("devices", "devices.list"), "a *:* rwm");
    }
    update_by(&container, &json!({"devices": new})).ok();
    assert!(!is_denied());
    assert_eq!(container.status(), "running");
}

/// The folder of the state takes no new file: a mount of it that is read-only stands for a full disk.
fn an_update_whose_state_cannot_be_written_changes_nothing() {
    let container = Bundle::sleeper().limit("pids", json!({"limit": 50})).start();
    let folder = container.bundle.root.join(container.id());
    let mount = |arguments: &[&str]| {
        child::run(std::process::Command::new("mount").args(arguments).arg(&folder)).ok();
    };
    mount(&["--bind", folder.to_str().unwrap()]);
    mount(&["-o", "remount,bind,ro"]);
    let output = update(&container, &["--pids-limit", "77"]);
    child::run(std::process::Command::new("umount").arg("-l").arg(&folder)).ok();
    output.fails(1, &["EROFS"]);
    assert_eq!(container.cgroup("pids", "pids.max"), "50");
    update(&container, &["--pids-limit", "77"]).ok();
    assert_eq!(container.cgroup("pids", "pids.max"), "77");
}

/// Two complete sets of limits, and a third that is refused at its last file; why it is.
fn sets() -> ([Value; 3], &'static str) {
    let set = |factor: u64| {
        let mut set = json!({
            "memory": {"limit": (64 << 20) * factor, "reservation": (32 << 20) * factor, "swappiness": 10 * factor},
            "cpu": {"quota": 20_000 * factor, "period": 50_000 + factor, "shares": 100 * factor},
            "pids": {"limit": 100 * factor}
        });
        only_what_is_here(&mut set);
        if cgroup::is_writable("cpuset") {
            set["cpu"]["cpus"] = json!("0");
        }
        set
    };
    let mut refused = set(3);
    let why = refuse(&mut refused);
    ([set(1), set(2), refused], why)
}

/// A container under load, and what its files say under each of the two sets.
fn loaded() -> (Container, [Value; 3], [Vec<String>; 2], &'static str) {
    let load = "while :; do x=$(head -c 3000000 /dev/zero | tr '\\0' x); done & while :; do :; done";
    let container = Bundle::shell(load).start();
    let (sets, why) = sets();
    let seen = [0, 1].map(|index: usize| {
        update_by(&container, &sets[index]).ok();
        all_settings(&container)
    });
    assert!(seen[0] != seen[1]);
    (container, sets, seen, why)
}

fn updates_at_the_same_time_never_mix() {
    let (container, sets, seen, _) = loaded();
    for round in 0..12 {
        thread::scope(|scope| {
            for (index, set) in sets.iter().enumerate() {
                let container = &container;
                scope.spawn(move || {
                    let output = update_by(container, set);
                    assert_eq!(output.code == 0, index < 2, "{output}");
                });
            }
        });
        let now = all_settings(&container);
        assert!(seen.contains(&now), "round {round}: {now:?} is neither of {seen:?}");
    }
    assert_eq!(container.status(), "running");
}

fn an_update_that_was_killed_leaves_nothing_half_done() {
    let (container, sets, seen, why) = loaded();
    let files: Vec<PathBuf> = sets
        .iter()
        .enumerate()
        .map(|(index, set)| {
            let file = container.bundle.folder.join(format!("set-{index}"));
            fs::write(&file, set.to_string()).unwrap();
            file
        })
        .collect();
    let start = std::time::Instant::now();
    update_by(&container, &sets[1]).ok();
    let whole = start.elapsed();
    for round in 0..40 {
        let mut command = container.command(&["update", "-r"]);
        let run = Run::start(command.arg(&files[round % 2]).arg(container.id()));
        thread::sleep(whole * round as u32 / 40);
        run.signal(nix::sys::signal::Signal::SIGKILL);
        run.finish();
        // Any command that takes the lock brings order; this one asks for what is refused.
        update_by(&container, &sets[2]).fails(1, &[why]);
        let now = all_settings(&container);
        assert!(seen.contains(&now), "round {round}: {now:?} is neither of {seen:?}");
    }
}

fn without_a_cgroup_the_missing_delegation_is_named() {
    let container = Bundle::sleeper().start();
    update(&container, &["--memory", "64m"]).fails(1, &["controller 'memory' is not available", "delegated"]);
    assert_eq!(container.status(), "running");
}
