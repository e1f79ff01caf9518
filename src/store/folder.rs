//! Folders of containers below the state root, and files in them, through descriptors.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fstat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::error::{Call, Error, Kind, Result};
use crate::ids::ContainerId;
use crate::sys::file;
use crate::sys::lock::{Lock, Wait};

/// How long a command waits for another one on the same container.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// A state file is small; a larger one is not ours.
const LARGEST_FILE: u64 = 32 << 20;

/// The files of a container that has been started.
const USUAL_FILES: [&str; 4] = ["state.json", "config.json", "exec.json", "journal"];

/// Room for the files of most containers.
const USUAL_FILE: usize = 16 << 10;

/// The state root.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    fd: OwnedFd,
}

impl Store {
    /// Opens the state root; `None` when it does not exist.
    ///
    /// # Errors
    /// When it is a link or no folder.
    pub fn open(path: &Path) -> Result<Option<Store>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = match nix::fcntl::open(path, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno @ (Errno::ELOOP | Errno::ENOTDIR)) => {
                return Err(Error::sys(format!("open({path:?})"), errno)
                    .because("the state root must be a real folder"));
            }
            Err(errno) => {
                return Err(Error::sys(format!("open({path:?})"), errno)
                    .hint("name a folder of your own with --root"));
            }
        };
        Ok(Some(Store { path: path.to_path_buf(), fd }))
    }

    /// Refuses a root of another user, for making or changing something in it.
    ///
    /// # Errors
    /// Names both users.
    pub fn own(self) -> Result<Store> {
        let path = &self.path;
        let owner = fstat(&self.fd).call(|| format!("fstat({path:?})"))?.st_uid;
        let caller = nix::unistd::geteuid().as_raw();
        if owner == caller {
            return Ok(self);
        }
        let text = format!("the state root {path:?} belongs to user {owner}, not to user {caller}");
        Err(Error::new(text).hint("name a folder of your own with --root"))
    }

    /// Opens the state root, making it (0700, with the sticky bit that keeps cleaners of
    /// `$XDG_RUNTIME_DIR` away) and its parents where they are missing.
    ///
    /// # Errors
    /// As [`Store::open`]; also when it belongs to another user, who could have laid it out for us
    /// (CVE-2015-1331).
    pub fn make(path: &Path) -> Result<Store> {
        if let Some(store) = Store::open(path)? {
            return store.own();
        }
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).call(|| format!("mkdir({parent:?})"))?;
        }
        match nix::unistd::mkdir(path, Mode::from_bits_retain(0o1700)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(Error::sys(format!("mkdir({path:?})"), errno)),
        }
        Store::open(path)?.ok_or_else(|| Error::new(format!("the state root {path:?} has vanished")))?.own()
    }

    /// Makes the folder of a new container and locks it.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn create(&self, id: &ContainerId) -> Result<Folder> {
        match mkdirat(&self.fd, id.as_str(), Mode::from_bits_retain(0o700)) {
            Ok(()) => {}
            Err(Errno::EEXIST) => {
                return Err(Error::new("container with given ID already exists")
                    .hint(format!("choose another name, or remove it with 'isolate delete --force {id}'")));
            }
            Err(errno) => return Err(Error::sys(format!("mkdir({:?})", self.path.join(id.as_str())), errno)),
        }
        let folder = self.find(id)?;
        folder.lock()
    }

    /// The folder of a container, not locked.
    ///
    /// # Errors
    /// "container does not exist".
    pub fn find(&self, id: &ContainerId) -> Result<Folder> {
        let path = self.path.join(id.as_str());
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        match openat(&self.fd, id.as_str(), flags, Mode::empty()) {
            Ok(fd) => Ok(Folder { path, fd: Locked::No(fd) }),
            Err(Errno::ENOENT) => Err(does_not_exist()),
            Err(errno) => Err(Error::sys(format!("open({path:?})"), errno)),
        }
    }

    /// The names of all containers, sorted; other files are left out.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn list(&self) -> Result<Vec<ContainerId>> {
        let entries = std::fs::read_dir(&self.path).call(|| format!("readdir({:?})", self.path))?;
        let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let names = folders.filter_map(|entry| entry.file_name().into_string().ok());
        let mut ids: Vec<_> = names.filter_map(|name| ContainerId::new(name).ok()).collect();
        ids.sort();
        Ok(ids)
    }
}

/// The error for a name that no container has.
pub(crate) fn does_not_exist() -> Error {
    Error::new("container does not exist").kind(Kind::NotFound)
}

#[derive(Debug)]
enum Locked {
    No(OwnedFd),
    Yes(Lock<OwnedFd>),
}

/// The folder of one container.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    fd: Locked,
}

