//! Configs in, groups out, on written-down hosts.

use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxResources;
use serde_json::{Value, json};

use super::*;

fn hierarchy(version: Version, controllers: &str, mount_point: &str, own: &str) -> Hierarchy {
    Hierarchy {
        delegated: vec![],
        version,
        controllers: controllers.split_whitespace().map(str::to_owned).collect(),
        mount_point: PathBuf::from(mount_point),
        own: PathBuf::from(own),
    }
}

fn host(hierarchies: Vec<Hierarchy>) -> Host {
    Host {
        kernel: (6, 12),
        uid: 0,
        gid: 0,
        initial_user_namespace: true,
        privileged: true,
        sys_admin: true,
        subuids: Vec::new(),
        subgids: Vec::new(),
        newidmap: false,
        cgroups: Layout { hierarchies },
        apparmor: false,
        selinux: false,
        resctrl: Default::default(),
        systemd: None,
        namespaces: Vec::new(),
    }
}

fn v1_hierarchies() -> Vec<Hierarchy> {
    let names = [
        "pids",
        "blkio",
        "freezer",
        "devices",
        "memory",
        "cpuset",
        "cpu,cpuacct",
        "hugetlb",
        "net_cls",
        "rdma",
    ];
    let one = |name: &&str| {
        hierarchy(Version::V1, &name.replace(',', " "), &format!("/sys/fs/cgroup/{name}"), "/user")
    };
    let mut all: Vec<Hierarchy> = names.iter().map(one).collect();
    all.insert(0, hierarchy(Version::V1, "name=systemd", "/sys/fs/cgroup/systemd", "/user/s"));
    all
}

fn v1() -> Host {
    host(v1_hierarchies())
}

fn hybrid() -> Host {
    let mut all = v1_hierarchies();
    all.retain(|hierarchy| !hierarchy.has("hugetlb"));
    all.push(hierarchy(Version::V2, "hugetlb", "/sys/fs/cgroup/unified", "/"));
    host(all)
}

fn v2() -> Host {
    let controllers = "cpuset cpu io memory hugetlb pids rdma misc";
    host(vec![hierarchy(Version::V2, controllers, "/sys/fs/cgroup", "/a.slice/b.scope")])
}

fn resources(json: Value) -> LinuxResources {
    serde_json::from_value(json).unwrap()
}

fn plan(json: Value, path: Option<&str>, host: &Host) -> Result<CgroupPlan> {
    let id = ContainerId::new("c1").unwrap();
    compile(Some(&resources(json)), path.map(Path::new), None, &id, host)
}

fn lines(plan: &CgroupPlan, hierarchy: &str) -> Vec<String> {
    let group = plan.groups.iter().find(|group| group.hierarchy == hierarchy).unwrap();
    group.writes.iter().map(|write| format!("{} {}", write.file, write.value)).collect()
}

fn written(json: Value, host: &Host, hierarchy: &str) -> Vec<String> {
    lines(&plan(json, None, host).unwrap(), hierarchy)
}

fn refusal(json: Value, host: &Host) -> String {
    plan(json, None, host).unwrap_err().to_string()
}

fn dirs(path: Option<&str>, host: &Host) -> Vec<String> {
    let plan = plan(json!({}), path, host).unwrap();
    plan.groups.iter().map(|group| group.dir.display().to_string()).collect()
}

#[test]
fn an_absolute_path_counts_from_the_mount_point() {
    assert_eq!(dirs(Some("/a/./b"), &v2()), ["/sys/fs/cgroup/a/b"]);
    assert_eq!(dirs(Some("/a/b"), &v1())[1], "/sys/fs/cgroup/pids/a/b");
}

#[test]
fn a_relative_path_is_below_the_callers_cgroup_on_v1_and_beside_it_on_v2() {
    assert_eq!(
        dirs(Some("x"), &v1())[..2],
        ["/sys/fs/cgroup/systemd/user/s/x", "/sys/fs/cgroup/pids/user/x"]
    );
    assert_eq!(dirs(Some("x"), &v2()), ["/sys/fs/cgroup/a.slice/x"]);
}

#[test]
fn the_systemd_form_is_a_plain_relative_path() {
    assert_eq!(dirs(Some("user.slice:p:n"), &v2()), ["/sys/fs/cgroup/a.slice/user.slice:p:n"]);
}

