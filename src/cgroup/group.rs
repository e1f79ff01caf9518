//! A container's cgroup as values: what a plan asks for in one hierarchy, and what the state file
//! remembers of it afterwards. Any process; only [`SavedGroup::planned`] looks at the host.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::device::DeviceRule;
use super::layout::Version;
use super::unit::{SavedUnit, Unit};

/// What is to be made and written in one hierarchy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// The hierarchy's name: the last name of a v1 mount point (`memory`, `cpu,cpuacct`), `unified` for v2.
    pub hierarchy: String,
    /// The kernel interface.
    pub version: Version,
    /// Where the hierarchy is mounted.
    pub mount_point: PathBuf,
    /// The container's cgroup, an absolute path of the host below `mount_point`.
    pub dir: PathBuf,
    /// v2: controllers to enable in every folder from `mount_point` down to the parent of `dir`. One that
    /// cannot be enabled is an error only if one of `writes` needs it.
    pub enable: Vec<String>,
    /// v1 cpuset: a new folder has no processors and no memory nodes until it is given its parent's.
    pub inherit_cpuset: bool,
    /// May be left out when the caller may not make the folder: an unprivileged caller, and nothing asked.
    pub optional: bool,
    /// Refusals to look at before the first write (`checkBeforeUpdate`).
    pub checks: Vec<Check>,
    /// What is written, in order.
    pub writes: Vec<Write>,
    /// v2: device rules for a program of the folder, the last match wins; none: what is there stays.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceRule>,
    /// The unit of systemd that makes the folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
    /// v1, with a unit in another hierarchy: systemd may have made the folder, and put the init into it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_shared: bool,
    /// v2: who owns the folder and the files by which processes and controllers are moved below it, if it is not
    /// the caller: the container's user, who sees it as the top of a cgroup namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<u32>,
}

impl Group {
    /// Whether there is anything to set in the folder.
    pub fn has_limits(&self) -> bool {
        !self.writes.is_empty() || !self.devices.is_empty()
    }
}

/// One value for one file of a cgroup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// The file's name: `memory.max`.
    pub file: String,
    /// What is written, without a newline.
    pub value: String,
    /// The JSON path of the config that asks for it.
    pub why: String,
    /// How it is written.
    pub how: How,
    /// What it means that the kernel has no such file.
    pub when_missing: WhenMissing,
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum How {
    /// Once.
    Once,
    /// Again after the others when the kernel says EINVAL: pairs like quota and period, or memory and
    /// memory+swap, have to be written in one order when growing and in the other when shrinking.
    AgainAfterOthers,
    /// As [`How::AgainAfterOthers`], but first in every folder above that has `0`: a real-time budget is
    /// carved out of the parent's.
    ParentsFirst,
    /// The first word of the value is what the file has now: a new period keeps the old quota.
    KeepFirstWord,
}

/// What it means that a file does not exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WhenMissing {
    /// The limit cannot be had: an error.
    Error,
    /// The value is what a kernel without the file does anyway.
    Ignore,
    /// Another file of another kernel or scheduler does the same.
    Instead(Box<Write>),
}

/// A refusal: the sum of what the files say must not exceed the bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The files that are summed up, in bytes; a missing one counts as nothing.
    pub files: Vec<String>,
    /// The new limit in bytes.
    pub bound: u64,
    /// What is limited: `memory limit`.
    pub limit: String,
    /// The JSON path of the config that asks for it.
    pub why: String,
}

/// What later commands need to find a container's cgroup again; kept in the state file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedGroup {
    /// As in [`Group`].
    pub hierarchy: String,
    /// As in [`Group`].
    pub version: Version,
    /// As in [`Group`].
    pub dir: PathBuf,
    /// The folders that were made for this container, outermost first; only these are removed.
    pub made: Vec<PathBuf>,
    /// The unit of systemd whose folder it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<SavedUnit>,
}

impl SavedGroup {
    /// What has to be removed if making `group` is cut short at any point: its own folder, and those above it
    /// that are not there yet.
    pub fn planned(group: &Group) -> SavedGroup {
        let above = group.dir.ancestors().skip(1).take_while(|dir| *dir != group.mount_point);
        // The slices above a unit are systemd's.
        let above = above.filter(|dir| group.unit.is_none() && !dir.exists());
        let mut made: Vec<PathBuf> = above.map(PathBuf::from).collect();
        made.reverse();
        made.push(group.dir.clone());
        SavedGroup {
            hierarchy: group.hierarchy.clone(),
            version: group.version,
            dir: group.dir.clone(),
            made,
            unit: group.unit.as_ref().map(Unit::save),
        }
    }
}

impl Write {
    /// A plain write that must succeed.
    pub fn new(file: impl Into<String>, value: impl ToString, why: impl Into<String>) -> Write {
        Write {
            file: file.into(),
            value: value.to_string(),
            why: why.into(),
            how: How::Once,
            when_missing: WhenMissing::Error,
        }
    }

    /// The same, written in another way.
    pub fn how(mut self, how: How) -> Write {
        self.how = how;
        self
    }

    /// The same, no fault if there is no such file.
    pub fn or_ignore(mut self) -> Write {
        self.when_missing = WhenMissing::Ignore;
        self
    }

    /// The same, with another write in its place if there is no such file.
    pub fn or_instead(mut self, other: Write) -> Write {
        self.when_missing = WhenMissing::Instead(Box::new(other));
        self
    }

    /// The controller the file belongs to: what stands before the first dot.
    pub fn controller(&self) -> &str {
        self.file.split('.').next().unwrap_or_default()
    }
}
