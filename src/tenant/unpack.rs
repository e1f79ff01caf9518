//! Tar streams written into a root: headers by the `tar` crate, every path by [`Rootfs`].
//!
//! The runtime process, with the caller's privilege. The stream is hostile: a name cannot leave the root, a
//! header cannot make us hold more than [`HEADERS`] bytes, its content cannot be more than the given
//! [`Space`], devices are left out, and nothing is executed.

use std::cell::Cell;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use tar::EntryType;

use crate::error::{Error, Explain, Result};
use crate::ids::RootPath;
use crate::tenant::rootfs::{Meta, Rootfs};

/// What may be read between two entries: long names and PAX records.
const HEADERS: u64 = 4 << 20;

/// Is told what is being done and how many bytes are done; its error (an interruption) stops the work.
pub type Watch<'a> = dyn FnMut(&str, u64) -> Result<()> + 'a;

/// What a tree may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that may still be written.
    pub bytes: u64,
    /// Files that may still be made.
    pub files: u64,
}

impl Space {
    /// Takes one file of `bytes`.
    ///
    /// # Errors
    /// When that is more than there is.
    pub fn take(&mut self, bytes: u64) -> Result<()> {
        let left = self.bytes.checked_sub(bytes).zip(self.files.checked_sub(1));
        let (bytes, files) = left.ok_or_else(|| {
            Error::new("the tree is larger than the room for it")
                .hint("a root may take 3/4 of the free space and 4 million files")
        })?;
        *self = Space { bytes, files };
        Ok(())
    }
}

/// Which conventions the stream follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// A tar file: every name is what it says.
    Plain,
    /// A layer of an OCI image: `.wh.NAME` takes NAME of lower layers away, `.wh..wh..opq` all of a folder.
    Image,
}

/// What was left out, for one warning at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LeftOut {
    /// Device nodes.
    pub devices: u64,
    /// Entries of an unknown type.
    pub unknown: u64,
}

/// A reader that gives up when more is read than the current budget.
struct Budgeted<R> {
    inner: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Budgeted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.get();
        if left == 0 && !buffer.is_empty() {
            return Err(io::Error::other("a header of the archive is too long"));
        }
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let count = self.inner.read(&mut buffer[..most])?;
        self.left.set(left - count as u64);
        Ok(count)
    }
}

/// Unpacks `stream` into `rootfs`.
///
/// # Errors
/// A broken or hostile stream (naming the entry), a failed call, no room, an interruption.
pub fn unpack(
    stream: impl Read,
    layer: Layer,
    rootfs: &mut Rootfs,
    space: &mut Space,
    watch: &mut Watch<'_>,
) -> Result<LeftOut> {
    let left = Rc::new(Cell::new(HEADERS));
    let mut archive = tar::Archive::new(Budgeted { inner: stream, left: Rc::clone(&left) });
    let mut work =
        Work { rootfs, space, layer, seen: HashSet::new(), left_out: LeftOut::default(), bytes: 0 };
    for entry in archive.entries().map_err(broken)? {
        left.set(u64::MAX);
        let mut entry = entry.map_err(broken)?;
        let name = entry.path_bytes().into_owned();
        let shown = String::from_utf8_lossy(&name).into_owned();
        watch(&shown, work.bytes)?;
        work.entry(&mut entry, &name, watch).at(|| format!("entry {shown:?}"))?;
        io::copy(&mut entry, &mut io::sink()).map_err(broken)?;
        left.set(HEADERS);
    }
    Ok(work.left_out)
}

struct Work<'a> {
    rootfs: &'a mut Rootfs,
    space: &'a mut Space,
    layer: Layer,
    /// What this layer itself has brought: an opaque folder keeps it.
    seen: HashSet<PathBuf>,
    left_out: LeftOut,
    bytes: u64,
}

