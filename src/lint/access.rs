//! Who the program is and what it may use: privileges, groups, labels, devices, limits, hooks. Pure.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Hook, LinuxDeviceType};

use super::rules;
use super::view::{View, is_bind, is_read_only};
use super::{Findings, Reach};

/// Groups of the host by which one becomes root of it.
const GROUPS_OF_ROOT: [&str; 9] =
    ["root", "disk", "docker", "kmem", "lxd", "incus", "incus-admin", "libvirt", "podman"];

/// Groups that read what is not for everybody.
const GROUPS_OF_READERS: [&str; 6] = ["shadow", "adm", "systemd-journal", "sudo", "wheel", "kvm"];

/// Looks at each.
pub fn examine(view: &View<'_>, findings: &mut Findings) {
    let privileges = view.process().and_then(|process| process.no_new_privileges());
    if view.process().is_some() && privileges != Some(true) {
        findings.add(rules::NEW_PRIVILEGES, Reach::Wall, "process.noNewPrivileges", "it is not set");
    }
    groups(view, findings);
    labels(view, findings);
    devices(view, findings);
    limits(view, findings);
    hooks(view, findings);
}

fn groups(view: &View<'_>, findings: &mut Findings) {
    let Some(user) = view.process().map(|process| process.user()).filter(|_| view.is_root_of_the_host())
    else {
        return;
    };
    // Root has no need of a group.
    if user.uid() == 0 {
        return;
    }
    let others = user.additional_gids().iter().flatten().enumerate();
    let others = others.map(|(index, gid)| (format!("process.user.additionalGids[{index}]"), *gid));
    for (at, gid) in std::iter::once(("process.user.gid".to_owned(), user.gid())).chain(others) {
        let name = view.facts.groups.iter().find(|(_, number)| *number == gid).map(|(name, _)| name.as_str());
        let name = if gid == 0 { Some("root") } else { name };
        let Some(name) = name else { continue };
        if GROUPS_OF_ROOT.contains(&name) {
            findings.add(rules::GROUPS, Reach::Host, at, format!("{gid} is the group {name}"));
        } else if GROUPS_OF_READERS.contains(&name) {
            findings.add(rules::GROUPS, Reach::Others, at, format!("{gid} is the group {name}"));
        }
    }
}

fn labels(view: &View<'_>, findings: &mut Findings) {
    let Some(process) = view.process() else { return };
    let is_confined = |label: &Option<String>| {
        label.as_deref().is_some_and(|label| !label.is_empty() && label != "unconfined")
    };
    if view.facts.apparmor && !is_confined(process.apparmor_profile()) {
        findings.add(
            rules::LABEL,
            Reach::Wall,
            "process.apparmorProfile",
            "AppArmor is enabled on this host",
        );
    }
    if view.facts.selinux && !is_confined(process.selinux_label()) {
        findings.add(rules::LABEL, Reach::Wall, "process.selinuxLabel", "SELinux is enabled on this host");
    }
}

/// The rule of `linux.resources.devices` that allows everything, or all disks, if the last word on it is yes.
pub fn all_devices(view: &View<'_>) -> Option<usize> {
    let rules = view.resources().and_then(|resources| resources.devices().as_deref()).unwrap_or_default();
    let is_wide = |typ: Option<LinuxDeviceType>, major: Option<i64>| match typ {
        None | Some(LinuxDeviceType::A) => true,
        Some(LinuxDeviceType::B | LinuxDeviceType::C) => major.is_none_or(|major| major < 0),
        _ => false,
    };
    let uses = |access: &Option<String>| access.as_deref().unwrap_or("rwm").contains(['r', 'w']);
    let mut open = None;
    for (index, rule) in rules.iter().enumerate() {
        match rule.allow() {
            true if is_wide(rule.typ(), rule.major()) && uses(rule.access()) => open = Some(index),
            false if matches!(rule.typ(), None | Some(LinuxDeviceType::A)) => open = None,
            _ => {}
        }
    }
    open
}

fn devices(view: &View<'_>, findings: &mut Findings) {
    if !view.is_root_of_the_host() {
        return;
    }
    if let Some(index) = all_devices(view) {
        // Without a node there is nothing to open.
        let has_nodes = view.capability("MKNOD").is_some()
            || view.mounts().any(|(_, mount)| {
                mount.source().as_deref().is_some_and(|path| path.starts_with("/dev")) && is_bind(mount)
            });
        let reach = if has_nodes { Reach::Host } else { Reach::Wall };
        let at = format!("linux.resources.devices[{index}]");
        findings.add(rules::DEVICES_ALL, reach, at, "it allows devices that are not named");
    }
    let listed = view.linux().and_then(|linux| linux.devices().as_deref()).unwrap_or_default();
    for (index, device) in listed.iter().enumerate().filter(|(_, device)| device.typ() == LinuxDeviceType::B)
    {
        let what =
            format!("{} is block device {}:{}", device.path().display(), device.major(), device.minor());
        findings.add(rules::BLOCK_DEVICE, Reach::Host, format!("linux.devices[{index}]"), what);
    }
}

fn limits(view: &View<'_>, findings: &mut Findings) {
    let unified = view.resources().and_then(|resources| resources.unified().as_ref());
    let has_file =
        |name: &str| unified.is_some_and(|files| files.get(name).is_some_and(|value| value != "max"));
    if view.pids_limit.is_none_or(|limit| limit < 0) && !has_file("pids.max") {
        findings.add(rules::NO_PIDS, Reach::Others, "linux.resources.pids.limit", "it is not set");
    }
    let memory =
        view.resources().and_then(|resources| resources.memory().as_ref()).and_then(|memory| memory.limit());
    if memory.is_none_or(|limit| limit <= 0) && !has_file("memory.max") {
        findings.add(rules::NO_MEMORY, Reach::Others, "linux.resources.memory.limit", "it is not set");
    }
}

fn hooks(view: &View<'_>, findings: &mut Findings) {
    let Some(hooks) = view.spec.hooks() else { return };
    #[allow(deprecated)]
    let kinds: [(&str, &Option<Vec<Hook>>); 6] = [
        ("prestart", hooks.prestart()),
        ("createRuntime", hooks.create_runtime()),
        ("createContainer", hooks.create_container()),
        ("startContainer", hooks.start_container()),
        ("poststart", hooks.poststart()),
        ("poststop", hooks.poststop()),
    ];
    // `startContainer` is executed in the container, from its own files.
    for (kind, list) in kinds.into_iter().filter(|(kind, _)| *kind != "startContainer") {
        for (index, hook) in list.iter().flatten().enumerate() {
            let at = format!("hooks.{kind}[{index}].path");
            if let Some(folder) = shown_by(view, hook.path()) {
                let what = format!("the container may write it: it lies in {}", folder.display());
                findings.add(rules::HOOK, Reach::Host, at, what);
            } else if view.facts.loose_hooks.contains(hook.path()) {
                findings.add(rules::HOOK, Reach::Others, at, "others than root and you may replace it");
            }
        }
    }
}

/// The folder of the host that the container can write, and that has `path` in it.
fn shown_by(view: &View<'_>, path: &Path) -> Option<PathBuf> {
    let root = view.spec.root().as_ref().filter(|root| !root.readonly().unwrap_or(false));
    let root = root.map(|root| view.facts.bundle.join(root.path()));
    let binds = view.mounts().filter(|(_, mount)| is_bind(mount) && !is_read_only(mount));
    let binds =
        binds.filter_map(|(_, mount)| mount.source().as_ref().map(|source| view.facts.bundle.join(source)));
    root.into_iter().chain(binds).find(|folder| path.starts_with(folder))
}