#[test]
fn without_a_path_the_container_is_named_for_isolate() {
    let long = ContainerId::new("x".repeat(250)).unwrap();
    assert_eq!(chosen(None, &long), Path::new("isolate").join(long.as_str()));
    let short = ContainerId::new("c1").unwrap();
    assert_eq!(chosen(Some("0123"), &short), Path::new("isolate-0123-c1"));
    assert_eq!(dirs(None, &v2()), ["/sys/fs/cgroup/isolate-c1"]);
    assert_eq!(dirs(Some(""), &v1())[5], "/sys/fs/cgroup/memory/isolate-c1");
    let rootless = Host { privileged: false, ..v2() };
    assert_eq!(dirs(None, &rootless), ["/sys/fs/cgroup/a.slice/isolate-c1"]);
}

#[test]
fn paths_that_lead_elsewhere_are_refused() {
    let long = "x".repeat(300);
    for path in ["../x", "/a/../../b", "/", ".", "/./", "a\nb", "a\0b", long.as_str()] {
        let error = plan(json!({}), Some(path), &v2()).unwrap_err().to_string();
        assert!(error.starts_with("linux.cgroupsPath: "), "{path:?}: {error}");
    }
}

#[test]
fn every_hierarchy_gets_a_group_and_only_cpuset_inherits() {
    let plan = plan(json!({}), None, &hybrid()).unwrap();
    assert_eq!(plan.groups.len(), hybrid().cgroups.hierarchies.len());
    let inherits =
        plan.groups.iter().filter(|group| group.inherit_cpuset).map(|group| group.hierarchy.as_str());
    assert_eq!(inherits.collect::<Vec<_>>(), ["cpuset"]);
    assert!(plan.groups.iter().all(|group| !group.optional));
}

#[test]
fn on_a_hybrid_host_only_the_controllers_that_are_asked_for_are_enabled() {
    let enabled = |config, host: &Host| plan(config, None, host).unwrap().groups.pop().unwrap().enable;
    let pages = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4096}]});
    assert_eq!(enabled(json!({}), &hybrid()), [""; 0]);
    assert_eq!(enabled(pages, &hybrid()), ["hugetlb"]);
    assert_eq!(enabled(json!({}), &v2()), v2().cgroups.hierarchies[0].controllers);
}

#[test]
fn a_host_without_cgroups_takes_a_container_without_limits_only() {
    let none = host(Vec::new());
    assert_eq!(plan(json!({}), None, &none).unwrap().groups, []);
    let error = refusal(json!({"memory": {"limit": 1}}), &none);
    assert_eq!(
        error,
        "linux.resources.memory: controller 'memory' is not available: this host has no cgroup hierarchy with it"
    );
}

#[test]
fn memory_is_written_limit_before_swap_on_v1_and_swap_alone_on_v2() {
    let config = json!({"memory": {"limit": 100, "swap": 150, "reservation": 50, "swappiness": 60, "disableOOMKiller": true}});
    assert_eq!(
        written(config.clone(), &v1(), "memory"),
        [
            "memory.limit_in_bytes 100",
            "memory.memsw.limit_in_bytes 150",
            "memory.soft_limit_in_bytes 50",
            "memory.swappiness 60",
            "memory.oom_control 1"
        ]
    );
    let v2_plan = plan(config, None, &v2()).unwrap();
    assert_eq!(lines(&v2_plan, "unified"), ["memory.swap.max 50", "memory.max 100", "memory.low 50"]);
    assert_eq!(v2_plan.warnings.len(), 2);
}

#[test]
fn no_memory_limit_lifts_that_of_swap_too() {
    let config = json!({"memory": {"limit": -1}});
    assert_eq!(written(config.clone(), &v2(), "unified"), ["memory.swap.max max", "memory.max max"]);
    assert_eq!(
        written(config, &v1(), "memory"),
        ["memory.limit_in_bytes -1", "memory.memsw.limit_in_bytes -1"]
    );
}

#[test]
fn swap_equal_to_the_limit_needs_no_swap_accounting() {
    let plan = plan(json!({"memory": {"limit": 100, "swap": 100}}), None, &v2()).unwrap();
    let swap = &plan.groups[0].writes[0];
    assert_eq!((swap.value.as_str(), &swap.when_missing), ("0", &WhenMissing::Ignore));
}

