//! The private folder of one disposable system: claimed, locked, removed. The runtime process, with the
//! caller's privilege.
//!
//! Root's lie in `/var/lib/isolate/try`, an ordinary user's in `/var/tmp/isolate-try-UID` (or below
//! `$TMPDIR`), so on a disk and not in memory. The folder's name is the system's name and, for root, its
//! slot of ids: making the folder claims both. A lock on it lives as long as the process; a folder without
//! one was left by a process that was killed, and is removed by the next, container first.

use std::fs::{DirBuilder, File, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;

use crate::error::{Call, Error, Explain, Kind, Result};
use crate::host::Host;
use crate::ids::ContainerId;
use crate::log;
use crate::sys::lock::{Lock, Wait};
use crate::tenant::disk;
use crate::tenant::ids::{self, IdMaps, SLOTS};
use crate::tenant::remove;
use crate::tenant::rootfs::Owners;

/// What names of systems begin with; the slot's number follows.
const PREFIX: &str = "try-";

/// Ends the container of a folder that was left behind; no such container is fine.
pub type EndContainer<'a> = dyn Fn(&ContainerId) -> Result<()> + 'a;

/// A claimed folder. Dropping it removes it; [`Workspace::remove`] also tells of failure.
pub struct Workspace {
    place: PathBuf,
    path: PathBuf,
    id: ContainerId,
    maps: IdMaps,
    owners: Owners,
    root: &'static str,
    lock: Option<Lock<File>>,
}

impl Workspace {
    /// Removes what was left behind, and claims a folder.
    ///
    /// # Errors
    /// A place that cannot be made or belongs to somebody else; no free slot.
    pub fn claim(host: &Host, end: &EndContainer<'_>) -> Result<Workspace> {
        let place = place(host);
        let _lock = lock_place(&place, host)?;
        sweep(&place, host, end);
        let taken = if host.privileged { taken_ids() } else { vec![] };
        for slot in (0..SLOTS).filter(|slot| !host.privileged || ids::is_free(*slot, &taken)) {
            let path = place.join(format!("{PREFIX}{slot}"));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Workspace::new(place, slot, host),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io(format!("mkdir({path:?})"), &error)),
            }
        }
        Err(Error::new(format!("all {SLOTS} ranges of ids are in use")))
    }

    fn new(place: PathBuf, slot: u32, host: &Host) -> Result<Workspace> {
        let name = format!("{PREFIX}{slot}");
        let maps = if host.privileged { ids::of_slot(slot) } else { ids::of_caller(host) };
        let owners = if host.privileged { Owners::Mapped(maps.clone()) } else { Owners::Caller };
        let path = place.join(&name);
        let id = ContainerId::new(name)?;
        let mut workspace = Workspace { place, path, id, maps, owners, root: "rootfs", lock: None };
        let file = open_directory(&workspace.path)?;
        let lock = Lock::take(file, Wait::Never);
        workspace.lock =
            Some(lock.map_err(|(_, errno)| Error::sys(format!("flock({:?})", workspace.path), errno))?);
        workspace.let_root_inside_in()?;
        Ok(workspace)
    }

    /// The folder opens for the group of root inside, and for nobody else: it has to reach its root.
    fn let_root_inside_in(&self) -> Result<()> {
        let (Owners::Mapped(maps), path) = (&self.owners, &self.path) else { return Ok(()) };
        std::os::unix::fs::chown(path, None, ids::outside(&maps.gids, 0))
            .call(|| format!("chown({path:?})"))?;
        std::fs::set_permissions(path, Permissions::from_mode(0o710)).call(|| format!("chmod({path:?})"))
    }

    /// The folder: the bundle.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The root's place in the folder.
    pub fn root(&self) -> &'static str {
        self.root
    }

    /// Makes the folder of the root; with `disk`, on a disk of that many bytes, which this process mounts where the host
    /// does not see it.
    ///
    /// # Errors
    /// Only root can mount a disk; what [`disk::make`] and the calls say.
    pub fn make_root(&mut self, disk: Option<u64>) -> Result<PathBuf> {
        match disk {
            Some(_) if !matches!(self.owners, Owners::Mapped(_)) => {
                return Err(Error::new("a disk with a size is a loop device, which only root can make")
                    .at("--disk")
                    .hint("without --disk the files are kept in a folder, with no limit of their own")
                    .kind(Kind::Unsupported));
            }
            Some(size) => self.mount_disk(size).at(|| "--disk")?,
            None => {}
        }
        let path = self.path.join(self.root);
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if disk.is_none() => Err(Error::io(format!("mkdir({path:?})"), &error)),
            _ => Ok(path),
        }
    }

    fn mount_disk(&mut self, size: u64) -> Result<()> {
        let fs = disk::make(&self.path, size)?;
        let target = self.path.join("disk");
        DirBuilder::new().mode(0o755).create(&target).call(|| format!("mkdir({target:?})"))?;
        disk::leave_mounts()?;
        disk::mount(&self.path, fs)?;
        self.root = "disk/upper";
        Ok(())
    }

    /// The system's name.
    pub fn id(&self) -> &ContainerId {
        &self.id
    }

    /// The ids behind the ids inside.
    pub fn maps(&self) -> &IdMaps {
        &self.maps
    }

    /// Who is to own what is made in the folder.
    pub fn owners(&self) -> &Owners {
        &self.owners
    }

    /// Removes the folder and all in it.
    ///
    /// # Errors
    /// What could not be removed; the next `isolate try` tries again.
    pub fn remove(mut self) -> Result<()> {
        self.take_away()
    }

    fn take_away(&mut self) -> Result<()> {
        let Some(lock) = self.lock.take() else { return Ok(()) };
        if self.root != "rootfs" {
            disk::unmount(&self.path)?;
        }
        let removed = remove_tree(&self.path, &self.maps);
        drop(lock);
        // Leaves nothing behind where it was the last one; a folder with anything in it stays.
        let _ = std::fs::remove_dir(&self.place);
        if let (Owners::Mapped(_), Some(parent)) = (&self.owners, self.place.parent()) {
            let _ = std::fs::remove_dir(parent);
        }
        removed.doing(|| format!("cannot remove the folder of '{}'", self.id))
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if let Err(error) = self.take_away() {
            log::warning(error);
        }
    }
}

