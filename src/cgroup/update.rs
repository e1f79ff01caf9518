//! Changes the limits of a cgroup in use: all of them, or none. The runtime process (`update`), with the
//! caller's privilege and the container's lock.
//!
//! Everything that a value would change is read before the first write, and handed out to be written down.
//! When the kernel refuses a value, what was written is taken back, and read again to see that it is what it
//! was; a runtime that died on the way has left the same to be done by the next.
//!
//! The setters of `cgroups-rs` are not used here: they open files by path, drop `unified`, `rdma`,
//! `cpu.idle` and `cpu.burst` without a word, and know no way back.

use std::path::PathBuf;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::group::{Group, WhenMissing, Write};
use super::layout::Version;
use super::{Cgroup, OpenGroup, files, limit, make, restore, systemd};
use crate::error::{Call, Error, Kind, Result};

/// How often what is left to take back is tried: values that depend on each other go back in some order.
const PASSES: usize = 4;

/// What a cgroup said before an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    kept: Vec<Kept>,
}

/// What one file said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// The folder.
    dir: PathBuf,
    file: String,
    /// What is going to be written.
    value: String,
    setting: String,
}

impl Cgroup {
    /// Applies the writes of `groups` (`plan::cgroup::compile_update`), in order. Before the first one
    /// `remember` gets what is there, by which it can be brought back.
    ///
    /// # Errors
    /// The first value that is refused; all are then as they were, or the error says which are not.
    pub fn update(&self, groups: &[Group], remember: impl FnOnce(&Before) -> Result<()>) -> Result<Before> {
        let mut pairs = self.pairs(groups)?;
        pairs.iter().try_for_each(|(index, group)| enable(&self.groups[*index], group))?;
        let before = self.look(&pairs);
        remember(&before)?;
        for (index, group) in &mut pairs {
            drop_same_devices(&self.groups[*index], group);
        }
        let frozen = self.hold_still(&pairs)?;
        let result = pairs.iter().try_for_each(|(index, group)| limit(&self.groups[*index], group));
        let result = match result {
            Ok(()) => Ok(before),
            Err(error) => Err(match before.restore(self) {
                Ok(()) => error,
                Err(left) => error.because(left),
            }),
        };
        frozen.map_or(Ok(()), Cgroup::thaw)?;
        result
    }

    /// Tells the service manager of the values that the files have by now, so that it keeps them; then they are
    /// written once more, since it rounds. The last act of an update: what a file refuses never gets here, and a
    /// manager that refuses has changed nothing.
    ///
    /// # Errors
    /// When it refuses, or does not answer in time.
    pub fn tell_manager(&self, groups: &[Group]) -> Result<()> {
        for (index, group) in &self.pairs(groups)? {
            if let Some(unit) = &group.unit {
                systemd::set(unit)?;
                let files = Group { checks: Vec::new(), devices: Vec::new(), ..group.clone() };
                limit(&self.groups[*index], &files)?;
            }
        }
        Ok(())
    }

    /// Brings back what no file shows, from the limits as they were compiled before: the device program of v2, and on
    /// v1 the exceptions of a cgroup in which everything else is allowed. `after` is the update that is taken back.
    ///
    /// # Errors
    /// When the kernel refuses what it took before.
    pub fn reinstate_devices(&self, former: &[Group], after: &[Group]) -> Result<()> {
        let changed = |dir: &PathBuf| after.iter().any(|group| group.dir == *dir && has_devices(group));
        let former: Vec<Group> =
            former.iter().filter(|group| changed(&group.dir)).map(only_devices).collect();
        let pairs = self.pairs(&former)?;
        let frozen = self.hold_still(&pairs)?;
        let result = pairs.iter().try_for_each(|(index, group)| limit(&self.groups[*index], group));
        frozen.map_or(Ok(()), Cgroup::thaw)?;
        result
    }

    /// Each group with the index of its open folder.
    fn pairs(&self, groups: &[Group]) -> Result<Vec<(usize, Group)>> {
        let pair = |group: &Group| {
            let index = self.groups.iter().position(|open| open.dir == group.dir);
            let gone = || Error::new(format!("the container's cgroup {:?} has vanished", group.dir));
            index.map(|index| (index, group.clone())).ok_or_else(gone)
        };
        groups.iter().map(pair).collect()
    }

    fn look(&self, pairs: &[(usize, Group)]) -> Before {
        let mut kept: Vec<Kept> = Vec::new();
        for (index, group) in pairs {
            for write in group.writes.iter().flat_map(alternatives) {
                let files =
                    [write.file.as_str()].into_iter().chain(restore::companions(&write.file).iter().copied());
                kept.extend(files.filter_map(|file| keep(&self.groups[*index], file, &write.value)));
            }
        }
        Before { kept }
    }

