//! A tenant in one file: `export`, `import`, `verify`. A tar stream in zstd: `tenant.json` (what it is), then `upper/`,
//! its files over the template, with ids that begin at 0 and the marks of the overlay. Beside it `FILE.sha256`, as
//! sha256sum(1) reads it. The runtime process, with the caller's privilege; `tar` and `zstd` of the host do the packing.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::container::Status;
use crate::error::{Call, Error, Explain, Kind, Result};
use crate::sys::time;
use crate::tenant::archive::decompress;
use crate::tenant::aside;
use crate::tenant::birth;
use crate::tenant::config::{Config, DiskKind};
use crate::tenant::disk;
use crate::tenant::duplicate;
use crate::tenant::estate::{Estate, Tenant, write_whole};
use crate::tenant::identity;
use crate::tenant::ids::of_caller;
use crate::tenant::layers;
use crate::tenant::look;
use crate::tenant::name::Name;
use crate::tenant::offline;
use crate::tenant::snapshots::{self, Snapshot};
use crate::tenant::stock;
use crate::tenant::workspace::remove_tree;

/// The first member of a parcel.
const MANIFEST: &str = "tenant.json";

/// Format of the file.
const FORMAT: u32 = 1;

/// The most that is read of a manifest.
const LARGEST: u64 = 1 << 20;

/// What a parcel says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// 1.
    pub format: u32,
    /// The tenant's name when it was packed.
    pub name: Name,
    /// When, RFC 3339.
    pub exported: String,
    /// Its settings.
    pub settings: Config,
}

/// A parcel that was looked through.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Parcel {
    /// What it says of itself.
    pub manifest: Manifest,
    /// Bytes of the file.
    pub bytes: u64,
    /// Digest of the file.
    pub sha256: String,
}

/// Packs a tenant, as it is at one moment, or one of its snapshots, into the new file `file`.
///
/// # Errors
/// Exit code 44 when the file is there; what failed. Nothing is left then.
pub fn export(estate: &Estate, tenant: &Tenant, snapshot: Option<&Snapshot>, file: &Path) -> Result<Parcel> {
    snapshots::settle(estate, tenant)?;
    let sums = sums_of(file);
    if let Some(taken) = [file, &sums].into_iter().find(|path| path.exists()) {
        return Err(Error::new(format!("{taken:?} is there already, and is not overwritten")).code(44));
    }
    let staging = tenant.folder.join(".export");
    if staging.exists() {
        remove_tree(&staging, &of_caller(&estate.host))?;
    }
    std::fs::create_dir(&staging).call(|| format!("mkdir({staging:?})"))?;
    let packed = stage_and_pack(estate, tenant, snapshot, &staging, file);
    remove_tree(&staging, &of_caller(&estate.host))?;
    packed.inspect_err(|_| {
        let _ = std::fs::remove_file(file);
        let _ = std::fs::remove_file(&sums);
    })
}

fn sums_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".sha256");
    PathBuf::from(name)
}

fn stage_and_pack(
    estate: &Estate,
    tenant: &Tenant,
    snapshot: Option<&Snapshot>,
    staging: &Path,
    file: &Path,
) -> Result<Parcel> {
    let settings = snapshot.map_or(&tenant.config, |snapshot| &snapshot.settings).clone();
    let manifest = Manifest {
        format: FORMAT,
        name: tenant.name.clone(),
        exported: time::rfc3339(time::now()),
        settings,
    };
    let text = serde_json::to_vec_pretty(&manifest).map_err(|error| Error::new(error.to_string()))?;
    write_whole(staging, MANIFEST, &text)?;
    let disk = match snapshot {
        Some(snapshot) => snapshots::disk_of(tenant, snapshot),
        None if look::status(estate, &tenant.name)? == Status::Stopped => {
            disk::wait_until_free(&tenant.folder)?;
            duplicate::of_tenant(tenant)
        }
        None => {
            let copy = staging.join(duplicate::item(&tenant.config));
            duplicate::capture(estate, tenant, &copy)?;
            copy
        }
    };
    let mut options = File::options();
    let target = options.write(true).create_new(true).mode(0o600).open(file);
    let target = target.call(|| format!("create({file:?})"))?;
    aside::run(|| pack(estate, tenant, &manifest.settings, staging, &disk, &target))?;
    target.sync_all().call(|| format!("fsync({file:?})"))?;
    let (sha256, bytes) = digest(file)?;
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let sums = sums_of(file);
    std::fs::write(&sums, format!("{sha256}  {name}\n")).call(|| format!("write({sums:?})"))?;
    Ok(Parcel { manifest, bytes, sha256 })
}

