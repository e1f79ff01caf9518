//! `isolate tenant stop`. The runtime process, with the caller's privilege.

use std::time::Duration;

use clap::{Arg, ArgMatches, Command, value_parser};

use super::targets;
use crate::cli::arg;
use crate::error::Result;
use crate::log;
use crate::tenant::config::Mode;
use crate::tenant::estate::Estate;
use crate::tenant::halt::{self, Ended, How};
use crate::tenant::lock;
use crate::tenant::name::Name;

const EXAMPLES: &str = "Examples:
    isolate tenant stop web1
  Give it ten seconds, or none:
    isolate tenant stop --timeout 10 web1
    isolate tenant stop --kill @test";

/// The parser of `stop`.
pub fn command() -> Command {
    Command::new("stop")
        .about("Stop tenants: ask their init or command to end, then kill what is left")
        .args(targets::several())
        .args(options())
        .arg(targets::yes())
        .after_help(EXAMPLES)
}

/// `--timeout` and `--kill`.
pub fn options() -> [Arg; 2] {
    let help = "How long it may take before it is killed [default: 120 for an init, 10 for a command]";
    [
        arg::value("timeout", "SECONDS", help).value_parser(value_parser!(u32).range(0..=86_400)),
        arg::flag("kill", "Kill it at once"),
    ]
}

/// Stops them. More than one at a time is asked for.
///
/// # Errors
/// As [`halt::stop`], for each.
pub fn run(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    let names = targets::read(matches, estate)?;
    if matches.get_flag("all") {
        targets::confirm(matches, &format!("Stop all {} tenants?", names.len()))?;
    }
    targets::for_each(matches, estate, &names, "stop", |name| {
        estate.tenant(name)?;
        let _lock = lock::take(&estate.folder(name), "stop", estate.lock_wait)?;
        stop(matches, estate, name)
    })
}

/// Stops one whose lock is held.
///
/// # Errors
/// As [`halt::stop`].
pub fn stop(matches: &ArgMatches, estate: &Estate, name: &Name) -> Result<()> {
    let seconds = match matches.get_one::<u32>("timeout") {
        Some(seconds) => *seconds,
        None => patience(estate, name)?,
    };
    let how = match matches.get_flag("kill") {
        true => How::AtOnce,
        false => How::Asked(Duration::from_secs(seconds.into())),
    };
    if halt::stop(estate, name, how)? == Ended::Killed && how != How::AtOnce {
        log::warning(format!("tenant '{name}' did not end within {seconds} seconds, and was killed"));
    }
    Ok(())
}

/// Stops one whose lock is held, with the time that it has by default.
///
/// # Errors
/// As [`halt::stop`].
pub fn gracefully(estate: &Estate, name: &Name) -> Result<()> {
    let wait = Duration::from_secs(patience(estate, name)?.into());
    halt::stop(estate, name, How::Asked(wait)).map(drop)
}

fn patience(estate: &Estate, name: &Name) -> Result<u32> {
    let mode = estate.tenant(name)?.config.boot.mode;
    Ok(if mode == Mode::Command { 10 } else { 120 })
}
