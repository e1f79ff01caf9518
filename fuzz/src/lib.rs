//! What the targets share: hosts to plan for, edits of a config that keep its shape, and what must hold of any plan.

use std::path::Path;

use arbitrary::{Arbitrary, Result, Unstructured};
use isolate::cgroup::layout::{Hierarchy, Layout, Version};
use isolate::cgroup::unit::{Bus, Manager};
use isolate::host::{Host, Resctrl};
use isolate::ids::ContainerId;
use isolate::plan::{self, ConsoleTo, Options, Plan, Start, Step};
use serde_json::{Value, json};

/// What `data` says, as a value; nothing if it is too short for one.
pub fn input<'a, T: Arbitrary<'a>>(data: &'a [u8]) -> Option<T> {
    let least = T::size_hint(0).0;
    if data.len() < least { None } else { T::arbitrary_take_rest(Unstructured::new(data)).ok() }
}

/// A host of one of three kinds: root on v1 and v2, root on v2, an ordinary user on v2; each with systemd or without, and so on.
pub fn host(kind: u8) -> Host {
    let root = kind % 3 != 2;
    Host {
        kernel: (6, 12),
        uid: if root { 0 } else { 1000 },
        gid: if root { 0 } else { 1000 },
        initial_user_namespace: true,
        privileged: root,
        sys_admin: root,
        subuids: if root { Vec::new() } else { vec![(100_000, 65_536)] },
        subgids: if root { Vec::new() } else { vec![(100_000, 65_536)] },
        newidmap: !root,
        cgroups: layout(kind % 3 == 0, root),
        resctrl: if kind & 0x10 != 0 { Resctrl::Mounted } else { Resctrl::Missing },
        systemd: (kind & 0x20 != 0).then(|| Manager {
            bus: if root { Bus::System } else { Bus::User },
            control_group: if root { "/" } else { "/user.slice/user-1000.slice" }.into(),
        }),
        apparmor: kind & 0x40 != 0,
        selinux: kind & 0x80 != 0,
        namespaces: ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"].map(str::to_owned).to_vec(),
    }
}

fn layout(v1: bool, root: bool) -> Layout {
    let hierarchy = |version, controllers: &str, mount_point: &str| Hierarchy {
        version,
        controllers: controllers.split(',').map(str::to_owned).collect(),
        mount_point: mount_point.into(),
        own: "/user.slice/session".into(),
        delegated: if root { Vec::new() } else { vec!["memory".to_owned(), "pids".to_owned()] },
    };
    let all = if v1 {
        ["cpu,cpuacct", "memory", "pids", "devices", "freezer", "blkio", "cpuset", "hugetlb", "net_cls"]
            .map(|name| hierarchy(Version::V1, name, &format!("/sys/fs/cgroup/{name}")))
            .to_vec()
    } else {
        vec![hierarchy(Version::V2, "cpuset,cpu,io,memory,hugetlb,pids,rdma,misc", "/sys/fs/cgroup")]
    };
    Layout { hierarchies: all }
}

/// Reads `bytes` as a config and plans for `host`; a plan that comes out must hold together.
pub fn plan(bytes: &[u8], host: &Host) {
    isolate::oci::read::fuzz(bytes);
    isolate::oci::read::unknown_properties(bytes);
    let Ok(config) = plan::config::read(bytes, host) else { return };
    let Ok(id) = ContainerId::new("fuzz") else { return };
    let options = Options {
        id,
        no_pivot: false,
        no_new_keyring: false,
        console: ConsoleTo::Socket,
        start: Start::OnCommand,
        close_from: 3,
        env: Vec::new(),
        notify: None,
        cgroups: true,
        cgroup_parent: None,
    };
    let made = plan::compile(&config.spec, Path::new("/bundle"), &options, host);
    if let Ok(plan) = made {
        holds_together(&plan);
    }
}

