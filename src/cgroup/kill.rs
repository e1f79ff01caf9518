//! Lists and signals all processes of a container. The runtime process, with the right to signal them.
//! Never signals by a pid alone that might meanwhile be another's.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::freeze::{is_held_from_above, thaw_tree};
use super::{Cgroup, OpenGroup, files};
use crate::error::{Call, Error, Result};
use crate::sys::cgroup as sys;

/// How long the killed may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a freeze may take that only keeps a fork bomb from outrunning the signals.
const HOLD: Duration = Duration::from_millis(500);
/// How many pidfds are open at a time.
const CHUNK: usize = 200;

impl Cgroup {
    /// The pids of the container's processes, also those in cgroups it has made, ascending. Empty when
    /// there is no cgroup any more.
    ///
    /// # Errors
    /// When a list exists and cannot be read.
    pub fn processes(&self) -> Result<Vec<i32>> {
        let Some(group) = self.roster() else { return Ok(Vec::new()) };
        list(group).call(|| format!("read({:?})", group.dir.join("cgroup.procs")))
    }

    /// The hierarchy whose lists count: the one that is frozen, or that has no other tree beside it.
    fn roster(&self) -> Option<&OpenGroup> {
        self.v1("freezer").or(self.unified()).or(self.v1("pids")).or(self.groups.first())
    }

    /// Signals every process. SIGKILL returns once all are gone, and thaws what is frozen; any other signal
    /// is sent once to each.
    ///
    /// # Errors
    /// When a process cannot be signalled, or lives ten seconds after SIGKILL.
    pub fn kill_all(&self, signal: i32) -> Result<()> {
        let Some(group) = self.roster() else { return Ok(()) };
        if signal != nix::libc::SIGKILL {
            let pids = self.processes()?;
            return send(group, &pids, signal);
        }
        self.kill_until_gone(group)
    }

    fn kill_until_gone(&self, group: &OpenGroup) -> Result<()> {
        let start = Instant::now();
        let mut pause = Duration::from_micros(200);
        let mut pids = self.processes()?;
        let mut by_kernel = !pids.is_empty() && self.kill_by_kernel();
        while !pids.is_empty() {
            if start.elapsed() > PATIENCE {
                return Err(still_there(group, &pids));
            }
            if !by_kernel {
                self.kill_held(group)?;
            }
            self.thaw_v1();
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
            pids = self.processes()?;
            // Not all of them may be in the v2 tree: then the slow way.
            by_kernel = by_kernel && start.elapsed() < Duration::from_millis(300);
        }
        Ok(())
    }

    /// KERNEL(5.14): `cgroup.kill` reaches every process below, and no fork escapes it.
    fn kill_by_kernel(&self) -> bool {
        self.unified().is_some_and(|group| files::write(&group.fd, "cgroup.kill", "1").is_ok())
    }

    /// Signals all while none can fork. A freeze that does not succeed is no reason to stop.
    fn kill_held(&self, group: &OpenGroup) -> Result<()> {
        let _ = self.freeze_within(HOLD);
        let result = self.processes().and_then(|pids| send(group, &pids, nix::libc::SIGKILL));
        let _ = self.thaw();
        result
    }

    /// One round of the way that older kernels need.
    #[cfg(test)]
    pub(super) fn kill_held_for_tests(&self) -> Result<()> {
        self.roster().map_or(Ok(()), |group| self.kill_held(group))
    }

    fn thaw_v1(&self) {
        if let Some(group) = self.v1("freezer") {
            thaw_tree(group);
        }
    }
}

fn still_there(group: &OpenGroup, pids: &[i32]) -> Error {
    let some: Vec<String> = pids.iter().take(10).map(i32::to_string).collect();
    let text = format!("{} process(es) live on after SIGKILL: {}", pids.len(), some.join(" "));
    match is_held_from_above(group) {
        true => Error::new(text).hint(format!("a cgroup above {:?} is frozen: thaw it", group.dir)),
        false => Error::new(text).hint("they may be in uninterruptible sleep"),
    }
}

fn list(group: &OpenGroup) -> nix::Result<Vec<i32>> {
    let mut result = Ok(Vec::new());
    // A folder that vanishes while the walk stands in it ends the walk: begin again.
    for _ in 0..10 {
        result = list_once(group);
        if !matches!(result, Err(Errno::ENOENT | Errno::ENODEV)) {
            break;
        }
    }
    files::present(result).map(Option::unwrap_or_default)
}

fn list_once(group: &OpenGroup) -> nix::Result<Vec<i32>> {
    let mut pids = Vec::new();
    files::walk(&group.fd, |folder| {
        let text = match files::read(folder, "cgroup.procs") {
            // A threaded cgroup has no list: its processes are in that of the domain above.
            Err(Errno::EOPNOTSUPP) => None,
            result => files::present(result)?,
        };
        // 0 is a process that has no pid in the caller's pid namespace.
        let text = text.unwrap_or_default();
        pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
        Ok(())
    })?;
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

/// Signals `pids`, as far as they are still in the cgroup after a pidfd of each is held: one whose pid was
/// given to another process meanwhile is either not in the second list, or the pidfd is a dead one's.
fn send(group: &OpenGroup, pids: &[i32], signal: i32) -> Result<()> {
    let mut refused = None;
    for chunk in pids.chunks(CHUNK) {
        let held: Vec<_> = chunk.iter().map(|pid| (*pid, sys::pidfd_open(*pid))).collect();
        let still: HashSet<i32> = list(group).call(|| "read(\"cgroup.procs\")")?.into_iter().collect();
        for (pid, pidfd) in held.into_iter().filter(|(pid, _)| still.contains(pid)) {
            let sent = match pidfd {
                Ok(pidfd) => sys::pidfd_send_signal(&pidfd, signal),
                Err(Errno::ENOSYS) => sys::kill(pid, signal),
                Err(errno) => Err(errno),
            };
            if let Err(errno) = sent
                && errno != Errno::ESRCH
            {
                refused = Some(Error::sys(format!("kill({pid}, {signal})"), errno));
            }
        }
    }
    refused.map_or(Ok(()), Err)
}
