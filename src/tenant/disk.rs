//! Disks that are images: a sparse file with a file system of its own for each tenant, so that its size is a hard
//! limit and `df` inside tells the truth. The runtime process, as root; mounting goes on in a mount namespace of the
//! process' own.
//!
//! The file is locked for as long as it is a device: no two mounts of one image can ever be.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::MsFlags;

use crate::error::{Call, Error, Kind, Result};
use crate::sys::lock::{Lock, Wait};
use crate::sys::loop_device::{self, Access, LoopDevice};
use crate::sys::{mount, namespace};
use crate::tenant::aside;
use crate::tenant::config::FileSystem;
use crate::tenant::resources::Device;

/// The image in a tenant's folder.
pub const FILE: &str = "disk.img";

/// Below this size XFS cannot be made (mkfs.xfs(8): "at least 300MB").
const LEAST_XFS: u64 = 300 << 20;

/// Room for an ext4 with its journal, and something in it.
pub const LEAST: u64 = 8 << 20;

/// How long the last users of an image may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes the image of `size` bytes; which file system it has got. XFS where it is large enough and can be made: it
/// grows while it is in use with no more privilege than mounting.
///
/// # Errors
/// Exit code 46 without room; no program makes a file system.
pub fn make(folder: &Path, size: u64) -> Result<FileSystem> {
    let path = folder.join(FILE);
    let mut options = File::options();
    let file = options.write(true).create_new(true).mode(0o600).open(&path);
    let file = file.and_then(|file| file.set_len(size).map(|()| file));
    file.call(|| format!("create({path:?})"))?;
    if size >= LEAST_XFS && run("mkfs.xfs", &["-q", "-f", &text(&path)?]).is_ok() {
        return Ok(FileSystem::Xfs);
    }
    run("mkfs.ext4", &["-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1", &text(&path)?])
        .map_err(|error| error.hint("install e2fsprogs or xfsprogs"))?;
    Ok(FileSystem::Ext4)
}

fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| Error::new(format!("{path:?} is no text")))
}

/// Runs a program of the host's; its last words are the error.
fn run(program: &str, arguments: &[&str]) -> Result<()> {
    run_to_an_end(program, arguments, &[0])
}