impl Folder {
    /// Waits until no other command works on the container, and keeps others out until this is dropped.
    /// A child must close its copy at once ([`Folder::as_fd`]), or it would keep the lock.
    ///
    /// # Errors
    /// When another command keeps it for ten seconds, or removed the container meanwhile.
    pub fn lock(self) -> Result<Folder> {
        let mut fd = match self.fd {
            Locked::Yes(_) => return Ok(self),
            Locked::No(fd) => fd,
        };
        let deadline = Instant::now() + LOCK_WAIT;
        let lock = loop {
            match Lock::take(fd, Wait::Never) {
                Ok(lock) => break lock,
                Err((unlocked, Errno::EAGAIN | Errno::EINTR)) if Instant::now() < deadline => fd = unlocked,
                Err((_, Errno::EAGAIN)) => {
                    return Err(Error::new(
                        "another command has been working on this container for ten seconds",
                    )
                    .kind(Kind::Busy)
                    .hint("wait for it, or find and end it"));
                }
                Err((_, errno)) => return Err(Error::sys(format!("flock({:?})", self.path), errno)),
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let links = fstat(&*lock).call(|| format!("fstat({:?})", self.path))?.st_nlink;
        if links == 0 {
            return Err(does_not_exist());
        }
        Ok(Folder { path: self.path, fd: Locked::Yes(lock) })
    }

    /// Lets other commands work on the container again.
    ///
    /// # Errors
    /// The call's.
    pub fn unlock(self) -> Result<Folder> {
        let fd = match self.fd {
            Locked::No(fd) => fd,
            Locked::Yes(lock) => lock.unlock().call(|| "flock(LOCK_UN)")?,
        };
        Ok(Folder { path: self.path, fd: Locked::No(fd) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file by rename, so that a reader sees all of it or the one before.
    ///
    /// # Errors
    /// The first call's that failed; the file is then as it was.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        let temporary = format!(".{name}.new");
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC;
        let result = self.open(&temporary, flags).and_then(|mut file| {
            file.write_all(content).call(|| format!("write({:?})", self.path.join(&temporary)))
        });
        let renamed = result.and_then(|()| {
            nix::fcntl::renameat(self, temporary.as_str(), self, name)
                .call(|| format!("rename({:?})", self.path.join(name)))
        });
        if renamed.is_err() {
            let _ = unlinkat(self, temporary.as_str(), UnlinkatFlags::NoRemoveDir);
        }
        renamed
    }

    /// Writes a file that nobody looks for yet, and that is not there.
    ///
    /// # Errors
    /// The first call's that failed.
    pub fn write_new(&self, name: &str, content: &[u8]) -> Result<()> {
        let mut file = self.open(name, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL)?;
        file.write_all(content).call(|| format!("write({:?})", self.path.join(name)))
    }

    /// Appends to a file.
    ///
    /// # Errors
    /// The first call's that failed.
    pub fn append(&self, name: &str, content: &[u8]) -> Result<()> {
        let mut file = self.open(name, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_APPEND)?;
        file.write_all(content).call(|| format!("write({:?})", self.path.join(name)))
    }

    /// Reads a file; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read or is far larger than anything the runtime writes.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let file = match self.open(name, OFlag::O_RDONLY) {
            Ok(file) => file,
            Err(error) if error.errno() == Some(Errno::ENOENT) => return Ok(None),
            Err(error) => return Err(error),
        };
        let call = || format!("read({:?})", self.path.join(name));
        let content = match name {
            "state.json" => file::read_small(&file, LARGEST_FILE + 1),
            _ => file::read_up_to(&file, LARGEST_FILE + 1, USUAL_FILE),
        };
        let content = content.call(call)?;
        if content.len() as u64 > LARGEST_FILE {
            return Err(Error::new(format!(
                "{:?} is too large to be a file of this runtime",
                self.path.join(name)
            )));
        }
        Ok(Some(content))
    }

    /// Whether there is such a file.
    pub fn has(&self, name: &str) -> bool {
        nix::sys::stat::fstatat(self, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
    }

    /// Removes a file; one that is not there is fine.
    ///
    /// # Errors
    /// The call's.
    pub fn unlink(&self, name: &str) -> Result<()> {
        match unlinkat(self, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(Error::sys(format!("unlink({:?})", self.path.join(name)), errno)),
        }
    }

    /// Removes the folder and all in it. A removal that was cut short can be repeated.
    ///
    /// # Errors
    /// The call's that failed.
    pub fn remove(self) -> Result<()> {
        // What lies in nearly every folder goes by name; anything else takes a look at what is there.
        for name in USUAL_FILES {
            self.unlink(name)?;
        }
        if std::fs::remove_dir(&self.path).is_ok() {
            return Ok(());
        }
        std::fs::remove_dir_all(&self.path).call(|| format!("remove({:?})", self.path))
    }

    fn open(&self, name: &str, flags: OFlag) -> Result<File> {
        let flags = flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let fd = openat(self, name, flags, Mode::from_bits_retain(0o600))
            .call(|| format!("open({:?})", self.path.join(name)))?;
        Ok(File::from(fd))
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.fd {
            Locked::No(fd) => fd.as_fd(),
            Locked::Yes(lock) => lock.as_fd(),
        }
    }
}