impl Work<'_> {
    fn entry<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        name: &[u8],
        watch: &mut Watch<'_>,
    ) -> Result<()> {
        let path = inside(Path::new(OsStr::from_bytes(name)))?;
        if self.layer == Layer::Image && self.whiteout(&path)? {
            return Ok(());
        }
        let meta = meta(entry.header())?;
        self.remember(&path);
        match entry.header().entry_type() {
            EntryType::Char | EntryType::Block => self.left_out.devices += 1,
            EntryType::XGlobalHeader => {}
            kind if is_file(kind) && !name.ends_with(b"/") => {
                self.space.take(entry.size())?;
                self.file(&path, meta, entry, watch)?;
            }
            kind => {
                self.space.take(0)?;
                self.small(kind, &path, meta, entry)?;
            }
        }
        Ok(())
    }

    fn file(
        &mut self,
        path: &RootPath,
        meta: Meta,
        data: &mut dyn Read,
        watch: &mut Watch<'_>,
    ) -> Result<()> {
        let mut watched = Watched { inner: data, watch, done: self.bytes, failure: None };
        let written = self.rootfs.file(path, meta, &mut watched);
        match watched.failure {
            Some(failure) => Err(failure),
            None => written.map(|bytes| self.bytes += bytes),
        }
    }

    /// Makes what has no content.
    fn small<R: Read>(
        &mut self,
        kind: EntryType,
        path: &RootPath,
        meta: Meta,
        entry: &tar::Entry<'_, R>,
    ) -> Result<()> {
        match kind {
            EntryType::Directory => self.rootfs.directory(path, meta),
            // Some old archives end the name of a directory with a slash and call it a file.
            kind if is_file(kind) => self.rootfs.directory(path, meta),
            EntryType::Symlink => self.rootfs.link(path, &target(entry)?, meta),
            EntryType::Link => {
                let to = inside(&target(entry)?)?;
                self.rootfs.hard_link(path, &to).map_err(|error| error.because(format!("as a link to {to}")))
            }
            EntryType::Fifo => self.rootfs.fifo(path, meta),
            _ => {
                self.left_out.unknown += 1;
                Ok(())
            }
        }
    }

    fn remember(&mut self, path: &RootPath) {
        if self.layer == Layer::Image {
            self.seen.extend(path.as_path().ancestors().map(Path::to_owned));
        }
    }

    /// Obeys a whiteout (image-spec, layer.md); whether the entry is one.
    fn whiteout(&mut self, path: &RootPath) -> Result<bool> {
        let name = path.as_path().file_name().map(OsStrExt::as_bytes).unwrap_or_default();
        let Some(hidden) = name.strip_prefix(b".wh.") else { return Ok(false) };
        let parent = RootPath::new(path.as_path().parent().unwrap_or(Path::new("/")));
        match hidden {
            b".wh..opq" => self.empty(parent)?,
            // Reserved for the aufs that made the layer: `.wh..wh.plnk` and others.
            _ if hidden.starts_with(b".wh.") => {}
            b"" | b"." | b".." => return Err(Error::new("it hides a name that is none")),
            _ => {
                let hidden = RootPath::new(parent.as_path().join(OsStr::from_bytes(hidden)));
                if !self.seen.contains(hidden.as_path()) {
                    self.rootfs.remove(&hidden)?;
                }
            }
        }
        Ok(true)
    }

    /// Removes all below `folder` that this layer has not brought.
    fn empty(&mut self, folder: RootPath) -> Result<()> {
        let mut folders = vec![folder];
        while let Some(folder) = folders.pop() {
            for name in self.rootfs.names(&folder)? {
                let path = RootPath::new(folder.as_path().join(name));
                match self.seen.contains(path.as_path()) {
                    true => folders.push(path),
                    false => self.rootfs.remove(&path)?,
                }
            }
        }
        Ok(())
    }
}

fn is_file(kind: EntryType) -> bool {
    matches!(kind, EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse)
}

/// Tells the watch while one large file is copied.
struct Watched<'a, 'w> {
    inner: &'a mut dyn Read,
    watch: &'a mut Watch<'w>,
    done: u64,
    failure: Option<Error>,
}

