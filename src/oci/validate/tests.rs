//! Each rule with its exact message: the default config, one change, what is said about it.

use serde_json::{Value, json};

use crate::oci::default_spec::{CgroupNamespace, Rootless, default_spec_text};
use crate::oci::read::parse;

fn said(change: impl Fn(&mut Value)) -> Vec<String> {
    let text = default_spec_text(Rootless::No, CgroupNamespace::New);
    let mut config: Value = serde_json::from_str(&text).unwrap();
    change(&mut config);
    match parse(config.to_string().as_bytes()) {
        Ok(_) => Vec::new(),
        Err(error) => {
            let text = error.to_string();
            let lines = text.lines().filter(|line| !line.ends_with(" faults in config.json:"));
            lines.map(|line| line.trim_start().to_owned()).collect()
        }
    }
}

/// Sets `pointer` (made where missing) to `value`, and expects these faults.
#[track_caller]
fn refuses(pointer: &str, value: Value, faults: &[&str]) {
    assert_eq!(said(|config| set(config, pointer, value.clone())), faults);
}

#[track_caller]
fn accepts(pointer: &str, value: Value) {
    refuses(pointer, value, &[]);
}

fn set(config: &mut Value, pointer: &str, value: Value) {
    let mut place = config;
    for key in pointer.split('/').skip(1) {
        place = match key.parse::<usize>() {
            Ok(index) if place.is_array() => &mut place[index],
            _ => &mut place[key],
        };
    }
    *place = value;
}

fn namespaces(config: &mut Value, kinds: &[&str]) {
    config["linux"]["namespaces"] = kinds.iter().map(|kind| json!({"type": kind})).collect();
}

fn with_users(config: &mut Value) {
    namespaces(config, &["pid", "network", "ipc", "uts", "mount", "user"]);
    for map in ["uidMappings", "gidMappings"] {
        config["linux"][map] = json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
    }
}

#[test]
fn version_must_be_semver_of_major_one() {
    for good in ["1.0.0", "1.0.2-dev", "1.3.0-rc.1+build.5", "1.99.0"] {
        accepts("/ociVersion", json!(good));
    }
    refuses("/ociVersion", json!(""), &["ociVersion: it is missing"]);
    refuses(
        "/ociVersion",
        json!("2.0.0"),
        &["ociVersion: 2.0.0 is not supported: this is a runtime for 1.x"],
    );
    refuses(
        "/ociVersion",
        json!("0.9.0"),
        &["ociVersion: 0.9.0 is not supported: this is a runtime for 1.x"],
    );
    for bad in ["1", "1.0", "one", "1.0.0.0", "01.0.0", "1.0.0-", "1.0.0+", "1.0.x", "v1.0.0", "1..0"] {
        refuses("/ociVersion", json!(bad), &[&format!("ociVersion: {bad:?} is not a version like 1.3.0")]);
    }
}

#[test]
fn root_is_needed() {
    refuses("/root", Value::Null, &["root: it is missing"]);
    refuses("/root", json!({}), &["root.path: it is missing"]);
    refuses("/root/path", json!("a\0b"), &["root.path: \"a\\0b\" holds a NUL byte"]);
}

