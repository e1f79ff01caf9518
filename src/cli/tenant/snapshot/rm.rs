//! `isolate tenant snapshot rm`. The runtime process, with the caller's privilege.

use clap::{ArgMatches, Command};

use crate::cli::tenant::targets;
use crate::error::{Explain, Result};
use crate::tenant::estate::Estate;
use crate::tenant::snapshots;

const EXAMPLES: &str = "Examples:
    isolate tenant snapshot rm web1 before-upgrade
  In a script:
    isolate tenant snapshot rm --yes web1 before-upgrade";

/// The parser of `rm`.
pub fn command() -> Command {
    Command::new("rm")
        .about("Remove a snapshot")
        .arg(targets::name())
        .arg(super::snapshot())
        .arg(targets::yes())
        .after_help(EXAMPLES)
}

/// Asks, and removes it.
///
/// # Errors
/// As [`snapshots::remove`].
pub fn run(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    let name = super::read_snapshot(matches)?;
    let (tenant, _lock) = super::held(matches, estate, "snapshot rm")?;
    let doing = || format!("cannot remove snapshot '{name}' of tenant '{}'", tenant.name);
    snapshots::find(&tenant, &name).doing(doing)?;
    targets::confirm(matches, &format!("Remove snapshot '{name}' of tenant '{}'?", tenant.name))?;
    snapshots::remove(estate, &tenant, &name).doing(doing).map(|()| 0)
}
