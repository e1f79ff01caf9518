//! The side of `push` and `pull` that has the files: a walk by descriptors, which follows no link. The runtime process,
//! or the child that is inside; the tree may be hostile and may change while it is walked.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstatat};
use nix::unistd::{Whence, lseek};

use crate::error::{Call, Error, Explain, Result};
use crate::log;
use crate::tenant::carry::stream::{
    DEEPEST, Item, LARGEST, Meta, Name, Tally, write_frame, write_hole, write_item,
};
use crate::tenant::unpack::Watch;

/// Permissions that are carried.
const MODE: u32 = 0o777;

/// Bytes of names that are held at once: a folder of the tenant's own file system (FUSE) need not have an end.
const NAMES: usize = 64 << 20;

/// Says what it is given.
pub struct Sender<'a, W: Write> {
    out: W,
    watch: &'a mut Watch<'a>,
    tally: Tally,
    /// Pipes, sockets and devices: how many, and the first.
    left_out: (u64, PathBuf),
    /// Bytes of the names that are held.
    names: usize,
}

impl<'a, W: Write> Sender<'a, W> {
    /// Says it to `out`.
    pub fn new(out: W, watch: &'a mut Watch<'a>) -> Sender<'a, W> {
        Sender { out, watch, tally: Tally::default(), left_out: (0, PathBuf::new()), names: 0 }
    }

    /// An open file or folder with all in it, called `name`; `shown` is its path for errors.
    ///
    /// # Errors
    /// What cannot be read, or the other side is gone.
    pub fn top(&mut self, name: &OsStr, shown: &OsStr, opened: File) -> Result<()> {
        self.opened(name, Path::new(shown), opened, 0)
    }

    /// All that a stream says, as a file without a name of its own.
    ///
    /// # Errors
    /// As [`Sender::top`].
    pub fn stream(&mut self, from: &mut dyn Read) -> Result<()> {
        let meta = Meta { mode: 0o644, modified: None };
        write_item(&mut self.out, &Item::File(Name::new(OsStr::new("standard-input")), meta))?;
        self.tally.files += 1;
        self.content(from, Path::new("standard input"))
    }

    /// Says that there is no more; what was said.
    ///
    /// # Errors
    /// The other side is gone.
    pub fn finish(mut self) -> Result<Tally> {
        write_item(&mut self.out, &Item::End)?;
        self.out.flush().call(|| "write(pipe)")?;
        if self.left_out.0 > 0 {
            let (count, first) = &self.left_out;
            log::warning(format!("left out: {count} that are pipes, sockets or devices, such as {first:?}"));
        }
        Ok(self.tally)
    }

    fn opened(&mut self, name: &OsStr, path: &Path, mut opened: File, depth: usize) -> Result<()> {
        let found = opened.metadata().call(|| format!("fstat({path:?})"))?;
        let meta = Meta { mode: found.mode() & MODE, modified: Some(found.mtime()) };
        if !found.is_dir() {
            write_item(&mut self.out, &Item::File(Name::new(name), meta))?;
            self.tally.files += 1;
            return self.file(&mut opened, path);
        }
        if depth == DEEPEST {
            return Err(Error::new(format!("folders lie deeper than {DEEPEST} in each other")));
        }
        write_item(&mut self.out, &Item::Folder(Name::new(name), meta))?;
        self.tally.folders += 1;
        let before = self.names;
        let mut names = self.names_in(&opened, path)?;
        names.sort();
        names.iter().try_for_each(|name| self.entry(&opened, name, &path.join(name), depth + 1))?;
        self.names = before;
        write_item(&mut self.out, &Item::Leave)
    }

    fn names_in(&mut self, folder: &File, path: &Path) -> Result<Vec<OsString>> {
        let call = || format!("getdents({path:?})");
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut listed = Dir::openat(folder, ".", flags, Mode::empty()).call(call)?;
        let mut names = vec![];
        for entry in listed.iter() {
            let name = OsStr::from_bytes(entry.call(call)?.file_name().to_bytes()).to_owned();
            if name == "." || name == ".." {
                continue;
            }
            self.names += name.len() + size_of::<OsString>();
            if self.names > NAMES {
                return Err(Error::new(format!("there are too many names in {path:?}")));
            }
            names.push(name);
        }
        Ok(names)
    }

    fn entry(&mut self, folder: &File, name: &OsString, path: &Path, depth: usize) -> Result<()> {
        let found = match fstatat(folder.as_fd(), name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            // It has gone meanwhile.
            Err(Errno::ENOENT) => return Ok(()),
            found => found.call(|| format!("fstatat({path:?})"))?,
        };
        match SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFREG | SFlag::S_IFDIR => {
                let flags = OFlag::O_RDONLY
                    | OFlag::O_NOFOLLOW
                    | OFlag::O_NONBLOCK
                    | OFlag::O_NOCTTY
                    | OFlag::O_CLOEXEC;
                let opened = openat(folder.as_fd(), name.as_os_str(), flags, Mode::empty());
                let opened = File::from(opened.call(|| format!("open({path:?})"))?);
                let kind = opened.metadata().call(|| format!("fstat({path:?})"))?;
                // What it was a moment ago, and may not be any more.
                match kind.is_file() || kind.is_dir() {
                    true => self.opened(name, path, opened, depth),
                    false => self.leave_out(path),
                }
            }
            SFlag::S_IFLNK => {
                let target =
                    readlinkat(folder.as_fd(), name.as_os_str()).call(|| format!("readlink({path:?})"))?;
                self.tally.links += 1;
                write_item(&mut self.out, &Item::Link(Name::new(name), target.as_bytes().to_vec()))
            }
            _ => self.leave_out(path),
        }
    }

    fn leave_out(&mut self, path: &Path) -> Result<()> {
        if self.left_out.0 == 0 {
            self.left_out.1 = path.to_owned();
        }
        self.left_out.0 += 1;
        Ok(())
    }

    /// Holes stay holes: what looks large and needs no room shall need none where it goes.
    fn file(&mut self, from: &mut File, path: &Path) -> Result<()> {
        let mut at = 0;
        let mut buffer = vec![0; LARGEST];
        loop {
            let data = next_data(from, at).call(|| format!("lseek({path:?})"))?;
            if let Some(length) = data.checked_sub(at).filter(|length| *length > 0) {
                write_hole(&mut self.out, length).at(|| path.display().to_string())?;
                self.done(length, path)?;
                at = data;
            }
            match self.piece(from, &mut buffer, path)? {
                0 => return Ok(()),
                count => at += count,
            }
        }
    }

    fn content(&mut self, from: &mut dyn Read, path: &Path) -> Result<()> {
        let mut buffer = vec![0; LARGEST];
        while self.piece(from, &mut buffer, path)? > 0 {}
        Ok(())
    }

    /// How much it was; none at the end.
    fn piece(&mut self, from: &mut dyn Read, buffer: &mut [u8], path: &Path) -> Result<u64> {
        let count = loop {
            match from.read(buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                count => break count.call(|| format!("read({path:?})"))?,
            }
        };
        write_frame(&mut self.out, &buffer[..count]).at(|| path.display().to_string())?;
        self.done(count as u64, path)?;
        Ok(count as u64)
    }

    fn done(&mut self, count: u64, path: &Path) -> Result<()> {
        self.tally.bytes = self.tally.bytes.saturating_add(count);
        (self.watch)(&path.to_string_lossy(), self.tally.bytes)
    }
}

/// Moves to what is no hole from `at` on, or to the end.
fn next_data(file: &mut File, at: u64) -> std::io::Result<u64> {
    let Ok(offset) = i64::try_from(at) else { return Err(Errno::EOVERFLOW.into()) };
    match lseek(&*file, offset, Whence::SeekData) {
        Ok(data) => Ok(u64::try_from(data).unwrap_or(at)),
        // Nothing but a hole; `at` is beyond the end when the file became shorter.
        Err(Errno::ENXIO) => {
            let end = file.metadata()?.len().max(at);
            file.seek(SeekFrom::Start(end))
        }
        // It has no holes to tell of, and stands where it was read to.
        Err(_) => Ok(at),
    }
}
