//! `isolate tenant restart`. The runtime process, with the caller's privilege.

use clap::{ArgMatches, Command};

use super::{start, stop, table, targets};
use crate::error::Result;
use crate::tenant::estate::Estate;
use crate::tenant::{launch, lock};

const EXAMPLES: &str = "Examples:
    isolate tenant restart web1
    isolate tenant restart --timeout 10 @web";

/// The parser of `restart`.
pub fn command() -> Command {
    Command::new("restart")
        .about("Stop tenants and start them again; one that does not run is started")
        .args(targets::several())
        .args(stop::options())
        .args(start::waiting())
        .arg(table::json_flag().conflicts_with("parallel"))
        .after_help(EXAMPLES)
}

/// Restarts them.
///
/// # Errors
/// As `stop` and `start`, for each.
pub fn run(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    let names = targets::read(matches, estate)?;
    start::start_each(estate, &names, "restart", matches, |name| {
        estate.tenant(name)?;
        let _lock = lock::take(&estate.folder(name), "restart", estate.lock_wait)?;
        match stop::stop(matches, estate, name) {
            Err(error) if error.get_code() != Some(31) => return Err(error),
            _ => {}
        }
        launch::start(estate, name)
    })
}
