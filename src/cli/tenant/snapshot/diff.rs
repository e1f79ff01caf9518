//! `isolate tenant snapshot diff`. The runtime process, with the caller's privilege; changes nothing.

use clap::{Arg, ArgMatches, Command};

use crate::cli::tenant::{table, targets};
use crate::cli::{arg, print};
use crate::container::Status;
use crate::error::{Error, Explain, Result};
use crate::tenant::difference::{self, Difference, State};
use crate::tenant::duplicate;
use crate::tenant::estate::Estate;
use crate::tenant::name::Name;
use crate::tenant::{disk, look, snapshots};

const EXAMPLES: &str = "Examples:
    isolate tenant snapshot diff web1 monday tuesday
    isolate tenant snapshot diff --json web1 monday tuesday | jq -r '.diff[].path'
  From a snapshot to what is on the disk now (a disk with a size: when the tenant is stopped):
    isolate tenant snapshot diff web1 before-upgrade

+ is a path that was added, - one that was removed, ~ one whose kind, owner, mode, size, time or target differs.";

/// The parser of `diff`.
pub fn command() -> Command {
    Command::new("diff")
        .about("Show which files differ between two snapshots, or a snapshot and now")
        .arg(targets::name())
        .arg(super::snapshot())
        .arg(Arg::new("other").value_name("SNAPSHOT").help("The later one [default: the disk as it is now]"))
        .arg(table::json_flag())
        .after_help(EXAMPLES)
}

/// Prints the differences.
///
/// # Errors
/// Exit code 14 without the tenant or a snapshot.
pub fn run(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    let name = super::read_snapshot(matches)?;
    let other = arg::text(matches, "other").map(Name::new).transpose()?;
    let (tenant, _lock) = super::held(matches, estate, "snapshot diff")?;
    let doing = || format!("cannot compare snapshots of tenant '{}'", tenant.name);
    let old = snapshots::find(&tenant, &name).doing(doing)?;
    let new = other.map(|other| snapshots::find(&tenant, &other)).transpose().doing(doing)?;
    let before = State { disk: snapshots::disk_of(&tenant, &old), settings: &old.settings };
    let after = match &new {
        Some(new) => State { disk: snapshots::disk_of(&tenant, new), settings: &new.settings },
        None => State { disk: duplicate::of_tenant(&tenant), settings: &tenant.config },
    };
    if new.is_none() && tenant.config.disk.fs.is_some() {
        if look::status(estate, &tenant.name)? != Status::Stopped {
            let error = Error::new("it is running, and its disk cannot be looked at besides").code(32);
            return Err(error.hint("stop it, or compare with a snapshot of now").doing(doing()));
        }
        disk::wait_until_free(&tenant.folder).doing(doing)?;
    }
    let found = difference::between(estate, &tenant.folder, &before, &after).doing(doing)?;
    if matches.get_flag("json") {
        return print(table::versioned("diff", &found)?);
    }
    let lines: Vec<String> = found.iter().map(line).collect();
    if lines.is_empty() { Ok(0) } else { print(lines.join("\n")) }
}

fn line(difference: &Difference) -> String {
    let mark = match difference.change {
        "added" => '+',
        "removed" => '-',
        _ => '~',
    };
    format!("{mark} {}", difference.path)
}
