//! A container's place in the hierarchies, and limits: what is written, and that it bites. What only one version
//! has is in `cgroups_v2.rs`, or asks for `CgroupV1`.

use std::fs;

use serde_json::json;

use crate::support::child::{self, eventually};
use crate::support::*;
use crate::tests;

tests![
    the_container_is_in_its_cgroup_of_every_controller needs [Need::Cgroup("memory")],
    the_container_is_in_its_cgroup_before_create_returns needs [Need::Cgroup("memory")],
    without_a_path_the_runtime_chooses_one needs [Need::Cgroup("memory")],
    containers_of_two_state_roots_may_have_one_name needs [Need::Root, Need::Cgroup("pids"), Need::Isolate],
    a_relative_path_is_below_what_the_runtime_chooses needs [Need::Cgroup("memory")],
    a_path_that_climbs_stays_below_the_root needs [Need::Cgroup("memory")],
    delete_removes_the_cgroup needs [Need::Cgroup("memory")],
    delete_removes_cgroups_made_inside needs [Need::Cgroup("memory")],
    the_memory_limit_is_written needs [Need::Cgroup("memory")],
    memory_and_swap_are_written needs [Need::CgroupV1("memory"), Need::File("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes")],
    swap_below_memory_is_refused needs [Need::Cgroup("memory")],
    swappiness_and_the_oom_switch_are_written needs [Need::CgroupV1("memory")],
    no_memory_limit_is_minus_one needs [Need::CgroupV1("memory")],
    too_much_memory_kills_the_program_and_is_counted needs [Need::Cgroup("memory")],
    the_cpu_quota_is_written needs [Need::Cgroup("cpu")],
    the_cpu_weight_is_written needs [Need::Cgroup("cpu")],
    the_cpu_set_is_written needs [Need::Cgroup("cpuset")],
    without_a_cpu_set_every_processor_may_be_used needs [Need::CgroupV1("cpuset")],
    a_cpu_that_does_not_exist_is_refused needs [Need::Cgroup("cpuset")],
    a_cpu_quota_slows_the_program needs [Need::Cgroup("cpu")],
    the_limit_of_processes_is_written_and_bites needs [Need::Cgroup("pids")],
    no_limit_of_processes_is_max needs [Need::Cgroup("pids")],
    block_io_throttles_are_written needs [Need::CgroupV1("blkio")],
    a_huge_page_limit_is_written needs [Need::File("/sys/kernel/mm/hugepages/hugepages-2048kB"),
        Need::Cgroup("memory"), Need::Not("runc", "1.1 looks for hugetlb in version 1 alone")],
    a_huge_page_size_that_does_not_exist_is_refused needs [Need::Root, Need::Not("runc", "1.1 looks for hugetlb in version 1 alone")],
    a_version_2_file_is_refused_where_there_is_none
        needs [Need::CgroupV1("memory"), Need::Not("runc", "1.1 ignores it")],
    a_cgroup_that_holds_somebody_else_is_refused needs [Need::Cgroup("memory"), Need::Not("runc", "1.1 warns")],
    exec_is_under_the_limits_too needs [Need::Cgroup("pids")],
    a_limit_that_cannot_be_applied_is_refused needs [Need::OrdinaryUser, Need::NoCgroup],
    cgroup_management_can_be_disabled needs [Need::Cgroup("memory"), Need::Isolate],
    the_device_list_is_written needs [Need::CgroupV1("devices")],
    limits_given_as_zero_are_no_limits needs [Need::Cgroup("memory")],
];

fn cgroup_lines(pid: i32) -> Vec<(String, String)> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let split = |line: &str| {
        let mut parts = line.splitn(3, ':').skip(1);
        (parts.next().unwrap().to_owned(), parts.next().unwrap().to_owned())
    };
    text.lines().map(split).collect()
}

const CONTROLLERS: [&str; 7] = ["memory", "cpu", "cpuacct", "cpuset", "pids", "devices", "freezer"];

fn the_container_is_in_its_cgroup_of_every_controller() {
    let container = Bundle::sleeper().start();
    for controller in CONTROLLERS.into_iter().filter(|name| cgroup::hierarchy_of(name).is_some()) {
        assert_eq!(
            cgroup::of_process(container.pid(), controller),
            container.bundle.cgroups_path(),
            "{controller}"
        );
    }
}

fn the_container_is_in_its_cgroup_before_create_returns() {
    let container = Bundle::sleeper().create();
    let procs = container.cgroup("memory", "cgroup.procs");
    assert_eq!(procs, container.pid().to_string());
}

fn memory_path(container: &Container) -> String {
    cgroup::of_process(container.pid(), "memory")
}

