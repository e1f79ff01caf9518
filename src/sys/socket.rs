//! Unix sockets: connecting to a caller's, sending and receiving descriptors.
//!
//! The runtime process runs this with the caller's privilege; both ends of a pair may also pass into the
//! child. Paths of any length work: `sockaddr_un` holds 108 bytes, so a longer one is reached through a
//! descriptor and `/proc/self/fd`. All descriptors close on exec.

#![allow(unsafe_code)]

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, bind,
    connect, recvmsg, sendmsg, setsockopt, socket, socketpair, sockopt,
};
use nix::sys::stat::Mode;

use crate::error::{Call, Error, Result};

/// The most descriptors one message can carry (the kernel's SCM_MAX_FD).
const MOST_DESCRIPTORS: usize = 253;

/// Bytes of a path that fit an address, its final zero not counted.
const LONGEST_PATH: usize = 107;

fn new_socket(kind: SockType) -> Result<OwnedFd> {
    socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None).call(|| "socket(AF_UNIX)")
}

/// Connects to the stream socket at `path`.
///
/// # Errors
/// When nobody listens there.
pub fn connect_unix(path: &Path) -> Result<OwnedFd> {
    let socket = new_socket(SockType::Stream)?;
    connect_to_path(&socket, path)?;
    Ok(socket)
}

/// The same, waiting no longer than `patience` for one whose queue of callers is full.
///
/// # Errors
/// When nobody listens there; EAGAIN when the time is over.
pub fn connect_unix_within(path: &Path, patience: std::time::Duration) -> Result<OwnedFd> {
    let socket = new_socket(SockType::Stream)?;
    let time = nix::sys::time::TimeVal::new(patience.as_secs().cast_signed(), 0);
    setsockopt(&socket, sockopt::SendTimeout, &time).call(|| "setsockopt(SO_SNDTIMEO)")?;
    connect_to_path(&socket, path)?;
    Ok(socket)
}

/// A datagram socket whose messages go to the socket at `path`.
///
/// # Errors
/// When there is none.
pub fn connect_datagram(path: &Path) -> Result<OwnedFd> {
    let socket = new_socket(SockType::Datagram)?;
    connect_to_path(&socket, path)?;
    Ok(socket)
}

/// The same for a name (without the leading zero) in the abstract namespace of our network namespace.
///
/// # Errors
/// When there is none, or the name has more than 107 bytes.
pub fn connect_datagram_abstract(name: &[u8]) -> Result<OwnedFd> {
    let call = || format!("connect(\"@{}\")", name.escape_ascii());
    let socket = new_socket(SockType::Datagram)?;
    let address = UnixAddr::new_abstract(name).call(call)?;
    connect(socket.as_raw_fd(), &address).call(call)?;
    Ok(socket)
}

/// An O_PATH descriptor of the socket itself stands for the long path, so that the length of its last
/// component does not matter either.
fn connect_to_path(socket: &OwnedFd, path: &Path) -> Result<()> {
    let call = || format!("connect({path:?})");
    if path.as_os_str().as_bytes().contains(&0) {
        return Err(Error::new(format!("{path:?} is no path: it holds a zero byte")));
    }
    if path.as_os_str().len() <= LONGEST_PATH {
        return UnixAddr::new(path).and_then(|address| connect(socket.as_raw_fd(), &address)).call(call);
    }
    let place = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).call(call)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", place.as_raw_fd()));
    UnixAddr::new(&short).and_then(|address| connect(socket.as_raw_fd(), &address)).call(call)
}

/// Makes a datagram socket at `path`, which must not exist; its mode is 0777 without the umask.
///
/// # Errors
/// EADDRINUSE when something lies there; ENAMETOOLONG when the last component alone is too long.
pub fn bind_datagram(path: &Path) -> Result<OwnedFd> {
    let call = || format!("bind({path:?})");
    let socket = new_socket(SockType::Datagram)?;
    if path.as_os_str().len() <= LONGEST_PATH {
        UnixAddr::new(path).and_then(|address| bind(socket.as_raw_fd(), &address)).call(call)?;
        return Ok(socket);
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::sys(call(), Errno::EINVAL));
    };
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let folder = open(folder, flags, Mode::empty()).call(call)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
    UnixAddr::new(&short).and_then(|address| bind(socket.as_raw_fd(), &address)).call(call)?;
    Ok(socket)
}

