//! Removes a container's cgroup. The runtime process, when no process of the container lives any more, or
//! undoing a half-made one. Touches only folders that were made for the container, and what it made below.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;

use super::{Cgroup, OpenGroup, files, mark, systemd};
use crate::error::{Error, Result};

/// Waits between tries, about two seconds in all: a cgroup stays busy for a moment after its last process.
const TRIES: u32 = 12;

impl Cgroup {
    /// Removes all folders, from below, waiting a moment for dying processes. A folder that is gone is fine.
    ///
    /// # Errors
    /// The first hierarchy that could not be removed; the others are.
    pub fn remove(&self) -> Result<()> {
        let ours = |group: &&OpenGroup| group.made.contains(&group.dir);
        let mut left: Vec<&OpenGroup> = self.groups.iter().filter(ours).collect();
        let mut lasting: Result<()> = self.stop_units();
        let mut passing: Result<()> = Ok(());
        for attempt in 0..TRIES {
            if attempt > 0 {
                std::thread::sleep(Duration::from_millis(1 << (attempt - 1)));
            }
            passing = Ok(());
            left.retain(|group| {
                let Err(errno) = remove_tree(group) else { return false };
                let result = if is_passing(errno) { &mut passing } else { &mut lasting };
                if result.is_ok() {
                    *result = Err(failed(&group.dir, errno));
                }
                is_passing(errno)
            });
            if left.is_empty() {
                break;
            }
        }
        self.groups.iter().filter(ours).for_each(remove_above);
        lasting.and(passing)
    }
}

impl Cgroup {
    /// What systemd made, it takes away; not asked when the folder is gone, because then the unit is too.
    fn stop_units(&self) -> Result<()> {
        let units = self.groups.iter().filter_map(|group| group.unit.as_ref());
        units.map(systemd::stop).fold(Ok(()), Result::and)
    }
}

/// Whether a failure may be over in a moment: a dying process, or a container's folders vanishing.
fn is_passing(errno: Errno) -> bool {
    matches!(errno, Errno::EBUSY | Errno::ENOTEMPTY | Errno::ENOENT)
}

fn failed(dir: &Path, errno: Errno) -> Error {
    let error = Error::sys(format!("rmdir({dir:?})"), errno);
    match errno {
        Errno::EBUSY | Errno::ENOTEMPTY => error.because("processes still live in it, or below it"),
        _ => error,
    }
}

/// The folders above that were made for a container, this one or another that has gone before it: a pod's, say.
/// They go when the last container is out of them.
fn remove_above(group: &OpenGroup) {
    let is_ours = |dir: &&Path| group.made.iter().any(|made| made == dir) || mark::is_set(dir);
    for dir in group.dir.ancestors().skip(1).take_while(is_ours) {
        if std::fs::remove_dir(dir).is_err() && dir.exists() {
            break;
        }
    }
}

/// One pass over the tree. EBUSY when something lives in it; then the rest of the tree is gone.
fn remove_tree(group: &OpenGroup) -> nix::Result<()> {
    let name = group.dir.file_name().unwrap_or_default();
    let name = CString::new(name.as_bytes()).map_err(|_| Errno::EINVAL)?;
    // The folder may be gone, and then has no parent either.
    let Some(parent) = files::present(files::open_folder(&group.fd, c".."))? else { return Ok(()) };
    match files::remove_folder(&parent, &name) {
        Err(Errno::EBUSY | Errno::ENOTEMPTY) => {}
        result => return result,
    }
    remove_below(&group.fd)?;
    files::remove_folder(&parent, &name)
}

/// Removes everything below `top`, going down where a folder has folders, and up again by `..`. One
/// descriptor is open however deep it is.
fn remove_below(top: &OwnedFd) -> nix::Result<()> {
    let mut here = files::open_folder(top, c".")?;
    let mut levels = vec![(CString::default(), files::children(&here)?)];
    let mut result = Ok(());
    while let Some((_, names)) = levels.last_mut() {
        if let Some(name) = names.pop() {
            match files::remove_folder(&here, &name) {
                Err(Errno::EBUSY | Errno::ENOTEMPTY) => {}
                other => {
                    result = result.and(other);
                    continue;
                }
            }
            let Some(child) = files::present(files::open_folder(&here, name.as_c_str()))? else { continue };
            match files::children(&child)? {
                below if below.is_empty() => result = result.and(Err(Errno::EBUSY)),
                below => {
                    levels.push((name, below));
                    here = child;
                }
            }
        } else if let Some((name, _)) = levels.pop()
            && !levels.is_empty()
        {
            here = files::open_folder(&here, c"..")?;
            result = result.and(files::remove_folder(&here, &name));
        }
    }
    result
}
