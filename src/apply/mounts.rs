//! Mounts, masks, read-only paths and the pivot. The child runs this as root of its mount namespace; every
//! target is resolved in the root to a descriptor first, and that descriptor is mounted on.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags};
use nix::sys::stat::{Mode, SFlag, fstat};

use super::child::{Child, is_procfs, open_source};
use super::views::Views;
use super::{links, old_flags};
use crate::error::{Call, Error, Result};
use crate::ids::RootPath;
use crate::plan::{Attributes, Slot, Step, TargetLink, may_cover_procfs};
use crate::sys::mount::{self, Depth};
use crate::sys::path::RootFolder;

/// The null device.
const NULL_DEVICE: u64 = nix::sys::stat::makedev(1, 3);

/// Mounts that cover paths: one of each kind, and copies of it, so that a hundred masks cost one tmpfs.
#[derive(Debug, Default)]
pub(super) struct Masks {
    file: Option<OwnedFd>,
    folder: Option<OwnedFd>,
    views: Views,
}

/// Binds the rootfs on itself, so that it is a mount of its own; from here on it is the root.
pub(super) fn bind_root(child: &mut Child<'_>, path: &Path) -> Result<()> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let below = nix::fcntl::open(path, flags, Mode::empty()).call(|| format!("open({path:?})"))?;
    if !is_folder(&below)? {
        return Err(Error::new("the rootfs is not a folder"));
    }
    make_parent_private(path);
    let tree = mount::clone_tree_at(&below, Depth::All).call(|| format!("open_tree({path:?})"));
    let tree = tree.map_err(explain_missing)?;
    mount::attach(&tree, &below).call(|| format!("move_mount({path:?})"))?;
    child.root = Some(RootFolder::new(tree));
    Ok(())
}

/// Nothing takes the place of the calls that handle a mount by descriptor.
fn explain_missing(error: Error) -> Error {
    match error.errno() {
        Some(Errno::ENOSYS) => error.because("isolate needs Linux 5.2 or newer"),
        Some(Errno::EPERM) => error
            .because("it is not allowed here, though it is on Linux 5.2 and newer")
            .hint("a seccomp filter of an outer container may deny it"),
        _ => error,
    }
}

/// pivot_root(2) refuses a root whose parent mount is shared. Which folder above the rootfs that mount
/// hangs on is found by trying; where nothing is shared, one call that changes nothing is the price.
fn make_parent_private(path: &Path) {
    let private = MsFlags::MS_PRIVATE.bits();
    let _ = path.ancestors().find(|folder| mount::set_propagation(folder, private).is_ok());
}

fn is_folder(fd: impl AsFd) -> Result<bool> {
    let mode = fstat(fd).call(|| "fstat")?.st_mode;
    Ok(mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits())
}

/// Attaches a source at its target.
pub(super) fn bind(
    child: &mut Child<'_>,
    slot: Slot,
    target: &RootPath,
    attributes: &Attributes,
    link: TargetLink,
) -> Result<()> {
    let source = child.slots.get_mut(slot).and_then(Option::take);
    let source = source.ok_or_else(|| Error::new("the source was not opened"))?;
    if link == TargetLink::Made && links::is_link(&source)? {
        return links::copy(child.root()?, &source, target);
    }
    attach(child, source, target, attributes, link)
}

fn attach(
    child: &Child<'_>,
    source: OwnedFd,
    target: &RootPath,
    attributes: &Attributes,
    link: TargetLink,
) -> Result<()> {
    if target.as_path() == Path::new("/proc") && !is_procfs(&source)? {
        return Err(Error::new("only procfs may be mounted at /proc"));
    }
    let root = child.root()?;
    let at = match is_folder(&source)? {
        true => root.make_folder(target, 0o755)?,
        false => links::target(root, target, link)?,
    };
    refuse_procfs(&at, target)?;
    let attach = || {
        let attached = mount::attach(&source, &at).call(|| format!("move_mount({target})"));
        attached.map_err(|error| links::explain(error, link))
    };
    match set_attributes(&source, attributes) {
        Ok(()) => attach(),
        // What is attached can be changed by the old call as well.
        Err(error) if old_flags::may_serve(&error, attributes) => {
            attach()?;
            old_flags::set(&source, attributes).map_err(|older| error.because(older))
        }
        Err(error) => Err(error),
    }
}

