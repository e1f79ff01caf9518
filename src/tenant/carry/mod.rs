//! `push` and `pull`: files between the host and a tenant. Two processes and a pipe: the runtime process has the host's
//! files, with the caller's privilege, and [`inside`] has a child that has the tenant's. Neither knows a path of the
//! other's.

mod patient;
pub mod receive;
pub mod send;
mod sink;
pub mod stream;

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, OFlag, fcntl, openat};
use nix::sys::stat::{Mode, umask};

use crate::error::{Call, Error, Explain, Kind, Result};
use crate::ids::RootPath;
use crate::sys::path::RootFolder;
use crate::tenant::estate::{Estate, Tenant};
use crate::tenant::inside;
use crate::tenant::interrupt::Interrupt;
use crate::tenant::settings;
use crate::tenant::unpack::Watch;
use crate::tenant::users;

use patient::Patient;
use receive::{Look, Place};
use send::Sender;
pub use stream::Tally;

/// Standard input, or output, in the place of a path.
pub const STREAM: &str = "-";

/// The most that is read of the tenant's `passwd` and `group`.
const NAMES: u64 = 1 << 20;

/// Whether folders on the way to the destination are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parents {
    /// They have to be there.
    Expect,
    /// They are made.
    Make,
}

/// Where what is carried goes.
#[derive(Debug, Clone)]
pub struct Target {
    /// A folder into which it goes, or its new name.
    pub path: PathBuf,
    /// What about folders that are missing.
    pub parents: Parents,
    /// Whose it is then, and its mode.
    pub look: Look,
    /// Who owns it, as a name, UID or UID:GID of the tenant's; absent: root.
    pub user: Option<String>,
}

/// Copies files of the host into a tenant.
///
/// # Errors
/// What failed, on either side; exit code 46 without room inside. Files that had arrived before stay.
pub fn push(
    estate: &Estate,
    tenant: &Tenant,
    sources: &[PathBuf],
    target: &Target,
    watch: &mut Watch<'_>,
    interrupt: &Interrupt,
) -> Result<Tally> {
    let several = sources.len() > 1;
    let is_stream = sources == [Path::new(STREAM)];
    if is_stream && ends_as_folder(&target.path) {
        return Err(nameless_stream());
    }
    let sources = sources.iter().map(|path| Source::open(path)).collect::<Result<Vec<_>>>()?;
    let (reader, writer) = std::io::pipe().call(|| "pipe2")?;
    let (child, writer) = inside::begin(estate, tenant, "push", writer, |root| {
        let look = Look { owner: owner(root, target.user.as_deref())?, ..target.look };
        let place = place_inside(root, target, several)?;
        if is_stream && place.needs_name() {
            return Err(nameless_stream());
        }
        receive::receive(&mut BufReader::new(reader), &place, &look, &mut |_, _| Ok(())).map(drop)
    })?;
    let nonblocking = fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).call(|| "fcntl(O_NONBLOCK)");
    let mut sender = Sender::new(BufWriter::new(Patient::new(writer, interrupt)), watch);
    let sent = nonblocking
        .and_then(|_| sources.into_iter().try_for_each(|source| source.send(&mut sender, interrupt)));
    // It is given up before the child is waited for, which hears of the end in this way.
    let sent = sent.and_then(|()| sender.finish());
    both(interrupt, sent, child.finish(interrupt))
}

