//! A tenant's disk copied as it is at one moment, while it runs or not: an image by sharing blocks where the host's
//! file system can, else by copying what it holds; a folder file by file. With the caller's privilege, in children of
//! the runtime process.
//!
//! A running tenant stands still for it: an image's file system is frozen (FIFREEZE) and copied before already, so that
//! only what has changed since is left; with a folder all its processes are. A watchdog sets them free in any case.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, OFlag, fallocate};
use nix::unistd::{Whence, lseek};

use crate::container::{self, Status};
use crate::error::{Call, Error, Explain, Result};
use crate::sys::loop_device::{freeze, share_blocks, thaw};
use crate::tenant::aside;
use crate::tenant::config::{Config, FileSystem};
use crate::tenant::disk;
use crate::tenant::estate::{Estate, Tenant};
use crate::tenant::layers;
use crate::tenant::look;
use crate::tenant::watchdog::Watchdog;

/// How much is compared and copied at once.
const CHUNK: usize = 1 << 20;

/// Where the disk itself lies in a folder: a tenant's, or a snapshot's, which has no `disk` around it.
pub fn item(config: &Config) -> &'static str {
    match config.disk.fs {
        Some(_) => disk::FILE,
        None => "upper",
    }
}

/// The disk of a tenant.
pub fn of_tenant(tenant: &Tenant) -> PathBuf {
    match tenant.config.disk.fs {
        Some(_) => tenant.folder.join(disk::FILE),
        None => tenant.folder.join("disk/upper"),
    }
}

/// Copies the disk of `tenant` to `to`, which is not there yet; how long the tenant stood still.
///
/// # Errors
/// What failed; exit code 46 without room. What was copied has to be removed by the caller.
pub fn capture(estate: &Estate, tenant: &Tenant, to: &Path) -> Result<Duration> {
    let from = of_tenant(tenant);
    let status = look::status(estate, &tenant.name)?;
    let runs = matches!(status, Status::Running | Status::Created);
    if status == Status::Stopped {
        disk::wait_until_free(&tenant.folder)?;
    }
    match tenant.config.disk.fs {
        Some(fs) => image(&from, to, fs, disk::standing(&tenant.folder).map(|(device, _)| device)),
        None if runs => {
            let id = estate.container(&tenant.name)?;
            let watchdog = Watchdog::start(|| drop(container::resume(&estate.runtime, &id)))?;
            container::pause(&estate.runtime, &id)?;
            let copied = tree(estate, &from, to);
            let resumed = container::resume(&estate.runtime, &id);
            let took = watchdog.end();
            copied?;
            let took = took?;
            resumed.map(|()| took)
        }
        None => tree(estate, &from, to).map(|()| Duration::ZERO),
    }
}

fn image(from: &Path, to: &Path, fs: FileSystem, device: Option<PathBuf>) -> Result<Duration> {
    let Some(device) = device else { return file(from, to).map(|()| Duration::ZERO) };
    // The time comes back through a file beside, since a child has no other way than an error.
    let times = to.with_extension("pause");
    aside::run(|| {
        let folder = disk::open_mounted(&device, fs)?;
        let (source, target) = open_both(from, to)?;
        let shares = share_blocks(&source, &target).is_ok();
        if !shares {
            update(&source, &target)?;
        }
        let watchdog = Watchdog::start(|| {
            let _ = thaw(&folder);
        })?;
        freeze(&folder).call(|| "ioctl(FIFREEZE)")?;
        let copied = match shares {
            true => share_blocks(&source, &target).call(|| "ioctl(FICLONE)"),
            false => update(&source, &target),
        };
        let thawed = thaw(&folder);
        let took = watchdog.end();
        copied?;
        let took = took?;
        thawed.call(|| "ioctl(FITHAW)")?;
        std::fs::write(&times, took.as_micros().to_string()).call(|| format!("write({times:?})"))?;
        target.sync_all().call(|| format!("fsync({to:?})"))
    })?;
    let text = std::fs::read_to_string(&times).unwrap_or_default();
    let _ = std::fs::remove_file(&times);
    Ok(Duration::from_micros(text.trim().parse().unwrap_or(0)))
}

fn open_both(from: &Path, to: &Path) -> Result<(File, File)> {
    let mut options = File::options();
    let source = options.read(true).custom_flags(OFlag::O_NOFOLLOW.bits()).open(from);
    let source = source.call(|| format!("open({from:?})"))?;
    let mut options = File::options();
    let target = options.read(true).write(true).create_new(true).mode(0o600).open(to);
    let target = target.call(|| format!("create({to:?})"))?;
    let size = source.metadata().call(|| format!("fstat({from:?})"))?.len();
    target.set_len(size).call(|| format!("ftruncate({to:?})"))?;
    Ok((source, target))
}