/// Changes a mount that is attached, by whichever call there is.
fn change_attached(fd: impl AsFd, wanted: &Attributes) -> Result<()> {
    match set_attributes(fd.as_fd(), wanted) {
        Err(error) if old_flags::may_serve(&error, wanted) => {
            old_flags::set(fd, wanted).map_err(|older| error.because(older))
        }
        result => result,
    }
}

fn set_attributes(fd: impl AsFd, wanted: &Attributes) -> Result<()> {
    let fd = fd.as_fd();
    let call = |errno| {
        let error = Error::sys("mount_setattr", errno);
        match errno {
            Errno::EPERM => error.because("an outer user namespace has locked a flag that would be cleared"),
            Errno::ENOSYS => error.because("this kernel is older than 5.12"),
            _ => error,
        }
    };
    if (wanted.recursive_set, wanted.recursive_clear) != (0, 0) {
        mount::set_attributes(fd, Depth::All, wanted.recursive_set, wanted.recursive_clear, 0)
            .map_err(call)?;
    }
    if (wanted.set, wanted.clear) != (0, 0) {
        mount::set_attributes(fd, Depth::One, wanted.set, wanted.clear, 0).map_err(call)?;
    }
    for flags in &wanted.propagation {
        let depth = if flags & MsFlags::MS_REC.bits() != 0 { Depth::All } else { Depth::One };
        let kind = flags & !MsFlags::MS_REC.bits();
        mount::set_attributes(fd, depth, 0, 0, kind).map_err(call)?;
    }
    Ok(())
}

/// Mounts a filesystem.
pub(super) fn mount_filesystem(child: &Child<'_>, step: &Step) -> Result<()> {
    let Step::MountFs { target, fstype, source, flags, data, attributes, fallback, copy_up } = step else {
        return Err(Error::new("not a mount"));
    };
    let root = child.root()?;
    let at = match fstype.as_str() {
        "proc" | "sysfs" => real_folder(root, target)?,
        _ => root.make_folder(target, 0o755)?,
    };
    refuse_procfs(&at, target)?;
    let data = tmpfs_mode(fstype, data, &at)?;
    match (mount::mount_at(&at, fstype, source, *flags, &data), fallback) {
        (Ok(()), _) => {}
        (Err(Errno::EPERM | Errno::EBUSY), Some(folder)) => {
            return bind_instead(child, folder, target, *flags);
        }
        (Err(errno), _) => return Err(refused(fstype, target, &data, errno)),
    }
    if *copy_up {
        super::copy_up::copy_up(&at, found(root, target)?)?;
    }
    if *attributes == Attributes::default() {
        return Ok(());
    }
    change_attached(found(root, target)?, attributes)
}

/// Makes a filesystem and attaches it, without a path of the root and without procfs.
pub(super) fn attach_filesystem(
    child: &Child<'_>,
    target: &RootPath,
    fstype: &str,
    options: &[(String, String)],
    attributes: &Attributes,
) -> Result<()> {
    let at = child.root()?.make_folder(target, 0o755)?;
    refuse_procfs(&at, target)?;
    let mode = format!("{:o}", fstat(&at).call(|| "fstat")?.st_mode & 0o7777);
    let needs_mode = fstype == "tmpfs" && options.iter().all(|(name, _)| name != "mode");
    let mode = needs_mode.then(|| ("mode".to_owned(), mode));
    let text = |text: &str| CString::new(text).map_err(|_| Error::new("an option holds a NUL byte"));
    let pairs = options.iter().chain(&mode);
    let pairs: Vec<_> = pairs.map(|(name, value)| Ok((text(name)?, text(value)?))).collect::<Result<_>>()?;
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_c_str(), value.as_c_str())).collect();
    let made = mount::new_filesystem(&text(fstype)?, &pairs, attributes.set);
    let made = made.map_err(|errno| refused(fstype, target, &format!("{options:?}"), errno))?;
    set_attributes(&made, &Attributes { set: 0, clear: 0, ..attributes.clone() })?;
    mount::attach(&made, &at).call(|| format!("move_mount({target})"))
}

