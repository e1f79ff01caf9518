//! `clone`: another tenant with the disk and the settings of one, or of one of its snapshots, and an identity of its
//! own. The runtime process, with the caller's privilege; both tenants' locks are held.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::{Call, Error, Result};
use crate::ids::RootPath;
use crate::sys::time;
use crate::tenant::birth;
use crate::tenant::config::{Admin, Config};
use crate::tenant::duplicate;
use crate::tenant::estate::{Estate, Tenant};
use crate::tenant::identity;
use crate::tenant::lock::Lock;
use crate::tenant::name::Name;
use crate::tenant::offline;
use crate::tenant::rootfs::{Meta, Rootfs};
use crate::tenant::snapshots::{self, Snapshot};

/// The most that is read of a host key.
const KEY: u64 = 64 << 10;

/// The kinds of host key that sshd reads by default (sshd_config(5), "HostKey").
const KINDS: [&str; 3] = ["rsa", "ecdsa", "ed25519"];

/// What `clone` is told.
#[derive(Debug, Clone)]
pub struct Order<'a> {
    /// What is cloned, whose lock is held.
    pub from: &'a Tenant,
    /// Its state at that time instead of now.
    pub snapshot: Option<Snapshot>,
    /// The new name.
    pub name: &'a Name,
    /// Settings that differ: key and value.
    pub settings: Vec<(String, String)>,
}

/// Makes the clone.
///
/// # Errors
/// Exit code 44 when the name is taken, 20 and 21 for settings, 46 without room. Nothing is left then.
pub fn clone(estate: &Estate, order: &Order<'_>) -> Result<Tenant> {
    snapshots::settle(estate, order.from)?;
    let source = order.snapshot.as_ref().map_or(&order.from.config, |snapshot| &snapshot.settings);
    let config = configure(order, source)?;
    birth::check(estate, &config)?;
    let folder = estate.folder(order.name);
    let _lock: Lock = birth::claim(estate, order.name, &folder)?;
    let fill = |tenant: &mut Tenant| {
        copy(estate, order, tenant)?;
        offline::change(estate, tenant, |root| {
            identity::write(&tenant.config, &tenant.name, root)?;
            new_host_keys(root)
        })
    };
    birth::fill(estate, order.name, &folder, config, fill)
}

fn configure(order: &Order<'_>, source: &Config) -> Result<Config> {
    let mut config = source.clone();
    config.uuid = identity::new_uuid()?;
    config.created = time::rfc3339(time::now());
    config.first_id = None;
    config.system.hostname = String::new();
    config.admin = Admin { protect: false, ..order.from.config.admin.clone() };
    let config = order.settings.iter().try_fold(config, |config, (key, value)| config.put(key, value))?;
    config.check().map_err(|error| error.code(21))?;
    match config.disk == source.disk {
        true => Ok(config),
        false => Err(Error::new("a clone has the disk of what it is cloned from")
            .hint("'isolate tenant set NEW disk=SIZE' makes it larger afterwards")
            .code(21)),
    }
}

fn copy(estate: &Estate, order: &Order<'_>, tenant: &Tenant) -> Result<()> {
    let to = duplicate::of_tenant(tenant);
    let from = order.snapshot.as_ref().map(|snapshot| snapshots::disk_of(order.from, snapshot));
    if tenant.config.disk.fs.is_none() {
        // It is copied with its attributes, and so has to be made by the copy.
        std::fs::remove_dir(&to).call(|| format!("rmdir({to:?})"))?;
    }
    match (from, tenant.config.disk.fs) {
        (None, _) => duplicate::capture(estate, order.from, &to).map(drop),
        (Some(from), Some(_)) => duplicate::file(&from, &to),
        (Some(from), None) => duplicate::tree(estate, &from, &to),
    }
}

/// The keys by which an ssh server is known: of each kind that is there a new one, by the host's `ssh-keygen`; without
/// that program the old ones are removed, and the server makes its own or is told to.
fn new_host_keys(root: &mut Rootfs) -> Result<()> {
    for kind in KINDS {
        let path = format!("/etc/ssh/ssh_host_{kind}_key");
        let public = format!("{path}.pub");
        if root.text(&RootPath::new(&path), KEY).is_empty() {
            continue;
        }
        match generate(kind)? {
            Some((key, public_key)) => {
                root.file(&RootPath::new(&path), Meta::root(0o600), &mut key.as_slice())?;
                root.file(&RootPath::new(&public), Meta::root(0o644), &mut public_key.as_slice())?;
            }
            None => {
                root.remove(&RootPath::new(&path))?;
                root.remove(&RootPath::new(&public))?;
            }
        }
    }
    Ok(())
}

fn generate(kind: &str) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
    // The root is written to through a descriptor only: the key is made elsewhere, in memory.
    let name = tempfile::Builder::new().prefix(".isolate-key-").tempdir_in("/dev/shm");
    let folder = name.call(|| "mkdir(\"/dev/shm/.isolate-key-…\")")?;
    let key = folder.path().join("key");
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-N", "", "-C", "", "-t", kind, "-f"]).arg(&key);
    let made = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let read = |path: &Path| std::fs::read(path).call(|| format!("read({path:?})"));
    let keys = match made {
        Ok(status) if status.success() => {
            read(&key).and_then(|secret| Ok((secret, read(&key.with_extension("pub"))?))).map(Some)
        }
        _ => Ok(None),
    };
    folder.close().call(|| "rmdir(\"/dev/shm/.isolate-key-…\")")?;
    keys
}