/// `good` are the exit codes of success.
fn run_to_an_end(program: &str, arguments: &[&str], good: &[i32]) -> Result<()> {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    // Where such programs are; not everybody's PATH has it.
    command.env("PATH", format!("{path}:/usr/sbin:/sbin")).env("LC_ALL", "C");
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    let output = command.output().call(|| format!("spawn({program:?})"))?;
    if output.status.code().is_some_and(|code| good.contains(&code)) {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let last = words.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    Err(Error::new(format!("{program} failed ({}): {}", output.status, last.trim())))
}

/// The device that the tenant's image is now, if it is one.
pub fn standing(folder: &Path) -> Option<(PathBuf, Device)> {
    let image = File::open(folder.join(FILE)).ok()?;
    for entry in std::fs::read_dir("/sys/block").ok()?.flatten() {
        // The name is the same in every mount namespace, the path to it is not.
        let backing = std::fs::read_to_string(entry.path().join("loop/backing_file")).unwrap_or_default();
        if Path::new(backing.trim_end_matches('\n')).file_name().is_none_or(|name| name != FILE) {
            continue;
        }
        let path = Path::new("/dev").join(entry.file_name());
        if File::open(&path).is_ok_and(|device| loop_device::is_made_of(&device, &image) == Ok(true)) {
            let number = std::fs::read_to_string(entry.path().join("dev")).ok()?;
            let (major, minor) = number.trim().split_once(':')?;
            let device = Device { major: major.parse().ok()?, minor: minor.parse().ok()? };
            return Some((path, device));
        }
    }
    None
}

/// Waits until the image of a tenant that has stopped is no device any more: its last users take a moment to go.
///
/// # Errors
/// They stay.
pub fn wait_until_free(folder: &Path) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while let Some((device, _)) = standing(folder) {
        if Instant::now() >= end {
            return Err(Error::new(format!("its disk is still in use, as {device:?}")).kind(Kind::Busy));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn attach(image: &Path) -> Result<LoopDevice> {
    let mut options = File::options();
    let file = options.read(true).write(true).custom_flags(OFlag::O_NOFOLLOW.bits()).open(image);
    let mut file = file.call(|| format!("open({image:?})"))?;
    let end = Instant::now() + PATIENCE;
    loop {
        match Lock::take(file, Wait::Never) {
            Ok(locked) => {
                let device = loop_device::attach(&locked, Access::ReadWrite);
                // The kernel's own reference keeps the lock; unlocking here would take it away.
                std::mem::forget(locked);
                return device;
            }
            Err((_, errno)) if errno != Errno::EWOULDBLOCK || Instant::now() >= end => {
                return Err(Error::sys(format!("flock({image:?})"), errno)
                    .because("its disk is still in use")
                    .kind(Kind::Busy));
            }
            Err((busy, _)) => {
                std::thread::sleep(Duration::from_millis(5));
                file = busy;
            }
        }
    }
}

/// A detached mount of a device; of one that is mounted already it is the same file system once more.
fn mounted(device: &Path, fs: FileSystem, read_only: bool) -> Result<OwnedFd> {
    let source = CString::new(text(device)?).map_err(|_| Error::new("the path holds a NUL byte"))?;
    let mut options = vec![(c"source", source.as_c_str())];
    let (name, more): (_, &[&std::ffi::CStr]) = match (fs, read_only) {
        // A clone has the UUID of what it was cloned from.
        (FileSystem::Xfs, false) => (c"xfs", &[c"nouuid", c"discard"]),
        (FileSystem::Xfs, true) => (c"xfs", &[c"nouuid", c"norecovery", c"ro"]),
        (FileSystem::Ext4, false) => (c"ext4", &[c"discard"]),
        (FileSystem::Ext4, true) => (c"ext4", &[c"noload", c"ro"]),
    };
    options.extend(more.iter().map(|option| (*option, c"")));
    mount::new_filesystem(name, &options, 0).call(|| format!("fsconfig({name:?}, {device:?})"))
}

/// Takes the image's mount at `folder/disk` away from this process' mount namespace.
///
/// # Errors
/// The call's.
pub fn unmount(folder: &Path) -> Result<()> {
    let target = folder.join("disk");
    nix::mount::umount2(&target, nix::mount::MntFlags::MNT_DETACH).call(|| format!("umount2({target:?})"))
}

/// Mounts the image at `folder/disk`, in this process' mount namespace, with the folders of the overlay in it.
///
/// # Errors
/// The call's; the image is in use.
pub fn mount(folder: &Path, fs: FileSystem) -> Result<()> {
    let device = attach(&folder.join(FILE))?;
    let target = folder.join("disk");
    let tree = mounted(&device.path, fs, false)?;
    put(&tree, &target)?;
    for (name, mode) in [("upper", 0o755), ("work", 0o700)] {
        let path = target.join(name);
        match std::fs::DirBuilder::new().mode(mode).create(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(Error::io(format!("mkdir({path:?})"), &error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Mounts the image `image` at `target` so that nothing is changed by looking at it.
///
/// # Errors
/// The call's.
pub fn mount_to_read(image: &Path, fs: FileSystem, target: &Path) -> Result<()> {
    let file = File::open(image).call(|| format!("open({image:?})"))?;
    let device = loop_device::attach(&file, Access::ReadOnly)?;
    put(&mounted(&device.path, fs, true)?, target)
}

fn put(tree: &OwnedFd, target: &Path) -> Result<()> {
    let mut options = File::options();
    let options = options.read(true).custom_flags((OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).bits());
    let folder = options.open(target).call(|| format!("open({target:?})"))?;
    mount::attach(tree, &folder).call(|| format!("move_mount({target:?})"))
}

/// Away from the host's mount namespace, which sees nothing of what this process mounts.
///
/// # Errors
/// The call's.
pub fn leave_mounts() -> Result<()> {
    namespace::unshare(libc::CLONE_NEWNS as u64)?;
    mount::set_propagation(Path::new("/"), (MsFlags::MS_SLAVE | MsFlags::MS_REC).bits())
}

/// The file system of a disk that is in use, by which it can be frozen.
///
/// # Errors
/// The call's.
pub fn open_mounted(device: &Path, fs: FileSystem) -> Result<File> {
    let tree = mounted(device, fs, false)?;
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&tree));
    File::open(Path::new(&path).join(".")).call(|| format!("open({path:?})"))
}

/// Makes the disk larger, in use or not.
///
/// # Errors
/// What the program says that grows it; the size is then as it was.
pub fn grow(folder: &Path, fs: FileSystem, from: u64, to: u64) -> Result<()> {
    let image = folder.join(FILE);
    let resize = |size: u64| {
        let file = File::options().write(true).open(&image).and_then(|file| file.set_len(size));
        file.call(|| format!("ftruncate({image:?})"))
    };
    let standing = standing(folder);
    resize(to)?;
    let grown = match (&standing, fs) {
        (None, FileSystem::Ext4) => {
            let path = text(&image)?;
            // 1: what was found is corrected (e2fsck(8)), such as a journal that was still to be replayed.
            run_to_an_end("e2fsck", &["-f", "-p", &path], &[0, 1]).and_then(|()| run("resize2fs", &[&path]))
        }
        _ => aside::run(|| grow_mounted(folder, fs, standing.as_ref().map(|(device, _)| device.as_path()))),
    };
    grown.map_err(|error| {
        let back = resize(from).and_then(|()| standing.iter().try_for_each(|(device, _)| tell(device)));
        let error = match fs {
            FileSystem::Ext4 => error.hint("stop the tenant first: its ext4 grows then"),
            FileSystem::Xfs => error,
        };
        match back {
            Ok(()) => error,
            Err(left) => error.because(left),
        }
    })
}

fn tell(device: &Path) -> Result<()> {
    let device = File::open(device).call(|| format!("open({device:?})"))?;
    loop_device::take_new_size(&device)
}

fn grow_mounted(folder: &Path, fs: FileSystem, standing: Option<&Path>) -> Result<()> {
    leave_mounts()?;
    let target = folder.join("disk");
    let own;
    let device = match standing {
        Some(device) => device,
        None => {
            own = attach(&folder.join(FILE))?;
            &own.path
        }
    };
    tell(device)?;
    put(&mounted(device, fs, false)?, &target)?;
    match fs {
        FileSystem::Xfs => run("xfs_growfs", &[&text(&target)?]),
        FileSystem::Ext4 => run("resize2fs", &[&text(device)?]),
    }
}
