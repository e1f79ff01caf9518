//! `isolate tenant snapshot ls`. The runtime process, with the caller's privilege; changes nothing.

use clap::{ArgMatches, Command};
use serde_json::{Value, json};

use crate::cli::print;
use crate::cli::tenant::{table, targets};
use crate::error::{Explain, Result};
use crate::tenant::estate::Estate;
use crate::tenant::measure::Unit;
use crate::tenant::name::Name;
use crate::tenant::snapshots;

const EXAMPLES: &str = "Examples:
    isolate tenant snapshot ls web1
    isolate tenant snapshot ls --json web1 | jq -r '.snapshots[].name'";

/// The parser of `ls`.
pub fn command() -> Command {
    Command::new("ls")
        .about("List the snapshots of a tenant, the oldest first")
        .arg(targets::name())
        .arg(table::header_flag())
        .arg(table::json_flag())
        .after_help(EXAMPLES)
}

/// Prints them; a star marks the one that the disk came from or that was taken last.
///
/// # Errors
/// Exit code 14 without the tenant; a snapshot that cannot be read.
pub fn run(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    let name = targets::read_name(matches)?;
    let doing = || format!("cannot list the snapshots of tenant '{name}'");
    let tenant = estate.tenant(&name).doing(doing)?;
    let current = snapshots::current(&tenant);
    let all = snapshots::all(&tenant).doing(doing)?;
    let bytes = |snapshot: &snapshots::Snapshot| snapshots::bytes_of(&snapshots::disk_of(&tenant, snapshot));
    if matches.get_flag("json") {
        let view = |snapshot: &snapshots::Snapshot| {
            json!({
                "name": snapshot.name, "created": snapshot.created, "parent": snapshot.parent,
                "note": snapshot.note, "paused_ms": snapshot.paused_ms, "bytes": bytes(snapshot),
                "current": current.as_ref() == Some(&snapshot.name),
            })
        };
        return print(table::versioned("snapshots", &all.iter().map(view).collect::<Vec<Value>>())?);
    }
    let row = |snapshot: &snapshots::Snapshot| {
        let mark = if current.as_ref() == Some(&snapshot.name) { "*" } else { "" };
        let parent = snapshot.parent.as_ref().map_or("-", Name::as_str);
        vec![
            format!("{}{mark}", snapshot.name),
            snapshot.created.chars().take(19).collect(),
            parent.to_owned(),
            Unit::Bytes.shown(bytes(snapshot)),
            snapshot.note.clone().unwrap_or_default(),
        ]
    };
    let rows: Vec<Vec<String>> = all.iter().map(row).collect();
    print(table::table(&["SNAPSHOT", "CREATED", "PARENT", "SIZE", "NOTE"], &rows, matches))
}
