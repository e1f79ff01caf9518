//! The keeper: one small process for each running tenant with an init, and none for others. It holds the console's
//! terminal, keeps the last of what was written there, lets `console` in, learns how the init ended, and starts it
//! again when the tenant rebooted itself.
//!
//! The launched process, with the caller's privilege (an ordinary user's as root of the tenant's user namespace), in a
//! mount namespace of its own. It may be killed: the tenant goes on without a console, and `stop` needs no keeper.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::container;
use crate::error::{Call, Error, Result};
use crate::sys::process::{Exit, reap_any};
use crate::sys::{pidfd, socket};
use crate::tenant::estate::Estate;
use crate::tenant::launch;
use crate::tenant::layers::Standing;
use crate::tenant::name::Name;

/// What the console's file may hold; an older one of the same size is kept beside it.
const LOG: u64 = 256 << 10;

/// How many may watch a console.
const WATCHERS: usize = 16;

/// Keeps one tenant.
#[derive(Debug)]
pub struct Keeper<'a> {
    estate: &'a Estate,
    name: &'a Name,
    standing: Standing,
    doors: Doors,
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
        let init = boot(estate, name, &standing)?;
        Ok(Keeper { estate, name, standing, doors, init })
    }

    /// Keeps it until it ends for good.
    ///
    /// # Errors
    /// A call that failed; the tenant goes on.
    pub fn keep(mut self) -> Result<()> {
        loop {
            let exit = self.watch()?;
            // Or `stop` was faster.
            let _ = container::delete(&self.estate.runtime, &self.estate.container(self.name)?, true);
            if meaning(exit) == Meaning::End {
                return Ok(());
            }
            self.init = boot(self.estate, self.name, &self.standing)?;
        }
    }

    /// Passes the console on until the init has ended; how.
    fn watch(&mut self) -> Result<Option<Exit>> {
        let mut log = Log::open(self.estate.folder(self.name))?;
        let mut watchers: Vec<UnixStream> = vec![];
        let mut open = true;
        loop {
            let ready = wait(&self.init, &self.doors.listener, &watchers, open)?;
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

fn boot(estate: &Estate, name: &Name, standing: &Standing) -> Result<Init> {
    let tenant = estate.tenant(name)?;
    let path = estate.console(name).with_extension("terminal");
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).call(|| format!("bind({path:?})"))?;
    let started = launch::run(estate, &tenant, standing, Some(&path));
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
    watchers: Vec<bool>,
}

fn wait(init: &Init, door: &UnixListener, watchers: &[UnixStream], console: bool) -> Result<Ready> {
    let heard = PollFlags::POLLIN;
    // A terminal nobody has open is always "hung up": it is asked no more until somebody comes.
    let of_console = if console { heard } else { PollFlags::empty() };
    let mut fds = vec![PollFd::new(init.pidfd.as_fd(), heard), PollFd::new(door.as_fd(), heard)];
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
    let watching = (0..watchers.len()).map(|index| has(2 + index)).collect();
    Ok(Ready { end: has(0), door: has(1), watchers: watching, console: !console || has(2 + watchers.len()) })
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

/// The last of what was written to the console. Failures are not told to anybody: there is nobody.
struct Log {
    folder: PathBuf,
    file: Option<File>,
    size: u64,
}

impl Log {
    fn open(folder: PathBuf) -> Result<Log> {
        let path = folder.join("log");
        let file = File::options().append(true).create(true).mode(0o600).open(&path);
        let size = file.as_ref().ok().and_then(|file| file.metadata().ok()).map_or(0, |found| found.len());
        Ok(Log { folder, file: file.ok(), size })
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.size >= LOG {
            let _ = std::fs::rename(self.folder.join("log"), self.folder.join("log.1"));
            if let Ok(fresh) = Log::open(self.folder.clone()) {
                *self = fresh;
            }
        }
        if let Some(file) = &mut self.file
            && file.write_all(bytes).is_ok()
        {
            self.size += bytes.len() as u64;
        }
    }
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

    #[test]
    fn the_log_keeps_the_last_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::open(folder.path().to_owned()).unwrap();
        for _ in 0..200 {
            log.write(&[b'x'; 4096]);
        }
        let size = |name: &str| std::fs::metadata(folder.path().join(name)).unwrap().len();
        assert!(size("log") <= LOG + 4096 && size("log.1") <= LOG + 4096);
    }
}
