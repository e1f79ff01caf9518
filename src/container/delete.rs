//! `delete`: removes a container and everything of it.

use super::create::{find, open_locked};
use super::query::{status, to_state};
use super::start::hook_output;
use super::{Runtime, State, Status};
use crate::apply::{hooks, undo};
use crate::error::{Error, Explain, Kind, Result};
use crate::ids::ContainerId;
use crate::oci::read::parse;
use crate::plan::HookKind;
use crate::store::{Folder, Saved};
use oci_spec::runtime::Spec;

/// Removes a stopped (or created) container and everything of it; with `force` a running one too, and
/// none at all is then no error.
///
/// # Errors
/// When it runs, does not exist, or something of it could not be removed.
pub fn delete(runtime: &Runtime, id: &ContainerId, force: bool) -> Result<()> {
    let doing = || format!("cannot delete container '{id}'");
    let folder = match open_locked(runtime, id) {
        Err(error) if force && error.get_kind() == Kind::NotFound => return Ok(()),
        Err(error) if force && error.get_kind() == Kind::Busy => end_and_lock(runtime, id).doing(doing)?,
        result => result.doing(doing)?,
    };
    match Saved::read(&folder) {
        Ok(Some(saved)) => delete_locked(folder, &saved, force).doing(doing),
        // Half made by a runtime that died: the lock is ours, so nobody is at it any more.
        Ok(None) => half_made(folder, force).doing(doing),
        Err(_) if force => undo::take_back(folder, None).doing(doing),
        Err(error) => Err(error.doing(doing())),
    }
}

/// Whoever holds the lock waits for something of the container, so that goes first.
fn end_and_lock(runtime: &Runtime, id: &ContainerId) -> Result<Folder> {
    let folder = find(runtime, id)?;
    if let Some(saved) = Saved::read(&folder)? {
        undo::end_process(saved.pid, saved.start_time)?;
    }
    folder.lock()
}

fn half_made(folder: Folder, force: bool) -> Result<()> {
    undo::take_back(folder, None)?;
    if force {
        return Ok(());
    }
    Err(Error::new("container does not exist")
        .kind(Kind::NotFound)
        .hint("what an interrupted create had left was removed"))
}

fn delete_locked(folder: Folder, saved: &Saved, forced: bool) -> Result<()> {
    let now = status(&folder, saved)?;
    match now {
        Status::Stopped | Status::Created => force(folder, saved),
        _ if forced => force(folder, saved),
        _ => {
            let now = if now == Status::Paused { "paused" } else { "running" };
            Err(Error::new(format!("cannot delete container {} that is not stopped: {now}", saved.id))
                .kind(Kind::WrongState)
                .hint("end it first with 'isolate kill', or use --force"))
        }
    }
}

/// Kills what is left of the container and removes it, then runs the `poststop` hooks.
///
/// # Errors
/// When something could not be removed; then the folder stays, for another try.
pub(super) fn force(folder: Folder, saved: &Saved) -> Result<()> {
    if !saved.has_poststop {
        return undo::take_back(folder, Some(saved));
    }
    let config = folder.read("config.json")?.unwrap_or_default();
    let state = to_state(&folder, saved.clone(), Status::Stopped)?;
    undo::take_back(folder, Some(saved))?;
    // The container is gone; a config that cannot be read any more has no hooks to run.
    if let Ok(config) = parse(&config) {
        run_poststop(&config.spec, &state);
    }
    Ok(())
}

/// Runs the hooks after the container is gone; a failure is only told (runtime.md, "Lifecycle").
pub(super) fn run_poststop(spec: &Spec, state: &State) {
    let listed = spec.hooks().as_ref().and_then(|hooks| hooks.poststop().as_ref());
    let listed = crate::plan::hooks(listed);
    if listed.is_empty() {
        return;
    }
    let bytes = serde_json::to_vec(state).unwrap_or_default();
    let output = hook_output(state).unwrap_or_else(|error| {
        crate::log::warning(error);
        hooks::Output::default()
    });
    for hook in listed {
        if let Err(error) = hooks::run_all(&[hook], HookKind::Poststop, &bytes, &output) {
            crate::log::warning(error);
        }
    }
}
