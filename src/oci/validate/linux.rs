//! Rules of the remaining Linux sections: devices, paths, propagation, personality, cgroup path. Pure.

use std::path::Component;

use oci_spec::runtime::{Linux, LinuxDevice, LinuxDeviceType, LinuxNamespaceType};

use super::{check_absolute, check_id, check_path, check_text};
use crate::oci::fault::{Faults, quoted};

/// The kernel's bounds of a device number (12 and 20 bits).
const LARGEST_MAJOR: i64 = 4095;
const LARGEST_MINOR: i64 = 1_048_575;

const PROPAGATIONS: [&str; 8] =
    ["shared", "slave", "private", "unbindable", "rshared", "rslave", "rprivate", "runbindable"];

pub(super) fn check(linux: &Linux, faults: &mut Faults) {
    for (index, device) in linux.devices().iter().flatten().enumerate() {
        check_device(device, &format!("linux.devices[{index}]"), faults);
    }
    check_covered_paths(linux, faults);
    check_propagation(linux, faults);
    check_cgroups_path(linux, faults);
    if let Some(label) = linux.mount_label() {
        check_text(label, "linux.mountLabel", faults);
    }
    if let Some(personality) = linux.personality()
        && personality.flags().as_ref().is_some_and(|flags| !flags.is_empty())
    {
        faults.add("linux.personality.flags", "the specification defines none");
    }
    if let Some(policy) = linux.memory_policy() {
        super::memory_policy::check(policy, faults);
    }
    if let Some(rdt) = linux.intel_rdt() {
        super::intel_rdt::check(rdt, faults);
    }
}

fn check_device(device: &LinuxDevice, place: &str, faults: &mut Faults) {
    check_absolute(device.path(), &format!("{place}.path"), faults);
    let climbs = device.path().components().any(|part| part == Component::ParentDir);
    if climbs || device.path().file_name().is_none() && device.path().is_absolute() {
        faults.add(format!("{place}.path"), format!("{:?} does not name a node", device.path()));
    }
    match device.typ() {
        LinuxDeviceType::A => faults.add(format!("{place}.type"), "\"a\" is not the type of a node"),
        LinuxDeviceType::P => {}
        LinuxDeviceType::B | LinuxDeviceType::C | LinuxDeviceType::U => {
            check_numbers(device.major(), device.minor(), place, faults);
        }
    }
    // Engines pass st_mode as it is: the bits of the file's type may be there.
    if let Some(mode) = device.file_mode()
        && mode > 0o177_777
    {
        faults.add(format!("{place}.fileMode"), format!("{mode} is not a file mode"));
    }
    check_id(device.uid().unwrap_or(0), format!("{place}.uid"), faults);
    check_id(device.gid().unwrap_or(0), format!("{place}.gid"), faults);
}

fn check_numbers(major: i64, minor: i64, place: &str, faults: &mut Faults) {
    if major == 0 && minor == 0 {
        faults.add(place, "major and minor are missing");
    }
    for (name, number, largest) in [("major", major, LARGEST_MAJOR), ("minor", minor, LARGEST_MINOR)] {
        if !(0..=largest).contains(&number) {
            faults.add(format!("{place}.{name}"), format!("{number} is out of range: 0 to {largest}"));
        }
    }
}

fn check_covered_paths(linux: &Linux, faults: &mut Faults) {
    let has_mounts_of_its_own =
        linux.namespaces().iter().flatten().any(|namespace| namespace.typ() == LinuxNamespaceType::Mount);
    for (name, paths) in [("maskedPaths", linux.masked_paths()), ("readonlyPaths", linux.readonly_paths())] {
        let paths = paths.as_deref().unwrap_or_default();
        if !paths.is_empty() && !has_mounts_of_its_own {
            faults.add(format!("linux.{name}"), "it needs a mount namespace in linux.namespaces");
        }
        for (index, path) in paths.iter().enumerate() {
            check_absolute(path.as_ref(), &format!("linux.{name}[{index}]"), faults);
        }
    }
}

fn check_propagation(linux: &Linux, faults: &mut Faults) {
    let propagation = linux.rootfs_propagation().as_deref().unwrap_or_default();
    if !propagation.is_empty() && !PROPAGATIONS.contains(&propagation) {
        let why =
            format!("unknown propagation {}: known are {}", quoted(propagation), PROPAGATIONS.join(", "));
        faults.add("linux.rootfsPropagation", why);
    }
}

fn check_cgroups_path(linux: &Linux, faults: &mut Faults) {
    let Some(path) = linux.cgroups_path() else { return };
    check_path(path, "linux.cgroupsPath", faults);
    if path.components().any(|part| part == Component::ParentDir) {
        faults.add("linux.cgroupsPath", format!("{} climbs with ..", quoted(&path.to_string_lossy())));
    }
}