#[test]
fn zero_and_deprecated_memory_fields_write_nothing() {
    let config = json!({"memory": {"limit": 0, "swap": 0, "reservation": 0, "kernel": 5, "kernelTCP": 5}});
    let plan = plan(config, None, &v1()).unwrap();
    assert_eq!(lines(&plan, "memory"), [""; 0]);
    assert_eq!(plan.warnings.len(), 2);
}

#[test]
fn check_before_update_sums_memory_and_swap_on_v2() {
    let config = json!({"memory": {"limit": 100, "swap": 150, "checkBeforeUpdate": true}});
    let plan = plan(config, None, &v2()).unwrap();
    let checks = &plan.groups[0].checks;
    assert_eq!(checks[0].files, ["memory.current"]);
    assert_eq!(checks[1].files, ["memory.current", "memory.swap.current"]);
    assert_eq!((checks[1].bound, checks[1].limit.as_str()), (150, "memory+swap limit"));
}

#[test]
fn shares_become_weight_by_the_quadratic_curve() {
    for (shares, weight) in [(0, 1), (1, 1), (2, 1), (1024, 100), (262_144, 10_000), (u64::MAX, 10_000)] {
        assert_eq!(cpu::weight(shares), weight, "{shares}");
    }
    let weights: Vec<u64> = (2..262_144).step_by(97).map(cpu::weight).collect();
    assert!(weights.windows(2).all(|pair| pair[0] <= pair[1]));
}

#[test]
fn cpu_time_is_written_for_both_versions() {
    let config = json!({"cpu": {"shares": 1024, "quota": 20000, "period": 50000, "burst": 1000, "cpus": "0-1,3", "mems": "0"}});
    assert_eq!(
        written(config.clone(), &v1(), "cpu,cpuacct"),
        ["cpu.shares 1024", "cpu.cfs_period_us 50000", "cpu.cfs_quota_us 20000", "cpu.cfs_burst_us 1000"]
    );
    assert_eq!(written(config.clone(), &v1(), "cpuset"), ["cpuset.cpus 0-1,3", "cpuset.mems 0"]);
    assert_eq!(
        written(config, &v2(), "unified"),
        ["cpu.weight 100", "cpu.max 20000 50000", "cpu.max.burst 1000", "cpuset.cpus 0-1,3", "cpuset.mems 0"]
    );
}

#[test]
fn a_quota_of_minus_one_is_none_and_a_period_alone_keeps_the_quota() {
    assert_eq!(written(json!({"cpu": {"quota": -1}}), &v2(), "unified"), ["cpu.max max"]);
    let plan = plan(json!({"cpu": {"period": 50000}}), None, &v2()).unwrap();
    assert_eq!(plan.groups[0].writes[0].how, How::KeepFirstWord);
}

#[test]
fn an_idle_cgroup_gets_no_weight() {
    assert_eq!(written(json!({"cpu": {"idle": 1, "shares": 512}}), &v2(), "unified"), ["cpu.idle 1"]);
    assert_eq!(
        written(json!({"cpu": {"idle": 0, "shares": 1024}}), &v2(), "unified"),
        ["cpu.idle 0", "cpu.weight 100"]
    );
}

#[test]
fn a_real_time_budget_is_carved_out_of_the_parents_and_v2_has_none() {
    let config = json!({"cpu": {"realtimeRuntime": 10000, "realtimePeriod": 100000}});
    let plan = plan(config.clone(), None, &v1()).unwrap();
    assert_eq!(lines(&plan, "cpu,cpuacct"), ["cpu.rt_period_us 100000", "cpu.rt_runtime_us 10000"]);
    let error = refusal(config, &v2());
    assert_eq!(
        error,
        "linux.resources.cpu.realtimeRuntime: controller 'cpu' is not available: cgroup v2 cannot do this, and no v1 hierarchy has it"
    );
}

#[test]
fn pids_minus_one_is_no_limit_and_zero_is_zero() {
    for (limit, value) in [(-1, "max"), (0, "0"), (7, "7")] {
        assert_eq!(written(json!({"pids": {"limit": limit}}), &v1(), "pids"), [format!("pids.max {value}")]);
    }
    assert_eq!(written(json!({}), &v1(), "pids"), [""; 0]);
}