/// Copies files of a tenant to the host.
///
/// # Errors
/// What failed, on either side. Files that had arrived before stay.
pub fn pull(
    estate: &Estate,
    tenant: &Tenant,
    sources: &[RootPath],
    target: &Target,
    watch: &mut Watch<'_>,
    interrupt: &Interrupt,
) -> Result<Tally> {
    let place = place_outside(target, sources.len() > 1)?;
    let (reader, writer) = std::io::pipe().call(|| "pipe2")?;
    let files_only = place.is_none();
    let (child, reader) = inside::begin(estate, tenant, "pull", reader, |root| {
        let mut nobody = |_: &str, _| Ok(());
        let mut sender = Sender::new(BufWriter::new(writer), &mut nobody);
        sources.iter().try_for_each(|path| send_inside(root, path, files_only, &mut sender))?;
        sender.finish().map(drop)
    })?;
    let mut reader = BufReader::new(Patient::new(reader, interrupt));
    let look = Look { mask: mask(), ..target.look };
    let received = match place {
        Some(place) => receive::receive(&mut reader, &place, &look, watch),
        None => receive::to_stream(&mut reader, &mut std::io::stdout().lock(), watch),
    };
    drop(reader);
    both(interrupt, received, child.finish(interrupt))
}

/// What the caller's new files never get, whatever the tenant wants for its own. This process has one thread.
fn mask() -> u32 {
    let mask = umask(Mode::empty());
    umask(mask);
    mask.bits()
}

/// What went wrong first: who ends early breaks the other's pipe.
fn both(interrupt: &Interrupt, ours: Result<Tally>, theirs: Result<()>) -> Result<Tally> {
    interrupt.check()?;
    match (ours, theirs) {
        (Ok(tally), theirs) => theirs.map(|()| tally),
        (Err(ours), Err(theirs)) if stream::is_broken(&ours) => Err(theirs),
        (Err(ours), _) => Err(ours),
    }
}

/// Something of the host's that is pushed.
enum Source {
    Stream,
    Named(OsString, File),
}

impl Source {
    /// A link that is named is followed, as by cp(1).
    fn open(path: &Path) -> Result<Source> {
        if path == Path::new(STREAM) {
            return Ok(Source::Stream);
        }
        let found = std::fs::metadata(path).call(|| format!("stat({path:?})"))?;
        if !found.is_dir() && !found.is_file() {
            return Err(Error::new(format!("{path:?} is neither a file nor a folder"))
                .hint("what a pipe or device says can be pushed as -, from standard input"));
        }
        let name = path.file_name().ok_or_else(|| nameless(path))?.to_owned();
        let mut options = File::options();
        let options = options.read(true).custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits());
        options.open(path).call(|| format!("open({path:?})")).map(|file| Source::Named(name, file))
    }

    fn send(self, sender: &mut Sender<'_, impl Write>, interrupt: &Interrupt) -> Result<()> {
        match self {
            Source::Stream => {
                // Nothing of ours holds bytes back that were read already: what waits is seen to wait.
                let stdin = std::io::stdin().as_fd().try_clone_to_owned().call(|| "dup(stdin)")?;
                sender.stream(&mut Patient::new(File::from(stdin), interrupt))
            }
            Source::Named(name, file) => sender.top(&name, &name, file),
        }
    }
}

fn nameless(path: &Path) -> Error {
    Error::new(format!("{path:?} has no name of its own")).hint("name the folder").kind(Kind::Usage).code(21)
}

fn nameless_stream() -> Error {
    Error::new("standard input has no name").hint("name a file as DEST").kind(Kind::Usage).code(21)
}

fn send_inside(
    root: &RootFolder,
    path: &RootPath,
    files_only: bool,
    sender: &mut Sender<'_, impl Write>,
) -> Result<()> {
    let name = path.as_path().file_name().ok_or_else(|| nameless(path.as_path()))?;
    if let Some(file) = root.open_file(path)? {
        return sender.top(name, path.as_path().as_os_str(), file);
    }
    let found = root.find(path)?.ok_or_else(|| {
        Error::new(format!("there is no {path} in the tenant")).kind(Kind::NotFound).code(14)
    })?;
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let folder = match openat(&found, ".", flags, Mode::empty()) {
        Err(nix::errno::Errno::ENOTDIR) => {
            return Err(Error::new(format!("{path} is neither a file nor a folder")));
        }
        folder => folder.call(|| format!("open({path}, in the root)"))?,
    };
    match files_only {
        true => Err(Error::new(format!("{path} is a folder")).hint("- takes one file").code(21)),
        false => sender.top(name, path.as_path().as_os_str(), File::from(folder)),
    }
}

