//! `root`, `mounts`, masked and read-only paths: what of the host can be seen and written. Pure.

use std::path::Path;

use oci_spec::runtime::Mount;

use super::rules;
use super::view::{View, has_option, is_bind, is_read_only};
use super::{Findings, Reach};

/// Folders of the host's system, with all below.
const SYSTEM: [&str; 12] = [
    "/boot",
    "/etc",
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/root",
    "/proc",
    "/sys",
    "/var/spool/cron",
];

/// Folders that are the system's themselves, and may well have a container's folders below.
const SYSTEM_ITSELF: [&str; 10] = [
    "/",
    "/dev",
    "/run",
    "/var",
    "/var/lib",
    "/var/run",
    "/home",
    "/var/lib/docker",
    "/var/lib/containers",
    "/var/lib/kubelet",
];

/// Folders in which secrets lie, so that reading is enough.
const SECRETS: [&str; 8] = ["/", "/etc", "/root", "/home", "/var", "/var/lib", "/dev", "/proc"];

/// Sockets of services that do for their callers what only root may do.
const SOCKETS: [&str; 9] = [
    "docker.sock",
    "containerd.sock",
    "podman.sock",
    "crio.sock",
    "buildkitd.sock",
    "libvirt-sock",
    "system_bus_socket",
    "private.sock",
    "incus.socket",
];

/// What engines mask, beside `/proc/kcore`.
const TELLING: [&str; 6] =
    ["/proc/acpi", "/proc/keys", "/proc/latency_stats", "/proc/scsi", "/proc/timer_list", "/sys/firmware"];

/// Looks at each.
pub fn examine(view: &View<'_>, findings: &mut Findings) {
    if view.spec.root().as_ref().is_some_and(|root| !root.readonly().unwrap_or(false)) {
        findings.add(rules::ROOT_WRITABLE, Reach::Wall, "root.readonly", "it is not set");
    }
    kernel_files(view, findings);
    for (index, mount) in view.mounts() {
        if is_bind(mount) {
            bind(view, findings, index, mount);
        }
        propagation(view, findings, &format!("mounts[{index}].options"), mount.options().iter().flatten());
    }
    let root = view.linux().and_then(|linux| linux.rootfs_propagation().as_ref());
    propagation(view, findings, "linux.rootfsPropagation", root.into_iter());
}

/// procfs, sysfs and cgroups as the kernel has them, not bound.
fn kernel_files(view: &View<'_>, findings: &mut Findings) {
    let of_kind = |path, kind: &str| {
        view.mount_at(path).filter(|(_, mount)| mount.typ().as_deref() == Some(kind) && !is_bind(mount))
    };
    let proc = of_kind("/proc", "proc");
    let sys = of_kind("/sys", "sysfs");
    if proc.is_some() {
        masks_of_proc(view, findings);
    }
    let is_root = view.is_root_of_the_host();
    for path in TELLING {
        let is_there = if path.starts_with("/sys") { sys.is_some() } else { proc.is_some() };
        if is_there && !view.is_masked(path) {
            findings.add(rules::UNMASKED, Reach::Wall, "linux.maskedPaths", path);
        }
    }
    if let Some((index, mount)) = sys
        && is_root
        && !is_read_only(mount)
        && !view.is_read_only("/sys")
    {
        findings.add(rules::SYSFS, Reach::Host, format!("mounts[{index}].options"), "no \"ro\"");
    }
    let cgroups = view.mounts().filter(|(_, mount)| {
        matches!(mount.typ().as_deref(), Some("cgroup" | "cgroup2")) && !is_read_only(mount) && is_root
    });
    for (index, _) in cgroups {
        let reach = if view.capability("SYS_ADMIN").is_some() { Reach::Host } else { Reach::Others };
        findings.add(rules::CGROUP_WRITABLE, reach, format!("mounts[{index}].options"), "no \"ro\"");
    }
}

fn masks_of_proc(view: &View<'_>, findings: &mut Findings) {
    let is_root = view.is_root_of_the_host();
    if !view.is_masked("/proc/kcore") {
        let reads = is_root && view.capability("SYS_RAWIO").is_some();
        let reach = if reads { Reach::Host } else { Reach::Wall };
        findings.add(rules::KCORE, reach, "linux.maskedPaths", "/proc/kcore");
    }
    let whole = view.mount_at("/proc").is_some_and(|(_, mount)| is_read_only(mount));
    for (path, rule, reach) in
        [("/proc/sys", rules::PROC_SYS, Reach::Host), ("/proc/sysrq-trigger", rules::SYSRQ, Reach::Others)]
    {
        if is_root && !whole && !view.is_read_only(path) {
            findings.add(rule, reach, "linux.readonlyPaths", path);
        }
    }
}

fn bind(view: &View<'_>, findings: &mut Findings, index: usize, mount: &Mount) {
    let Some(source) = mount.source().as_deref() else { return };
    let at = |field: &str| format!("mounts[{index}].{field}");
    let is_root = view.is_root_of_the_host();
    let name = source.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if SOCKETS.contains(&name) {
        let reach = if is_root { Reach::Host } else { Reach::Others };
        findings.add(rules::SOCKET, reach, at("source"), format!("{}", source.display()));
        return;
    }
    let reach = |reach| if is_root { reach } else { Reach::Wall };
    let may_gain = view.process().is_some_and(|process| process.no_new_privileges() != Some(true));
    if may_gain && !has_option(mount, "nosuid", "suid") {
        findings.add(
            rules::SETUID_BIND,
            Reach::Wall,
            at("options"),
            format!("{}: no \"nosuid\"", source.display()),
        );
    }
    if is_read_only(mount) {
        if SECRETS.iter().any(|folder| source == Path::new(folder)) {
            findings.add(
                rules::HOST_SECRETS,
                reach(Reach::Others),
                at("source"),
                format!("{}", source.display()),
            );
        }
        return;
    }
    let is_system = SYSTEM.iter().any(|folder| source.starts_with(folder))
        || SYSTEM_ITSELF.iter().any(|folder| source == Path::new(folder));
    if is_system {
        findings.add(rules::HOST_PATH, reach(Reach::Host), at("source"), format!("{}", source.display()));
    }
}

fn propagation<'a>(
    view: &View<'_>,
    findings: &mut Findings,
    at: &str,
    mut words: impl Iterator<Item = &'a String>,
) {
    if let Some(word) = words.find(|word| *word == "shared" || *word == "rshared") {
        // A shared mount in a root that is not leads nowhere.
        let root = view.linux().and_then(|linux| linux.rootfs_propagation().as_deref());
        let leads_out = matches!(root, Some("shared" | "rshared"));
        let mounts = leads_out && view.is_root_of_the_host() && view.capability("SYS_ADMIN").is_some();
        let reach = if mounts { Reach::Others } else { Reach::Wall };
        findings.add(rules::PROPAGATION, reach, at, word.as_str());
    }
}
