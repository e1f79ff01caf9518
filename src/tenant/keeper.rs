//! The keeper: one small process for each running tenant with an init, and none for others. It holds the console's
//! terminal, keeps the last of what was written there, lets `console` in, learns how the init ended, and starts it
//! again when the tenant rebooted itself.
//!
//! The launched process, with the caller's privilege (an ordinary user's as root of the tenant's user namespace), in a
//! mount namespace of its own. It may be killed: the tenant goes on without a console, and `stop` needs no keeper.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::container;
use crate::error::{Call, Error, Result};
use crate::sys::process::{Exit, reap_any};
use crate::sys::{pidfd, socket};
use crate::tenant::config::Mode;
use crate::tenant::console_log::Log;
use crate::tenant::estate::Estate;
use crate::tenant::launch::{self, Word};
use crate::tenant::layers::Standing;
use crate::tenant::name::Name;
use crate::tenant::readiness::Bell;

/// How many may watch a console.
const WATCHERS: usize = 16;

/// Keeps one tenant.
#[derive(Debug)]
pub struct Keeper<'a> {
    estate: &'a Estate,
    name: &'a Name,
    standing: Standing,
    doors: Doors,
    bell: Bell,
    init: Init,
}

#[derive(Debug)]
struct Init {
    pid: i32,
    pidfd: OwnedFd,
    console: File,
}

/// Where those who want the console come in.
#[derive(Debug)]
struct Doors {
    path: PathBuf,
    listener: UnixListener,
}

impl Drop for Doors {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// What the end of an init means (pid_namespaces(7), "Miscellaneous"; reboot(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// It called reboot(2) to restart.
    Reboot,
    /// Anything else.
    End,
}

fn meaning(exit: Option<Exit>) -> Meaning {
    match exit {
        Some(Exit::Signal(signal)) if signal == libc::SIGHUP => Meaning::Reboot,
        _ => Meaning::End,
    }
}

impl<'a> Keeper<'a> {
    /// Makes the container and starts its init.
    ///
    /// # Errors
    /// As [`launch::run`].
    pub fn start(estate: &'a Estate, name: &'a Name, standing: Standing) -> Result<Keeper<'a>> {
        let path = estate.console(name);
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).call(|| format!("bind({path:?})"))?;
        let doors = Doors { path, listener };
        let bell = Bell::hang(estate, name)?;
        let init = boot(estate, name, &standing, &bell)?;
        Ok(Keeper { estate, name, standing, doors, bell, init })
    }

    /// Whether its init says when it is ready.
    pub fn tells(&self) -> bool {
        self.estate.tenant(self.name).is_ok_and(|tenant| tenant.config.boot.mode == Mode::Systemd)
    }

    /// Keeps it until it ends for good. Whoever has started it is told on `starter` when it is ready.
    ///
    /// # Errors
    /// A call that failed; the tenant goes on.
    pub fn keep(mut self, mut starter: Option<OwnedFd>) -> Result<()> {
        loop {
            let exit = self.watch(&mut starter)?;
            // Or `stop` was faster.
            let _ = container::delete(&self.estate.runtime, &self.estate.container(self.name)?, true);
            if meaning(exit) == Meaning::End {
                return Ok(());
            }
            self.init = boot(self.estate, self.name, &self.standing, &self.bell)?;
        }
    }

    /// Passes the console on until the init has ended; how.
    fn watch(&mut self, starter: &mut Option<OwnedFd>) -> Result<Option<Exit>> {
        let mut log = Log::open(self.estate.folder(self.name))?;
        let mut watchers: Vec<UnixStream> = vec![];
        let mut open = true;
        loop {
            let ready = wait(&self.init, &self.doors.listener, &self.bell, &watchers, open)?;
            if ready.bell
                && self.bell.says_ready()
                && let Some(starter) = starter.take()
            {
                launch::say(&starter, Word::Ready);
            }
            if ready.console {
                match read(&mut self.init.console) {
                    Some(bytes) if !bytes.is_empty() => {
                        open = true;
                        log.write(&bytes);
                        watchers.retain_mut(|watcher| pass_on(watcher, &bytes));
                    }
                    Some(_) => open = true,
                    // Nobody has the terminal open just now; asking again at once would never end.
                    None => open = false,
                }
            }
            for (index, _) in ready.watchers.iter().enumerate().rev().filter(|(_, ready)| **ready) {
                if !self.typed(&mut watchers[index]) {
                    watchers.remove(index);
                }
            }
            if ready.door
                && let Ok((watcher, _)) = self.doors.listener.accept()
                && watchers.len() < WATCHERS
                && socket::send_fd(&watcher, &self.init.console, b"console").is_ok()
                && watcher.set_nonblocking(true).is_ok()
            {
                watchers.push(watcher);
                open = true;
            }
            if ready.end {
                return self.reap();
            }
        }
    }

    /// What a watcher typed goes to the console; `false`: it has gone.
    fn typed(&mut self, watcher: &mut UnixStream) -> bool {
        let mut buffer = [0; 4096];
        match watcher.read(&mut buffer) {
            Ok(0) => false,
            Ok(count) => self.init.console.write_all(&buffer[..count]).is_ok(),
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }

    fn reap(&self) -> Result<Option<Exit>> {
        while let Some((pid, exit)) = reap_any()? {
            if pid == self.init.pid {
                return Ok(Some(exit));
            }
        }
        Ok(None)
    }
}

