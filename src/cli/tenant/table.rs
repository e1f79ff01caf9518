//! Tables and JSON of `isolate tenant`: one shape for all verbs. No printing here.

use clap::{Arg, ArgMatches};
use serde_json::{Value, json};

use crate::cli::{arg, json as to_text};
use crate::error::Result;

/// `--json`.
pub fn json_flag() -> Arg {
    arg::flag("json", "Print JSON: {\"version\": 1, …}")
}

/// `--no-header`.
pub fn header_flag() -> Arg {
    arg::flag("no-header", "Leave the first line out").short('H')
}

/// Plain columns, two spaces apart.
pub fn table(head: &[&str], rows: &[Vec<String>], matches: &ArgMatches) -> String {
    let head = (!matches.get_flag("no-header"))
        .then(|| head.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
    columns(&head.iter().chain(rows).collect::<Vec<_>>())
}

/// The same without a first line.
pub fn rows(rows: &[Vec<String>]) -> String {
    columns(&rows.iter().collect::<Vec<_>>())
}

fn columns(rows: &[&Vec<String>]) -> String {
    let columns = rows.iter().map(|row| row.len()).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &&Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{:width$}", clean(cell)));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Nothing of a tenant's own words acts on the terminal.
fn clean(cell: &str) -> String {
    cell.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// `value` under `key`, with the version of its shape.
///
/// # Errors
/// None that a serialisable value can cause.
pub fn versioned(key: &str, value: &impl serde::Serialize) -> Result<String> {
    let value = serde_json::to_value(value).map_err(|error| crate::error::Error::new(error.to_string()))?;
    let object: Value = json!({"version": 1, key: value});
    to_text(&object, 2)
}