#[test]
fn mounts_have_an_absolute_destination_a_type_and_a_source_where_they_bind() {
    let mount = |value: Value, faults: &[&str]| refuses("/mounts/0", value, faults);
    mount(
        json!({"destination": "a", "type": "proc"}),
        &["mounts[0].destination: \"a\" is not an absolute path"],
    );
    mount(json!({"destination": "", "type": "proc"}), &["mounts[0].destination: it is empty"]);
    mount(json!({"type": "proc"}), &["mounts[0].destination: it is missing"]);
    mount(
        json!({"destination": "/a\0", "type": "proc"}),
        &["mounts[0].destination: \"/a\\0\" holds a NUL byte"],
    );
    mount(
        json!({"destination": "/a"}),
        &["mounts[0].type: it is missing, and no option asks for a bind mount"],
    );
    mount(
        json!({"destination": "/a", "options": ["rbind"]}),
        &["mounts[0].source: it is missing, and a bind mount needs one"],
    );
    mount(
        json!({"destination": "/a", "type": "bind", "source": ""}),
        &["mounts[0].source: it is empty, and a bind mount needs one"],
    );
    mount(
        json!({"destination": "/a", "type": "tmpfs", "source": "x\0", "options": ["size=1", "mode=\0"]}),
        &[
            "mounts[0].source: \"x\\0\" holds a NUL byte",
            "mounts[0].options[1]: \"mode=\\0\" holds a NUL byte",
        ],
    );
    let map = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
    mount(
        json!({"destination": "/a", "source": "/", "options": ["bind"], "uidMappings": map}),
        &["mounts[0].uidMappings: an id-mapped mount needs both uidMappings and gidMappings"],
    );
    mount(
        json!({"destination": "/a", "type": "tmpfs", "uidMappings": map, "gidMappings": map}),
        &["mounts[0].type: only bind mounts can be id-mapped"],
    );
    mount(json!({"destination": "/a", "source": "b", "options": ["bind"]}), &[]);
}

#[test]
fn names_need_a_uts_namespace() {
    let faults = said(|config| {
        namespaces(config, &["mount"]);
        config["domainname"] = json!("d");
    });
    assert_eq!(
        faults,
        [
            "hostname: it needs a uts namespace of the container's own in linux.namespaces",
            "domainname: it needs a uts namespace of the container's own in linux.namespaces",
        ]
    );
    refuses("/hostname", json!("a\0"), &["hostname: \"a\\0\" holds a NUL byte"]);
    let long = "h".repeat(65);
    refuses("/hostname", json!(long), &["hostname: it has 65 bytes, the kernel takes 64"]);
    accepts("/hostname", json!("h".repeat(64)));
}

#[test]
fn hooks_have_an_absolute_path_and_a_positive_timeout() {
    for kind in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
        refuses(
            "/hooks",
            json!({kind: [{"path": "/a"}, {"path": "b", "timeout": 0, "env": ["X"], "args": ["\0"]}]}),
            &[
                &format!("hooks.{kind}[1].path: \"b\" is not an absolute path"),
                &format!("hooks.{kind}[1].args[0]: \"\\0\" holds a NUL byte"),
                &format!("hooks.{kind}[1].env[0]: \"X\" is not NAME=value"),
                &format!("hooks.{kind}[1].timeout: 0 is not a number of seconds above 0"),
            ],
        );
    }
    refuses("/hooks", json!({"poststop": [{}]}), &["hooks.poststop[0].path: it is missing"]);
}

#[test]
fn annotations_have_keys() {
    refuses("/annotations", json!({"": "x"}), &["annotations[\"\"]: a key must not be empty"]);
    refuses("/annotations", json!({"a": 1}), &["annotations[\"a\"]: it must be a string, not a number"]);
}

#[test]
fn a_process_has_arguments_a_folder_and_a_clean_environment() {
    accepts("/process", Value::Null);
    let nothing = "process.args: it is missing or empty: there is nothing to execute";
    refuses("/process/args", Value::Null, &[nothing]);
    refuses("/process/args", json!([]), &[nothing]);
    refuses("/process/args", json!([""]), &["process.args[0]: it is empty: there is nothing to execute"]);
    refuses("/process/args", json!(["a", "b\0"]), &["process.args[1]: \"b\\0\" holds a NUL byte"]);
    refuses("/process/cwd", json!(""), &["process.cwd: it is empty"]);
    refuses("/process/cwd", json!("x"), &["process.cwd: \"x\" is not an absolute path"]);
    refuses(
        "/process/env",
        json!(["A=b", "A", "=b", "A=\0"]),
        &[
            "process.env[1]: \"A\" is not NAME=value",
            "process.env[2]: \"=b\" has no name before the =",
            "process.env[3]: \"A=\\0\" holds a NUL byte",
        ],
    );
}

