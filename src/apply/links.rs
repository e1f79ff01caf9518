//! Symbolic links at the ends of binds, as crun's options treat them (`src-nofollow`, `dest-nofollow`,
//! `copy-symlink`). The runtime opens, or the child does, with the privilege it has then; the child attaches.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag, fstat};

use super::child::{explain_source, open_source as open_followed};
use crate::error::{Call, Error, Result};
use crate::ids::RootPath;
use crate::plan::{SourceLink, TargetLink};
use crate::sys::mount::{self, Depth};
use crate::sys::path::{Node, RootFolder};

/// What was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A detached copy of a mount.
    Mount,
    /// A symbolic link, which is no mount.
    Link,
}

/// Opens the source of a bind.
///
/// # Errors
/// When it is not there.
pub(super) fn open_source(path: &Path, recursive: bool, link: SourceLink) -> Result<(OwnedFd, Kind)> {
    let depth = if recursive { Depth::All } else { Depth::One };
    match link {
        SourceLink::Bound => {
            let tree = mount::clone_link(path, depth).map_err(|error| explain_source(error, path))?;
            Ok((tree, Kind::Mount))
        }
        SourceLink::Copied => {
            let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let fd = nix::fcntl::open(path, flags, Mode::empty()).call(|| format!("open({path:?})"));
            let fd = fd.map_err(|error| explain_source(error, path))?;
            match is_link(&fd)? {
                true => Ok((fd, Kind::Link)),
                false => Ok((open_followed(path, recursive)?, Kind::Mount)),
            }
        }
        SourceLink::Followed => Ok((open_followed(path, recursive)?, Kind::Mount)),
    }
}

/// Whether it is a symbolic link.
pub(super) fn is_link(fd: impl AsFd) -> Result<bool> {
    Ok(fstat(fd).call(|| "fstat")?.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFLNK.bits())
}

/// Makes a link in the root that says the same as `source`; an equal one stays.
///
/// # Errors
/// When something else is there.
pub(super) fn copy(root: &RootFolder, source: &OwnedFd, target: &RootPath) -> Result<()> {
    let text = nix::fcntl::readlinkat(source, "").call(|| format!("readlinkat(the source of {target})"))?;
    match root.create(target, &Node::Link { target: text.clone().into() }) {
        Err(error) if error.errno() == Some(Errno::EEXIST) && says(root, target, &text)? => Ok(()),
        result => result,
    }
}

fn says(root: &RootFolder, target: &RootPath, text: &std::ffi::OsStr) -> Result<bool> {
    let there = root.make_file_or_link(target)?;
    Ok(is_link(&there)? && nix::fcntl::readlinkat(&there, "").is_ok_and(|said| said == text))
}

/// Where a file or link is attached, made where it is missing.
///
/// # Errors
/// When the root cannot be written.
pub(super) fn target(root: &RootFolder, target: &RootPath, link: TargetLink) -> Result<OwnedFd> {
    match link {
        TargetLink::Followed | TargetLink::Made => root.make_file(target),
        TargetLink::Covered => root.make_file_or_link(target),
    }
}

/// What a failure to attach at a link means.
pub(super) fn explain(error: Error, link: TargetLink) -> Error {
    match (error.errno(), link) {
        (Some(Errno::ENOTDIR), _) => {
            error.because("source and target are not of the same kind (folder or file)")
        }
        (Some(Errno::EINVAL | Errno::ELOOP), TargetLink::Covered) => {
            error.because("source and target are not of the same kind, or this kernel mounts on no link")
        }
        _ => error,
    }
}
