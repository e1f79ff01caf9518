//! Compares the host before and after the suite: mounts, cgroups, processes, network namespaces, state
//! folders. Reads only. With `ISOLATE_TEST_SHARED_HOST=1` (others work on this machine meanwhile) only
//! what carries this run's mark counts; processes are exact either way, as orphans become our children.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{cgroup, child, process};

/// What the host looked like.
pub struct Guard {
    before: BTreeSet<String>,
}

impl Guard {
    /// Looks before the first test.
    pub fn look() -> Guard {
        Guard { before: everything() }
    }

    /// What is there now and was not before. Waits up to five seconds for what is on its way out.
    pub fn what_is_left(&self) -> Vec<String> {
        let start = Instant::now();
        loop {
            let left = self.difference();
            if left.is_empty() || start.elapsed() > Duration::from_secs(5) * child::patience() {
                return left;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn difference(&self) -> Vec<String> {
        let now = everything();
        let mark = format!("isolate-test-{}", std::process::id());
        let others_work_here = std::env::var_os("ISOLATE_TEST_SHARED_HOST").is_some();
        let ours = |line: &String| !others_work_here || line.starts_with("process") || line.contains(&mark);
        let left = now.difference(&self.before).filter(|line| ours(line)).cloned();
        let gone = self.before.difference(&now).filter(|line| !others_work_here && is_worth_missing(line));
        left.chain(gone.map(|line| format!("(lost) {line}"))).collect()
    }
}

/// Somebody else's process may end, its namespace with it; a mount or cgroup of the host may not.
fn is_worth_missing(line: &str) -> bool {
    line.starts_with("mount") || line.starts_with("cgroup")
}

fn everything() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    all.extend(mounts());
    all.extend(cgroup::all_folders().iter().map(|path| format!("cgroup {}", path.display())));
    let own = std::process::id() as i32;
    let lines = process::descendants(own);
    all.extend(lines.iter().map(|pid| format!("process {pid} {}", process::command_line(*pid))));
    all.extend(network_namespaces());
    all.extend(state_folders());
    all
}

/// Removes what a failed test has left, after it was reported: thaws and kills, unmounts, removes. Only
/// what carries this run's mark.
pub fn sweep() {
    let mark = format!("isolate-test-{}", std::process::id());
    let ours: Vec<_> =
        cgroup::all_folders().into_iter().filter(|path| path.to_string_lossy().contains(&mark)).collect();
    for folder in &ours {
        let _ = fs::write(folder.join("freezer.state"), "THAWED");
        let pids = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        pids.lines().filter_map(|pid| pid.parse().ok()).for_each(end);
    }
    process::descendants(std::process::id() as i32).into_iter().for_each(end);
    std::thread::sleep(Duration::from_millis(300));
    ours.iter().rev().for_each(|folder| drop(fs::remove_dir(folder)));
    for line in mounts().iter().filter(|line| line.contains(&mark)) {
        if let Some(point) = line.split(' ').nth(5) {
            let _ = nix::mount::umount2(point, nix::mount::MntFlags::MNT_DETACH);
        }
    }
    let _ = fs::remove_dir_all(std::env::temp_dir().join(mark));
}

fn end(pid: i32) {
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
}

fn mounts() -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    text.lines().map(|line| format!("mount {line}")).collect()
}

fn network_namespaces() -> Vec<String> {
    let owned = |pid: &i32| process::namespace(*pid, "net");
    process::all().iter().filter_map(owned).map(|link| format!("network namespace {link}")).collect()
}

fn state_folders() -> Vec<String> {
    let runtime_dir = std::env::var("XDG_RUNTIME_DIR").unwrap_or_default();
    let places =
        ["/run/isolate", "/run/isolate-tenants", "/run/runc", "/run/crun", "/tmp", "/dev/shm", "/run"];
    let mut found = Vec::new();
    for place in places.iter().map(ToString::to_string).chain([format!("{runtime_dir}/isolate")]) {
        found.extend(entries(Path::new(&place)));
    }
    found
}

fn entries(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let whole = folder.components().any(|part| part.as_os_str().to_string_lossy().contains("isolate"));
    let counts = |name: &str| whole || name.contains("isolate") || name.contains("runc");
    let names = entries.flatten().map(|entry| entry.path());
    let kept = names.filter(|path| path.file_name().is_some_and(|name| counts(&name.to_string_lossy())));
    kept.map(|path| format!("state {}", path.display())).collect()
}
