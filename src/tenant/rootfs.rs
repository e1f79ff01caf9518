//! The root of a system while it is being built: every path inside it is resolved by `pathrs` below a
//! descriptor of the root, so that no link, `..` or absolute name of a hostile tree can lead out of it.
//!
//! The runtime process uses it, with the caller's privilege; nobody else can reach the folder meanwhile. It
//! never makes a device node, and never follows the last link of a path it writes to.

use std::fs::{File, FileTimes, Permissions};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::unistd::{Gid, Uid};
use pathrs::flags::OpenFlags;
use pathrs::{InodeType, Root};

use crate::error::{Call, Error, Result};
use crate::ids::RootPath;
use crate::tenant::ids::{self, IdMaps};

/// Who owns what is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owners {
    /// The ids behind the ids inside; what has none becomes nobody's (65534). Needs root's privilege.
    Mapped(IdMaps),
    /// The caller owns everything, who is root inside.
    Caller,
}

/// The id of nobody, for owners outside of the map.
const NOBODY: u32 = 65_534;

/// What an inode is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// Owner inside.
    pub uid: u32,
    /// Group inside.
    pub gid: u32,
    /// Permissions with the set-id and sticky bits.
    pub mode: u32,
    /// Seconds since 1970; absent: now.
    pub modified: Option<u64>,
}

impl Meta {
    /// Root's, with `mode`.
    pub fn root(mode: u32) -> Meta {
        Meta { uid: 0, gid: 0, mode, modified: None }
    }
}

/// A root that is being built.
pub struct Rootfs {
    root: Root,
    owners: Owners,
    /// Directories get mode and time last: writing into them changes the one and may need more of the other.
    directories: Vec<(RootPath, Meta)>,
}

