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

/// Whether only version 2 is there.
pub fn is_v2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// The mount point of the hierarchy in which `controller` is used, whatever its version.
pub fn hierarchy_of(controller: &str) -> Option<PathBuf> {
    let offered = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    let is_builtin = is_v2() && ["freezer", "devices"].contains(&controller);
    let on_v2 = is_builtin || offered.split_whitespace().any(|name| name == controller);
    v1(controller).or(on_v2.then(|| PathBuf::from("/sys/fs/cgroup")))
}

/// Whether there is one, and the caller may make folders in it.
pub fn is_writable(controller: &str) -> bool {
    hierarchy_of(controller).is_some_and(|point| access(&point, AccessFlags::W_OK).is_ok())
}

/// A container's folder in the hierarchy of `controller`, by its `cgroupsPath`.
pub fn folder(controller: &str, cgroups_path: &str) -> PathBuf {
    hierarchy_of(controller).expect("the hierarchy is mounted").join(cgroups_path.trim_start_matches('/'))
}

/// The cgroup of a process in the hierarchy of `controller`, as `/proc/PID/cgroup` has it.
#[track_caller]
pub fn of_process(pid: i32, controller: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let wanted = if is_v2() { "" } else { controller };
    let mut lines = text.lines().map(|line| line.splitn(3, ':').skip(1));
    let found = lines.find_map(|mut parts| {
        let is_it = parts.next()?.split(',').any(|name| name == wanted);
        parts.next().filter(|_| is_it).map(str::to_owned)
    });
    found.unwrap_or_else(|| panic!("process {pid} has no cgroup of {controller}"))
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
