//! `isolate tenant destroy`. The runtime process, with the caller's privilege.

use clap::{ArgMatches, Command};

use super::targets;
use crate::cli::arg;
use crate::error::Result;
use crate::tenant::death::{self, Running};
use crate::tenant::estate::Estate;

const EXAMPLES: &str = "Examples:
    isolate tenant destroy web1
  In a script, whatever it does:
    isolate tenant destroy --yes --force web1";

/// The parser of `destroy`.
pub fn command() -> Command {
    Command::new("destroy")
        .about("Remove tenants and all their data")
        .args(targets::several())
        .arg(arg::flag("force", "Kill it first, if it runs").short('f'))
        .arg(targets::yes())
        .after_help(EXAMPLES)
}

/// Asks, and removes them.
///
/// # Errors
/// As [`death::destroy`], for each.
pub fn run(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    let names = targets::read(matches, estate)?;
    let shown: Vec<String> = names.iter().map(ToString::to_string).collect();
    targets::confirm(matches, &format!("Remove {} with all data?", shown.join(", ")))?;
    let running = if matches.get_flag("force") { Running::Kill } else { Running::Refuse };
    targets::for_each(matches, estate, &names, "destroy", |name| death::destroy(estate, name, running))
}
