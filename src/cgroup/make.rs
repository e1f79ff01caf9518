//! Makes the container's folder in one hierarchy. The runtime process, before the clone, with the
//! caller's privilege. Takes over no folder in which processes live.

use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::{Mode, mkdirat};

use super::delegate::delegate;
use super::group::{Group, Write};
use super::layout::Version;
use super::systemd;
use super::unit::Unit;
use super::{OpenGroup, files, mark};
use crate::error::{Call, Error, Kind, Result};

/// Makes the folder and what is missing above it. `None` when the group is optional and the caller may
/// not make it. On failure what had been made is removed again.
///
/// # Errors
/// When a folder cannot be made, a controller that a limit needs cannot be enabled, or the folder exists
/// and is in use ("container's cgroup is not empty", "container's cgroup unexpectedly frozen").
pub fn make(group: &Group) -> Result<Option<OpenGroup>> {
    let mut result = Err(Chain::Vanished);
    // Another container may remove the common parent just when this one has come that far.
    for _ in 0..100 {
        let mut made = Vec::new();
        result = chain(group, &mut made).map(|fd| (fd, made.clone()));
        if result.is_err() {
            made.iter().rev().for_each(|dir| drop(std::fs::remove_dir(dir)));
        }
        if !matches!(result, Err(Chain::Vanished)) {
            break;
        }
    }
    match result {
        Ok((fd, made)) => Ok(Some(open_group(group, fd, made))),
        Err(Chain::Vanished) => Err(Error::sys(format!("mkdir({:?})", group.dir), Errno::ENOENT)
            .because("other containers keep removing the folder above")),
        Err(Chain::Refused(_, _)) if group.optional => Ok(None),
        Err(Chain::Refused(call, errno)) => Err(refused(group, &call, errno)),
        Err(Chain::Failed(error)) => Err(error),
    }
}

/// Has systemd make the folder: a scope with the process `pid` in it, or a slice.
///
/// # Errors
/// What systemd says, or that a controller which a limit needs cannot be had.
pub fn make_unit(group: &Group, unit: &Unit, pid: Option<i32>) -> Result<OpenGroup> {
    systemd::start(unit, pid)?;
    let fd = match files::open_top(&group.dir) {
        Err(Errno::ENOENT) => {
            let text = format!("systemd has started {}, but its cgroup is not {:?}", unit.name, group.dir);
            return Err(Error::new(text).hint("look at 'systemctl show -p ControlGroup'"));
        }
        result => result.call(|| format!("open({:?})", group.dir))?,
    };
    let open = open_group(group, fd, vec![group.dir.clone()]);
    if group.version == Version::V2 {
        hand_down(group, &open.fd)?;
    }
    delegate(group, &open.fd)?;
    Ok(open)
}

/// What systemd has not handed down to the unit, because it knows nothing of it (hugetlb, rdma), or was told so.
fn hand_down(group: &Group, folder: &OwnedFd) -> Result<()> {
    let there = files::read(folder, "cgroup.controllers").call(|| "read(\"cgroup.controllers\")")?;
    let has = |name: &str| there.split_ascii_whitespace().any(|word| word == name);
    let missing = group.writes.iter().map(Write::controller).filter(|name| !has(name) && *name != "cgroup");
    let enable: Vec<String> = missing.map(str::to_owned).collect();
    if enable.is_empty() {
        return Ok(());
    }
    let group = Group { enable, ..group.clone() };
    let below = group.dir.strip_prefix(&group.mount_point).unwrap_or(Path::new(""));
    let mut path = group.mount_point.clone();
    let mut here = files::open_top(&path).call(|| format!("open({path:?})"))?;
    for name in below.components().filter_map(name) {
        let refused = |chain| match chain {
            Chain::Vanished => Error::new(format!("{path:?} has vanished")),
            Chain::Refused(call, errno) => refused(&group, &call, errno),
            Chain::Failed(error) => error,
        };
        enable_in(&group, &here, &path).map_err(refused)?;
        path.push(name);
        here = files::open_folder(&here, name).call(|| format!("open({path:?})"))?;
    }
    Ok(())
}

/// Refuses a container's folder that exists and is in use; one that does not exist, or is empty, is fine.
///
/// # Errors
/// As [`make`] for such a folder.
pub fn refuse_used(group: &Group) -> Result<()> {
    if group.is_shared {
        return Ok(());
    }
    match files::open_top(&group.dir) {
        Ok(folder) => unused(&folder).map_err(|error| error.at("linux.cgroupsPath")),
        // Whatever keeps it from being opened, making it will tell.
        Err(_) => Ok(()),
    }
}

/// Why the way down ended.
enum Chain {
    /// The folder stood in was removed by somebody.
    Vanished,
    /// The caller may not: the call and its errno.
    Refused(String, Errno),
    /// Anything else.
    Failed(Error),
}

