//! The side of `push` and `pull` that gets the files: everything is made below a descriptor of a folder, by names that
//! are single components, and no link is followed. The runtime process, or the child that is inside; what is heard may
//! be hostile.

use std::ffi::{OsStr, OsString};
use std::fs::{File, FileTimes, Permissions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, symlinkat, unlinkat};

use crate::error::{Call, Error, Explain, Result};
use crate::tenant::carry::sink::{Flat, content, no_room};
use crate::tenant::carry::stream::{DEEPEST, Item, Meta, Tally, read_item};
use crate::tenant::unpack::Watch;

/// How many names are tried for a file that is not complete yet.
const TRIES: u32 = 100;

/// Whose it is to be, and its mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Look {
    /// Owner and group; absent: whoever makes it, or whoever owned the file that is replaced.
    pub owner: Option<(u32, u32)>,
    /// Permissions of files; absent: as where they come from, or those of the file that is replaced.
    pub mode: Option<u32>,
    /// Permissions that nothing new gets without being asked for, as umask(2) has them.
    pub mask: u32,
}

/// Where it goes.
#[derive(Debug)]
pub struct Place {
    folder: OwnedFd,
    /// The name it gets; absent: its own.
    name: Option<OsString>,
}

impl Place {
    /// Into a folder.
    pub fn into(folder: OwnedFd) -> Place {
        Place { folder, name: None }
    }

    /// Whether what has no name of its own could not go there.
    pub fn needs_name(&self) -> bool {
        self.name.is_none()
    }

    /// Into a folder, by another name.
    pub fn named(folder: OwnedFd, name: &OsStr) -> Place {
        Place { folder, name: Some(name.to_owned()) }
    }
}

/// A folder that things are put into.
struct Open {
    name: OsString,
    folder: OwnedFd,
    /// What it gets when it is left; absent: it was there before.
    meta: Option<Meta>,
}

/// Makes what is heard; what was made.
///
/// # Errors
/// Exit code 46 without room; the call that failed; the other side is gone.
pub fn receive(from: &mut impl Read, place: &Place, look: &Look, watch: &mut Watch<'_>) -> Result<Tally> {
    let (mut tally, mut open): (Tally, Vec<Open>) = (Tally::default(), vec![]);
    loop {
        let folder = open.last().map_or(place.folder.as_fd(), |open| open.folder.as_fd());
        let called = |name: OsString| match open.is_empty() {
            true => place.name.clone().unwrap_or(name),
            false => name,
        };
        match read_item(from)? {
            Item::Folder(..) if open.len() == DEEPEST => {
                return Err(Error::new("folders lie too deep in each other"));
            }
            Item::Folder(name, meta) => {
                let name = called(name.read()?);
                let (folder, meta) = enter(folder, &name, meta, look).at(|| path(&open, &name))?;
                tally.folders += 1;
                open.push(Open { name, folder, meta });
            }
            Item::Leave => {
                let left = open.pop().ok_or_else(|| Error::new("the end of a folder that is none"))?;
                let dress = |meta: Meta| {
                    let mode = meta.mode & !look.mask;
                    dress(&File::from(left.folder), Meta { mode, ..meta })
                };
                left.meta.map_or(Ok(()), dress)?;
            }
            Item::File(name, meta) => {
                let name = called(name.read()?);
                tally.bytes =
                    file(from, folder, &name, meta, look, watch, tally.bytes).at(|| path(&open, &name))?;
                tally.files += 1;
            }
            Item::Link(name, target) => {
                let name = called(name.read()?);
                link(folder, &name, &target, look).at(|| path(&open, &name))?;
                tally.links += 1;
            }
            Item::End => return Ok(tally),
        }
    }
}

/// The content of the one file that is heard, for a stream.
///
/// # Errors
/// It is none; the stream is gone, or the other side.
pub fn to_stream(from: &mut impl Read, to: &mut dyn Write, watch: &mut Watch<'_>) -> Result<Tally> {
    let mut tally = Tally::default();
    loop {
        match read_item(from)? {
            Item::File(..) => {
                tally.files += 1;
                tally.bytes = content(from, &mut Flat(to), "standard output", watch, tally.bytes)?;
            }
            Item::End => return to.flush().call(|| "write(stdout)").map(|()| tally),
            _ => return Err(Error::new("it is no file")),
        }
    }
}