#[test]
fn block_io_weights_and_throttles_are_written() {
    let config = json!({"blockIO": {
        "weight": 500,
        "weightDevice": [{"major": 8, "minor": 0, "weight": 10}],
        "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1000}, {"major": 8, "minor": 16, "rate": 0}],
        "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 7}]
    }});
    assert_eq!(
        written(config.clone(), &v1(), "blkio"),
        [
            "blkio.weight 500",
            "blkio.weight_device 8:0 10",
            "blkio.throttle.read_bps_device 8:0 1000",
            "blkio.throttle.read_bps_device 8:16 0",
            "blkio.throttle.write_iops_device 8:0 7"
        ]
    );
    let v2_plan = plan(config, None, &v2()).unwrap();
    assert_eq!(
        lines(&v2_plan, "unified"),
        [
            "io.bfq.weight 500",
            "io.bfq.weight 8:0 10",
            "io.max 8:0 rbps=1000",
            "io.max 8:16 rbps=max",
            "io.max 8:0 wiops=7"
        ]
    );
    let instead = |index: usize| match &v2_plan.groups[0].writes[index].when_missing {
        WhenMissing::Instead(write) => format!("{} {}", write.file, write.value),
        other => panic!("{other:?}"),
    };
    assert_eq!((instead(0), instead(1)), ("io.weight 4950".to_owned(), "io.weight 8:0 1".to_owned()));
}

#[test]
fn huge_pages_are_reserved_first_and_found_in_the_v2_half_of_a_hybrid_host() {
    let config = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4096}]});
    assert_eq!(
        written(config.clone(), &v1(), "hugetlb"),
        ["hugetlb.2MB.rsvd.limit_in_bytes 4096", "hugetlb.2MB.limit_in_bytes 4096"]
    );
    assert_eq!(written(config, &hybrid(), "unified"), ["hugetlb.2MB.rsvd.max 4096", "hugetlb.2MB.max 4096"]);
    for size in ["2mb", "3MB", "MB", "2", "02MB", "../x"] {
        let error = refusal(json!({"hugepageLimits": [{"pageSize": size, "limit": 1}]}), &v2());
        assert!(error.starts_with("linux.resources.hugepageLimits[0].pageSize: "), "{error}");
    }
}

#[test]
fn network_and_rdma_are_written() {
    let config = json!({
        "network": {"classID": 1_048_577},
        "rdma": {"mlx5_1": {"hcaHandles": 3}, "mlx4_0": {"hcaObjects": 9}}
    });
    assert_eq!(written(config.clone(), &v1(), "net_cls"), ["net_cls.classid 1048577"]);
    assert_eq!(
        written(config, &v1(), "rdma"),
        ["rdma.max mlx4_0 hca_handle=max hca_object=9", "rdma.max mlx5_1 hca_handle=3 hca_object=max"]
    );
    let error = refusal(json!({"network": {"priorities": [{"name": "eth0", "priority": 5}]}}), &v1());
    assert!(error.starts_with("linux.resources.network.priorities[0]: controller 'net_prio'"), "{error}");
}

#[test]
fn unified_comes_last_and_line_by_line() {
    let config =
        json!({"memory": {"limit": 5}, "unified": {"memory.max": "7", "io.max": "8:0 rbps=1\n8:1 rbps=2\n"}});
    assert_eq!(
        written(config, &v2(), "unified"),
        ["memory.max 5", "io.max 8:0 rbps=1", "io.max 8:1 rbps=2", "memory.max 7"]
    );
}

#[test]
fn unified_needs_the_controller_in_v2() {
    assert_eq!(written(json!({"unified": {"hugetlb.2MB.max": "0"}}), &hybrid(), "unified").len(), 1);
    let error = refusal(json!({"unified": {"memory.high": "5"}}), &hybrid());
    assert_eq!(
        error,
        "linux.resources.unified.memory.high: controller 'memory' is not available: this host has no cgroup hierarchy with it"
    );
}

#[test]
fn unified_names_that_are_no_settings_are_refused() {
    for name in ["../memory.max", "a/b.c", "", "memory", ".x", "cgroup.procs", "cgroup.kill"] {
        assert!(plan(json!({"unified": {name: "1"}}), None, &v2()).is_err(), "{name}");
    }
}

#[test]
fn devices_start_from_nothing_and_end_with_the_default_ones() {
    let config = json!({"devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"}]});
    let lines = written(config, &v1(), "devices");
    assert_eq!(lines[..2], ["devices.deny a", "devices.allow c 10:229 rw"]);
    assert_eq!(lines[2..4], ["devices.allow c *:* m", "devices.allow b *:* m"]);
    assert!(lines.contains(&"devices.allow c 136:* rwm".to_owned()));
    assert_eq!(written(json!({}), &v1(), "devices")[0], "devices.deny a");
    assert_eq!(written(json!({"devices": [{"allow": true}]}), &v1(), "devices"), ["devices.allow a"]);
}

