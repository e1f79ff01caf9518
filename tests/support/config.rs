//! The config that tests start from: what podman writes, adapted to what the caller may do.

use nix::unistd::{getegid, geteuid};
use serde_json::{Value, json};

use super::cgroup;
use super::need::{find_program, subordinate_ids};

/// podman's default capabilities.
pub const CAPABILITIES: [&str; 11] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// The config of a bundle whose process is `args`. As an ordinary user it has a user namespace, and a cgroup only
/// where one is delegated to him.
pub fn default(args: &[&str], cgroups_path: &str) -> Value {
    let mut config = json!({
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs"},
        "hostname": "box",
        "process": process(args),
        "mounts": mounts(),
        "linux": {
            "cgroupsPath": cgroups_path,
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [
                {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}
            ],
            "maskedPaths": [
                "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/fs/selinux"
            ],
            "readonlyPaths": [
                "/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"
            ]
        }
    });
    if !geteuid().is_root() {
        adapt_to_ordinary_user(&mut config);
    }
    config
}

fn process(args: &[&str]) -> Value {
    json!({
        "terminal": false,
        "user": {"uid": 0, "gid": 0},
        "args": args,
        "env": ["PATH=/usr/local/bin:/usr/bin:/bin", "TERM=xterm", "HOME=/root"],
        "cwd": "/",
        "capabilities": {
            "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES
        },
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024}]
    })
}

fn mounts() -> Value {
    json!([
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
         "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs",
         "options": ["nosuid", "noexec", "nodev", "ro"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
         "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
         "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
         "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]}
    ])
}

/// Maps for a user namespace of the caller: its own id as root, and its subordinate ids where it has any.
/// For root of the host: a range that belongs to nobody.
pub fn id_maps() -> (Value, Value) {
    if geteuid().is_root() {
        let map = json!([{"containerID": 0, "hostID": 400_000, "size": 65536}]);
        return (map.clone(), map);
    }
    let uids = subordinate_ids("/etc/subuid");
    let gids = subordinate_ids("/etc/subgid");
    let many = find_program("newuidmap").is_some();
    match (uids, gids) {
        (Some(uids), Some(gids)) if many => {
            (range(geteuid().as_raw(), uids), range(getegid().as_raw(), gids))
        }
        _ => (single(geteuid().as_raw()), single(getegid().as_raw())),
    }
}

fn single(id: u32) -> Value {
    json!([{"containerID": 0, "hostID": id, "size": 1}])
}

fn range(id: u32, (first, count): (u32, u32)) -> Value {
    json!([
        {"containerID": 0, "hostID": id, "size": 1},
        {"containerID": 1, "hostID": first, "size": count}
    ])
}

/// Gives the config a new user namespace with [`id_maps`].
pub fn add_user_namespace(config: &mut Value) {
    config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    map_ids(config, id_maps());
}

/// Maps no id but the caller's own, which takes no `newuidmap`: under a tracer that has no privileges.
pub fn map_own_id_alone(config: &mut Value) {
    map_ids(config, (single(geteuid().as_raw()), single(getegid().as_raw())));
}

fn map_ids(config: &mut Value, (uids, gids): (Value, Value)) {
    let lone = uids.as_array().is_some_and(|map| map.len() == 1 && map[0]["size"] == 1);
    config["linux"]["uidMappings"] = uids;
    config["linux"]["gidMappings"] = gids;
    if lone {
        let devpts = mount_at(config, "/dev/pts");
        devpts["options"].as_array_mut().unwrap().retain(|option| option != "gid=5");
    }
}

fn adapt_to_ordinary_user(config: &mut Value) {
    add_user_namespace(config);
    let linux = config["linux"].as_object_mut().unwrap();
    linux.remove("resources");
    if !cgroup::is_v2() || cgroup::top().is_none() {
        linux.remove("cgroupsPath");
    }
}

/// The mount of the config at `destination`.
#[track_caller]
pub fn mount_at<'a>(config: &'a mut Value, destination: &str) -> &'a mut Value {
    let mounts = config["mounts"].as_array_mut().unwrap();
    mounts.iter_mut().find(|mount| mount["destination"] == destination).expect("the config has this mount")
}

/// Removes the namespace of this type from the config.
pub fn remove_namespace(config: &mut Value, kind: &str) {
    config["linux"]["namespaces"].as_array_mut().unwrap().retain(|entry| entry["type"] != kind);
}

/// Leaves the container in the host's pid namespace. An ordinary user may not mount its proc(5), and binds it.
pub fn share_pid_namespace(config: &mut Value) {
    remove_namespace(config, "pid");
    if !geteuid().is_root() {
        *mount_at(config, "/proc") =
            json!({"destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"]});
    }
}

/// Makes the namespace of this type a joined one.
pub fn join_namespace(config: &mut Value, kind: &str, path: &str) {
    remove_namespace(config, kind);
    add_namespace(config, json!({"type": kind, "path": path}));
}

/// Adds a namespace entry.
pub fn add_namespace(config: &mut Value, entry: Value) {
    config["linux"]["namespaces"].as_array_mut().unwrap().push(entry);
}

/// Adds a mount.
pub fn add_mount(config: &mut Value, mount: Value) {
    config["mounts"].as_array_mut().unwrap().push(mount);
}

/// Adds a bind mount of a host path.
pub fn add_bind(config: &mut Value, source: &std::path::Path, destination: &str, options: &[&str]) {
    let mut all = vec!["rbind"];
    all.extend(options);
    let mount = json!({"destination": destination, "type": "bind", "source": source, "options": all});
    add_mount(config, mount);
}

/// Sets every capability set to `names`.
pub fn set_capabilities(config: &mut Value, names: &[&str]) {
    let sets = json!({
        "bounding": names, "effective": names, "permitted": names, "inheritable": [], "ambient": []
    });
    config["process"]["capabilities"] = sets;
}

/// Adds capabilities to the sets that the default config has.
pub fn add_capabilities(config: &mut Value, names: &[&str]) {
    for set in ["bounding", "effective", "permitted"] {
        let list = config["process"]["capabilities"][set].as_array_mut().unwrap();
        list.extend(names.iter().map(|name| json!(name)));
    }
}
