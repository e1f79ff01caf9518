//! `start`: says the word to the waiting init, and waits until the program has been executed.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use super::create::notify_relay;
use super::notify::relay_once;
use super::query::{is_frozen, read, to_state};
use super::update::open_settled;
use super::{Runtime, State, Status};
use crate::apply::{hooks, undo};
use crate::error::{Call, Error, Explain, Kind, Result};
use crate::ids::ContainerId;
use crate::oci::read::parse;
use crate::plan::{Hook, HookKind};
use crate::store::{Folder, Saved};
use crate::sys::process;
use crate::sys::starter::{self, Listener};

/// Starts the user's program of a created container.
///
/// # Errors
/// When it is not in the created state, or the program cannot be executed.
pub fn start(runtime: &Runtime, id: &ContainerId) -> Result<()> {
    let doing = || format!("cannot start container '{id}'");
    let folder = open_settled(runtime, id).doing(doing)?;
    let saved = read(&folder).doing(doing)?;
    let relay = notify_relay(&folder).doing(doing)?;
    let init = start_locked(&folder, &saved).doing(doing)?;
    let hooks = poststart_hooks(&folder, &saved)?;
    if !hooks.is_empty() {
        let state = to_state(&folder, saved.clone(), Status::Running)?;
        if let Err(error) = run_poststart(&hooks, &state) {
            super::delete::force(folder, &saved).doing(doing)?;
            return Err(error.doing(doing()));
        }
    }
    // A program may take its time to be ready, and other commands have to get at it meanwhile.
    drop(folder);
    match relay {
        Some(relay) => relay_once(&relay, saved.pid, &init).map(drop).doing(doing),
        None => Ok(()),
    }
}

fn start_locked(folder: &Folder, saved: &Saved) -> Result<OwnedFd> {
    let refuse = |text: &str| Err(Error::new(text).kind(Kind::WrongState));
    // As `status` asks, but for whether the init waits: the word itself finds that out.
    let Some(init) = undo::open_process(saved.pid, saved.start_time)? else {
        return refuse("cannot start a container that has stopped");
    };
    if is_frozen(&saved.cgroups)? {
        return refuse("cannot start a paused container");
    }
    if saved.has_no_process {
        return Err(Error::new("the config has no process, so there is nothing to start").at("process"));
    }
    say_start(folder)?;
    refuse_dead(saved.pid, Some(saved.start_time))?;
    Ok(init)
}

/// An init that died on the way to exec closes the connection just as exec does; only what the kernel
/// keeps of it, until its parent has looked, tells the two apart.
///
/// # Errors
/// When it died before it was the program.
pub(super) fn refuse_dead(pid: i32, start_time: Option<u64>) -> Result<()> {
    let stat = process::stat(Path::new("/proc"), pid)?;
    let is_it = |stat: &process::Stat| start_time.is_none_or(|time| time == stat.start_time);
    match stat.filter(is_it) {
        Some(stat) if stat.has_ended() && stat.has_never_executed() => Err(Error::new(
            "the container's init died before it could execute the program",
        )
        .hint(
            "a seccomp filter that kills on capset or execve does this, and so does too low a memory limit",
        )),
        _ => Ok(()),
    }
}

/// The init's answer is the end of the connection (exec closed it), or why it could not execute.
fn say_start(folder: &Folder) -> Result<()> {
    let connection = match starter::connect_in(&folder.as_fd(), "start.sock")? {
        Listener::Connected(connection) => connection,
        Listener::Gone => {
            return Err(Error::new("cannot start an already running container").kind(Kind::WrongState));
        }
        Listener::Busy => {
            return Err(Error::new("the container's init does not answer").hint("is it stopped or frozen?"));
        }
    };
    nix::unistd::write(&connection, b"start").call(|| "write(start.sock)")?;
    let mut answer = vec![0; 16 << 10];
    let length = loop {
        match nix::unistd::read(&connection, &mut answer) {
            Err(nix::errno::Errno::EINTR) => {}
            Err(nix::errno::Errno::ECONNRESET) => break 0,
            result => break result.call(|| "read(start.sock)")?,
        }
    };
    folder.unlink("start.sock")?;
    match length {
        0 => Ok(()),
        _ => Err(Error::from_wire(&answer[..length])),
    }
}

/// The `poststart` hooks of the config as it was at create.
///
/// # Errors
/// When the kept config is damaged.
pub(super) fn poststart_hooks(folder: &Folder, saved: &Saved) -> Result<Vec<Hook>> {
    if !saved.has_poststart {
        return Ok(Vec::new());
    }
    let spec = parse(&folder.read("config.json")?.unwrap_or_default())?.spec;
    let listed = spec.hooks().as_ref().and_then(|hooks| hooks.poststart().as_ref());
    Ok(crate::plan::hooks(listed))
}

/// Runs the hooks after the program has begun.
///
/// # Errors
/// The first that failed; the container has to go then.
pub(super) fn run_poststart(hooks: &[Hook], state: &State) -> Result<()> {
    let bytes = serde_json::to_vec(state).map_err(|error| Error::new(error.to_string()))?;
    hooks::run_all(hooks, HookKind::Poststart, &bytes, &hook_output(state)?)
}

/// The files into which the hooks of a container write, opened.
///
/// # Errors
/// One cannot be opened.
pub(super) fn hook_output(state: &State) -> Result<hooks::Output> {
    let lookup = |key| state.annotations.get(key).map(String::as_str);
    hooks::Output::open(crate::plan::annotations::hook_output(lookup)?)
}
