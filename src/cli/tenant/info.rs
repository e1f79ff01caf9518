//! `isolate tenant info`. The runtime process, with the caller's privilege; changes nothing.

use clap::{ArgMatches, Command};

use super::{table, targets};
use crate::cli::print;
use crate::error::{Explain, Result};
use crate::tenant::estate::Estate;
use crate::tenant::look;

const EXAMPLES: &str = "Examples:
    isolate tenant info web1
    isolate tenant info --json web1 | jq .tenant.settings.limits";

/// The parser of `info`.
pub fn command() -> Command {
    Command::new("info")
        .about("Show what a tenant is doing, and its settings")
        .arg(targets::name())
        .arg(table::json_flag())
        .after_help(EXAMPLES)
}

/// Prints it.
///
/// # Errors
/// Exit code 14 when there is no such tenant, or its settings cannot be read.
pub fn run(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    let name = targets::read_name(matches)?;
    let doing = || format!("cannot show tenant '{name}'");
    let tenant = estate.tenant(&name).doing(doing)?;
    let view = look::view(estate, &name).doing(doing)?;
    if matches.get_flag("json") {
        return print(table::versioned("tenant", &view)?);
    }
    let pid = view.pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
    let settings = tenant.config.render().doing(doing)?;
    let settings: Vec<&str> = settings.lines().skip(1).collect();
    let place = tenant.folder.display();
    print(format_args!("{name}: {}{pid}\nfiles: {place}\n\n{}", view.state, settings.join("\n")))
}
