//! Work that takes its process into other namespaces for good is done by a child, which the runtime process waits for.

use std::os::fd::OwnedFd;

use crate::error::{Call, Error, Result};
use crate::sys::clone::{Cloned, Parent, clone, exit_now};
use crate::sys::{channel, pidfd, socket};

const DONE: &[u8] = b"done";

/// Does `work` in a child of this process, and waits for it.
///
/// # Errors
/// Those of `work`; or the child was killed.
pub fn run(work: impl FnOnce() -> Result<()>) -> Result<()> {
    let (ours, theirs) = socket::seqpacket_pair()?;
    let Cloned::Parent { pidfd, .. } = clone(0, None, Parent::Caller)? else {
        drop(ours);
        let words = match work() {
            Ok(()) => DONE.to_vec(),
            Err(error) => error.to_wire(),
        };
        let _ = channel::send(&theirs, &words, &[] as &[OwnedFd]);
        exit_now(0)
    };
    drop(theirs);
    let answer = channel::receive(&ours).call(|| "recvmsg");
    pidfd::wait(&pidfd)?;
    match answer?.0 {
        words if words == DONE => Ok(()),
        words if words.is_empty() => Err(Error::new("the process that does it died")),
        words => Err(Error::from_wire(&words)),
    }
}
