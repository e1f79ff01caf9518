//! What stands still for a copy goes on again, whatever becomes of the process that copies: a child of it waits for its
//! end, or for too long a time, and then sets free what was frozen. With the caller's privilege.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::{Call, Error, Result};
use crate::sys::clone::{Cloned, Parent, clone, exit_now};
use crate::sys::pidfd;

/// How long anything may stand still.
pub const LIMIT: Duration = Duration::from_secs(10);

/// Watches until it is ended.
#[derive(Debug)]
pub struct Watchdog {
    alive: std::io::PipeWriter,
    pidfd: OwnedFd,
    since: Instant,
}

impl Watchdog {
    /// Begins to watch; `set_free` is what the child does when this process dies or takes too long.
    ///
    /// # Errors
    /// The call that failed.
    pub fn start(set_free: impl FnOnce()) -> Result<Watchdog> {
        let (heard, alive) = std::io::pipe().call(|| "pipe")?;
        let Cloned::Parent { pidfd, .. } = clone(0, None, Parent::Caller)? else {
            drop(alive);
            // What ends its master from a terminal must not end it as well.
            let _ = nix::unistd::setsid();
            let mut ended = [PollFd::new(heard.as_fd(), PollFlags::POLLIN)];
            let timeout = PollTimeout::try_from(LIMIT).unwrap_or(PollTimeout::ZERO);
            let _ = poll(&mut ended, timeout);
            let told = ended[0].revents().is_some_and(|events| events.contains(PollFlags::POLLIN));
            if !told {
                set_free();
            }
            exit_now(0)
        };
        Ok(Watchdog { alive, pidfd, since: Instant::now() })
    }

    /// All goes on again by the caller's own doing; how long it stood still.
    ///
    /// # Errors
    /// It was too long: the watchdog was faster, and a copy is not of one moment.
    pub fn end(mut self) -> Result<Duration> {
        let took = self.since.elapsed();
        // It may have ended already.
        let _ = self.alive.write_all(b".");
        drop(self.alive);
        pidfd::wait(&self.pidfd)?;
        match took < LIMIT {
            true => Ok(took),
            false => {
                Err(Error::new(format!("it stood still for {} seconds and was set free", LIMIT.as_secs()))
                    .hint("stop the tenant first, or keep less on its disk"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn freed(work: impl FnOnce(Watchdog)) -> bool {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("free");
        let watchdog = Watchdog::start(|| drop(std::fs::write(&mark, ""))).unwrap();
        work(watchdog);
        mark.exists()
    }

    #[test]
    fn it_acts_only_when_its_master_has_gone() {
        assert!(!freed(|watchdog| assert!(watchdog.end().unwrap() < LIMIT)));
        assert!(freed(|watchdog| {
            let Watchdog { alive, pidfd, .. } = watchdog;
            drop(alive);
            pidfd::wait(&pidfd).unwrap();
        }));
    }
}
