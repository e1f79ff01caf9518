//! `state`, `list`, `ps`, and what a container is doing: read from the kernel each time, never stored.

use std::os::fd::AsFd;
use std::path::Path;

use super::create::find;
use super::{Runtime, State, Status};
use crate::cgroup::layout::Version;
use crate::cgroup::{Cgroup, SavedGroup};
use crate::error::{Call, Error, Explain, Kind, Result};
use crate::ids::ContainerId;
use crate::store::{Folder, Saved, Store};
use crate::sys::starter::{self, Listener};
use crate::sys::{process, users};

/// What the container is and does.
///
/// # Errors
/// When it does not exist.
pub fn state(runtime: &Runtime, id: &ContainerId) -> Result<State> {
    let doing = || format!("cannot show the state of container '{id}'");
    let folder = find(runtime, id).doing(doing)?;
    read_state(&folder).doing(doing)
}

/// All containers below the state root, sorted by name; a root that does not exist is empty.
///
/// # Errors
/// When the root cannot be read. A container whose state cannot be read is left out, with a warning.
pub fn list(runtime: &Runtime) -> Result<Vec<State>> {
    let Some(store) = Store::open(&runtime.root)? else { return Ok(Vec::new()) };
    let ids = store.list()?;
    // Each takes some ten questions to the kernel, and they do not wait for each other.
    let hands = std::thread::available_parallelism().map_or(1, |count| count.get().min(MOST_HANDS));
    let share = ids.len().div_ceil(hands).max(LEAST_SHARE);
    let store = &store;
    std::thread::scope(|scope| {
        let mut shares = ids.chunks(share);
        let own = shares.next().unwrap_or_default();
        let others: Vec<_> = shares.map(|ids| scope.spawn(move || read_states(store, ids))).collect();
        let mut states = read_states(store, own);
        for other in others {
            states.extend(other.join().map_err(|_| Error::new("a thread that read states has ended"))?);
        }
        Ok(states)
    })
}

/// The most threads that read states at once.
const MOST_HANDS: usize = 4;

/// So few containers are not worth a thread of their own.
const LEAST_SHARE: usize = 64;

fn read_states(store: &Store, ids: &[ContainerId]) -> Vec<State> {
    let read = |id: &ContainerId| match store.find(id).and_then(|folder| read_state(&folder)) {
        Ok(state) => Some(state),
        // Half made, or removed while we look: no container (yet, or any more).
        Err(error) if error.get_kind() == Kind::NotFound => None,
        Err(error) => {
            crate::log::warning(format!("container '{id}' is left out: {error}"));
            None
        }
    };
    ids.iter().filter_map(read).collect()
}

/// The host pids of the container's processes, ascending; none once it has stopped.
///
/// # Errors
/// When it does not exist.
pub fn processes(runtime: &Runtime, id: &ContainerId) -> Result<Vec<i32>> {
    let doing = || format!("cannot list the processes of container '{id}'");
    let folder = find(runtime, id).doing(doing)?;
    let saved = read(&folder).doing(doing)?;
    if status(&folder, &saved)? == Status::Stopped {
        return Ok(Vec::new());
    }
    let cgroup = Cgroup::open(&saved.cgroups).doing(doing)?;
    if cgroup.groups.is_empty() {
        return Ok(vec![saved.pid]);
    }
    let mut pids = cgroup.processes().doing(doing)?;
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

/// The saved state of a container that stands.
///
/// # Errors
/// "container does not exist" while it is being made, or when its maker died before it stood.
pub(super) fn read(folder: &Folder) -> Result<Saved> {
    Saved::read(folder)?.ok_or_else(|| {
        Error::new("container does not exist")
            .kind(Kind::NotFound)
            .hint("its creation is under way or was interrupted; 'isolate delete --force' removes what is left of it")
    })
}

/// What it is doing now.
///
/// # Errors
/// When procfs or its cgroup cannot be read.
pub(super) fn status(folder: &Folder, saved: &Saved) -> Result<Status> {
    let stat = process::stat(Path::new("/proc"), saved.pid)?;
    let lives = stat.is_some_and(|stat| stat.start_time == saved.start_time && !stat.has_ended());
    if !lives {
        return Ok(Status::Stopped);
    }
    if is_frozen(&saved.cgroups)? {
        return Ok(Status::Paused);
    }
    let is_waiting = folder.has("start.sock")
        && !matches!(starter::connect_in(&folder.as_fd(), "start.sock")?, Listener::Gone);
    Ok(if is_waiting { Status::Created } else { Status::Running })
}

/// Whether it is frozen. Only the hierarchy that freezes is looked at.
///
/// # Errors
/// When it cannot be read.
pub(super) fn is_frozen(saved: &[SavedGroup]) -> Result<bool> {
    let freezer = saved.iter().find(|group| group.is_v1_freezer());
    let group = freezer.or_else(|| saved.iter().find(|group| group.version == Version::V2));
    group.map_or(Ok(false), SavedGroup::is_frozen)
}

fn read_state(folder: &Folder) -> Result<State> {
    let saved = read(folder)?;
    let status = status(folder, &saved)?;
    to_state(folder, saved, status)
}

/// The state as it is shown.
///
/// # Errors
/// When the folder has vanished.
pub(super) fn to_state(folder: &Folder, saved: Saved, status: Status) -> Result<State> {
    let uid = nix::sys::stat::fstat(folder).call(|| "fstat(state folder)")?.st_uid;
    let owner =
        if uid == 0 { "root".to_owned() } else { users::name_of(uid).unwrap_or_else(|| uid.to_string()) };
    Ok(shown(saved, status, owner))
}

/// The state of a container that belongs to `owner`.
pub(super) fn shown(saved: Saved, status: Status, owner: String) -> State {
    State {
        oci_version: saved.oci_version,
        id: saved.id.to_string(),
        pid: if status == Status::Stopped { 0 } else { saved.pid },
        status,
        bundle: saved.bundle.display().to_string(),
        rootfs: saved.rootfs.display().to_string(),
        created: saved.created,
        annotations: saved.annotations,
        owner,
    }
}