/// A connected pair that keeps the limits of messages, and sees the death of the other end.
///
/// # Errors
/// EMFILE, ENFILE.
pub fn seqpacket_pair() -> Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .call(|| "socketpair(AF_UNIX, SOCK_SEQPACKET)")
}

/// Sends one message: `payload` (at least one byte, or a stream would drop the descriptor) and `fd`.
///
/// # Errors
/// EPIPE when the other end is closed; no signal comes with it.
pub fn send_fd(socket: impl AsFd, fd: impl AsFd, payload: &[u8]) -> Result<()> {
    if payload.is_empty() {
        return Err(Error::new("a descriptor cannot be sent without a byte of payload"));
    }
    let fds = [fd.as_fd().as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&fds)];
    let parts = [IoSlice::new(payload)];
    loop {
        let socket = socket.as_fd().as_raw_fd();
        match sendmsg::<()>(socket, &parts, &rights, MsgFlags::MSG_NOSIGNAL, None) {
            Err(Errno::EINTR) => {}
            Ok(sent) if sent < payload.len() => {
                return Err(Error::new("sendmsg(SCM_RIGHTS) sent only a part of the message"));
            }
            result => return result.map(drop).call(|| "sendmsg(SCM_RIGHTS)"),
        }
    }
}

/// Receives one message of at most `limit` bytes that carries exactly one descriptor; the payload too.
///
/// # Errors
/// When the other end is closed, or the message carries none or several (which are closed then).
pub fn recv_fd(socket: impl AsFd, limit: usize) -> Result<(OwnedFd, Vec<u8>)> {
    let (payload, mut fds) = receive(socket.as_fd().as_raw_fd(), limit)?;
    match (fds.pop(), fds.is_empty()) {
        (Some(fd), true) => Ok((fd, payload)),
        (Some(_), false) => Err(Error::new("recvmsg(SCM_RIGHTS): more than one descriptor came")),
        (None, _) if payload.is_empty() => Err(Error::new("recvmsg(SCM_RIGHTS): the other end is closed")),
        (None, _) => Err(Error::new("recvmsg(SCM_RIGHTS): the message carries no descriptor")),
    }
}

fn receive(socket: RawFd, limit: usize) -> Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut payload = vec![0; limit];
    // Room for all that can come: what does not fit would be closed, but part of it might stay unseen.
    let mut control = nix::cmsg_space!([RawFd; MOST_DESCRIPTORS]);
    let (count, fds) = loop {
        let mut parts = [IoSliceMut::new(&mut payload)];
        match recvmsg::<()>(socket, &mut parts, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::sys("recvmsg(SCM_RIGHTS)", errno)),
            Ok(message) => {
                let messages = message.cmsgs().call(|| "recvmsg(SCM_RIGHTS)")?;
                break (message.bytes, messages.flat_map(descriptors).collect());
            }
        }
    };
    payload.truncate(count);
    Ok((payload, fds))
}

