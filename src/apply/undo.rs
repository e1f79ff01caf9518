//! Takes back what the journal says was done: after a failed create, and for `delete`. The runtime runs
//! this, with the caller's privilege. It collects every failure and goes on.

use std::path::Path;
use std::time::Duration;

use crate::cgroup::{Cgroup, SavedGroup};
use crate::error::{Error, Result};
use crate::store::{Folder, Saved, Undo};
use crate::sys::{pidfd, process};

/// How long a killed process may take to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the init of a pid namespace may take, with all its processes, before they are looked for.
const SHORT_PATIENCE: Duration = Duration::from_millis(200);

/// Kills what lives, removes what was made, and the folder last: when something could not be removed the
/// folder stays, and the same can be tried again.
///
/// # Errors
/// All failures in one.
pub fn take_back(folder: Folder, saved: Option<&Saved>) -> Result<()> {
    let mut records = Undo::replay(&folder)?;
    if let Some(saved) = saved {
        // The journal has them too, unless it was lost.
        records.push(Undo::Process { pid: saved.pid, start_time: saved.start_time });
        let is_missing = |group: &&SavedGroup| !records.iter().any(|record| is_of(record, &group.dir));
        let missing: Vec<_> = saved.cgroups.iter().filter(is_missing).cloned().map(Undo::Cgroup).collect();
        records.extend(missing);
    }
    let cgroups: Vec<SavedGroup> = records.iter().filter_map(made_cgroup).collect();
    let mut processes: Vec<(i32, u64)> = records.iter().filter_map(made_process).collect();
    processes.dedup();
    let mut failures: Vec<String> = Vec::new();
    let mut note = |result: Result<()>| failures.extend(result.err().map(|error| error.to_string()));
    let cgroup = Cgroup::open(&cgroups);
    if let Ok(cgroup) = &cgroup {
        end_namespace(saved, cgroup);
        // First through the cgroups, which also thaws what is frozen: that does not even die of SIGKILL on v1.
        note(cgroup.kill_all(libc::SIGKILL));
    }
    for (pid, start_time) in processes {
        note(end_process(pid, start_time));
    }
    for record in &records {
        if let Undo::CacheGroup { dir } = record {
            note(super::resctrl::remove(dir));
        }
    }
    note(cgroup.and_then(|cgroup| cgroup.remove()));
    if failures.is_empty() {
        return folder.remove();
    }
    Err(Error::new(failures.join("; ")).hint("mend the cause and delete it once more"))
}

fn made_cgroup(record: &Undo) -> Option<SavedGroup> {
    match record {
        Undo::Cgroup(saved) => Some(saved.clone()),
        _ => None,
    }
}

fn made_process(record: &Undo) -> Option<(i32, u64)> {
    match record {
        Undo::Process { pid, start_time } => Some((*pid, *start_time)),
        _ => None,
    }
}

/// The short way, for nearly every container: with the init of a pid namespace all in it end, and the kernel tells of
/// the init's end only once they have. What lives on, or is frozen, is left to the long way through the cgroups.
fn end_namespace(saved: Option<&Saved>, cgroup: &Cgroup) {
    let Some(saved) = saved.filter(|saved| saved.new_pid_namespace) else { return };
    if cgroup.is_frozen().unwrap_or(true) {
        return;
    }
    if let Ok(Some(init)) = open_process(saved.pid, saved.start_time) {
        let _ = pidfd::send_signal(&init, libc::SIGKILL);
        let _ = pidfd::poll_exit(&init, Some(SHORT_PATIENCE));
    }
}

fn is_of(record: &Undo, dir: &Path) -> bool {
    matches!(record, Undo::Cgroup(group) if group.dir == dir)
}

/// Ends one process for certain, and never another that got its pid.
///
/// # Errors
/// When it lives on.
pub fn end_process(pid: i32, start_time: u64) -> Result<()> {
    let Some(pidfd) = open_process(pid, start_time)? else { return Ok(()) };
    let _ = pidfd::send_signal(&pidfd, libc::SIGKILL);
    match pidfd::poll_exit(&pidfd, Some(PATIENCE))? {
        true => Ok(()),
        false => Err(Error::new(format!("process {pid} did not end within {} seconds", PATIENCE.as_secs()))),
    }
}

/// A descriptor of the process that had `pid` since `start_time`; `None` when it is gone.
///
/// # Errors
/// When procfs cannot be read.
pub fn open_process(pid: i32, start_time: u64) -> Result<Option<std::os::fd::OwnedFd>> {
    if pid <= 0 {
        return Ok(None);
    }
    // First the descriptor, then the look: from then on the pid cannot become another process.
    let pidfd = match pidfd::open(pid) {
        Ok(pidfd) => pidfd,
        Err(error) if error.errno() == Some(nix::errno::Errno::ESRCH) => return Ok(None),
        Err(error) => return Err(error),
    };
    let stat = process::stat(Path::new("/proc"), pid)?;
    let is_it = stat.is_some_and(|stat| stat.start_time == start_time && !stat.has_ended());
    Ok(is_it.then_some(pidfd))
}
