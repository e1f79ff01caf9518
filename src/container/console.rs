//! A terminal that the caller keeps: when `--console-socket` may be given, and handing the master over.
//!
//! The runtime process runs this, with the caller's privilege. It never opens a terminal itself.

use std::os::fd::OwnedFd;
use std::path::Path;

use crate::error::{Error, Explain, Kind, Result};
use crate::sys::socket;

/// Whether the runtime stays until the process has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attachment {
    /// It stays: `run` and `exec` without `--detach`.
    Foreground,
    /// It returns at once: `create`, and `--detach`.
    Detached,
}

/// Checks that the terminal the config asks for has an owner, and that a socket has a terminal.
///
/// # Errors
/// In runc's words, which engines look for ("runc" stands for any runtime there).
pub fn check_terminal_rules(terminal: bool, socket: Option<&Path>, attachment: Attachment) -> Result<()> {
    let fault = |why: &str, hint: &str| Err(Error::new(why).hint(hint).kind(Kind::Usage));
    match (terminal, socket, attachment) {
        (true, None, Attachment::Detached) => fault(
            "cannot allocate tty if runc will detach without setting console socket",
            "give --console-socket, or set process.terminal to false",
        ),
        (_, Some(_), Attachment::Foreground) | (false, Some(_), Attachment::Detached) => fault(
            "cannot use console socket if runc will not detach or allocate tty",
            "leave out --console-socket, or detach with process.terminal set to true",
        ),
        _ => Ok(()),
    }
}

/// Sends the master end of a terminal to the socket at `path`, in one message with runc's payload. The
/// connection is closed then; the caller closes `master`, so that the engine alone keeps it.
///
/// # Errors
/// When nobody listens there, or the message cannot be sent.
pub fn send_master(path: &Path, master: &OwnedFd) -> Result<()> {
    let send = || socket::send_fd(&socket::connect_unix(path)?, master, b"/dev/ptmx");
    send().at(|| format!("--console-socket {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::pty;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_detached_terminal_needs_a_socket_and_a_socket_needs_a_detached_terminal() {
        use Attachment::{Detached, Foreground};
        let socket = Some(Path::new("/s"));
        let check = |terminal, socket, attachment| {
            check_terminal_rules(terminal, socket, attachment).map_err(|error| error.to_string())
        };
        for fine in [
            (true, None, Foreground),
            (true, socket, Detached),
            (false, None, Foreground),
            (false, None, Detached),
        ] {
            assert_eq!(check(fine.0, fine.1, fine.2), Ok(()), "{fine:?}");
        }
        let missing = "cannot allocate tty if runc will detach without setting console socket\n";
        assert!(check(true, None, Detached).unwrap_err().starts_with(missing));
        let idle = "cannot use console socket if runc will not detach or allocate tty\n";
        for bad in [(true, socket, Foreground), (false, socket, Foreground), (false, socket, Detached)] {
            assert!(check(bad.0, bad.1, bad.2).unwrap_err().starts_with(idle), "{bad:?}");
        }
    }

    #[test]
    fn the_engine_gets_a_master_that_works() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("console");
        let listener = UnixListener::bind(&path).unwrap();
        let ends = nix::pty::openpty(None, None).unwrap();
        send_master(&path, &ends.master).unwrap();
        drop(ends.master);
        let (connection, _) = listener.accept().unwrap();
        let (master, payload) = socket::recv_fd(&connection, 64).unwrap();
        assert_eq!(payload, b"/dev/ptmx");
        let size = pty::Size { rows: 7, columns: 9 };
        pty::set_size(&master, size).unwrap();
        assert_eq!(pty::size(&ends.slave).unwrap(), size);
    }

    #[test]
    fn a_socket_that_is_not_there_is_named() {
        let master = nix::pty::openpty(None, None).unwrap().master;
        let error = send_master(Path::new("/nonexistent"), &master).unwrap_err().to_string();
        assert_eq!(error, "--console-socket /nonexistent: connect(\"/nonexistent\"): ENOENT");
    }
}
