//! The one socket between the runtime and the child: whole messages, which may carry descriptors.

#![allow(unsafe_code)]

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

/// The most bytes of one message.
pub const LARGEST: usize = 16 << 10;

/// The most descriptors of one message: one for each cgroup hierarchy there can be, and some.
const MOST_DESCRIPTORS: usize = 64;

/// Sends one message.
///
/// # Errors
/// EPIPE or ECONNRESET when the other process is gone.
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[impl AsRawFd]) -> Result<(), Errno> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() { &rights[..0] } else { &rights[..] };
    let data = [IoSlice::new(bytes)];
    let socket = socket.as_fd().as_raw_fd();
    loop {
        match sendmsg::<()>(socket, &data, control, MsgFlags::MSG_NOSIGNAL, None) {
            Err(Errno::EINTR) => {}
            result => return result.map(drop),
        }
    }
}

/// Receives one message; empty when the other process has closed its end, or ended.
///
/// # Errors
/// The errno.
pub fn receive(socket: impl AsFd) -> Result<(Vec<u8>, Vec<OwnedFd>), Errno> {
    let mut bytes = vec![0; LARGEST];
    let mut control = nix::cmsg_space!([RawFd; MOST_DESCRIPTORS]);
    let socket = socket.as_fd().as_raw_fd();
    let mut data = [IoSliceMut::new(&mut bytes)];
    let message = loop {
        match recvmsg::<()>(socket, &mut data, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC) {
            // The other process ended with unread messages of ours. That is told once, and before its own last
            // words, which are still to be had; after them comes the end of file.
            Err(Errno::EINTR | Errno::ECONNRESET) => {}
            result => break result?,
        }
    };
    let mut fds = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = part {
            // SAFETY: the kernel has just made these descriptors for us; nobody else owns them.
            fds.extend(received.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    let length = message.bytes;
    bytes.truncate(length);
    Ok((bytes, fds))
}
