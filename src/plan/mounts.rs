//! `mounts`: binds, filesystems, and the many mounts that one of type `cgroup` stands for. Pure.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Mount, Spec};

use super::mount_options::{self, Bind, IdMapped, MountFlags, MountOptions};
use super::namespaces::Namespaces;
use super::{Attributes, IdMap, MountIdMap, Namespace, Plan, Slot, SourceLink, Stage, Step, TargetLink, ids};
use crate::cgroup::layout::{Hierarchy, Version};
use crate::error::{Error, Explain, Kind, Result};
use crate::host::Host;
use crate::ids::RootPath;

/// Files below `/proc` that may be covered by a bind, as LXCFS does; anything else could fool the
/// runtime's own writes to procfs (CVE-2015-3630, CVE-2019-16884).
const PROC_BINDS: [&str; 11] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// What planning mounts needs to know.
pub struct Around<'a> {
    /// The bundle, for relative sources.
    pub bundle: &'a Path,
    /// The host.
    pub host: &'a Host,
    /// The container's namespaces.
    pub namespaces: &'a Namespaces,
    /// User map of a new user namespace; empty without one.
    pub uid_maps: &'a [IdMap],
    /// Group map of a new user namespace; empty without one.
    pub gid_maps: &'a [IdMap],
    /// `linux.mountLabel`.
    pub mount_label: Option<&'a str>,
    /// The option by which a filesystem gets it.
    pub mount_context: &'a str,
    /// Host folder of the container's cgroup in the v2 hierarchy, if it has one.
    pub cgroup2: Option<&'a Path>,
    /// Whether any of its mounts may be shared.
    pub shares: bool,
}

/// Mounts to be made read-only once everything inside them is there, with their reason.
pub type Deferred = Vec<(RootPath, String)>;

/// Whether `mount` binds an existing file or folder.
pub fn is_bind(mount: &Mount) -> bool {
    let options = mount.options().iter().flatten();
    mount.typ().as_deref() == Some("bind") || options.into_iter().any(|o| o == "bind" || o == "rbind")
}

/// Plans all mounts in the order of the config.
///
/// # Errors
/// When an option contradicts another, or the target may not be mounted on.
pub fn plan_mounts(plan: &mut Plan, spec: &Spec, around: &Around<'_>, slots: &mut Slot) -> Result<Deferred> {
    let mut deferred = Deferred::new();
    for (index, mount) in spec.mounts().iter().flatten().enumerate() {
        let why = format!("mounts[{index}]");
        let place = || format!("{why} {}", mount.destination().display());
        let options =
            mount_options::parse(mount.options().as_deref().unwrap_or_default(), mount.typ().as_deref())
                .at(place)?;
        let target = RootPath::new(mount.destination());
        check_proc(mount, &target).at(place)?;
        match mount.typ().as_deref().unwrap_or("none") {
            _ if options.remount => plan_remount(plan, mount, &options, &why),
            _ if is_bind(mount) => plan_bind(plan, mount, &options, &why, around, slots)?,
            fstype @ ("cgroup" | "cgroup2") => plan_cgroup(plan, &target, fstype, &options, &why, around),
            fstype => {
                let late = options.set.has(libc::MS_RDONLY)
                    && (fstype == "tmpfs" || target.as_path() == Path::new("/dev"));
                if late {
                    deferred.push((target.clone(), why.clone()));
                }
                plan_filesystem(plan, mount, fstype, &options, &why, around, late);
            }
        }
    }
    Ok(deferred)
}

/// `remount`: what is mounted there already changes; by the old call only where its filesystem has to hear
/// of options of its own.
fn plan_remount(plan: &mut Plan, mount: &Mount, options: &MountOptions, why: &str) {
    let target = RootPath::new(mount.destination());
    let step = match options.data.is_empty() {
        true => Step::Remount { target, attributes: attributes(options) },
        false => Step::MountFs {
            target,
            fstype: mount.typ().clone().unwrap_or_default(),
            source: mount.source().as_ref().map_or_else(String::new, |path| path.display().to_string()),
            flags: options.set.bits() | libc::MS_REMOUNT,
            data: options.data.clone(),
            attributes: Attributes { propagation: propagation(options), ..Attributes::default() },
            fallback: None,
            copy_up: false,
        },
    };
    plan.push(Stage::Setup, why, step);
}