fn without_a_path_the_runtime_chooses_one() {
    let container = Bundle::sleeper().unset("/linux/cgroupsPath").start();
    let path = memory_path(&container);
    assert!(path.contains(container.id()), "{path}");
    let folder = cgroup::folder("memory", &path);
    container.delete_by_force().ok();
    assert!(!folder.exists());
}

fn a_relative_path_is_below_what_the_runtime_chooses() {
    let mark = session::unique("isolate-test-relative-");
    let container = Bundle::sleeper().set("/linux/cgroupsPath", json!(mark)).start();
    let path = memory_path(&container);
    assert!(path.contains(&mark), "{path}");
    container.delete_by_force().ok();
    assert!(!cgroup::folder("memory", &path).exists());
}

fn a_path_that_climbs_stays_below_the_root() {
    let (run, id) = (cgroup::path_of(""), session::unique("climber"));
    let container =
        Bundle::sleeper().set("/linux/cgroupsPath", json!(format!("/../..{run}x/../{id}"))).container();
    if container.create(&[]).code == 0 {
        assert_eq!(memory_path(&container), format!("{run}{id}"));
    }
    container.delete_by_force().ok();
    assert!(!cgroup::folder("memory", &format!("{run}{id}")).exists());
}

fn delete_removes_the_cgroup() {
    let container = Bundle::sleeper().start();
    let folder = cgroup::folder("memory", &container.bundle.cgroups_path());
    assert!(folder.exists());
    container.delete_by_force().ok();
    container.leaves_nothing();
    assert!(!folder.exists());
}

fn delete_removes_cgroups_made_inside() {
    let container = Bundle::sleeper().start();
    let folder = cgroup::folder("memory", &container.bundle.cgroups_path());
    fs::create_dir_all(folder.join("below/deeper")).unwrap();
    container.delete_by_force().ok();
    container.leaves_nothing();
}

/// The file's name in the version that this host has.
fn file(v1: &'static str, v2: &'static str) -> &'static str {
    if cgroup::is_v2() { v2 } else { v1 }
}

/// The value of one file of the cgroup of a container with these resources.
#[track_caller]
fn written(resource: &str, value: serde_json::Value, controller: &str, file: &str) -> String {
    Bundle::sleeper().limit(resource, value).create().cgroup(controller, file)
}

fn the_memory_limit_is_written() {
    let memory = json!({"limit": 67_108_864, "reservation": 33_554_432});
    let container = Bundle::sleeper().limit("memory", memory).create();
    assert_eq!(container.cgroup("memory", file("memory.limit_in_bytes", "memory.max")), "67108864");
    assert_eq!(container.cgroup("memory", file("memory.soft_limit_in_bytes", "memory.low")), "33554432");
}

fn memory_and_swap_are_written() {
    let memory = json!({"limit": 67_108_864, "swap": 134_217_728});
    let container = Bundle::sleeper().limit("memory", memory).create();
    assert_eq!(container.cgroup("memory", "memory.limit_in_bytes"), "67108864");
    assert_eq!(container.cgroup("memory", "memory.memsw.limit_in_bytes"), "134217728");
}

fn swap_below_memory_is_refused() {
    let output =
        Bundle::nothing().limit("memory", json!({"limit": 67_108_864, "swap": 33_554_432})).refused(&[]);
    assert!(output.stderr.contains("mem"), "{output}");
}

fn swappiness_and_the_oom_switch_are_written() {
    let memory = json!({"limit": 67_108_864, "swappiness": 17, "disableOOMKiller": true});
    let container = Bundle::sleeper().limit("memory", memory).create();
    assert_eq!(container.cgroup("memory", "memory.swappiness"), "17");
    assert!(container.cgroup("memory", "memory.oom_control").starts_with("oom_kill_disable 1"));
}

fn no_memory_limit_is_minus_one() {
    let unlimited = fs::read_to_string(cgroup::v1("memory").unwrap().join("memory.limit_in_bytes")).unwrap();
    assert_eq!(written("memory", json!({"limit": -1}), "memory", "memory.limit_in_bytes"), unlimited.trim());
}

fn too_much_memory_kills_the_program_and_is_counted() {
    let limit = json!({"limit": 33_554_432, "swap": 33_554_432});
    let container = Bundle::new(&["/bin/tail", "/dev/zero"]).limit("memory", limit.clone()).create();
    container.start().ok();
    container.wait_for("stopped");
    let control = container.cgroup("memory", file("memory.oom_control", "memory.events"));
    let kills = control.lines().find_map(|line| line.strip_prefix("oom_kill ")).unwrap();
    assert!(kills.parse::<u32>().unwrap() >= 1, "{control}");
    container.delete().ok();
    let output = Bundle::new(&["/bin/tail", "/dev/zero"]).limit("memory", limit).run();
    assert_eq!(output.code, 137, "{output}");
}

