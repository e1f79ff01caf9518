//! `isolate tenant list`. The runtime process, with the caller's privilege; changes nothing.

use clap::{ArgMatches, Command};

use super::table;
use crate::cli::{arg, print};
use crate::error::Result;
use crate::tenant::estate::Estate;
use crate::tenant::look::{self, View, mode_word};

const EXAMPLES: &str = "Examples:
    isolate tenant list
  The names of those that run:
    isolate tenant list --json | jq -r '.tenants[] | select(.state == \"running\").name'
    isolate tenant list --quiet";

/// The parser of `list`.
pub fn command() -> Command {
    Command::new("list")
        .about("List the tenants")
        .arg(arg::flag("quiet", "Only their names, one a line").short('q'))
        .arg(table::header_flag())
        .arg(table::json_flag())
        .after_help(EXAMPLES)
}

/// Prints them.
///
/// # Errors
/// As [`look::all`].
pub fn run(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    if matches.get_flag("quiet") {
        let names: Vec<String> = estate.names()?.iter().map(ToString::to_string).collect();
        return if names.is_empty() { Ok(0) } else { print(names.join("\n")) };
    }
    let views = look::all(estate)?;
    if matches.get_flag("json") {
        return print(table::versioned("tenants", &views)?);
    }
    let rows: Vec<Vec<String>> = views.iter().map(row).collect();
    print(table::table(
        &["NAME", "STATE", "PID", "RUNS", "TEMPLATE", "RAM", "CPUS", "TASKS", "OWNER"],
        &rows,
        matches,
    ))
}

fn row(view: &View) -> Vec<String> {
    let none = || "-".to_owned();
    let pid = view.pid.map_or_else(none, |pid| pid.to_string());
    let mut row = vec![view.name.to_string(), view.state.to_owned(), pid];
    let Some(settings) = &view.settings else { return row };
    let limits = &settings.limits;
    row.extend([
        mode_word(settings.boot.mode).to_owned(),
        settings.template.name.to_string(),
        limits.ram.map_or_else(none, String::from),
        limits.cpus.map_or_else(none, String::from),
        limits.tasks.map_or_else(none, |tasks| tasks.to_string()),
        settings.admin.owner.clone().unwrap_or_else(none),
    ]);
    row
}
