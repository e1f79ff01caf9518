//! Snapshots: a tenant's disk and settings as they were. The runtime process, with the caller's privilege; the tenant's
//! lock is held by the caller.
//!
//! `NAME/snapshots/SNAP/{snapshot.toml, upper | disk.img}`; `NAME/snapshots/current` names the one the disk came from.
//! A snapshot that is being made has a name with `.new-` before it and takes its own by rename.

use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::container::Status;
use crate::error::{Call, Error, Kind, Result};
use crate::log;
use crate::sys::time;
use crate::tenant::config::Config;
use crate::tenant::disk;
use crate::tenant::duplicate;
use crate::tenant::estate::{Estate, Tenant, names_in, read_limited, write_whole};
use crate::tenant::ids::of_caller;
use crate::tenant::look;
use crate::tenant::name::Name;
use crate::tenant::workspace::remove_tree;

const FOLDER: &str = "snapshots";
const FACTS: &str = "snapshot.toml";
const MAKING: &str = ".new-";

/// What a rollback leads to, as long as it is on its way.
const TARGET: &str = "rolling.toml";

#[derive(Debug, Serialize, Deserialize)]
struct Target {
    snapshot: Name,
    settings: Config,
}

/// What is known of a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// Its name.
    pub name: Name,
    /// When it was taken, RFC 3339.
    pub created: String,
    /// The snapshot that the disk had come from, or that was taken before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Name>,
    /// The operator's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// How long the tenant stood still for it, in milliseconds.
    pub paused_ms: u64,
    /// The tenant's settings.
    pub settings: Config,
}

/// Where the snapshots of a tenant lie.
pub fn folder_of(tenant: &Tenant) -> PathBuf {
    tenant.folder.join(FOLDER)
}

/// The disk of a snapshot.
pub fn disk_of(tenant: &Tenant, snapshot: &Snapshot) -> PathBuf {
    folder_of(tenant).join(snapshot.name.as_str()).join(duplicate::item(&snapshot.settings))
}

/// A name that says when, and that no snapshot of the tenant has: `20260102-030405`, after `prefix`.
///
/// # Errors
/// None that a clock can cause.
pub fn name_of_now(tenant: &Tenant, prefix: &str) -> Result<Name> {
    let time = time::rfc3339(time::now());
    let digits: String = time.chars().take(19).filter(|c| *c != '-' && *c != ':').collect();
    let name = format!("{prefix}{}", digits.replace('T', "-"));
    let more = (2..100).map(|number| format!("{name}-{number}"));
    let is_free = |name: &String| !folder_of(tenant).join(name).exists();
    Name::new(std::iter::once(name.clone()).chain(more).find(is_free).unwrap_or(name))
}

/// Takes one.
///
/// # Errors
/// Exit code 44 when there is one of that name, 46 without room. Nothing is left then.
pub fn create(estate: &Estate, tenant: &Tenant, name: &Name, note: Option<String>) -> Result<Snapshot> {
    settle(estate, tenant)?;
    let making = begin(tenant, name)?;
    let made = fill(estate, tenant, &making, name, note);
    made.and_then(|snapshot| finish(tenant, &making, name).map(|()| snapshot)).inspect_err(|_| {
        if let Err(left) = remove_tree(&making, &of_caller(&estate.host)) {
            log::warning(left.doing("after the failure something was left"));
        }
    })
}

fn fill(
    estate: &Estate,
    tenant: &Tenant,
    making: &Path,
    name: &Name,
    note: Option<String>,
) -> Result<Snapshot> {
    let paused = duplicate::capture(estate, tenant, &making.join(duplicate::item(&tenant.config)))?;
    let snapshot = facts(tenant, name, note, paused);
    write_facts(making, &snapshot)?;
    Ok(snapshot)
}

fn facts(tenant: &Tenant, name: &Name, note: Option<String>, paused: Duration) -> Snapshot {
    Snapshot {
        name: name.clone(),
        created: time::rfc3339(time::now()),
        parent: current(tenant),
        note,
        paused_ms: u64::try_from(paused.as_millis()).unwrap_or(u64::MAX),
        settings: tenant.config.clone(),
    }
}

fn write_facts(folder: &Path, snapshot: &Snapshot) -> Result<()> {
    let text = toml::to_string(snapshot).map_err(|error| Error::new(error.to_string()))?;
    write_whole(folder, FACTS, text.as_bytes())
}