fn the_cpu_quota_is_written() {
    let container = Bundle::sleeper().limit("cpu", json!({"quota": 20_000, "period": 50_000})).create();
    if cgroup::is_v2() {
        assert_eq!(container.cgroup("cpu", "cpu.max"), "20000 50000");
        return;
    }
    assert_eq!(container.cgroup("cpu", "cpu.cfs_quota_us"), "20000");
    assert_eq!(container.cgroup("cpu", "cpu.cfs_period_us"), "50000");
}

fn the_cpu_weight_is_written() {
    let (file, value) = if cgroup::is_v2() { ("cpu.weight", 81) } else { ("cpu.shares", 777) };
    assert_eq!(written("cpu", json!({"shares": 777}), "cpu", file), value.to_string());
}

fn the_cpu_set_is_written() {
    assert_eq!(written("cpu", json!({"cpus": "0", "mems": "0"}), "cpuset", "cpuset.cpus"), "0");
    let seen =
        Bundle::shell("grep Cpus_allowed_list /proc/self/status").limit("cpu", json!({"cpus": "0"})).output();
    assert_eq!(seen, "Cpus_allowed_list:\t0");
}

fn without_a_cpu_set_every_processor_may_be_used() {
    let all = fs::read_to_string(cgroup::v1("cpuset").unwrap().join("cpuset.cpus")).unwrap();
    assert_eq!(Bundle::sleeper().create().cgroup("cpuset", "cpuset.cpus"), all.trim());
}

fn a_cpu_that_does_not_exist_is_refused() {
    Bundle::nothing().limit("cpu", json!({"cpus": "4095"})).refused(&["cpu"]);
}

fn a_cpu_quota_slows_the_program() {
    let container =
        Bundle::shell("while :; do :; done").limit("cpu", json!({"quota": 5_000, "period": 50_000})).start();
    eventually("the program was held back", || {
        let stat = container.cgroup("cpu", "cpu.stat");
        stat.lines().any(|line| line.strip_prefix("nr_throttled ").is_some_and(|number| number != "0"))
    });
}

fn the_limit_of_processes_is_written_and_bites() {
    let container = Bundle::shell("for i in 1 2 3 4 5 6 7 8 9; do sleep 100 & done; echo all")
        .limit("pids", json!({"limit": 5}))
        .container();
    let output = container.run(&[]);
    assert!(output.stderr.contains("can't fork") && !output.stdout.contains("all"), "{output}");
    assert_eq!(written("pids", json!({"limit": 5}), "pids", "pids.max"), "5");
}

fn no_limit_of_processes_is_max() {
    assert_eq!(written("pids", json!({"limit": -1}), "pids", "pids.max"), "max");
    assert_eq!(Bundle::sleeper().create().cgroup("pids", "pids.max"), "max");
}

/// `MAJOR:MINOR` of some disk.
fn disk() -> (u32, u32) {
    let disks = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let numbers = disks.filter_map(|disk| fs::read_to_string(disk.path().join("dev")).ok());
    let Some(text) = numbers.into_iter().next() else { skip("the machine has no block device") };
    let (major, minor) = text.trim().split_once(':').unwrap();
    (major.parse().unwrap(), minor.parse().unwrap())
}

fn block_io_throttles_are_written() {
    let (major, minor) = disk();
    let rate = |rate: u64| json!([{"major": major, "minor": minor, "rate": rate}]);
    let block_io = json!({
        "throttleReadBpsDevice": rate(1_000_000), "throttleWriteBpsDevice": rate(2_000_000),
        "throttleReadIOPSDevice": rate(300), "throttleWriteIOPSDevice": rate(400)
    });
    let container = Bundle::sleeper().limit("blockIO", block_io).create();
    for (file, value) in
        [("read_bps", 1_000_000), ("write_bps", 2_000_000), ("read_iops", 300), ("write_iops", 400)]
    {
        let seen = container.cgroup("blkio", &format!("blkio.throttle.{file}_device"));
        assert_eq!(seen, format!("{major}:{minor} {value}"));
    }
}

fn a_huge_page_limit_is_written() {
    if cgroup::is_v2() && !cgroup::is_writable("hugetlb") {
        skip("the controller hugetlb is not there, or not delegated");
    }
    let container =
        Bundle::sleeper().limit("hugepageLimits", json!([{"pageSize": "2MB", "limit": 4_194_304}])).create();
    let files = ["hugetlb.2MB.max", "hugetlb.2MB.limit_in_bytes"];
    let places = cgroup::hierarchies().into_iter().flat_map(|(point, _)| {
        let folder = point.join(container.bundle.cgroups_path().trim_start_matches('/'));
        files.map(|file| folder.join(file))
    });
    let seen: Vec<_> = places.filter_map(|file| fs::read_to_string(file).ok()).collect();
    assert_eq!(seen, ["4194304\n"]);
    container.delete_by_force().ok();
    container.leaves_nothing();
}

