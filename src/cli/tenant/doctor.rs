//! `isolate tenant doctor`. The runtime process, with the caller's privilege.

use clap::{ArgMatches, Command};

use super::table;
use crate::cli::{arg, print};
use crate::error::{Explain, Result};
use crate::tenant::doctor::{self, Cure, Finding};
use crate::tenant::estate::Estate;

const EXAMPLES: &str = "Examples:
    isolate tenant doctor
    isolate tenant doctor --fix

It tells what commands that were killed have left; no tenant's data is ever removed, and tenants that somebody works on
are passed over. The exit code is 1 when something is left to put right.";

/// The parser of `doctor`.
pub fn command() -> Command {
    Command::new("doctor")
        .about("Find what commands that were killed have left, and put it right")
        .arg(arg::flag("fix", "Put right what can be"))
        .arg(table::json_flag())
        .after_help(EXAMPLES)
}

/// Looks, and tells.
///
/// # Errors
/// As [`doctor::examine`].
pub fn run(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    let cure = if matches.get_flag("fix") { Cure::Fix } else { Cure::Tell };
    let found = doctor::examine(estate, cure).doing(|| "cannot look at the tenants".to_owned())?;
    if matches.get_flag("json") {
        print(table::versioned("findings", &found)?)?;
    } else if found.is_empty() {
        print("nothing is wrong")?;
    } else {
        print(found.iter().map(line).collect::<Vec<_>>().join("\n"))?;
    }
    Ok(i32::from(found.iter().any(|finding| !finding.fixed)))
}

fn line(finding: &Finding) -> String {
    let end = match (&finding.hint, finding.fixed) {
        (_, true) => ": put right".to_owned(),
        (Some(hint), false) => format!("\n  hint: {hint}"),
        (None, false) => String::new(),
    };
    format!("{}: {}{end}", finding.about, finding.what)
}
