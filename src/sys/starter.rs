//! The socket by which a created container is told to start: the init listens, `isolate start` connects.
//! A socket and not a FIFO, so that a program that merely reads the state folder can start nothing.

#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
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

/// Connects to `name` in the folder; `None` when nobody listens (any more).
///
/// # Errors
/// Everything else.
pub fn connect_in(folder: &impl AsRawFd, name: &str) -> Result<Option<OwnedFd>> {
    let socket = new_socket()?;
    match connect(socket.as_raw_fd(), &address(folder, name)?) {
        Ok(()) => Ok(Some(socket)),
        Err(Errno::ECONNREFUSED | Errno::ENOENT) => Ok(None),
        Err(errno) => Err(Error::sys(format!("connect({name:?})"), errno)),
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
