//! A tenant's root put together: its own files over the shared template, in a mount namespace of this process
//! alone, so that the kernel takes all of it away with the last process that uses it.
//!
//! The process of `create`, `start` and others, with the caller's privilege. On disk ids begin at 0. Running, root's
//! tenants see them through id-mapped mounts, and the overlay belongs to their user namespace: set-user-id programs
//! work inside, and nowhere else. An ordinary user's process moves into the user namespace itself.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::mount::MsFlags;
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid};

use crate::apply::idmaps;
use crate::error::{Call, Error, Result};
use crate::host::Host;
use crate::plan::IdMap;
use crate::sys::clone::{Cloned, Parent, clone, exit_now};
use crate::sys::mount::{self, Depth};
use crate::sys::{channel, namespace, pidfd, process, socket};
use crate::tenant::config::{DiskKind, FileSystem};
use crate::tenant::disk;
use crate::tenant::estate::{Estate, Tenant};
use crate::tenant::ids::{IdMaps, Range};
use crate::tenant::stock;

/// What the root is put together for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To be changed or read while the tenant is stopped: ids as they are on disk.
    Offline,
    /// To be run.
    Running,
}

/// The folders that become a root.
#[derive(Debug, Clone)]
pub struct Layers<'a> {
    /// The tenant's folder, with `disk`, `lower` and `root` in it.
    pub folder: &'a Path,
    /// The template's root.
    pub template: &'a Path,
    /// The ids behind the tenant's.
    pub maps: &'a IdMaps,
    /// The file system of its disk, if that is an image.
    pub image: Option<FileSystem>,
}

/// A root that stands.
#[derive(Debug)]
pub struct Standing {
    /// Where, in this process' mount namespace.
    pub root: PathBuf,
    /// The user namespace the tenant is to join; `None`: the one this process is in now.
    pub namespace: Option<OwnedFd>,
    /// The tenant's disk with ids as they are there: through the map this process could make nothing on it.
    pub disk: OwnedFd,
}

/// Makes the folders a tenant's root is put together from.
///
/// # Errors
/// The call that failed.
pub fn make_folders(folder: &Path, disk: DiskKind) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let folders =
        [("disk", 0o700), ("lower", 0o755), ("root", 0o755), ("disk/upper", 0o755), ("disk/work", 0o700)];
    // Those of an image are on it.
    let count = if disk == DiskKind::Image { 3 } else { 5 };
    for (name, mode) in folders.into_iter().take(count) {
        let path = folder.join(name);
        std::fs::DirBuilder::new().mode(mode).create(&path).call(|| format!("mkdir({path:?})"))?;
    }
    Ok(())
}

/// Puts a tenant's root together, as [`enter`].
///
/// # Errors
/// Exit code 91 when its template is not there any more; the call that failed.
pub fn of_tenant(estate: &Estate, tenant: &Tenant, purpose: Purpose) -> Result<Standing> {
    let (template, root) = stock::find(estate, &tenant.config.template.name)?;
    if template.digest != tenant.config.template.digest {
        return Err(Error::new(format!("template '{}' is another one than it was made from", template.name))
            .hint(format!("it was made from {}", tenant.config.template.digest))
            .code(91));
    }
    let maps = estate.maps(&tenant.config);
    let image = tenant.config.disk.fs;
    enter(&estate.host, &Layers { folder: &tenant.folder, template: &root, maps: &maps, image }, purpose)
}

/// Puts the root together. This process is in a mount namespace of its own afterwards (an ordinary user's in a
/// user namespace, too).
///
/// # Errors
/// The call that failed.
pub fn enter(host: &Host, layers: &Layers<'_>, purpose: Purpose) -> Result<Standing> {
    become_owner(host, layers.maps)?;
    namespace::unshare(libc::CLONE_NEWNS as u64)?;
    // Unmounts of the host still come through, or this namespace would hold on to what the host gives up.
    mount::set_propagation(Path::new("/"), (MsFlags::MS_SLAVE | MsFlags::MS_REC).bits())?;
    if let Some(fs) = layers.image {
        disk::mount(layers.folder, fs)?;
    }
    let disk = open_folder(&layers.folder.join("disk"))?;
    let root = layers.folder.join("root");
    let (overlay, namespace) = match purpose {
        Purpose::Running if host.privileged => {
            let (uid, gid) = (id_maps(&layers.maps.uids), id_maps(&layers.maps.gids));
            // Its own: what the kernel counts by user is then counted for each tenant, and never for the host's root.
            let owner = uid.iter().find_map(|map| map.to_outside(0)).unwrap_or(0);
            let namespace = idmaps::user_namespace_of(owner, &uid, &gid)?;
            attach_mapped(layers.template, &layers.folder.join("lower"), &namespace)?;
            attach_mapped(&layers.folder.join("disk"), &layers.folder.join("disk"), &namespace)?;
            (overlay_within(layers, &namespace)?, Some(namespace))
        }
        _ => {
            attach_plain(layers.template, &layers.folder.join("lower"))?;
            (overlay(layers.folder)?, None)
        }
    };
    let target = open_folder(&root)?;
    mount::attach(&overlay, &target).call(|| format!("move_mount({root:?})"))?;
    Ok(Standing { root, namespace, disk })
}