    /// Device rules begin with the denial of everything: nobody may run into that on the way.
    fn hold_still(&self, pairs: &[(usize, Group)]) -> Result<Option<&Cgroup>> {
        let has_rules = pairs.iter().any(|(_, group)| group.writes.iter().any(is_device));
        if !has_rules || self.is_frozen()? {
            return Ok(None);
        }
        match self.freeze() {
            Ok(()) => Ok(Some(self)),
            Err(error) if error.get_kind() == Kind::Unsupported => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn is_device(write: &Write) -> bool {
    restore::DEVICE_FILES.contains(&write.file.as_str())
}

fn has_devices(group: &Group) -> bool {
    !group.devices.is_empty() || group.writes.iter().any(is_device)
}

fn only_devices(group: &Group) -> Group {
    let writes = group.writes.iter().filter(|write| is_device(write)).cloned().collect();
    Group { writes, checks: Vec::new(), unit: None, ..group.clone() }
}

/// A controller that was not switched on for the container when it was made.
fn enable(open: &OpenGroup, group: &Group) -> Result<()> {
    if open.version == Version::V1 {
        return Ok(());
    }
    let on = files::read(&open.fd, "cgroup.controllers").unwrap_or_default();
    let is_on = |name: &str| name == "cgroup" || on.split_ascii_whitespace().any(|word| word == name);
    match group.writes.iter().all(|write| is_on(write.controller())) {
        true => Ok(()),
        false => make::enable_down_to(group),
    }
}

/// The write and those that may stand in for it.
fn alternatives(write: &Write) -> Vec<&Write> {
    let mut all = vec![write];
    while let Some(Write { when_missing: WhenMissing::Instead(other), .. }) = all.last() {
        all.push(other);
    }
    all
}

/// A file that cannot be read (an action, not a setting) has nothing to be brought back.
fn keep(open: &OpenGroup, file: &str, value: &str) -> Option<Kept> {
    let text = files::read(&open.fd, restore::shown_by(file)).ok()?;
    let setting = restore::setting(file, &text, value);
    Some(Kept { dir: open.dir.clone(), file: file.to_owned(), value: value.to_owned(), setting })
}

/// Device rules that say what holds already are left out.
fn drop_same_devices(open: &OpenGroup, group: &mut Group) {
    let rules: Vec<(&str, &str)> = group
        .writes
        .iter()
        .filter(|write| is_device(write))
        .map(|w| (w.file.as_str(), w.value.as_str()))
        .collect();
    if rules.is_empty() {
        return;
    }
    let Ok(list) = files::read(&open.fd, "devices.list") else { return };
    let before = restore::device_list(&list, &[]);
    if before.is_some() && before == restore::device_list(&list, &rules) {
        group.writes.retain(|write| !is_device(write));
    }
}

impl Before {
    /// Brings everything back in `cgroup`.
    ///
    /// # Errors
    /// Names what could not be.
    pub fn restore(&self, cgroup: &Cgroup) -> Result<()> {
        let mut last = Ok(());
        for _ in 0..PASSES {
            last = Ok(());
            for kept in self.kept.iter().rev() {
                let Some(open) = cgroup.groups.iter().find(|open| open.dir == kept.dir) else { continue };
                if let Err(error) = kept.restore(open) {
                    last = Err(error);
                }
            }
            if last.is_ok() {
                break;
            }
        }
        last.map_err(|error: Error| {
            Error::new(format!("and what it was before could not be restored: {error}"))
        })
    }
}

impl Kept {
    fn restore(&self, open: &OpenGroup) -> Result<()> {
        let shown = restore::shown_by(&self.file);
        let is_back = || {
            let text = files::read(&open.fd, shown)?;
            Ok::<_, Errno>(restore::setting(&self.file, &text, &self.value) == self.setting)
        };
        let call = || format!("read({:?})", open.dir.join(shown));
        if is_back().call(call)? {
            return Ok(());
        }
        for (file, value) in restore::writes(&self.file, &self.setting, &self.value) {
            files::write(&open.fd, &file, &value)
                .call(|| format!("write({:?}, {value:?})", open.dir.join(&file)))?;
        }
        match is_back().call(call)? {
            true => Ok(()),
            false => {
                Err(Error::new(format!("{:?} did not become {:?} again", open.dir.join(shown), self.setting)))
            }
        }
    }
}