impl Read for Watched<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Err(error) = (self.watch)("", self.done) {
            self.failure = Some(error);
            return Err(io::Error::other("interrupted"));
        }
        let count = self.inner.read(buffer)?;
        self.done += count as u64;
        Ok(count)
    }
}

/// The tar crate quotes the archive's bytes in its errors: no control character of a hostile one may reach
/// a terminal.
fn broken(error: io::Error) -> Error {
    if error.raw_os_error().is_some() {
        return Error::io("read", &error);
    }
    let text = error.to_string();
    let shown: String = text.chars().take_while(|c| !c.is_control() && *c != '\u{fffd}').take(60).collect();
    Error::new(format!("it is not a tar archive, or a broken one ({shown})"))
}

/// A name of the archive as a path inside the root: a leading `/` counts for nothing, `..` is refused.
fn inside(name: &Path) -> Result<RootPath> {
    if name.components().any(|part| part == Component::ParentDir) {
        return Err(Error::new(format!("the name {name:?} climbs out with ..")));
    }
    if name.as_os_str().as_bytes().contains(&0) {
        return Err(Error::new("a name holds a NUL"));
    }
    Ok(RootPath::new(name))
}

fn target<R: Read>(entry: &tar::Entry<'_, R>) -> Result<PathBuf> {
    let bytes = entry.link_name_bytes().unwrap_or_default();
    if bytes.is_empty() || bytes.contains(&0) {
        return Err(Error::new("a link without a target"));
    }
    Ok(PathBuf::from(OsStr::from_bytes(&bytes)))
}

