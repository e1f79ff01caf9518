//! `kill`: a signal for the init, or for every process of the container.

use super::create::{find, own_root};
use super::query::{read, status};
use super::{Runtime, Status};
use crate::apply::undo;
use crate::cgroup::Cgroup;
use crate::error::{Error, Explain, Kind, Result};
use crate::ids::ContainerId;
use crate::store::Saved;
use crate::sys::pidfd;

/// Sends `signal` (a number) to the container's init, or with `all` to every process of it.
///
/// A SIGKILL for a container without a pid namespace of its own goes to all: its processes would survive
/// their init. Not locked: it must get through while another command waits.
///
/// # Errors
/// "container not running" when there is nothing to signal.
pub fn kill(runtime: &Runtime, id: &ContainerId, signal: i32, all: bool) -> Result<()> {
    let doing = || format!("cannot kill container '{id}'");
    own_root(runtime).doing(doing)?;
    let folder = find(runtime, id).doing(doing)?;
    let saved = read(&folder).doing(doing)?;
    let outlive_init = signal == libc::SIGKILL && !saved.new_pid_namespace && !saved.cgroups.is_empty();
    if (all || outlive_init) && !saved.cgroups.is_empty() {
        return kill_all(&saved, signal).doing(doing);
    }
    let lives = status(&folder, &saved)? != Status::Stopped;
    let init = if lives { undo::open_process(saved.pid, saved.start_time).doing(doing)? } else { None };
    match init {
        Some(init) => pidfd::send_signal(&init, signal).doing(doing),
        // Engines sweep with --all after the end.
        None if all => Ok(()),
        None => Err(not_running()).doing(doing),
    }
}

fn not_running() -> Error {
    Error::new("container not running").kind(Kind::WrongState)
}

/// Nothing left to signal is no error here either.
fn kill_all(saved: &Saved, signal: i32) -> Result<()> {
    Cgroup::open(&saved.cgroups)?.kill_all(signal)
}
