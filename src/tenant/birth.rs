//! `create`: a name, a folder, a range of ids, settings, an identity; on failure nothing is left. The runtime
//! process, with the caller's privilege.
//!
//! The folder takes the name, and `tenant.toml`, written last by rename, makes it a tenant: a create that was killed
//! leaves a folder without one, which the next create of that name, or destroy, removes.

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use crate::error::{Error, Kind, Result};
use crate::sys::time;
use crate::tenant::allowance::Limits;
use crate::tenant::backing;
use crate::tenant::config::{Admin, Boot, Config, Disk, DiskKind, FORMAT, Mode, System, TemplateRef};
use crate::tenant::death;
use crate::tenant::disk;
use crate::tenant::estate::{Estate, Tenant, write_whole};
use crate::tenant::identity;
use crate::tenant::layers;
use crate::tenant::limits;
use crate::tenant::lock;
use crate::tenant::name::Name;
use crate::tenant::offline;
use crate::tenant::provision::{self, Wanted};
use crate::tenant::ranges;
use crate::tenant::resources;
use crate::tenant::script;
use crate::tenant::stock::{self, Imported};
use crate::tenant::workspace::taken_ids;

/// Processes and threads of a tenant that says nothing: a fork bomb stays small.
const TASKS: u32 = 4096;

/// What `create` is told.
#[derive(Debug, Clone)]
pub struct Order<'a> {
    /// The name.
    pub name: &'a Name,
    /// The template.
    pub template: &'a Name,
    /// Settings, in order: key and value.
    pub settings: Vec<(String, String)>,
    /// The command; empty: the template's init, or what it runs.
    pub command: Vec<String>,
    /// Who runs the command.
    pub user: Option<String>,
    /// The folder it starts in.
    pub workdir: Option<String>,
    /// `NAME=VALUE`.
    pub env: Vec<String>,
    /// What runs when no command is named.
    pub runs: Runs,
    /// Accounts and more.
    pub provision: Wanted,
}

/// What a tenant runs when no command is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runs {
    /// The template's command, if it names one, else its init.
    Default,
    /// Its init.
    Init,
}

/// Makes a tenant.
///
/// # Errors
/// Exit code 44 when the name is taken, 91 without the template, 20 and 21 for settings, 46 without room.
pub fn create(estate: &Estate, order: &Order<'_>) -> Result<Tenant> {
    estate.make()?;
    let (template, _) = stock::find(estate, order.template)?;
    let config = configure(estate, order, &template)?;
    check(estate, &config)?;
    let folder = estate.folder(order.name);
    let _lock = claim(estate, order.name, &folder)?;
    fill(estate, order.name, &folder, config, |tenant| {
        if let Some(size) = tenant.config.disk.size {
            tenant.config.disk.fs = Some(disk::make(&tenant.folder, size.0)?);
        }
        offline::change(estate, tenant, |root| {
            identity::write(&tenant.config, &tenant.name, root)?;
            provision::write(&order.provision, &template.binds, root)
        })?;
        let script = order.provision.script.as_ref();
        script.map_or(Ok(()), |script| write_whole(&tenant.folder, script::ONCE, script))
    })
}

/// Settings in the order they win: what the template says, defaults, then what was asked for.
fn configure(estate: &Estate, order: &Order<'_>, template: &Imported) -> Result<Config> {
    let limits = Limits { tasks: default_tasks(estate), ..Limits::default() };
    let config = Config {
        format: FORMAT,
        uuid: identity::new_uuid()?,
        created: time::rfc3339(time::now()),
        template: TemplateRef { name: template.name.clone(), digest: template.digest.clone() },
        first_id: None,
        boot: boot(order, template)?,
        system: System::default(),
        limits,
        disk: Disk::default(),
        admin: Admin::default(),
    };
    let mut config = order.settings.iter().try_fold(config, |config, (key, value)| config.put(key, value))?;
    if config.disk.size.is_some() {
        config.disk.kind = DiskKind::Image;
    }
    config.check().map_err(|error| error.code(21)).map(|()| config)
}

/// Where the host can hold it.
fn default_tasks(estate: &Estate) -> Option<u32> {
    limits::check(&estate.host, estate.cgroups(), "pids").is_ok().then_some(TASKS)
}

fn boot(order: &Order<'_>, template: &Imported) -> Result<Boot> {
    let boot = |mode, command| Boot {
        mode,
        command,
        user: order.user.clone().or_else(|| if mode == Mode::Command { template.user.clone() } else { None }),
        workdir: order.workdir.clone(),
        env: order.env.clone(),
    };
    if order.runs == Runs::Init && !order.command.is_empty() {
        return Err(Error::new("an init and a command exclude each other").kind(Kind::Usage).code(21));
    }
    match &template.init {
        _ if !order.command.is_empty() => Ok(boot(Mode::Command, order.command.clone())),
        None if order.runs == Runs::Init => {
            Err(Error::new(format!("template '{}' has no init", template.name)).kind(Kind::Usage).code(21))
        }
        _ if order.runs == Runs::Default && !template.command.is_empty() => {
            Ok(boot(Mode::Command, template.command.clone()))
        }
        Some(init) => Ok(boot(init.mode, vec![init.path.clone()])),
        None => Err(Error::new(format!("template '{}' has no init, and names no command", template.name))
            .hint("name one after --")
            .kind(Kind::Usage)
            .code(21)),
    }
}