/// Detaches what is mounted at a path. Links are refused: the container could lead the name to a mount that hides
/// something from it.
pub(super) fn unmount(child: &Child<'_>, target: &RootPath) -> Result<()> {
    let nothing = || Error::new("nothing is mounted there");
    let root = child.root()?;
    let at = root.find_without_links(target)?.ok_or_else(nothing)?;
    if is_procfs(&at)? {
        return Err(Error::new("it is on procfs, whose mounts protect the host"));
    }
    let parent = target.as_path().parent().map(RootPath::new).ok_or_else(nothing)?;
    let name = target.as_path().file_name().ok_or_else(nothing)?;
    let (folder, name) = match is_folder(&at)? {
        true => (at, Path::new(".")),
        // A file cannot be stood in: by its name in its folder, which is no link.
        false => (root.find_without_links(&parent)?.ok_or_else(nothing)?, Path::new(name)),
    };
    nix::unistd::fchdir(&folder).call(|| format!("fchdir({target})"))?;
    let flags = MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW;
    match nix::mount::umount2(name, flags) {
        Err(Errno::EINVAL) => {
            Err(nothing().hint("or it came with the container's namespace, which keeps it"))
        }
        result => result.call(|| format!("umount2({target})")),
    }
}

/// After a failure in a container that runs: what the first `done` steps have mounted goes again.
pub(super) fn take_back(child: &Child<'_>, done: usize) {
    if child.plan.child().last().is_none_or(|last| last.step != Step::Done) {
        return;
    }
    let steps: Vec<&Step> = child.plan.child().take(done).map(|planned| &planned.step).collect();
    for step in steps.into_iter().rev() {
        if let Step::Bind { target, .. } | Step::AttachFs { target, .. } = step {
            // The first failure is the one that is told.
            let _ = unmount(child, target);
        }
    }
}

/// A link in the image can make any name lead into procfs, which nothing may cover (CVE-2015-3627).
fn refuse_procfs(at: &OwnedFd, target: &RootPath) -> Result<()> {
    if may_cover_procfs(target) || !is_procfs(at)? {
        return Ok(());
    }
    Err(Error::new("it leads into procfs, which nothing may be mounted over")
        .hint("the image has a link there"))
}

/// `/proc` and `/sys` decide what the runtime itself reads and writes: a link there is an attack
/// (CVE-2019-19921, CVE-2023-27561, CVE-2025-54867).
fn real_folder(root: &RootFolder, target: &RootPath) -> Result<OwnedFd> {
    match root.find_without_links(target) {
        Ok(Some(fd)) if is_folder(&fd)? => Ok(fd),
        Ok(None) => root.make_folder(target, 0o755),
        Err(error) if error.errno() != Some(Errno::ELOOP) => Err(error),
        _ => Err(Error::new(format!("{target} must be mounted on ordinary directory, and it is not one"))
            .hint("the image has a link or file there: replace it by a folder")),
    }
}

/// A tmpfs hides the folder it covers, and should look like it.
fn tmpfs_mode(fstype: &str, data: &str, at: &OwnedFd) -> Result<String> {
    let is_given = data.split(',').any(|option| option.starts_with("mode="));
    if fstype != "tmpfs" || is_given {
        return Ok(data.to_owned());
    }
    let mode = fstat(at).call(|| "fstat")?.st_mode & 0o7777;
    let comma = if data.is_empty() { "" } else { "," };
    Ok(format!("{data}{comma}mode={mode:o}"))
}

