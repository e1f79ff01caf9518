//! Where tenants' files lie, and what that place can do: found out by trying, with files that are removed at once. The
//! runtime process, with the caller's privilege.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{self, FsType, statfs};
use nix::sys::statvfs::statvfs;
use serde::Serialize;

use crate::error::{Call, Result};
use crate::sys::loop_device::share_blocks;
use crate::sys::mount::{self, Depth};
use crate::tenant::estate::Estate;

/// A place and what it can do.
#[derive(Debug, Clone, Serialize)]
pub struct Pool {
    /// The folder.
    pub path: PathBuf,
    /// Its file system.
    pub fs: String,
    /// Bytes there are.
    pub size: u64,
    /// Bytes that are free for the caller.
    pub free: u64,
    /// Whether copies share blocks with what they are a copy of.
    pub shares_blocks: bool,
    /// Whether disks with a size can be made.
    pub images: bool,
    /// Whether a tenant with a folder for a disk can be limited; never: only an image is a limit.
    pub quota: bool,
    /// Whether ids can be mapped, which root's tenants need.
    pub id_maps: bool,
    /// How many tenants, complete or not.
    pub tenants: usize,
    /// How many templates.
    pub templates: usize,
}

/// Looks at the place where tenants are kept; makes it if it is not there yet.
///
/// # Errors
/// The call that failed.
pub fn look(estate: &Estate) -> Result<Pool> {
    estate.make()?;
    let path = estate.tenants();
    let found = statvfs(&path).call(|| format!("statvfs({path:?})"))?;
    let kind = statfs(&path).call(|| format!("statfs({path:?})"))?.filesystem_type();
    let unit = found.fragment_size();
    Ok(Pool {
        fs: name(kind),
        size: found.blocks() * unit,
        free: found.blocks_available() * unit,
        shares_blocks: shares(&path),
        images: estate.host.privileged && Path::new("/dev/loop-control").exists(),
        quota: false,
        id_maps: estate.host.privileged && maps_ids(&path),
        tenants: estate.names()?.len(),
        templates: crate::tenant::estate::names_in(&estate.templates())?.len(),
        path,
    })
}

fn name(kind: FsType) -> String {
    let known = [
        (statfs::EXT4_SUPER_MAGIC, "ext4"),
        (statfs::XFS_SUPER_MAGIC, "xfs"),
        (statfs::BTRFS_SUPER_MAGIC, "btrfs"),
        (statfs::TMPFS_MAGIC, "tmpfs"),
        (statfs::NFS_SUPER_MAGIC, "nfs"),
        (statfs::OVERLAYFS_SUPER_MAGIC, "overlay"),
        (statfs::FUSE_SUPER_MAGIC, "fuse"),
    ];
    let found = known.iter().find(|(magic, _)| *magic == kind);
    found.map_or_else(|| format!("0x{:x}", kind.0), |(_, name)| (*name).to_owned())
}

fn shares(folder: &Path) -> bool {
    let file = |name: &str| {
        let path = folder.join(format!(".pool-{}-{name}", std::process::id()));
        let file = File::options().read(true).write(true).create_new(true).open(&path).ok();
        let _ = std::fs::remove_file(&path);
        file
    };
    let (Some(one), Some(other)) = (file("one"), file("other")) else { return false };
    // An empty file shares nothing.
    std::io::Write::write_all(&mut &one, &[1; 4096]).is_ok() && share_blocks(&one, &other).is_ok()
}

fn maps_ids(folder: &Path) -> bool {
    use crate::plan::{IdMap, MapWriter};
    let map = [IdMap { inside: 0, outside: 524_288, size: 65_536 }];
    let namespace = crate::apply::idmaps::user_namespace(&map, &map, MapWriter::Direct);
    let tree = mount::clone_tree(folder, Depth::One);
    let (Ok(namespace), Ok(tree)) = (namespace, tree) else { return false };
    mount::set_id_map(&tree, Depth::One, namespace.as_fd()).is_ok()
}
