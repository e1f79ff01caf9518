//! A seccomp agent: listens as `linux.seccomp.listenerPath` says, and answers the calls it is told of
//! (seccomp_unotify(2)).
#![allow(unsafe_code)]

use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use serde_json::Value;

/// One `struct seccomp_notif` and its answer are 80 and 24 bytes on every kernel that has them.
const NOTIFICATION: usize = 80;
const ANSWER: usize = 24;

nix::ioctl_readwrite!(receive_notification, b'!', 0, [u8; NOTIFICATION]);
nix::ioctl_readwrite!(send_answer, b'!', 1, [u8; ANSWER]);

/// What an agent does with a call.
#[derive(Clone, Copy)]
pub enum Answer {
    /// The kernel carries it out.
    Continue,
    /// It fails with this errno.
    Fail(i32),
}

/// An agent on a socket.
pub struct Agent {
    /// Where it listens.
    pub path: PathBuf,
    thread: Option<JoinHandle<(Value, bool)>>,
}

impl Agent {
    /// Waits for one connection, and then answers all calls with the same until the filter is gone.
    pub fn listen(folder: &Path, answer: Answer) -> Agent {
        let path = folder.join("agent.sock");
        let socket = UnixListener::bind(&path).unwrap();
        let thread = std::thread::spawn(move || {
            if !wait_for(&socket) {
                return (Value::Null, false);
            }
            let (connection, _) = socket.accept().unwrap();
            let (fd, message, is_closed) = receive(connection);
            answer_all(&fd, answer);
            (message, is_closed)
        });
        Agent { path, thread: Some(thread) }
    }

    /// The container process state that came, and whether the connection was closed after it.
    pub fn heard(mut self) -> (Value, bool) {
        self.thread.take().unwrap().join().unwrap()
    }
}

fn wait_for(fd: &impl std::os::fd::AsFd) -> bool {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    let limit = PollTimeout::try_from(Duration::from_secs(60)).unwrap();
    poll(&mut fds, limit).unwrap() > 0
        && fds[0].revents().is_some_and(|events| events.contains(PollFlags::POLLIN))
}

fn receive(mut connection: UnixStream) -> (OwnedFd, Value, bool) {
    let mut bytes = vec![0; 65536];
    let mut control = nix::cmsg_space!([RawFd; 4]);
    let (length, fds) = {
        let mut parts = [std::io::IoSliceMut::new(&mut bytes)];
        let message =
            recvmsg::<()>(connection.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC)
                .unwrap();
        let mut fds = Vec::new();
        for part in message.cmsgs().unwrap() {
            if let ControlMessageOwned::ScmRights(received) = part {
                fds.extend(received);
            }
        }
        (message.bytes, fds)
    };
    bytes.truncate(length);
    connection.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut rest = Vec::new();
    let is_closed = connection.read_to_end(&mut rest).is_ok();
    bytes.extend(rest);
    assert_eq!(fds.len(), 1, "exactly one descriptor comes");
    // SAFETY: the kernel has just made this descriptor for us.
    let fd = unsafe { OwnedFd::from_raw_fd(fds[0]) };
    (fd, serde_json::from_slice(&bytes).unwrap(), is_closed)
}

fn answer_all(fd: &OwnedFd, answer: Answer) {
    // The end of all who have the filter is POLLHUP without POLLIN.
    while wait_for(fd) {
        let mut call = [0; NOTIFICATION];
        // SAFETY: the kernel writes one notification, for which there is room.
        if unsafe { receive_notification(fd.as_raw_fd(), &mut call) }.is_err() {
            continue;
        }
        let mut reply = [0; ANSWER];
        reply[..8].copy_from_slice(&call[..8]);
        match answer {
            Answer::Continue => reply[20..24].copy_from_slice(&1_u32.to_ne_bytes()),
            Answer::Fail(errno) => reply[16..20].copy_from_slice(&(-errno).to_ne_bytes()),
        }
        // SAFETY: the kernel reads one answer. The caller may be gone by now.
        let _ = unsafe { send_answer(fd.as_raw_fd(), &mut reply) };
    }
}

/// The descriptors that a process holds on filters that notify.
pub fn notifiers(pid: i32) -> usize {
    let folder = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let links = folder.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok());
    links.filter(|link| link.to_string_lossy().contains("seccomp notify")).count()
}
