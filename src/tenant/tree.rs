//! A folder of the host copied into a root. The runtime process, with the caller's privilege.
//!
//! The folder may belong to somebody hostile who changes it meanwhile: every path in it is resolved by
//! `pathrs` below its descriptor, so that a link can only lead to what is in the folder anyway. It is not
//! written to. Other filesystems mounted in it stay empty folders.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use pathrs::flags::OpenFlags;
use pathrs::{Handle, Root};

use crate::error::{Call, Result};
use crate::ids::RootPath;
use crate::tenant::rootfs::{Meta, Rootfs, fault, names_of};
use crate::tenant::unpack::{LeftOut, Space, Watch};

/// Copies everything below `source` into `rootfs`.
///
/// # Errors
/// A failed call, no room, an interruption.
pub fn copy(source: &Path, rootfs: &mut Rootfs, space: &mut Space, watch: &mut Watch<'_>) -> Result<LeftOut> {
    let root = Root::open(source).map_err(|error| fault("open", source, &error))?;
    let handle = root.resolve(".").map_err(|error| fault("openat2", source, &error))?;
    let (_, top) = inspect(&handle, source)?;
    let mut work =
        Copy { root, device: top.dev(), names: HashMap::new(), left_out: LeftOut::default(), bytes: 0 };
    rootfs.directory(&RootPath::new("/"), meta(&top))?;
    let mut folders = vec![RootPath::new("/")];
    while let Some(folder) = folders.pop() {
        for name in work.list(&folder)? {
            let path = RootPath::new(folder.as_path().join(name));
            watch(&path.to_string(), work.bytes)?;
            if work.entry(&path, rootfs, space)? == Next::Below {
                folders.push(path);
            }
        }
    }
    Ok(work.left_out)
}

#[derive(PartialEq, Eq)]
enum Next {
    /// A directory whose content comes next.
    Below,
    Done,
}

struct Copy {
    root: Root,
    device: u64,
    /// First names of files that have several.
    names: HashMap<u64, PathBuf>,
    left_out: LeftOut,
    bytes: u64,
}

impl Copy {
    fn list(&self, folder: &RootPath) -> Result<Vec<std::ffi::OsString>> {
        let flags = OpenFlags::O_RDONLY | OpenFlags::O_DIRECTORY | OpenFlags::O_NOFOLLOW;
        let opened = self.root.open_subpath(folder.relative(), flags);
        let opened = opened.map_err(|error| fault("openat2", folder.as_path(), &error))?;
        names_of(&opened).call(|| format!("getdents({folder:?})"))
    }

    fn entry(&mut self, path: &RootPath, rootfs: &mut Rootfs, space: &mut Space) -> Result<Next> {
        let handle = self.root.resolve_nofollow(path.relative());
        let handle = handle.map_err(|error| fault("openat2", path.as_path(), &error))?;
        let (kind, found) = inspect(&handle, path.as_path())?;
        let meta = meta(&found);
        if kind.is_dir() {
            space.take(0)?;
            rootfs.directory(path, meta)?;
            return Ok(if found.dev() == self.device { Next::Below } else { Next::Done });
        }
        if kind.is_symlink() {
            space.take(0)?;
            let to = self.root.readlink(path.relative());
            rootfs.link(path, &to.map_err(|error| fault("readlinkat", path.as_path(), &error))?, meta)?;
        } else if kind.is_file() {
            self.file(path, &handle, &found, rootfs, space)?;
        } else if kind.is_fifo() {
            space.take(0)?;
            rootfs.fifo(path, meta)?;
        } else if kind.is_char_device() || kind.is_block_device() {
            self.left_out.devices += 1;
        } else {
            self.left_out.unknown += 1;
        }
        Ok(Next::Done)
    }

    fn file(
        &mut self,
        path: &RootPath,
        handle: &Handle,
        found: &Metadata,
        rootfs: &mut Rootfs,
        space: &mut Space,
    ) -> Result<()> {
        if found.nlink() > 1 {
            if let Some(first) = self.names.get(&found.ino()) {
                return rootfs.hard_link(path, &RootPath::new(first));
            }
            self.names.insert(found.ino(), path.as_path().to_owned());
        }
        space.take(found.size())?;
        let mut file = handle.reopen(OpenFlags::O_RDONLY);
        let file = file.as_mut().map_err(|error| fault("open", path.as_path(), error))?;
        // No more than was counted: a file that grows meanwhile must not fill the disk.
        self.bytes += rootfs.file(path, meta(found), &mut std::io::Read::take(file, found.size()))?;
        Ok(())
    }
}

fn inspect(handle: &Handle, path: &Path) -> Result<(std::fs::FileType, Metadata)> {
    let fd = handle.try_clone().map_err(|error| fault("dup", path, &error))?;
    let found = File::from(OwnedFd::from(fd)).metadata().call(|| format!("fstat({path:?})"))?;
    Ok((found.file_type(), found))
}

fn meta(found: &Metadata) -> Meta {
    Meta {
        uid: found.uid(),
        gid: found.gid(),
        mode: found.mode() & 0o7777,
        modified: u64::try_from(found.mtime()).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::rootfs::Owners;
    use std::fs;

    #[test]
    fn a_tree_is_copied_with_links_as_links_and_names_of_one_file_kept() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(from.path().join("d")).unwrap();
        fs::write(from.path().join("d/f"), "one").unwrap();
        fs::hard_link(from.path().join("d/f"), from.path().join("g")).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", from.path().join("l")).unwrap();
        let mut rootfs = Rootfs::open(to.path(), Owners::Caller).unwrap();
        let mut space = Space { bytes: 100, files: 100 };
        copy(from.path(), &mut rootfs, &mut space, &mut |_, _| Ok(())).unwrap();
        rootfs.finish().unwrap();
        assert_eq!(fs::read_link(to.path().join("l")).unwrap(), Path::new("/etc/hostname"));
        assert_eq!(fs::read_to_string(to.path().join("g")).unwrap(), "one");
        assert_eq!(fs::metadata(to.path().join("d/f")).unwrap().nlink(), 2);
        assert_eq!(space.bytes, 97);
    }
}