/// What is true of every plan, whatever it was made from.
fn holds_together(plan: &Plan) {
    if let Err(error) = plan::check::check(plan) {
        unreachable!("a plan that its own check refuses: {error}");
    }
    let stages: Vec<_> = plan.steps.iter().map(|planned| planned.stage).collect();
    assert!(stages.is_sorted(), "the stages are not in order");
    assert!(plan.steps.iter().all(|planned| !planned.why.is_empty()), "a step without a reason");
    let at = |wanted: fn(&Step) -> bool| plan.steps.iter().position(|planned| wanted(&planned.step));
    let exec = at(|step| matches!(step, Step::Exec));
    assert_eq!(exec, plan.steps.len().checked_sub(1), "the last step is exec");
    let closed = at(|step| matches!(step, Step::CloseFrom { .. }));
    assert!(closed.is_some(), "descriptors stay open");
    let bounded = at(|step| matches!(step, Step::BoundingSet { .. }));
    let user = at(|step| matches!(step, Step::User { .. }));
    assert!(bounded.is_some() && bounded < user, "the bounding set comes after the user");
    let _ = (plan.to_string(), serde_json::to_string(plan).map(|text| text.len()));
}

/// Words that mean something somewhere in a config: values for edits.
const WORDS: &[&str] = &[
    "",
    "/",
    "/proc",
    "/proc/self/fd/7",
    "/proc/sys",
    "/sys",
    "/sys/fs/cgroup",
    "/dev",
    "/dev/pts",
    "/dev/null",
    "..",
    "../../x",
    "a/../b",
    "rootfs",
    "bind",
    "rbind",
    "tmpfs",
    "proc",
    "sysfs",
    "cgroup",
    "cgroup2",
    "devpts",
    "mqueue",
    "overlay",
    "ro",
    "rw",
    "rro",
    "nosuid",
    "idmap",
    "ridmap",
    "tmpcopyup",
    "shared",
    "rslave",
    "unbindable",
    "pid",
    "network",
    "ipc",
    "uts",
    "mount",
    "user",
    "time",
    "/proc/1/ns/net",
    "CAP_SYS_ADMIN",
    "CAP_NET_RAW",
    "c",
    "b",
    "p",
    "u",
    "a",
    "rwm",
    "r",
    "RLIMIT_NOFILE",
    "RLIMIT_CORE",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_NOTIFY",
    "SCMP_ARCH_X86",
    "SCMP_CMP_MASKED_EQ",
    "read",
    "socketcall",
    "clone3",
    "SECCOMP_FILTER_FLAG_TSYNC",
    "\u{0}",
    "\n",
    "net.ipv4.ip_forward",
    "kernel.core_pattern",
    "kernel/shm_rmid_forced",
    "net/../kernel/x",
    "1.0.2",
    "9.9.9",
    "SCHED_FIFO",
    "SCHED_DEADLINE",
    "IOPRIO_CLASS_RT",
    "PER_LINUX32",
    "slice:prefix:name",
    "/a/b",
    "size=1k",
    "mode=0777",
    "uid=0",
    "gid=5",
    "org.systemd.property.X",
    "monotonic",
    "boottime",
    "2MB",
    "0-3",
    "8:0",
];

