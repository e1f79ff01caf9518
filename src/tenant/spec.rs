//! Settings, template and host compiled to an OCI Spec, with safe defaults. Pure.
//!
//! The default is a system that shares nothing with the host but its kernel and what is bound read-only:
//! all namespaces new, root inside an id of nobody outside, no new privileges, the capabilities of podman's
//! default set without `SETPCAP` and `SETFCAP` (a disposable system needs neither), our own system call list.

use oci_spec::runtime::Spec;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::host::Host;
use crate::plan::annotations;
use crate::tenant::capabilities::{self, Kind};
use crate::tenant::ids::{self, IdMaps};
use crate::tenant::limits::{self, Cgroups, Limits};
use crate::tenant::seccomp;
use crate::tenant::settings::{Access, BindIds, Net, Settings};
use crate::tenant::users::User;

/// The version of the specification the Spec follows: the least that has all of its fields.
pub(super) const OCI_VERSION: &str = "1.0.2";

/// Open files: what podman gives, within the host's hard limit.
pub(super) const NOFILE: u64 = 1_048_576;

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What podman masks.
pub(super) const MASKED: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
];

/// What podman makes read-only.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Whether the command has a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminal {
    /// A new one of its own.
    New,
    /// None: the caller's standard streams as they are.
    None,
}

/// What was found out while the root was prepared; everything else is in the settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// The root folder, relative to the bundle.
    pub rootfs: String,
    /// The system's name: host name by default, and name of its cgroup.
    pub name: String,
    /// Ids behind the ids inside.
    pub ids: IdMaps,
    /// Who runs the command.
    pub user: User,
    /// The command; not empty.
    pub args: Vec<String>,
    /// The folder it starts in, if the image names one.
    pub workdir: Option<String>,
    /// Variables of the template or image.
    pub env: Vec<String>,
    /// Host paths shown read-only at the same place.
    pub binds: Vec<String>,
    /// Whether there is a terminal.
    pub terminal: Terminal,
    /// The caller's `TERM`, used with a terminal.
    pub term: Option<String>,
    /// The caller's hard limit on open files.
    pub nofile: u64,
    /// `linux.cgroupsPath`; absent: the engine's default.
    pub cgroups_path: Option<String>,
    /// Whether cgroups may be used.
    pub cgroups: Cgroups,
}

/// A Spec, and what the user should know.
#[derive(Debug, Clone, PartialEq)]
pub struct Compiled {
    /// The bundle's `config.json`.
    pub spec: Spec,
    /// Downgrades, each a sentence.
    pub warnings: Vec<String>,
}

/// Compiles.
///
/// # Errors
/// A limit that was asked for and cannot be applied, or a user without an id on the host.
pub fn compile(settings: &Settings, prepared: &Prepared, host: &Host) -> Result<Compiled> {
    check_user(prepared)?;
    let limits = limits::compile(settings, host, prepared.cgroups)?;
    let read_only = settings.root == Some(Access::ReadOnly);
    let object = json!({
        "ociVersion": OCI_VERSION,
        "hostname": settings.hostname.as_ref().unwrap_or(&prepared.name),
        "root": {"path": prepared.rootfs, "readonly": read_only},
        "process": process(settings, prepared),
        "mounts": mounts(settings, prepared, &limits),
        "linux": linux(settings, prepared, limits.resources),
        "annotations": annotations(prepared, host),
    });
    let spec = serde_json::from_value(object)
        .map_err(|error| Error::new(format!("the compiled configuration is invalid: {error}")))?;
    Ok(Compiled { spec, warnings: limits.warnings })
}

fn annotations(prepared: &Prepared, host: &Host) -> Value {
    let mut all = json!({
        "org.isolate.try": prepared.name,
        annotations::LANDLOCK: "root",
        annotations::CORE_SCHEDULING: "own",
    });
    // An ordinary user's namespaces are its own, whatever is asked for.
    if host.privileged {
        all[annotations::USER_NAMESPACE_OWNER] = json!("root");
    }
    all
}

