//! What differs between two states of a tenant's disk: what was added, removed and changed, by name, kind, owner, mode,
//! size, time and target. A child of the runtime process looks, with the caller's privilege; nothing is changed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Call, Error, Result};
use crate::tenant::aside;
use crate::tenant::config::{Config, FileSystem};
use crate::tenant::disk;
use crate::tenant::estate::Estate;
use crate::tenant::layers;

/// The most names that are told.
const MOST: usize = 100_000;

/// One state.
#[derive(Debug, Clone)]
pub struct State<'a> {
    /// The folder of files, or the image.
    pub disk: PathBuf,
    /// The settings at that time.
    pub settings: &'a Config,
}

/// One name that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// `added`, `removed` or `changed`; of the template's files `removed` when they were deleted.
    pub change: &'static str,
    /// The path inside.
    pub path: String,
}

/// The differences from `old` to `new`, sorted by path.
///
/// # Errors
/// A state that cannot be read.
pub fn between(estate: &Estate, folder: &Path, old: &State<'_>, new: &State<'_>) -> Result<Vec<Difference>> {
    let told = tempfile_in(folder)?;
    let path = told.0.clone();
    aside::run(|| {
        layers::become_owner(&estate.host, &crate::tenant::ids::of_caller(&estate.host))?;
        let (old, new) = (list(folder, old)?, list(folder, new)?);
        write(&path, &compare(&old, &new))
    })?;
    read(&path)
}

/// A file for the child's answer, which goes with this value.
struct Answer(PathBuf);

impl Drop for Answer {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn tempfile_in(folder: &Path) -> Result<Answer> {
    let path = folder.join(".diff");
    File::create(&path).call(|| format!("create({path:?})"))?;
    Ok(Answer(path))
}

/// What is compared of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    mode: u32,
    owner: (u32, u32),
    size: u64,
    modified: (i64, i64),
    target: Option<PathBuf>,
    whiteout: bool,
}

type Tree = BTreeMap<String, Seen>;

fn list(folder: &Path, state: &State<'_>) -> Result<Tree> {
    let mut tree = Tree::new();
    match state.settings.disk.fs {
        None => walk(&state.disk, "", &mut tree)?,
        Some(fs) => walk(&mount(folder, &state.disk, fs)?.join("upper"), "", &mut tree)?,
    }
    Ok(tree)
}

/// The image of a state, mounted over the tenant's folder for roots in a mount namespace of this child alone.
fn mount(folder: &Path, image: &Path, fs: FileSystem) -> Result<PathBuf> {
    disk::leave_mounts()?;
    let target = folder.join("root");
    disk::mount_to_read(image, fs, &target)?;
    Ok(target)
}

fn walk(folder: &Path, below: &str, tree: &mut Tree) -> Result<()> {
    let entries = std::fs::read_dir(folder).call(|| format!("readdir({folder:?})"))?;
    for entry in entries {
        let entry = entry.call(|| format!("readdir({folder:?})"))?;
        // Of the folder's own, never through a link.
        let found = entry.metadata().call(|| format!("lstat({:?})", entry.path()))?;
        let path = format!("{below}/{}", entry.file_name().to_string_lossy().escape_debug());
        let kind = found.file_type();
        let size = if kind.is_file() { found.size() } else { 0 };
        // The time of a folder changes with every name in it, which is told by itself.
        let modified = if kind.is_dir() { (0, 0) } else { (found.mtime(), found.mtime_nsec()) };
        let target = kind.is_symlink().then(|| std::fs::read_link(entry.path()).ok()).flatten();
        let whiteout = kind.is_char_device() && found.rdev() == 0;
        let owner = (found.uid(), found.gid());
        tree.insert(path.clone(), Seen { mode: found.mode(), owner, size, modified, target, whiteout });
        if kind.is_dir() {
            walk(&entry.path(), &path, tree)?;
        }
    }
    Ok(())
}

fn compare(old: &Tree, new: &Tree) -> Vec<Difference> {
    let mut found = vec![];
    let mut tell = |change, path: &String| found.push(Difference { change, path: path.clone() });
    for (path, seen) in new {
        match old.get(path) {
            None if seen.whiteout => tell("removed", path),
            None => tell("added", path),
            Some(before) if before == seen => {}
            Some(before) if before.whiteout => tell("added", path),
            Some(_) if seen.whiteout => tell("removed", path),
            Some(_) => tell("changed", path),
        }
    }
    old.iter()
        .filter(|(path, seen)| !new.contains_key(*path) && !seen.whiteout)
        .for_each(|(path, _)| tell("removed", path));
    let back = old.iter().filter(|(path, seen)| !new.contains_key(*path) && seen.whiteout);
    back.for_each(|(path, _)| tell("added", path));
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

fn write(path: &Path, found: &[Difference]) -> Result<()> {
    if found.len() > MOST {
        return Err(Error::new(format!("{} names differ, more than can be told", found.len())));
    }
    let lines: String = found.iter().map(|one| format!("{} {}\n", one.change, one.path)).collect();
    let file = File::options().write(true).truncate(true).open(path);
    file.and_then(|mut file| file.write_all(lines.as_bytes())).call(|| format!("write({path:?})"))
}

fn read(path: &Path) -> Result<Vec<Difference>> {
    let file = File::open(path).call(|| format!("open({path:?})"))?;
    let mut found = vec![];
    for line in BufReader::new(file).lines() {
        let line = line.call(|| format!("read({path:?})"))?;
        let Some((word, path)) = line.split_once(' ') else { continue };
        let change = ["added", "removed", "changed"].into_iter().find(|known| *known == word);
        found.extend(change.map(|change| Difference { change, path: path.to_owned() }));
    }
    Ok(found)
}
