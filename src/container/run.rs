//! `run`: create and start in one go; in the foreground also the wait, and the removal.

use super::console::Attachment;
use super::create::{Prepared, Standing, kill_init, notify_relay};
use super::foreground::{self, Init, Signals, Subreaper};
use super::notify::relay_once;
use super::query::to_state;
use super::start::{poststart_hooks, refuse_dead, run_poststart};
use super::terminal::Terminal;
use super::{CreateOptions, RunOptions, Runtime, Status, delete};
use crate::error::{Explain, Result};
use crate::plan::Start;
use std::os::fd::AsFd;

/// Makes and starts a container; unless detached, waits for it and returns its exit code
/// (128 + the signal's number if a signal ended it).
///
/// # Errors
/// As [`super::create()`] and [`super::start()`].
pub fn run(runtime: &Runtime, options: &CreateOptions, run: RunOptions) -> Result<i32> {
    let doing = || format!("cannot run container '{}'", options.id);
    let attachment = if run.detach { Attachment::Detached } else { Attachment::Foreground };
    let prepared = Prepared::new(runtime, options, attachment, Start::AtOnce).doing(doing)?;
    if run.detach {
        let standing = started(prepared.make(None).doing(doing)?).doing(doing)?;
        let relay = notify_relay(&standing.folder).doing(doing)?;
        let Standing { made, folder, .. } = standing;
        drop(folder);
        if let Some(relay) = relay {
            relay_once(&relay, made.pid, made.pidfd.as_fd()).doing(doing)?;
        }
        return Ok(0);
    }
    let subreaper = if run.no_subreaper { Subreaper::No } else { Subreaper::Yes };
    let signals = Signals::block_early(subreaper).doing(doing)?;
    let standing = prepared.make(Some(&signals)).doing(doing)?;
    wait(standing, run, &signals).doing(doing)
}

fn wait(mut standing: Standing, run: RunOptions, signals: &Signals) -> Result<i32> {
    let relay = notify_relay(&standing.folder)?;
    let terminal = standing.made.master.take().map(Terminal::attach).transpose()?;
    let Standing { made, folder, saved } = started(standing)?;
    // Other commands (exec, kill, pause) must get at the container while it runs.
    let folder = folder.unlock()?;
    let init = Init { pid: made.pid, pidfd: made.pidfd.as_fd() };
    let exit = foreground::wait(init, terminal, relay, signals)?;
    if !run.keep {
        remove(folder, &saved)?;
    }
    Ok(exit.code())
}

/// An engine may delete the container as soon as its program has ended; then there is nothing to do.
fn remove(folder: crate::store::Folder, saved: &crate::store::Saved) -> Result<()> {
    match folder.lock() {
        Ok(folder) => delete::force(folder, saved),
        Err(error) if error.get_kind() == crate::error::Kind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Waits for exec, then runs the hooks that follow it; a failure takes the container with it.
fn started(standing: Standing) -> Result<Standing> {
    let Err(error) = begin(&standing) else { return Ok(standing) };
    let Standing { made, folder, saved } = standing;
    kill_init(&made);
    if let Err(left) = delete::force(folder, &saved) {
        crate::log::warning(format!("after the failure something was left: {left}"));
    }
    Err(error)
}

fn begin(standing: &Standing) -> Result<()> {
    let Standing { made, folder, saved } = standing;
    made.wait_for_exec()?;
    refuse_dead(made.pid, None)?;
    let hooks = poststart_hooks(folder, saved)?;
    if hooks.is_empty() {
        return Ok(());
    }
    run_poststart(&hooks, &to_state(folder, saved.clone(), Status::Running)?)
}