/// Names of properties, so that an edit can put one where it is missing.
const KEYS: &[&str] = &[
    "process",
    "root",
    "mounts",
    "linux",
    "hooks",
    "annotations",
    "hostname",
    "domainname",
    "ociVersion",
    "user",
    "terminal",
    "consoleSize",
    "args",
    "env",
    "cwd",
    "capabilities",
    "rlimits",
    "noNewPrivileges",
    "oomScoreAdj",
    "scheduler",
    "ioPriority",
    "execCPUAffinity",
    "apparmorProfile",
    "selinuxLabel",
    "destination",
    "type",
    "source",
    "options",
    "uidMappings",
    "gidMappings",
    "namespaces",
    "devices",
    "cgroupsPath",
    "resources",
    "seccomp",
    "rootfsPropagation",
    "maskedPaths",
    "readonlyPaths",
    "mountLabel",
    "sysctl",
    "personality",
    "timeOffsets",
    "intelRdt",
    "memory",
    "cpu",
    "pids",
    "blockIO",
    "hugepageLimits",
    "network",
    "rdma",
    "unified",
    "limit",
    "path",
    "containerID",
    "hostID",
    "size",
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
    "timeout",
    "syscalls",
    "names",
    "action",
    "index",
    "value",
    "valueTwo",
    "op",
    "umask",
    "uid",
    "gid",
    "additionalGids",
    "bounding",
    "effective",
    "inheritable",
    "permitted",
    "ambient",
    "fileMode",
    "major",
    "minor",
];

/// A config made of one of the bases by a few edits, each in some place of the tree.
///
/// # Errors
/// When the input has no bytes left.
pub fn edited(input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let bases = bases();
    let mut config = input.choose(&bases)?.clone();
    for _ in 0..input.int_in_range(0..=6)? {
        let value = value(input, 0)?;
        edit(input, &mut config, value)?;
    }
    Ok(config.to_string().into_bytes())
}

fn bases() -> Vec<Value> {
    let texts = [
        include_str!("../corpus/config_bytes/podman.json"),
        include_str!("../corpus/config_bytes/rootless.json"),
        include_str!("../corpus/config_bytes/everything.json"),
    ];
    texts.iter().filter_map(|text| serde_json::from_str(text).ok()).collect()
}

/// Walks down at random, and replaces, removes, doubles or adds where it stops.
fn edit(input: &mut Unstructured<'_>, node: &mut Value, new: Value) -> Result<()> {
    let deeper = input.ratio(5u8, 6u8)?;
    match node {
        Value::Object(fields) if deeper && !fields.is_empty() => {
            let keys: Vec<String> = fields.keys().cloned().collect();
            let key = input.choose(&keys)?;
            match fields.get_mut(key) {
                Some(child) => edit(input, child, new),
                None => Ok(()),
            }
        }
        Value::Array(list) if deeper && !list.is_empty() => {
            let index = input.choose_index(list.len())?;
            edit(input, &mut list[index], new)
        }
        Value::Object(fields) => {
            let key = *input.choose(KEYS)?;
            if input.ratio(1u8, 4u8)? {
                fields.remove(key)
            } else {
                fields.insert(key.to_owned(), new)
            };
            Ok(())
        }
        Value::Array(list) => {
            match input.int_in_range(0..=2)? {
                0 => list.push(new),
                1 => drop(list.pop()),
                _ => list.extend(list.clone().into_iter().take(8)),
            }
            Ok(())
        }
        other => {
            *other = new;
            Ok(())
        }
    }
}

fn value(input: &mut Unstructured<'_>, depth: u8) -> Result<Value> {
    Ok(match input.int_in_range(0..=if depth > 2 { 5 } else { 7 })? {
        0 => Value::Null,
        1 => json!(input.arbitrary::<bool>()?),
        2 => json!(input.arbitrary::<i64>()?),
        3 => {
            json!(*input.choose(&[0, 1, -1, 65_535, 4_294_967_295_i64, 4_294_967_296, i64::MAX, i64::MIN])?)
        }
        4 => json!(*input.choose(WORDS)?),
        5 => json!(input.arbitrary::<String>()?),
        6 => {
            let count = input.int_in_range(0..=3)?;
            Value::Array((0..count).map(|_| value(input, depth + 1)).collect::<Result<_>>()?)
        }
        _ => {
            let count = input.int_in_range(0..=3)?;
            let pair = |input: &mut Unstructured<'_>| {
                Ok(((*input.choose(KEYS)?).to_owned(), value(input, depth + 1)?))
            };
            Value::Object((0..count).map(|_| pair(input)).collect::<Result<_>>()?)
        }
    })
}
