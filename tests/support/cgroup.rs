//! The cgroups of the host, as the tests look at them. Read-only but for this run's own empty folders.

use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access, geteuid};

use super::session::session;

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
    let is_builtin = is_v2() && ["freezer", "devices"].contains(&controller);
    let on_v2 = is_builtin || offered("").split_whitespace().any(|name| name == controller);
    v1(controller).or(on_v2.then(|| PathBuf::from("/sys/fs/cgroup")))
}

/// Whether there is one in which the caller may make folders that have the controller.
pub fn is_writable(controller: &str) -> bool {
    if !is_v2() {
        return v1_writable(controller);
    }
    // The rules of devices are programs, and those take privilege.
    let builtin = controller == "freezer" || (controller == "devices" && geteuid().is_root());
    top().is_some_and(|top| builtin || offered(&top).split_whitespace().any(|name| name == controller))
}

/// Where the caller may make cgroups, from the mount point: for root, and on version 1, the top (empty). For an ordinary
/// user on version 2 the folder above his own, if that one is delegated to him.
pub fn top() -> Option<String> {
    if geteuid().is_root() || !is_v2() {
        return Some(String::new());
    }
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let (above, _) = text.trim().strip_prefix("0::")?.rsplit_once('/')?;
    let procs = Path::new("/sys/fs/cgroup").join(above.trim_start_matches('/')).join("cgroup.procs");
    access(&procs, AccessFlags::W_OK).is_ok().then(|| above.to_owned())
}

/// The controllers of the folder `top`.
pub fn offered(top: &str) -> String {
    let folder = Path::new("/sys/fs/cgroup").join(top.trim_start_matches('/'));
    fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default()
}

/// Whether the kernel limits swap.
pub fn limits_swap() -> bool {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    match own.trim().strip_prefix("0::/").filter(|_| is_v2()) {
        Some(own) => Path::new("/sys/fs/cgroup").join(own).join("memory.swap.max").exists(),
        None => v1("memory").is_some_and(|top| top.join("memory.memsw.limit_in_bytes").exists()),
    }
}

/// The `cgroupsPath` of this run's container, or other folder, of that name.
pub fn path_of(name: &str) -> String {
    format!("{}/{}/{name}", top().unwrap_or_default(), session().mark)
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

/// Removes the folder of this run from every hierarchy if no container has left anything in it. What is not empty
/// stays for the guard to report.
pub fn remove_empty_parents() {
    for (point, _) in hierarchies() {
        let _ = fs::remove_dir(point.join(path_of("").trim_matches('/')));
    }
}
