//! `set`: other settings for a tenant, applied at once where it runs and kept in its file; all of one call, or none.
//! The runtime process, with the caller's privilege; the tenant's lock is held by the caller.

use serde::Serialize;
use serde_json::Value;

use crate::container::{self, Status};
use crate::error::{Error, Kind, Result};
use crate::log;
use crate::tenant::backing;
use crate::tenant::config::Config;
use crate::tenant::disk;
use crate::tenant::estate::{Estate, Tenant};
use crate::tenant::keys::{Counts, KEYS, Key, find_key};
use crate::tenant::look;
use crate::tenant::name::Name;
use crate::tenant::resources::{self, Place};

/// How long a change lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasting {
    /// It is written into the tenant's file.
    Kept,
    /// Until the tenant ends or starts again.
    UntilStop,
}

/// Whether anything is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Yes.
    Apply,
    /// It is only said what would be.
    DryRun,
}

/// What to do about a limit on memory below what is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shrink {
    /// Refuse it: the kernel would end processes, or refuse it itself.
    IfItFits,
    /// Let the kernel decide.
    Force,
}

/// What `set` is told.
#[derive(Debug, Clone)]
pub struct Order {
    /// Keys and values, `none` for those that are taken away.
    pub settings: Vec<(String, String)>,
    /// How long they last.
    pub lasting: Lasting,
    /// Whether anything is done.
    pub mode: Mode,
    /// What about memory in use.
    pub shrink: Shrink,
}

/// One setting that is another now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The tenant.
    pub tenant: Name,
    /// The setting.
    pub key: &'static str,
    /// What it was; absent: not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What it is; absent: not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// `applied`, `saved` or `next-start`.
    pub state: &'static str,
}

/// Changes the settings of a tenant; what has changed, in the order asked for.
///
/// # Errors
/// Exit code 20 and 21 for settings, 31 for a change until the stop of a tenant that does not run; or what the kernel
/// refuses. Nothing has changed then.
pub fn adjust(estate: &Estate, name: &Name, order: &Order) -> Result<Vec<Change>> {
    let tenant = estate.tenant(name)?;
    let keys = keys(order)?;
    let settings = order.settings.iter();
    let config =
        settings.clone().try_fold(tenant.config.clone(), |config, (key, value)| config.put(key, value))?;
    config.check().map_err(|error| error.code(21))?;
    let running = look::status(estate, name)? != Status::Stopped;
    check_lasting(order, &keys, running)?;
    check_disk(&tenant, &config)?;
    let limits: Vec<&str> =
        keys.iter().filter(|key| key.counts == Counts::Live).map(|key| key.name).collect();
    let (asked, lifted) =
        (resources(estate, &tenant, &config, &limits)?, resources(estate, &tenant, &tenant.config, &limits)?);
    if running && order.shrink == Shrink::IfItFits {
        check_memory(estate, name, &config, &limits)?;
    }
    if order.mode == Mode::Apply {
        let apply = |resources: &Value| match running
            && resources.as_object().is_some_and(|map| !map.is_empty())
        {
            true => {
                container::update(&estate.runtime, &estate.container(name)?, resources.to_string().as_bytes())
            }
            false => Ok(()),
        };
        apply(&asked)?;
        let free = || if running { Ok(()) } else { disk::wait_until_free(&tenant.folder) };
        free().and_then(|()| grow(&tenant, &config)).inspect_err(|_| take_back(apply(&lifted)))?;
        if order.lasting == Lasting::Kept {
            let changed = Tenant { config: config.clone(), ..tenant.clone() };
            estate.save(&changed).inspect_err(|_| take_back(apply(&lifted)))?;
        }
    }
    let change = |key: &&'static Key| Change {
        tenant: name.clone(),
        key: key.name,
        from: tenant.config.value(key),
        to: config.value(key),
        state: state(key.counts, running),
    };
    Ok(keys.iter().map(change).collect())
}

fn take_back(result: Result<()>) {
    if let Err(left) = result {
        log::warning(left.doing("the limits could not be brought back"));
    }
}

