//! A lock on an open file or folder (flock(2)), let go when it is dropped. Any process, no privilege.

#![allow(unsafe_code)]

use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;

/// What to do while somebody else has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Answer EWOULDBLOCK.
    Never,
    /// Wait until it is free.
    ForEver,
}

/// An open file that nobody else has locked. The kernel lets go of the lock of a process that dies.
#[derive(Debug)]
pub struct Lock<T: AsFd>(T);

impl<T: AsFd> Lock<T> {
    /// Locks `file`.
    ///
    /// # Errors
    /// The call's, with the file: EWOULDBLOCK when it is locked and [`Wait::Never`] is said.
    pub fn take(file: T, wait: Wait) -> Result<Lock<T>, (T, Errno)> {
        let nonblock = if wait == Wait::Never { libc::LOCK_NB } else { 0 };
        match flock(&file, libc::LOCK_EX | nonblock) {
            Ok(()) => Ok(Lock(file)),
            Err(errno) => Err((file, errno)),
        }
    }

    /// Lets go of it, and gives the file back.
    ///
    /// # Errors
    /// The call's; the file is closed then, which lets go of it too.
    pub fn unlock(self) -> Result<T, Errno> {
        flock(&self.0, libc::LOCK_UN)?;
        let this = ManuallyDrop::new(self);
        // SAFETY: `this` is not dropped, and not used any more: the file has one owner as before.
        Ok(unsafe { std::ptr::read(&raw const this.0) })
    }
}

impl<T: AsFd> Drop for Lock<T> {
    fn drop(&mut self) {
        // Copies of the descriptor in other processes would keep it. If this fails, closing is what is left.
        let _ = flock(&self.0, libc::LOCK_UN);
    }
}

impl<T: AsFd> Deref for Lock<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: AsFd> DerefMut for Lock<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

fn flock(file: &impl AsFd, operation: i32) -> Result<(), Errno> {
    // SAFETY: the call takes numbers.
    Errno::result(unsafe { libc::flock(file.as_fd().as_raw_fd(), operation) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locked_file_is_locked_until_it_is_dropped_or_unlocked_whoever_has_copies() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = || std::fs::File::open(file.path()).unwrap();
        let held = Lock::take(open(), Wait::Never).unwrap();
        let copy = held.try_clone().unwrap();
        assert_eq!(Lock::take(open(), Wait::Never).unwrap_err().1, Errno::EWOULDBLOCK);
        drop(held);
        let held = Lock::take(open(), Wait::Never).unwrap();
        let inner = held.unlock().unwrap();
        drop(Lock::take(open(), Wait::ForEver).unwrap());
        drop((inner, copy));
    }
}
