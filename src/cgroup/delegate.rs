//! Hands a v2 folder to the user who will see it as the top of a cgroup namespace, as config-linux.md asks under
//! "Cgroup ownership". The runtime process, with the right to change owners. The limits stay the maker's.

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::unistd::{Uid, fchown, fchownat};

use super::group::Group;
use crate::error::{Call, Result};

/// Where the kernel lists what belongs to a delegated folder. KERNEL(4.15).
const LIST: &str = "/sys/kernel/cgroup/delegate";

/// The list that the specification gives for kernels without one.
const DEFAULT: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";

/// Gives the folder to [`Group::owner`], if there is one.
///
/// # Errors
/// What chown(2) says. A listed file that the folder does not have is passed over.
pub(super) fn delegate(group: &Group, folder: &OwnedFd) -> Result<()> {
    let Some(owner) = group.owner.map(Uid::from_raw) else { return Ok(()) };
    fchown(folder, Some(owner), None).call(|| format!("chown({:?}, {owner})", group.dir))?;
    let list = std::fs::read_to_string(LIST).unwrap_or_else(|_| DEFAULT.to_owned());
    for name in list.lines().filter(|name| !name.is_empty() && !name.contains('/')) {
        match fchownat(folder, name, Some(owner), None, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno).call(|| format!("chown({:?}, {owner})", group.dir.join(name))),
        }
    }
    Ok(())
}
