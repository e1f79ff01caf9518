//! The long life of a foreground `run` or `exec`: waits for the container's process, and until then
//! passes on signals, terminal bytes and readiness messages, and reaps orphans.
//!
//! The runtime process runs this, single-threaded, with the caller's privilege. One `poll` loop: no
//! handler, no thread. It never decides what happens to the container afterwards.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};

use super::notify::Relay;
use super::terminal::{self, Side, Terminal};
use crate::error::{Call, Error, Result};
use crate::log;
use crate::sys::pidfd;
use crate::sys::process::{self, Exit};

/// Whether the runtime reaps the container's orphans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subreaper {
    /// It becomes the reaper of its descendants, and reaps all that end.
    Yes,
    /// `--no-subreaper`: it reaps only the container's process.
    No,
}

/// Signals, kept back from the moment on at which a child could send one.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
    original: SigSet,
    subreaper: Subreaper,
}

impl Signals {
    /// Keeps all signals back for [`wait`], and becomes the subreaper if that is wished. Call it before
    /// the clone: a child that ends at once must find this done. They stay blocked, also in hooks and
    /// other children unless [`Signals::unblock_in_child`] is called there.
    ///
    /// # Errors
    /// When a call is refused (an outer seccomp filter).
    pub fn block_early(subreaper: Subreaper) -> Result<Signals> {
        process::keep_exit_statuses()?;
        let all = SigSet::all();
        let original = all.thread_swap_mask(SigmaskHow::SIG_SETMASK).call(|| "sigprocmask()")?;
        let fd = SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .call(|| "signalfd4()")?;
        if subreaper == Subreaper::Yes {
            process::become_subreaper()?;
        }
        Ok(Signals { fd, original, subreaper })
    }

    /// The mask from before: what a child goes on with.
    pub fn original(&self) -> &SigSet {
        &self.original
    }

    /// Sets that mask in a child, before its exec. Async-signal-safe.
    ///
    /// # Errors
    /// None that a kernel gives.
    pub fn unblock_in_child(&self) -> nix::Result<()> {
        self.original.thread_set_mask()
    }

    fn next(&self) -> Result<Option<siginfo>> {
        self.fd.read_signal().call(|| "read(signalfd)")
    }
}

/// The process that is waited for: a child of the caller, or one that the subreaper inherits.
#[derive(Debug, Clone, Copy)]
pub struct Init<'fd> {
    /// Its pid, as the caller sees it.
    pub pid: i32,
    /// A descriptor of it.
    pub pidfd: BorrowedFd<'fd>,
}

/// Waits until `init` has ended and, if there is a terminal, its last output has been copied; the caller's
/// terminal has its modes back then. Without a terminal the process has the caller's own streams, and
/// nothing is copied.
///
/// After the end of the init SIGHUP, SIGINT, SIGQUIT or SIGTERM give up on output that nobody takes.
///
/// # Errors
/// When the process is no child, or `poll` and its kin fail; the process may still run then.
pub fn wait(
    init: Init<'_>,
    terminal: Option<Terminal>,
    relay: Option<Relay>,
    signals: &Signals,
) -> Result<Exit> {
    // The terminal is restored by being dropped here, whatever the result.
    Foreground { init, terminal, relay, signals, ended: None, gives_up: false }.run()
}

struct Foreground<'a> {
    init: Init<'a>,
    terminal: Option<Terminal>,
    relay: Option<Relay>,
    signals: &'a Signals,
    ended: Option<Exit>,
    gives_up: bool,
}

/// Something that `poll` has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Signal,
    End,
    Message,
    Terminal(Side),
}

