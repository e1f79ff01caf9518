//! `update`: other limits for a container that stands; all that is asked for, or nothing.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::create::open_locked;
use super::query::{read, status};
use super::{Runtime, Status};
use crate::cgroup::{Before, Cgroup, Group};
use crate::error::{Error, Explain, Kind, Result};
use crate::host::{Host, probe};
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
    /// What was asked for; absent in records of older versions.
    #[serde(default)]
    asked: Option<Value>,
}

/// An update on its way.
struct Change<'a> {
    folder: &'a Folder,
    cgroup: &'a Cgroup,
    plan: &'a CgroupPlan,
    /// The limits before it, compiled.
    former: Vec<Group>,
    old: &'a Saved,
    new: &'a Saved,
    asked: &'a Value,
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
    let host = probe::probe()?;
    let plan = compile_update(&typed, &saved.cgroups, &host);
    let plan = plan.hint(|| match saved.cgroups.is_empty() {
        true => "the container was made without a cgroup of its own: its user needs a delegated cgroup v2",
        false => "the container has only the cgroups that it was given when it was made",
    })?;
    plan.warnings.iter().for_each(log::warning);
    let cgroup = Cgroup::open(&saved.cgroups)?;
    let merged = Saved { resources: Some(resources::merge(&before, &asked)), ..saved.clone() };
    let former = former(&before, &saved, &host);
    let change =
        Change { folder, cgroup: &cgroup, plan: &plan, former, old: &saved, new: &merged, asked: &asked };
    let result = change.carry_out();
    folder.unlink(UNDER_WAY)?;
    result
}

/// The limits as they are known, compiled. Where that fails (another host's, or an older version's) there is nothing
/// to go back to but what the files say.
fn former(known: &Value, saved: &Saved, host: &Host) -> Vec<Group> {
    let mut known = known.clone();
    if known.get("devices").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        // What a container without rules of its own has.
        known["devices"] = json!([{"allow": false, "access": "rwm"}]);
    }
    let compiled = resources::check(&known).and_then(|typed| compile_update(&typed, &saved.cgroups, host));
    compiled.map(|plan| plan.groups).unwrap_or_default()
}

impl Change<'_> {
    fn carry_out(&self) -> Result<()> {
        let before = self.cgroup.update(&self.plan.groups, |before| self.write_down(before));
        let before = match before {
            Ok(before) => before,
            Err(error) => return Err(self.with_devices_back(error)),
        };
        let made = self.new.write(self.folder).and_then(|()| self.cgroup.tell_manager(&self.plan.groups));
        made.map_err(|error| match before.restore(self.cgroup).and_then(|()| self.old.write(self.folder)) {
            Ok(()) => self.with_devices_back(error),
            Err(left) => self.with_devices_back(error.because(left)),
        })
    }

    fn write_down(&self, before: &Before) -> Result<()> {
        let (resources, asked) = (self.old.resources.clone(), Some(self.asked.clone()));
        let record = UnderWay { before: before.clone(), resources, asked };
        let record = serde_json::to_vec(&record).map_err(|error| Error::new(error.to_string()))?;
        self.folder.write(UNDER_WAY, &record)
    }

    fn with_devices_back(&self, error: Error) -> Error {
        match self.cgroup.reinstate_devices(&self.former, &self.plan.groups) {
            Ok(()) => error,
            Err(left) => error.because(format!("and the former device rules could not be restored: {left}")),
        }
    }
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
    let cgroup = Cgroup::open(&saved.cgroups)?;
    record.before.restore(&cgroup).doing(|| "an earlier update was cut short")?;
    let saved = Saved { resources: record.resources, ..saved };
    saved.write(folder)?;
    reinstate(folder, &saved, &cgroup, record.asked.as_ref()).doing(|| "an earlier update was cut short")?;
    log::warning("an earlier update was cut short: the limits are again what they were before it");
    folder.unlink(UNDER_WAY)
}

/// What the files do not show: device rules, and what a service manager was told.
fn reinstate(folder: &Folder, saved: &Saved, cgroup: &Cgroup, asked: Option<&Value>) -> Result<()> {
    let host = probe::probe()?;
    let former = former(&known(folder, saved)?, saved, &host);
    if let Some(asked) = asked {
        let after = compile_update(&resources::check(asked)?, &saved.cgroups, &host)?;
        cgroup.reinstate_devices(&former, &after.groups)?;
    }
    cgroup.tell_manager(&former)
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
