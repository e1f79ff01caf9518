//! systemd's readiness protocol (`sd_notify(3)`), passed on from a container as runc does it.
//!
//! The runtime process listens on a socket in the container's state folder, whose folder is mounted into
//! the container, and speaks to the host's NOTIFY_SOCKET itself. What the container says is hostile: only
//! words from a short list go on, one line each; never MAINPID, descriptors, or access rights.

use std::ffi::OsStr;
use std::fs::{DirBuilder, Permissions, set_permissions};
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{MsgFlags, recv, send};

use crate::error::{Call, Error, Explain, Kind, Result};
use crate::log;
use crate::sys::{pidfd, socket};

/// Where the container finds the folder of its socket.
pub const CONTAINER_FOLDER: &str = "/run/notify";

/// What the process's environment gets.
pub const ENV: &str = "NOTIFY_SOCKET=/run/notify/notify.sock";

const SOCKET: &str = "notify.sock";

/// systemd reads no more of a message than this (its NOTIFY_BUFFER_MAX).
const LONGEST_MESSAGE: usize = 4096;

/// How long a service manager may take to say that it has read everything (runc's, and systemd's default).
const BARRIER_TIMEOUT: Duration = Duration::from_secs(30);

/// The folder in the container's state folder that is mounted on [`CONTAINER_FOLDER`].
pub fn mount_source(state_folder: &Path) -> PathBuf {
    state_folder.join("notify")
}

/// Makes that folder (`create`, before the mounts).
///
/// # Errors
/// When it exists, or cannot be made.
pub fn make_folder(state_folder: &Path) -> Result<()> {
    let folder = mount_source(state_folder);
    DirBuilder::new().mode(0o755).create(&folder).call(|| format!("mkdir({folder:?})"))?;
    // Not left to the umask: the container's user must get through.
    set_permissions(&folder, Permissions::from_mode(0o755)).call(|| format!("chmod({folder:?}, 0755)"))
}

/// The address in the runtime's own NOTIFY_SOCKET.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostSocket {
    /// An absolute path.
    Path(PathBuf),
    /// A name in the abstract namespace, without its `@`.
    Abstract(Vec<u8>),
}

impl HostSocket {
    /// Reads the variable's value; an empty one is none.
    ///
    /// # Errors
    /// When it is neither an absolute path nor an abstract name (`vsock:` belongs to virtual machines).
    pub fn parse(value: &OsStr) -> Result<Option<HostSocket>> {
        match value.as_bytes() {
            [] => Ok(None),
            [b'/', ..] => Ok(Some(HostSocket::Path(value.into()))),
            [b'@', name @ ..] if !name.is_empty() => Ok(Some(HostSocket::Abstract(name.to_vec()))),
            _ => Err(Error::new(format!("NOTIFY_SOCKET={value:?} is neither an absolute path nor @name"))
                .kind(Kind::Unsupported)
                .hint("unset NOTIFY_SOCKET when nobody waits for the container to become ready")),
        }
    }

    fn connect(&self) -> Result<OwnedFd> {
        let connected = match self {
            HostSocket::Path(path) => socket::connect_datagram(path),
            HostSocket::Abstract(name) => socket::connect_datagram_abstract(name),
        };
        let socket = UnixDatagram::from(connected.at(|| "NOTIFY_SOCKET")?);
        // A manager that has stopped reading must not stop us for good.
        socket.set_write_timeout(Some(BARRIER_TIMEOUT)).call(|| "setsockopt(SO_SNDTIMEO)")?;
        Ok(socket.into())
    }
}

/// How the wait of a detached `start` ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// The container has said READY=1, and the service manager knows.
    Ready,
    /// The container ended without saying it.
    Ended,
}

/// The container's socket and the host's.
#[derive(Debug)]
pub struct Relay {
    container: OwnedFd,
    host: OwnedFd,
    has_named_us: bool,
}