/// A name with those of the folders that it lies in, for errors.
fn path(open: &[Open], name: &OsStr) -> String {
    let path: PathBuf = open.iter().map(|open| open.name.as_os_str()).chain([name]).collect();
    format!("{path:?}")
}

/// What lies under this name itself.
fn find(folder: impl AsFd, name: &OsStr) -> Result<Option<FileStat>> {
    match fstatat(folder.as_fd(), name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Err(Errno::ENOENT) => Ok(None),
        found => found.call(|| format!("fstatat({name:?})")).map(Some),
    }
}

fn is(found: &FileStat, kind: SFlag) -> bool {
    found.st_mode & SFlag::S_IFMT.bits() == kind.bits()
}

/// The folder of this name, made if it is missing, and what it gets when it is left.
fn enter(folder: impl AsFd, name: &OsStr, meta: Meta, look: &Look) -> Result<(OwnedFd, Option<Meta>)> {
    let fresh = match mkdirat(folder.as_fd(), name, Mode::from_bits_truncate(0o700)) {
        Err(Errno::EEXIST) => false,
        made => made.map_err(|errno| no_room(format!("mkdir({name:?})"), errno)).map(|()| true)?,
    };
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let opened = match openat(folder.as_fd(), name, flags, Mode::empty()) {
        Err(Errno::ENOTDIR | Errno::ELOOP) => Err(Error::new("something that is no folder is there already")),
        opened => opened.call(|| format!("open({name:?})")),
    }?;
    if fresh {
        own(&opened, look.owner)?;
    }
    Ok((opened, fresh.then_some(meta)))
}

fn file(
    from: &mut impl Read,
    folder: impl AsFd,
    name: &OsStr,
    meta: Meta,
    look: &Look,
    watch: &mut Watch<'_>,
    before: u64,
) -> Result<u64> {
    let old = replaceable(folder.as_fd(), name)?.filter(|found| is(found, SFlag::S_IFREG));
    // By rename, so that whoever reads the old one never sees half of the new.
    let (fresh, mut opened) =
        create(folder.as_fd()).map_err(|errno| no_room(format!("create({name:?})"), errno))?;
    let kept = old.as_ref().map(|found| found.st_mode & 0o777);
    let mode = look.mode.or(kept).unwrap_or(meta.mode & !look.mask);
    let owner = look.owner.or(old.map(|found| (found.st_uid, found.st_gid)));
    let written = content(from, &mut opened, &format!("{name:?}"), watch, before).and_then(|bytes| {
        own(&opened, owner)?;
        dress(&opened, Meta { mode, ..meta })?;
        renameat(folder.as_fd(), fresh.as_os_str(), folder.as_fd(), name)
            .call(|| format!("rename({name:?})"))?;
        Ok(bytes)
    });
    written.inspect_err(|_| {
        let _ = unlinkat(folder.as_fd(), fresh.as_os_str(), UnlinkatFlags::NoRemoveDir);
    })
}

/// A new file that only we may open, and its name.
fn create(folder: impl AsFd) -> nix::Result<(OsString, File)> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut last = Errno::EEXIST;
    for attempt in 0..TRIES {
        let name = OsString::from(format!(".isolate-{}-{attempt}", std::process::id()));
        match openat(folder.as_fd(), name.as_os_str(), flags, Mode::from_bits_truncate(0o600)) {
            Ok(opened) => return Ok((name, File::from(opened))),
            Err(Errno::EEXIST) => {}
            Err(errno) => {
                last = errno;
                break;
            }
        }
    }
    Err(last)
}

/// What is there, if it is nothing that holds more.
fn replaceable(folder: impl AsFd, name: &OsStr) -> Result<Option<FileStat>> {
    match find(folder, name)? {
        Some(found) if is(&found, SFlag::S_IFDIR) => Err(Error::new("a folder is there already")),
        found => Ok(found),
    }
}

