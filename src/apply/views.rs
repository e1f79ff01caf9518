//! Where masks and read-only paths are looked for: below `/proc` and `/sys`, in the very filesystem that was mounted
//! there. The child runs this as root of its mount namespace.
//!
//! By its whole path, one that is absent would be skipped: somebody who writes to the root meanwhile could exchange
//! `/proc` for a link at the right moment, and get a procfs without its masks (CVE-2023-27561, CVE-2025-52881).

use std::os::fd::OwnedFd;
use std::path::Path;

use nix::sys::statfs::{FsType, PROC_SUPER_MAGIC, SYSFS_MAGIC, fstatfs};

use crate::error::{Call, Error, Result};
use crate::ids::RootPath;
use crate::plan::{Plan, Step};
use crate::sys::path::RootFolder;

/// The folders, and what has to be mounted there.
const KINDS: [(&str, FsType); 2] = [("/proc", PROC_SUPER_MAGIC), ("/sys", SYSFS_MAGIC)];

/// Their roots, each from the first look on.
#[derive(Debug, Default)]
pub(super) struct Views([Option<RootFolder>; 2]);

impl Views {
    /// What is at `path` of the container whose root is `root`; `None` when it is missing.
    ///
    /// # Errors
    /// When `/proc` or `/sys` is not what was mounted there any more.
    pub(super) fn find(
        &mut self,
        root: &RootFolder,
        plan: &Plan,
        path: &RootPath,
    ) -> Result<Option<OwnedFd>> {
        for ((base, kind), view) in KINDS.iter().zip(&mut self.0) {
            let Ok(rest) = path.as_path().strip_prefix(base) else { continue };
            if view.is_none() && is_mounted(plan, base) {
                *view = Some(open(root, base, *kind)?);
            }
            if let Some(view) = view {
                return view.find(&RootPath::new(rest));
            }
        }
        root.find(path)
    }
}

/// Whether what the plan mounts there last is that filesystem. A bind at `/proc` is procfs too, or it is refused.
fn is_mounted(plan: &Plan, base: &str) -> bool {
    let covers = |target: &RootPath| [Path::new(base), Path::new("/")].contains(&target.as_path());
    let last = plan.steps.iter().rev().find(|planned| match &planned.step {
        Step::MountFs { target, .. } | Step::Bind { target, .. } => covers(target),
        _ => false,
    });
    match last.map(|planned| &planned.step) {
        Some(Step::MountFs { target, fstype, .. }) => {
            target.as_path() == Path::new(base) && matches!(fstype.as_str(), "proc" | "sysfs")
        }
        Some(Step::Bind { target, .. }) => target.as_path() == Path::new("/proc"),
        _ => false,
    }
}

fn open(root: &RootFolder, base: &str, kind: FsType) -> Result<RootFolder> {
    let changed = || {
        Error::new(format!("{base} is not what was mounted there: somebody has changed the root meanwhile"))
            .hint("let nothing else write to the root while the container is made")
    };
    let found = root.find_without_links(&RootPath::new(base)).map_err(|_| changed())?.ok_or_else(changed)?;
    match fstatfs(&found).call(|| format!("fstatfs({base})"))?.filesystem_type() == kind {
        true => Ok(RootFolder::new(found)),
        false => Err(changed()),
    }
}
