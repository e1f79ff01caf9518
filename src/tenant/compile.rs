//! A tenant's settings and what was found in its root compiled to an OCI Spec: the one place that does. Pure.
//!
//! It shares the parts of [`crate::tenant::spec`] that any private system has. A tenant differs: it lives in a user
//! namespace that owns its overlay, may gain privileges inside (set-user-id programs), and an init gets what a
//! machine's init has, within that namespace.

use std::path::PathBuf;

use oci_spec::runtime::Spec;
use serde_json::{Map, Value, json};

use crate::cgroup::layout::Version;
use crate::error::{Error, Kind, Result};
use crate::host::Host;
use crate::tenant::config::{Config, Limits, Mode};
use crate::tenant::ids::IdMaps;
use crate::tenant::limits::{self, Cgroups, PERIOD};
use crate::tenant::name::Name;
use crate::tenant::seccomp;
use crate::tenant::settings::{Net, Settings};
use crate::tenant::spec::{self, MASKED, NOFILE, OCI_VERSION, Prepared, Terminal};
use crate::tenant::users::User;

/// What the settings do not say.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// Its name.
    pub name: &'a Name,
    /// Its root, absolute.
    pub rootfs: PathBuf,
    /// Path of the user namespace to be joined; `None`: the runtime is in it.
    pub namespace: Option<String>,
    /// The ids behind the tenant's.
    pub ids: IdMaps,
    /// Who runs the command.
    pub user: User,
    /// Folders of the host that the template shows read-only.
    pub binds: Vec<String>,
    /// Variables of the template.
    pub env: Vec<String>,
    /// The template's working folder.
    pub workdir: Option<String>,
    /// The caller's hard limit on open files.
    pub nofile: u64,
    /// How cgroups are made.
    pub cgroups: Cgroups,
}

/// podman's default set.
const OF_COMMANDS: [&str; 11] = [
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

/// What an init and its services have besides, over the tenant's own namespaces.
const OF_SYSTEMS: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_DAC_READ_SEARCH",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_LEASE",
    "CAP_LINUX_IMMUTABLE",
    "CAP_MKNOD",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_PTRACE",
    "CAP_SYS_RESOURCE",
];

/// Compiles.
///
/// # Errors
/// A limit that this host cannot hold, a user without an id on the host.
pub fn compile(config: &Config, facts: &Facts<'_>, host: &Host) -> Result<Spec> {
    let resources = resources(&config.limits, host, facts.cgroups)?;
    let settings = Settings { net: config.net()?, env: config.boot.env.clone(), ..Settings::default() };
    let prepared = prepared(config, facts);
    spec::check_user(&prepared)?;
    let hostname = match config.system.hostname.as_str() {
        "" => facts.name.as_str(),
        given => given,
    };
    let object = json!({
        "ociVersion": OCI_VERSION,
        "hostname": hostname,
        "root": {"path": facts.rootfs},
        "process": process(config, facts, &settings, &prepared),
        "mounts": mounts(config, &settings, &prepared, &resources),
        "linux": linux(config, facts, settings.net, resources),
        "annotations": {"org.isolate.tenant": config.uuid},
    });
    serde_json::from_value(object)
        .map_err(|error| Error::new(format!("the compiled configuration is invalid: {error}")))
}

fn prepared(config: &Config, facts: &Facts<'_>) -> Prepared {
    Prepared {
        rootfs: facts.rootfs.display().to_string(),
        name: facts.name.to_string(),
        ids: facts.ids.clone(),
        user: facts.user.clone(),
        args: config.boot.command.clone(),
        workdir: facts.workdir.clone(),
        env: facts.env.clone(),
        binds: facts.binds.clone(),
        terminal: terminal(config.boot.mode),
        term: Some("linux".to_owned()),
        nofile: facts.nofile,
        cgroups_path: None,
        cgroups: facts.cgroups,
    }
}

/// An init has a console.
fn terminal(mode: Mode) -> Terminal {
    if mode == Mode::Command { Terminal::None } else { Terminal::New }
}