fn refused(fstype: &str, target: &RootPath, data: &str, errno: Errno) -> Error {
    let error = Error::sys(format!("mount({fstype}, {target}, {data:?})"), errno);
    match errno {
        Errno::ENODEV => error.because("this kernel has no such filesystem"),
        // Locked mounts on it would be lifted (mount_too_revealing() of the kernel).
        Errno::EPERM if fstype == "proc" => error
            .because("not allowed in this user namespace, or the procfs of the caller is covered in places")
            .hint("an outer container must not mask parts of /proc (podman: --security-opt unmask=ALL)"),
        Errno::EPERM => error.because("not allowed in this user namespace"),
        _ => error,
    }
}

/// The kernel refuses a new sysfs (or cgroup2) where the user namespace does not own what it shows; the
/// host's view, with the same flags, takes its place.
fn bind_instead(child: &Child<'_>, folder: &Path, target: &RootPath, flags: u64) -> Result<()> {
    let known = [
        (MsFlags::MS_RDONLY, libc::MOUNT_ATTR_RDONLY),
        (MsFlags::MS_NOSUID, libc::MOUNT_ATTR_NOSUID),
        (MsFlags::MS_NODEV, libc::MOUNT_ATTR_NODEV),
        (MsFlags::MS_NOEXEC, libc::MOUNT_ATTR_NOEXEC),
    ];
    let flags = MsFlags::from_bits_retain(flags);
    let set = known.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, bit)| bit).sum();
    // Everything below has to be as read-only as the mount that was asked for.
    let attributes = Attributes { recursive_set: set, ..Attributes::default() };
    attach(child, open_source(folder, true)?, target, &attributes, TargetLink::Followed)
}

/// Binds the container's own cgroup folder of one hierarchy.
pub(super) fn bind_cgroup(
    child: &Child<'_>,
    hierarchy: &str,
    target: &RootPath,
    attributes: &Attributes,
) -> Result<()> {
    let group = child.plan.steps.iter().find_map(|planned| match &planned.step {
        Step::MakeCgroup(group) if group.hierarchy == hierarchy => Some(group),
        _ => None,
    });
    match group.map(|group| open_source(&group.dir, true)) {
        Some(Ok(source)) => attach(child, source, target, attributes, TargetLink::Followed),
        // An optional cgroup that could not be made has nothing to show.
        Some(Err(error)) if error.errno() == Some(Errno::ENOENT) => Ok(()),
        Some(Err(error)) => Err(error),
        None => Ok(()),
    }
}

fn found(root: &RootFolder, path: &RootPath) -> Result<OwnedFd> {
    root.find(path)?.ok_or_else(|| Error::sys(format!("openat2({path}, in the root)"), Errno::ENOENT))
}

/// Changes the mount at a path.
pub(super) fn remount(child: &Child<'_>, target: &RootPath, attributes: &Attributes) -> Result<()> {
    change_attached(found(child.root()?, target)?, attributes)
}

fn to_be_closed(child: &mut Child<'_>, path: &RootPath) -> Result<Option<OwnedFd>> {
    let root = child.root.as_ref().ok_or_else(|| Error::new("there is no root yet"))?;
    child.masks.views.find(root, child.plan, path)
}

/// A read-only bind of a path on itself; a missing path is skipped (config-linux.md, "Readonly Paths").
pub(super) fn make_read_only(child: &mut Child<'_>, path: &RootPath) -> Result<()> {
    let Some(at) = to_be_closed(child, path)? else { return Ok(()) };
    let copy = mount::clone_tree_at(&at, Depth::All).call(|| format!("open_tree({path})"))?;
    let read_only = libc::MOUNT_ATTR_RDONLY;
    let attach = || mount::attach(&copy, &at).call(|| format!("move_mount({path})"));
    match mount::set_attributes(&copy, Depth::All, read_only, 0, 0) {
        // The old call reaches the mount alone, and not those below: so runc does it on every kernel.
        Err(Errno::ENOSYS | Errno::EPERM) => {
            attach()?;
            old_flags::set(&copy, &Attributes { set: read_only, ..Attributes::default() })
        }
        result => result.call(|| format!("mount_setattr({path})")).and_then(|()| attach()),
    }
}

