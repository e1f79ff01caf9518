//! What an operator wants in a tenant before it starts: an account, ssh keys, a password, a time zone. Into the stopped
//! root, by a child of the runtime process with the caller's privilege; nothing of the tenant's runs.

use std::path::PathBuf;

use crate::container::Status;
use crate::error::{Error, Kind, Result};
use crate::ids::RootPath;
use crate::tenant::accounts::{self, Account, Texts};
use crate::tenant::estate::{Estate, write_whole};
use crate::tenant::lock;
use crate::tenant::look;
use crate::tenant::name::Name;
use crate::tenant::offline;
use crate::tenant::rootfs::{Meta, Rootfs};
use crate::tenant::script;
use crate::tenant::stock;

/// The most that is read of a file of accounts or keys.
const LARGEST: u64 = 4 << 20;

/// What is wanted.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// An account, made if it is not there; keys and password are its own. Absent: root.
    pub account: Option<String>,
    /// Public ssh keys, a line each.
    pub keys: String,
    /// The password, hashed.
    pub hash: Option<String>,
    /// The time zone.
    pub zone: Option<String>,
    /// A script that `start` runs once, as root.
    pub script: Option<Vec<u8>>,
}

impl Wanted {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        let words = [&self.account, &self.hash, &self.zone];
        words.into_iter().all(Option::is_none) && self.keys.is_empty() && self.script.is_none()
    }

    /// What can be told without the root.
    ///
    /// # Errors
    /// Exit code 21.
    pub fn check(&self) -> Result<()> {
        self.account.iter().try_for_each(|name| accounts::check_name(name))?;
        self.hash.iter().try_for_each(|hash| accounts::check_hash(hash))?;
        self.zone.iter().try_for_each(|zone| accounts::check_zone(zone))?;
        if self.keys.is_empty() { Ok(()) } else { accounts::keys(&self.keys).map(drop) }
    }
}

/// Does it to a stopped tenant.
///
/// # Errors
/// Exit code 32 when it runs; as [`write()`].
pub fn provision(estate: &Estate, name: &Name, wanted: &Wanted) -> Result<()> {
    wanted.check()?;
    let _lock = lock::take(&estate.folder(name), "provision", estate.lock_wait)?;
    let tenant = estate.tenant(name)?;
    if look::status(estate, name)? != Status::Stopped {
        return Err(Error::new("it is running").hint("stop it first").kind(Kind::WrongState).code(32));
    }
    let (template, _) = stock::find(estate, &tenant.config.template.name)?;
    offline::change(estate, &tenant, |root| write(wanted, &template.binds, root))?;
    match &wanted.script {
        Some(script) => write_whole(&tenant.folder, script::ONCE, script),
        None => Ok(()),
    }
}

/// Writes it into a stopped root; `binds` are the folders of the host that it will show.
///
/// # Errors
/// Exit code 21 for a time zone that the root does not have; the call that failed.
pub fn write(wanted: &Wanted, binds: &[String], root: &mut Rootfs) -> Result<()> {
    let login = wanted.account.is_some() || wanted.hash.is_some() || !wanted.keys.is_empty();
    if login {
        let account = write_account(wanted, binds, root)?;
        write_keys(wanted, &account, root)?;
    }
    wanted.zone.as_ref().map_or(Ok(()), |zone| write_zone(zone, binds, root))
}

fn write_account(wanted: &Wanted, binds: &[String], root: &mut Rootfs) -> Result<Account> {
    let text = |root: &Rootfs, path: &str| root.text(&RootPath::new(path), LARGEST);
    let mut texts = Texts {
        passwd: text(root, "/etc/passwd"),
        group: text(root, "/etc/group"),
        shadow: text(root, "/etc/shadow"),
    };
    if texts.passwd.is_empty() {
        texts.passwd = "root:x:0:0:root:/root:/bin/sh\n".to_owned();
    }
    let has = |path: &str| crate::tenant::prepare::has_program(root, binds, path);
    let shell = if has("/bin/bash") { "/bin/bash" } else { "/bin/sh" };
    let name = wanted.account.as_deref().unwrap_or("root");
    let account = texts.account(name, shell)?;
    if let Some(hash) = &wanted.hash {
        texts.set_password(name, hash);
    }
    // Debian's programs that check passwords read it by that group.
    let shadow =
        texts.group.lines().find_map(|line| line.strip_prefix("shadow:")?.split(':').nth(1)?.parse().ok());
    let secret = Meta { gid: shadow.unwrap_or(0), ..Meta::root(0o640) };
    for (path, text, meta) in [
        ("/etc/passwd", &texts.passwd, Meta::root(0o644)),
        ("/etc/group", &texts.group, Meta::root(0o644)),
        ("/etc/shadow", &texts.shadow, secret),
    ] {
        root.file(&RootPath::new(path), meta, &mut text.as_bytes())?;
    }
    let home = RootPath::new(&account.home);
    if !root.is_folder(&home) {
        root.directory(&home, Meta { uid: account.uid, gid: account.gid, ..Meta::root(0o750) })?;
    }
    Ok(account)
}

fn write_keys(wanted: &Wanted, account: &Account, root: &mut Rootfs) -> Result<()> {
    if wanted.keys.is_empty() {
        return Ok(());
    }
    let folder = PathBuf::from(&account.home).join(".ssh");
    let own = |mode| Meta { uid: account.uid, gid: account.gid, ..Meta::root(mode) };
    root.directory(&RootPath::new(&folder), own(0o700))?;
    let path = RootPath::new(folder.join("authorized_keys"));
    let mut text = root.text(&path, LARGEST);
    for key in accounts::keys(&wanted.keys)?.into_iter().map(str::to_owned) {
        if !text.lines().any(|line| line == key) {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            text.push_str(&key);
            text.push('\n');
        }
    }
    root.file(&path, own(0o600), &mut text.as_bytes()).map(drop)
}

fn write_zone(zone: &str, binds: &[String], root: &mut Rootfs) -> Result<()> {
    let file = format!("/usr/share/zoneinfo/{zone}");
    // With the host's programs the time zones are the host's, and not in the root before it runs.
    if binds.is_empty() && root.text(&RootPath::new(&file), 4).is_empty() {
        return Err(Error::new(format!("its root has no time zone {zone:?}"))
            .hint(format!("there is no {file} in it: install tzdata in the template"))
            .kind(Kind::Usage)
            .code(21));
    }
    root.link(&RootPath::new("/etc/localtime"), &PathBuf::from(file), Meta::root(0o777))?;
    root.file(&RootPath::new("/etc/timezone"), Meta::root(0o644), &mut format!("{zone}\n").as_bytes())
        .map(drop)
}