fn process(config: &Config, facts: &Facts<'_>, settings: &Settings, prepared: &Prepared) -> Value {
    let user = &facts.user;
    let nofile = NOFILE.min(facts.nofile);
    let cwd = match config.boot.mode {
        Mode::Command => config.boot.workdir.clone().or(facts.workdir.clone()).unwrap_or(user.home.clone()),
        Mode::Init | Mode::Systemd => "/".to_owned(),
    };
    json!({
        "terminal": prepared.terminal == Terminal::New,
        "user": {"uid": user.uid, "gid": user.gid, "additionalGids": spec::groups(prepared)},
        "args": config.boot.command,
        "cwd": cwd,
        "env": spec::environment(settings, prepared),
        "noNewPrivileges": false,
        "capabilities": capabilities(config.boot.mode, user),
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": nofile.min(1024), "hard": nofile}],
    })
}

fn capabilities(mode: Mode, user: &User) -> Value {
    let mut bounding = OF_COMMANDS.to_vec();
    if mode != Mode::Command {
        bounding.extend(OF_SYSTEMS);
    }
    let own: &[&str] = if user.uid == 0 { &bounding } else { &[] };
    json!({"bounding": bounding, "effective": own, "permitted": own, "inheritable": [], "ambient": []})
}

fn mounts(
    config: &Config,
    settings: &Settings,
    prepared: &Prepared,
    resources: &Map<String, Value>,
) -> Vec<Value> {
    let limits = limits::Limits { resources: resources.clone(), warnings: vec![] };
    let mut mounts = spec::mounts(settings, prepared, &limits);
    if config.boot.mode == Mode::Systemd {
        mounts.retain(|mount| mount["destination"] != "/sys/fs/cgroup");
        let options = ["nosuid", "noexec", "nodev"];
        mounts.push(spec::mount("/sys/fs/cgroup", "cgroup2", "cgroup", &options));
        mounts.push(spec::mount("/run", "tmpfs", "tmpfs", &["nosuid", "nodev", "mode=755", "size=25%"]));
    }
    mounts
}

fn linux(config: &Config, facts: &Facts<'_>, net: Net, resources: Map<String, Value>) -> Value {
    let mut namespaces: Vec<Value> =
        ["pid", "mount", "ipc", "uts", "cgroup"].iter().map(|kind| json!({"type": kind})).collect();
    namespaces.extend(facts.namespace.as_ref().map(|path| json!({"type": "user", "path": path})));
    let mut linux = Map::new();
    if net == Net::None {
        namespaces.push(json!({"type": "network"}));
        linux.insert("sysctl".into(), json!({"net.ipv4.ping_group_range": "0 0"}));
    }
    linux.insert("namespaces".into(), json!(namespaces));
    linux.insert("maskedPaths".into(), json!(MASKED));
    // An init sets what is its own below /proc/sys; the rest belongs to the real root, and stays closed to it.
    let (read_only, filter) = match config.boot.mode {
        Mode::Command => (
            &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"][..],
            seccomp::profile(),
        ),
        Mode::Init | Mode::Systemd => {
            (&["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sysrq-trigger"][..], seccomp::system_profile())
        }
    };
    linux.insert("readonlyPaths".into(), json!(read_only));
    linux.insert("seccomp".into(), filter);
    if !resources.is_empty() {
        linux.insert("resources".into(), Value::Object(resources));
    }
    if facts.namespace.is_some() && facts.cgroups == Cgroups::Host {
        linux.insert("cgroupsPath".into(), json!(format!("/isolate-tenants/{}", config.uuid)));
    }
    Value::Object(linux)
}

/// `linux.resources` of the limits. Each that is set has to hold.
///
/// # Errors
/// Names the setting and what this host lacks.
pub fn resources(limits: &Limits, host: &Host, cgroups: Cgroups) -> Result<Map<String, Value>> {
    let mut found = Map::new();
    let need = |asked: bool, setting: &str, controller: &str| match (
        asked,
        limits::check(host, cgroups, controller),
    ) {
        (true, Err(why)) => Err(Error::new(format!("{setting} cannot be limited: {why}"))
            .hint(format!("'isolate tenant create' without --{setting} works here"))
            .kind(Kind::Unsupported)
            .code(21)),
        (asked, _) => Ok(asked),
    };
    let memory = need(limits.ram.is_some(), "ram", "memory")?;
    let cpu = need(limits.cpus.is_some() || limits.cpu_weight.is_some(), "cpus", "cpu")?;
    let cpuset = need(limits.cpuset.is_some(), "cpuset", "cpuset")?;
    let tasks = need(limits.tasks.is_some(), "tasks", "pids")?;
    if memory {
        let ram = limits.ram.map(|size| size.0);
        // In the specification, as in v1's files, swap is counted together with memory.
        let swap = limits.swap.zip(ram).map(|(swap, ram)| swap.0.saturating_add(ram));
        found.insert("memory".into(), object([("limit", json!(ram)), ("swap", json!(swap))]));
    }
    if cpu || cpuset {
        let quota = limits.cpus.map(|cpus| u64::from(cpus.0) * PERIOD / 1000);
        let shares = limits.cpu_weight.map(|weight| shares(weight, host));
        let period = quota.map(|_| PERIOD);
        let fields = [
            ("quota", json!(quota)),
            ("period", json!(period)),
            ("shares", json!(shares)),
            ("cpus", json!(limits.cpuset)),
        ];
        found.insert("cpu".into(), object(fields));
    }
    if tasks {
        found.insert("pids".into(), json!({"limit": limits.tasks}));
    }
    Ok(found)
}