/// Who is to own what is pushed: ids inside.
fn owner(root: &RootFolder, user: Option<&str>) -> Result<Option<(u32, u32)>> {
    let Some(user) = user else { return Ok(None) };
    let wanted = settings::parse_user(user).map_err(|error| error.code(21))?;
    let text = |path| -> Result<String> {
        let Some(file) = root.open_file(&RootPath::new(path))? else { return Ok(String::new()) };
        let mut bytes = vec![];
        file.take(NAMES).read_to_end(&mut bytes).call(|| format!("read({path})"))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let found = users::resolve(Some(&wanted), &text("/etc/passwd")?, &text("/etc/group")?);
    found.map(|user| Some((user.uid, user.gid))).map_err(|error| error.code(21))
}

/// The folder in the tenant, and the name there, if it is no folder that is named. Links are followed inside the root.
fn place_inside(root: &RootFolder, target: &Target, several: bool) -> Result<Place> {
    let path = RootPath::new(&target.path);
    let find_folder = |path: &RootPath| -> Result<Option<OwnedFd>> {
        let Some(found) = root.find(path)? else { return Ok(None) };
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(openat(&found, ".", flags, Mode::empty()).ok())
    };
    if let Some(folder) = find_folder(&path)? {
        return Ok(Place::into(folder));
    }
    let make = target.parents == Parents::Make;
    if several || ends_as_folder(&target.path) {
        return match make {
            true => root.make_folder(&path, 0o755).map(Place::into),
            false => Err(no_folder(&target.path)),
        };
    }
    let parent = RootPath::new(path.as_path().parent().unwrap_or(Path::new("/")));
    let folder = match (find_folder(&parent)?, make) {
        (None, true) => root.make_folder(&parent, 0o755)?,
        (found, _) => found.ok_or_else(|| no_folder(parent.as_path()))?,
    };
    let name = path.as_path().file_name().ok_or_else(|| nameless(&target.path))?;
    Ok(Place::named(folder, name))
}

/// The same on the host; `None` is standard output.
fn place_outside(target: &Target, several: bool) -> Result<Option<Place>> {
    let path = &target.path;
    if path == Path::new(STREAM) {
        return match several {
            true => Err(Error::new("- takes one file").kind(Kind::Usage).code(21)),
            false => Ok(None),
        };
    }
    let make = |path: &Path| match target.parents {
        Parents::Make => std::fs::create_dir_all(path).call(|| format!("mkdir({path:?})")),
        Parents::Expect => Ok(()),
    };
    let open = |path: &Path| {
        let mut options = File::options();
        let options = options.read(true).custom_flags((OFlag::O_DIRECTORY | OFlag::O_CLOEXEC).bits());
        options.open(path).map(OwnedFd::from).map_err(|error| match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => no_folder(path),
            _ => Error::io(format!("open({path:?})"), &error),
        })
    };
    if path.is_dir() {
        return open(path).map(|folder| Some(Place::into(folder)));
    }
    if several || ends_as_folder(path) {
        make(path)?;
        return open(path).map(|folder| Some(Place::into(folder)));
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| nameless(path))?;
    make(parent).and_then(|()| open(parent)).at(|| "DEST").map(|folder| Some(Place::named(folder, name)))
}

/// `a/` and `a/.` name a folder, whatever is there.
fn ends_as_folder(path: &Path) -> bool {
    let bytes = path.as_os_str().as_encoded_bytes();
    bytes.ends_with(b"/") || bytes.ends_with(b"/.")
}

fn no_folder(path: &Path) -> Error {
    Error::new(format!("there is no folder {path:?}"))
        .hint("--parents makes it")
        .kind(Kind::NotFound)
        .code(14)
}
