//! Where tenants lie: the folders, their modes, and reading what is in them. The runtime process, with the
//! caller's privilege.
//!
//! `DATA/templates/NAME/{template.json,root/}` and `DATA/tenants/NAME/{tenant.toml,lock,disk/,lower/,root/}`, where
//! DATA is `/var/lib/isolate`, an ordinary user's `$XDG_DATA_HOME/isolate`, or `$ISOLATE_DATA`. Containers' states
//! lie beside those of the OCI runtime: in `ROOT-tenants/containers` for its `--root ROOT`.

use std::fs::{DirBuilder, File};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::container::{CgroupManager, Runtime};
use crate::error::{Call, Error, Kind, Result};
use crate::host::Host;
use crate::ids::ContainerId;
use crate::tenant::config::{self, Config};
use crate::tenant::ids::{IdMaps, Range, WIDTH, of_caller};
use crate::tenant::limits::Cgroups;
use crate::tenant::lock;
use crate::tenant::name::Name;
use crate::tenant::resources::{Device, Place};
use crate::tenant::rootfs::Owners;

/// The most that is read of a settings file.
const LARGEST: u64 = 1 << 20;

/// The folders of all tenants, and how their containers are run.
#[derive(Debug, Clone)]
pub struct Estate {
    data: PathBuf,
    run: PathBuf,
    /// The OCI runtime for tenants: its state root is ours.
    pub runtime: Runtime,
    /// This machine.
    pub host: Host,
    /// How long a verb waits for another on the same tenant.
    pub lock_wait: Duration,
}

/// The settings of the last start.
const STARTED: &str = "started.toml";

/// A tenant as it lies on disk.
#[derive(Debug, Clone)]
pub struct Tenant {
    /// Its name.
    pub name: Name,
    /// Its folder.
    pub folder: PathBuf,
    /// Its settings.
    pub config: Config,
}

impl Estate {
    /// Finds the folders; makes nothing.
    ///
    /// # Errors
    /// No place for data, or one that mount options cannot name.
    pub fn open(runtime: &Runtime, host: Host) -> Result<Estate> {
        let data = data_folder(&host)?;
        if data.to_string_lossy().contains([':', ',', '\\']) {
            return Err(Error::new(format!("{data:?} holds a : , or \\, which mount options cannot name")));
        }
        let mut run = runtime.root.as_os_str().to_owned();
        run.push("-tenants");
        let run = PathBuf::from(run);
        let runtime = Runtime { root: run.join("containers"), ..runtime.clone() };
        Ok(Estate { data, run, runtime, host, lock_wait: lock::WAIT })
    }

    /// The folder of templates.
    pub fn templates(&self) -> PathBuf {
        self.data.join("templates")
    }

    /// The folder of tenants.
    pub fn tenants(&self) -> PathBuf {
        self.data.join("tenants")
    }

    /// The folder of a tenant, there or not.
    pub fn folder(&self, name: &Name) -> PathBuf {
        self.tenants().join(name.as_str())
    }

    /// The record of administrative acts.
    pub fn audit_log(&self) -> PathBuf {
        self.data.join("audit.jsonl")
    }

    /// The socket of a tenant's console.
    pub fn console(&self, name: &Name) -> PathBuf {
        self.run.join(format!("{name}.console"))
    }

    /// The folder of the socket on which a tenant's init says that it is ready.
    pub fn notify(&self, name: &Name) -> PathBuf {
        self.run.join(format!("{name}.notify"))
    }

    /// A tenant's container.
    ///
    /// # Errors
    /// None for a [`Name`].
    pub fn container(&self, name: &Name) -> Result<ContainerId> {
        ContainerId::new(name.as_str())
    }

    /// Makes the folders that are shared. Root's may be passed through by everybody, since root inside a tenant has
    /// to reach its own; templates, which hold set-user-id programs of the real root, by nobody.
    ///
    /// # Errors
    /// A folder that cannot be made, or is somebody else's.
    pub fn make(&self) -> Result<()> {
        let passable = if self.host.privileged { 0o711 } else { 0o700 };
        for (path, mode) in [
            (&self.data, passable),
            (&self.tenants(), passable),
            (&self.templates(), 0o700),
            (&self.run, passable),
        ] {
            DirBuilder::new().recursive(true).mode(mode).create(path).call(|| format!("mkdir({path:?})"))?;
            let found = std::fs::symlink_metadata(path).call(|| format!("stat({path:?})"))?;
            if !found.is_dir() || found.uid() != self.host.uid || found.mode() & 0o022 != 0 {
                return Err(Error::new(format!("{path:?} is not a folder of yours alone"))
                    .hint("remove it, or name another place with ISOLATE_DATA"));
            }
        }
        Ok(())
    }

    /// The settings of a tenant.
    ///
    /// # Errors
    /// Exit code 14 when there is none; or what is wrong with its file.
    pub fn tenant(&self, name: &Name) -> Result<Tenant> {
        let folder = self.folder(name);
        let path = folder.join("tenant.toml");
        let text = match read_limited(&path) {
            Err(error) if error.errno() == Some(nix::errno::Errno::ENOENT) => {
                return Err(self.absent(name, &folder));
            }
            text => text?,
        };
        let config = config::parse(&text, &path.display().to_string()).map_err(|error| error.code(14))?;
        Ok(Tenant { name: name.clone(), folder, config })
    }

