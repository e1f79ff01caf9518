//! Plans for kernels as Debian and others ship them, written down as plain data: what each can do compiles, what it
//! cannot is refused before anything is done, with the version that has it.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Step, compile, config, test_host, test_options};
use crate::cgroup::layout::{Hierarchy, Layout, Version};
use crate::host::Host;
use crate::oci::default_spec::{CgroupNamespace, Rootless, default_spec_text};

const KINDS: [&str; 7] = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];

fn hierarchy(version: Version, point: &str, controllers: &[&str]) -> Hierarchy {
    let controllers = controllers.iter().map(|name| (*name).to_owned()).collect();
    Hierarchy {
        version,
        controllers,
        mount_point: PathBuf::from(point),
        own: "/".into(),
        delegated: Vec::new(),
    }
}

/// Each controller in a hierarchy of its own, and an empty v2 beside them.
fn hybrid() -> Layout {
    let names = ["cpuset", "cpu", "memory", "devices", "freezer", "pids"];
    let v1 = names.iter().map(|name| hierarchy(Version::V1, &format!("/sys/fs/cgroup/{name}"), &[name]));
    let v2 = hierarchy(Version::V2, "/sys/fs/cgroup/unified", &[]);
    Layout { hierarchies: v1.chain([v2]).collect() }
}

fn pure() -> Layout {
    let controllers = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids"];
    Layout { hierarchies: vec![hierarchy(Version::V2, "/sys/fs/cgroup", &controllers)] }
}

/// The hosts: Ubuntu 20.04, Debian 11, Ubuntu 22.04, Debian 12, Debian 13.
fn hosts() -> [Host; 5] {
    let host = |kernel: (u32, u32), cgroups: Layout| {
        let time = (kernel >= (5, 6)).then_some("time");
        let namespaces = KINDS.into_iter().chain(time).map(str::to_owned).collect();
        Host { kernel, cgroups, namespaces, ..test_host() }
    };
    [
        host((5, 4), hybrid()),
        host((5, 10), pure()),
        host((5, 15), pure()),
        host((6, 1), pure()),
        host((6, 12), pure()),
    ]
}

/// The steps of a changed default config, or why there are none.
fn planned(host: &Host, change: &dyn Fn(&mut Value)) -> Result<Vec<Step>, String> {
    let mut value: Value =
        serde_json::from_str(&default_spec_text(Rootless::No, CgroupNamespace::New)).unwrap();
    change(&mut value);
    let options = test_options();
    let read = config::read(value.to_string().as_bytes(), host).map_err(|error| error.to_string())?;
    let plan = compile(&read.spec, std::path::Path::new("/b"), &options, host);
    Ok(plan.map_err(|error| error.to_string())?.steps.into_iter().map(|planned| planned.step).collect())
}

fn add_mount(config: &mut Value, mount: Value) {
    config["mounts"].as_array_mut().unwrap().push(mount);
}

type Change = fn(&mut Value);

/// What a config may ask for, the place and words of the refusal, and the kernel that has it.
const NEWER: [(&str, (u32, u32), Change); 7] = [
    ("this kernel has no time namespaces", (5, 6), |config| {
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "time"}));
    }),
    ("\"nosymfollow\" needs Linux 5.10", (5, 10), |config| {
        add_mount(
            config,
            json!({"destination": "/x", "type": "tmpfs", "source": "tmpfs", "options": ["nosymfollow"]}),
        );
    }),
    ("attributes of all mounts below need Linux 5.12", (5, 12), |config| {
        add_mount(
            config,
            json!({"destination": "/x", "type": "bind", "source": "/s", "options": ["rbind", "rro"]}),
        );
    }),
    ("id-mapped mounts need Linux 5.12", (5, 12), |config| {
        let maps = json!([{"containerID": 0, "hostID": 1000, "size": 1}]);
        add_mount(
            config,
            json!({"destination": "/x", "type": "bind", "source": "/s", "options": ["bind"],
            "uidMappings": maps, "gidMappings": maps}),
        );
    }),
    ("MPOL_F_NUMA_BALANCING needs Linux 5.12", (5, 12), |config| {
        config["linux"]["memoryPolicy"] =
            json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_NUMA_BALANCING"]});
    }),
    ("MPOL_PREFERRED_MANY needs Linux 5.15", (5, 15), |config| {
        config["linux"]["memoryPolicy"] = json!({"mode": "MPOL_PREFERRED_MANY", "nodes": "0"});
    }),
    ("MPOL_WEIGHTED_INTERLEAVE needs Linux 6.9", (6, 9), |config| {
        config["linux"]["memoryPolicy"] = json!({"mode": "MPOL_WEIGHTED_INTERLEAVE", "nodes": "0"});
    }),
];

#[test]
fn an_ordinary_config_has_a_plan_on_every_kernel() {
    for host in hosts() {
        let steps = planned(&host, &|_| {}).unwrap();
        assert!(steps.iter().any(|step| matches!(step, Step::Clone { .. })), "{:?}", host.kernel);
        assert_eq!(steps.last(), Some(&Step::Exec), "{:?}", host.kernel);
    }
}

#[test]
fn what_a_kernel_lacks_is_refused_with_the_version_that_has_it() {
    for (words, since, change) in NEWER {
        for host in hosts() {
            let result = planned(&host, &change);
            match host.kernel >= since {
                true => assert!(result.is_ok(), "{words} on {:?}: {result:?}", host.kernel),
                false => {
                    let error = result.unwrap_err();
                    assert!(error.contains(words), "{:?}: {error}", host.kernel);
                }
            }
        }
    }
}

#[test]
fn limits_are_written_to_the_files_that_the_hosts_cgroups_have() {
    for host in hosts() {
        let steps = planned(&host, &|config| {
            config["linux"]["resources"]["memory"] = json!({"limit": 67_108_864});
        });
        let files: Vec<String> = steps
            .unwrap()
            .into_iter()
            .filter_map(|step| if let Step::MakeCgroup(group) = step { Some(group.writes) } else { None })
            .flatten()
            .map(|write| write.file)
            .collect();
        let expected = if host.kernel == (5, 4) { "memory.limit_in_bytes" } else { "memory.max" };
        assert!(files.iter().any(|file| file == expected), "{:?}: {files:?}", host.kernel);
    }
}