fn id_maps(ranges: &[Range]) -> Vec<IdMap> {
    let one = |range: &Range| IdMap { inside: range.inside, outside: range.outside, size: range.count };
    ranges.iter().map(one).collect()
}

/// An ordinary user's process becomes root of a user namespace in which all ids of `maps` are its own; root's stays
/// what it is.
///
/// # Errors
/// The call that failed.
pub fn become_owner(host: &Host, maps: &IdMaps) -> Result<()> {
    if host.privileged { Ok(()) } else { become_root(host, maps) }
}

/// Moves an ordinary user's process into a user namespace, in which it is root.
fn become_root(host: &Host, maps: &IdMaps) -> Result<()> {
    let (uid, gid) = (id_maps(&maps.uids), id_maps(&maps.gids));
    let writer = crate::plan::map_writer(&uid, &gid, host)?;
    let namespace = idmaps::user_namespace(&uid, &gid, writer)
        .map_err(|error| error.hint("does this host let ordinary users make user namespaces?"))?;
    enter_as_root(&namespace)?;
    // Otherwise what procfs shows of this process belongs to the real root.
    process::set_dumpable(process::Dumpable::Yes)
}

/// Moves this process into a user namespace, as its root: ids that the namespace does not know could make no file in it.
///
/// # Errors
/// The call that failed.
pub(super) fn enter_as_root(namespace: &OwnedFd) -> Result<()> {
    namespace::enter(namespace, libc::CLONE_NEWUSER as u64)?;
    let (user, group) = (Uid::from_raw(0), Gid::from_raw(0));
    nix::unistd::setresgid(group, group, group).call(|| "setresgid(0)")?;
    nix::unistd::setresuid(user, user, user).call(|| "setresuid(0)")
}

/// `source` at `target`, its owners shown through the map of `namespace`.
fn attach_mapped(source: &Path, target: &Path, namespace: &OwnedFd) -> Result<()> {
    let tree = mount::clone_tree(source, Depth::One)?;
    mount::set_id_map(&tree, Depth::One, namespace).map_err(|errno| {
        Error::sys(format!("mount_setattr({source:?}, MOUNT_ATTR_IDMAP)"), errno)
            .because("its file system cannot be id-mapped")
            .hint("keep tenants on ext4, XFS or btrfs; ISOLATE_DATA names another place")
    })?;
    mount::attach(&tree, open_folder(target)?).call(|| format!("move_mount({target:?})"))
}

/// `source` at `target`, as it is.
fn attach_plain(source: &Path, target: &Path) -> Result<()> {
    let tree = mount::clone_tree(source, Depth::One)?;
    mount::attach(&tree, open_folder(target)?).call(|| format!("move_mount({target:?})"))
}

fn open_folder(path: &Path) -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty()).call(|| format!("open({path:?})"))
}

/// The overlay, made by a child in the user namespace, so that it belongs to it.
fn overlay_within(layers: &Layers<'_>, user: &OwnedFd) -> Result<OwnedFd> {
    let (ours, theirs) = socket::seqpacket_pair()?;
    let Cloned::Parent { pidfd, .. } = clone(0, None, Parent::Caller)? else {
        drop(ours);
        let made = enter_as_root(user)
            .and_then(|()| namespace::unshare(libc::CLONE_NEWNS as u64))
            .and_then(|()| overlay(layers.folder));
        let _ = match made {
            Ok(made) => channel::send(&theirs, b"made", &[made]),
            Err(error) => channel::send(&theirs, &error.to_wire(), &[] as &[OwnedFd]),
        };
        exit_now(0)
    };
    drop(theirs);
    let answer = channel::receive(&ours).call(|| "recvmsg");
    pidfd::wait(&pidfd)?;
    let (words, mut fds) = answer?;
    match fds.pop() {
        Some(made) => Ok(made),
        None if words.is_empty() => Err(Error::new("the process that mounts the root died")),
        None => Err(Error::from_wire(&words)),
    }
}

/// `folder/disk` over `folder/lower`; detached. The names are relative, because a tenant reads them in its
/// `/proc/mounts`, and where the host keeps it is nothing of its business.
fn overlay(folder: &Path) -> Result<OwnedFd> {
    // Its marks in user.overlay., which a user namespace may write, and a copy of the files keeps.
    let options = [
        (c"lowerdir", c"lower"),
        (c"upperdir", c"disk/upper"),
        (c"workdir", c"disk/work"),
        (c"userxattr", c""),
    ];
    nix::unistd::chdir(folder).call(|| format!("chdir({folder:?})"))?;
    let made = mount::new_filesystem(c"overlay", &options, 0).map_err(|errno| {
        Error::sys(
            format!("fsconfig(overlay, lowerdir={folder:?}/lower, upperdir={folder:?}/disk/upper)"),
            errno,
        )
        .hint("the kernel log says more (dmesg); overlay in user namespaces needs Linux 5.11")
    });
    nix::unistd::chdir("/").call(|| "chdir(\"/\")")?;
    made
}