fn pack(
    estate: &Estate,
    tenant: &Tenant,
    settings: &Config,
    staging: &Path,
    disk: &Path,
    target: &File,
) -> Result<()> {
    layers::become_owner(&estate.host, &of_caller(&estate.host))?;
    let parent = match settings.disk.fs {
        Some(fs) => {
            disk::leave_mounts()?;
            let mounted = tenant.folder.join("root");
            disk::mount_to_read(disk, fs, &mounted)?;
            mounted
        }
        None => disk.parent().unwrap_or(Path::new("/")).to_owned(),
    };
    let mut tar = Command::new("tar");
    tar.args(["-c", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--one-file-system", "-C"])
        .arg(staging);
    tar.args([MANIFEST, "-C"]).arg(parent).arg("upper");
    let mut tar = spawn(tar.stdin(Stdio::null()).stdout(Stdio::piped()), "tar")?;
    let stream = tar.stdout.take().ok_or_else(|| Error::new("tar has no output"))?;
    let mut zstd = Command::new("zstd");
    let target = target.try_clone().call(|| "dup")?;
    let zstd = spawn(zstd.args(["-q", "-T0", "-c", "-"]).stdin(stream).stdout(target), "zstd");
    let zstd = zstd.map_err(|error| error.hint("install zstd"))?;
    finish(zstd, "zstd").and_then(|()| finish(tar, "tar"))
}

fn spawn(command: &mut Command, name: &str) -> Result<Child> {
    command.env("LC_ALL", "C").stderr(Stdio::piped()).spawn().call(|| format!("spawn({name:?})"))
}

fn finish(child: Child, name: &str) -> Result<()> {
    let output = child.wait_with_output().call(|| format!("wait({name:?})"))?;
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    let first = words.lines().next().unwrap_or_default();
    match output.status.success() {
        true => Ok(()),
        false if words.contains("No space left") => {
            Err(Error::new(format!("{name} failed: {first}")).code(46))
        }
        false => Err(Error::new(format!("{name} failed: {first}"))),
    }
}

fn digest(file: &Path) -> Result<(String, u64)> {
    let mut open = File::open(file).call(|| format!("open({file:?})"))?;
    let (mut hash, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        let count = open.read(&mut buffer).call(|| format!("read({file:?})"))?;
        if count == 0 {
            let hex = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            return Ok((hex, bytes));
        }
        hash.update(&buffer[..count]);
        bytes += count as u64;
    }
}

/// Looks a parcel through: its digest, if there is one beside it, and that all of it can be read.
///
/// # Errors
/// What is wrong with it.
pub fn verify(file: &Path) -> Result<Parcel> {
    let (sha256, bytes) = digest(file)?;
    let sums = sums_of(file);
    match std::fs::read_to_string(&sums) {
        Ok(text) if text.split_whitespace().next() == Some(sha256.as_str()) => {}
        Ok(_) => return Err(Error::new(format!("it has changed: {sums:?} has another digest"))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            crate::log::warning(format!("there is no {sums:?}: only the form of the file is looked at"));
        }
        Err(error) => return Err(Error::io(format!("read({sums:?})"), &error)),
    }
    let stream = decompress(File::open(file).call(|| format!("open({file:?})"))?)?;
    let mut archive = tar::Archive::new(stream);
    let mut manifest = None;
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        if manifest.is_none() {
            let is_first = entry.path().is_ok_and(|path| path == Path::new(MANIFEST));
            if !is_first {
                return Err(Error::new("it is no exported tenant: it does not begin with tenant.json"));
            }
            manifest = Some(read_manifest(&mut entry)?);
            continue;
        }
        let inside = entry.path().is_ok_and(|path| {
            let mut parts = path.components();
            parts.next() == Some(std::path::Component::Normal("upper".as_ref()))
                && parts.all(|part| matches!(part, std::path::Component::Normal(_)))
        });
        if !inside {
            return Err(Error::new("it holds names that lie outside of upper/"));
        }
        std::io::copy(&mut entry, &mut std::io::sink()).map_err(damaged)?;
    }
    match manifest {
        Some(manifest) => Ok(Parcel { manifest, bytes, sha256 }),
        None => Err(Error::new("it is empty")),
    }
}

fn damaged(error: std::io::Error) -> Error {
    Error::new(format!("it cannot be read to its end: {error}"))
}

fn read_manifest(entry: &mut impl Read) -> Result<Manifest> {
    let mut bytes = vec![];
    entry.take(LARGEST).read_to_end(&mut bytes).map_err(damaged)?;
    let manifest: Manifest =
        serde_json::from_slice(&bytes).map_err(|error| Error::new(error.to_string()).at(MANIFEST))?;
    match manifest.format {
        FORMAT => Ok(manifest),
        other => Err(Error::new(format!("format {other} is unknown; this program reads format {FORMAT}"))),
    }
}

/// Makes a tenant of a parcel, called `name`, or as it was; with other settings: key and value.
///
/// # Errors
/// As [`verify`]; exit code 44 when the name is taken, 91 without its template. Nothing is left then.
pub fn import(
    estate: &Estate,
    file: &Path,
    name: Option<Name>,
    settings: &[(String, String)],
) -> Result<Tenant> {
    estate.make()?;
    let manifest = verify(file)?.manifest;
    let name = name.unwrap_or(manifest.name);
    let config = configure(estate, manifest.settings, settings)?;
    birth::check(estate, &config)?;
    let folder = estate.folder(&name);
    let _lock = birth::claim(estate, &name, &folder)?;
    birth::fill(estate, &name, &folder, config, |tenant| {
        if let Some(size) = tenant.config.disk.size {
            tenant.config.disk.fs = Some(disk::make(&tenant.folder, size.0)?);
        }
        aside::run(|| unpack(estate, tenant, file))?;
        offline::change(estate, tenant, |root| identity::write(&tenant.config, &tenant.name, root))
    })
}

fn configure(estate: &Estate, mut config: Config, settings: &[(String, String)]) -> Result<Config> {
    let (template, _) = stock::find(estate, &config.template.name)?;
    if template.digest != config.template.digest {
        return Err(Error::new(format!("template '{}' is another one than it was made from", template.name))
            .hint(format!("it was made from {}", config.template.digest))
            .code(91));
    }
    let taken = |name: &Name| estate.tenant(name).is_ok_and(|tenant| tenant.config.uuid == config.uuid);
    if estate.names()?.iter().any(taken) {
        config.uuid = identity::new_uuid()?;
    }
    config.first_id = None;
    config.disk.fs = None;
    config.admin.protect = false;
    let mut config = settings.iter().try_fold(config, |config, (key, value)| config.put(key, value))?;
    // The files go onto either kind of disk.
    config.disk.kind = if config.disk.size.is_some() { DiskKind::Image } else { DiskKind::Dir };
    config.check().map_err(|error| error.code(21))?;
    // An identity that somebody wrote by hand names a folder of the kernel's.
    let good = config.uuid.len() == 36 && config.uuid.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    match good {
        true => Ok(config),
        false => Err(Error::new("its uuid is none").kind(Kind::Usage).code(21)),
    }
}

fn unpack(estate: &Estate, tenant: &Tenant, file: &Path) -> Result<()> {
    layers::become_owner(&estate.host, &of_caller(&estate.host))?;
    if let Some(fs) = tenant.config.disk.fs {
        disk::leave_mounts()?;
        disk::mount(&tenant.folder, fs)?;
    }
    let folder = tenant.folder.join("disk");
    let mut tar = Command::new("tar");
    tar.args(["-x", "-p", "--numeric-owner", "--same-owner", "--xattrs", "--xattrs-include=*", "-C"])
        .arg(&folder);
    let mut tar = spawn(tar.arg("upper").stdin(Stdio::piped()).stdout(Stdio::null()), "tar")?;
    let mut stream = decompress(File::open(file).call(|| format!("open({file:?})"))?)?;
    let copied = match tar.stdin.take() {
        Some(mut input) => std::io::copy(&mut stream, &mut input).map(drop).and_then(|()| input.flush()),
        None => Ok(()),
    };
    finish(tar, "tar").doing(|| "cannot unpack it")?;
    copied.call(|| "write(tar)")?;
    let upper = folder.join("upper");
    match std::fs::symlink_metadata(&upper).is_ok_and(|found| found.is_dir()) {
        true => Ok(()),
        false => Err(Error::new("its upper is no folder")),
    }
}
