//! `isolate tenant launch`, hidden: the process that makes a tenant's container, started by `start` and `restart`
//! alone. It talks to its parent over standard input.

use clap::{ArgMatches, Command};

use super::targets;
use crate::error::Result;
use crate::tenant::estate::Estate;
use crate::tenant::launch;

/// The parser of `launch`.
pub fn command() -> Command {
    Command::new(launch::VERB).about("Part of start").hide(true).arg(targets::name())
}

/// Does it.
///
/// # Errors
/// As [`launch::launched`].
pub fn run(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    launch::launched(estate, &targets::read_name(matches)?).map(|()| 0)
}