fn open_group(group: &Group, fd: OwnedFd, made: Vec<PathBuf>) -> OpenGroup {
    let unit = group.unit.as_ref().map(Unit::save);
    OpenGroup {
        hierarchy: group.hierarchy.clone(),
        version: group.version,
        dir: group.dir.clone(),
        fd,
        made,
        unit,
    }
}

/// Engines look for these words.
fn refused(group: &Group, call: &str, errno: Errno) -> Error {
    let mut error = Error::sys(format!("unable to apply cgroup configuration: {call}"), errno);
    if errno != Errno::EROFS {
        error = error.because("permission denied");
    }
    let limit = group.writes.first();
    if let Some(write) = limit {
        let controller = write.controller();
        error = error
            .because(format!("cannot set {controller} limit: container could not join or create cgroup"))
            .at(&write.why);
    }
    let error =
        error.because("rootless needs no limits + no cgrouppath when no permission is granted for cgroups");
    match errno {
        // An outer container shows its cgroups, and lets nobody write there.
        Errno::EROFS => error.hint(
            "give the container that isolate runs in its cgroups to write, or use '--cgroup-manager disabled', \
             which limits nothing",
        ),
        _ => error.hint("have the cgroup delegated to the caller, or remove linux.resources and linux.cgroupsPath"),
    }
}

/// Hands the controllers that `group` needs down to its folder, which exists.
///
/// # Errors
/// When one that a limit needs cannot be enabled.
pub(super) fn enable_down_to(group: &Group) -> Result<()> {
    match descend(group, &mut Vec::new()) {
        Ok(_) => Ok(()),
        Err(Chain::Vanished) => {
            Err(Error::new(format!("the container's cgroup {:?} has vanished", group.dir)))
        }
        Err(Chain::Refused(call, errno)) => Err(refused(group, &call, errno)),
        Err(Chain::Failed(error)) => Err(error),
    }
}

fn chain(group: &Group, made: &mut Vec<PathBuf>) -> Result<OwnedFd, Chain> {
    let (here, is_new) = descend(group, made)?;
    if !is_new && !group.is_shared {
        unused(&here).map_err(|error| Chain::Failed(error.at("linux.cgroupsPath")))?;
    }
    if group.version == Version::V2 {
        threaded(group, &here)?;
        delegate(group, &here).map_err(Chain::Failed)?;
    }
    Ok(here)
}

/// The folder, and whether it is new; folders that are missing are made, and controllers enabled, on the way.
fn descend(group: &Group, made: &mut Vec<PathBuf>) -> Result<(OwnedFd, bool), Chain> {
    let below = group.dir.strip_prefix(&group.mount_point).unwrap_or(Path::new(""));
    let names: Vec<&Path> = below.components().filter_map(name).collect();
    if names.is_empty() {
        return Err(Chain::Failed(Error::new(format!("{:?} is no cgroup of a container", group.dir))));
    }
    let mut path = group.mount_point.clone();
    let mut here = files::open_top(&path).call(|| format!("open({path:?})")).map_err(Chain::Failed)?;
    let mut is_new = false;
    for name in names {
        enable_in(group, &here, &path)?;
        path.push(name);
        is_new = make_one(&here, name, &path)?;
        let is_own = path == group.dir && !group.is_shared;
        if is_new {
            made.push(path.clone());
            // The container's own folder goes with the container: nobody has to find out whose it is.
            if !is_own {
                mark::set(&path);
            }
        }
        let child = files::open_folder(&here, name).map_err(|errno| stopped("open", &path, errno))?;
        if group.inherit_cpuset {
            let given: &[Write] = if is_own { &group.writes } else { &[] };
            inherit(&here, &child, &path, is_new, given)?;
        }
        here = child;
    }
    Ok((here, is_new))
}

fn name(component: Component<'_>) -> Option<&Path> {
    matches!(component, Component::Normal(_)).then_some(Path::new(component.as_os_str()))
}

fn stopped(call: &str, path: &Path, errno: Errno) -> Chain {
    let call = format!("{call}({path:?})");
    match errno {
        Errno::ENOENT | Errno::ENODEV => Chain::Vanished,
        Errno::EACCES | Errno::EPERM | Errno::EROFS => Chain::Refused(call, errno),
        _ => Chain::Failed(Error::sys(call, errno)),
    }
}

/// Whether the folder is new.
fn make_one(here: &OwnedFd, name: &Path, path: &Path) -> Result<bool, Chain> {
    match mkdirat(here, name, Mode::from_bits_truncate(0o755)) {
        Ok(()) => Ok(true),
        Err(Errno::EEXIST) => Ok(false),
        // Without the right to write, the folder's being there is all that counts on the way down.
        Err(errno) => match files::open_folder(here, name) {
            Ok(_) => Ok(false),
            Err(_) => Err(stopped("mkdir", path, errno)),
        },
    }
}