/// Without what is not set.
fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    fields
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

/// The specification has v1's shares, 2 to 262144 with 1024 for everybody; the runtime turns them into v2's weight.
fn shares(weight: u32, host: &Host) -> u64 {
    let weight = u64::from(weight);
    let v1 = host.cgroups.hierarchies.iter().any(|hierarchy| {
        hierarchy.version == Version::V1 && hierarchy.controllers.iter().any(|name| name == "cpu")
    });
    match v1 {
        true => (weight * 1024 / 100).clamp(2, 262_144),
        // The inverse of `1 + (shares - 2) * 9999 / 262142`.
        false => 2 + (weight - 1) * 262_142 / 9999,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::config::tests::example;
    use crate::tenant::limits::tests::host;

    fn facts(name: &Name) -> Facts<'_> {
        Facts {
            name,
            rootfs: "/t/root".into(),
            namespace: Some("/proc/self/fd/9".into()),
            ids: crate::tenant::ids::of_slot(0),
            user: crate::tenant::users::resolve(None, "", "").unwrap(),
            binds: vec![],
            env: vec![],
            workdir: None,
            nofile: 4096,
            cgroups: Cgroups::Host,
        }
    }

    fn compiled(config: &Config) -> Value {
        let name = Name::new("web").unwrap();
        let host = host(true, Version::V1, &["cpu", "memory", "pids"]);
        serde_json::to_value(compile(config, &facts(&name), &host).unwrap()).unwrap()
    }

    #[test]
    fn a_tenant_joins_the_namespace_of_its_overlay_and_shares_none_with_the_host() {
        let spec = compiled(&example());
        let namespaces = spec["linux"]["namespaces"].as_array().unwrap();
        let kinds: Vec<_> = namespaces.iter().map(|n| n["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["pid", "mount", "ipc", "uts", "cgroup", "user", "network"]);
        assert_eq!(namespaces[5]["path"], "/proc/self/fd/9");
        assert_eq!(spec["hostname"], "web");
    }

    #[test]
    fn only_an_init_may_mount_and_reboot() {
        let command = compiled(&example()).to_string();
        assert!(!command.contains("CAP_SYS_ADMIN") && !command.contains("CAP_SYS_BOOT"));
        let mut config = example();
        config.boot.mode = Mode::Init;
        let init = compiled(&config);
        assert!(init.to_string().contains("CAP_SYS_BOOT"));
        assert_eq!(init["process"]["terminal"], true);
        let allowed = init["linux"]["seccomp"]["syscalls"][0]["names"].to_string();
        assert!(allowed.contains("\"reboot\"") && !allowed.contains("\"kexec_load\""));
    }

    #[test]
    fn limits_are_the_resources_of_the_specification() {
        let config =
            [("ram", "64M"), ("swap", "16M"), ("cpus", "0.5"), ("cpu-weight", "200"), ("tasks", "99")]
                .iter()
                .fold(example(), |config, (name, value)| config.with(name, value).unwrap());
        let resources = &compiled(&config)["linux"]["resources"];
        assert_eq!(resources["memory"], json!({"limit": 64 << 20, "swap": 80 << 20}));
        assert_eq!(resources["cpu"], json!({"quota": 50_000, "period": 100_000, "shares": 2048}));
        assert_eq!(resources["pids"]["limit"], 99);
        let no_pids = host(true, Version::V1, &["cpu", "memory"]);
        let error = super::resources(&config.limits, &no_pids, Cgroups::Host).unwrap_err();
        assert!(error.to_string().starts_with("tasks cannot be limited: this host has no"), "{error}");
    }
}