fn boot(estate: &Estate, name: &Name, standing: &Standing, bell: &Bell) -> Result<Init> {
    let tenant = estate.tenant(name)?;
    let path = estate.console(name).with_extension("terminal");
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).call(|| format!("bind({path:?})"))?;
    let ways = launch::Ways { console: Some(&path), bell: Some(&bell.path) };
    let started = launch::run(estate, &tenant, standing, &ways);
    let _ = std::fs::remove_file(&path);
    let pid = started?;
    // It was sent before the container was complete, and waits in the socket.
    let (sender, _) = listener.accept().call(|| "accept")?;
    let (master, _) = socket::recv_fd(&sender, 4096)?;
    // Between looking and reading somebody may have closed the other end, or emptied it.
    let flags = nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK);
    nix::fcntl::fcntl(&master, flags).call(|| "fcntl(O_NONBLOCK)")?;
    Ok(Init { pid, pidfd: pidfd::open(pid)?, console: File::from(master) })
}

/// Who has something to say.
struct Ready {
    console: bool,
    end: bool,
    door: bool,
    bell: bool,
    watchers: Vec<bool>,
}

fn wait(
    init: &Init,
    door: &UnixListener,
    bell: &Bell,
    watchers: &[UnixStream],
    console: bool,
) -> Result<Ready> {
    let heard = PollFlags::POLLIN;
    // A terminal nobody has open is always "hung up": it is asked no more until somebody comes.
    let of_console = if console { heard } else { PollFlags::empty() };
    let always = [init.pidfd.as_fd(), door.as_fd(), bell.socket.as_fd()];
    let mut fds: Vec<PollFd<'_>> = always.into_iter().map(|fd| PollFd::new(fd, heard)).collect();
    fds.extend(watchers.iter().map(|watcher| PollFd::new(watcher.as_fd(), heard)));
    if console {
        fds.push(PollFd::new(init.console.as_fd(), of_console));
    }
    // While the console is closed it is looked at now and then: a getty may open it again.
    let timeout = if console { PollTimeout::NONE } else { PollTimeout::from(1000_u16) };
    match poll(&mut fds, timeout) {
        Err(nix::errno::Errno::EINTR) | Ok(_) => {}
        Err(errno) => return Err(Error::sys("poll", errno)),
    }
    let has = |index: usize| fds.get(index).is_some_and(|fd: &PollFd<'_>| fd.any().unwrap_or(false));
    let first = always.len();
    let watching = (0..watchers.len()).map(|index| has(first + index)).collect();
    let console = !console || has(first + watchers.len());
    Ok(Ready { end: has(0), door: has(1), bell: has(2), watchers: watching, console })
}

/// What is there to be read; `None` when nobody has the other end open.
fn read(console: &mut File) -> Option<Vec<u8>> {
    let mut buffer = vec![0; 4096];
    match console.read(&mut buffer) {
        Ok(count) => {
            buffer.truncate(count);
            Some(buffer)
        }
        Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => Some(vec![]),
        Err(_) => None,
    }
}

/// A watcher that does not read loses its place, not the tenant its console.
fn pass_on(watcher: &mut UnixStream, bytes: &[u8]) -> bool {
    watcher.write_all(bytes).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_signal_of_reboot_means_again() {
        assert_eq!(meaning(Some(Exit::Signal(libc::SIGHUP))), Meaning::Reboot);
        for end in
            [Some(Exit::Signal(libc::SIGINT)), Some(Exit::Code(0)), Some(Exit::Signal(libc::SIGKILL)), None]
        {
            assert_eq!(meaning(end), Meaning::End);
        }
    }
}
