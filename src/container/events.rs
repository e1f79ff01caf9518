//! `events`: what happens in a container, until it ends. The runtime process, with the caller's privilege, for
//! as long as the container runs; changes nothing.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};

use super::statistics::{Source, uncounted};
use super::{Runtime, Usage};
use crate::cgroup::OomWatch;
use crate::error::{Error, Explain, Result};
use crate::ids::ContainerId;
use crate::sys::pidfd::poll_timeout;

/// One thing that has happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// An interval is over.
    Statistics(Box<Usage>),
    /// The OOM killer was at work.
    OutOfMemory,
}

/// Tells of what happens in the container, and of its statistics every `interval`, until its init has ended or
/// `tell` says `false`. An OOM that ended the init is told before the end.
///
/// # Errors
/// When it does not exist, has stopped, or has no cgroup.
pub fn events(
    runtime: &Runtime,
    id: &ContainerId,
    interval: Duration,
    tell: &mut dyn FnMut(Event) -> Result<bool>,
) -> Result<()> {
    let doing = || format!("cannot watch container '{id}'");
    let source = Source::open(runtime, id).doing(doing)?;
    if !source.has_cgroup() {
        return Err(uncounted().doing(doing()));
    }
    let mut watch = source.cgroup.watch_oom().doing(doing)?;
    let mut deadline = Instant::now().checked_add(interval);
    loop {
        let has_ended = wait(&source, watch.as_ref(), deadline).doing(doing)?;
        if !tell_oom(&mut watch, tell)? || has_ended {
            return Ok(());
        }
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            if !tell(Event::Statistics(Box::new(source.read())))? {
                return Ok(());
            }
            deadline = Instant::now().checked_add(interval);
        }
    }
}

/// Waits for the init's end, the OOM killer or the deadline: whether the init has ended.
fn wait(source: &Source, watch: Option<&OomWatch>, deadline: Option<Instant>) -> Result<bool> {
    let mut fds = vec![PollFd::new(source.init.as_fd(), PollFlags::POLLIN)];
    fds.extend(watch.map(OomWatch::poll_for).map(|(fd, flags)| PollFd::new(fd, flags)));
    match poll(&mut fds, poll_timeout(deadline)) {
        Ok(_) | Err(Errno::EINTR) => {
            Ok(fds.first().and_then(PollFd::revents).is_some_and(|seen| !seen.is_empty()))
        }
        Err(errno) => Err(Error::sys("poll()", errno)),
    }
}

/// Whether to go on.
fn tell_oom(watch: &mut Option<OomWatch>, tell: &mut dyn FnMut(Event) -> Result<bool>) -> Result<bool> {
    let Some(count) = watch.as_mut().map(OomWatch::take) else { return Ok(true) };
    // A cgroup that is gone has nothing to tell any more, and would be ready for ever.
    let Some(count) = count else {
        *watch = None;
        return Ok(true);
    };
    for _ in 0..count {
        if !tell(Event::OutOfMemory)? {
            return Ok(false);
        }
    }
    Ok(true)
}
