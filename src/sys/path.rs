//! Paths inside a container's root: every component is resolved below a descriptor of the root (openat2(2),
//! RESOLVE_IN_ROOT, no magic links; where the kernel has no such call, the walker of `pathrs`), so that a
//! hostile or changing tree cannot lead out of it (CVE-2019-16884, CVE-2021-30465, CVE-2024-45310, …). What is
//! found is a descriptor; nothing is ever opened again by its name.
//!
//! What `pathrs` makes folders and nodes with is not used: it opens each folder again through a procfs of its
//! own, which is forty system calls for one that is made.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, mkdirat, mknodat};
use nix::unistd::symlinkat;
use pathrs::Root;
use pathrs::error::{Error as PathError, ErrorKind};
use pathrs::flags::ResolverFlags;

use crate::error::{Call, Error, Result};
use crate::ids::RootPath;

/// How often a lookup is tried that renames elsewhere disturb: who renames for ever must not keep us for ever.
const TRIES: u32 = 10_000;

/// A container's root.
#[derive(Debug)]
pub struct RootFolder(Root);

/// What [`RootFolder::create`] makes. Modes are as in mknod(2), and the umask applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// An empty file.
    File {
        /// Its mode.
        mode: u32,
    },
    /// A symbolic link.
    Link {
        /// Where it leads.
        target: PathBuf,
    },
    /// A pipe with a name.
    Fifo {
        /// Its mode.
        mode: u32,
    },
    /// A character device.
    Character {
        /// Its mode.
        mode: u32,
        /// Its number, as of makedev(3).
        device: u64,
    },
    /// A block device.
    Block {
        /// Its mode.
        mode: u32,
        /// Its number, as of makedev(3).
        device: u64,
    },
}

impl RootFolder {
    /// From a descriptor of the folder (O_PATH is enough).
    pub fn new(fd: OwnedFd) -> RootFolder {
        RootFolder(Root::from_fd(fd))
    }

    /// An O_PATH descriptor of the file or folder at `path`, links followed inside the root; `None` when
    /// it, or a folder on the way, is missing.
    ///
    /// # Errors
    /// Everything but ENOENT and ENOTDIR.
    pub fn find(&self, path: &RootPath) -> Result<Option<OwnedFd>> {
        self.open(path, OFlag::O_PATH, ResolveFlag::empty())
    }

    /// The same, refusing symbolic links: for `/proc` and `/sys`, which an image could point elsewhere
    /// (CVE-2019-19921, CVE-2023-27561).
    ///
    /// # Errors
    /// ELOOP when there is a link on the way.
    pub fn find_without_links(&self, path: &RootPath) -> Result<Option<OwnedFd>> {
        self.open(path, OFlag::O_PATH, ResolveFlag::RESOLVE_NO_SYMLINKS)
    }

    /// openat2(2) as pathrs calls it, but without its way of describing failures, which needs a procfs of the
    /// host in sight and ends the process where there is none. Its own walker serves where the call is denied.
    fn open(&self, path: &RootPath, flags: OFlag, resolve: ResolveFlag) -> Result<Option<OwnedFd>> {
        let resolve = resolve | ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(resolve);
        let mut last = Errno::EAGAIN;
        for _ in 0..TRIES {
            match openat2(&self.0, path.relative(), how) {
                Ok(fd) => return Ok(Some(fd)),
                Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
                // A rename somewhere on the host, while `..` was being walked.
                Err(errno @ (Errno::EAGAIN | Errno::EINTR)) => last = errno,
                // KERNEL(5.6): openat2.
                Err(Errno::ENOSYS) => return self.walk(path, resolve),
                Err(Errno::EPERM) if self.is_denied() => return self.walk(path, resolve),
                Err(errno) => return Err(Error::sys(format!("openat2({path}, in the root)"), errno)),
            }
        }
        Err(Error::sys(format!("openat2({path}, in the root)"), last))
    }

