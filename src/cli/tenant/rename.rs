//! `isolate tenant rename`. The runtime process, with the caller's privilege.

use clap::{Arg, ArgMatches, Command};

use super::targets;
use crate::cli::arg;
use crate::error::{Explain, Result};
use crate::tenant::estate::Estate;
use crate::tenant::name::Name;
use crate::tenant::rename;

const EXAMPLES: &str = "Examples:
    isolate tenant rename web1 shop
  Its host name stays what it was:
    isolate tenant set web1 hostname=web1
    isolate tenant rename web1 shop";

/// The parser of `rename`.
pub fn command() -> Command {
    Command::new("rename")
        .about("Give a stopped tenant another name")
        .arg(targets::name())
        .arg(Arg::new("new").value_name("NEW").required(true).help("What it is to be called"))
        .after_help(EXAMPLES)
}

/// Renames it.
///
/// # Errors
/// As [`rename::rename`].
pub fn run(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    let name = targets::read_name(matches)?;
    let new = Name::new(arg::text(matches, "new").unwrap_or_default())?;
    rename::rename(estate, &name, &new)
        .doing(|| format!("cannot rename tenant '{name}' to '{new}'"))
        .map(|()| 0)
}
