//! `console`: the caller's terminal and that of a tenant's init, by way of the keeper. The runtime process, with the
//! caller's privilege. It copies bytes, and never looks at what the tenant's say.

use std::fs::File;
use std::io::{ErrorKind, IsTerminal, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::container::Status;
use crate::error::{Call, Error, Kind, Result};
use crate::sys::pty::{self, Size};
use crate::sys::socket;
use crate::tenant::config::Mode;
use crate::tenant::estate::{Estate, Tenant};
use crate::tenant::look;

/// Ctrl-], as with telnet and virsh.
const LEAVE: u8 = 0x1d;

/// How often the size of the caller's window is looked at, in milliseconds.
const LOOK: u16 = 250;

/// How a console was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// By the key, or at the end of the input.
    Detached,
    /// The tenant has stopped.
    Ended,
}

/// Connects the standard streams to a running tenant's console until one of both sides ends.
///
/// # Errors
/// Exit code 31 when it does not run; it runs a command; its keeper was killed.
pub fn attach(estate: &Estate, tenant: &Tenant) -> Result<Left> {
    if look::status(estate, &tenant.name)? == Status::Stopped {
        return Err(Error::new("it is not running").kind(Kind::WrongState).code(31));
    }
    if tenant.config.boot.mode == Mode::Command {
        let log = PathBuf::from("disk/log");
        return Err(Error::new("it runs a command, which has no console")
            .hint(format!("what the command has written is in {:?}", tenant.folder.join(log))));
    }
    let path = estate.console(&tenant.name);
    let stream = UnixStream::connect(&path).map_err(|error| {
        Error::io(format!("connect({path:?})"), &error)
            .because("its keeper was killed")
            .hint("'isolate tenant restart' gives it one again")
    })?;
    // First comes the terminal itself: sizes are set on it.
    let (master, _) = socket::recv_fd(&stream, 64)?;
    Relay { stream, master, size: None }.run()
}

struct Relay {
    stream: UnixStream,
    master: OwnedFd,
    size: Option<Size>,
}

impl Relay {
    fn run(mut self) -> Result<Left> {
        let input = std::io::stdin();
        let is_terminal = input.is_terminal();
        let mut typed = File::from(input.as_fd().try_clone_to_owned().call(|| "dup(stdin)")?);
        let _raw = is_terminal.then(|| pty::make_raw(&input)).transpose()?;
        if is_terminal {
            let _ = std::io::stderr().write_all(b"Ctrl-] leaves the console\r\n");
        }
        let mut listens = true;
        loop {
            self.copy_size();
            let mut fds = vec![PollFd::new(self.stream.as_fd(), PollFlags::POLLIN)];
            if listens {
                fds.push(PollFd::new(typed.as_fd(), PollFlags::POLLIN));
            }
            match poll(&mut fds, PollTimeout::from(LOOK)) {
                Err(Errno::EINTR) => continue,
                result => result.call(|| "poll")?,
            };
            let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(true)).collect();
            if ready[0] && !self.show()? {
                return Ok(Left::Ended);
            }
            if ready.get(1) == Some(&true) {
                match self.send(&mut typed)? {
                    Typed::Leave => return Ok(Left::Detached),
                    Typed::End => listens = false,
                    Typed::Some => {}
                }
            }
        }
    }

    fn copy_size(&mut self) {
        let Ok(size) = pty::size(std::io::stdin()) else { return };
        if self.size != Some(size) && size.rows > 0 {
            let _ = pty::set_size(&self.master, size);
            self.size = Some(size);
        }
    }

    /// `false`: the keeper has gone, and the tenant with it.
    fn show(&mut self) -> Result<bool> {
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer) {
            Ok(0) => Ok(false),
            Ok(count) => {
                let mut output = std::io::stdout().lock();
                output.write_all(&buffer[..count]).and_then(|()| output.flush()).call(|| "write(stdout)")?;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(false),
            Err(error) => Err(Error::io("read(console)", &error)),
        }
    }

    fn send(&mut self, typed: &mut File) -> Result<Typed> {
        let mut buffer = [0; 1024];
        let count = match typed.read(&mut buffer) {
            Ok(0) => return Ok(Typed::End),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(Typed::Some),
            Err(_) => return Ok(Typed::End),
        };
        let typed = &buffer[..count];
        let end = typed.iter().position(|byte| *byte == LEAVE);
        let sent = self.stream.write_all(&typed[..end.unwrap_or(count)]);
        // A closed stream is seen by the reading side.
        let _ = sent;
        Ok(if end.is_some() { Typed::Leave } else { Typed::Some })
    }
}

/// What came from the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Typed {
    Some,
    End,
    Leave,
}