fn begin(tenant: &Tenant, name: &Name) -> Result<PathBuf> {
    let folder = folder_of(tenant);
    if folder.join(name.as_str()).exists() {
        return Err(Error::new(format!("there is a snapshot '{name}' already"))
            .hint(format!("'isolate tenant snapshot rm {} {name}' removes it", tenant.name))
            .code(44));
    }
    let making = folder.join(format!("{MAKING}{name}"));
    DirBuilder::new().recursive(true).mode(0o700).create(&making).call(|| format!("mkdir({making:?})"))?;
    Ok(making)
}

fn finish(tenant: &Tenant, making: &Path, name: &Name) -> Result<()> {
    let path = folder_of(tenant).join(name.as_str());
    std::fs::rename(making, &path).call(|| format!("rename({making:?}, {path:?})"))?;
    write_whole(&folder_of(tenant), "current", name.as_str().as_bytes())
}

/// The snapshot that the disk came from, or that was taken last.
pub fn current(tenant: &Tenant) -> Option<Name> {
    let text = read_limited(&folder_of(tenant).join("current")).ok()?;
    let name = Name::new(text.trim()).ok()?;
    folder_of(tenant).join(name.as_str()).is_dir().then_some(name)
}

/// One of a tenant's snapshots.
///
/// # Errors
/// Exit code 14 when there is none of that name; or its file cannot be read.
pub fn find(tenant: &Tenant, name: &Name) -> Result<Snapshot> {
    let path = folder_of(tenant).join(name.as_str()).join(FACTS);
    let text = read_limited(&path).map_err(|error| match error.errno() {
        Some(nix::errno::Errno::ENOENT) => Error::new(format!("there is no snapshot '{name}'"))
            .hint(format!("'isolate tenant snapshot ls {}' shows all", tenant.name))
            .kind(Kind::NotFound)
            .code(14),
        _ => error,
    })?;
    let snapshot: Snapshot = toml::from_str(&text)
        .map_err(|error| Error::new(error.message().to_owned()).at(path.display().to_string()))?;
    match snapshot.name == *name {
        true => Ok(snapshot),
        false => {
            Err(Error::new(format!("it says that it is '{}'", snapshot.name)).at(path.display().to_string()))
        }
    }
}

/// All of them, the oldest first.
///
/// # Errors
/// One that cannot be read.
pub fn all(tenant: &Tenant) -> Result<Vec<Snapshot>> {
    let names = names_in(&folder_of(tenant))?;
    let mut found = names.iter().map(|name| find(tenant, name)).collect::<Result<Vec<_>>>()?;
    found.sort_by(|one, other| (&one.created, &one.name).cmp(&(&other.created, &other.name)));
    Ok(found)
}

/// What its disk takes on the host, in bytes; blocks that are shared count for each that shares them.
pub fn bytes_of(path: &Path) -> u64 {
    let own = std::fs::symlink_metadata(path).map_or(0, |found| found.blocks() * 512);
    let inside = std::fs::read_dir(path).into_iter().flatten().flatten();
    inside.fold(own, |sum, entry| {
        let deeper = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let size = || entry.metadata().map_or(0, |found| found.blocks() * 512);
        sum + if deeper { bytes_of(&entry.path()) } else { size() }
    })
}

/// Removes one.
///
/// # Errors
/// Exit code 14 when it is not there.
pub fn remove(estate: &Estate, tenant: &Tenant, name: &Name) -> Result<()> {
    settle(estate, tenant)?;
    find(tenant, name)?;
    let (path, gone) =
        (folder_of(tenant).join(name.as_str()), folder_of(tenant).join(format!("{MAKING}{name}")));
    // Killed before the second call it is there again, after it gone (`settle`): never half of it.
    std::fs::rename(&path, &gone).call(|| format!("rename({path:?})"))?;
    std::fs::remove_file(gone.join(FACTS)).call(|| format!("unlink({gone:?})"))?;
    remove_tree(&gone, &of_caller(&estate.host))
}

