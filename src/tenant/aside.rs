//! Work that takes its process into other namespaces for good is done by a child, which the runtime process waits for.

use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::poll::PollFlags;

use crate::error::{Call, Error, Result};
use crate::sys::clone::{Cloned, Parent, clone, exit_now};
use crate::sys::{channel, pidfd, socket};
use crate::tenant::interrupt::Interrupt;

const DONE: &[u8] = b"done";

/// How long a child may take to put things in order when nobody waits for its work any more.
const GRACE: Duration = Duration::from_secs(3);

/// A child at work.
#[derive(Debug)]
pub struct Aside {
    socket: OwnedFd,
    pidfd: OwnedFd,
}

/// Does `work` in a child of this process, and waits for it.
///
/// # Errors
/// Those of `work`; or the child was killed.
pub fn run(work: impl FnOnce() -> Result<()>) -> Result<()> {
    begin((), work)?.0.finish()
}

/// Begins `work` in a child of this process, in which `ours`, such as our end of a pipe, is given up first.
///
/// # Errors
/// There can be no child.
pub fn begin<O>(ours: O, work: impl FnOnce() -> Result<()>) -> Result<(Aside, O)> {
    let (socket, theirs) = socket::seqpacket_pair()?;
    let Cloned::Parent { pidfd, .. } = clone(0, None, Parent::Caller)? else {
        drop((socket, ours));
        let words = match work() {
            Ok(()) => DONE.to_vec(),
            Err(error) => error.to_wire(),
        };
        let _ = channel::send(&theirs, &words, &[] as &[OwnedFd]);
        exit_now(0)
    };
    Ok((Aside { socket, pidfd }, ours))
}

impl Aside {
    /// Waits for its end, until a signal comes: then it has a moment, and is killed.
    ///
    /// # Errors
    /// As [`Aside::finish`].
    pub fn finish_unless(self, interrupt: &Interrupt) -> Result<()> {
        let interrupted = interrupt.wait_for(&self.pidfd, PollFlags::POLLIN).is_err();
        if interrupted && !pidfd::poll_exit(&self.pidfd, Some(GRACE))? {
            pidfd::send_signal(&self.pidfd, libc::SIGKILL)?;
        }
        self.finish()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Those of its work; or it was killed.
    pub fn finish(self) -> Result<()> {
        let answer = channel::receive(&self.socket).call(|| "recvmsg");
        pidfd::wait(&self.pidfd)?;
        match answer?.0 {
            words if words == DONE => Ok(()),
            words if words.is_empty() => Err(Error::new("the process that does it died")),
            words => Err(Error::from_wire(&words)),
        }
    }
}
