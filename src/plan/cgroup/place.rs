//! `linux.cgroupsPath`: where the container's cgroup lies in each hierarchy. Pure.
//!
//! * Absolute: below the mount point.
//! * Relative: below the caller's own cgroup. On v2 beside it: a cgroup with processes in it, as the
//!   caller's is, cannot hand controllers down (cgroup-v2.rst, "No Internal Process Constraint").
//! * Absent: `/isolate-ID` below the mount point for the host's root, else the relative `isolate-ID`. A folder and not
//!   two: each costs a create and a delete of a container some 50 µs in every hierarchy.
//! * `slice:prefix:name`: that form belongs to the systemd driver. The cgroupfs driver takes it as a
//!   relative path of one component, colons and all, as runc does.

use std::path::{Component, Path, PathBuf};

use super::Sheet;
use crate::cgroup::layout::{Hierarchy, Version};
use crate::host::Host;
use crate::ids::ContainerId;

const WHY: &str = "linux.cgroupsPath";

/// Looks for what could lead out of the place that is meant.
pub(super) fn parse<'a>(path: Option<&'a Path>, sheet: &mut Sheet<'_>) -> Option<&'a Path> {
    let path = path?;
    let normal =
        |c: Component<'_>| matches!(c, Component::RootDir | Component::Normal(_) | Component::CurDir);
    match path.to_str() {
        None => sheet.fault(WHY, "it is not UTF-8"),
        Some(text) if text.contains(['\0', '\n']) => {
            sheet.fault(WHY, "a NUL byte or a newline is not allowed")
        }
        Some(text) if text.len() > 4000 => sheet.fault(WHY, "it is longer than 4000 bytes"),
        Some(text) if !path.components().all(normal) => {
            sheet.fault(WHY, format!("{text:?}: '..' is not allowed"));
        }
        Some(text) if !path.components().any(|c| matches!(c, Component::Normal(_))) => {
            sheet.fault(WHY, format!("{text:?} names no cgroup of the container's own"));
        }
        Some(text) if path.components().any(|c| c.as_os_str().len() > 255) => {
            sheet.fault(WHY, format!("{text:?}: a component is longer than 255 bytes"));
        }
        Some(_) => return Some(path),
    }
    None
}

/// The name where the config gives none: `isolate-ID`, `isolate-PARENT-ID`. A name too long for a folder becomes
/// folders in each other.
pub fn chosen(parent: Option<&str>, id: &ContainerId) -> PathBuf {
    const LONGEST: usize = 255;
    let parts = [Some("isolate"), parent, Some(id.as_str())];
    let parts: Vec<&str> = parts.into_iter().flatten().collect();
    match parts.join("-") {
        name if name.len() <= LONGEST => PathBuf::from(name),
        _ => parts.iter().collect(),
    }
}

/// The absolute host path in one hierarchy.
pub(super) fn dir(hierarchy: &Hierarchy, asked: Option<&Path>, id: &ContainerId, host: &Host) -> PathBuf {
    let own = match hierarchy.version {
        Version::V1 => hierarchy.own.as_path(),
        Version::V2 => hierarchy.own.parent().unwrap_or(Path::new("/")),
    };
    let chosen = chosen(None, id);
    let (base, path) = match asked {
        Some(path) if path.is_absolute() => (Path::new("/"), path),
        Some(path) => (own, path),
        None if host.privileged => (Path::new("/"), chosen.as_path()),
        None => (own, chosen.as_path()),
    };
    let parts = base.components().chain(path.components());
    let names = parts.filter(|part| matches!(part, Component::Normal(_)));
    names.fold(hierarchy.mount_point.clone(), |dir, name| dir.join(name))
}