/// Makes the disk and the settings what they were in a snapshot. The state that is left becomes a snapshot too, whose
/// name is returned.
///
/// # Errors
/// Exit code 32 when the tenant runs, 14 without the snapshot. Disk and settings are then as they were.
pub fn roll_back(estate: &Estate, tenant: &Tenant, name: &Name) -> Result<Name> {
    settle(estate, tenant)?;
    let snapshot = find(tenant, name)?;
    if look::status(estate, &tenant.name)? != Status::Stopped {
        let hint = "stop it, or use --restart";
        return Err(Error::new("it is running").hint(hint).kind(Kind::WrongState).code(32));
    }
    disk::wait_until_free(&tenant.folder)?;
    let (disk, fresh) = (duplicate::of_tenant(tenant), fresh_of(tenant));
    let from = disk_of(tenant, &snapshot);
    match tenant.config.disk.fs {
        Some(_) => duplicate::file(&from, &fresh)?,
        None => duplicate::tree(estate, &from, &fresh)?,
    }
    let left = name_of_now(tenant, "before-")?;
    let making = begin(tenant, &left)?;
    write_facts(
        &making,
        &facts(tenant, &left, Some(format!("before the rollback to {name}")), Duration::ZERO),
    )?;
    let rename =
        |from: &Path, to: &Path| std::fs::rename(from, to).call(|| format!("rename({from:?}, {to:?})"));
    let config = Config {
        uuid: tenant.config.uuid.clone(),
        created: tenant.config.created.clone(),
        first_id: tenant.config.first_id,
        admin: tenant.config.admin.clone(),
        ..snapshot.settings
    };
    let target = Target { snapshot: name.clone(), settings: config };
    let text = toml::to_string(&target).map_err(|error| Error::new(error.to_string()))?;
    write_whole(&folder_of(tenant), TARGET, text.as_bytes())?;
    // From here on `settle` completes it.
    rename(&disk, &making.join(duplicate::item(&tenant.config)))?;
    rename(&fresh, &disk)?;
    finish(tenant, &making, &left)?;
    arrive(estate, tenant, target)?;
    Ok(left)
}

/// The last part of a rollback: the settings, after the disk.
fn arrive(estate: &Estate, tenant: &Tenant, target: Target) -> Result<()> {
    estate.save(&Tenant { config: target.settings, ..tenant.clone() })?;
    write_whole(&folder_of(tenant), "current", target.snapshot.as_str().as_bytes())?;
    forget_target(tenant)
}

fn forget_target(tenant: &Tenant) -> Result<()> {
    let path = folder_of(tenant).join(TARGET);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(format!("unlink({path:?})"), &error))
        }
        _ => Ok(()),
    }
}

/// Where a rollback that was killed was going.
fn read_target(tenant: &Tenant) -> Option<Target> {
    toml::from_str(&read_limited(&folder_of(tenant).join(TARGET)).ok()?).ok()
}

/// The disk a rollback prepares.
fn fresh_of(tenant: &Tenant) -> PathBuf {
    duplicate::of_tenant(tenant).with_extension("fresh")
}

/// Whether a command that was killed has left something that [`settle`] would complete or undo.
pub fn is_unsettled(tenant: &Tenant) -> bool {
    let entries = std::fs::read_dir(folder_of(tenant)).into_iter().flatten().flatten();
    let mut names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    fresh_of(tenant).exists() || names.any(|name| name.starts_with(MAKING) || name == TARGET)
}

/// Completes or undoes what a command that was killed has left.
///
/// # Errors
/// The call that failed.
pub fn settle(estate: &Estate, tenant: &Tenant) -> Result<()> {
    let (disk, fresh) = (duplicate::of_tenant(tenant), fresh_of(tenant));
    let maps = of_caller(&estate.host);
    let remove = |path: &Path| match path.is_dir() {
        true => remove_tree(path, &maps),
        false => std::fs::remove_file(path).call(|| format!("unlink({path:?})")),
    };
    if fresh.exists() {
        match disk.exists() {
            // The rollback had not begun to change anything.
            true => {
                forget_target(tenant)?;
                remove(&fresh)?;
            }
            false => std::fs::rename(&fresh, &disk).call(|| format!("rename({fresh:?}, {disk:?})"))?,
        }
    }
    for entry in std::fs::read_dir(folder_of(tenant)).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(name) = name.strip_prefix(MAKING) else { continue };
        let path = entry.path();
        let complete =
            path.join(FACTS).exists() && ["upper", disk::FILE].iter().any(|item| path.join(item).exists());
        match Name::new(name) {
            Ok(name) if complete => finish(tenant, &path, &name)?,
            _ => remove(&path)?,
        }
    }
    // The disk has arrived: it was written before the disk moved.
    read_target(tenant).map_or(Ok(()), |target| arrive(estate, tenant, target))
}