    fn absent(&self, name: &Name, folder: &Path) -> Error {
        let error = match folder.is_dir() {
            true => Error::new(format!("tenant '{name}' is incomplete: a command on it was killed"))
                .hint(format!("'isolate tenant destroy --yes {name}' removes what is left")),
            false => {
                Error::new(format!("there is no tenant '{name}'")).hint("'isolate tenant list' shows all")
            }
        };
        error.kind(Kind::NotFound).code(14)
    }

    /// The settings a tenant was last started with.
    pub fn started(&self, name: &Name) -> Option<Config> {
        let text = read_limited(&self.folder(name).join(STARTED)).ok()?;
        config::parse(&text, STARTED).ok()
    }

    /// Keeps the settings a tenant is being started with.
    ///
    /// # Errors
    /// The call that failed.
    pub fn save_started(&self, tenant: &Tenant) -> Result<()> {
        write_whole(&tenant.folder, STARTED, tenant.config.render()?.as_bytes())
    }

    /// The names of all tenants, sorted, complete or not.
    ///
    /// # Errors
    /// A folder that cannot be read; one that is not there is empty.
    pub fn names(&self) -> Result<Vec<Name>> {
        names_in(&self.tenants())
    }

    /// Writes a tenant's settings: whole or not at all.
    ///
    /// # Errors
    /// The call that failed.
    pub fn save(&self, tenant: &Tenant) -> Result<()> {
        write_whole(&tenant.folder, "tenant.toml", tenant.config.render()?.as_bytes())
    }

    /// How cgroups are made for tenants.
    pub fn cgroups(&self) -> Cgroups {
        match self.runtime.cgroup_manager {
            CgroupManager::Disabled => Cgroups::Disabled,
            CgroupManager::Cgroupfs | CgroupManager::Systemd => Cgroups::Host,
        }
    }

    /// What limits are compiled for: this machine, and the device of a tenant's files.
    pub fn place(&self, device: Option<Device>) -> Place<'_> {
        Place { host: &self.host, cgroups: self.cgroups(), device, online: "" }
    }

    /// The ids behind a tenant's while it runs.
    pub fn maps(&self, config: &Config) -> IdMaps {
        match config.first_id {
            Some(first) => maps_from(first),
            None => of_caller(&self.host),
        }
    }

    /// Who owns what is written on disk: ids begin at 0 there, whatever range a tenant has.
    pub fn owners(&self) -> Owners {
        if self.host.privileged { Owners::Mapped(maps_from(0)) } else { Owners::Caller }
    }
}

fn maps_from(first: u32) -> IdMaps {
    let range = Range { inside: 0, outside: first, count: WIDTH };
    IdMaps { uids: vec![range], gids: vec![range] }
}

fn data_folder(host: &Host) -> Result<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if let Some(data) = variable("ISOLATE_DATA") {
        return Ok(data);
    }
    if host.privileged {
        return Ok(PathBuf::from("/var/lib/isolate"));
    }
    let home = || variable("HOME").map(|home| home.join(".local/share"));
    let base = variable("XDG_DATA_HOME").or_else(home).map(|base| base.join("isolate"));
    base.ok_or_else(|| {
        Error::new("there is no place for tenants").hint("set HOME, XDG_DATA_HOME or ISOLATE_DATA")
    })
}

/// The valid names of folders in `folder`, sorted.
///
/// # Errors
/// A folder that cannot be read; one that is not there is empty.
pub fn names_in(folder: &Path) -> Result<Vec<Name>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        entries => entries.call(|| format!("readdir({folder:?})"))?,
    };
    let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let names = folders.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<Name> = names.filter_map(|name| Name::new(name).ok()).collect();
    names.sort();
    Ok(names)
}

/// A small text file.
///
/// # Errors
/// The call that failed, or a file that is too large.
pub fn read_limited(path: &Path) -> Result<String> {
    let file = File::open(path).call(|| format!("open({path:?})"))?;
    let mut text = String::new();
    file.take(LARGEST + 1).read_to_string(&mut text).call(|| format!("read({path:?})"))?;
    match text.len() as u64 > LARGEST {
        true => Err(Error::new("it is larger than 1 MiB").at(path.display().to_string())),
        false => Ok(text),
    }
}

/// Replaces `folder/name` by one with this content; a crash leaves the old one.
///
/// # Errors
/// The call that failed; exit code 46 without room.
pub fn write_whole(folder: &Path, name: &str, content: &[u8]) -> Result<()> {
    let (path, fresh) = (folder.join(name), folder.join(format!(".{name}.new")));
    let write = || {
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&fresh, &path)
    };
    write().map_err(|error| {
        let _ = std::fs::remove_file(&fresh);
        let full = error.kind() == std::io::ErrorKind::StorageFull;
        let error = Error::io(format!("write({path:?})"), &error);
        if full { error.code(46) } else { error }
    })
}
