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
    let mut failures: Vec<String> = Vec::new();
    let mut note = |result: Result<()>| failures.extend(result.err().map(|error| error.to_string()));
    // First through the cgroups, which also thaws what is frozen: that does not even die of SIGKILL on v1.
    note(kill_in_cgroups(&cgroups));
    for record in &records {
        if let Undo::Process { pid, start_time } = record {
            note(end_process(*pid, *start_time));
        }
    }
    note(remove_cgroups(&cgroups));
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

fn is_of(record: &Undo, dir: &Path) -> bool {
    matches!(record, Undo::Cgroup(group) if group.dir == dir)
}

fn kill_in_cgroups(saved: &[SavedGroup]) -> Result<()> {
    Cgroup::open(saved)?.kill_all(libc::SIGKILL)
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

fn remove_cgroups(saved: &[SavedGroup]) -> Result<()> {
    Cgroup::open(saved)?.remove()
}