impl Relay {
    /// Opens both (`start` and `run`, before the container's program runs).
    ///
    /// # Errors
    /// When nobody listens at the host's address, or the folder of [`make_folder`] is missing.
    pub fn open(state_folder: &Path, host: &HostSocket) -> Result<Relay> {
        let host = host.connect()?;
        let path = mount_source(state_folder).join(SOCKET);
        match std::fs::remove_file(&path) {
            // Left by a `start` that was killed.
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Error::io(format!("unlink({path:?})"), &error));
            }
            _ => {}
        }
        let container = socket::bind_datagram(&path)?;
        set_permissions(&path, Permissions::from_mode(0o777)).call(|| format!("chmod({path:?}, 0777)"))?;
        Ok(Relay { container, host, has_named_us: false })
    }

    /// Reads one message that has come and passes on what is fit to be. For a foreground `run`: the first
    /// READY=1 is followed by a MAINPID of the *runtime*, which stays and gives the exit code, as in runc.
    ///
    /// # Errors
    /// When the host's socket fails; the relay is of no use then.
    pub fn on_readable(&mut self) -> Result<()> {
        for line in passed_on(&self.receive()?) {
            if line != READY || self.has_named_us {
                self.send_if_there_is_room(line)?;
                continue;
            }
            self.send(READY)?;
            self.send(format!("MAINPID={}", std::process::id()).as_bytes())?;
            self.has_named_us = true;
        }
        Ok(())
    }

    /// One message; empty when there was none, or one longer than a service manager would read. Any
    /// descriptors it carries are closed by the kernel: that answers a BARRIER=1 of the container.
    fn receive(&self) -> Result<Vec<u8>> {
        let mut message = vec![0; LONGEST_MESSAGE + 1];
        match recv(self.container.as_raw_fd(), &mut message, MsgFlags::MSG_DONTWAIT) {
            Ok(count) if count <= LONGEST_MESSAGE => message.truncate(count),
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => message.clear(),
            Err(errno) => return Err(Error::sys("recv(container's NOTIFY_SOCKET)", errno)),
        }
        Ok(message)
    }

    fn send(&self, line: &[u8]) -> Result<()> {
        send(self.host.as_raw_fd(), &[line, b"\n"].concat(), MsgFlags::MSG_NOSIGNAL)
            .map(drop)
            .call(|| "send(NOTIFY_SOCKET)")
    }

    /// A container that talks all the time must not stop the relay when the service manager is slow.
    fn send_if_there_is_room(&self, line: &[u8]) -> Result<()> {
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        match send(self.host.as_raw_fd(), &[line, b"\n"].concat(), flags) {
            Ok(_) | Err(Errno::EAGAIN) => Ok(()),
            Err(errno) => Err(Error::sys("send(NOTIFY_SOCKET)", errno)),
        }
    }
}

impl AsFd for Relay {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.container.as_fd()
    }
}

/// For `start` of a container without a foreground: waits for READY=1 (or the end of the init), passes it
/// on with the init's pid, and waits until the service manager has read it, because it can tell who sent a
/// message only while the sender lives. Everything else the container says here is dropped, as by runc.
///
/// # Errors
/// When one of the sockets fails.
pub fn relay_once(relay: &Relay, init: i32, pidfd: impl AsFd) -> Result<Readiness> {
    loop {
        let (has_message, has_ended) = wait_for_either(relay.as_fd(), pidfd.as_fd())?;
        if has_message && passed_on(&relay.receive()?).any(|line| line == READY) {
            relay.send(READY)?;
            relay.send(format!("MAINPID={init}").as_bytes())?;
            barrier(&relay.host, BARRIER_TIMEOUT)?;
            return Ok(Readiness::Ready);
        }
        // What it said before it ended counts, so only once nothing is left to read.
        if has_ended && !has_message {
            return Ok(Readiness::Ended);
        }
    }
}

