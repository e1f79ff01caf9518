//! Mounting: the old call for filesystems (cheaper everywhere), the new ones (open_tree, move_mount,
//! mount_setattr) where a mount is handled by descriptor, so that no path can be swapped under us.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags};

use crate::error::{Call, Error, Result};

/// Whether a call is about one mount or about it and all below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The mount alone.
    One,
    /// The mount and all below it.
    All,
}

/// A detached copy of the mount at a path of the current mount namespace.
///
/// # Errors
/// The call's.
pub fn clone_tree(path: &Path, depth: Depth) -> Result<OwnedFd> {
    let call = || format!("open_tree({path:?})");
    let name = CString::new(path.as_os_str().as_encoded_bytes())
        .map_err(|_| Error::new("the path holds a NUL byte"))?;
    open_tree(libc::AT_FDCWD, &name, depth, 0).map_err(|errno| Error::sys(call(), errno))
}

/// A detached copy of the mount tree at an open file or folder.
///
/// # Errors
/// The errno, since the caller knows what the descriptor is.
pub fn clone_tree_at(fd: impl AsFd, depth: Depth) -> Result<OwnedFd, Errno> {
    open_tree(fd.as_fd().as_raw_fd(), c"", depth, libc::AT_EMPTY_PATH)
}

/// The same at a path whose last component may be a symbolic link, which is then what is copied.
///
/// # Errors
/// The call's.
pub fn clone_link(path: &Path, depth: Depth) -> Result<OwnedFd> {
    let name = CString::new(path.as_os_str().as_encoded_bytes())
        .map_err(|_| Error::new("the path holds a NUL byte"))?;
    let tree = open_tree(libc::AT_FDCWD, &name, depth, libc::AT_SYMLINK_NOFOLLOW);
    tree.map_err(|errno| Error::sys(format!("open_tree({path:?}, AT_SYMLINK_NOFOLLOW)"), errno))
}

fn open_tree(folder: i32, name: &CStr, depth: Depth, flags: i32) -> Result<OwnedFd, Errno> {
    let recursive = if depth == Depth::All { libc::AT_RECURSIVE } else { 0 };
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | (recursive | flags) as u32;
    // SAFETY: `name` is a NUL-terminated string that outlives the call.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, folder, name.as_ptr(), flags) };
    let fd = Errno::result(fd)?;
    // SAFETY: the call returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Attaches a detached mount on top of an open file or folder.
///
/// # Errors
/// The errno.
pub fn attach(mount: impl AsFd, target: impl AsFd) -> Result<(), Errno> {
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH;
    let (mount, target) = (mount.as_fd().as_raw_fd(), target.as_fd().as_raw_fd());
    // SAFETY: both paths are empty, NUL-terminated strings; the descriptors are open.
    let result =
        unsafe { libc::syscall(libc::SYS_move_mount, mount, c"".as_ptr(), target, c"".as_ptr(), flags) };
    Errno::result(result).map(drop)
}

/// Attributes of an open mount: MOUNT_ATTR_ bits to set and to clear, and one propagation type (0: as it is).
///
/// # Errors
/// The errno; EPERM also when a flag is locked by an outer user namespace.
pub fn set_attributes(
    mount: impl AsFd,
    depth: Depth,
    set: u64,
    clear: u64,
    propagation: u64,
) -> Result<(), Errno> {
    let attributes = libc::mount_attr { attr_set: set, attr_clr: clear, propagation, userns_fd: 0 };
    change(mount, depth, &attributes)
}

/// Shows the owners of an open, detached mount through the map of a user namespace (MOUNT_ATTR_IDMAP).
///
/// # Errors
/// The errno; EINVAL where the filesystem cannot be id-mapped.
pub fn set_id_map(mount: impl AsFd, depth: Depth, namespace: impl AsFd) -> Result<(), Errno> {
    let namespace = namespace.as_fd().as_raw_fd() as u64;
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: namespace,
    };
    change(mount, depth, &attributes)
}

fn change(mount: impl AsFd, depth: Depth, attributes: &libc::mount_attr) -> Result<(), Errno> {
    let recursive = if depth == Depth::All { libc::AT_RECURSIVE } else { 0 };
    let (fd, flags) = (mount.as_fd().as_raw_fd(), libc::AT_EMPTY_PATH | recursive);
    // SAFETY: the path is an empty, NUL-terminated string; `attributes` outlives the call and has the
    // size that is given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd,
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            size_of::<libc::mount_attr>(),
        )
    };
    Errno::result(result).map(drop)
}

/// mount(2) of a filesystem on an open file or folder, which it reaches through `/proc/self/fd`.
///
/// # Errors
/// The errno.
pub fn mount_at(target: impl AsFd, fstype: &str, source: &str, flags: u64, data: &str) -> Result<(), Errno> {
    let target = through_proc(target.as_fd());
    let data = Some(data).filter(|data| !data.is_empty());
    nix::mount::mount(Some(source), target.as_str(), Some(fstype), MsFlags::from_bits_retain(flags), data)
}