impl Foreground<'_> {
    fn run(&mut self) -> Result<Exit> {
        loop {
            // Taken before the wait: only a wait that began after the end has seen the last output.
            let ended_before = self.ended;
            let events = self.poll()?;
            if events.contains(&Event::Signal) {
                self.take_signals()?;
            }
            if events.contains(&Event::End) && self.ended.is_none() {
                self.ended = Some(pidfd::wait(self.init.pidfd)?);
            }
            if events.contains(&Event::Message) {
                self.take_message();
            }
            let is_drained = self.copy(&events, ended_before.is_some())?;
            match ended_before {
                Some(exit) if is_drained || self.gives_up => return Ok(exit),
                _ => {}
            }
        }
    }

    fn poll(&self) -> Result<Vec<Event>> {
        let mut events = Vec::with_capacity(6);
        let mut fds = Vec::with_capacity(6);
        let mut add = |event, fd, flags| {
            events.push(event);
            fds.push(PollFd::new(fd, flags));
        };
        add(Event::Signal, self.signals.fd.as_fd(), PollFlags::POLLIN);
        if self.ended.is_none() {
            add(Event::End, self.init.pidfd, PollFlags::POLLIN);
        }
        if let Some(relay) = &self.relay {
            add(Event::Message, relay.as_fd(), PollFlags::POLLIN);
        }
        for (side, fd, flags) in self.terminal.iter().flat_map(|terminal| terminal.interests(self.state())) {
            add(Event::Terminal(side), fd, flags);
        }
        while let Err(errno) = poll(&mut fds, pidfd::poll_timeout(self.deadline())) {
            if errno != Errno::EINTR {
                return Err(Error::sys("poll()", errno));
            }
        }
        let found = events.into_iter().zip(&fds).filter(|(_, fd)| fd.any().unwrap_or(true));
        Ok(found.map(|(event, _)| event).collect())
    }

    fn state(&self) -> terminal::Init {
        if self.ended.is_some() { terminal::Init::HasEnded } else { terminal::Init::Runs }
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.terminal {
            Some(terminal) => terminal.deadline(self.state()),
            None => self.ended.map(|_| Instant::now()),
        }
    }

    /// Copies; whether nothing is left to copy.
    fn copy(&mut self, events: &[Event], had_ended: bool) -> Result<bool> {
        let Some(terminal) = &mut self.terminal else { return Ok(true) };
        let side = |event: &Event| if let Event::Terminal(side) = event { Some(*side) } else { None };
        let ready: Vec<Side> = events.iter().filter_map(side).collect();
        let init = if had_ended { terminal::Init::HasEnded } else { terminal::Init::Runs };
        terminal.copy(&ready, init)?;
        Ok(terminal.is_drained(&ready))
    }

    fn take_message(&mut self) {
        // The container does not depend on being heard.
        if let Some(Err(error)) = self.relay.as_mut().map(Relay::on_readable) {
            log::warning(format_args!(
                "readiness messages of the container are no longer passed on: {error}"
            ));
            self.relay = None;
        }
    }

    fn take_signals(&mut self) -> Result<()> {
        while let Some(signal) = self.signals.next()? {
            let number = signal.ssi_signo.cast_signed();
            match number {
                libc::SIGCHLD => self.reap()?,
                libc::SIGWINCH => self.terminal.iter().for_each(Terminal::copy_size),
                libc::SIGURG => {}
                // From our own write to a closed pipe: blocked, so it is kept although it is ignored.
                libc::SIGPIPE if signal.ssi_pid == std::process::id() => {}
                _ => self.pass_on(number)?,
            }
        }
        Ok(())
    }

    fn pass_on(&mut self, number: i32) -> Result<()> {
        if number == libc::SIGCONT
            && let Some(terminal) = &mut self.terminal
        {
            terminal.come_to_the_front()?;
        }
        if self.ended.is_some() {
            let ends = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];
            self.gives_up |= ends.contains(&number);
            return Ok(());
        }
        match pidfd::send_signal(self.init.pidfd, number) {
            // It has just ended; the loop is about to see that.
            Err(error) if error.errno() == Some(Errno::ESRCH) => {}
            Err(error) => log::warning(format_args!("signal {number} did not reach the container: {error}")),
            Ok(()) => {}
        }
        Ok(())
    }

    /// One SIGCHLD may stand for many children.
    fn reap(&mut self) -> Result<()> {
        if self.signals.subreaper == Subreaper::No {
            return Ok(());
        }
        while let Some((pid, exit)) = process::reap_any()? {
            if pid == self.init.pid {
                self.ended = Some(exit);
            }
        }
        Ok(())
    }
}