/// Last, since it cannot be taken back.
fn grow(tenant: &Tenant, config: &Config) -> Result<()> {
    match (tenant.config.disk.fs, tenant.config.disk.size, config.disk.size) {
        (Some(fs), Some(old), Some(new)) if new.0 > old.0 => {
            disk::grow(&tenant.folder, fs, old.0, new.0).map_err(|error| error.at("disk"))
        }
        _ => Ok(()),
    }
}

fn check_disk(tenant: &Tenant, config: &Config) -> Result<()> {
    match tenant.config.disk.size.zip(config.disk.size) {
        Some((old, new)) if new.0 < old.0 => {
            Err(Error::new(format!("disk: it has {}, and can only grow", String::from(old)))
                .hint("make a tenant with a smaller disk and copy what is to be kept")
                .code(21))
        }
        _ => Ok(()),
    }
}

fn state(counts: Counts, running: bool) -> &'static str {
    match counts {
        _ if !running => "saved",
        Counts::Live | Counts::Grows => "applied",
        Counts::Written => "saved",
        Counts::NextStart => "next-start",
    }
}

fn keys(order: &Order) -> Result<Vec<&'static Key>> {
    let mut keys: Vec<&'static Key> = vec![];
    for (name, _) in &order.settings {
        let key = find_key(name)?;
        if keys.iter().any(|other| other.name == key.name) {
            return Err(Error::new(format!("{name} is given twice")).kind(Kind::Usage).code(21));
        }
        keys.push(key);
    }
    match keys.is_empty() {
        true => Err(Error::new("no setting is named")
            .hint("write ram=128M, for instance")
            .kind(Kind::Usage)
            .code(21)),
        false => Ok(keys),
    }
}

fn check_lasting(order: &Order, keys: &[&Key], running: bool) -> Result<()> {
    if order.lasting == Lasting::Kept {
        return Ok(());
    }
    if !running {
        return Err(Error::new("it is not running").kind(Kind::WrongState).code(31));
    }
    match keys.iter().find(|key| key.counts != Counts::Live) {
        Some(key) => Err(Error::new(format!("{} is no limit of a running tenant", key.name))
            .hint("only limits can be changed until it stops")
            .kind(Kind::Usage)
            .code(21)),
        None => Ok(()),
    }
}

fn resources(estate: &Estate, tenant: &Tenant, config: &Config, limits: &[&str]) -> Result<Value> {
    let online = backing::online_cpus();
    let place = Place { online: &online, ..estate.place(backing::of_tenant(&tenant.config, &tenant.folder)) };
    resources::changed(&config.limits, limits, &place).map(Value::Object)
}

/// The page cache of files can be given back in time, that of tmpfs cannot.
fn check_memory(estate: &Estate, name: &Name, config: &Config, limits: &[&str]) -> Result<()> {
    let Some(ram) = config.limits.ram.filter(|_| limits.contains(&"ram")) else { return Ok(()) };
    let usage = container::statistics(&estate.runtime, &estate.container(name)?)?;
    let Some(memory) = usage.cgroup.and_then(|statistics| statistics.memory) else { return Ok(()) };
    let shared = memory.raw.get("shmem").copied().unwrap_or(0);
    let used = memory.usage.usage.saturating_sub(memory.cache.saturating_sub(shared));
    match used > ram.0 {
        true => Err(Error::new(format!(
            "it uses {} MiB of memory, more than ram {}",
            used >> 20,
            String::from(ram)
        ))
        .hint("end some of its programs, or use --force")
        .kind(Kind::WrongState)),
        false => Ok(()),
    }
}

/// The settings of a running tenant that count only after it has been started again: key and value now in force.
pub fn pending(estate: &Estate, tenant: &Tenant) -> Vec<(&'static Key, Option<String>)> {
    let Some(started) = estate.started(&tenant.name) else { return vec![] };
    let waits = KEYS.iter().filter(|key| key.counts == Counts::NextStart);
    let waits = waits.map(|key| (key, started.value(key)));
    waits.filter(|(key, value)| *value != tenant.config.value(key)).collect()
}

/// A value in words, for people.
pub fn shown(value: Option<&String>) -> String {
    value.filter(|text| !text.is_empty()).cloned().unwrap_or_else(|| "none".to_owned())
}
