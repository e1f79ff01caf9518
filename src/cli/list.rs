//! `isolate list`: all containers below the state root. The runtime process, with the caller's privilege;
//! changes nothing.

use std::fmt::Write;

use clap::{ArgMatches, Command};

use super::{arg, json, print};
use crate::container::{self, Runtime, State};
use crate::error::Result;

/// The parser of `list`.
pub fn command() -> Command {
    Command::new("list")
        .about("List the containers")
        .arg(arg::format(["table", "json"]).short('f'))
        .arg(arg::flag("quiet", "Only their names, one a line").short('q'))
        .after_help(EXAMPLES)
}

const EXAMPLES: &str = "Examples:
  As a table, or as JSON:
    isolate list
    isolate list --format json
  The names of those that run:
    isolate list -f json | jq -r '.[] | select(.status == \"running\").id'
  Those of another state root:
    isolate --root /run/other list";

/// Prints them.
///
/// # Errors
/// As [`container::list`].
pub fn run(matches: &ArgMatches, runtime: &Runtime) -> Result<i32> {
    let states = container::list(runtime)?;
    if matches.get_flag("quiet") {
        let names: Vec<_> = states.iter().map(|state| state.id.as_str()).collect();
        return if names.is_empty() { Ok(0) } else { print(names.join("\n")) };
    }
    match arg::text(matches, "format").as_deref() {
        Some("json") => print(json(&states, 0)?),
        _ => print(table(&states)),
    }
}

/// Plain columns without borders, at least 12 wide and three spaces apart, as runc writes them: scripts cut
/// them by white space.
fn table(states: &[State]) -> String {
    let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(String::from);
    let rows: Vec<_> = std::iter::once(head).chain(states.iter().map(row)).collect();
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count() + 3).max().unwrap_or(0).max(12);
    let widths: [usize; 5] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        for (cell, width) in row.iter().zip(widths) {
            // Writing to a string cannot fail.
            let _ = write!(text, "{cell:width$}");
        }
        let _ = writeln!(text, "{}", row[5]);
    }
    text.trim_end().to_owned()
}

fn row(state: &State) -> [String; 6] {
    let status = format!("{:?}", state.status).to_lowercase();
    let State { id, pid, bundle, created, owner, .. } = state;
    // A path may hold anything; a line break in it must not look like another container.
    let bundle = bundle.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    [id.clone(), pid.to_string(), status, bundle, created.clone(), owner.clone()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::Status;

    fn state(id: &str, bundle: &str) -> State {
        State {
            oci_version: "1.3.0".into(),
            id: id.into(),
            pid: 42,
            status: Status::Running,
            bundle: bundle.into(),
            rootfs: "/b/rootfs".into(),
            created: "2026-01-02T03:04:05.000000006Z".into(),
            annotations: Default::default(),
            owner: "root".into(),
        }
    }

    #[test]
    fn an_empty_list_is_the_head_alone_as_runc_prints_it() {
        assert_eq!(table(&[]), "ID          PID         STATUS      BUNDLE      CREATED     OWNER");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_three() {
        let expected = "\
ID               PID         STATUS      BUNDLE      CREATED                          OWNER
a                42          running     /b          2026-01-02T03:04:05.000000006Z   root
fourteen_chars   42          running     /?x         2026-01-02T03:04:05.000000006Z   root";
        assert_eq!(table(&[state("a", "/b"), state("fourteen_chars", "/\nx")]), expected);
    }
}
