//! `isolate tenant snapshot create`. The runtime process, with the caller's privilege.

use clap::{Arg, ArgMatches, Command};

use crate::cli::tenant::{table, targets};
use crate::cli::{arg, print};
use crate::error::{Explain, Result};
use crate::tenant::estate::Estate;
use crate::tenant::name::Name;
use crate::tenant::snapshots;

const EXAMPLES: &str = "Examples:
    isolate tenant snapshot create web1 before-upgrade
  Named after the time, with a word to it:
    isolate tenant snapshot create web1 --note 'works at last'

A running tenant stands still for a moment, which is told. What a snapshot holds is what a sudden loss of power would
have left: databases and file systems recover from it.";

/// The parser of `create`.
pub fn command() -> Command {
    Command::new("create")
        .about("Keep a tenant's disk and settings as they are now")
        .arg(targets::name())
        .arg(Arg::new("snapshot").value_name("SNAPSHOT").help("Its name [default: the time]"))
        .arg(arg::value("note", "TEXT", "Words to remember it by"))
        .arg(table::json_flag())
        .after_help(EXAMPLES)
}

/// Takes it.
///
/// # Errors
/// As [`snapshots::create`].
pub fn run(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    let given = arg::text(matches, "snapshot").map(Name::new).transpose()?;
    let (tenant, _lock) = super::held(matches, estate, "snapshot create")?;
    let name = given.map_or_else(|| snapshots::name_of_now(&tenant, ""), Ok)?;
    let doing = || format!("cannot take snapshot '{name}' of tenant '{}'", tenant.name);
    let snapshot = snapshots::create(estate, &tenant, &name, arg::text(matches, "note")).doing(doing)?;
    if matches.get_flag("json") {
        return print(table::versioned("snapshot", &snapshot)?);
    }
    print(format_args!("{}@{name}  paused {} ms", tenant.name, snapshot.paused_ms))
}