/// Whether a mount with this target may lie on procfs: the procfs itself, and single files of it.
pub fn may_cover_procfs(target: &RootPath) -> bool {
    target.as_path() == Path::new("/proc")
        || PROC_BINDS.iter().any(|path| target.as_path() == Path::new(path))
}

pub(super) fn check_proc(mount: &Mount, target: &RootPath) -> Result<()> {
    if !target.is_within("/proc") {
        return Ok(());
    }
    let is_root = target.as_path() == Path::new("/proc");
    if is_root && (is_bind(mount) || mount.typ().as_deref() == Some("proc")) {
        return Ok(());
    }
    let listed = PROC_BINDS.iter().any(|path| target.as_path() == Path::new(path));
    if listed && is_bind(mount) {
        return Ok(());
    }
    Err(Error::new("only procfs may be mounted at /proc, and only single files of it may be covered")
        .hint("mount it elsewhere, or bind one of /proc/{cpuinfo,meminfo,stat,uptime,loadavg,…}"))
}

/// MS_ flags and the MOUNT_ATTR_ bits of the same meaning (mount_setattr(2)).
const SAME: [(libc::c_ulong, u64); 6] = [
    (libc::MS_RDONLY, libc::MOUNT_ATTR_RDONLY),
    (libc::MS_NOSUID, libc::MOUNT_ATTR_NOSUID),
    (libc::MS_NODEV, libc::MOUNT_ATTR_NODEV),
    (libc::MS_NOEXEC, libc::MOUNT_ATTR_NOEXEC),
    (libc::MS_NODIRATIME, libc::MOUNT_ATTR_NODIRATIME),
    (libc::MS_NOSYMFOLLOW, libc::MOUNT_ATTR_NOSYMFOLLOW),
];

/// Of access times one kind holds at a time; relatime is the kind with no bit.
const ACCESS_TIMES: [(libc::c_ulong, u64); 3] = [
    (libc::MS_NOATIME, libc::MOUNT_ATTR_NOATIME),
    (libc::MS_STRICTATIME, libc::MOUNT_ATTR_STRICTATIME),
    (libc::MS_RELATIME, 0),
];

/// What the options change on a mount that exists. What is not mentioned stays as the source has it.
pub(super) fn attributes(options: &MountOptions) -> Attributes {
    let bits = |flags: MountFlags| SAME.iter().filter(|(flag, _)| flags.has(*flag)).map(|(_, bit)| bit).sum();
    let mut found = Attributes {
        set: bits(options.set),
        clear: bits(options.cleared),
        recursive_set: options.recursive_set.bits(),
        recursive_clear: options.recursive_cleared.bits(),
        propagation: propagation(options),
    };
    if let Some((_, bit)) = ACCESS_TIMES.iter().find(|(flag, _)| options.set.has(*flag)) {
        found.set |= bit;
        found.clear |= libc::MOUNT_ATTR__ATIME;
    }
    found
}

fn propagation(options: &MountOptions) -> Vec<u64> {
    options.propagation.iter().map(|kind| kind.flags()).collect()
}

/// The same for a new filesystem: it is private unless what it is mounted on is shared (mount_namespaces(7)), and then
/// a call that makes it private changes nothing.
fn fresh_propagation(options: &MountOptions, around: &Around<'_>) -> Vec<u64> {
    let changes = propagation(options);
    let is_private = |flags: &u64| flags & !libc::MS_REC == libc::MS_PRIVATE;
    if !around.shares && changes.iter().all(is_private) { Vec::new() } else { changes }
}

/// Whether any mount of the container may be shared, by `linux.rootfsPropagation` or by an option.
pub fn has_shared(spec: &Spec) -> bool {
    let is_shared = |word: &str| word == "shared" || word == "rshared";
    let root = spec.linux().as_ref().and_then(|linux| linux.rootfs_propagation().as_deref());
    let mounts = spec.mounts().iter().flatten();
    // What is not made slave or private with all below it, such as the mount that the rootfs lies on, may be shared.
    let leaves_shared = |word: &str| !["", "rslave", "rprivate", "unbindable", "runbindable"].contains(&word);
    root.is_some_and(leaves_shared)
        || mounts.flat_map(|mount| mount.options().iter().flatten()).any(|word| is_shared(word))
}