fn place(host: &Host) -> PathBuf {
    if host.privileged {
        return PathBuf::from("/var/lib/isolate/try");
    }
    let base = std::env::var_os("TMPDIR").map(PathBuf::from).filter(|path| path.is_absolute());
    base.unwrap_or_else(|| PathBuf::from("/var/tmp")).join(format!("isolate-try-{}", host.uid))
}

fn open_directory(path: &Path) -> Result<File> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    let mut options = File::options();
    options.read(true).custom_flags(flags.bits()).open(path).call(|| format!("open({path:?})"))
}

/// Makes the place and holds it: claims and sweeps come one after the other.
fn lock_place(place: &Path, host: &Host) -> Result<Lock<File>> {
    let mode = if host.privileged { 0o711 } else { 0o700 };
    for _ in 0..100 {
        match DirBuilder::new().mode(mode).recursive(true).create(place) {
            // The last user of the place removes it, perhaps just now.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            made => made.call(|| format!("mkdir({place:?})"))?,
        }
        let Ok(file) = open_directory(place) else { continue };
        check_owner(place, &file, host)?;
        let lock = Lock::take(file, Wait::ForEver);
        let lock = lock.map_err(|(_, errno)| Error::sys(format!("flock({place:?})"), errno))?;
        // Or while we waited.
        let ours = lock.metadata().call(|| format!("fstat({place:?})"))?.ino();
        if std::fs::symlink_metadata(place).is_ok_and(|found| found.ino() == ours) {
            return Ok(lock);
        }
    }
    Err(Error::new(format!("{place:?} cannot be made and opened as a folder")))
}

/// `/var/tmp` is everybody's: somebody else may have made the folder first.
fn check_owner(place: &Path, file: &File, host: &Host) -> Result<()> {
    let found = file.metadata().call(|| format!("fstat({place:?})"))?;
    if found.uid() == host.uid && found.mode() & 0o022 == 0 {
        return Ok(());
    }
    Err(Error::new(format!("{place:?} belongs to uid {} or others may write to it", found.uid()))
        .hint("remove it, or set TMPDIR to a folder of your own"))
}

pub(super) fn taken_ids() -> Vec<(u32, u32)> {
    let texts = ["/etc/subuid", "/etc/subgid"].map(|path| std::fs::read_to_string(path).unwrap_or_default());
    texts.iter().flat_map(|text| ids::parse_subids(text)).collect()
}

/// Removes folders whose process is gone; what cannot be removed is logged, and stays claimed.
fn sweep(place: &Path, host: &Host, end: &EndContainer<'_>) {
    let names = std::fs::read_dir(place).into_iter().flatten().flatten().map(|entry| entry.file_name());
    for name in names.filter_map(|name| name.into_string().ok()) {
        let slot =
            name.strip_prefix(PREFIX).and_then(|number| number.parse().ok()).filter(|slot| *slot < SLOTS);
        let Some(slot) = slot else { continue };
        if let Err(error) = sweep_one(&place.join(&name), slot, host, end) {
            log::warning(error.doing(format!("cannot remove what '{name}' left behind")));
        }
    }
}

fn sweep_one(path: &Path, slot: u32, host: &Host, end: &EndContainer<'_>) -> Result<()> {
    let _lock = match Lock::take(open_directory(path)?, Wait::Never) {
        Ok(lock) => lock,
        Err((_, Errno::EWOULDBLOCK)) => return Ok(()),
        Err((_, errno)) => return Err(Error::sys(format!("flock({path:?})"), errno)),
    };
    end(&ContainerId::new(format!("{PREFIX}{slot}"))?)?;
    let maps = if host.privileged { ids::of_slot(slot) } else { ids::of_caller(host) };
    remove_tree(path, &maps)
}

/// Removes a tree as the caller, or with the ids of `maps` where that is not enough.
pub(super) fn remove_tree(path: &Path, maps: &IdMaps) -> Result<()> {
    match remove::remove(path) {
        Err(error) if maps.uids.len() > 1 && matches!(error.errno(), Some(Errno::EACCES | Errno::EPERM)) => {
            remove::remove_mapped(path, maps)
        }
        result => result,
    }
}
