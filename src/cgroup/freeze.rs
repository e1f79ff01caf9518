//! Stops and resumes all processes of a container at once. The runtime process; needs the right to write
//! to the container's freezer. What cannot be frozen completely is thawed again.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::layout::Version;
use super::{Cgroup, OpenGroup, SavedGroup, files};
use crate::error::{Call, Error, Kind, Result};

/// How long a container may take to freeze: a process in uninterruptible sleep holds it up.
const PATIENCE: Duration = Duration::from_secs(10);

impl Cgroup {
    /// Freezes the container; returns once every process has stopped.
    ///
    /// # Errors
    /// When there is no freezer, or not all processes have stopped within ten seconds; then all run again.
    pub fn freeze(&self) -> Result<()> {
        self.freeze_within(PATIENCE)
    }

    /// [`Cgroup::freeze`] with another bound.
    pub(super) fn freeze_within(&self, patience: Duration) -> Result<()> {
        let group = self.freezer()?;
        let deadline = Instant::now() + patience;
        let result = match group.version {
            Version::V1 => freeze_v1(group, deadline),
            Version::V2 => freeze_v2(group, deadline),
        };
        match result {
            Ok(true) => Ok(()),
            Ok(false) => {
                let _ = write_state(group, State::Thawed);
                Err(Error::new(format!("not all processes froze within {} ms", patience.as_millis()))
                    .hint("a process may be in uninterruptible sleep; all of them run again"))
            }
            Err(errno) => {
                let _ = write_state(group, State::Thawed);
                Err(Error::sys(format!("freezing {:?}", group.dir), errno))
            }
        }
    }

    /// Lets the container's processes run again. Processes of a sub-cgroup that the container froze itself
    /// stay frozen.
    ///
    /// # Errors
    /// When there is no freezer or it cannot be written.
    pub fn thaw(&self) -> Result<()> {
        let group = self.freezer()?;
        write_state(group, State::Thawed).call(|| format!("thawing {:?}", group.dir))
    }

    /// Whether the container is frozen or freezing; `false` when there is no freezer or no cgroup any more.
    ///
    /// # Errors
    /// When the freezer exists and cannot be read.
    pub fn is_frozen(&self) -> Result<bool> {
        let Ok(group) = self.freezer() else { return Ok(false) };
        let file = state_file(group.version);
        let text = files::present(files::read(&group.fd, file));
        let text = text.call(|| format!("read({:?})", group.dir.join(file)))?;
        Ok(text.is_some_and(|text| is_frozen_state(&text)))
    }

    fn freezer(&self) -> Result<&OpenGroup> {
        self.v1("freezer").or(self.unified()).ok_or_else(|| {
            Error::new("the container has no cgroup that can be frozen")
                .hint("it needs a v1 freezer or a delegated cgroup v2")
                .kind(Kind::Unsupported)
        })
    }
}

impl SavedGroup {
    /// Whether this is the group that freezes a container, were there no other: v1 has one for it.
    pub fn is_v1_freezer(&self) -> bool {
        self.version == Version::V1 && self.hierarchy.split(',').any(|name| name == "freezer")
    }

    /// [`Cgroup::is_frozen`] of this group alone, which is not kept open.
    ///
    /// # Errors
    /// When the file is there and cannot be read, or is none of a cgroup file system.
    pub fn is_frozen(&self) -> Result<bool> {
        let path = self.dir.join(state_file(self.version));
        let text = files::present(files::read_top(&path)).call(|| format!("read({path:?})"))?;
        Ok(text.is_some_and(|text| is_frozen_state(&text)))
    }
}

fn state_file(version: Version) -> &'static str {
    match version {
        Version::V1 => "freezer.state",
        Version::V2 => "cgroup.freeze",
    }
}

fn is_frozen_state(text: &str) -> bool {
    ["FROZEN", "FREEZING", "1"].contains(&text.trim())
}

#[derive(Clone, Copy)]
enum State {
    Frozen,
    Thawed,
}

fn write_state(group: &OpenGroup, state: State) -> nix::Result<()> {
    write_state_at(&group.fd, group.version, state)
}

fn write_state_at(folder: &OwnedFd, version: Version, state: State) -> nix::Result<()> {
    let (file, value) = match (version, state) {
        (Version::V1, State::Frozen) => ("freezer.state", "FROZEN"),
        (Version::V1, State::Thawed) => ("freezer.state", "THAWED"),
        (Version::V2, State::Frozen) => ("cgroup.freeze", "1"),
        (Version::V2, State::Thawed) => ("cgroup.freeze", "0"),
    };
    files::write(folder, file, value)
}

/// Thaws a v1 freezer and everything below it: a frozen process does not die.
pub(super) fn thaw_tree(group: &OpenGroup) {
    let _ = files::walk(&group.fd, |folder| {
        let _ = write_state_at(folder, group.version, State::Thawed);
        Ok(())
    });
}

/// Whether something above the container keeps it frozen (v1; on v2 the frozen can be killed).
pub(super) fn is_held_from_above(group: &OpenGroup) -> bool {
    files::read(&group.fd, "freezer.parent_freezing").is_ok_and(|text| text.trim() == "1")
}

/// KERNEL: v1 stays FREEZING when a process forked or was busy meanwhile, until FROZEN is written again;
/// now and then it takes a short thaw to get a process out of a place where it cannot be frozen.
fn freeze_v1(group: &OpenGroup, deadline: Instant) -> nix::Result<bool> {
    for attempt in 1u32.. {
        write_state(group, State::Frozen)?;
        if files::read(&group.fd, "freezer.state")?.trim() == "FROZEN" {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        if attempt % 100 == 0 {
            write_state(group, State::Thawed)?;
        }
        std::thread::sleep(Duration::from_micros(u64::from(attempt.min(100)) * 100));
    }
    Ok(false)
}

fn freeze_v2(group: &OpenGroup, deadline: Instant) -> nix::Result<bool> {
    let events = files::open_file(&group.fd, "cgroup.events", OFlag::O_RDONLY)?;
    write_state(group, State::Frozen)?;
    loop {
        if files::keyed(&files::read(&group.fd, "cgroup.events")?, "frozen") == Some(1) {
            return Ok(true);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        // A change between the read and the poll wakes nobody: do not trust it for longer than this.
        wait(&events, left.min(Duration::from_millis(20)))?;
    }
}

/// Waits until a file of the kernel says that it has changed, or the time is over.
fn wait(file: &OwnedFd, time: Duration) -> nix::Result<()> {
    let timeout = PollTimeout::try_from(time.as_millis().max(1)).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(file.as_fd(), PollFlags::POLLPRI)], timeout) {
        Err(Errno::EINTR) => Ok(()),
        result => result.map(drop),
    }
}