fn wait_for_either(socket: BorrowedFd<'_>, pidfd: BorrowedFd<'_>) -> Result<(bool, bool)> {
    let mut fds = [PollFd::new(socket, PollFlags::POLLIN), PollFd::new(pidfd, PollFlags::POLLIN)];
    match poll(&mut fds, pidfd::poll_timeout(None)) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(Error::sys("poll(NOTIFY_SOCKET)", errno)),
    }
    let [has_message, has_ended] = fds.map(|fd| fd.any().unwrap_or(false));
    Ok((has_message, has_ended))
}

/// `sd_notify_barrier(3)`: the manager closes the pipe once it has read all that came before.
fn barrier(host: &OwnedFd, timeout: Duration) -> Result<()> {
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC).call(|| "pipe2()")?;
    socket::send_fd(host, &writer, b"BARRIER=1").at(|| "NOTIFY_SOCKET")?;
    drop(writer);
    let deadline = Instant::now() + timeout;
    loop {
        // No event is asked for: the end of all writers is always told.
        let mut fds = [PollFd::new(reader.as_fd(), PollFlags::empty())];
        match poll(&mut fds, pidfd::poll_timeout(Some(deadline))) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::sys("poll(pipe)", errno)),
            Ok(0) if Instant::now() < deadline => {}
            Ok(0) => break log::warning("NOTIFY_SOCKET: nobody answered the barrier; going on without"),
            Ok(_) => break,
        }
    }
    Ok(())
}

const READY: &[u8] = b"READY=1";