fn meta(header: &tar::Header) -> Result<Meta> {
    let id = |number: io::Result<u64>| {
        // An id that no kernel knows becomes one that no map has, and so nobody's.
        number.map(|number| u32::try_from(number).unwrap_or(u32::MAX - 1)).map_err(broken)
    };
    let mode = header.mode().map_err(broken)? & 0o7777;
    Ok(Meta { uid: id(header.uid())?, gid: id(header.gid())?, mode, modified: header.mtime().ok() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::rootfs::Owners;
    use std::fs;

    const ROOM: Space = Space { bytes: 1 << 20, files: 1000 };

    struct Entries(tar::Builder<Vec<u8>>);

    impl Entries {
        fn new() -> Entries {
            Entries(tar::Builder::new(vec![]))
        }

        /// A header with any name, also those that the tar crate refuses to write.
        fn add(mut self, name: &str, kind: EntryType, link: &str, data: &[u8]) -> Entries {
            let mut header = tar::Header::new_gnu();
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
            header.set_entry_type(kind);
            header.set_size(data.len() as u64);
            header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(1);
            header.set_cksum();
            self.0.append(&header, data).unwrap();
            self
        }

        fn file(self, name: &str, data: &str) -> Entries {
            self.add(name, EntryType::Regular, "", data.as_bytes())
        }

        fn unpack(self, layer: Layer, root: &Path, mut space: Space) -> Result<LeftOut> {
            let stream = self.0.into_inner().unwrap();
            let mut rootfs = Rootfs::open(root, Owners::Caller)?;
            let left_out = unpack(&stream[..], layer, &mut rootfs, &mut space, &mut |_, _| Ok(()))?;
            rootfs.finish().map(|()| left_out)
        }
    }

    /// A folder `root` beside a file `outside` that must not change.
    fn sandbox() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir(&root).unwrap();
        fs::write(folder.path().join("outside"), "safe").unwrap();
        (folder, root)
    }

    #[test]
    fn files_links_and_folders_arrive() {
        let (_folder, root) = sandbox();
        let entries = Entries::new()
            .add("a/", EntryType::Directory, "", b"")
            .file("a/f", "one")
            .add("a/l", EntryType::Symlink, "f", b"")
            .add("h", EntryType::Link, "a/f", b"");
        entries.unpack(Layer::Plain, &root, ROOM).unwrap();
        assert_eq!(fs::read_to_string(root.join("a/l")).unwrap(), "one");
        assert_eq!(fs::read_to_string(root.join("h")).unwrap(), "one");
    }

    #[test]
    fn absolute_names_are_inside_and_dot_dot_is_refused() {
        let (folder, root) = sandbox();
        Entries::new().file("/etc/x", "in").unpack(Layer::Plain, &root, ROOM).unwrap();
        assert_eq!(fs::read_to_string(root.join("etc/x")).unwrap(), "in");
        let error = Entries::new().file("../outside", "bad").unpack(Layer::Plain, &root, ROOM).unwrap_err();
        assert!(error.to_string().contains("climbs out"), "{error}");
        assert_eq!(fs::read_to_string(folder.path().join("outside")).unwrap(), "safe");
    }

    #[test]
    fn links_cannot_lead_a_later_entry_out() {
        let (folder, root) = sandbox();
        for to in ["..", "../../../../../../..", folder.path().to_str().unwrap()] {
            let entries = Entries::new().add("l", EntryType::Symlink, to, b"").file("l/outside", "bad");
            // Inside the root `..` and `/` are the root itself, or nothing: written there, or refused.
            let _ = entries.unpack(Layer::Plain, &root, ROOM);
            assert_eq!(fs::read_to_string(folder.path().join("outside")).unwrap(), "safe");
        }
    }

    #[test]
    fn a_link_is_replaced_and_not_written_through() {
        let (folder, root) = sandbox();
        let outside = folder.path().join("outside");
        let entries =
            Entries::new().add("f", EntryType::Symlink, outside.to_str().unwrap(), b"").file("f", "new");
        entries.unpack(Layer::Plain, &root, ROOM).unwrap();
        assert_eq!(fs::read_to_string(outside).unwrap(), "safe");
        assert!(fs::symlink_metadata(root.join("f")).unwrap().is_file());
    }

    #[test]
    fn hard_links_to_the_outside_are_refused() {
        let (folder, root) = sandbox();
        let outside = folder.path().join("outside");
        for to in ["../outside", outside.to_str().unwrap()] {
            assert!(
                Entries::new().add("h", EntryType::Link, to, b"").unpack(Layer::Plain, &root, ROOM).is_err()
            );
        }
        let entries = Entries::new().add("l", EntryType::Symlink, folder.path().to_str().unwrap(), b"").add(
            "h",
            EntryType::Link,
            "l/outside",
            b"",
        );
        assert!(entries.unpack(Layer::Plain, &root, ROOM).is_err());
        assert_eq!(fs::read_to_string(outside).unwrap(), "safe");
    }

    #[test]
    fn devices_are_left_out_and_counted() {
        let (_folder, root) = sandbox();
        let entries =
            Entries::new().add("sda", EntryType::Block, "", b"").add("mem", EntryType::Char, "", b"");
        assert_eq!(entries.unpack(Layer::Plain, &root, ROOM).unwrap().devices, 2);
        assert_eq!(fs::read_dir(root).unwrap().count(), 0);
    }

    #[test]
    fn more_than_the_room_is_refused() {
        let (_folder, root) = sandbox();
        let small = Space { bytes: 3, files: 10 };
        assert!(Entries::new().file("f", "four").unpack(Layer::Plain, &root, small).is_err());
        let few = Space { bytes: 10, files: 1 };
        assert!(Entries::new().file("f", "").file("g", "").unpack(Layer::Plain, &root, few).is_err());
    }

    #[test]
    fn a_long_name_of_gigabytes_is_not_held_in_memory() {
        let (_folder, root) = sandbox();
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(EntryType::GNULongName);
        header.set_size(1 << 40);
        header.set_cksum();
        let stream = header.as_bytes().chain(io::repeat(b'a'));
        let mut rootfs = Rootfs::open(&root, Owners::Caller).unwrap();
        let result = unpack(stream, Layer::Plain, &mut rootfs, &mut ROOM.clone(), &mut |_, _| Ok(()));
        assert!(result.unwrap_err().to_string().contains("too long"));
    }

    #[test]
    fn whiteouts_hide_lower_layers_only() {
        let (_folder, root) = sandbox();
        let lower = Entries::new().file("d/a", "1").file("d/b", "1").file("e/x", "1").file("e/sub/y", "1");
        lower.unpack(Layer::Image, &root, ROOM).unwrap();
        let upper = Entries::new()
            .file("d/.wh.a", "")
            .file("e/sub/new", "2")
            .file("e/.wh..wh..opq", "")
            .file("e/z", "2");
        upper.unpack(Layer::Image, &root, ROOM).unwrap();
        let there = |path: &str| root.join(path).exists();
        assert!(!there("d/a") && there("d/b"));
        assert!(!there("e/x") && !there("e/sub/y") && there("e/sub/new") && there("e/z"));
        assert!(!there("d/.wh.a") && !there("e/.wh..wh..opq"));
        for bad in ["d/.wh.", "d/.wh..", "d/.wh..."] {
            assert!(Entries::new().file(bad, "").unpack(Layer::Image, &root, ROOM).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_cut_stream_is_an_error() {
        let (_folder, root) = sandbox();
        let stream = Entries::new().file("f", &"x".repeat(2000)).0.into_inner().unwrap();
        let mut rootfs = Rootfs::open(&root, Owners::Caller).unwrap();
        let result =
            unpack(&stream[..1500], Layer::Plain, &mut rootfs, &mut ROOM.clone(), &mut |_, _| Ok(()));
        assert!(result.is_err());
    }

    #[test]
    fn no_damaged_stream_panics_or_writes_outside() {
        let (folder, root) = sandbox();
        let good = Entries::new()
            .add("d/", EntryType::Directory, "", b"")
            .file("d/f", "data")
            .add("d/l", EntryType::Symlink, "../f", b"")
            .add("h", EntryType::Link, "d/f", b"")
            .file("d/.wh.f", "");
        let good = good.0.into_inner().unwrap();
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..200 {
            let mut stream = good.clone();
            for _ in 0..3 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let at = usize::try_from(random >> 8).unwrap() % stream.len();
                stream[at] = random.to_le_bytes()[0];
                let start = at / 512 * 512;
                let mut header = tar::Header::new_old();
                header.as_mut_bytes().copy_from_slice(&stream[start..start + 512]);
                // The checksum is put right, or nearly every stream would be refused for that alone.
                header.set_cksum();
                stream[start..start + 512].copy_from_slice(header.as_bytes());
            }
            let mut rootfs = Rootfs::open(&root, Owners::Caller).unwrap();
            let _ = unpack(&stream[..], Layer::Image, &mut rootfs, &mut ROOM.clone(), &mut |_, _| Ok(()));
            let _ = rootfs.finish();
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        assert_eq!(fs::read_to_string(folder.path().join("outside")).unwrap(), "safe");
    }

    #[test]
    fn what_is_no_archive_is_said_without_its_bytes() {
        let (_folder, root) = sandbox();
        let mut rootfs = Rootfs::open(&root, Owners::Caller).unwrap();
        let stream = [b'\x1b'; 1024];
        let result = unpack(&stream[..], Layer::Plain, &mut rootfs, &mut ROOM.clone(), &mut |_, _| Ok(()));
        let text = result.unwrap_err().to_string();
        assert!(text.starts_with("it is not a tar archive") && !text.contains('\x1b'), "{text}");
    }

    #[test]
    fn an_interruption_stops_the_work() {
        let (_folder, root) = sandbox();
        let stream = Entries::new().file("f", "x").0.into_inner().unwrap();
        let mut rootfs = Rootfs::open(&root, Owners::Caller).unwrap();
        let mut stop = |_: &str, _| Err(Error::new("interrupted by SIGINT"));
        let result = unpack(&stream[..], Layer::Plain, &mut rootfs, &mut ROOM.clone(), &mut stop);
        assert_eq!(result.unwrap_err().to_string(), "interrupted by SIGINT");
    }
}
