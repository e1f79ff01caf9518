//! `isolate tenant clone`. The runtime process, with the caller's privilege.

use clap::{Arg, ArgMatches, Command};

use super::{table, targets};
use crate::cli::{arg, print};
use crate::error::{Explain, Result};
use crate::tenant::estate::Estate;
use crate::tenant::keys::KEYS;
use crate::tenant::name::Name;
use crate::tenant::{lock, look, snapshots, twin};

const EXAMPLES: &str = "Examples:
    isolate tenant clone web1 web2
  From a snapshot, with other settings:
    isolate tenant clone web1 test1 --snapshot before-upgrade --ram 64M

The clone has a name, ids, a machine id and ssh host keys of its own; the rest is as in the tenant it comes from, which
may be running.";

/// The parser of `clone`.
pub fn command() -> Command {
    Command::new("clone")
        .about("Make another tenant with the disk and the settings of one")
        .arg(targets::name())
        .arg(Arg::new("new").value_name("NEW").required(true).help("The name of the clone"))
        .arg(arg::value("snapshot", "SNAPSHOT", "Its state in a snapshot, instead of now"))
        .args(
            KEYS.iter().filter(|key| key.name != "disk").map(|key| arg::value(key.name, key.value, key.help)),
        )
        .arg(table::json_flag())
        .after_help(EXAMPLES)
}

/// Makes it, and prints its name and ids.
///
/// # Errors
/// As [`twin::clone`].
pub fn run(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    let name = targets::read_name(matches)?;
    let new = Name::new(arg::text(matches, "new").unwrap_or_default())?;
    let doing = || format!("cannot clone tenant '{name}' to '{new}'");
    estate.tenant(&name).doing(doing)?;
    let _lock = lock::take(&estate.folder(&name), "clone", estate.lock_wait).doing(doing)?;
    let from = estate.tenant(&name).doing(doing)?;
    let snapshot = arg::text(matches, "snapshot").map(|name| snapshots::find(&from, &Name::new(name)?));
    let settings = KEYS.iter().filter(|key| key.name != "disk");
    let settings = settings.filter_map(|key| Some((key.name.to_owned(), arg::text(matches, key.name)?)));
    let order = twin::Order {
        from: &from,
        snapshot: snapshot.transpose().doing(doing)?,
        name: &new,
        settings: settings.collect(),
    };
    let tenant = twin::clone(estate, &order).doing(doing)?;
    if matches.get_flag("json") {
        return print(table::versioned("tenant", &look::view(estate, &new)?)?);
    }
    let ids = tenant.config.first_id.map(|first| format!("  ids {first}+65536")).unwrap_or_default();
    print(format_args!("{new}  {}{ids}", look::mode_word(tenant.config.boot.mode)))
}
