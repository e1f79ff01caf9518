//! What mount_setattr(2) does, by mount(2): for kernels before 5.12, and where a filter of an outer container denies the
//! newer call. The child runs this, as root of its mount namespace, on mounts that are attached.
//!
//! mount(2) wants a path. A folder is stood in and called `.`; a file has only its name in `/proc/self/fd`, which is the
//! host's until the pivot, and nobody's but ours after it, as nothing of the container runs yet. Whether it hit the
//! right mount is read from the descriptor afterwards.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::mount::MsFlags;
use nix::sys::stat::{SFlag, fstat};
use nix::sys::statvfs::{FsFlags, fstatvfs};

use crate::error::{Call, Error, Result};
use crate::plan::Attributes;
use crate::sys::mount;

/// MOUNT_ATTR_ bits, the flags of mount(2), and what fstatvfs(3) shows for them.
const SAME: [(u64, MsFlags, FsFlags); 6] = [
    (libc::MOUNT_ATTR_RDONLY, MsFlags::MS_RDONLY, FsFlags::ST_RDONLY),
    (libc::MOUNT_ATTR_NOSUID, MsFlags::MS_NOSUID, FsFlags::ST_NOSUID),
    (libc::MOUNT_ATTR_NODEV, MsFlags::MS_NODEV, FsFlags::ST_NODEV),
    (libc::MOUNT_ATTR_NOEXEC, MsFlags::MS_NOEXEC, FsFlags::ST_NOEXEC),
    (libc::MOUNT_ATTR_NODIRATIME, MsFlags::MS_NODIRATIME, FsFlags::ST_NODIRATIME),
    (libc::MOUNT_ATTR_NOATIME, MsFlags::MS_NOATIME, FsFlags::ST_NOATIME),
];

/// Whether a failure of mount_setattr(2) is one that the old call can make good. EPERM may come from a filter as well as
/// from a locked flag; the old call refuses that, too.
pub(super) fn may_serve(error: &Error, wanted: &Attributes) -> bool {
    let is_denied = matches!(error.errno(), Some(Errno::ENOSYS | Errno::EPERM));
    is_denied && (wanted.recursive_set, wanted.recursive_clear) == (0, 0)
}

/// Changes an attached mount.
///
/// # Errors
/// The call's; or the mount does not show what was asked.
pub(super) fn set(fd: impl AsFd, wanted: &Attributes) -> Result<()> {
    let fd = fd.as_fd();
    if (wanted.set, wanted.clear) != (0, 0) {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | wanted_flags(fd, wanted)?;
        change(fd, flags)?;
        verify(fd, wanted)?;
    }
    wanted.propagation.iter().try_for_each(|flags| change(fd, MsFlags::from_bits_retain(*flags)))
}

/// Leaves the peers of the host's, with everything below.
///
/// # Errors
/// The call's.
pub(super) fn make_slave(fd: impl AsFd) -> Result<()> {
    change(fd, MsFlags::MS_SLAVE | MsFlags::MS_REC)
}

/// A remount says all flags anew: those that are there, and what changes.
fn wanted_flags(fd: impl AsFd, wanted: &Attributes) -> Result<MsFlags> {
    let shown = fstatvfs(fd).call(|| "fstatvfs(mount)")?.flags();
    let mut flags = MsFlags::empty();
    for (bit, flag, shown_as) in SAME {
        let stays = shown.contains(shown_as) && wanted.clear & bit == 0;
        flags.set(flag, stays || wanted.set & bit != 0);
    }
    let is_new_kind = wanted.clear & libc::MOUNT_ATTR__ATIME == libc::MOUNT_ATTR__ATIME;
    if is_new_kind {
        flags.remove(MsFlags::MS_NOATIME);
        let kind = match wanted.set & libc::MOUNT_ATTR__ATIME {
            libc::MOUNT_ATTR_NOATIME => MsFlags::MS_NOATIME,
            libc::MOUNT_ATTR_STRICTATIME => MsFlags::MS_STRICTATIME,
            _ => MsFlags::MS_RELATIME,
        };
        flags.insert(kind);
    } else if shown.contains(FsFlags::ST_RELATIME) {
        flags.insert(MsFlags::MS_RELATIME);
    }
    if wanted.set & libc::MOUNT_ATTR_NOSYMFOLLOW != 0 {
        flags.insert(MsFlags::from_bits_retain(libc::MS_NOSYMFOLLOW));
    }
    Ok(flags)
}

fn change(fd: impl AsFd, flags: MsFlags) -> Result<()> {
    let fd = fd.as_fd();
    let is_folder =
        fstat(fd).call(|| "fstat(mount)")?.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits();
    let path = if is_folder { ".".to_owned() } else { mount::through_proc(fd) };
    if is_folder {
        nix::unistd::fchdir(fd).call(|| "fchdir(mount)")?;
    }
    nix::mount::mount(None::<&str>, path.as_str(), None::<&str>, flags, None::<&str>)
        .call(|| format!("mount({path:?}, {flags:?})"))
}

fn verify(fd: impl AsFd, wanted: &Attributes) -> Result<()> {
    let shown = fstatvfs(fd).call(|| "fstatvfs(mount)")?.flags();
    let is_wrong = |(bit, _, shown_as): &(u64, MsFlags, FsFlags)| {
        (wanted.set & bit != 0 && !shown.contains(*shown_as))
            || (wanted.clear & !wanted.set & bit != 0 && shown.contains(*shown_as))
    };
    match SAME.iter().find(|same| is_wrong(same)) {
        Some((_, flag, _)) => Err(Error::new(format!("the mount does not show {flag:?} as asked"))),
        None => Ok(()),
    }
}
