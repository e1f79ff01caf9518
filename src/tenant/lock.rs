//! One verb at a time on one tenant: `flock` on a file in its folder, which says who holds it. The kernel frees the
//! lock of a process that dies. The runtime process, with the caller's privilege.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;

use crate::error::{Call, Error, Kind, Result};
use crate::sys::{lock, time};

/// How long a verb waits for another by default.
pub const WAIT: Duration = Duration::from_secs(30);

/// Held as long as it lives.
#[derive(Debug)]
pub struct Lock(lock::Lock<File>);

/// Takes the lock of the folder `folder`, for `verb`.
///
/// # Errors
/// Exit code 9 with the holder's pid, verb and time; 14 when the folder went away meanwhile.
pub fn take(folder: &Path, verb: &str, wait: Duration) -> Result<Lock> {
    let path = folder.join("lock");
    let end = Instant::now() + wait;
    let gone = |error: Error| match error.errno() {
        Some(Errno::ENOENT) => Error::new("it does not exist").kind(Kind::NotFound).code(14),
        _ => error,
    };
    let mut file = open(&path).map_err(gone)?;
    loop {
        match lock::Lock::take(file, lock::Wait::Never) {
            Ok(held) => {
                let ours = held.metadata().call(|| format!("fstat({path:?})"))?.ino();
                if std::fs::metadata(&path).is_ok_and(|found| found.ino() == ours) {
                    return tell(held, verb);
                }
                file = open(&path).map_err(gone)?;
            }
            Err((mut busy, Errno::EWOULDBLOCK)) if Instant::now() >= end => return Err(held_by(&mut busy)),
            Err((busy, Errno::EWOULDBLOCK)) => {
                std::thread::sleep(Duration::from_millis(20));
                file = busy;
            }
            Err((_, errno)) => return Err(Error::sys(format!("flock({path:?})"), errno)),
        }
    }
}

fn open(path: &Path) -> Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.custom_flags(OFlag::O_NOFOLLOW.bits()).open(path).call(|| format!("open({path:?})"))
}

fn tell(mut held: lock::Lock<File>, verb: &str) -> Result<Lock> {
    let text =
        format!("'isolate tenant {verb}', pid {}, since {}", std::process::id(), time::rfc3339(time::now()));
    // For people only: a lock without these words holds as well, on a full disk for instance.
    let _ = held.set_len(0).and_then(|()| held.rewind()).and_then(|()| held.write_all(text.as_bytes()));
    Ok(Lock(held))
}

fn held_by(file: &mut File) -> Error {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.take(256).read_to_string(&mut text));
    let holder = if read.is_ok() && !text.is_empty() { text } else { "another command".to_owned() };
    let holder: String = holder.chars().filter(|c| !c.is_control()).collect();
    Error::new(format!("it is locked by {holder}")).hint("wait for it, or end it").kind(Kind::Busy).code(9)
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.0.set_len(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_verb_is_told_who_holds_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let held = take(folder.path(), "snapshot", Duration::ZERO).unwrap();
        let error = take(folder.path(), "start", Duration::ZERO).unwrap_err();
        let words = format!("it is locked by 'isolate tenant snapshot', pid {}", std::process::id());
        assert!(error.to_string().starts_with(&words), "{error}");
        assert_eq!(error.get_code(), Some(9));
        drop(held);
        take(folder.path(), "start", Duration::ZERO).unwrap();
    }
}