pub(super) fn plan_bind(
    plan: &mut Plan,
    mount: &Mount,
    options: &MountOptions,
    why: &str,
    around: &Around<'_>,
    slots: &mut Slot,
) -> Result<()> {
    let named = mount.source().as_ref().filter(|path| !path.as_os_str().is_empty());
    let Some(source) = named else {
        return Err(Error::new("a bind needs a source").at(format!("{why}.source")));
    };
    let slot = *slots;
    *slots += 1;
    let source = around.bundle.join(source);
    let recursive = options.bind == Bind::Rbind;
    let id_map = id_map(mount, options, around).at(|| format!("{why} {}", mount.destination().display()))?;
    let link = match (options.copy_symlink, options.src_nofollow) {
        (true, _) => SourceLink::Copied,
        (false, true) => SourceLink::Bound,
        (false, false) => SourceLink::Followed,
    };
    let stage = if id_map.is_some() { Stage::Host } else { early_stage(around) };
    plan.push(stage, why, Step::OpenSource { slot, path: source, recursive, id_map, link });
    let target = RootPath::new(mount.destination());
    let over = match (options.copy_symlink, options.dest_nofollow) {
        (true, _) => TargetLink::Made,
        (false, true) => TargetLink::Covered,
        (false, false) => TargetLink::Followed,
    };
    plan.push(Stage::Setup, why, Step::Bind { slot, target, attributes: attributes(options), link: over });
    Ok(())
}

/// The mount's own maps, or those of the container's new user namespace.
fn id_map(mount: &Mount, options: &MountOptions, around: &Around<'_>) -> Result<Option<MountIdMap>> {
    let own = ids::read(mount.uid_mappings().as_ref());
    if own.is_empty() && options.id_mapped.is_none() {
        return Ok(None);
    }
    if !around.host.privileged {
        return Err(Error::new("only the host's root can make id-mapped mounts").kind(Kind::Unsupported));
    }
    let recursive = options.id_mapped == Some(IdMapped::All);
    let (uid, gid) = match own.is_empty() {
        true if options.id_maps.is_some() => {
            let maps = options.id_maps.clone().unwrap_or_default();
            maps.resolve(around.uid_maps, around.gid_maps).map_err(Error::new)?
        }
        false => (own, ids::read(mount.gid_mappings().as_ref())),
        true => (around.uid_maps.to_vec(), around.gid_maps.to_vec()),
    };
    if uid.is_empty() || gid.is_empty() {
        return Err(Error::new("there is no map for it")
            .hint("give the mount uidMappings and gidMappings, or the container a new user namespace"));
    }
    Ok(Some(MountIdMap { uid, gid, recursive }))
}

/// Sources are opened by the runtime where the child, in a user namespace, might not reach them.
pub fn early_stage(around: &Around<'_>) -> Stage {
    let early = around.namespaces.is_own(Namespace::User) && around.host.sys_admin;
    if early { Stage::Host } else { Stage::Setup }
}

fn plan_filesystem(
    plan: &mut Plan,
    mount: &Mount,
    fstype: &str,
    options: &MountOptions,
    why: &str,
    around: &Around<'_>,
    late_read_only: bool,
) {
    let flags = options.set.bits();
    let flags = if late_read_only { flags & !libc::MS_RDONLY } else { flags };
    let source = mount.source().as_ref().map(|path| path.display().to_string());
    let mut change = attributes(options);
    // A filesystem is mounted with its flags at once; only what mount(2) cannot say is changed afterwards.
    (change.set, change.clear) = (0, 0);
    change.propagation = fresh_propagation(options, around);
    let step = Step::MountFs {
        target: RootPath::new(mount.destination()),
        fstype: fstype.to_owned(),
        source: source.unwrap_or_else(|| fstype.to_owned()),
        flags,
        data: filesystem_data(fstype, options, around),
        attributes: change,
        copy_up: options.tmpcopyup && fstype == "tmpfs",
        fallback: (fstype == "sysfs" && may_be_denied(around)).then(|| PathBuf::from("/sys")),
    };
    plan.push(Stage::Setup, why, step);
}

/// Whether the kernel has a reason to deny a new sysfs. To the host's root with a network namespace of the container's own
/// it has none, and any failure must not end with a view of the host's network and cgroups.
fn may_be_denied(around: &Around<'_>) -> bool {
    let is_new = |kind| around.namespaces.is_new(kind);
    !around.host.privileged || is_new(Namespace::User) || !is_new(Namespace::Network)
}