/// Copies an image that nobody writes to.
///
/// # Errors
/// The call's.
pub fn file(from: &Path, to: &Path) -> Result<()> {
    let (source, target) = open_both(from, to)?;
    if share_blocks(&source, &target).is_err() {
        update(&source, &target)?;
    }
    target.sync_all().call(|| format!("fsync({to:?})"))
}

/// Makes `target`, of the same size, hold what `source` holds, writing only where they differ; holes stay holes.
fn update(source: &File, target: &File) -> Result<()> {
    let size = source.metadata().call(|| "fstat")?.len();
    let (mut old, mut new) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut place = 0;
    while place < size {
        let Some((start, end)) = next_data(source, place, size)? else { return clear(target, place, size) };
        clear(target, place, start)?;
        place = start;
        while place < end {
            let length = CHUNK.min(usize::try_from(end - place).unwrap_or(CHUNK));
            source.read_exact_at(&mut new[..length], place).call(|| "pread")?;
            target.read_exact_at(&mut old[..length], place).call(|| "pread")?;
            if old[..length] != new[..length] {
                target.write_all_at(&new[..length], place).map_err(no_room)?;
            }
            place += length as u64;
        }
    }
    Ok(())
}

fn no_room(error: std::io::Error) -> Error {
    let full = error.kind() == std::io::ErrorKind::StorageFull;
    let error = Error::io("pwrite", &error);
    if full { error.code(46) } else { error }
}

/// The next part of the file, from `place` on, that is no hole.
fn next_data(file: &File, place: u64, size: u64) -> Result<Option<(u64, u64)>> {
    let seek = |place: u64, whence| lseek(file, i64::try_from(place).unwrap_or(i64::MAX), whence);
    let start = match seek(place, Whence::SeekData) {
        Err(Errno::ENXIO) => return Ok(None),
        start => start.call(|| "lseek(SEEK_DATA)")?.cast_unsigned(),
    };
    let end = seek(start, Whence::SeekHole).call(|| "lseek(SEEK_HOLE)")?.cast_unsigned();
    Ok(Some((start, end.min(size))))
}

/// A hole from `start` to `end`, if something is there.
fn clear(target: &File, start: u64, end: u64) -> Result<()> {
    let whole = start >= end || next_data(target, start, end)?.is_none_or(|(found, _)| found >= end);
    if whole {
        return Ok(());
    }
    let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    fallocate(target.as_fd(), flags, signed(start), signed(end - start)).call(|| "fallocate(PUNCH_HOLE)")
}

/// Copies a folder with all that belongs to its files, sharing blocks where that can be. Nobody may write to it
/// meanwhile: names are looked up more than once.
///
/// # Errors
/// What `cp` says.
pub fn tree(estate: &Estate, from: &Path, to: &Path) -> Result<()> {
    let maps = crate::tenant::ids::of_caller(&estate.host);
    aside::run(|| {
        layers::become_owner(&estate.host, &maps)?;
        let mut command = Command::new("cp");
        // All attributes, no link followed, owners as numbers; of one file system.
        command.args(["-a", "-x", "--reflink=auto", "--"]).args([from, to]);
        command.env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::null());
        let output = command.output().call(|| "spawn(\"cp\")")?;
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        let first = words.lines().next().unwrap_or_default().to_owned();
        match output.status.success() {
            true => Ok(()),
            false if words.contains("No space left") => Err(Error::new(first).code(46)),
            false => Err(Error::new(format!("cp failed: {first}"))),
        }
    })
    .doing(|| format!("cannot copy {from:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_made_equal_and_keeps_its_holes() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let source = File::create_new(&from).unwrap();
        source.set_len(64 << 20).unwrap();
        source.write_all_at(b"first", 0).unwrap();
        source.write_all_at(&[7; 100_000], 40 << 20).unwrap();
        let (read, target) = open_both(&from, &to).unwrap();
        update(&read, &target).unwrap();
        assert_eq!(std::fs::read(&to).unwrap(), std::fs::read(&from).unwrap());
        // What was there before and is gone, and what is new.
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        if fallocate(source.as_fd(), flags, 40 << 20, 1 << 20).is_ok() {
            source.write_all_at(b"new", 50 << 20).unwrap();
            update(&read, &target).unwrap();
            assert_eq!(std::fs::read(&to).unwrap(), std::fs::read(&from).unwrap());
        }
        assert!(target.metadata().unwrap().blocks() * 512 < 4 << 20);
    }
}
