//! A tenant's settings and what was found in its root compiled to an OCI Spec: the one place that does. Pure.
//!
//! It shares the parts of [`crate::tenant::spec`] that any private system has. A tenant differs: it lives in a user
//! namespace that owns its overlay, may gain privileges inside (set-user-id programs), and an init gets what a
//! machine's init has, within that namespace.

use std::path::PathBuf;

use oci_spec::runtime::Spec;
use serde_json::{Map, Value, json};

use crate::error::{Error, Kind, Result};
use crate::host::Host;
use crate::plan::annotations;
use crate::tenant::capabilities;
use crate::tenant::config::{Config, Mode};
use crate::tenant::ids::IdMaps;
use crate::tenant::limits::{self, Cgroups};
use crate::tenant::name::Name;
use crate::tenant::readiness;
use crate::tenant::resources::{self, Device, Place};
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
    /// The socket on which its init says that it is ready, on the host.
    pub bell: Option<String>,
    /// The block device its files are on.
    pub device: Option<Device>,
}

/// Compiles.
///
/// # Errors
/// A limit that this host cannot hold, a user without an id on the host.
pub fn compile(config: &Config, facts: &Facts<'_>, host: &Host) -> Result<Spec> {
    if config.boot.mode == Mode::Systemd {
        check_systemd(facts, host)?;
    }
    let place = Place { host, cgroups: facts.cgroups, device: facts.device, online: "" };
    let resources = resources::all(&config.limits, &place)?;
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
        "mounts": mounts(config, facts, &settings, &prepared, &resources),
        "linux": linux(config, facts, settings.net, resources),
        "annotations": annotations(config),
    });
    serde_json::from_value(object)
        .map_err(|error| Error::new(format!("the compiled configuration is invalid: {error}")))
}

/// systemd moves itself into a cgroup below the one it is started in, and ends where it may not.
fn check_systemd(facts: &Facts<'_>, host: &Host) -> Result<()> {
    let why = match host.cgroups.unified() {
        _ if facts.cgroups == Cgroups::Disabled => "cgroups are disabled",
        None => "this host has no cgroup v2",
        Some(unified) if !host.privileged && unified.delegated.is_empty() => {
            "this host has delegated none to you"
        }
        Some(_) => return Ok(()),
    };
    Err(Error::new(format!("systemd needs a cgroup v2 of its own, and {why}"))
        .hint(
            "let root run it, start it from a session of a systemd that delegates cgroups, or run a command",
        )
        .kind(Kind::Unsupported))
}

/// Landlock forbids mounts, which an init or what it nests may need.
fn annotations(config: &Config) -> Value {
    let mut all = Map::new();
    all.insert("org.isolate.tenant".into(), json!(config.uuid));
    all.insert(annotations::CORE_SCHEDULING.into(), json!("own"));
    if config.boot.mode == Mode::Command {
        all.insert(annotations::LANDLOCK.into(), json!("root"));
    }
    Value::Object(all)
}

fn prepared(config: &Config, facts: &Facts<'_>) -> Prepared {
    Prepared {
        rootfs: facts.rootfs.display().to_string(),
        name: facts.name.to_string(),
        ids: facts.ids.clone(),
        user: facts.user.clone(),
        args: config.boot.command.clone(),
        workdir: facts.workdir.clone(),
        env: [facts.env.clone(), bell(config.boot.mode)].concat(),
        binds: facts.binds.clone(),
        terminal: terminal(config.boot.mode),
        term: Some("linux".to_owned()),
        nofile: facts.nofile,
        cgroups_path: None,
        cgroups: facts.cgroups,
    }
}

fn kind(mode: Mode) -> capabilities::Kind {
    if mode == Mode::Command { capabilities::Kind::Command } else { capabilities::Kind::System }
}

/// Where systemd says that it is ready.
fn bell(mode: Mode) -> Vec<String> {
    if mode == Mode::Systemd { vec![format!("NOTIFY_SOCKET={}", readiness::INSIDE)] } else { vec![] }
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
        "capabilities": capabilities::of(kind(config.boot.mode), user),
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": nofile.min(1024), "hard": nofile}],
    })
}

fn mounts(
    config: &Config,
    facts: &Facts<'_>,
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
        let bell = |path: &String| spec::mount(readiness::INSIDE, "bind", path, &["bind", "rprivate"]);
        mounts.extend(facts.bell.iter().map(bell));
    }
    mounts
}

fn linux(config: &Config, facts: &Facts<'_>, net: Net, resources: Map<String, Value>) -> Value {
    let mut namespaces: Vec<Value> =
        ["pid", "mount", "ipc", "uts", "cgroup"].iter().map(|kind| json!({"type": kind})).collect();
    namespaces.extend(facts.namespace.as_ref().map(|path| json!({"type": "user", "path": path})));
    let mut linux = Map::new();
    if facts.namespace.is_some() {
        // Tells the engine whose the v2 cgroup is to be; the namespace itself has its map.
        linux.insert("uidMappings".into(), spec::mappings(&facts.ids.uids));
        linux.insert("gidMappings".into(), spec::mappings(&facts.ids.gids));
    }
    let mut sysctl = Map::new();
    if facts.namespace.is_some() {
        // An ordinary user's namespace is not the config's: whoever makes that sets this.
        sysctl.insert("user.max_inotify_instances".into(), json!(config.inotify().to_string()));
    }
    if net == Net::None {
        namespaces.push(json!({"type": "network"}));
        sysctl.insert("net.ipv4.ping_group_range".into(), json!("0 0"));
    }
    linux.insert("sysctl".into(), Value::Object(sysctl));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::layout::Version;
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
            bell: None,
            device: None,
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
    fn systemd_has_the_v2_cgroup_to_itself_and_a_bell() {
        let name = Name::new("web").unwrap();
        let mut config = example();
        config.boot.mode = Mode::Systemd;
        let with = |version| {
            let facts = Facts { bell: Some("/r/notify".into()), ..facts(&name) };
            compile(&config, &facts, &host(true, version, &["cpu", "memory", "pids"]))
        };
        let spec = serde_json::to_value(with(Version::V2).unwrap()).unwrap();
        let mounts = spec["mounts"].as_array().unwrap();
        let of =
            |place: &str| mounts.iter().filter(|mount| mount["destination"] == place).collect::<Vec<_>>();
        let cgroup = of("/sys/fs/cgroup");
        assert_eq!((cgroup.len(), &cgroup[0]["type"]), (1, &json!("cgroup2")));
        assert!(!cgroup[0]["options"].to_string().contains("\"ro\""));
        assert_eq!(of(readiness::INSIDE)[0]["source"], "/r/notify");
        assert!(spec["process"]["env"].to_string().contains("NOTIFY_SOCKET=/run/host/notify"));
        assert_eq!(spec["linux"]["uidMappings"][0]["hostID"], crate::tenant::ids::FIRST);
        let refused = with(Version::V1).unwrap_err().to_string();
        assert!(
            refused.starts_with("systemd needs a cgroup v2 of its own, and this host has no"),
            "{refused}"
        );
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
}
