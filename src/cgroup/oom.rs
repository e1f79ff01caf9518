//! Word of the OOM killer at work in a container. The runtime process, which needs to be able to write to the
//! container's cgroup on v1, and to read it on v2.
//!
//! v1: an eventfd registered in `cgroup.event_control` (memory.rst, section 10). v2: `memory.events` is polled for
//! POLLPRI, which the kernel gives after each change (cgroup-v2.rst, "File change notification").

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::PollFlags;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::uio::pread;

use super::layout::Version;
use super::{Cgroup, OpenGroup, files};
use crate::error::{Call, Result};

/// A watch on one container's memory.
#[derive(Debug)]
pub enum OomWatch {
    /// v1: its counter is the number of times that the killer set to work.
    Eventfd {
        /// The counter.
        counter: EventFd,
        /// The container's folder.
        folder: OwnedFd,
    },
    /// v2: how many processes the killer has ended is in the file.
    File {
        /// `memory.events`.
        events: OwnedFd,
        /// What is told already.
        told: u64,
    },
}

impl Cgroup {
    /// Begins to watch; `None` without a memory controller, or where the caller may not.
    ///
    /// # Errors
    /// When the kernel refuses for another reason.
    pub fn watch_oom(&self) -> Result<Option<OomWatch>> {
        let Some(group) = self.v1("memory").or(self.unified()) else { return Ok(None) };
        let watch = match group.version {
            Version::V1 => watch_v1(group),
            Version::V2 => watch_v2(group),
        };
        match watch {
            Ok(watch) => Ok(Some(watch)),
            Err(Errno::ENOENT | Errno::ENODEV | Errno::EACCES | Errno::EPERM) => Ok(None),
            Err(errno) => Err(errno).call(|| format!("watch the memory of {:?}", group.dir)),
        }
    }
}

fn watch_v1(group: &OpenGroup) -> nix::Result<OomWatch> {
    let counter = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
    let control = files::open_file(&group.fd, "memory.oom_control", OFlag::O_RDONLY)?;
    let words = format!("{} {}", counter.as_fd().as_raw_fd(), control.as_raw_fd());
    files::write(&group.fd, "cgroup.event_control", &words)?;
    Ok(OomWatch::Eventfd { counter, folder: files::open_folder(&group.fd, c".")? })
}

fn watch_v2(group: &OpenGroup) -> nix::Result<OomWatch> {
    let events = files::open_file(&group.fd, "memory.events", OFlag::O_RDONLY)?;
    let told = kills(&events)?;
    Ok(OomWatch::File { events, told })
}

/// Reads through the descriptor that is polled: this is what makes the kernel see the change as known.
fn kills(events: &OwnedFd) -> nix::Result<u64> {
    let mut buffer = [0u8; 4096];
    let length = pread(events, &mut buffer, 0)?;
    let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
    Ok(files::keyed(&text, "oom_kill").unwrap_or(0))
}

impl OomWatch {
    /// What to poll, and for what.
    pub fn poll_for(&self) -> (BorrowedFd<'_>, PollFlags) {
        match self {
            OomWatch::Eventfd { counter, .. } => (counter.as_fd(), PollFlags::POLLIN),
            OomWatch::File { events, .. } => (events.as_fd(), PollFlags::POLLPRI),
        }
    }

    /// How many there were since the last call; `None` once the cgroup is gone, of which v1 tells as well.
    pub fn take(&mut self) -> Option<u64> {
        match self {
            OomWatch::Eventfd { counter, folder } => {
                let count = counter.read().unwrap_or(0);
                files::read(folder, "memory.oom_control").ok().map(|_| count)
            }
            OomWatch::File { events, told } => {
                let now = kills(events).ok()?;
                Some(now.saturating_sub(std::mem::replace(told, now)))
            }
        }
    }
}