pub(super) fn check_user(prepared: &Prepared) -> Result<()> {
    let user = &prepared.user;
    for (kind, map, id) in [("user", &prepared.ids.uids, user.uid), ("group", &prepared.ids.gids, user.gid)] {
        if ids::outside(map, id).is_none() {
            return Err(Error::new(format!("{kind} {id} has no id on this host: only root is mapped")).hint(
                "give yourself ranges in /etc/subuid and /etc/subgid, and install newuidmap (package uidmap)",
            ));
        }
    }
    Ok(())
}

fn process(settings: &Settings, prepared: &Prepared) -> Value {
    let user = &prepared.user;
    let groups = groups(prepared);
    let workdir = settings.workdir.as_ref().map(ToString::to_string);
    let cwd = workdir.or_else(|| prepared.workdir.clone()).unwrap_or_else(|| user.home.clone());
    let nofile = NOFILE.min(prepared.nofile);
    json!({
        "terminal": prepared.terminal == Terminal::New,
        "user": {"uid": user.uid, "gid": user.gid, "additionalGids": groups},
        "args": prepared.args,
        "cwd": cwd,
        "env": environment(settings, prepared),
        "noNewPrivileges": true,
        "capabilities": capabilities::of(Kind::Disposable, user),
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": nofile.min(1024), "hard": nofile}],
    })
}

/// Further groups, as far as they are mapped; none where the caller alone is, for it may not call setgroups
/// then (user_namespaces(7)).
pub(super) fn groups(prepared: &Prepared) -> Vec<u32> {
    let user = &prepared.user;
    if prepared.ids.gids.iter().map(|range| u64::from(range.count)).sum::<u64>() < 2 {
        return vec![];
    }
    let wanted = |gid: &u32| *gid != user.gid && ids::outside(&prepared.ids.gids, *gid).is_some();
    user.groups.iter().copied().filter(wanted).collect()
}

/// Later ones replace earlier ones of the same name.
pub(super) fn environment(settings: &Settings, prepared: &Prepared) -> Vec<String> {
    let user = &prepared.user;
    let mut env = vec![PATH.to_owned(), format!("HOME={}", user.home), "LANG=C.UTF-8".to_owned()];
    env.push("container=isolate".to_owned());
    env.extend(user.name.iter().flat_map(|name| [format!("USER={name}"), format!("LOGNAME={name}")]));
    if prepared.terminal == Terminal::New {
        env.push(format!("TERM={}", prepared.term.as_deref().unwrap_or("xterm")));
    }
    let given: Vec<&String> = prepared.env.iter().chain(&settings.env).collect();
    for variable in given {
        let name = variable.split_once('=').map_or(variable.as_str(), |(name, _)| name);
        env.retain(|other| other.split_once('=').map(|(name, _)| name) != Some(name));
        env.push(variable.clone());
    }
    env
}

pub(super) fn mounts(settings: &Settings, prepared: &Prepared, limits: &Limits) -> Vec<Value> {
    let mut mounts: Vec<Value> = prepared.binds.iter().map(|path| read_only_bind(path)).collect();
    // `gid=5` gives terminals to the group tty, where that group is mapped.
    let mut devpts = vec!["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    if ids::outside(&prepared.ids.gids, 5).is_some() {
        devpts.push("gid=5");
    }
    mounts.extend([
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", "devpts", &devpts),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        sysfs(settings.net),
    ]);
    mounts.extend(own_cgroup(limits));
    mounts.extend(settings.binds.iter().map(|bind| {
        let mut options = vec!["rbind", "rprivate", "nosuid", "nodev"];
        if bind.access == Access::ReadOnly {
            options.extend(["ro", "rro"]);
        }
        if bind.ids == BindIds::Mapped {
            options.push("idmap");
        }
        mount(&bind.destination.to_string(), "bind", &bind.source, &options)
    }));
    mounts
}

pub(super) fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({"destination": destination, "type": kind, "source": source, "options": options})
}

/// A program that looks up how much memory it may use finds the system's own limit. Without limits the system has
/// no cgroup of its own, and would be shown the host's.
fn own_cgroup(limits: &Limits) -> Option<Value> {
    let options = ["nosuid", "noexec", "nodev", "ro"];
    (!limits.resources.is_empty()).then(|| mount("/sys/fs/cgroup", "cgroup", "cgroup", &options))
}

