//! `isolate tenant template rm`. The runtime process, with the caller's privilege.

use clap::{ArgMatches, Command};

use crate::cli::tenant::targets;
use crate::error::{Explain, Result};
use crate::tenant::estate::Estate;
use crate::tenant::stock;

/// The parser of `rm`.
pub fn command() -> Command {
    let examples =
        "Examples:\n    isolate tenant template rm busybox\n    isolate tenant template rm --yes busybox";
    Command::new("rm")
        .about("Remove a template that no tenant uses")
        .arg(super::name())
        .arg(targets::yes())
        .after_help(examples)
}

/// Asks, and removes it.
///
/// # Errors
/// As [`stock::remove`].
pub fn run(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    let name = super::read_name(matches)?;
    stock::find(estate, &name)?;
    targets::confirm(matches, &format!("Remove template '{name}'?"))?;
    stock::remove(estate, &name).doing(|| format!("cannot remove template '{name}'")).map(|()| 0)
}