#[test]
fn ids_stop_below_the_last() {
    let last = u32::MAX;
    refuses(
        "/process/user",
        json!({"uid": last, "gid": last, "additionalGids": [1, last], "umask": 512}),
        &[
            "process.user.uid: 4294967295 is not an id: the kernel reads it as -1",
            "process.user.gid: 4294967295 is not an id: the kernel reads it as -1",
            "process.user.additionalGids[1]: 4294967295 is not an id: the kernel reads it as -1",
            "process.user.umask: 512 is out of range: 0 to 511 (0777)",
        ],
    );
    refuses("/process/user/uid", json!(-1), &["process.user.uid: -1 is out of range: 0 to 4294967295"]);
}

#[test]
fn rlimits_are_known_ordered_and_given_once() {
    refuses(
        "/process/rlimits",
        json!([
            {"type": "RLIMIT_CPU", "soft": 2, "hard": 1},
            {"type": "RLIMIT_CPU", "soft": 1, "hard": u64::MAX}
        ]),
        &[
            "process.rlimits[0]: RLIMIT_CPU: soft 2 is above hard 1",
            "process.rlimits[1].type: RLIMIT_CPU is given twice",
        ],
    );
    let unknown = json!([{"type": "RLIMIT_FUN", "soft": 1, "hard": 1}]);
    refuses("/process/rlimits", unknown, &["process.rlimits[0].type: unknown resource limit \"RLIMIT_FUN\""]);
}

#[test]
fn an_effective_capability_is_permitted() {
    refuses(
        "/process/capabilities",
        json!({"effective": ["CAP_KILL", "CAP_CHOWN"], "permitted": ["CAP_KILL"]}),
        &["process.capabilities.effective: CAP_CHOWN is not in permitted"],
    );
    accepts("/process/capabilities", json!({"ambient": ["CAP_KILL"]}));
}

#[test]
fn oom_score_and_io_priority_are_in_range() {
    refuses(
        "/process/oomScoreAdj",
        json!(1001),
        &["process.oomScoreAdj: 1001 is out of range: -1000 to 1000"],
    );
    refuses(
        "/process/ioPriority",
        json!({"class": "IOPRIO_CLASS_RT", "priority": 8}),
        &["process.ioPriority.priority: 8 is out of range: 0 to 7"],
    );
    refuses(
        "/process/execCPUAffinity",
        json!({"initial": "a", "final": 1}),
        &[
            "process.execCPUAffinity.final: it must be a string, not a number",
            "process.execCPUAffinity.initial: \"a\" is not a list like 0-3,7",
        ],
    );
    accepts("/process/execCPUAffinity", json!({"initial": "", "final": "0-3,7"}));
}