/// With the mounts below: they cannot be taken away in a user namespace, and must be read-only as well.
pub(super) fn read_only_bind(path: &str) -> Value {
    mount(path, "bind", path, &["rbind", "rprivate", "nosuid", "nodev", "ro", "rro"])
}

/// sysfs belongs to a network namespace, and only its owner may mount it: with the host's network the
/// host's own mount is shown instead.
fn sysfs(net: Net) -> Value {
    match net {
        Net::None => mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        Net::Host => {
            mount("/sys", "bind", "/sys", &["rbind", "rprivate", "nosuid", "noexec", "nodev", "ro", "rro"])
        }
    }
}

fn linux(settings: &Settings, prepared: &Prepared, resources: serde_json::Map<String, Value>) -> Value {
    let mut namespaces = vec!["user", "pid", "mount", "ipc", "uts", "cgroup"];
    let mut linux = serde_json::Map::new();
    let mut sysctl = own_bounds();
    if settings.net == Net::None {
        namespaces.push("network");
        // Lets ping work without CAP_NET_RAW, as podman does.
        sysctl.insert("net.ipv4.ping_group_range".into(), json!("0 0"));
    }
    linux.insert("sysctl".into(), Value::Object(sysctl));
    let namespaces: Vec<Value> = namespaces.into_iter().map(|kind| json!({"type": kind})).collect();
    linux.insert("namespaces".into(), json!(namespaces));
    linux.insert("uidMappings".into(), mappings(&prepared.ids.uids));
    linux.insert("gidMappings".into(), mappings(&prepared.ids.gids));
    linux.insert("maskedPaths".into(), json!(MASKED));
    linux.insert("readonlyPaths".into(), json!(READ_ONLY));
    linux.insert("seccomp".into(), seccomp::profile());
    if !resources.is_empty() {
        linux.insert("resources".into(), Value::Object(resources));
    }
    if let Some(path) = &prepared.cgroups_path {
        linux.insert("cgroupsPath".into(), json!(path));
    }
    Value::Object(linux)
}

/// What the kernel counts for a user namespace, and for whoever made it too, so that one system would use up what all
/// have together: by default there are 128 inotify instances. And no user namespaces inside, should a call get past the filter.
fn own_bounds() -> serde_json::Map<String, Value> {
    let bounds = [("user.max_inotify_instances", "32"), ("user.max_user_namespaces", "0")];
    bounds.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect()
}