/// devpts: `gid=5` (the group `tty`) means nothing where that group is not mapped.
pub(super) fn filesystem_data(fstype: &str, options: &MountOptions, around: &Around<'_>) -> String {
    let unmapped = fstype == "devpts"
        && around.namespaces.is_new(Namespace::User)
        && !ids::is_mapped(around.gid_maps, 5);
    let kept = options.data.split(',').filter(|option| !(unmapped && *option == "gid=5"));
    let mut kept: Vec<String> = kept.filter(|option| !option.is_empty()).map(str::to_owned).collect();
    // Filesystems that hold files of the container's; others get their labels from the policy.
    let label = around.mount_label.filter(|label| !label.is_empty() && matches!(fstype, "tmpfs" | "devpts"));
    kept.extend(label.map(|label| format!("{}=\"{label}\"", around.mount_context)));
    kept.join(",")
}

/// `cgroup` is what the host has; `cgroup2` is the v2 hierarchy alone, if there is one, as with crun and runc.
fn plan_cgroup(
    plan: &mut Plan,
    target: &RootPath,
    fstype: &str,
    options: &MountOptions,
    why: &str,
    around: &Around<'_>,
) {
    let hierarchies = &around.host.cgroups.hierarchies;
    let v1: Vec<_> = hierarchies.iter().filter(|one| one.version == Version::V1).collect();
    let v2 = hierarchies.iter().find(|one| one.version == Version::V2);
    if v1.is_empty() || fstype == "cgroup2" && v2.is_some() {
        plan_one_cgroup(plan, v2, target.clone(), options, why, around);
        return;
    }
    let folder = Step::MountFs {
        target: target.clone(),
        fstype: "tmpfs".to_owned(),
        source: "tmpfs".to_owned(),
        flags: options.set.bits() & !libc::MS_RDONLY,
        data: "mode=755".to_owned(),
        attributes: Attributes::default(),
        fallback: None,
        copy_up: false,
    };
    plan.push(Stage::Setup, why, folder);
    for hierarchy in v1.into_iter().chain(v2) {
        let below = RootPath::new(target.as_path().join(hierarchy.name()));
        plan_one_cgroup(plan, Some(hierarchy), below, options, why, around);
        plan_links(plan, hierarchy, target, why);
    }
    if options.set.has(libc::MS_RDONLY) {
        let attributes = Attributes { set: libc::MOUNT_ATTR_RDONLY, ..Attributes::default() };
        plan.push(Stage::Setup, why, Step::Remount { target: target.clone(), attributes });
    }
}

/// `cpu -> cpu,cpuacct`, for controllers that share a hierarchy.
fn plan_links(plan: &mut Plan, hierarchy: &Hierarchy, target: &RootPath, why: &str) {
    let name = hierarchy.name();
    for controller in hierarchy.controllers.iter().filter(|_| name.contains(',')) {
        let path = RootPath::new(target.as_path().join(controller));
        plan.push(Stage::Setup, why, Step::Symlink { path, target: PathBuf::from(&name) });
    }
}

/// One hierarchy: a mount of its own in a new cgroup namespace (its root is the container's cgroup),
/// otherwise a bind of the container's folder.
fn plan_one_cgroup(
    plan: &mut Plan,
    hierarchy: Option<&Hierarchy>,
    target: RootPath,
    options: &MountOptions,
    why: &str,
    around: &Around<'_>,
) {
    let own_view = around.namespaces.is_own(Namespace::Cgroup);
    match hierarchy {
        Some(hierarchy) if !own_view => {
            let attributes = attributes(options);
            let step = Step::BindCgroup { hierarchy: hierarchy.name(), target, attributes };
            plan.push(Stage::Setup, why, step);
        }
        _ => {
            let (fstype, data) = match hierarchy {
                Some(one) if one.version == Version::V1 => ("cgroup", one.controllers.join(",")),
                _ => ("cgroup2", options.data.clone()),
            };
            let step = Step::MountFs {
                target,
                fstype: fstype.to_owned(),
                source: "cgroup".to_owned(),
                flags: options.set.bits(),
                data,
                attributes: Attributes {
                    propagation: fresh_propagation(options, around),
                    ..Attributes::default()
                },
                fallback: around.cgroup2.filter(|_| fstype == "cgroup2").map(Path::to_path_buf),
                copy_up: false,
            };
            plan.push(Stage::Setup, why, step);
        }
    }
}
