//! `update`: other limits for a container that stands; all that is asked for, or nothing.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::create::open_locked;
use super::query::{read, status};
use super::{Runtime, Status};
use crate::cgroup::{Before, Cgroup};
use crate::error::{Error, Explain, Kind, Result};
use crate::host::probe;
use crate::ids::ContainerId;
use crate::log;
use crate::oci::resources;
use crate::plan::cgroup::{CgroupPlan, compile_update};
use crate::store::{Folder, Saved};

/// The file that is there while limits are being changed.
const UNDER_WAY: &str = "update";

/// What is brought back when an update does not come to its end.
#[derive(Debug, Serialize, Deserialize)]
struct UnderWay {
    before: Before,
    resources: Option<Value>,
}

/// Changes the limits to what `asked` (the JSON of an OCI `resources` object) says; what it does not name
/// stays. Locked: of two updates at the same time one comes after the other.
///
/// # Errors
/// When the container is not there, has stopped, or one of the limits is refused: then all are as before.
pub fn update(runtime: &Runtime, id: &ContainerId, asked: &[u8]) -> Result<()> {
    let doing = || format!("cannot update container '{id}'");
    let asked = resources::read(asked).doing(doing)?;
    let folder = open_settled(runtime, id).doing(doing)?;
    change(&folder, asked).doing(doing)
}

fn change(folder: &Folder, mut asked: Value) -> Result<()> {
    let saved = read(folder)?;
    if status(folder, &saved)? == Status::Stopped {
        return Err(Error::new("container not running").kind(Kind::WrongState));
    }
    let before = known(folder, &saved)?;
    resources::complete(&mut asked, &before);
    let typed = resources::check(&asked)?;
    let plan = compile_update(&typed, &saved.cgroups, &probe::probe()?);
    let plan = plan.hint(|| match saved.cgroups.is_empty() {
        true => "the container was made without a cgroup of its own: its user needs a delegated cgroup v2",
        false => "the container has only the cgroups that it was given when it was made",
    })?;
    plan.warnings.iter().for_each(log::warning);
    let cgroup = Cgroup::open(&saved.cgroups)?;
    let merged = Saved { resources: Some(resources::merge(&before, &asked)), ..saved.clone() };
    let result = carry_out(folder, &plan, &cgroup, &saved, &merged);
    folder.unlink(UNDER_WAY)?;
    result
}

fn carry_out(folder: &Folder, plan: &CgroupPlan, cgroup: &Cgroup, old: &Saved, new: &Saved) -> Result<()> {
    let write_down = |before: &Before| {
        let record = UnderWay { before: before.clone(), resources: old.resources.clone() };
        let record = serde_json::to_vec(&record).map_err(|error| Error::new(error.to_string()))?;
        folder.write(UNDER_WAY, &record)
    };
    let before = cgroup.update(&plan.groups, write_down)?;
    new.write(folder).map_err(|error| match before.restore(cgroup) {
        Ok(()) => error,
        Err(left) => error.because(left),
    })
}

/// The container's folder, locked, with no update half done in it.
///
/// # Errors
/// As [`open_locked`]; or what a cut-short update had changed cannot be brought back.
pub(super) fn open_settled(runtime: &Runtime, id: &ContainerId) -> Result<Folder> {
    let folder = open_locked(runtime, id)?;
    settle(&folder)?;
    Ok(folder)
}

/// Brings back what an update has left half done whose runtime died on the way.
fn settle(folder: &Folder) -> Result<()> {
    let Some(record) = folder.read(UNDER_WAY)? else { return Ok(()) };
    let Some(saved) = Saved::read(folder)? else { return Ok(()) };
    // Written by rename: a record that cannot be read is none of ours.
    let record: UnderWay = serde_json::from_slice(&record)
        .map_err(|error| Error::new(format!("the record of an update is damaged: {error}")))?;
    record.before.restore(&Cgroup::open(&saved.cgroups)?).doing(|| "an earlier update was cut short")?;
    Saved { resources: record.resources, ..saved }.write(folder)?;
    log::warning("an earlier update was cut short: the limits are again what they were before it");
    folder.unlink(UNDER_WAY)
}

/// What the container's limits are: those of its last update, or of its config.
fn known(folder: &Folder, saved: &Saved) -> Result<Value> {
    if let Some(resources) = &saved.resources {
        return Ok(resources.clone());
    }
    let config = folder.read("config.json")?.unwrap_or_default();
    let config: Value = serde_json::from_slice(&config)
        .map_err(|error| Error::new(format!("the kept config is damaged: {error}")))?;
    let resources = config.pointer("/linux/resources").filter(|resources| resources.is_object());
    Ok(resources.cloned().unwrap_or(json!({})))
}
