//! Nodes and links in `/dev`, and the program's terminal. The child runs this as root of its user namespace.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{FileStat, SFlag, makedev};
use nix::unistd::{Gid, Uid};

use super::child::Child;
use crate::error::{Call, Error, Result};
use crate::ids::RootPath;
use crate::plan::{ConsoleTo, Step};
use crate::sys::mount::{self, Depth};
use crate::sys::path::Node;
use crate::sys::{pty, socket};

/// Makes a device node or fifo; an equal one that is there stays.
pub(super) fn make_device(child: &Child<'_>, step: &Step) -> Result<()> {
    let Step::MakeDevice { path, kind, major, minor, mode, uid, gid } = step else {
        return Err(Error::new("not a device"));
    };
    let root = child.root()?;
    let device = makedev(u64::from(*major), u64::from(*minor));
    let node = match kind {
        'b' => Node::Block { mode: *mode, device },
        'p' => Node::Fifo { mode: *mode },
        _ => Node::Character { mode: *mode, device },
    };
    match root.create(path, &node) {
        Err(error) if error.errno() == Some(Errno::EEXIST) => {
            return match root.stat(path)?.is_some_and(|there| is_same(&there, *kind, device)) {
                true => Ok(()),
                false => Err(Error::new("something else is there already").hint("remove it from the image")),
            };
        }
        result => result?,
    }
    if (*uid, *gid) != (0, 0) {
        let node = root.find(path)?.ok_or_else(|| Error::sys(format!("open({path})"), Errno::ENOENT))?;
        own(&node, Some(*uid), Some(*gid)).call(|| format!("fchownat({path}, {uid}, {gid})"))?;
    }
    Ok(())
}

fn is_same(there: &FileStat, kind: char, device: u64) -> bool {
    let wanted = match kind {
        'b' => SFlag::S_IFBLK,
        'p' => SFlag::S_IFIFO,
        _ => SFlag::S_IFCHR,
    };
    there.st_mode & SFlag::S_IFMT.bits() == wanted.bits() && (kind == 'p' || there.st_rdev == device)
}

fn own(file: impl AsFd, uid: Option<u32>, gid: Option<u32>) -> nix::Result<()> {
    let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
    nix::unistd::fchownat(file, "", uid, gid, AtFlags::AT_EMPTY_PATH)
}

/// Makes a symbolic link; whatever is there already stays.
pub(super) fn make_link(child: &Child<'_>, path: &RootPath, target: &Path) -> Result<()> {
    let root = child.root()?;
    match root.create(path, &Node::Link { target: PathBuf::from(target) }) {
        Err(error) if error.errno() == Some(Errno::EEXIST) => Ok(()),
        result => result,
    }
}

/// A new terminal from the container's own devpts.
pub(super) fn console(
    child: &mut Child<'_>,
    to: ConsoleTo,
    size: Option<(u16, u16)>,
    uid: u32,
    bind: bool,
) -> Result<()> {
    let root = child.root()?;
    let devpts = root.find(&RootPath::new("/dev/pts"))?.ok_or_else(|| {
        Error::new("a terminal needs a devpts at /dev/pts").hint("add the mount of type devpts to the config")
    })?;
    let pty = pty::open_master(devpts.as_fd())?;
    if let Some((rows, columns)) = size {
        pty::set_size(&pty.slave, pty::Size { rows, columns })?;
    }
    // In a user namespace without that id, or on a read-only devpts, the terminal stays root's.
    let _ = nix::unistd::fchown(&pty.slave, Some(Uid::from_raw(uid)), None);
    if bind {
        let copy = mount::clone_tree_at(&pty.slave, Depth::One).call(|| "open_tree(terminal)")?;
        let at = root.make_file(&RootPath::new("/dev/console"))?;
        mount::attach(&copy, &at).call(|| "move_mount(/dev/console)")?;
    }
    match (to, child.console_socket.take()) {
        (ConsoleTo::Socket, Some(socket)) => socket::send_fd(&socket, &pty.master, b"/dev/ptmx")?,
        (ConsoleTo::Socket, None) => return Err(Error::new("there is no console socket")),
        (ConsoleTo::Runtime, _) => child.channel.hand_over(pty.master)?,
    }
    pty::make_controlling(&pty.slave)?;
    become_streams(&pty.slave)
}

fn become_streams(slave: &OwnedFd) -> Result<()> {
    nix::unistd::dup2_stdin(slave).call(|| "dup2(terminal, 0)")?;
    nix::unistd::dup2_stdout(slave).call(|| "dup2(terminal, 1)")?;
    nix::unistd::dup2_stderr(slave).call(|| "dup2(terminal, 2)")
}