pub(super) fn mappings(ranges: &[ids::Range]) -> Value {
    let one = |range: &ids::Range| json!({"containerID": range.inside, "hostID": range.outside, "size": range.count});
    ranges.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::layout::Version;
    use crate::tenant::settings;

    fn prepared(ids: IdMaps) -> Prepared {
        let user = crate::tenant::users::resolve(None, "root:x:0:0::/root:/bin/sh", "").unwrap();
        Prepared {
            rootfs: "rootfs".into(),
            name: "try-0".into(),
            ids,
            user,
            args: vec!["/bin/sh".into()],
            workdir: None,
            env: vec![],
            binds: vec!["/usr".into()],
            terminal: Terminal::None,
            term: None,
            nofile: 4096,
            cgroups_path: None,
            cgroups: Cgroups::Host,
        }
    }

    fn root_host() -> Host {
        limits::tests::host(true, Version::V2, &["cpu", "memory", "pids"])
    }

    fn compiled(settings: &Settings) -> Value {
        let compiled = compile(settings, &prepared(ids::of_slot(0)), &root_host()).unwrap();
        serde_json::to_value(compiled.spec).unwrap()
    }

    #[test]
    fn the_default_shares_no_namespace_with_the_host() {
        let spec = compiled(&Settings::default());
        let kinds: Vec<&str> = spec["linux"]["namespaces"]
            .as_array()
            .unwrap()
            .iter()
            .map(|n| n["type"].as_str().unwrap())
            .collect();
        assert_eq!(kinds, ["user", "pid", "mount", "ipc", "uts", "cgroup", "network"]);
        assert_eq!(spec["process"]["noNewPrivileges"], true);
        assert_eq!(spec["linux"]["uidMappings"][0]["hostID"], ids::FIRST);
    }

    #[test]
    fn the_hosts_usr_is_read_only_with_all_below_it() {
        let spec = compiled(&Settings::default());
        let options = spec["mounts"][0]["options"].as_array().unwrap();
        assert_eq!(spec["mounts"][0]["destination"], "/usr");
        assert!(["ro", "rro", "nosuid"].iter().all(|option| options.contains(&json!(option))));
    }

    #[test]
    fn the_hosts_network_is_only_joined_when_asked_for() {
        let spec = compiled(&Settings { net: Net::Host, ..Settings::default() });
        assert!(!spec["linux"]["namespaces"].to_string().contains("network"));
        assert!(spec["linux"]["sysctl"]["net.ipv4.ping_group_range"].is_null());
        let sys =
            spec["mounts"].as_array().unwrap().iter().find(|mount| mount["destination"] == "/sys").unwrap();
        assert_eq!(sys["type"], "bind");
    }

    #[test]
    fn open_files_stay_within_the_hosts_hard_limit() {
        let spec = compiled(&Settings::default());
        assert_eq!(spec["process"]["rlimits"][0]["hard"], 4096);
        assert_eq!(spec["process"]["rlimits"][0]["soft"], 1024);
    }

    #[test]
    fn a_variable_given_replaces_the_default_one() {
        let settings =
            Settings { env: vec!["HOME=/x".into(), "A=1".into(), "A=2".into()], ..Settings::default() };
        let env = environment(&settings, &prepared(ids::of_slot(0)));
        assert!(env.contains(&"HOME=/x".to_owned()) && env.contains(&"A=2".to_owned()));
        assert!(!env.iter().any(|variable| variable == "HOME=/root" || variable == "A=1"));
    }

    #[test]
    fn a_system_sees_its_cgroup_only_if_it_has_one() {
        let shown = |spec: &Value| spec["mounts"].to_string().contains("/sys/fs/cgroup");
        assert!(shown(&compiled(&Settings::default())));
        let none =
            Settings { memory: settings::Limit::None, pids: settings::Limit::None, ..Settings::default() };
        assert!(!shown(&compiled(&none)));
    }

    #[test]
    fn a_user_without_an_id_on_the_host_is_refused() {
        let host = limits::tests::host(false, Version::V2, &[]);
        let mut prepared = prepared(ids::of_caller(&host));
        assert!(compile(&Settings::default(), &prepared, &host).is_ok());
        prepared.user.uid = 1;
        let error = compile(&Settings::default(), &prepared, &host).unwrap_err().to_string();
        assert!(error.starts_with("user 1 has no id on this host"), "{error}");
    }

    #[test]
    fn terminals_go_to_the_group_tty_only_where_it_is_mapped() {
        let host = limits::tests::host(false, Version::V2, &[]);
        let alone = mounts(&Settings::default(), &prepared(ids::of_caller(&host)), &Limits::default());
        assert!(!json!(alone).to_string().contains("gid=5"));
        assert!(
            json!(mounts(&Settings::default(), &prepared(ids::of_slot(1)), &Limits::default()))
                .to_string()
                .contains("gid=5")
        );
    }

    #[test]
    fn further_groups_are_left_out_where_they_cannot_be_set() {
        let host = limits::tests::host(false, Version::V2, &[]);
        let mut alone = prepared(ids::of_caller(&host));
        alone.user.groups = vec![0, 4];
        assert_eq!(groups(&alone), [] as [u32; 0]);
        let mut slot = prepared(ids::of_slot(0));
        slot.user.groups = vec![0, 4, 70_000];
        assert_eq!(groups(&slot), [4]);
    }

    #[test]
    fn binds_of_the_user_come_last_and_obey_ro() {
        let settings =
            Settings { binds: vec![settings::parse_bind("/a:/b:ro").unwrap()], ..Settings::default() };
        let mounts = mounts(&settings, &prepared(ids::of_slot(0)), &Limits::default());
        let last = mounts.last().unwrap();
        assert_eq!(last["destination"], "/b");
        assert!(last["options"].to_string().contains("\"rro\""));
    }
}
