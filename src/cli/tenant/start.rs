//! `isolate tenant start`. The runtime process, with the caller's privilege.

use clap::{ArgMatches, Command};

use super::targets;
use crate::error::Result;
use crate::tenant::estate::Estate;
use crate::tenant::{launch, lock};

const EXAMPLES: &str = "Examples:
    isolate tenant start web1
    isolate tenant start web1 web2 @prod";

/// The parser of `start`.
pub fn command() -> Command {
    Command::new("start").about("Start tenants").args(targets::several()).after_help(EXAMPLES)
}

/// Starts them.
///
/// # Errors
/// As [`launch::start`], for each.
pub fn run(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    let names = targets::read(matches, estate)?;
    targets::for_each(&names, "start", |name| {
        estate.tenant(name)?;
        let _lock = lock::take(&estate.folder(name), "start", lock::WAIT)?;
        launch::start(estate, name).map(drop)
    })
}
