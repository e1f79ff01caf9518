//! Seccomp's listener on its way to whoever listens. The child loads the filter and tells of the descriptor;
//! the runtime takes it, and sends it with the container's state (config-linux.md, "The Container Process
//! State"). Neither keeps it.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use serde_json::{Value, json};

use super::channel::Channel;
use crate::error::{Call, Error, Explain, Result};
use crate::plan::seccomp::{Filter, Handover, Listener};
use crate::sys::{pidfd, seccomp, socket};

/// How often the runtime looks whether the child has loaded the filter: it takes the kernel a few
/// milliseconds, and a child that fails is seen to end.
const PATIENCE: Duration = Duration::from_millis(1);

/// The child: loads the filter, whose descriptor is closed on exec.
///
/// # Errors
/// As [`seccomp::load`].
pub(super) fn load(channel: &Channel, filter: &Filter, handover: Handover) -> Result<OwnedFd> {
    if handover == Handover::Passed {
        let listener = seccomp::load_with_listener(&filter.program, filter.flags)?;
        channel.listener(None, Some(listener.as_fd()))?;
        return Ok(listener);
    }
    // The kernel takes the lowest free number. Telling it afterwards could wait for the listener for ever.
    let number = channel.next_number()?;
    channel.listener(Some(number), None)?;
    seccomp::load_with_listener(&filter.program, filter.flags)
}

/// The runtime: fetches the descriptor of that number, as soon as it is there.
///
/// # Errors
/// When the child ends first, or the kernel does not allow it.
pub(super) fn take(child: &OwnedFd, number: i32) -> Result<OwnedFd> {
    loop {
        match pidfd::get_fd(child, number) {
            Err(Errno::EBADF) if !pidfd::poll_exit(child, Some(PATIENCE))? => {}
            Err(Errno::EBADF) => return Err(Error::new("the child ended before it had loaded the filter")),
            result => return result.call(|| format!("pidfd_getfd({number})")),
        }
    }
}

/// The runtime: sends it, on a connection of its own that is closed then.
///
/// # Errors
/// When nobody listens.
pub(super) fn send(to: &Listener, fd: &OwnedFd, pid: i32, state: &[u8]) -> Result<()> {
    let place = || format!("linux.seccomp.listenerPath {}", to.path.display());
    let failed = |error: Error| Error::new(format!("failed to connect with seccomp agent: {error}"));
    let message = process_state(to, pid, state)?;
    let socket = socket::connect_unix(&to.path).map_err(failed).at(place)?;
    socket::send_fd(&socket, fd, message.as_bytes()).at(place)
}

fn process_state(to: &Listener, pid: i32, state: &[u8]) -> Result<String> {
    let state: Value = serde_json::from_slice(state).map_err(|error| Error::new(error.to_string()))?;
    let mut message =
        json!({"ociVersion": state["ociVersion"], "fds": ["seccompFd"], "pid": pid, "state": state});
    if let Some(metadata) = &to.metadata {
        message["metadata"] = json!(metadata);
    }
    Ok(message.to_string())
}