/// v1: a new cpuset has nothing, and nothing can be put into it. What will be `given` need not be inherited: each
/// write makes the kernel look at the CPUs of all cpusets.
fn inherit(
    parent: &OwnedFd,
    child: &OwnedFd,
    path: &Path,
    is_new: bool,
    given: &[Write],
) -> Result<(), Chain> {
    let files = ["cpuset.cpus", "cpuset.mems"].into_iter();
    for file in files.filter(|file| !given.iter().any(|write| write.file == *file)) {
        let failed = |errno| stopped("write", &path.join(file), errno);
        if is_new || files::read(child, file).map_err(failed)?.trim().is_empty() {
            let value = files::read(parent, file).map_err(failed)?;
            files::write(child, file, value.trim()).map_err(failed)?;
        }
    }
    Ok(())
}

/// A folder that was there before must not be in use.
fn unused(here: &OwnedFd) -> Result<()> {
    let mut count = 0;
    let counted = files::walk(here, |folder| {
        let text = files::present(files::read(folder, "cgroup.procs"))?.unwrap_or_default();
        count += text.lines().count();
        Ok(())
    });
    if counted != Err(Errno::ENOENT) {
        counted.call(|| "read(\"cgroup.procs\")")?;
    }
    if count > 0 {
        return Err(Error::new(format!("container's cgroup is not empty: {count} process(es) found")));
    }
    let state = |file| files::read(here, file).unwrap_or_default();
    if state("cgroup.freeze").trim() == "1" || state("freezer.state").trim().starts_with("FR") {
        return Err(Error::new("container's cgroup unexpectedly frozen"));
    }
    Ok(())
}

/// v2: hands the controllers down from `here`. First what is on is looked at: above a delegated part the
/// caller may read, and not write.
fn enable_in(group: &Group, here: &OwnedFd, path: &Path) -> Result<(), Chain> {
    if group.enable.is_empty() {
        return Ok(());
    }
    let file = path.join("cgroup.subtree_control");
    let read = |name| files::read(here, name).map_err(|errno| stopped("open", &path.join(name), errno));
    let on = read("cgroup.subtree_control")?;
    let is_on = |controller: &&String| on.split_ascii_whitespace().any(|word| word == *controller);
    let wanted: Vec<&String> = group.enable.iter().filter(|controller| !is_on(controller)).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let offered = read("cgroup.controllers")?;
    let all: Vec<&String> =
        wanted.iter().copied().filter(|c| offered.split_ascii_whitespace().any(|word| word == *c)).collect();
    let line: Vec<String> = all.iter().map(|controller| format!("+{controller}")).collect();
    let at_once = files::write(here, "cgroup.subtree_control", &line.join(" "));
    let alone = |controller: &String| files::write(here, "cgroup.subtree_control", &format!("+{controller}"));
    for controller in wanted {
        let needed = group.writes.iter().find(|write| write.controller() == controller);
        let result = match (all.contains(&controller), at_once) {
            (true, Ok(())) => Ok(()),
            (true, Err(_)) => alone(controller),
            (false, _) => Err(Errno::ENOENT),
        };
        if let (Some(write), Err(errno)) = (needed, result) {
            return Err(Chain::Failed(not_enabled(controller, &file, errno).at(&write.why)));
        }
    }
    Ok(())
}

fn not_enabled(controller: &str, file: &Path, errno: Errno) -> Error {
    let meaning = match errno {
        Errno::ENOENT => "the folder does not have it",
        Errno::EBUSY => "processes live in that folder, and only a folder without any can hand it down",
        Errno::EACCES | Errno::EPERM | Errno::EROFS => "the folder is not delegated to the caller",
        Errno::EOPNOTSUPP => "the folder is threaded",
        _ => "the kernel refuses",
    };
    Error::sys(
        format!("controller '{controller}' is not available: write({file:?}, \"+{controller}\")"),
        errno,
    )
    .because(meaning)
    .hint("have the controller delegated, choose another linux.cgroupsPath, or remove the limit")
    .kind(Kind::Unsupported)
}

/// v2, below a threaded folder: only some controllers work, and the folder has to be threaded as well.
fn threaded(group: &Group, here: &OwnedFd) -> Result<(), Chain> {
    let kind = files::read(here, "cgroup.type").unwrap_or_default();
    if kind.trim() != "domain invalid" {
        return Ok(());
    }
    let works = |controller: &str| ["cpu", "cpuset", "perf_event", "pids", "cgroup"].contains(&controller);
    if let Some(write) = group.writes.iter().find(|write| !works(write.controller())) {
        let why = format!("controller '{}' does not work below a threaded cgroup", write.controller());
        return Err(Chain::Failed(Error::new(why).at(&write.why).kind(Kind::Unsupported)));
    }
    let file = group.dir.join("cgroup.type");
    files::write(here, "cgroup.type", "threaded").map_err(|errno| stopped("write", &file, errno))
}