impl Rootfs {
    /// Opens the folder `path` of the host, which exists and is empty.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path, owners: Owners) -> Result<Rootfs> {
        let root = Root::open(path).map_err(|error| fault("open", path, &error))?;
        Ok(Rootfs { root, owners, directories: vec![] })
    }

    /// Makes a directory and its parents; one that is there only gets the new owner, mode and time.
    ///
    /// # Errors
    /// The call that failed.
    pub fn directory(&mut self, path: &RootPath, meta: Meta) -> Result<()> {
        if self.kind(path)? != Some(Found::Directory) {
            self.clear(path)?;
            self.make_directory(path)?;
        }
        self.own(path, meta)?;
        self.directories.push((path.clone(), meta));
        Ok(())
    }

    /// Writes a file from `data`, in place of whatever is there; the number of bytes.
    ///
    /// # Errors
    /// The call that failed, or the reader's error.
    pub fn file(&mut self, path: &RootPath, meta: Meta, data: &mut dyn Read) -> Result<u64> {
        self.clear(path)?;
        let flags = OpenFlags::O_WRONLY | OpenFlags::O_EXCL | OpenFlags::O_NOFOLLOW | OpenFlags::O_CLOEXEC;
        let created = self.root.create_file(path.relative(), flags, &Permissions::from_mode(0o600));
        let mut file = created.map_err(|error| fault("open", path.as_path(), &error))?;
        let bytes = std::io::copy(data, &mut file).call(|| format!("write({path:?})"))?;
        self.own(path, meta)?;
        set_mode_and_time(&file, meta).call(|| format!("fchmod({path:?})"))?;
        Ok(bytes)
    }

    /// Makes a symbolic link in place of whatever is there.
    ///
    /// # Errors
    /// The call that failed.
    pub fn link(&mut self, path: &RootPath, to: &Path, meta: Meta) -> Result<()> {
        self.clear(path)?;
        self.create("symlink", path, InodeType::Symlink(to.to_owned()))?;
        self.own(path, meta)
    }

    /// Makes `path` another name of the file `target`, resolved inside the root.
    ///
    /// # Errors
    /// The call that failed; so when `target` is not there.
    pub fn hard_link(&mut self, path: &RootPath, target: &RootPath) -> Result<()> {
        if path == target {
            return Ok(());
        }
        self.clear(path)?;
        self.create("link", path, InodeType::Hardlink(target.relative().to_owned()))
    }

    /// Makes a named pipe.
    ///
    /// # Errors
    /// The call that failed.
    pub fn fifo(&mut self, path: &RootPath, meta: Meta) -> Result<()> {
        self.clear(path)?;
        self.create("mkfifo", path, InodeType::Fifo(Permissions::from_mode(meta.mode & 0o777)))?;
        self.own(path, meta)
    }

    /// Removes `path` and what is below; nothing there is fine.
    ///
    /// # Errors
    /// The call that failed.
    pub fn remove(&mut self, path: &RootPath) -> Result<()> {
        let removed = match self.kind(path)? {
            None => return Ok(()),
            Some(Found::Directory) => self.root.remove_all(path.relative()),
            Some(Found::Other) => self.root.remove_file(path.relative()),
        };
        self.directories.retain(|(directory, _)| !directory.as_path().starts_with(path.as_path()));
        removed.map_err(|error| fault("unlink", path.as_path(), &error))
    }

    /// The names in the directory `path`; none if it is no directory.
    ///
    /// # Errors
    /// The call that failed.
    pub fn names(&self, path: &RootPath) -> Result<Vec<std::ffi::OsString>> {
        if self.kind(path)? != Some(Found::Directory) {
            return Ok(vec![]);
        }
        let directory = self.open_at(path, OpenFlags::O_RDONLY | OpenFlags::O_DIRECTORY)?;
        names_of(&directory).call(|| format!("getdents({path:?})"))
    }

    /// The first `limit` bytes of a regular file as text; empty when there is none.
    pub fn text(&self, path: &RootPath, limit: u64) -> String {
        let flags = OpenFlags::O_RDONLY | OpenFlags::O_NONBLOCK | OpenFlags::O_NOCTTY;
        let mut bytes = vec![];
        if let Ok(file) = self.root.open_subpath(path.relative(), flags)
            && file.metadata().is_ok_and(|meta| meta.is_file())
        {
            let _ = file.take(limit).read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Whether `path`, links followed inside the root, is a file somebody may execute.
    pub fn is_program(&self, path: &RootPath) -> bool {
        is_program(&self.root, path.relative())
    }

    /// Whether `path`, links followed inside the root, is a folder.
    pub fn is_folder(&self, path: &RootPath) -> bool {
        self.open_at(path, OpenFlags::O_PATH | OpenFlags::O_DIRECTORY).is_ok()
    }

    /// Gives every directory its mode and time, deepest first.
    ///
    /// # Errors
    /// The call that failed.
    pub fn finish(mut self) -> Result<()> {
        let mut directories = std::mem::take(&mut self.directories);
        directories.reverse();
        // The last word on a directory counts; a stable sort keeps it first among its equals.
        directories.sort_by_key(|(path, _)| std::cmp::Reverse(path.as_path().components().count()));
        directories.dedup_by(|later, earlier| later.0 == earlier.0);
        for (path, meta) in directories {
            let directory = self.open_at(&path, OpenFlags::O_RDONLY | OpenFlags::O_DIRECTORY)?;
            set_mode_and_time(&directory, meta).call(|| format!("fchmod({path:?})"))?;
        }
        Ok(())
    }

    fn open_at(&self, path: &RootPath, flags: OpenFlags) -> Result<File> {
        self.root
            .open_subpath(path.relative(), flags)
            .map_err(|error| fault("openat2", path.as_path(), &error))
    }

    fn create(&self, call: &str, path: &RootPath, inode: InodeType) -> Result<()> {
        self.root.create(path.relative(), &inode).map_err(|error| fault(call, path.as_path(), &error))
    }

    /// Takes away what is at `path`, and makes its parents.
    fn clear(&mut self, path: &RootPath) -> Result<()> {
        if path.relative() == Path::new(".") {
            return Err(Error::new("the root itself can only be a directory"));
        }
        self.remove(path)?;
        self.make_parents(path)
    }

    fn make_parents(&mut self, path: &RootPath) -> Result<()> {
        let ancestors: Vec<RootPath> = path.as_path().ancestors().skip(1).map(RootPath::new).collect();
        let missing = ancestors.iter().take_while(|ancestor| self.root.resolve(ancestor.relative()).is_err());
        let missing: Vec<RootPath> = missing.cloned().collect();
        for ancestor in missing.iter().rev() {
            self.make_directory(ancestor)?;
            self.own(ancestor, Meta::root(0o755))?;
            self.directories.push((ancestor.clone(), Meta::root(0o755)));
        }
        Ok(())
    }

    fn make_directory(&self, path: &RootPath) -> Result<()> {
        self.create("mkdir", path, InodeType::Directory(Permissions::from_mode(0o700)))
    }

    fn kind(&self, path: &RootPath) -> Result<Option<Found>> {
        match self.root.resolve_nofollow(path.relative()) {
            Ok(handle) => {
                let meta = File::from(OwnedFd::from(handle)).metadata();
                let meta = meta.call(|| format!("fstat({path:?})"))?;
                Ok(Some(if meta.is_dir() { Found::Directory } else { Found::Other }))
            }
            Err(error) => match fault("openat2", path.as_path(), &error) {
                error if matches!(error.errno(), Some(Errno::ENOENT | Errno::ENOTDIR)) => Ok(None),
                error => Err(error),
            },
        }
    }

    fn own(&self, path: &RootPath, meta: Meta) -> Result<()> {
        let Owners::Mapped(maps) = &self.owners else { return Ok(()) };
        let id = |map, inside| ids::outside(map, inside).or_else(|| ids::outside(map, NOBODY));
        let (Some(uid), Some(gid)) = (id(&maps.uids, meta.uid), id(&maps.gids, meta.gid)) else {
            return Ok(());
        };
        let handle = self.root.resolve_nofollow(path.relative());
        let handle = handle.map_err(|error| fault("openat2", path.as_path(), &error))?;
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        nix::unistd::fchownat(handle.as_fd(), "", uid, gid, AtFlags::AT_EMPTY_PATH)
            .call(|| format!("fchownat({path:?})"))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Directory,
    Other,
}

/// Whether `path` below `root` is a file somebody may execute.
pub fn is_program(root: &Root, path: &Path) -> bool {
    let Ok(handle) = root.resolve(path) else { return false };
    let meta = File::from(OwnedFd::from(handle)).metadata();
    meta.is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The names in an open directory.
///
/// # Errors
/// The read that failed.
pub fn names_of(directory: &File) -> std::io::Result<Vec<std::ffi::OsString>> {
    use std::os::fd::AsRawFd;
    // The name under /proc/self/fd is this very descriptor: no path is walked again.
    let entries = std::fs::read_dir(format!("/proc/self/fd/{}", directory.as_raw_fd()))?;
    entries.map(|entry| Ok(entry?.file_name())).collect()
}

fn set_mode_and_time(file: &File, meta: Meta) -> std::io::Result<()> {
    file.set_permissions(Permissions::from_mode(meta.mode & 0o7777))?;
    match meta.modified.and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))) {
        // A time the filesystem cannot hold (a hostile header's year 10^11) is no reason to fail.
        Some(time) => file.set_times(FileTimes::new().set_modified(time)).or(Ok(())),
        None => Ok(()),
    }
}

/// The crate's error for one of pathrs: the errno's name when there is one.
pub fn fault(call: &str, path: &Path, error: &pathrs::error::Error) -> Error {
    match error.kind() {
        pathrs::error::ErrorKind::OsError(Some(errno)) => {
            Error::sys(format!("{call}({path:?})"), Errno::from_raw(errno))
        }
        _ => Error::new(format!("{call}({path:?}): {error}")),
    }
}