/// What can be told before anything is made.
/// Whether this machine can hold a tenant with these settings.
///
/// # Errors
/// Exit code 21 with the setting.
pub(super) fn check(estate: &Estate, config: &Config) -> Result<()> {
    if config.disk.kind == DiskKind::Image && !estate.host.privileged {
        return Err(Error::new("a disk with a size is a loop device, which only root can make")
            .at("disk")
            .hint("without disk the files are kept in a folder, with no limit of their own")
            .kind(Kind::Unsupported)
            .code(21));
    }
    let device = backing::of_tenant(config, &estate.tenants());
    resources::all(&config.limits, &estate.place(device)).map(drop)?;
    // Reads back what would be written, so that every rule of the file holds.
    crate::tenant::config::parse(&config.render()?, "the settings").map_err(|error| error.code(21)).map(drop)
}

/// Takes the name: the folder, locked.
///
/// # Errors
/// Exit code 44 when the name is taken.
pub(super) fn claim(estate: &Estate, name: &Name, folder: &Path) -> Result<lock::Lock> {
    for _ in 0..10 {
        // Everybody may pass, so that root inside reaches its root; what is in it says who may read.
        let mode = if estate.host.privileged { 0o711 } else { 0o700 };
        match std::fs::DirBuilder::new().mode(mode).create(folder) {
            Ok(()) => return lock::take(folder, "create", estate.lock_wait),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Error::io(format!("mkdir({folder:?})"), &error)),
        }
        let _lock = match lock::take(folder, "create", estate.lock_wait) {
            Err(error) if error.get_code() == Some(14) => continue,
            lock => lock?,
        };
        if folder.join("tenant.toml").exists() {
            return Err(Error::new(format!("there is a tenant '{name}' already"))
                .hint(format!("choose another name, or 'isolate tenant destroy {name}'"))
                .code(44));
        }
        death::remove_folder(estate, folder)?;
    }
    Err(Error::new(format!("others make and remove {folder:?} all the time")).kind(Kind::Busy).code(9))
}

/// Makes the folder a tenant: its disk and files by `work`, a range of ids, its settings. Nothing is left of a failure.
///
/// # Errors
/// Those of `work`, or the call that failed.
pub(super) fn fill(
    estate: &Estate,
    name: &Name,
    folder: &Path,
    config: Config,
    work: impl FnOnce(&mut Tenant) -> Result<()>,
) -> Result<Tenant> {
    let mut tenant = Tenant { name: name.clone(), folder: folder.to_owned(), config };
    let made = layers::make_folders(folder, tenant.config.disk.kind)
        .and_then(|()| work(&mut tenant))
        .and_then(|()| settle_down(estate, &mut tenant));
    made.map(|()| tenant).inspect_err(|_| {
        if let Err(left) = death::remove_folder(estate, folder) {
            crate::log::warning(left.doing("after the failure something was left"));
        }
    })
}

fn settle_down(estate: &Estate, tenant: &mut Tenant) -> Result<()> {
    // Held until the range is written down.
    let _ids = lock::take(&estate.tenants(), "create", estate.lock_wait)?;
    if estate.host.privileged {
        tenant.config.first_id = Some(free_range(estate)?);
    }
    estate.save(tenant)
}

fn free_range(estate: &Estate) -> Result<u32> {
    let mut taken = taken_ids();
    for name in estate.names()? {
        // A file that cannot be read could hide its range: better no tenant than two with the same ids.
        match estate.tenant(&name) {
            Ok(tenant) => {
                taken.extend(tenant.config.first_id.map(|first| (first, crate::tenant::ids::WIDTH)))
            }
            Err(_) if !estate.folder(&name).join("tenant.toml").exists() => {}
            Err(error) => return Err(error.doing(format!("the ids of tenant '{name}' are unknown"))),
        }
    }
    ranges::free_block(&taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::stock::Init;

    fn imported(init: Option<Mode>, command: &[&str]) -> Imported {
        Imported {
            format: 1,
            name: Name::new("t").unwrap(),
            digest: String::new(),
            created: String::new(),
            source: String::new(),
            bytes: 0,
            files: 0,
            init: init.map(|mode| Init { mode, path: "/sbin/init".into() }),
            command: command.iter().map(|&word| word.to_owned()).collect(),
            shell: None,
            env: vec![],
            workdir: None,
            user: None,
            binds: vec![],
        }
    }

    #[test]
    fn a_command_wins_over_the_images_and_that_over_an_init() {
        let name = Name::new("n").unwrap();
        let order = |command: &[&str]| Order {
            name: &name,
            template: &name,
            settings: vec![],
            command: command.iter().map(|&word| word.to_owned()).collect(),
            user: None,
            workdir: None,
            env: vec![],
            runs: Runs::Default,
            provision: Wanted::default(),
        };
        let run = |command: &[&str], template: &Imported| {
            boot(&order(command), template).map(|boot| (boot.mode, boot.command[0].clone()))
        };
        let both = imported(Some(Mode::Init), &["httpd"]);
        assert_eq!(run(&["ls"], &both).unwrap(), (Mode::Command, "ls".into()));
        assert_eq!(run(&[], &both).unwrap(), (Mode::Command, "httpd".into()));
        assert_eq!(
            run(&[], &imported(Some(Mode::Systemd), &[])).unwrap(),
            (Mode::Systemd, "/sbin/init".into())
        );
        assert_eq!(run(&[], &imported(None, &[])).unwrap_err().get_code(), Some(21));
        let init = |command, template| boot(&Order { runs: Runs::Init, ..order(command) }, template);
        assert_eq!(init(&[], &both).unwrap().mode, Mode::Init);
        assert!(init(&["ls"], &both).is_err() && init(&[], &imported(None, &["httpd"])).is_err());
    }
}
