//! The rules on configs: nothing is said of a good one, and of each weakness what it is and where.

use serde_json::{Value, json};

use super::*;
use crate::oci::read;

fn good() -> Value {
    let filter = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]});
    json!({
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs", "readonly": true},
        "process": {
            "user": {"uid": 0, "gid": 0}, "args": ["sh"], "cwd": "/", "noNewPrivileges": true,
            "capabilities": {"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"]}
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]},
            {"destination": "/data", "type": "bind", "source": "/srv/data", "options": ["rbind", "nosuid"]}
        ],
        "linux": {
            "namespaces": [
                {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
                {"type": "cgroup"}, {"type": "user"}
            ],
            "uidMappings": [{"containerID": 0, "hostID": 100_000, "size": 65536}],
            "gidMappings": [{"containerID": 0, "hostID": 100_000, "size": 65536}],
            "resources": {"pids": {"limit": 100}, "memory": {"limit": 1 << 28}},
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/scsi",
                "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/sys", "/proc/sysrq-trigger"],
            "seccomp": filter
        }
    })
}

fn found(config: &Value, facts: &Facts) -> Vec<(String, Reach, String)> {
    let config = read::parse(config.to_string().as_bytes()).unwrap();
    let findings = examine(&config, facts).unwrap();
    findings.into_iter().map(|finding| (finding.rule.to_owned(), finding.reach, finding.at)).collect()
}

fn after(change: impl Fn(&mut Value)) -> Vec<(String, Reach, String)> {
    let mut config = good();
    change(&mut config);
    found(&config, &Facts::default())
}

fn one(rule: &str, reach: Reach, at: &str) -> Vec<(String, Reach, String)> {
    vec![(rule.to_owned(), reach, at.to_owned())]
}

#[test]
fn nothing_is_said_of_a_good_config() {
    assert_eq!(after(|_| {}), []);
}

#[test]
fn names_of_rules_are_their_own() {
    let mut names: Vec<_> = RULES.iter().map(|rule| rule.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), RULES.len());
}

#[test]
fn a_capability_counts_by_who_is_root() {
    let add = |config: &mut Value| {
        config["process"]["capabilities"]["bounding"] = json!(["CAP_SYS_ADMIN", "CAP_SYS_TIME"])
    };
    assert_eq!(after(add), one("cap-sys-admin", Reach::Wall, "process.capabilities.bounding"));
    let on_host = after(|config| {
        add(config);
        config["linux"]["namespaces"].as_array_mut().unwrap().pop();
        config["linux"]["uidMappings"] = json!([]);
        config["linux"]["gidMappings"] = json!([]);
    });
    let rules: Vec<_> = on_host.iter().map(|(rule, reach, _)| (rule.as_str(), *reach)).collect();
    assert_eq!(
        rules,
        [("cap-sys-admin", Reach::Host), ("cap-sys-time", Reach::Others), ("user-namespace", Reach::Wall)]
    );
}

#[test]
fn a_namespace_that_is_joined_is_the_hosts_if_it_is_the_callers() {
    let join = |config: &mut Value| config["linux"]["namespaces"][1]["path"] = json!("/proc/1/ns/net");
    let mut config = good();
    join(&mut config);
    assert_eq!(found(&config, &Facts::default()), []);
    let facts = Facts { own_namespaces: vec!["/proc/1/ns/net".into()], ..Facts::default() };
    assert_eq!(found(&config, &facts), one("network-namespace", Reach::Others, "linux.namespaces[1].path"));
}

#[test]
fn a_filter_is_asked_with_arguments() {
    let masked = json!([{"index": 0, "value": 0x7e02_0000_u64, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]);
    let filter = |args: Value| json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": args}]});
    assert_eq!(after(|config| config["linux"]["seccomp"] = filter(masked.clone())), []);
    assert_eq!(
        after(|config| config["linux"]["seccomp"] = filter(json!([]))),
        one("call-user-namespace", Reach::Wall, "linux.seccomp.syscalls")
    );
    let open = after(|config| config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW"}));
    assert_eq!(open.len(), 9, "{open:?}");
}

#[test]
fn the_last_word_on_all_devices_counts() {
    let rules = |rules: Value| {
        after(|config| {
            config["linux"]["namespaces"].as_array_mut().unwrap().pop();
            config["linux"]["uidMappings"] = json!([]);
            config["linux"]["gidMappings"] = json!([]);
            config["linux"]["resources"]["devices"] = rules.clone();
        })
        .into_iter()
        .any(|(rule, ..)| rule == "devices-all")
    };
    let (deny, allow) = (json!({"allow": false, "access": "rwm"}), json!({"allow": true, "access": "rwm"}));
    let disks = json!({"allow": true, "type": "b", "access": "r"});
    assert!(rules(json!([deny, allow])) && rules(json!([deny, disks])) && rules(json!([allow])));
    assert!(!rules(json!([allow, deny])) && !rules(json!([deny])) && !rules(json!([])));
    assert!(!rules(json!([deny, {"allow": true, "type": "b", "access": "m"}])));
    assert!(!rules(json!([deny, {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw"}])));
}

#[test]
fn a_hook_in_what_the_container_writes_is_found() {
    let hook = |path: &str| {
        let mut config = good();
        config["hooks"] = json!({"poststop": [{"path": path}]});
        found(&config, &Facts { loose_hooks: vec!["/tmp/x/hook".into()], ..Facts::default() })
    };
    assert_eq!(hook("/usr/bin/hook"), []);
    assert_eq!(hook("/srv/data/hook"), one("hook-writable", Reach::Host, "hooks.poststop[0].path"));
    assert_eq!(hook("/tmp/x/hook"), one("hook-writable", Reach::Others, "hooks.poststop[0].path"));
}

#[test]
fn a_limit_may_be_a_file_of_cgroup_v2() {
    let limits = |unified: Value| after(|config| config["linux"]["resources"] = json!({"unified": unified}));
    assert_eq!(limits(json!({"pids.max": "10", "memory.max": "1000000"})), []);
    assert_eq!(limits(json!({"pids.max": "max"})).len(), 2);
}
