//! `isolate tenant console`: the terminal of a tenant's init. The runtime process, with the caller's privilege.

use clap::{ArgMatches, Command};

use super::targets;
use crate::cli::{arg, print};
use crate::error::{Explain, Result};
use crate::tenant::console::{self, Left};
use crate::tenant::console_log;
use crate::tenant::estate::Estate;

const EXAMPLES: &str = "Examples:
    isolate tenant console web1
  What was written there last, without going in:
    isolate tenant console --log web1
    isolate tenant console --lines 20 web1

Ctrl-] leaves it; the tenant goes on. Several may look at one console at the same time.";

/// The parser of `console`.
pub fn command() -> Command {
    Command::new("console")
        .about("The terminal of a tenant's init")
        .arg(targets::name())
        .arg(arg::flag("log", "Print what was written to it, and end"))
        .arg(
            arg::value("lines", "N", "The same, and no more than the last N lines")
                .value_parser(clap::value_parser!(u32)),
        )
        .after_help(EXAMPLES)
}

/// Connects, or prints the log.
///
/// # Errors
/// As [`console::attach`].
pub fn run(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    let name = targets::read_name(matches)?;
    let doing = || format!("cannot open the console of tenant '{name}'");
    let tenant = estate.tenant(&name).doing(doing)?;
    let lines = matches.get_one::<u32>("lines").map(|lines| *lines as usize);
    if matches.get_flag("log") || lines.is_some() {
        let lines = lines.unwrap_or(usize::MAX);
        let text = console_log::tail(&tenant.folder, lines);
        return if text.is_empty() { Ok(0) } else { print(text) };
    }
    match console::attach(estate, &tenant).doing(doing)? {
        Left::Detached => print("\nthe tenant goes on"),
        Left::Ended => print("\nthe tenant has stopped"),
    }
}