fn a_huge_page_size_that_does_not_exist_is_refused() {
    Bundle::nothing()
        .limit("hugepageLimits", json!([{"pageSize": "3MB", "limit": 4_194_304}]))
        .refused(&["3MB"]);
}

fn a_version_2_file_is_refused_where_there_is_none() {
    Bundle::nothing().limit("unified", json!({"memory.high": "10000000"})).refused(&["unified"]);
}

fn a_cgroup_that_holds_somebody_else_is_refused() {
    let first = Bundle::sleeper().start();
    let path = first.bundle.cgroups_path();
    Bundle::sleeper()
        .set("/linux/cgroupsPath", json!(path))
        .container()
        .create(&[])
        .fails(1, &["container's cgroup is not empty"]);
    assert_eq!(first.status(), "running");
    assert!(first.cgroup("memory", "cgroup.procs").contains(&first.pid().to_string()));
}

fn exec_is_under_the_limits_too() {
    let container = Bundle::new(&["/bin/sleep", "100"]).limit("pids", json!({"limit": 3})).start();
    let output = container.exec(&["/bin/sh", "-c", "for i in 1 2 3 4; do sleep 10 & done; echo all"]);
    assert!(!output.stdout.contains("all"), "{output}");
}

fn a_limit_that_cannot_be_applied_is_refused() {
    Bundle::nothing().set("/linux/resources", json!({"memory": {"limit": 67_108_864}})).refused(&["cgroup"]);
}

fn cgroup_management_can_be_disabled() {
    let own = cgroup_lines(std::process::id() as i32);
    let bundle = Bundle::sleeper().config(|json| {
        let linux = json["linux"].as_object_mut().unwrap();
        linux.remove("resources");
        linux.remove("cgroupsPath");
    });
    let container = bundle.container();
    let mut command = container.command(&["--cgroup-manager", "disabled", "create", "--bundle"]);
    child::run(command.arg(&container.bundle.folder).arg(container.id())).ok();
    assert_eq!(cgroup_lines(container.pid()), own);
}

fn the_device_list_is_written() {
    let container = Bundle::sleeper().create();
    let list = container.cgroup("devices", "devices.list");
    for rule in ["c 1:3 rwm", "c 1:5 rwm", "c 1:8 rwm", "c 1:9 rwm", "c 5:0 rwm", "c 5:2 rwm", "c 136:* rwm"]
    {
        assert!(list.lines().any(|line| line == rule), "{rule}: {list}");
    }
    assert!(!list.contains("a *:* rwm"), "{list}");
}

fn limits_given_as_zero_are_no_limits() {
    let bundle = Bundle::sleeper()
        .limit("memory", json!({"limit": 0, "swap": 0, "reservation": 0}))
        .limit("cpu", json!({"quota": 0, "period": 0, "shares": 0}));
    let container = bundle.create();
    if cgroup::is_v2() {
        assert_eq!(container.cgroup("memory", "memory.max"), "max");
        assert_eq!(container.cgroup("cpu", "cpu.max"), "max 100000");
        return;
    }
    let unlimited = fs::read_to_string(cgroup::v1("memory").unwrap().join("memory.limit_in_bytes")).unwrap();
    assert_eq!(container.cgroup("memory", "memory.limit_in_bytes"), unlimited.trim());
    assert_eq!(container.cgroup("cpu", "cpu.cfs_quota_us"), "-1");
}

/// Deleting the one must not end what the other has under the same name.
fn containers_of_two_state_roots_may_have_one_name() {
    let container = Bundle::sleeper().unset("/linux/cgroupsPath").start();
    let root = container.bundle.folder.join("other-state");
    let other = |arguments: &[&str]| child::run(session().command(&root).args(arguments));
    other(&["create", "--bundle", container.bundle.folder.to_str().unwrap(), container.id()]).ok();
    other(&["start", container.id()]).ok();
    let state = other(&["state", container.id()]).ok().json();
    let pid = state["pid"].as_i64().unwrap() as i32;
    assert_ne!(cgroup::of_process(pid, "pids"), cgroup::of_process(container.pid(), "pids"));
    container.delete_by_force().ok();
    assert_eq!(other(&["state", container.id()]).ok().json()["status"], "running");
    other(&["delete", "--force", container.id()]).ok();
}
