//! Imported templates: roots that tenants share, stored once and never written to again. The runtime process, with
//! the caller's privilege.
//!
//! A template is made under a name that is none, and gets its own by rename: there is no half of one.

use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Call, Error, Kind, Result};
use crate::log;
use crate::sys::lock::{Lock, Wait};
use crate::sys::time;
use crate::tenant::config::Mode;
use crate::tenant::estate::{Estate, names_in, read_limited, write_whole};
use crate::tenant::ids::of_caller;
use crate::tenant::name::Name;
use crate::tenant::prepare;
use crate::tenant::rootfs::Rootfs;
use crate::tenant::skeleton;
use crate::tenant::template::{Source, Template};
use crate::tenant::unpack::Watch;
use crate::tenant::workspace::remove_tree;

/// What folders under construction are called; no [`Name`] begins so.
const UNFINISHED: &str = ".import-";

/// What is known of an imported template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// Version of this file's format: 1.
    pub format: u32,
    /// Its name.
    pub name: Name,
    /// `sha256:` of its tree: names, owners, permissions, content.
    pub digest: String,
    /// When it was imported, RFC 3339.
    pub created: String,
    /// What it was made from, in the words of whoever imported it.
    pub source: String,
    /// Bytes of its files.
    pub bytes: u64,
    /// Number of its files and folders.
    pub files: u64,
    /// The init in it, if there is one.
    pub init: Option<Init>,
    /// What an image runs by default; empty: nothing is named.
    pub command: Vec<String>,
    /// A shell in it.
    pub shell: Option<String>,
    /// Variables.
    pub env: Vec<String>,
    /// The image's working folder.
    pub workdir: Option<String>,
    /// The image's user.
    pub user: Option<String>,
    /// Folders of the host that are shown read-only.
    pub binds: Vec<String>,
}

/// An init that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Init {
    /// Its kind.
    pub mode: Mode,
    /// Its path in the root.
    pub path: String,
}

/// Imports `template` (with its tree) as `name`; warnings come back.
///
/// # Errors
/// Exit code 43 when the name is taken; 46 without room; what the source lacks; an interruption. Nothing is left.
pub fn import(
    estate: &Estate,
    name: &Name,
    template: &Template,
    source: Option<&Source>,
    words: &str,
    watch: &mut Watch<'_>,
) -> Result<(Imported, Vec<String>)> {
    estate.make()?;
    sweep(estate);
    check_free(estate, name)?;
    let place = estate.templates().join(name.as_str());
    let folder = Unfinished::make(estate, "")?;
    let root = folder.path.join("root");
    std::fs::DirBuilder::new().mode(0o755).create(&root).call(|| format!("mkdir({root:?})"))?;
    let mut rootfs = Rootfs::open(&root, estate.owners())?;
    let mut space = prepare::space(&root)?;
    let (defaults, left_out) = prepare::fill(template, source, &mut rootfs, &mut space, watch)?;
    let binds = skeleton::build(template, &mut rootfs)?;
    skeleton::add_mount_points(&mut rootfs)?;
    let (init, shell) = (find_init(&rootfs, &binds), prepare::find_shell(template, &rootfs, &binds));
    rootfs.finish()?;
    let tree = digest(&root, watch)?;
    let imported = Imported {
        format: 1,
        name: name.clone(),
        digest: tree.digest,
        created: time::rfc3339(time::now()),
        source: words.to_owned(),
        bytes: tree.bytes,
        files: tree.files,
        init,
        command: defaults.command,
        shell,
        env: prepare::template_env(template, defaults.env),
        workdir: defaults.workdir,
        user: defaults.user,
        binds,
    };
    let text = serde_json::to_vec_pretty(&imported).map_err(|error| Error::new(error.to_string()))?;
    write_whole(&folder.path, "template.json", &text)?;
    folder.finish(&place, name)?;
    Ok((imported, prepare::left_out_warning(left_out).into_iter().collect()))
}

/// Whether a template may be called so.
///
/// # Errors
/// Exit code 43 when one is.
pub fn check_free(estate: &Estate, name: &Name) -> Result<()> {
    if estate.templates().join(name.as_str()).exists() { Err(taken(name)) } else { Ok(()) }
}

fn taken(name: &Name) -> Error {
    Error::new(format!("there is a template '{name}' already"))
        .hint(format!("'isolate tenant template rm {name}' removes it, if no tenant uses it"))
        .code(43)
}

/// systemd, else any other init at the usual place; in the root, or in a folder that the host shows.
fn find_init(rootfs: &Rootfs, binds: &[String]) -> Option<Init> {
    let is_program = |path: &str| prepare::has_program(rootfs, binds, path);
    let init = |mode| Some(Init { mode, path: "/sbin/init".to_owned() });
    let systemd = ["/lib/systemd/systemd", "/usr/lib/systemd/systemd"].into_iter().any(is_program);
    match is_program("/sbin/init") {
        true if systemd => init(Mode::Systemd),
        true => init(Mode::Init),
        false => None,
    }
}

