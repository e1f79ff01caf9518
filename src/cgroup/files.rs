//! Files and folders of a cgroup file system, by name below an open folder. The runtime process; no
//! privilege of its own. Never follows a link, never leaves the file system of a cgroup.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, fstat};
use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, fstatfs};
use nix::{NixPath, unistd};

const FOLDER: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// A folder by its host path; EMEDIUMTYPE if it is none of a cgroup file system.
pub(super) fn open_top(path: &Path) -> nix::Result<OwnedFd> {
    let fd = open(path, FOLDER, Mode::empty())?;
    refuse_other_filesystem(&fd).map(|()| fd)
}

/// A short file by its host path, whole; EMEDIUMTYPE if it is none of a cgroup file system.
pub(super) fn read_top(path: &Path) -> nix::Result<String> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = open(path, flags, Mode::empty())?;
    refuse_other_filesystem(&file)?;
    let mut buffer = [0u8; 64];
    let length = unistd::read(&file, &mut buffer)?;
    Ok(String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned())
}

fn refuse_other_filesystem(file: &OwnedFd) -> nix::Result<()> {
    match fstatfs(file)?.filesystem_type() {
        CGROUP_SUPER_MAGIC | CGROUP2_SUPER_MAGIC => Ok(()),
        _ => Err(Errno::EMEDIUMTYPE),
    }
}

/// A folder below (or, with `..`, above) another.
pub(super) fn open_folder<P: ?Sized + NixPath>(dir: impl AsFd, name: &P) -> nix::Result<OwnedFd> {
    openat(dir, name, FOLDER, Mode::empty())
}

/// A file for reading or writing.
pub(super) fn open_file(dir: impl AsFd, name: &str, access: OFlag) -> nix::Result<OwnedFd> {
    openat(dir, name, access | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
}

/// A whole file as text.
pub(super) fn read(dir: impl AsFd, name: &str) -> nix::Result<String> {
    read_all(&open_file(dir, name, OFlag::O_RDONLY)?)
}

fn read_all(file: &OwnedFd) -> nix::Result<String> {
    let mut text = Vec::new();
    let mut buffer = [0u8; 4096];
    loop {
        match unistd::read(file, &mut buffer) {
            Ok(0) => return Ok(String::from_utf8_lossy(&text).into_owned()),
            Ok(length) => text.extend_from_slice(buffer.get(..length).unwrap_or_default()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// The number after `key` in lines of `KEY NUMBER`.
pub(super) fn keyed(text: &str, key: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?;
    value.trim().parse().ok()
}

/// One value into one file, in one write.
pub(super) fn write(dir: impl AsFd, name: &str, value: &str) -> nix::Result<()> {
    write_to(&open_file(dir, name, OFlag::O_WRONLY)?, value)
}

/// One value into an open file. The kernel takes it whole or not at all, wherever the offset is.
pub(super) fn write_to(file: &OwnedFd, value: &str) -> nix::Result<()> {
    loop {
        match unistd::write(file, value.as_bytes()) {
            Err(Errno::EINTR) => {}
            result => return result.map(drop),
        }
    }
}

/// The folders in a folder.
pub(super) fn children(dir: impl AsFd) -> nix::Result<Vec<CString>> {
    // A cgroup file system counts a link for each folder in a folder, beside its own two.
    if fstat(&dir)?.st_nlink == 2 {
        return Ok(Vec::new());
    }
    let mut folder = Dir::from_fd(open_folder(dir, c".")?)?;
    let mut names = Vec::new();
    for entry in folder.iter() {
        let entry = entry?;
        let is_folder = entry.file_type() == Some(Type::Directory);
        if is_folder && ![c".", c".."].contains(&entry.file_name()) {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

/// Calls `visit` with a folder and every one below it, parents first. Keeps one descriptor open however
/// deep the tree is, and goes up by `..`, which in a cgroup file system is the true parent. What vanishes
/// meanwhile is passed over; ENOENT if the folder that is stood in vanishes.
pub(super) fn walk(top: impl AsFd, mut visit: impl FnMut(&OwnedFd) -> nix::Result<()>) -> nix::Result<()> {
    let mut here = open_folder(top, c".")?;
    visit(&here)?;
    let mut levels = vec![children(&here)?];
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.pop() else {
            levels.pop();
            if !levels.is_empty() {
                here = open_folder(&here, c"..")?;
            }
            continue;
        };
        let Some(child) = present(open_folder(&here, name.as_c_str()))? else { continue };
        visit(&child)?;
        levels.push(present(children(&child))?.unwrap_or_default());
        here = child;
    }
    Ok(())
}

/// `None` for what does not exist (any more).
pub(super) fn present<T>(result: nix::Result<T>) -> nix::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::ENOENT | Errno::ENODEV) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Removes an empty folder; one that does not exist is fine.
pub(super) fn remove_folder(dir: impl AsFd, name: &CStr) -> nix::Result<()> {
    present(unistd::unlinkat(dir, name, unistd::UnlinkatFlags::RemoveDir)).map(drop)
}
