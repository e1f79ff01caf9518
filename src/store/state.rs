//! The format of `state.json` and of the journal. Versioned: a newer binary reads what an older one wrote.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Folder;
use crate::cgroup::SavedGroup;
use crate::error::{Error, Explain, Result};
use crate::ids::ContainerId;

/// The version this binary writes. Fields are only ever added, with a default; a change of meaning makes a
/// new version, and [`Saved::read`] keeps reading the old ones.
pub const VERSION: u32 = 1;

/// What is known of a container that stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// Version of this format.
    pub version: u32,
    /// The container's name.
    pub id: ContainerId,
    /// The init, in the pid namespace of the runtime that made it.
    pub pid: i32,
    /// When the init began (field 22 of proc_pid_stat(5)): with the pid, this names it for ever.
    pub start_time: u64,
    /// RFC 3339, UTC.
    pub created: String,
    /// Version of the specification that the config names.
    pub oci_version: String,
    /// The bundle, absolute.
    pub bundle: PathBuf,
    /// The rootfs, absolute.
    pub rootfs: PathBuf,
    /// The config's annotations.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Its cgroups.
    #[serde(default)]
    pub cgroups: Vec<SavedGroup>,
    /// Kinds of namespace in which it is not the runtime's, by their names below `/proc/PID/ns`.
    #[serde(default)]
    pub namespaces: Vec<String>,
    /// Whether its pid namespace is new: killing the init then ends all in it.
    #[serde(default)]
    pub new_pid_namespace: bool,
    /// `linux.resources` as updates have made it; absent: as the kept config has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<serde_json::Value>,
    /// Whether the config has hooks that run after the start.
    #[serde(default)]
    pub has_poststart: bool,
    /// Whether the config has hooks that run after the container is gone. A state without the word may have.
    #[serde(default = "maybe")]
    pub has_poststop: bool,
    /// Whether the config has no process to start.
    #[serde(default)]
    pub has_no_process: bool,
}

fn maybe() -> bool {
    true
}

impl Saved {
    /// Reads `state.json`; `None` while the container is being made, or when its maker died before that.
    ///
    /// # Errors
    /// When the file is damaged, or of a version that this binary does not know.
    pub fn read(folder: &Folder) -> Result<Option<Saved>> {
        let Some(content) = folder.read("state.json")? else { return Ok(None) };
        let place = || folder.path().join("state.json").display().to_string();
        let saved: Saved = serde_json::from_slice(&content)
            .map_err(|error| Error::new(format!("the state is damaged: {error}")))
            .at(place)
            .hint(|| "remove the container with 'isolate delete --force'")?;
        if saved.version > VERSION {
            let text = format!("the state has version {}, this binary knows up to {VERSION}", saved.version);
            return Err(Error::new(text)
                .at(place())
                .hint("use the isolate that made the container, or a newer one"));
        }
        Ok(Some(saved))
    }

    /// Writes `state.json`.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn write(&self, folder: &Folder) -> Result<()> {
        let content = serde_json::to_vec(self).map_err(|error| Error::new(error.to_string()))?;
        folder.write("state.json", &content)
    }
}

/// One record of the journal: what has to be undone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "undo", rename_all = "kebab-case")]
pub enum Undo {
    /// A cgroup that is about to be made, or was.
    Cgroup(SavedGroup),
    /// A group of resctrl that is about to be made, or was.
    CacheGroup {
        /// Its folder.
        dir: PathBuf,
    },
    /// A cgroup, or group of resctrl, of an earlier record that was not made after all, and is not ours.
    NotMade {
        /// Its folder.
        dir: PathBuf,
    },
    /// A process that was made.
    Process {
        /// Its pid.
        pid: i32,
        /// When it began.
        start_time: u64,
    },
}

impl Undo {
    /// Appends records to the journal, before the deeds.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn record(folder: &Folder, records: &[Undo]) -> Result<()> {
        let mut lines = Vec::new();
        for record in records {
            serde_json::to_writer(&mut lines, record).map_err(|error| Error::new(error.to_string()))?;
            lines.push(b'\n');
        }
        folder.append("journal", &lines)
    }

    /// Reads the journal, last record first. A line that was cut off by the death of its writer is left
    /// out: its deed was not done.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn replay(folder: &Folder) -> Result<Vec<Undo>> {
        Ok(Undo::parse(&folder.read("journal")?.unwrap_or_default()))
    }

    /// The records of a journal's content, as [`Undo::replay`] gives them.
    pub fn parse(content: &[u8]) -> Vec<Undo> {
        let lines = content.split(|byte| *byte == b'\n');
        let mut records: Vec<Undo> = lines.filter_map(|line| serde_json::from_slice(line).ok()).collect();
        let is_not_made = |dir: &PathBuf| {
            records.iter().any(|record| matches!(record, Undo::NotMade { dir: other } if other == dir))
        };
        let strays: Vec<bool> = records
            .iter()
            .map(|record| match record {
                Undo::Cgroup(saved) => is_not_made(&saved.dir),
                Undo::CacheGroup { dir } => is_not_made(dir),
                _ => false,
            })
            .collect();
        let mut kept = strays.into_iter();
        records.retain(|_| !kept.next().unwrap_or(false));
        records.reverse();
        records
    }
}