/// A folder for what is fetched before it is imported; it goes away with the value.
///
/// # Errors
/// The call that failed.
pub fn workshop(estate: &Estate) -> Result<Unfinished<'_>> {
    estate.make()?;
    Unfinished::make(estate, "pull-")
}

/// A folder under construction; dropped, it goes away.
#[derive(Debug)]
pub struct Unfinished<'a> {
    path: PathBuf,
    estate: &'a Estate,
    lock: Option<Lock<File>>,
}

impl<'a> Unfinished<'a> {
    fn make(estate: &'a Estate, what: &str) -> Result<Unfinished<'a>> {
        let path = estate.templates().join(format!("{UNFINISHED}{what}{}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o700).create(&path).call(|| format!("mkdir({path:?})"))?;
        let file = File::open(&path).call(|| format!("open({path:?})"))?;
        let lock = Lock::take(file, Wait::Never);
        let lock = lock.map_err(|(_, errno)| Error::sys(format!("flock({path:?})"), errno))?;
        Ok(Unfinished { path, estate, lock: Some(lock) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn finish(mut self, place: &Path, name: &Name) -> Result<()> {
        match std::fs::rename(&self.path, place) {
            Ok(()) => {
                self.lock = None;
                Ok(())
            }
            // Somebody was faster.
            Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => Err(taken(name)),
            Err(error) => Err(Error::io(format!("rename({place:?})"), &error)),
        }
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if self.lock.is_some()
            && let Err(error) = remove_tree(&self.path, &of_caller(&self.estate.host))
        {
            log::warning(error.doing("cannot remove an unfinished template"));
        }
    }
}

/// What imports that were killed have left behind, each with a lock that says that nobody is at it.
fn unfinished_and_locked(estate: &Estate) -> Vec<(PathBuf, Lock<File>)> {
    let entries = std::fs::read_dir(estate.templates()).into_iter().flatten().flatten();
    let unfinished = entries.filter(|entry| entry.file_name().as_bytes().starts_with(UNFINISHED.as_bytes()));
    let locked = unfinished.filter_map(|entry| {
        let lock = Lock::take(File::open(entry.path()).ok()?, Wait::Never).ok()?;
        Some((entry.path(), lock))
    });
    locked.collect()
}

/// What imports that were killed have left behind.
pub fn unfinished(estate: &Estate) -> Vec<PathBuf> {
    unfinished_and_locked(estate).into_iter().map(|(path, _)| path).collect()
}

/// Removes it.
pub fn sweep(estate: &Estate) {
    for (path, _lock) in unfinished_and_locked(estate) {
        if let Err(error) = remove_tree(&path, &of_caller(&estate.host)) {
            log::warning(error.doing("cannot remove an unfinished template"));
        }
    }
}

/// A template's root and what is known of it.
///
/// # Errors
/// Exit code 91 when there is none; the error lists those there are.
pub fn find(estate: &Estate, name: &Name) -> Result<(Imported, PathBuf)> {
    let folder = estate.templates().join(name.as_str());
    let text = match read_limited(&folder.join("template.json")) {
        Err(error) if error.errno() == Some(nix::errno::Errno::ENOENT) => {
            return Err(no_template(estate, name));
        }
        text => text?,
    };
    let imported: Imported = serde_json::from_str(&text).map_err(|error| {
        Error::new(error.to_string()).at(folder.join("template.json").display().to_string())
    })?;
    Ok((imported, folder.join("root")))
}

fn no_template(estate: &Estate, name: &Name) -> Error {
    let names = names_in(&estate.templates()).unwrap_or_default();
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let there = if names.is_empty() {
        "none is imported".to_owned()
    } else {
        format!("there are {}", names.join(", "))
    };
    Error::new(format!("no template is called '{name}'; {there}"))
        .hint(format!("'isolate tenant template import --as {name} SOURCE' makes one"))
        .kind(Kind::NotFound)
        .code(91)
}

/// All imported templates, sorted; broken ones are told and left out.
///
/// # Errors
/// A folder that cannot be read.
pub fn list(estate: &Estate) -> Result<Vec<Imported>> {
    let found = names_in(&estate.templates())?.into_iter().map(|name| find(estate, &name));
    Ok(found.filter_map(|found| found.map_err(log::warning).ok()).map(|(imported, _)| imported).collect())
}

/// Names of the tenants that were made from it. Tenants whose settings cannot be read count for every template.
///
/// # Errors
/// A folder that cannot be read.
pub fn users(estate: &Estate, name: &Name) -> Result<Vec<Name>> {
    let uses = |tenant: &Name| match estate.tenant(tenant) {
        Ok(found) => found.config.template.name == *name,
        Err(error) => !estate.folder(tenant).join("tenant.toml").exists() && error.get_code() != Some(14),
    };
    Ok(estate.names()?.into_iter().filter(uses).collect())
}

/// Removes a template.
///
/// # Errors
/// Exit code 91 when there is none; a tenant that uses it.
pub fn remove(estate: &Estate, name: &Name) -> Result<()> {
    find(estate, name)?;
    let users: Vec<String> = users(estate, name)?.iter().map(ToString::to_string).collect();
    if !users.is_empty() {
        return Err(Error::new(format!("tenants use it: {}", users.join(", "))).hint("destroy them first"));
    }
    // Out of the way first: nobody finds half of it.
    let away = estate.templates().join(format!("{UNFINISHED}rm-{}", std::process::id()));
    let place = estate.templates().join(name.as_str());
    std::fs::rename(&place, &away).call(|| format!("rename({place:?})"))?;
    remove_tree(&away, &of_caller(&estate.host))
}

/// Whether the tree is still what was imported.
///
/// # Errors
/// Names both digests when not; a call that failed.
pub fn verify(estate: &Estate, name: &Name, watch: &mut Watch<'_>) -> Result<Imported> {
    let (imported, root) = find(estate, name)?;
    let now = digest(&root, watch)?.digest;
    match now == imported.digest {
        true => Ok(imported),
        false => Err(Error::new(format!("it has changed: it was {}, and is {now}", imported.digest))
            .hint("import it anew under another name; tenants made from it see the change")),
    }
}

/// A tree in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// `sha256:` and 64 digits.
    pub digest: String,
    /// Bytes of its files.
    pub bytes: u64,
    /// Entries.
    pub files: u64,
}

/// Digest of a tree that nobody else changes: of every entry, in the order of names, its path, kind, owner,
/// permissions and content. Times do not count.
///
/// # Errors
/// The call that failed; an interruption.
pub fn digest(root: &Path, watch: &mut Watch<'_>) -> Result<Tree> {
    let (mut hash, mut bytes, mut files) = (Sha256::new(), 0, 0);
    let mut paths = vec![root.to_owned()];
    while let Some(path) = paths.pop() {
        let found = std::fs::symlink_metadata(&path).call(|| format!("stat({path:?})"))?;
        let inside = path.strip_prefix(root).unwrap_or(&path);
        watch(&inside.to_string_lossy(), bytes)?;
        hash.update((inside.as_os_str().len() as u64).to_le_bytes());
        hash.update(inside.as_os_str().as_bytes());
        for number in [found.mode(), found.uid(), found.gid()] {
            hash.update(number.to_le_bytes());
        }
        files += 1;
        if found.is_dir() {
            let entries = std::fs::read_dir(&path).call(|| format!("readdir({path:?})"))?;
            let mut below: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
            below.sort_by(|one, other| other.cmp(one));
            paths.extend(below);
        } else if found.is_symlink() {
            hash.update(
                std::fs::read_link(&path).call(|| format!("readlink({path:?})"))?.as_os_str().as_bytes(),
            );
        } else if found.is_file() {
            hash.update(found.len().to_le_bytes());
            bytes += add_file(&mut hash, &path)?;
        }
    }
    let digest: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Tree { digest: format!("sha256:{digest}"), bytes, files })
}

fn add_file(hash: &mut Sha256, path: &Path) -> Result<u64> {
    let mut file = File::open(path).call(|| format!("open({path:?})"))?;
    let (mut buffer, mut total) = (vec![0; 128 << 10], 0);
    loop {
        match file.read(&mut buffer).call(|| format!("read({path:?})"))? {
            0 => return Ok(total),
            count => {
                hash.update(&buffer[..count]);
                total += count as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_tells_any_change_but_of_time() {
        let folder = tempfile::tempdir().unwrap();
        let of = || digest(folder.path(), &mut |_, _| Ok(())).unwrap();
        std::fs::write(folder.path().join("a"), "one").unwrap();
        let first = of();
        assert_eq!((first.bytes, first.files), (3, 2));
        std::fs::write(folder.path().join("a"), "one").unwrap();
        assert_eq!(of(), first);
        std::fs::write(folder.path().join("a"), "two").unwrap();
        assert_ne!(of().digest, first.digest);
        std::fs::rename(folder.path().join("a"), folder.path().join("b")).unwrap();
        let moved = of();
        std::os::unix::fs::symlink("b", folder.path().join("c")).unwrap();
        assert_ne!(of().digest, moved.digest);
    }
}
