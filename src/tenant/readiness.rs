//! Readiness of an init that tells it (systemd): the socket on which it says so, and the wait for it.
//!
//! The protocol is that of sd_notify(3), the place in the tenant that of systemd-nspawn(1), "Readiness": the keeper's
//! datagram socket is bound to `/run/host/notify`, and `NOTIFY_SOCKET` names it. What is said there comes from the
//! tenant, and does no more than end a wait. The keeper, and the runtime process that waits, with the caller's privilege.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv};

use crate::error::{Call, Error, Result};
use crate::sys::{channel, socket};
use crate::tenant::console_log;
use crate::tenant::estate::{Estate, Tenant};
use crate::tenant::launch::Word;
use crate::tenant::name::Name;

/// Where the tenant finds the socket.
pub const INSIDE: &str = "/run/host/notify";

/// How many lines of the console are shown after a failure.
const TAIL: usize = 10;

/// What the tenant's init rings.
#[derive(Debug)]
pub struct Bell {
    /// The socket's place on the host, in a folder that is closed to everybody else.
    pub path: PathBuf,
    /// The socket.
    pub socket: OwnedFd,
}

impl Bell {
    /// Makes the socket of a tenant.
    ///
    /// # Errors
    /// The call that failed.
    pub fn hang(estate: &Estate, name: &Name) -> Result<Bell> {
        use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
        let folder = estate.notify(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::DirBuilder::new().mode(0o700).create(&folder).call(|| format!("mkdir({folder:?})"))?;
        let path = folder.join("notify");
        let socket = socket::bind_datagram(&path)?;
        // Root inside is somebody else on the host.
        let all = std::fs::Permissions::from_mode(0o666);
        std::fs::set_permissions(&path, all).call(|| format!("chmod({path:?})"))?;
        Ok(Bell { path, socket })
    }

    /// Takes one message; whether it says that the init is ready.
    pub fn says_ready(&self) -> bool {
        let mut bytes = [0; 4096];
        let length = recv(self.socket.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT).unwrap_or(0);
        says_ready(&bytes[..length])
    }
}

/// sd_notify(3): assignments, one a line.
fn says_ready(message: &[u8]) -> bool {
    message.split(|byte| *byte == b'\n').any(|line| line == b"READY=1")
}

impl Drop for Bell {
    fn drop(&mut self) {
        if let Some(folder) = self.path.parent() {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// A tenant that has been started.
#[derive(Debug)]
pub struct Started {
    /// The tenant, with the settings it was started with.
    pub tenant: Tenant,
    /// Where the launched process says more.
    pub(super) socket: OwnedFd,
    /// When the start began.
    pub(super) since: Instant,
}

impl Started {
    /// How long it has taken up to now.
    pub fn took(&self) -> Duration {
        self.since.elapsed()
    }

    /// Waits until it is ready, at most until `patience` after the start; how long it took. The tenant's lock is not needed.
    ///
    /// # Errors
    /// It has ended, or is not ready in time: with the end of its console. It goes on running then.
    pub fn wait(self, patience: Duration) -> Result<Duration> {
        loop {
            let left = patience.saturating_sub(self.since.elapsed());
            let milliseconds = u16::try_from(left.as_millis()).unwrap_or(u16::MAX);
            let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::from(milliseconds)) {
                Err(nix::errno::Errno::EINTR) => {}
                Ok(0) if self.since.elapsed() >= patience => return Err(self.late(patience)),
                Ok(0) => {}
                Ok(_) => return self.hear(),
                Err(errno) => return Err(Error::sys("poll", errno)),
            }
        }
    }

    fn hear(self) -> Result<Duration> {
        let (words, _) = channel::receive(&self.socket).call(|| "recvmsg")?;
        match words {
            words if words == Word::Ready.bytes() => Ok(self.since.elapsed()),
            words if words.is_empty() => Err(self.tell("it ended before it was ready")),
            words => Err(Error::from_wire(&words)),
        }
    }

    fn late(&self, patience: Duration) -> Error {
        let seconds = patience.as_secs();
        self.tell(&format!("it runs, and is not ready after {seconds} seconds"))
            .hint(format!("look into it with 'isolate tenant enter {}'", self.tenant.name))
            .code(124)
    }

    fn tell(&self, why: &str) -> Error {
        match console_log::tail(&self.tenant.folder, TAIL) {
            tail if tail.is_empty() => Error::new(why),
            tail => Error::new(format!("{why}; its console ends with\n    {}", tail.replace('\n', "\n    "))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_line_of_its_own_says_ready() {
        assert!(says_ready(b"READY=1"));
        assert!(says_ready(b"STATUS=Ready.\nREADY=1\n"));
        assert!(!says_ready(b"STATUS=READY=1") && !says_ready(b"READY=10") && !says_ready(b""));
    }
}