/// Covers a path; a missing one is skipped.
pub(super) fn mask(child: &mut Child<'_>, path: &RootPath) -> Result<()> {
    let Some(at) = to_be_closed(child, path)? else { return Ok(()) };
    let cover = if is_folder(&at)? { folder_cover(child)? } else { file_cover(child)? };
    mount::attach(&cover, &at).call(|| format!("move_mount({path})"))?;
    // An attached mount can be copied on every kernel, a detached one only from 6.15 on.
    let kept = if is_folder(&cover)? { &mut child.masks.folder } else { &mut child.masks.file };
    kept.get_or_insert(cover);
    Ok(())
}

fn folder_cover(child: &Child<'_>) -> Result<OwnedFd> {
    match &child.masks.folder {
        Some(cover) => mount::clone_tree_at(cover, Depth::One).call(|| "open_tree(mask)"),
        None => mount::new_empty_folder().call(|| "fsmount(tmpfs)"),
    }
}

/// The null device, and really that: the container may have put something else in its place
/// (CVE-2025-31133).
fn file_cover(child: &Child<'_>) -> Result<OwnedFd> {
    if let Some(cover) = &child.masks.file {
        return mount::clone_tree_at(cover, Depth::One).call(|| "open_tree(mask)");
    }
    let null = found(child.root()?, &RootPath::new("/dev/null"))?;
    let copy = mount::clone_tree_at(&null, Depth::One).call(|| "open_tree(/dev/null)")?;
    let stat = fstat(&copy).call(|| "fstat(/dev/null)")?;
    let is_device = stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFCHR.bits();
    if !is_device || stat.st_rdev != NULL_DEVICE {
        return Err(Error::new(
            "the container's /dev/null is not the null device, so nothing can be hidden by it",
        ));
    }
    Ok(copy)
}

/// Makes the bound rootfs the root.
pub(super) fn pivot(child: &Child<'_>) -> Result<()> {
    mount::pivot_into(child.root()?)
}

/// The same without pivot_root: any full view of procfs or sysfs that stays mounted outside the new root
/// would let the container mount another (runc issue 1962), so these go first.
pub(super) fn move_root(child: &Child<'_>) -> Result<()> {
    let root = child.root()?;
    unmount_views(&root.as_fd())?;
    mount::move_into(root)
}

fn unmount_views(root: &impl AsFd) -> Result<()> {
    let root = nix::fcntl::readlink(mount::through_proc(root.as_fd()).as_str()).call(|| "readlink(root)")?;
    let table = std::fs::read_to_string("/proc/self/mountinfo").call(|| "read(mountinfo)")?;
    let mut views: Vec<&str> = table.lines().filter_map(full_view).collect();
    views.retain(|view| !Path::new(view).starts_with(&root));
    for view in views.into_iter().rev() {
        let gone = nix::mount::umount2(view, nix::mount::MntFlags::MNT_DETACH);
        if gone.is_err() {
            // It cannot be unmounted in a user namespace; an empty folder over it serves as well.
            let cover = mount::new_empty_folder().call(|| "fsmount(tmpfs)")?;
            let at = nix::fcntl::open(view, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty());
            let at = at.call(|| format!("open({view:?})"))?;
            mount::attach(&cover, &at).call(|| format!("move_mount({view:?})"))?;
        }
    }
    Ok(())
}

/// The mount point of a line of mountinfo that shows a whole procfs or sysfs.
fn full_view(line: &str) -> Option<&str> {
    let (left, right) = line.split_once(" - ")?;
    let mut fields = left.split(' ').skip(3);
    let (root, point) = (fields.next()?, fields.next()?);
    let is_view = matches!(right.split(' ').next()?, "proc" | "sysfs");
    (is_view && root == "/").then_some(point)
}

/// Without a mount namespace of its own the container only changes its root.
pub(super) fn chroot(child: &mut Child<'_>, path: &Path) -> Result<()> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = nix::fcntl::open(path, flags, Mode::empty()).call(|| format!("open({path:?})"))?;
    nix::unistd::fchdir(&root).call(|| format!("fchdir({path:?})"))?;
    nix::unistd::chroot(".").call(|| format!("chroot({path:?})"))?;
    child.root = Some(RootFolder::new(root));
    Ok(())
}