fn descriptors(message: ControlMessageOwned) -> Vec<OwnedFd> {
    let ControlMessageOwned::ScmRights(fds) = message else { return Vec::new() };
    let own = |fd| {
        // SAFETY: the kernel has just put this descriptor into our table, and nobody else knows it.
        unsafe { OwnedFd::from_raw_fd(fd) }
    };
    fds.into_iter().map(own).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::unix::net::{UnixDatagram, UnixListener};

    /// A folder whose path is far longer than an address.
    fn deep_folder(base: &Path) -> PathBuf {
        let deep = (0..4).fold(base.to_owned(), |path, _| path.join("x".repeat(60)));
        std::fs::create_dir_all(&deep).unwrap();
        deep
    }

    #[test]
    fn a_descriptor_arrives_with_its_payload_and_closes_on_exec() {
        let (one, other) = seqpacket_pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"content").unwrap();
        send_fd(&one, &file, b"/dev/ptmx").unwrap();
        let (fd, payload) = recv_fd(&other, 64).unwrap();
        assert_eq!(payload, b"/dev/ptmx");
        let flags = nix::fcntl::fcntl(&fd, nix::fcntl::FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
        let mut text = String::new();
        let mut received = File::from(fd);
        std::io::Seek::rewind(&mut received).unwrap();
        received.read_to_string(&mut text).unwrap();
        assert_eq!(text, "content");
    }

    #[test]
    fn a_message_without_or_with_two_descriptors_is_refused() {
        let (one, other) = seqpacket_pair().unwrap();
        nix::unistd::write(&one, b"x").unwrap();
        let text = recv_fd(&other, 8).unwrap_err().to_string();
        assert_eq!(text, "recvmsg(SCM_RIGHTS): the message carries no descriptor");
        let fds = [one.as_raw_fd(), one.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&fds)];
        sendmsg::<()>(one.as_raw_fd(), &[IoSlice::new(b"x")], &rights, MsgFlags::empty(), None).unwrap();
        let text = recv_fd(&other, 8).unwrap_err().to_string();
        assert_eq!(text, "recvmsg(SCM_RIGHTS): more than one descriptor came");
    }

    #[test]
    fn a_closed_end_is_an_error_on_either_side_and_no_signal() {
        let (one, other) = seqpacket_pair().unwrap();
        drop(other);
        assert_eq!(send_fd(&one, &one, b"x").unwrap_err().errno(), Some(Errno::EPIPE));
        assert!(recv_fd(&one, 8).is_err());
    }

    #[test]
    fn sockets_at_paths_longer_than_an_address_are_reached() {
        let folder = tempfile::tempdir().unwrap();
        let path = deep_folder(folder.path()).join("y".repeat(200));
        let short = folder.path().join("s");
        let listener = UnixListener::bind(&short).unwrap();
        std::fs::rename(&short, &path).unwrap();
        let client = connect_unix(&path).unwrap();
        nix::unistd::write(&client, b"hello").unwrap();
        drop(client);
        let mut text = String::new();
        listener.accept().unwrap().0.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
    }

    #[test]
    fn a_path_of_exactly_108_bytes_is_reached_too() {
        let folder = tempfile::tempdir().unwrap();
        let short = folder.path().join("s");
        let listener = UnixListener::bind(&short).unwrap();
        for length in [106, 107, 108, 109] {
            let used = folder.path().as_os_str().len() + 1;
            let path = folder.path().join("z".repeat(length - used));
            std::fs::hard_link(&short, &path).unwrap();
            assert!(connect_unix(&path).is_ok(), "{length}");
            listener.accept().unwrap();
        }
    }

    #[test]
    fn datagram_sockets_are_made_at_long_paths() {
        let folder = tempfile::tempdir().unwrap();
        let path = deep_folder(folder.path()).join("notify.sock");
        let socket = UnixDatagram::from(bind_datagram(&path).unwrap());
        assert_eq!(bind_datagram(&path).unwrap_err().errno(), Some(Errno::EADDRINUSE));
        UnixDatagram::from(connect_datagram(&path).unwrap()).send(b"READY=1").unwrap();
        let mut buffer = [0; 16];
        assert_eq!(socket.recv(&mut buffer).unwrap(), 7);
    }

    #[test]
    fn nobody_listening_is_named_by_errno() {
        let error = connect_unix(Path::new("/nonexistent/socket")).unwrap_err();
        assert_eq!(error.to_string(), "connect(\"/nonexistent/socket\"): ENOENT");
        assert!(connect_unix(Path::new("a\0b")).is_err());
        assert!(connect_datagram_abstract(&[b'x'; 300]).is_err());
    }
}
