//! `isolate tenant pause` and `unpause`. The runtime process, with the caller's privilege.

use clap::{ArgMatches, Command};

use super::targets;
use crate::container::{self, Status};
use crate::error::{Error, Kind, Result};
use crate::tenant::estate::Estate;
use crate::tenant::name::Name;
use crate::tenant::{lock, look};

/// The parser of `pause`.
pub fn command() -> Command {
    let examples = "Examples:\n    isolate tenant pause web1\n    isolate tenant pause @batch";
    Command::new("pause")
        .about("Freeze tenants: their processes stand still")
        .args(targets::several())
        .after_help(examples)
}

/// The parser of `unpause`.
pub fn unpause_command() -> Command {
    let examples = "Examples:\n    isolate tenant unpause web1\n    isolate tenant unpause --all";
    Command::new("unpause").about("Let frozen tenants go on").args(targets::several()).after_help(examples)
}

/// Freezes them.
///
/// # Errors
/// Exit code 31 for one that does not run.
pub fn run(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    each(matches, estate, "pause", |name| match look::status(estate, name)? {
        Status::Running => container::pause(&estate.runtime, &estate.container(name)?),
        Status::Paused => Err(Error::new("it is paused already").kind(Kind::WrongState).code(32)),
        _ => Err(Error::new("it is not running").kind(Kind::WrongState).code(31)),
    })
}

/// Thaws them.
///
/// # Errors
/// Exit code 31 for one that is not frozen.
pub fn run_unpause(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    each(matches, estate, "unpause", |name| match look::status(estate, name)? {
        Status::Paused => container::resume(&estate.runtime, &estate.container(name)?),
        _ => Err(Error::new("it is not paused").kind(Kind::WrongState).code(31)),
    })
}

fn each(matches: &ArgMatches, estate: &Estate, verb: &str, act: impl Fn(&Name) -> Result<()>) -> Result<i32> {
    targets::for_each(matches, estate, &targets::read(matches, estate)?, verb, |name| {
        estate.tenant(name)?;
        let _lock = lock::take(&estate.folder(name), verb, estate.lock_wait)?;
        act(name)
    })
}