#[test]
fn the_scheduler_has_what_its_policy_has() {
    let scheduler = |value: Value, faults: &[&str]| refuses("/process/scheduler", value, faults);
    scheduler(json!({"policy": "SCHED_BATCH", "nice": 19}), &[]);
    scheduler(json!({"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 2, "period": 3}), &[]);
    scheduler(
        json!({"policy": "SCHED_OTHER", "nice": 20, "priority": 1, "runtime": 5}),
        &[
            "process.scheduler.nice: 20 is out of range: -20 to 19",
            "process.scheduler.priority: only SCHED_FIFO and SCHED_RR have a priority",
            "process.scheduler.runtime: only SCHED_DEADLINE has one",
        ],
    );
    scheduler(
        json!({"policy": "SCHED_FIFO", "nice": 1, "priority": 100}),
        &[
            "process.scheduler.nice: only SCHED_OTHER and SCHED_BATCH have a nice value",
            "process.scheduler.priority: 100 is out of range: 1 to 99",
        ],
    );
    scheduler(
        json!({"policy": "SCHED_DEADLINE", "runtime": 1}),
        &["process.scheduler: SCHED_DEADLINE needs a runtime and a deadline"],
    );
    scheduler(
        json!({"policy": "SCHED_DEADLINE", "runtime": 3, "deadline": 2}),
        &["process.scheduler: SCHED_DEADLINE needs runtime <= deadline <= period"],
    );
    scheduler(json!({"nice": 0}), &["process.scheduler.policy: it is missing"]);
}

#[test]
fn namespaces_are_given_once_and_joined_by_an_absolute_path() {
    refuses(
        "/linux/namespaces",
        json!([{"type": "uts"}, {"type": "mount"}, {"type": "uts", "path": "ns"}]),
        &[
            "linux.namespaces[2].type: the uts namespace is given twice",
            "linux.namespaces[2].path: \"ns\" is not an absolute path",
        ],
    );
    refuses("/linux/namespaces/0", json!({}), &["linux.namespaces[0].type: it is missing"]);
}

#[test]
fn id_maps_belong_to_a_user_namespace() {
    let map = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
    refuses(
        "/linux/uidMappings",
        map.clone(),
        &["linux.uidMappings: it needs a user namespace in linux.namespaces"],
    );
    let without = said(|config| {
        with_users(config);
        config["linux"]["gidMappings"] = json!([]);
    });
    assert_eq!(without, ["linux.gidMappings: a new user namespace needs one"]);
    let joined = said(|config| {
        namespaces(config, &["uts", "mount"]);
        let user = json!({"type": "user", "path": "/proc/1/ns/user"});
        config["linux"]["namespaces"].as_array_mut().unwrap().push(user);
        config["linux"]["uidMappings"] = map.clone();
    });
    assert_eq!(joined, Vec::<String>::new());
}

#[test]
fn id_maps_do_not_overlap_or_pass_the_last_id() {
    let faults = said(|config| {
        with_users(config);
        config["linux"]["uidMappings"] = json!([
            {"containerID": 0, "hostID": 1000, "size": 10},
            {"containerID": 9, "hostID": 2000, "size": 1},
            {"containerID": 20, "hostID": 1005, "size": 1},
            {"containerID": 30, "hostID": 4_294_967_290_u32, "size": 6},
            {"containerID": 40, "hostID": 5000, "size": 0}
        ]);
        config["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 0, "size": u32::MAX}]);
    });
    assert_eq!(
        faults,
        [
            "linux.uidMappings[3].hostID: 4294967290 and 5 more pass the last id, 4294967294",
            "linux.uidMappings[4].size: it is 0",
            "linux.uidMappings[1].containerID: the range overlaps that of linux.uidMappings[0]",
            "linux.uidMappings[2].hostID: the range overlaps that of linux.uidMappings[0]",
        ]
    );
    let long: Vec<_> = (0..341).map(|id| json!({"containerID": id, "hostID": id, "size": 1})).collect();
    let faults = said(|config| {
        with_users(config);
        config["linux"]["uidMappings"] = json!(long);
    });
    assert_eq!(faults, ["linux.uidMappings: it has 341 lines, the kernel takes 340"]);
}

#[test]
fn the_process_has_ids_that_are_mapped() {
    let faults = said(|config| {
        with_users(config);
        config["process"]["user"] = json!({"uid": 10, "gid": 9, "additionalGids": [5, 77]});
    });
    assert_eq!(
        faults,
        [
            "process.user.uid: 10 is not mapped by linux.uidMappings",
            "process.user.additionalGids[1]: 77 is not mapped by linux.gidMappings",
        ]
    );
}

#[test]
fn clocks_are_set_in_a_new_time_namespace_only() {
    let offsets =
        json!({"monotonic": {"secs": 1}, "realtime": {"secs": 1}, "boottime": {"nanosecs": 1_000_000_000}});
    let faults = said(|config| {
        namespaces(config, &["uts", "mount", "time"]);
        config["linux"]["timeOffsets"] = offsets.clone();
    });
    assert_eq!(
        faults,
        [
            "linux.timeOffsets[\"boottime\"].nanosecs: 1000000000 is out of range: 0 to 999999999",
            "linux.timeOffsets[\"realtime\"]: unknown clock: known are monotonic, boottime",
        ]
    );
    let one = json!({"monotonic": {"secs": -5}});
    refuses(
        "/linux/timeOffsets",
        one.clone(),
        &["linux.timeOffsets: it needs a new time namespace in linux.namespaces"],
    );
    let joined = said(|config| {
        config["linux"]["namespaces"][0] = json!({"type": "time", "path": "/ns"});
        config["linux"]["timeOffsets"] = one.clone();
    });
    assert_eq!(joined, ["linux.timeOffsets: the clocks of a joined time namespace cannot be set"]);
}

#[test]
fn devices_have_a_path_a_type_and_numbers() {
    refuses(
        "/linux/devices",
        json!([
            {"path": "dev/a", "type": "c", "major": 1, "minor": 3},
            {"path": "/dev/../a", "type": "u", "major": 1, "minor": 3},
            {"path": "/dev/b", "type": "b"},
            {"path": "/dev/c", "type": "c", "major": 4096, "minor": -1, "fileMode": 99999, "uid": u32::MAX},
            {"path": "/", "type": "p"}
        ]),
        &[
            "linux.devices[0].path: \"dev/a\" is not an absolute path",
            "linux.devices[1].path: \"/dev/../a\" does not name a node",
            "linux.devices[2]: major and minor are missing",
            "linux.devices[3].major: 4096 is out of range: 0 to 4095",
            "linux.devices[3].minor: -1 is out of range: 0 to 1048575",
            "linux.devices[3].fileMode: 99999 is not a file mode",
            "linux.devices[3].uid: 4294967295 is not an id: the kernel reads it as -1",
            "linux.devices[4].path: \"/\" does not name a node",
        ],
    );
    let pipe_and_typed_mode = json!([
        {"path": "/dev/p", "type": "p"},
        {"path": "/dev/n", "type": "c", "major": 1, "minor": 3, "fileMode": 0o020_666}
    ]);
    accepts("/linux/devices", pipe_and_typed_mode);
    refuses(
        "/linux/devices",
        json!([{"path": "/dev/a", "type": "a"}]),
        &["linux.devices[0].type: unknown type of a device node \"a\": known are c, b, u, p"],
    );
}

#[test]
fn covered_paths_are_absolute_and_need_a_mount_namespace() {
    refuses(
        "/linux/maskedPaths",
        json!(["/a", "b", ""]),
        &["linux.maskedPaths[1]: \"b\" is not an absolute path", "linux.maskedPaths[2]: it is empty"],
    );
    assert_eq!(
        said(|config| namespaces(config, &["uts"])),
        [
            "linux.maskedPaths: it needs a mount namespace in linux.namespaces",
            "linux.readonlyPaths: it needs a mount namespace in linux.namespaces",
        ]
    );
}

#[test]
fn propagation_cgroup_path_and_personality_are_checked() {
    refuses(
        "/linux/rootfsPropagation",
        json!("public"),
        &["linux.rootfsPropagation: unknown propagation \"public\": known are \
           shared, slave, private, unbindable, rshared, rslave, rprivate, runbindable"],
    );
    accepts("/linux/rootfsPropagation", json!("rslave"));
    refuses("/linux/cgroupsPath", json!("/a/../b"), &["linux.cgroupsPath: \"/a/../b\" climbs with .."]);
    accepts("/linux/cgroupsPath", json!("user.slice:libpod:0123"));
    refuses(
        "/linux/personality",
        json!({"domain": "LINUX32", "flags": ["X"]}),
        &["linux.personality.flags: the specification defines none"],
    );
    accepts("/linux/personality", json!({"domain": "LINUX32"}));
    refuses("/linux/mountLabel", json!("\0"), &["linux.mountLabel: \"\\0\" holds a NUL byte"]);
}

#[test]
fn a_share_of_the_cache_has_the_name_and_lines_of_its_kind() {
    let rdt = |rdt: Value, faults: &[&str]| refuses("/linux/intelRdt", rdt, faults);
    accepts(
        "/linux/intelRdt",
        json!({"closID": "/", "l3CacheSchema": "L3:0=f\nMB:0=1", "memBwSchema": "MB:0=50"}),
    );
    accepts("/linux/intelRdt", json!({"schemata": ["L3CODE:0=f", "SMBA:0=10"], "enableMonitoring": true}));
    rdt(
        json!({"closID": "a/b"}),
        &["linux.intelRdt.closID: \"a/b\" is not the name of a group: one name, or / for the root's"],
    );
    rdt(
        json!({"closID": "mon_groups"}),
        &["linux.intelRdt.closID: \"mon_groups\" is not the name of a group: one name, or / for the root's"],
    );
    rdt(json!({"memBwSchema": "0=1"}), &["linux.intelRdt.memBwSchema: \"0=1\" does not start with MB:"]);
    rdt(
        json!({"memBwSchema": "MB:0=1\nMB:1=1"}),
        &["linux.intelRdt.memBwSchema: \"MB:0=1\\nMB:1=1\" is not one line"],
    );
    rdt(json!({"l3CacheSchema": "0=f"}), &["linux.intelRdt.l3CacheSchema: \"0=f\" does not start with L3"]);
    rdt(json!({"schemata": [""]}), &["linux.intelRdt.schemata[0]: \"\" is not one line"]);
}

#[test]
fn a_memory_policy_has_the_nodes_and_flags_of_its_mode() {
    let policy = |policy: Value, faults: &[&str]| refuses("/linux/memoryPolicy", policy, faults);
    policy(json!({"mode": "MPOL_BIND", "nodes": "0-1", "flags": ["MPOL_F_NUMA_BALANCING"]}), &[]);
    policy(json!({"mode": "MPOL_BIND"}), &["linux.memoryPolicy.nodes: MPOL_BIND needs nodes"]);
    policy(
        json!({"mode": "MPOL_BIND", "nodes": "1-0"}),
        &["linux.memoryPolicy.nodes: \"1-0\" holds a range that ends before it begins: 1-0"],
    );
    policy(
        json!({"mode": "MPOL_PREFERRED", "flags": ["MPOL_F_STATIC_NODES"]}),
        &["linux.memoryPolicy.flags: MPOL_PREFERRED without nodes takes no flags"],
    );
    policy(json!({"nodes": "0"}), &["linux.memoryPolicy.mode: it is missing"]);
}

#[test]
fn network_devices_have_names_of_their_own_and_a_namespace_to_go_to() {
    accepts("/linux/netDevices", json!({"eth0": {}, "eth1": {"name": "net%d"}, "eth2": {"name": "net%d"}}));
    refuses(
        "/linux/netDevices",
        json!({"a b": {"name": "ok"}, "eth0": {"name": "x"}, "eth1": {"name": "x"}, "eth2": {"name": "%d%d"}}),
        &[
            "linux.netDevices[\"a b\"]: \"a b\" is not the name of an interface",
            "linux.netDevices[\"eth1\"].name: \"x\" is given twice",
            "linux.netDevices[\"eth2\"].name: \"%d%d\" is not the name of an interface",
        ],
    );
    let faults = said(|config| {
        namespaces(config, &["pid", "mount", "uts"]);
        config["linux"]["netDevices"] = json!({"eth0": {}});
    });
    let why = "it needs a network namespace of the container's own in linux.namespaces";
    assert_eq!(faults, [format!("linux.netDevices: {why}")]);
}

#[test]
fn sysctls_belong_to_a_namespace_of_the_container() {
    let sysctl = |key: &str, faults: &[&str]| refuses("/linux/sysctl", json!({key: "1"}), faults);
    for good in [
        "net.ipv4.ip_forward",
        "net/ipv4/conf/eth0.1/forwarding",
        "net.ipv4.conf.eth0/1.forwarding",
        "kernel.shm_rmid_forced",
        "kernel/sem",
        "fs.mqueue.msg_max",
        "kernel.domainname",
    ] {
        sysctl(good, &[]);
    }
    let host = "it is the host's: it belongs to no namespace";
    for bad in ["kernel.core_pattern", "kernel/core_pattern", "vm.swappiness", "fs.file-max", "kernel.sem.x"]
    {
        sysctl(bad, &[&format!("linux.sysctl[{bad:?}]: {host}")]);
    }
    let form = "it is not a name like net.ipv4.ip_forward";
    for bad in [
        "net/../kernel/core_pattern",
        "net.//.kernel.core_pattern",
        "net.x+kernel.core_pattern",
        "net",
        "",
        "net..x",
        "/net/x",
        "net.x\0",
        "net. x",
    ] {
        sysctl(bad, &[&format!("linux.sysctl[{bad:?}]: {form}")]);
    }
    sysctl(
        "kernel.hostname",
        &["linux.sysctl[\"kernel.hostname\"]: it clashes with the hostname: set hostname instead"],
    );
    sysctl(
        "user.max_user_namespaces",
        &["linux.sysctl[\"user.max_user_namespaces\"]: it needs a user namespace in linux.namespaces"],
    );
    for value in ["1+2", "1\n2", "1\u{0}2"] {
        refuses(
            "/linux/sysctl",
            json!({"net.x": value}),
            &[&format!("linux.sysctl[\"net.x\"]: the value {value:?} holds more than one setting")],
        );
    }
}

#[test]
fn sysctls_need_their_namespace() {
    let faults = said(|config| {
        namespaces(config, &["mount"]);
        config["hostname"] = Value::Null;
        config["linux"]["sysctl"] =
            json!({"net.a": "1", "kernel.sem": "1", "kernel.domainname": "x", "fs.mqueue.x": "1"});
    });
    assert_eq!(
        faults,
        [
            "linux.sysctl[\"fs.mqueue.x\"]: it needs an ipc namespace in linux.namespaces",
            "linux.sysctl[\"kernel.domainname\"]: it needs a uts namespace in linux.namespaces",
            "linux.sysctl[\"kernel.sem\"]: it needs an ipc namespace in linux.namespaces",
            "linux.sysctl[\"net.a\"]: it needs a network namespace in linux.namespaces",
        ]
    );
}

#[test]
fn device_rules_say_what_they_allow() {
    refuses(
        "/linux/resources/devices",
        json!([
            {"allow": false},
            {"allow": true, "access": "rx"},
            {"allow": true, "access": "r", "type": "p", "major": -2}
        ]),
        &[
            "linux.resources.devices[0].access: it is missing: it must be some of r, w, m",
            "linux.resources.devices[1].access: \"rx\" is not made of r, w, m",
            "linux.resources.devices[2].type: \"p\" is no device: its rule would do nothing",
            "linux.resources.devices[2].major: -2 is out of range: -1 (any) to 4294967295",
        ],
    );
}

#[test]
fn memory_limits_fit_together() {
    let memory = |value: Value, faults: &[&str]| refuses("/linux/resources/memory", value, faults);
    for good in [
        json!({"limit": 100, "swap": 100}),
        json!({"limit": 100, "swap": -1}),
        json!({"limit": -1, "swap": -1}),
        json!({"swap": 0}),
        json!({"limit": 0, "reservation": 0, "swappiness": 100}),
    ] {
        memory(good, &[]);
    }
    memory(
        json!({"limit": 100, "swap": 99}),
        &["linux.resources.memory.swap: 99 is memory and swap together, and below memory.limit 100"],
    );
    memory(
        json!({"swap": 99}),
        &["linux.resources.memory.swap: it is memory and swap together, and needs memory.limit"],
    );
    memory(
        json!({"limit": -1, "swap": 99}),
        &["linux.resources.memory.swap: it is memory and swap together, and memory has no limit"],
    );
    memory(
        json!({"limit": -2, "swappiness": 101}),
        &[
            "linux.resources.memory.limit: -2 is not a limit: -1 means none",
            "linux.resources.memory.swappiness: 101 is out of range: 0 to 100",
        ],
    );
}

#[test]
fn cpus_pids_and_block_devices_are_checked() {
    refuses(
        "/linux/resources/cpu",
        json!({"idle": 2, "cpus": "0-3,7,", "mems": "3-1"}),
        &[
            "linux.resources.cpu.idle: 2 is neither 0 nor 1",
            "linux.resources.cpu.cpus: \"0-3,7,\" is not a list like 0-3,7",
            "linux.resources.cpu.mems: \"3-1\" is not a list like 0-3,7",
        ],
    );
    accepts("/linux/resources/cpu", json!({"cpus": "0-3,7", "mems": "", "quota": -1, "shares": 2}));
    refuses(
        "/linux/resources/pids",
        json!({"limit": -2}),
        &["linux.resources.pids.limit: -2 is not a limit: -1 means none"],
    );
    refuses(
        "/linux/resources/blockIO",
        json!({
            "weight": 9, "leafWeight": 1001,
            "weightDevice": [{"major": 8, "minor": 0}],
            "throttleReadIOPSDevice": [{"major": -1, "minor": 0, "rate": 1}]
        }),
        &[
            "linux.resources.blockIO.weight: 9 is out of range: 10 to 1000",
            "linux.resources.blockIO.leafWeight: 1001 is out of range: 10 to 1000",
            "linux.resources.blockIO.weightDevice[0]: it has neither weight nor leafWeight",
            "linux.resources.blockIO.throttleReadIOPSDevice[0].major: -1 is not a device number",
        ],
    );
}

#[test]
fn huge_pages_have_a_size_given_once() {
    refuses(
        "/linux/resources/hugepageLimits",
        json!([
            {"pageSize": "2MB", "limit": 1},
            {"pageSize": "2MB", "limit": -1},
            {"pageSize": "2M", "limit": 1},
            {"pageSize": "../x/2MB", "limit": 1}
        ]),
        &[
            "linux.resources.hugepageLimits[1].pageSize: 2MB is given twice",
            "linux.resources.hugepageLimits[1].limit: -1 is negative",
            "linux.resources.hugepageLimits[2].pageSize: \"2M\" is not a size like 2MB",
            "linux.resources.hugepageLimits[3].pageSize: \"../x/2MB\" is not a size like 2MB",
        ],
    );
}

#[test]
fn cgroup_files_interfaces_and_devices_are_names_not_paths() {
    refuses(
        "/linux/resources/unified",
        json!({"memory.high": "1", "../memory.high": "1", "cgroup.procs": "1", "memory": "1", "a.b": "\0"}),
        &[
            "linux.resources.unified[\"../memory.high\"]: it is not a cgroup file like memory.high",
            "linux.resources.unified[\"a.b\"]: \"\\0\" holds a NUL byte",
            "linux.resources.unified[\"cgroup.procs\"]: it is not a limit",
            "linux.resources.unified[\"memory\"]: it is not a cgroup file like memory.high",
        ],
    );
    refuses(
        "/linux/resources/network",
        json!({"priorities": [{"name": "eth0", "priority": 1}, {"name": "a/b", "priority": 1}]}),
        &["linux.resources.network.priorities[1].name: \"a/b\" is not the name of an interface"],
    );
    refuses(
        "/linux/resources/rdma",
        json!({"mlx5_1": {}, "a b": {"hcaHandles": 1}}),
        &["linux.resources.rdma[\"a b\"]: it is not the name of a device"],
    );
}

#[test]
fn seccomp_rules_are_complete() {
    let seccomp = |value: Value, faults: &[&str]| refuses("/linux/seccomp", value, faults);
    seccomp(
        json!({
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "flags": [],
            "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args":
                [{"index": 5, "value": 0, "valueTwo": 0, "op": "SCMP_CMP_EQ"}]}]
        }),
        &[],
    );
    seccomp(
        json!({
            "defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1, "listenerMetadata": "x",
            "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
            "syscalls": [
                {"names": [], "action": "SCMP_ACT_LOG"},
                {"names": ["", "write"], "action": "SCMP_ACT_NOTIFY", "args":
                    [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]},
                {"names": ["a"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4096},
                {"names": ["a"], "action": "SCMP_ACT_TRACE", "errnoRet": 65535}
            ]
        }),
        &[
            "linux.seccomp.defaultErrnoRet: SCMP_ACT_ALLOW returns no errno",
            "linux.seccomp.listenerMetadata: it needs listenerPath",
            "linux.seccomp.syscalls[0].names: it is empty",
            "linux.seccomp.syscalls[1].names[0]: it is empty",
            "linux.seccomp.syscalls[1].args[0].index: 6 is out of range: 0 to 5",
            "linux.seccomp.syscalls[2].errnoRet: 4096 is out of range: 0 to 4095",
        ],
    );
}

#[test]
fn hostile_text_is_escaped_and_cut_in_messages() {
    let long = "x".repeat(5000);
    let faults = said(|config| config["process"]["cwd"] = json!(format!("\n{long}")));
    assert_eq!(faults, [format!("process.cwd: \"\\n{}\"… is not an absolute path", "x".repeat(79))]);
}
