//! `mounts add` and `mounts remove`: mounts of a container that runs. The runtime process, with the caller's
//! privilege; a child of it goes into the container's user and mount namespaces, and never into its pid namespace.

use std::path::Path;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use oci_spec::runtime::Spec;
use serde_json::{Value, json};

use super::create::open_locked;
use super::exec::namespaces_to_join;
use super::query::{read, status};
use super::{Runtime, Status};
use crate::apply::{self, Joined, Work};
use crate::cgroup::Cgroup;
use crate::error::{Call, Error, Explain, Kind, Result};
use crate::host::{Host, probe};
use crate::ids::ContainerId;
use crate::plan::{self, Namespace, Plan};
use crate::store::{Folder, Saved};
use crate::sys::{pidfd, process};

/// Adds the mounts of `list` (the JSON of `mounts` of a config, or of an object with it): all of them, or none.
/// Mount points that had to be made stay.
///
/// # Errors
/// When the container has stopped, or one of them is refused.
pub fn add_mounts(runtime: &Runtime, id: &ContainerId, list: &[u8]) -> Result<()> {
    let doing = || format!("cannot add mounts to container '{id}'");
    let list = read_list(list).doing(doing)?;
    change(runtime, id, list, |spec, saved, joined, host| {
        plan::compile_mounts(spec, &saved.bundle, joined, host)
    })
    .doing(doing)
}

/// Takes the topmost mount at each destination of `list` away, in order; nothing else of the list matters.
///
/// # Errors
/// When the container has stopped, or nothing is mounted at one of them: those before it are gone by then.
pub fn remove_mounts(runtime: &Runtime, id: &ContainerId, list: &[u8]) -> Result<()> {
    let doing = || format!("cannot remove mounts from container '{id}'");
    let list = read_list(list).doing(doing)?;
    let list = list.as_array().into_iter().flatten().map(only_destination).collect();
    change(runtime, id, list, |spec, _, joined, _| plan::compile_unmounts(spec, joined)).doing(doing)
}

/// A mount of which nothing else can be wrong.
fn only_destination(mount: &Value) -> Value {
    match mount.get("destination") {
        Some(destination) => json!({"type": "tmpfs", "destination": destination}),
        None => mount.clone(),
    }
}

fn change(
    runtime: &Runtime,
    id: &ContainerId,
    list: Value,
    compile: impl Fn(&Spec, &Saved, &[Namespace], &Host) -> Result<Plan>,
) -> Result<()> {
    let folder = open_locked(runtime, id)?;
    let saved = read(&folder)?;
    if status(&folder, &saved)? == Status::Stopped {
        return Err(not_running());
    }
    let host = probe::probe()?;
    let spec = wanted(&folder, list, &host)?;
    let joined = namespaces_to_join(&saved)?;
    if !joined.contains(&Namespace::Mount) {
        return Err(Error::new("the container has no mount namespace of its own").kind(Kind::Unsupported));
    }
    let plan = compile(&spec, &saved, &joined, &host)?;
    plan.warnings.iter().for_each(crate::log::warning);
    visit(&plan, &saved)
}

fn not_running() -> Error {
    Error::new("container not running").kind(Kind::WrongState)
}

/// The kept config with the list in the place of its own mounts, so that all its rules hold for it.
fn wanted(folder: &Folder, list: Value, host: &Host) -> Result<Spec> {
    let config = folder.read("config.json")?.unwrap_or_default();
    let mut config: Value = serde_json::from_slice(&config)
        .map_err(|error| Error::new(format!("the kept config is damaged: {error}")))?;
    config["mounts"] = list;
    Ok(plan::config::read(config.to_string().as_bytes(), host)?.spec)
}

fn read_list(list: &[u8]) -> Result<Value> {
    let text = |error| Error::new(format!("the list of mounts is not JSON: {error}")).kind(Kind::Usage);
    let mut list: Value = serde_json::from_slice(list).map_err(text)?;
    let list = match &mut list {
        Value::Object(object) => object.remove("mounts").unwrap_or_default(),
        other => other.take(),
    };
    match list.as_array().map(Vec::len) {
        Some(0) => Err(Error::new("the list of mounts is empty").kind(Kind::Usage)),
        Some(_) => Ok(list),
        None => Err(Error::new("there is no list of mounts")
            .kind(Kind::Usage)
            .hint("give what stands under 'mounts' in a config: [{\"destination\": …}]")),
    }
}

/// Carries the plan out: its child tells when all is done, and ends.
fn visit(plan: &Plan, saved: &Saved) -> Result<()> {
    let pidfd = apply::undo::open_process(saved.pid, saved.start_time)?.ok_or_else(not_running)?;
    let path = format!("/proc/{}/root", saved.pid);
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = nix::fcntl::open(Path::new(&path), flags, Mode::empty()).call(|| format!("open({path:?})"))?;
    if pidfd::poll_exit(&pidfd, Some(Duration::ZERO))? {
        // Its pid may be another process' by now, and so may be what was opened.
        return Err(not_running());
    }
    let work = Work {
        plan,
        lock: None,
        console_socket: None,
        listener: None,
        container: Some(Joined { pid: saved.pid, pidfd, root }),
        cgroup: Cgroup::default(),
        state: &|_, _| Vec::new(),
        journal: &|_| Ok(()),
        meanwhile: &|| Ok(()),
        init_cgroup: &|| Ok(None),
        commit: &|_| Ok(()),
        child_signals: &|| Ok(()),
    };
    process::set_dumpable(process::Dumpable::No)?;
    let made = apply::carry_out(work)?;
    pidfd::wait(&made.pidfd).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_stands_alone_or_under_its_name() {
        let list = serde_json::json!([{"destination": "/x"}]);
        assert_eq!(read_list(list.to_string().as_bytes()).unwrap(), list);
        let object = serde_json::json!({"mounts": list, "ociVersion": "1.0.0"});
        assert_eq!(read_list(object.to_string().as_bytes()).unwrap(), list);
        for (text, words) in [("{", "not JSON"), ("[]", "is empty"), ("{}", "no list"), ("7", "no list")] {
            let error = read_list(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
