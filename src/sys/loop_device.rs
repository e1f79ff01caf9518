//! Loop devices: a file as a block device (drivers/block/loop.c, linux/loop.h). The runtime process, as root.
//!
//! The descriptor that is given to the kernel stays open in it as long as the device stands. So a lock (flock) on that
//! descriptor holds just as long, whatever becomes of this process: it is what keeps a file from being two devices.

#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::error::{Call, Error, Result};

/// linux/loop.h
const LOOP_CTL_GET_FREE: u64 = 0x4C82;
/// linux/loop.h
const LOOP_GET_STATUS64: u64 = 0x4C05;
/// linux/loop.h, since 5.8
const LOOP_CONFIGURE: u64 = 0x4C0A;
/// linux/loop.h
const LOOP_SET_CAPACITY: u64 = 0x4C07;
/// linux/loop.h
const LO_FLAGS_READ_ONLY: u32 = 1;
/// linux/loop.h: the device goes with its last user.
const LO_FLAGS_AUTOCLEAR: u32 = 4;
/// linux/fs.h: `_IOWR('X', 119, int)`
const FIFREEZE: u64 = 0xC004_5877;
/// linux/fs.h: `_IOWR('X', 120, int)`
const FITHAW: u64 = 0xC004_5878;

/// How many devices others may take from under us before it is given up.
const TRIES: usize = 64;

/// `struct loop_config`; all that is not named here is 0.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

/// `struct loop_info64`
#[repr(C)]
struct LoopInfo {
    /// lo_device, lo_inode, lo_rdevice, lo_offset, lo_sizelimit.
    numbers: [u64; 5],
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    /// lo_file_name.
    name: [u8; 64],
    /// lo_crypt_name, lo_encrypt_key.
    crypt: [u8; 96],
    init: [u64; 2],
}

impl LoopInfo {
    fn new(flags: u32, name: [u8; 64]) -> Self {
        Self {
            numbers: [0; 5],
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags,
            name,
            crypt: [0; 96],
            init: [0; 2],
        }
    }
}

/// Whether a device can be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// No.
    ReadOnly,
    /// Yes.
    ReadWrite,
}

/// A device that stands, and goes with its last user: this value, or what is mounted from it.
#[derive(Debug)]
pub struct LoopDevice {
    /// Its node, by which it is mounted.
    pub path: PathBuf,
    /// Held open.
    pub fd: OwnedFd,
}

/// Makes `file` a block device.
///
/// # Errors
/// The call's; ENOENT where the machine has no loop devices.
pub fn attach(file: &File, access: Access) -> Result<LoopDevice> {
    let control_path = "/dev/loop-control";
    let control = File::options().read(true).write(true).open(control_path);
    let control = control.call(|| format!("open({control_path:?})")).map_err(|error| {
        error.hint("this machine has no loop devices: load the module loop, or use disks without a limit")
    })?;
    for _ in 0..TRIES {
        // SAFETY: the request takes no argument.
        let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
        let number = Errno::result(number).call(|| "ioctl(LOOP_CTL_GET_FREE)")?;
        let device = open(number)?;
        match configure(&device, file, access) {
            Ok(()) => return Ok(device),
            // Somebody else took it meanwhile.
            Err(Errno::EBUSY) => {}
            Err(errno) => return Err(Error::sys("ioctl(LOOP_CONFIGURE)", errno)),
        }
    }
    Err(Error::new("others take every loop device there is").hint("try again"))
}

/// The node of a device; without one (nobody keeps /dev) one is made for the moment.
fn open(number: i32) -> Result<LoopDevice> {
    let path = PathBuf::from(format!("/dev/loop{number}"));
    let open = || File::options().read(true).write(true).open(&path);
    let file = match open() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            make_node(&path, number)?;
            open()
        }
        file => file,
    };
    Ok(LoopDevice { fd: file.call(|| format!("open({path:?})"))?.into(), path })
}

fn make_node(path: &Path, number: i32) -> Result<()> {
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    let device = makedev(7, u64::try_from(number).unwrap_or_default());
    match mknod(path, SFlag::S_IFBLK, Mode::from_bits_truncate(0o600), device) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(Error::sys(format!("mknod({path:?})"), errno)),
    }
}

fn configure(device: &LoopDevice, file: &File, access: Access) -> Result<(), Errno> {
    let read_only = if access == Access::ReadOnly { LO_FLAGS_READ_ONLY } else { 0 };
    let config = LoopConfig {
        fd: u32::try_from(file.as_raw_fd()).unwrap_or(u32::MAX),
        block_size: 0,
        info: LoopInfo::new(LO_FLAGS_AUTOCLEAR | read_only, name_of(file)?),
        reserved: [0; 8],
    };
    // SAFETY: `config` has the layout that the request reads, and outlives the call.
    let result = unsafe { libc::ioctl(device.fd.as_raw_fd(), LOOP_CONFIGURE, &raw const config) };
    Errno::result(result).map(drop)
}

/// The name that a device made of `file` has: the file's numbers. The kernel tells a path as well, but one that depends
/// on the mount by which the file was opened, and on where that mount is by now.
fn name_of(file: &File) -> Result<[u8; 64], Errno> {
    let stat = nix::sys::stat::fstat(file)?;
    let mut name = [0; 64];
    let text = format!("isolate {}:{}", stat.st_dev, stat.st_ino);
    name[..text.len()].copy_from_slice(text.as_bytes());
    Ok(name)
}

/// Whether the device `device`, opened, was made of `file` by [`attach`].
///
/// # Errors
/// The call's; ENXIO when it is no file any more.
pub fn is_made_of(device: &File, file: &File) -> Result<bool, Errno> {
    let mut info = LoopInfo::new(0, [0; 64]);
    // SAFETY: `info` has the layout that the request writes, and outlives the call.
    Errno::result(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_GET_STATUS64, &raw mut info) })?;
    Ok(info.name == name_of(file)?)
}

/// Lets the device be as large as its file has become.
///
/// # Errors
/// The call's.
pub fn take_new_size(device: &File) -> Result<()> {
    // SAFETY: the request takes no argument.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_SET_CAPACITY) };
    Errno::result(result).map(drop).call(|| "ioctl(LOOP_SET_CAPACITY)")
}

/// Stops all writing to the file system of `folder`, whose blocks are then consistent on their own.
///
/// # Errors
/// The errno; EBUSY when it is frozen already.
pub fn freeze(folder: &File) -> Result<(), Errno> {
    // SAFETY: the request takes no argument that it reads.
    Errno::result(unsafe { libc::ioctl(folder.as_raw_fd(), FIFREEZE, 0) }).map(drop)
}

/// Lets writing go on.
///
/// # Errors
/// The errno; EINVAL when it is not frozen.
pub fn thaw(folder: &File) -> Result<(), Errno> {
    // SAFETY: the request takes no argument that it reads.
    Errno::result(unsafe { libc::ioctl(folder.as_raw_fd(), FITHAW, 0) }).map(drop)
}

/// Gives `to` the content of `from` by sharing its blocks (FICLONE).
///
/// # Errors
/// The errno; EOPNOTSUPP or EXDEV where the file system cannot.
pub fn share_blocks(from: &File, to: &File) -> Result<(), Errno> {
    // SAFETY: the request takes a descriptor, which is open.
    Errno::result(unsafe { libc::ioctl(to.as_raw_fd(), libc::FICLONE, from.as_raw_fd()) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_has_the_size_of_the_kernels_structure() {
        assert_eq!((size_of::<LoopInfo>(), size_of::<LoopConfig>()), (232, 304));
    }
}
