//! The cgroups of the host, as the tests look at them. Read-only but for this run's own empty folders.

use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

/// Mount points of every cgroup hierarchy, with the super-block options of v1 (`rw,memory`), empty for v2.
pub fn hierarchies() -> Vec<(PathBuf, String)> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mounts.lines().filter_map(hierarchy).collect()
}

fn hierarchy(line: &str) -> Option<(PathBuf, String)> {
    let (left, right) = line.split_once(" - ")?;
    let point = PathBuf::from(left.split(' ').nth(4)?);
    let mut right = right.split(' ');
    match right.next()? {
        "cgroup" => Some((point, right.nth(1)?.to_owned())),
        "cgroup2" => Some((point, String::new())),
        _ => None,
    }
}

/// The mount point of the v1 hierarchy with `controller`.
pub fn v1(controller: &str) -> Option<PathBuf> {
    let found = |options: &str| options.split(',').any(|option| option == controller);
    hierarchies().into_iter().find(|(_, options)| found(options)).map(|(point, _)| point)
}

/// Whether such a hierarchy is mounted and the caller may make folders in it.
pub fn v1_writable(controller: &str) -> bool {
    v1(controller).is_some_and(|point| access(&point, AccessFlags::W_OK).is_ok())
}

/// Every cgroup folder of the host but the roots.
pub fn all_folders() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for (point, _) in hierarchies() {
        collect(&point, &mut found);
    }
    found.sort();
    found
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.push(entry.path());
            collect(&entry.path(), found);
        }
    }
}

/// A container's folder in the hierarchy of `controller` (v1), by its `cgroupsPath`.
pub fn folder(controller: &str, cgroups_path: &str) -> PathBuf {
    v1(controller).expect("the hierarchy is mounted").join(cgroups_path.trim_start_matches('/'))
}

/// A file of the container's cgroup, trimmed.
#[track_caller]
pub fn read(controller: &str, cgroups_path: &str, file: &str) -> String {
    let path = folder(controller, cgroups_path).join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.trim().to_owned()
}

/// Removes `/MARK` from every hierarchy if no container has left anything in it. What is not empty stays
/// for the guard to report.
pub fn remove_empty_parents(mark: &str) {
    for (point, _) in hierarchies() {
        let _ = fs::remove_dir(point.join(mark));
    }
}