fn link(folder: impl AsFd, name: &OsStr, target: &[u8], look: &Look) -> Result<()> {
    use std::os::unix::ffi::OsStrExt;
    if replaceable(folder.as_fd(), name)?.is_some() {
        let gone = unlinkat(folder.as_fd(), name, UnlinkatFlags::NoRemoveDir);
        gone.call(|| format!("unlink({name:?})"))?;
    }
    symlinkat(OsStr::from_bytes(target), folder.as_fd(), name)
        .map_err(|errno| no_room(format!("symlink({name:?})"), errno))?;
    if look.owner.is_none() {
        return Ok(());
    }
    // Whoever may write in this folder may have put something else in its place, which is not to be given away.
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let made = openat(folder.as_fd(), name, flags, Mode::empty()).call(|| format!("open({name:?})"))?;
    match fstat(&made).call(|| format!("fstat({name:?})"))? {
        found if is(&found, SFlag::S_IFLNK) && found.st_nlink == 1 => own(&made, look.owner),
        _ => Err(Error::new("something else has taken its place")),
    }
}

/// Gives what is open away.
fn own(opened: impl AsFd, owner: Option<(u32, u32)>) -> Result<()> {
    let Some((uid, gid)) = owner else { return Ok(()) };
    fchownat(opened, "", Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::AT_EMPTY_PATH)
        .call(|| format!("fchownat({uid}, {gid})"))
}

fn dress(file: &File, meta: Meta) -> Result<()> {
    file.set_permissions(Permissions::from_mode(meta.mode & 0o777)).call(|| "fchmod")?;
    let Some(seconds) = meta.modified.and_then(|seconds| u64::try_from(seconds).ok()) else { return Ok(()) };
    // A time that the file system cannot hold is no reason to fail.
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    let _ = time.map(|time| file.set_times(FileTimes::new().set_modified(time)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::carry::stream::{Name, write_frame, write_item};

    fn hear(folder: &std::path::Path, items: &[Item]) -> Result<Tally> {
        let mut bytes = vec![];
        for item in items {
            write_item(&mut bytes, item).unwrap();
            if matches!(item, Item::File(..)) {
                write_frame(&mut bytes, b"bad").and_then(|()| write_frame(&mut bytes, b"")).unwrap();
            }
        }
        let place = Place::into(File::open(folder).unwrap().into());
        receive(&mut bytes.as_slice(), &place, &Look::default(), &mut |_, _| Ok(()))
    }

    #[test]
    fn nothing_that_is_heard_leads_out_of_the_folder() {
        let outside = tempfile::tempdir().unwrap();
        let meta = Meta { mode: 0o6777, modified: None };
        let name = |name: &str| Name::new(OsStr::new(name));
        let link = || Item::Link(name("out"), outside.path().as_os_str().as_encoded_bytes().to_vec());
        let up = outside.path().join("up");
        for (items, words) in [
            (vec![link(), Item::Folder(name("out"), meta), Item::File(name("x"), meta)], "no folder"),
            (vec![Item::File(name("../x"), meta)], "a / in it"),
            (vec![Item::Folder(name(".."), meta)], "a name that is none"),
            (vec![Item::Link(name("a/b"), vec![])], "a / in it"),
            (vec![Item::Leave, Item::File(name("x"), meta)], "the end of a folder that is none"),
            (vec![Item::Folder(name("a"), meta); DEEPEST + 1], "too deep"),
        ] {
            let _ = std::fs::remove_dir_all(&up);
            std::fs::create_dir(&up).unwrap();
            let error = hear(&up, &items).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
            assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
        }
        // A file takes the place of a link, and gets none of its set-id bits.
        let _ = std::fs::remove_dir_all(&up);
        std::fs::create_dir(&up).unwrap();
        hear(&up, &[link(), Item::File(name("out"), meta), Item::End]).unwrap();
        let found = std::fs::symlink_metadata(up.join("out")).unwrap();
        assert_eq!((found.is_file(), found.permissions().mode() & 0o7777), (true, 0o777));
    }
}
