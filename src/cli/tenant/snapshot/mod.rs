//! `isolate tenant snapshot`: one file a verb.

pub mod create;
pub mod diff;
pub mod ls;
pub mod prune;
pub mod rm;
pub mod rollback;

use clap::{Arg, ArgMatches};

use crate::cli::arg;
use crate::cli::tenant::targets;
use crate::error::{Explain, Result};
use crate::tenant::estate::{Estate, Tenant};
use crate::tenant::lock::{self, Lock};
use crate::tenant::name::Name;

/// A snapshot's name, required.
fn snapshot() -> Arg {
    Arg::new("snapshot").value_name("SNAPSHOT").required(true).help("The snapshot's name")
}

fn read_snapshot(matches: &ArgMatches) -> Result<Name> {
    Name::new(arg::text(matches, "snapshot").unwrap_or_default())
}

/// The tenant that is named, locked.
fn held(matches: &ArgMatches, estate: &Estate, verb: &str) -> Result<(Tenant, Lock)> {
    let name = targets::read_name(matches)?;
    let doing = || format!("cannot work on the snapshots of tenant '{name}'");
    estate.tenant(&name).doing(doing)?;
    let lock = lock::take(&estate.folder(&name), verb, estate.lock_wait).doing(doing)?;
    Ok((estate.tenant(&name).doing(doing)?, lock))
}
