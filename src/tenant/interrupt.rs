//! Signals that would end the runtime while a system is prepared or removed: held back and looked for, so
//! that what was made is removed first. The runtime process, no privilege. SIGKILL cannot be held back: the
//! next [`crate::tenant::workspace`] removes what it leaves.

use std::cell::Cell;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::error::{Call, Error, Result};

const SIGNALS: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// Holds the signals back as long as it lives.
pub struct Interrupt {
    before: SigSet,
    signals: SignalFd,
    caught: Cell<Option<u32>>,
}

impl Interrupt {
    /// Starts holding back SIGINT, SIGTERM, SIGHUP and SIGQUIT.
    ///
    /// # Errors
    /// The call that failed.
    pub fn hold() -> Result<Interrupt> {
        let set: SigSet = SIGNALS.into_iter().collect();
        let mut before = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), Some(&mut before))
            .call(|| "sigprocmask(SIG_BLOCK)")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&set, flags).call(|| "signalfd4")?;
        Ok(Interrupt { before, signals, caught: Cell::new(None) })
    }

    /// Fails once a signal has come.
    ///
    /// # Errors
    /// "interrupted by" the signal.
    pub fn check(&self) -> Result<()> {
        if self.caught.get().is_none()
            && let Ok(Some(info)) = self.signals.read_signal()
        {
            self.caught.set(Some(info.ssi_signo));
        }
        let Some(number) = self.caught.get() else { return Ok(()) };
        let signal = i32::try_from(number).ok().and_then(|number| Signal::try_from(number).ok());
        Err(Error::new(format!("interrupted by {}", signal.map_or("a signal", Signal::as_str))))
    }

    /// Waits until `what` is true of a descriptor, or it has failed.
    ///
    /// # Errors
    /// As [`Interrupt::check`], as soon as a signal comes; the call that failed.
    pub fn wait_for(&self, fd: impl AsFd, what: PollFlags) -> Result<()> {
        loop {
            self.check()?;
            let signals = PollFd::new(self.signals.as_fd(), PollFlags::POLLIN);
            let mut fds = [PollFd::new(fd.as_fd(), what), signals];
            match poll(&mut fds, PollTimeout::NONE) {
                Err(Errno::EINTR) => {}
                ready => drop(ready.call(|| "poll")?),
            }
            if fds[0].any().unwrap_or(true) {
                return Ok(());
            }
        }
    }

    /// The exit code that tells of the signal: 128 and its number.
    pub fn exit_code(&self) -> Option<i32> {
        self.caught.get().and_then(|number| i32::try_from(number).ok()).map(|number| 128 + number)
    }
}

impl Drop for Interrupt {
    /// The signals act again as before; one that is still waiting acts now.
    fn drop(&mut self) {
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.before), None);
    }
}