/// A detached, empty, read-only tmpfs of one page, for hiding folders.
///
/// # Errors
/// The errno of the first call that failed.
pub fn new_empty_folder() -> Result<OwnedFd, Errno> {
    let options = [(c"nr_inodes", c"2"), (c"nr_blocks", c"1"), (c"mode", c"0755")];
    let attributes =
        libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    new_filesystem(c"tmpfs", &options, attributes)
}

/// A detached mount of a new filesystem, with its options as text (a word without a value has an empty one) and
/// MOUNT_ATTR_ bits. Its files belong to the caller's user namespace.
///
/// # Errors
/// The errno of the first call that failed.
pub fn new_filesystem(fstype: &CStr, options: &[(&CStr, &CStr)], attributes: u64) -> Result<OwnedFd, Errno> {
    // SAFETY: the name is NUL-terminated.
    let context =
        Errno::result(unsafe { libc::syscall(libc::SYS_fsopen, fstype.as_ptr(), libc::FSOPEN_CLOEXEC) })?;
    // SAFETY: the call returned a new descriptor that nobody else owns.
    let context = unsafe { OwnedFd::from_raw_fd(context as i32) };
    for (key, value) in options {
        match value.is_empty() {
            true => configure(&context, FSCONFIG_SET_FLAG, key.as_ptr(), std::ptr::null())?,
            false => configure(&context, FSCONFIG_SET_STRING, key.as_ptr(), value.as_ptr())?,
        }
    }
    configure(&context, FSCONFIG_CMD_CREATE, std::ptr::null(), std::ptr::null())?;
    // SAFETY: the call takes a descriptor that is open, and numbers.
    let fd =
        unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), libc::FSMOUNT_CLOEXEC, attributes) };
    let fd = Errno::result(fd)?;
    // SAFETY: the call returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// linux/mount.h, enum fsconfig_command.
const FSCONFIG_SET_FLAG: u32 = 0;
/// linux/mount.h, enum fsconfig_command.
const FSCONFIG_SET_STRING: u32 = 1;
/// linux/mount.h, enum fsconfig_command.
const FSCONFIG_CMD_CREATE: u32 = 6;

fn configure(
    context: &OwnedFd,
    command: u32,
    key: *const libc::c_char,
    value: *const libc::c_char,
) -> Result<(), Errno> {
    // SAFETY: both strings are NUL-terminated constants, or null where the command takes none.
    let result = unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), command, key, value, 0) };
    Errno::result(result).map(drop)
}

/// Changes the propagation of the mount at a path.
///
/// # Errors
/// The call's.
pub fn set_propagation(path: &Path, flags: u64) -> Result<()> {
    let flags = MsFlags::from_bits_retain(flags);
    nix::mount::mount(None::<&str>, path, None::<&str>, flags, None::<&str>)
        .call(|| format!("mount({path:?}, {flags:?})"))
}

/// Makes the current folder the root, with the old root on top of it at the same place; then uncovers the
/// new one by detaching the old (pivot_root(2), "pivot_root(".", ".")").
///
/// # Errors
/// The first call's that failed.
pub fn pivot_into(new_root: impl AsFd) -> Result<()> {
    let old_root = nix::fcntl::open(
        "/",
        nix::fcntl::OFlag::O_PATH | nix::fcntl::OFlag::O_CLOEXEC | nix::fcntl::OFlag::O_DIRECTORY,
        nix::sys::stat::Mode::empty(),
    )
    .call(|| "open(\"/\")")?;
    nix::unistd::fchdir(new_root.as_fd()).call(|| "fchdir(root)")?;
    nix::unistd::pivot_root(".", ".").call(|| "pivot_root(\".\", \".\")")?;
    nix::unistd::fchdir(&old_root).call(|| "fchdir(old root)")?;
    // Without this, detaching would be seen by the host where the mounts are shared.
    set_propagation(Path::new("."), (MsFlags::MS_SLAVE | MsFlags::MS_REC).bits())?;
    nix::mount::umount2(".", MntFlags::MNT_DETACH).call(|| "umount2(old root)")?;
    nix::unistd::chdir("/").call(|| "chdir(\"/\")")
}

/// Moves the mount that is the current folder over `/` and makes it the root (MS_MOVE, chroot(2)).
///
/// # Errors
/// The first call's that failed.
pub fn move_into(new_root: impl AsFd) -> Result<()> {
    nix::unistd::fchdir(new_root.as_fd()).call(|| "fchdir(root)")?;
    nix::mount::mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)
        .call(|| "mount(\".\", \"/\", MS_MOVE)")?;
    nix::unistd::chroot(".").call(|| "chroot(\".\")")?;
    nix::unistd::chdir("/").call(|| "chdir(\"/\")")
}

/// The name under which procfs shows an open file of ours.
pub fn through_proc(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}
