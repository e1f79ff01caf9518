//! Properties of the specification that have no file of their own here: small ones, and those whose refusal
//! is all that this host can show.

use serde_json::{Value, json};

use crate::support::*;
use crate::tests;

tests![
    a_console_size_without_a_terminal_is_ignored,
    a_command_line_of_windows_is_ignored,
    a_user_name_of_windows_is_ignored,
    an_absent_oom_score_is_the_callers,
    a_umask_that_is_none_is_refused needs [Need::Isolate],
    a_domain_name_without_its_namespace_is_refused needs [Need::Isolate],
    an_unknown_clock_is_refused needs [Need::Isolate, Need::File("/proc/self/ns/time")],
    a_file_in_the_place_of_a_node_is_refused needs [Need::Root],
    a_burst_and_an_idle_cgroup_are_written needs [Need::Cgroup("cpu"), Need::Isolate, Need::Kernel(5, 15)],
    a_limit_of_no_processes_is_told_from_no_limit needs [Need::Isolate, Need::Cgroup("pids")],
    network_classes_without_their_controller_are_refused needs [Need::Root, Need::Isolate],
    rdma_without_its_controller_is_refused needs [Need::Root, Need::Isolate],
    a_share_of_the_cache_is_refused_where_nothing_shares_it_out needs [Need::Isolate],
    features_tells_of_every_part_of_the_standard needs [Need::Isolate],
];

fn a_console_size_without_a_terminal_is_ignored() {
    let size = json!({"height": 11, "width": 22});
    assert_eq!(
        Bundle::shell("test -t 0 || echo no terminal").set("/process/consoleSize", size).output(),
        "no terminal"
    );
}

fn a_command_line_of_windows_is_ignored() {
    assert_eq!(Bundle::shell("echo args").set("/process/commandLine", json!("cmd /c ver")).output(), "args");
}

fn a_user_name_of_windows_is_ignored() {
    assert_eq!(Bundle::shell("id -u").set("/process/user/username", json!("user")).output(), "0");
}

fn an_absent_oom_score_is_the_callers() {
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    assert_eq!(Bundle::new(&["/bin/cat", "/proc/self/oom_score_adj"]).output(), own.trim());
}

fn a_umask_that_is_none_is_refused() {
    Bundle::nothing()
        .set("/process/user/umask", json!(512))
        .refused(&["process.user.umask: 512 is out of range: 0 to 511"]);
}

fn a_domain_name_without_its_namespace_is_refused() {
    Bundle::nothing()
        .unset("/hostname")
        .config(|json| config::remove_namespace(json, "uts"))
        .set("/domainname", json!("x"))
        .refused(&["domainname: it needs a uts namespace"]);
}

fn an_unknown_clock_is_refused() {
    Bundle::nothing()
        .config(|json| config::add_namespace(json, json!({"type": "time"})))
        .set("/linux/timeOffsets", json!({"realtime": {"secs": 1}}))
        .refused(&["linux.timeOffsets", "realtime"]);
}

fn a_file_in_the_place_of_a_node_is_refused() {
    let devices = json!([{"path": "/srv/node", "type": "c", "major": 1, "minor": 3}]);
    Bundle::nothing().file("/srv/node", "a file").set("/linux/devices", devices).refused(&["/srv/node"]);
}

fn a_burst_and_an_idle_cgroup_are_written() {
    let file = |v1, v2| if cgroup::is_v2() { v2 } else { v1 };
    let cpu = json!({"quota": 20_000, "period": 50_000, "burst": 10_000});
    let container = Bundle::sleeper().limit("cpu", cpu).create();
    assert_eq!(container.cgroup("cpu", file("cpu.cfs_burst_us", "cpu.max.burst")), "10000");
    assert_eq!(Bundle::sleeper().limit("cpu", json!({"idle": 1})).create().cgroup("cpu", "cpu.idle"), "1");
}

/// A limit of zero lets the init be, which is there already, and no process beside it.
fn a_limit_of_no_processes_is_told_from_no_limit() {
    let limited = |pids: Value| Bundle::sleeper().limit("pids", pids).create().cgroup("pids", "pids.max");
    assert_eq!(limited(json!({"limit": 0})), "0");
    assert_eq!(limited(json!({})), "max");
}

fn network_classes_without_their_controller_are_refused() {
    if cgroup::v1("net_cls").is_some() || cgroup::is_v2() {
        skip("net_cls is mounted, or version 2, which ignores it, is all there is");
    }
    Bundle::nothing()
        .limit("network", json!({"classID": 0x10_0001}))
        .refused(&["linux.resources.network.classID", "net_cls"]);
}

fn rdma_without_its_controller_is_refused() {
    if cgroup::hierarchy_of("rdma").is_some() {
        skip("this host has the controller rdma");
    }
    Bundle::nothing()
        .limit("rdma", json!({"mlx5_1": {"hcaHandles": 3}}))
        .refused(&["linux.resources.rdma", "rdma"]);
}

fn a_share_of_the_cache_is_refused_where_nothing_shares_it_out() {
    if std::path::Path::new("/sys/fs/resctrl/schemata").exists() {
        skip("this host has resctrl");
    }
    Bundle::nothing()
        .set("/linux/intelRdt", json!({"closID": "x"}))
        .refused(&["linux.intelRdt: ", "resctrl"]);
}

fn features_tells_of_every_part_of_the_standard() {
    let features = bundle::runtime(&["features"]).ok().json();
    let linux = &features["linux"];
    for (pointer, expected) in [
        ("/netDevices/enabled", json!(true)),
        ("/mountExtensions/idmap/enabled", json!(true)),
        ("/intelRdt", json!({"enabled": true, "schemata": true, "monitoring": true})),
        (
            "/memoryPolicy/flags",
            json!(["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"]),
        ),
        (
            "/seccomp/knownFlags",
            json!([
                "SECCOMP_FILTER_FLAG_LOG",
                "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
                "SECCOMP_FILTER_FLAG_TSYNC",
                "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"
            ]),
        ),
    ] {
        assert_eq!(linux.pointer(pointer), Some(&expected), "{pointer}: {features}");
    }
    assert_eq!(linux["memoryPolicy"]["modes"].as_array().map(Vec::len), Some(7), "{features}");
    let actions = linux["seccomp"]["actions"].as_array().unwrap();
    assert!(need::kernel() < (5, 0) || actions.contains(&json!("SCMP_ACT_NOTIFY")), "{features}");
}