#[test]
fn device_rules_on_v2_are_for_the_folders_program() {
    let plan = plan(json!({"devices": [{"allow": false}]}), None, &v2()).unwrap();
    assert_eq!(lines(&plan, "unified"), [""; 0]);
    assert_eq!(plan.devices.len(), 12);
    assert_eq!(plan.groups[0].devices, plan.devices);
    assert_eq!(plan.warnings, [""; 0]);
}

#[test]
fn all_faults_are_told_at_once_with_their_places() {
    let config = json!({
        "memory": {"limit": -5, "swappiness": 200},
        "cpu": {"period": 5, "quota": 10, "idle": 3, "cpus": "3-1", "mems": "x"},
        "blockIO": {"weight": 5000, "throttleReadBpsDevice": [{"major": -1, "minor": 0, "rate": 1}]},
        "devices": [{"allow": true, "type": "p"}, {"allow": true, "access": "rwx"}],
        "unified": {"a/b": "c"}
    });
    let error = plan(config, Some("/a/.."), &v2()).unwrap_err().to_string();
    for place in [
        "linux.cgroupsPath",
        "linux.resources.memory.limit",
        "linux.resources.memory.swappiness",
        "linux.resources.cpu.period",
        "linux.resources.cpu.quota",
        "linux.resources.cpu.idle",
        "linux.resources.cpu.cpus",
        "linux.resources.cpu.mems",
        "linux.resources.blockIO.weight",
        "linux.resources.blockIO.throttleReadBpsDevice[0]",
        "linux.resources.devices[0].type",
        "linux.resources.devices[1].access",
        "linux.resources.unified.a/b",
    ] {
        assert!(error.contains(&format!("{place}: ")), "{place} in {error}");
    }
}

#[test]
fn swap_needs_a_limit_that_is_not_larger() {
    assert!(refusal(json!({"memory": {"swap": 5}}), &v2()).contains("cannot be limited without"));
    assert!(refusal(json!({"memory": {"swap": 5, "limit": 6}}), &v1()).contains("less than memory.limit 6"));
}

#[test]
fn a_rootless_group_is_optional_until_something_is_asked_of_it() {
    let rootless = Host { privileged: false, ..hybrid() };
    let optional = |path, json| {
        let plan = plan(json, path, &rootless).unwrap();
        plan.groups
            .iter()
            .filter(|group| !group.optional)
            .map(|group| group.hierarchy.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(optional(None, json!({})), [""; 0]);
    assert_eq!(optional(None, json!({"devices": [{"allow": false}]})), [""; 0]);
    assert_eq!(optional(None, json!({"pids": {"limit": 5}})), ["pids"]);
    assert_eq!(optional(Some("/x"), json!({})).len(), rootless.cgroups.hierarchies.len());
}

#[test]
fn an_update_touches_only_what_it_names() {
    let saved: Vec<SavedGroup> = compile(None, None, None, &ContainerId::new("c1").unwrap(), &v1())
        .unwrap()
        .groups
        .into_iter()
        .map(|g| SavedGroup {
            hierarchy: g.hierarchy,
            version: g.version,
            dir: g.dir,
            made: Vec::new(),
            unit: None,
        })
        .filter(|group| group.hierarchy != "memory")
        .collect();
    let plan = compile_update(&resources(json!({"pids": {"limit": 9}})), &saved, &v1()).unwrap();
    assert_eq!(plan.groups.len(), 1);
    assert_eq!(plan.groups[0].dir, Path::new("/sys/fs/cgroup/pids/isolate-c1"));
    let memory = resources(json!({"memory": {"limit": 9}}));
    let error = compile_update(&memory, &saved, &v1()).unwrap_err().to_string();
    assert!(error.contains("the container has no cgroup with it"), "{error}");
}

#[test]
fn plans_survive_json() {
    let config = json!({"memory": {"limit": 5}, "blockIO": {"weight": 10}, "devices": [{"allow": false}]});
    let plan = plan(config, None, &hybrid()).unwrap();
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<CgroupPlan>(&text).unwrap(), plan);
}
