//! Removing a tree that a hostile system has written: of any depth, with any permissions, owned by ids that
//! the caller does not have.
//!
//! The runtime process, with the caller's privilege; for files of subordinate ids a child of it, in a user
//! namespace that maps them. Nothing outside is touched: a link is removed and never followed, a mount in
//! the tree makes it fail. Depth needs neither stack nor descriptors: a folder is moved to the top before
//! its content is looked at.

use std::fs::{File, Permissions};
use std::io::{BufRead, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::error::{Call, Error, Result};
use crate::tenant::ids::{IdMaps, Range};
use crate::tenant::rootfs::names_of;

/// Removes the folder `path` and all below it.
///
/// # Errors
/// The first call that failed.
pub fn remove(path: &Path) -> Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let top = nix::fcntl::open(path, flags, Mode::empty()).call(|| format!("open({path:?})"))?;
    let mut top = Trash { device: 0, top: File::from(top), moved: 0 };
    top.device = top.top.metadata().call(|| format!("fstat({path:?})"))?.dev();
    let mut folders: Vec<std::ffi::OsString> = vec![];
    top.empty(None, &mut folders)?;
    while let Some(folder) = folders.pop() {
        top.empty(Some(&folder), &mut folders)?;
        let removed = unlinkat(&top.top, folder.as_os_str(), UnlinkatFlags::RemoveDir);
        removed.call(|| format!("unlinkat({folder:?}, AT_REMOVEDIR)"))?;
    }
    std::fs::remove_dir(path).call(|| format!("rmdir({path:?})"))
}

struct Trash {
    top: File,
    device: u64,
    moved: u64,
}

impl Trash {
    /// Unlinks what is in `folder` (a child of the top, or the top itself), and moves folders that are not
    /// empty to the top.
    fn empty(
        &mut self,
        folder: Option<&std::ffi::OsStr>,
        folders: &mut Vec<std::ffi::OsString>,
    ) -> Result<()> {
        let opened = match folder {
            Some(name) => self.open(name)?,
            None => self.top.try_clone().call(|| "dup")?,
        };
        for name in names_of(&opened).call(|| format!("getdents({folder:?})"))? {
            let name = name.as_os_str();
            match unlinkat(opened.as_fd(), name, UnlinkatFlags::NoRemoveDir) {
                Ok(()) => continue,
                // Linux says EISDIR for a directory, POSIX allows EPERM.
                Err(Errno::EISDIR | Errno::EPERM) => {}
                Err(errno) => return Err(Error::sys(format!("unlinkat({name:?})"), errno)),
            }
            if unlinkat(opened.as_fd(), name, UnlinkatFlags::RemoveDir).is_ok() {
                continue;
            }
            if folder.is_none() {
                folders.push(name.to_owned());
                continue;
            }
            // The name cannot be taken: it is ours alone, and a collision is an error, not a loss.
            self.moved += 1;
            let free = std::ffi::OsString::from(format!(".removing-{}-{}", std::process::id(), self.moved));
            // A directory can only change its parent if it may itself be written to.
            let _ = self.permit(opened.as_fd(), name);
            renameat(opened.as_fd(), name, &self.top, free.as_os_str())
                .call(|| format!("renameat({name:?})"))?;
            folders.push(free);
        }
        Ok(())
    }

    fn open(&self, name: &std::ffi::OsStr) -> Result<File> {
        self.permit(self.top.as_fd(), name)?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let opened = openat(&self.top, name, flags, Mode::empty()).call(|| format!("openat({name:?})"))?;
        let opened = File::from(opened);
        let found = opened.metadata().call(|| format!("fstat({name:?})"))?;
        match found.dev() == self.device {
            true => Ok(opened),
            false => Err(Error::new(format!("something is mounted on {name:?}: it is left alone"))),
        }
    }

    /// Makes a folder of the caller's readable and writable for it, whatever the system made of its mode.
    fn permit(&self, parent: std::os::fd::BorrowedFd<'_>, name: &std::ffi::OsStr) -> Result<()> {
        use std::os::fd::AsRawFd;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let folder = openat(parent, name, flags, Mode::empty()).call(|| format!("openat({name:?})"))?;
        let folder = File::from(folder);
        let found = folder.metadata().call(|| format!("fstat({name:?})"))?;
        if found.mode() & 0o700 == 0o700 {
            return Ok(());
        }
        // fchmod does not take O_PATH descriptors; this name is the descriptor itself.
        let name = format!("/proc/self/fd/{}", folder.as_raw_fd());
        std::fs::set_permissions(&name, Permissions::from_mode(0o700)).call(|| format!("chmod({name:?})"))
    }
}

