//! `tmpcopyup`: a tmpfs begins with what the image had in the folder it covers. The child runs this before
//! the pivot. Everything goes by descriptor and no link is followed; the tree may be hostile and changing,
//! so what vanishes or turns into something else on the way is left out.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{
    FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmodat, fstatat, mkdirat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchownat, symlinkat};

use crate::error::{Call, Error, Result};

/// Deeper trees than this are not an image's.
const DEEPEST: usize = 200;

/// Copies all that is below `from` to `to`: folders, files and links, with owners, modes and times.
///
/// # Errors
/// ENOSPC when the tmpfs is too small, EPERM where ids are not mapped.
pub(super) fn copy_up(from: impl AsFd, to: impl AsFd) -> Result<()> {
    copy_folder(from.as_fd(), to.as_fd(), 0)
}

fn copy_folder(from: impl AsFd, to: impl AsFd, depth: usize) -> Result<()> {
    if depth > DEEPEST {
        return Err(Error::new(format!("the tree is deeper than {DEEPEST} folders")));
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let folder = openat(&from, ".", flags, Mode::empty()).call(|| "open(image folder)")?;
    let mut folder = Dir::from_fd(folder).call(|| "fdopendir")?;
    for entry in folder.iter() {
        let entry = entry.call(|| "readdir")?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        copy_entry(from.as_fd(), to.as_fd(), name, depth)
            .map_err(|error| error.at(name.to_string_lossy().into_owned()))?;
    }
    Ok(())
}

fn copy_entry(from: impl AsFd, to: impl AsFd, name: &std::ffi::CStr, depth: usize) -> Result<()> {
    let stat = match fstatat(&from, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::ENOENT) => return Ok(()),
        Err(errno) => return Err(Error::sys("fstatat", errno)),
    };
    match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFDIR => {
            mkdirat(&to, name, Mode::from_bits_truncate(0o700)).call(|| "mkdirat")?;
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let Some(source) = open_if_still_there(&from, name, flags)? else { return Ok(()) };
            let target = openat(&to, name, flags, Mode::empty()).call(|| "openat(copy)")?;
            copy_folder(&source, &target, depth + 1)?;
        }
        SFlag::S_IFREG => {
            let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
            let Some(source) = open_if_still_there(&from, name, flags)? else { return Ok(()) };
            let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
            let target = openat(&to, name, flags, Mode::from_bits_truncate(0o600)).call(|| "openat(copy)")?;
            std::io::copy(&mut File::from(source), &mut File::from(target)).call(|| "copy")?;
        }
        SFlag::S_IFLNK => {
            let target = readlinkat(&from, name).call(|| "readlinkat")?;
            symlinkat(target.as_os_str(), &to, name).call(|| "symlinkat")?;
        }
        // Sockets, pipes and devices of an image are of no use in a copy.
        _ => return Ok(()),
    }
    dress(to, name, &stat)
}

fn open_if_still_there(folder: impl AsFd, name: &std::ffi::CStr, flags: OFlag) -> Result<Option<OwnedFd>> {
    match openat(folder, name, flags, Mode::empty()) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::ENOENT | Errno::ELOOP | Errno::ENOTDIR) => Ok(None),
        Err(errno) => Err(Error::sys("openat(image)", errno)),
    }
}

/// Owner first: a change of owner takes set-user-id bits away.
fn dress(to: impl AsFd, name: &std::ffi::CStr, stat: &FileStat) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    fchownat(&to, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW).call(|| "fchownat")?;
    let is_link = stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFLNK.bits();
    if !is_link {
        let mode = Mode::from_bits_truncate(stat.st_mode & 0o7777);
        fchmodat(&to, name, mode, FchmodatFlags::FollowSymlink).call(|| "fchmodat")?;
    }
    let changed = TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec);
    utimensat(&to, name, &changed, &changed, UtimensatFlags::NoFollowSymlink).call(|| "utimensat")
}
