//! The caller's side of `--console-socket` and `--pidfd-socket`: a listening socket that gets one
//! connection with one message that carries one descriptor.
#![allow(unsafe_code)]

use std::io::{IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::child::{self, Run};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

/// A listening socket.
pub struct DescriptorSocket {
    listener: UnixListener,
    path: PathBuf,
}

/// What came over it.
pub struct Received {
    /// The descriptors of the one message.
    pub descriptors: Vec<OwnedFd>,
    /// The bytes of the message.
    pub payload: Vec<u8>,
}

impl DescriptorSocket {
    /// Listens at `path`, which is kept short by going through the folder's descriptor.
    pub fn listen(path: PathBuf) -> DescriptorSocket {
        let folder = std::fs::File::open(path.parent().unwrap()).unwrap();
        let name =
            Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(path.file_name().unwrap());
        let listener = UnixListener::bind(name).unwrap();
        listener.set_nonblocking(true).unwrap();
        DescriptorSocket { listener, path }
    }

    /// The path to give to the runtime.
    pub fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// Whether anybody is waiting to be accepted.
    pub fn has_caller(&self) -> bool {
        self.listener.accept().is_ok()
    }

    /// Takes the one connection and its message.
    #[track_caller]
    pub fn receive(&self) -> Received {
        let start = Instant::now();
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => return receive_from(&stream),
                Err(_) if start.elapsed() < Duration::from_secs(10) * child::patience() => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(error) => panic!("nobody connected to the socket: {error}"),
            }
        }
    }
}

fn receive_from(stream: &UnixStream) -> Received {
    stream.set_read_timeout(Some(Duration::from_secs(10) * child::patience())).unwrap();
    let mut bytes = [0u8; 4096];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 8]);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let message =
        recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC).unwrap();
    let mut descriptors = Vec::new();
    for control in message.cmsgs().unwrap() {
        if let ControlMessageOwned::ScmRights(raw) = control {
            // SAFETY: the kernel has just installed these descriptors for this message; nobody else owns them.
            descriptors.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    let length = message.bytes;
    Received { descriptors, payload: bytes[..length].to_vec() }
}

/// A terminal of the test's own: its master end, and the end a command is started on.
pub fn open_terminal() -> (Terminal, std::fs::File) {
    let ends = nix::pty::openpty(None, None).unwrap();
    for end in [&ends.master, &ends.slave] {
        fcntl(end, FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC)).unwrap();
    }
    (Terminal::new(ends.master), std::fs::File::from(ends.slave))
}

/// A terminal's master end, read without blocking.
pub struct Terminal {
    file: std::fs::File,
    /// What was read so far.
    pub seen: String,
}

impl Terminal {
    /// Takes over the master end.
    pub fn new(master: OwnedFd) -> Terminal {
        fcntl(&master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK | OFlag::O_RDWR)).unwrap();
        Terminal { file: std::fs::File::from(master), seen: String::new() }
    }

    /// Types.
    pub fn type_text(&mut self, text: &str) {
        self.file.write_all(text.as_bytes()).unwrap();
    }

    /// Reads until `word` was seen.
    #[track_caller]
    pub fn wait_for(&mut self, word: &str) {
        let start = Instant::now();
        while !self.seen.contains(word) {
            assert!(
                start.elapsed() < Duration::from_secs(10) * child::patience(),
                "the terminal never showed {word:?}: {}",
                self.seen
            );
            self.read_more();
        }
    }

    fn read_more(&mut self) {
        let mut bytes = [0u8; 4096];
        match self.file.read(&mut bytes) {
            Ok(length) if length > 0 => self.seen.push_str(&String::from_utf8_lossy(&bytes[..length])),
            _ => std::thread::sleep(Duration::from_millis(3)),
        }
    }

    /// Gives the descriptor away.
    pub fn into_file(self) -> std::fs::File {
        self.file
    }

    /// Sets the size, as a terminal emulator does when its window changes.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = ["rows".to_owned(), rows.to_string(), "cols".to_owned(), columns.to_string()];
        let stdin = std::process::Stdio::from(self.file.try_clone().unwrap());
        Run::start_with(std::process::Command::new("stty").args(size), stdin).finish().ok();
    }
}