/// The lines of a message that may go on: about the service itself, and harmless whatever they say.
fn passed_on(message: &[u8]) -> impl Iterator<Item = &[u8]> {
    const WHOLE: [&[u8]; 4] = [READY, b"RELOADING=1", b"STOPPING=1", b"WATCHDOG=1"];
    const BEGIN: [&[u8]; 3] = [b"STATUS=", b"MONOTONIC_USEC=", b"EXTEND_TIMEOUT_USEC="];
    message
        .split(|byte| *byte == b'\n')
        .filter(|line| WHOLE.contains(line) || BEGIN.iter().any(|begin| line.starts_with(begin)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use std::thread;

    /// A state folder and a service manager's socket in one folder.
    fn stage() -> (tempfile::TempDir, UnixDatagram, Relay) {
        let folder = tempfile::tempdir().unwrap();
        let manager = UnixDatagram::bind(folder.path().join("host")).unwrap();
        manager.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        make_folder(folder.path()).unwrap();
        let address = HostSocket::parse(folder.path().join("host").as_os_str()).unwrap().unwrap();
        let relay = Relay::open(folder.path(), &address).unwrap();
        (folder, manager, relay)
    }

    fn say(folder: &Path, message: &[u8]) {
        let container = UnixDatagram::unbound().unwrap();
        container.send_to(message, mount_source(folder).join(SOCKET)).unwrap();
    }

    fn next(manager: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let count = manager.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    }

    #[test]
    fn only_lines_about_the_service_itself_go_on() {
        let lines = |message: &[u8]| passed_on(message).map(<[u8]>::to_vec).collect::<Vec<_>>();
        assert_eq!(
            lines(b"MAINPID=1\nREADY=1\nFDSTORE=1\nSTATUS=a b\n"),
            [b"READY=1".to_vec(), b"STATUS=a b".to_vec()]
        );
        for bad in [
            b"READY=0".as_slice(),
            b"READY=1\0",
            b" READY=1",
            b"XSTATUS=",
            b"BARRIER=1",
            b"NOTIFYACCESS=all",
            b"",
        ] {
            assert_eq!(lines(bad), [b""; 0], "{bad:?}");
        }
    }

    #[test]
    fn addresses_are_absolute_paths_or_abstract_names() {
        let parse = |text: &str| HostSocket::parse(OsStr::new(text));
        assert_eq!(parse("").unwrap(), None);
        assert_eq!(parse("/run/s").unwrap(), Some(HostSocket::Path("/run/s".into())));
        assert_eq!(parse("@a/b").unwrap(), Some(HostSocket::Abstract(b"a/b".to_vec())));
        for bad in ["@", "run/s", "vsock:2:1234"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_detached_start_reports_ready_and_the_pid_and_waits_for_the_barrier() {
        let (folder, manager, relay) = stage();
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let (pid, path) = (child.id().cast_signed(), folder.path().to_owned());
        let pidfd = pidfd::open(pid).unwrap();
        let waiting = thread::spawn(move || relay_once(&relay, pid, &pidfd));
        say(&path, b"STATUS=starting");
        say(&path, b"MAINPID=1\nREADY=1");
        assert_eq!(next(&manager), "READY=1\n");
        assert_eq!(next(&manager), format!("MAINPID={pid}\n"));
        let (pipe, payload) = socket::recv_fd(&manager, 64).unwrap();
        assert_eq!(payload, b"BARRIER=1");
        thread::sleep(Duration::from_millis(30));
        assert!(!waiting.is_finished());
        drop(pipe);
        assert_eq!(waiting.join().unwrap().unwrap(), Readiness::Ready);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_detached_start_ends_when_the_container_ends_without_a_word() {
        let (_folder, _manager, relay) = stage();
        let mut child = Command::new("true").spawn().unwrap();
        let pidfd = pidfd::open(child.id().cast_signed()).unwrap();
        let readiness = relay_once(&relay, child.id().cast_signed(), &pidfd).unwrap();
        assert_eq!(readiness, Readiness::Ended);
        child.wait().unwrap();
    }

    #[test]
    fn a_manager_that_ignores_the_barrier_is_not_waited_for_longer_than_the_bound() {
        let (_folder, _manager, relay) = stage();
        let before = Instant::now();
        barrier(&relay.host, Duration::from_millis(40)).unwrap();
        assert!((40..2000).contains(&before.elapsed().as_millis()));
    }

    #[test]
    fn a_foreground_relay_goes_on_and_names_the_runtime_once() {
        let (folder, manager, mut relay) = stage();
        for message in [b"READY=1".as_slice(), b"STATUS=x", b"MAINPID=1", b"READY=1", b"STOPPING=1"] {
            say(folder.path(), message);
            relay.on_readable().unwrap();
        }
        let expected = [
            "READY=1\n",
            &format!("MAINPID={}\n", std::process::id()),
            "STATUS=x\n",
            "READY=1\n",
            "STOPPING=1\n",
        ];
        for line in expected {
            assert_eq!(next(&manager), line);
        }
    }

    #[test]
    fn a_talkative_container_does_not_stop_the_relay_when_the_manager_is_slow() {
        let (folder, _manager, mut relay) = stage();
        for _ in 0..3000 {
            say(folder.path(), b"STATUS=x");
            relay.on_readable().unwrap();
        }
    }

    #[test]
    fn a_message_too_long_for_a_manager_is_dropped_and_a_repeated_start_works() {
        let (folder, manager, mut relay) = stage();
        say(folder.path(), &[b"READY=1\nSTATUS=".as_slice(), &[b'x'; LONGEST_MESSAGE]].concat());
        relay.on_readable().unwrap();
        drop(relay);
        let address = HostSocket::Path(folder.path().join("host"));
        let mut relay = Relay::open(folder.path(), &address).unwrap();
        relay.on_readable().unwrap();
        say(folder.path(), b"READY=1");
        relay.on_readable().unwrap();
        assert_eq!(next(&manager), "READY=1\n");
    }

    #[test]
    fn a_host_without_a_listener_is_an_error_before_the_start() {
        let folder = tempfile::tempdir().unwrap();
        make_folder(folder.path()).unwrap();
        let error = Relay::open(folder.path(), &HostSocket::Path("/nonexistent".into())).unwrap_err();
        assert_eq!(error.to_string(), "NOTIFY_SOCKET: connect(\"/nonexistent\"): ENOENT");
    }
}