    /// Whether a filter around us refuses openat2(2), as it is and not for the file: the folder that is open already
    /// can be opened once more by anybody.
    fn is_denied(&self) -> bool {
        let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC);
        matches!(openat2(&self.0, ".", how), Err(Errno::EPERM))
    }

    fn walk(&self, path: &RootPath, resolve: ResolveFlag) -> Result<Option<OwnedFd>> {
        let links = match resolve.contains(ResolveFlag::RESOLVE_NO_SYMLINKS) {
            true => ResolverFlags::NO_SYMLINKS,
            false => ResolverFlags::empty(),
        };
        found(self.0.as_ref().with_resolver_flags(links).resolve(path.as_path()), path)
    }

    /// The folder at `path`, made with all its parents where it is missing.
    ///
    /// # Errors
    /// When something else is there, or the root cannot be written.
    pub fn make_folder(&self, path: &RootPath, mode: u32) -> Result<OwnedFd> {
        if let Some(fd) = self.find(path)? {
            return Ok(fd);
        }
        let (parent, name) = self.make_parent(path)?;
        let call = |errno| Error::sys(format!("mkdir({path}, in the root)"), errno);
        match mkdirat(&parent, name, Mode::from_bits_truncate(mode)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(call(errno)),
        }
        // Whoever may write in the image may have put a link there meanwhile: that is no folder.
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(&parent, name, flags, Mode::empty()).map_err(call)
    }

    /// The file at `path`, made empty, with its parents, where it is missing.
    ///
    /// # Errors
    /// When the root cannot be written.
    pub fn make_file(&self, path: &RootPath) -> Result<OwnedFd> {
        if let Some(fd) = self.find(path)? {
            return Ok(fd);
        }
        self.create(path, &Node::File { mode: 0o644 })?;
        self.find(path)?.ok_or_else(|| Error::sys(format!("open({path})"), Errno::ENOENT))
    }

    /// The same, but a link at `path` is not followed: it is what is found.
    ///
    /// # Errors
    /// As [`RootFolder::make_file`].
    pub fn make_file_or_link(&self, path: &RootPath) -> Result<OwnedFd> {
        match self.open(path, OFlag::O_PATH | OFlag::O_NOFOLLOW, ResolveFlag::empty())? {
            Some(fd) => Ok(fd),
            None => self.make_file(path),
        }
    }

    /// Makes a node, link or file, with its parents. Its folder is resolved to a descriptor first, and in that
    /// the last name is made: no call of these follows a link there.
    ///
    /// # Errors
    /// EEXIST when something is there.
    pub fn create(&self, path: &RootPath, node: &Node) -> Result<()> {
        let (parent, name) = self.make_parent(path)?;
        let inode =
            |kind, mode: u32, device| mknodat(&parent, name, kind, Mode::from_bits_truncate(mode), device);
        let made = match node {
            Node::File { mode } => inode(SFlag::S_IFREG, *mode, 0),
            Node::Link { target } => symlinkat(target.as_path(), &parent, name),
            Node::Fifo { mode } => inode(SFlag::S_IFIFO, *mode, 0),
            Node::Character { mode, device } => inode(SFlag::S_IFCHR, *mode, *device),
            Node::Block { mode, device } => inode(SFlag::S_IFBLK, *mode, *device),
        };
        made.map_err(|errno| Error::sys(format!("create({path}, in the root)"), errno))
    }

    /// The folder that `path` lies in, made where it is missing, and the last name.
    fn make_parent<'p>(&self, path: &'p RootPath) -> Result<(OwnedFd, &'p OsStr)> {
        let (Some(parent), Some(name)) = (path.as_path().parent(), path.as_path().file_name()) else {
            return Err(Error::sys(format!("create({path}, in the root)"), Errno::EEXIST));
        };
        Ok((self.make_folder(&RootPath::new(parent), 0o755)?, name))
    }

    /// What is at `path` itself, a last link not followed.
    ///
    /// # Errors
    /// As [`RootFolder::find`].
    pub fn stat(&self, path: &RootPath) -> Result<Option<FileStat>> {
        match self.open(path, OFlag::O_PATH | OFlag::O_NOFOLLOW, ResolveFlag::empty())? {
            Some(fd) => fstat(&fd).call(|| format!("fstat({path})")).map(Some),
            None => Ok(None),
        }
    }

    /// Opens a regular file for reading, without waiting on pipes; `None` when it is missing or no file.
    ///
    /// # Errors
    /// When it may not be read.
    pub fn open_file(&self, path: &RootPath) -> Result<Option<File>> {
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let Some(fd) = self.open(path, flags, ResolveFlag::empty())? else { return Ok(None) };
        let file = File::from(fd);
        Ok(file.metadata().is_ok_and(|data| data.is_file()).then_some(file))
    }
}

impl AsFd for RootFolder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn found(result: Result<pathrs::Handle, PathError>, path: &RootPath) -> Result<Option<OwnedFd>> {
    match result {
        Ok(handle) => Ok(Some(handle.into())),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(explain("openat2", path, &error)),
    }
}

fn errno(error: &PathError) -> Option<Errno> {
    match error.kind() {
        ErrorKind::OsError(Some(code)) => Some(Errno::from_raw(code)),
        _ => None,
    }
}

fn is_missing(error: &PathError) -> bool {
    matches!(errno(error), Some(Errno::ENOENT | Errno::ENOTDIR))
}

fn explain(call: &str, path: &RootPath, error: &PathError) -> Error {
    match errno(error) {
        Some(errno) => Error::sys(format!("{call}({path}, in the root)"), errno),
        None => Error::new(format!("{call}({path}, in the root): {error}")),
    }
}