/// The hidden option by which the program calls itself to remove a tree inside a user namespace.
pub const WORKER: &str = "remove-tree";

/// Removes a tree with files of the subordinate ids in `maps`: in a child that enters a user namespace, gets
/// the maps from newuidmap and newgidmap, and calls [`remove`] there.
///
/// # Errors
/// What failed, in the child's words.
pub fn remove_mapped(path: &Path, maps: &IdMaps) -> Result<()> {
    let program = std::env::current_exe().call(|| "readlink(\"/proc/self/exe\")")?;
    let mut child = Command::new(program)
        .args(["try", &format!("--{WORKER}")])
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // Not in the terminal's foreground group: Ctrl-C shall not leave half of the tree.
        .process_group(0)
        .spawn()
        .call(|| "spawn(\"/proc/self/exe\")")?;
    let mapped = map_child(&mut child, maps);
    // Its standard input closes here: a child that has no maps ends instead of waiting.
    drop(child.stdin.take());
    let status = child.wait().call(|| "wait4")?;
    mapped?;
    match status.success() {
        true => Ok(()),
        false => Err(Error::new(format!("removing {path:?} in its user namespace failed"))),
    }
}

fn map_child(child: &mut std::process::Child, maps: &IdMaps) -> Result<()> {
    let mut ready = String::new();
    if let Some(output) = child.stdout.take() {
        std::io::BufReader::new(output).read_line(&mut ready).call(|| "read")?;
    }
    if ready != "ready\n" {
        return Err(Error::new("the process that removes could not enter a user namespace"));
    }
    for (program, map) in [("newuidmap", &maps.uids), ("newgidmap", &maps.gids)] {
        write_map(program, child.id(), map)?;
    }
    match child.stdin.as_mut() {
        Some(input) => input.write_all(b"go\n").call(|| "write"),
        None => Ok(()),
    }
}

fn write_map(program: &str, pid: u32, map: &[Range]) -> Result<()> {
    let numbers = map.iter().flat_map(|range| [range.inside, range.outside, range.count]);
    let arguments = std::iter::once(pid).chain(numbers).map(|number| number.to_string());
    let status = Command::new(program).args(arguments).status().call(|| format!("spawn({program:?})"))?;
    match status.success() {
        true => Ok(()),
        false => Err(Error::new(format!("{program} refused the ranges ({status})"))),
    }
}

/// The child's side of [`remove_mapped`].
///
/// # Errors
/// The call that failed.
pub fn work(path: &Path) -> Result<()> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER).call(|| "unshare(CLONE_NEWUSER)")?;
    std::io::stdout().write_all(b"ready\n").and_then(|()| std::io::stdout().flush()).call(|| "write")?;
    let mut go = String::new();
    std::io::stdin().read_line(&mut go).call(|| "read")?;
    match go.as_str() {
        "go\n" => remove(path),
        _ => Err(Error::new("the process that removes got no ids")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_deep_tree_with_closed_folders_goes_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("outside"), "safe").unwrap();
        let tree = folder.path().join("tree");
        fs::create_dir_all(tree.join("a/b/c")).unwrap();
        fs::write(tree.join("a/b/c/f"), "x").unwrap();
        std::os::unix::fs::symlink("..", tree.join("a/up")).unwrap();
        fs::set_permissions(tree.join("a/b"), Permissions::from_mode(0o000)).unwrap();
        remove(&tree).unwrap();
        assert!(!tree.exists());
        assert_eq!(fs::read_to_string(folder.path().join("outside")).unwrap(), "safe");
    }

    #[test]
    fn depth_beyond_any_path_and_descriptor_limit_is_no_obstacle() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let mut at = File::open(&tree).unwrap();
        for _ in 0..5000 {
            nix::sys::stat::mkdirat(&at, "d", Mode::from_bits_truncate(0o755)).unwrap();
            at = File::from(openat(&at, "d", OFlag::O_RDONLY | OFlag::O_DIRECTORY, Mode::empty()).unwrap());
        }
        drop(at);
        remove(&tree).unwrap();
        assert!(!tree.exists());
    }
}
