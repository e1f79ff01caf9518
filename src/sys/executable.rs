//! Our own binary, protected from what we join: a container's root that is the host's root could open
//! `/proc/PID/exe` of a process of ours and overwrite it (CVE-2019-5736). Before anything else, the program
//! is executed once more from a read-only clone of its mount; where that is not allowed and it could be
//! written, from a sealed copy in memory.

#![allow(unsafe_code)]

use std::ffi::{CString, OsStr};
use std::io::Seek;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::Mode;
use nix::sys::statvfs::{FsFlags, Statvfs, statvfs};
use nix::unistd::AccessFlags;

use super::mount::{self, Depth};
use crate::error::{Call, Error, Result};

const OWN: &str = "/proc/self/exe";

/// Returns in a process whose executable cannot be written through it: this one, or (then it does not
/// return) one that begins again with the same arguments.
///
/// # Errors
/// When neither way is open.
pub fn protect() -> Result<()> {
    let is_read_only = |fs: Statvfs| fs.flags().contains(FsFlags::ST_RDONLY);
    if statvfs(OWN).is_ok_and(is_read_only) {
        return Ok(());
    }
    let own = nix::fcntl::open(OWN, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
        .call(|| format!("open({OWN:?})"))?;
    if is_sealed(&own) {
        return Ok(());
    }
    match read_only_clone() {
        Ok(clone) => execute_again(&clone),
        // Nobody who could not write the file before can write it from inside.
        Err(_) if nix::unistd::access(OWN, AccessFlags::W_OK).is_err() => Ok(()),
        Err(_) => execute_again(&sealed_copy(own)?),
    }
}

fn is_sealed(own: &OwnedFd) -> bool {
    fcntl(own, FcntlArg::F_GET_SEALS).is_ok_and(|seals| seals & SealFlag::F_SEAL_WRITE.bits() != 0)
}

fn read_only_clone() -> Result<OwnedFd> {
    let clone = mount::clone_tree(Path::new(OWN), Depth::One)?;
    mount::set_attributes(&clone, Depth::One, libc::MOUNT_ATTR_RDONLY, 0, 0)
        .call(|| "mount_setattr(executable)")?;
    Ok(clone)
}

fn sealed_copy(own: OwnedFd) -> Result<OwnedFd> {
    // KERNEL(6.3): vm.memfd_noexec wants to be told that it will be executed; older kernels do not know the word.
    const MFD_EXEC: u32 = 0x10;
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let told = memfd_create("isolate", flags | MFdFlags::from_bits_retain(MFD_EXEC));
    let copy = told.or_else(|_| memfd_create("isolate", flags)).call(|| "memfd_create")?;
    let (mut from, mut to) = (std::fs::File::from(own), std::fs::File::from(copy));
    std::io::copy(&mut from, &mut to).call(|| "copy(executable)")?;
    to.rewind().call(|| "lseek(memfd)")?;
    let copy = OwnedFd::from(to);
    seal(&copy).call(|| "fcntl(F_ADD_SEALS)")?;
    Ok(copy)
}

/// Seals the file against every change, for ever.
///
/// # Errors
/// `EBUSY` where somebody has held a page of it for several seconds.
fn seal(copy: &OwnedFd) -> nix::Result<()> {
    // Nobody maps the copy, but a host that is short of memory may be looking at a page of it just now. The kernel
    // waits for 150 ms (mm/memfd.c, memfd_wait_for_pins) and then says EBUSY.
    const TRIES: usize = 40;
    let seals =
        SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    let mut outcome = Err(Errno::EBUSY);
    for _ in 0..TRIES {
        outcome = fcntl(copy, FcntlArg::F_ADD_SEALS(seals)).map(drop);
        if outcome != Err(Errno::EBUSY) {
            break;
        }
    }
    outcome
}

fn execute_again(program: &impl AsFd) -> Result<()> {
    let string = |text: &OsStr| {
        CString::new(text.as_bytes()).map_err(|_| Error::new("there is a NUL byte in the arguments"))
    };
    let args = std::env::args_os().map(|arg| string(&arg)).collect::<Result<Vec<_>>>()?;
    let env = std::env::vars_os().map(|(key, value)| {
        let pair = [key.as_bytes(), b"=", value.as_bytes()].concat();
        string(OsStr::from_bytes(&pair))
    });
    let env = env.collect::<Result<Vec<_>>>()?;
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (arg_pointers, env_pointers) = (pointers(&args), pointers(&env));
    let fd = program.as_fd().as_raw_fd();
    // SAFETY: both arrays end with null and hold NUL-terminated strings that outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd,
            c"".as_ptr(),
            arg_pointers.as_ptr(),
            env_pointers.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    Err(Error::sys("execveat(own executable)", Errno::last()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_somebody_holds_for_a_moment_delays_the_seal_only() {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let copy = memfd_create("test", flags).unwrap();
        nix::unistd::write(&copy, &[7; 4096]).unwrap();
        let (out, into) = nix::unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
        // A pipe that pages of the file were spliced into holds these pages.
        let (from, to) = (copy.as_raw_fd(), into.as_raw_fd());
        // SAFETY: both descriptors are open, and the pointers point at a number or nowhere.
        let moved = unsafe { libc::splice(from, &mut 0, to, std::ptr::null_mut(), 4096, 0) };
        assert_eq!(moved, 4096);
        let seals = FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_WRITE);
        assert_eq!(fcntl(&copy, seals), Err(Errno::EBUSY));

        let sealing = std::thread::spawn(move || seal(&copy).map(|()| copy));
        std::thread::sleep(std::time::Duration::from_millis(400));
        // What is read has left the pipe, whoever else has inherited its ends.
        assert_eq!(nix::unistd::read(&out, &mut [0; 4096]), Ok(4096));
        assert!(is_sealed(&sealing.join().unwrap().unwrap()));
    }
}
