//! The socket by which a created container is told to start: the init listens, `isolate start` connects.
//! A socket and not a FIFO, so that a program that merely reads the state folder can start nothing.

#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, connect, listen, socket,
};

use crate::error::{Call, Error, Result};

fn new_socket() -> Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).call(|| "socket(AF_UNIX)")
}

/// The address of a file in an open folder: short, however deep the folder lies.
fn address(folder: &impl AsRawFd, name: &str) -> Result<UnixAddr> {
    let path = format!("/proc/self/fd/{}/{name}", folder.as_raw_fd());
    UnixAddr::new(Path::new(&path)).call(|| format!("sockaddr_un({path:?})"))
}

/// Listens on `name` in the folder.
///
/// # Errors
/// EADDRINUSE when it is there already.
pub fn listen_in(folder: &impl AsRawFd, name: &str) -> Result<OwnedFd> {
    let socket = new_socket()?;
    bind(socket.as_raw_fd(), &address(folder, name)?).call(|| format!("bind({name:?})"))?;
    let backlog = Backlog::new(16).call(|| "listen")?;
    listen(&socket, backlog).call(|| format!("listen({name:?})"))?;
    Ok(socket)
}

/// What connecting found.
#[derive(Debug)]
pub enum Listener {
    /// Nobody listens (any more).
    Gone,
    /// Somebody listens, who has not answered so many others that there is no room: it is stopped or frozen.
    Busy,
    /// A connection.
    Connected(OwnedFd),
}

/// Connects to `name` in the folder, without waiting.
///
/// # Errors
/// What is neither of the findings.
pub fn connect_in(folder: &impl AsRawFd, name: &str) -> Result<Listener> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).call(|| "socket(AF_UNIX)")?;
    match connect(socket.as_raw_fd(), &address(folder, name)?) {
        Ok(()) => {
            // From here on reading waits.
            fcntl(&socket, FcntlArg::F_SETFL(OFlag::empty())).call(|| "fcntl(F_SETFL)")?;
            Ok(Listener::Connected(socket))
        }
        Err(Errno::ECONNREFUSED | Errno::ENOENT) => Ok(Listener::Gone),
        Err(Errno::EAGAIN) => Ok(Listener::Busy),
        Err(errno) => Err(Error::sys(format!("connect({name:?})"), errno)),
    }
}

/// Whether something can be read from a connection within a while: somebody who connects and says nothing
/// must not keep others out.
///
/// # Errors
/// The call's.
pub fn has_word(connection: &OwnedFd, patience: Duration) -> Result<bool> {
    let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
    let mut polled = [PollFd::new(connection.as_fd(), PollFlags::POLLIN)];
    match poll(&mut polled, timeout) {
        Ok(count) => Ok(count > 0),
        Err(Errno::EINTR) => Ok(false),
        Err(errno) => Err(Error::sys("poll(connection)", errno)),
    }
}

/// Waits for somebody to connect.
///
/// # Errors
/// The call's.
pub fn accept(listener: &impl AsRawFd) -> Result<OwnedFd> {
    loop {
        match accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
            // SAFETY: accept4 returned a new descriptor that nobody else owns.
            Ok(fd) => return Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
            Err(Errno::EINTR | Errno::ECONNABORTED) => {}
            Err(errno) => return Err(Error::sys("accept4", errno)),
        }
    }
}
