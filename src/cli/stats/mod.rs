//! `isolate stats`: what containers use, for people; a table that is drawn anew, or JSON. The runtime process, with
//! the caller's privilege; changes nothing.

mod row;
mod table;

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use clap::{Arg, ArgMatches, Command};

use super::{arg, duration, json, print_line};
use crate::container::{self, Runtime, Status, Usage};
use crate::error::{Error, Kind, Result};
use crate::ids::ContainerId;
use row::Row;

/// The parser of `stats`.
pub fn command() -> Command {
    let ids =
        Arg::new("ids").value_name("ID").num_args(0..).help("Names of containers [default: all that run]");
    let interval = arg::value("interval", "TIME", "Time between two looks: 1s, 500ms, or seconds");
    Command::new("stats")
        .about("Show what containers use, until interrupted")
        .arg(arg::format(["table", "json"]).short('f'))
        .arg(interval.default_value("1s"))
        .arg(arg::flag("no-stream", "Show it once, and end"))
        .arg(ids)
        .after_help(EXAMPLES)
}

const EXAMPLES: &str = "Examples:
  All containers that run, until Ctrl-C:
    isolate stats
  Two of them, once:
    isolate stats --no-stream web1 db1
  Whoever has been short of memory in the last ten seconds:
    isolate stats --no-stream -f json | jq '.[] | select(.pressure.memory.some.avg10 > 1).id'
  CPU % counts one processor as 100; STALLED is the percentage of the last ten seconds in which a process had to
  wait for a processor, for memory or for a disk.";

/// Shows them.
///
/// # Errors
/// When a container that is named does not exist or has stopped at the first look.
pub fn run(matches: &ArgMatches, runtime: &Runtime) -> Result<i32> {
    let ids = arg::texts(matches, "ids").into_iter().map(ContainerId::new).collect::<Result<Vec<_>>>()?;
    let interval = duration::parse(&arg::text(matches, "interval").unwrap_or_default())?;
    if interval == Duration::ZERO {
        return Err(Error::new("duration interval must be greater than 0").kind(Kind::Usage));
    }
    let mut before = look(runtime, &ids, First::Yes)?;
    loop {
        std::thread::sleep(interval);
        let now = look(runtime, &ids, First::No)?;
        let rows: Vec<Row> = now.iter().map(|sample| Row::new(sample, find(&before, sample))).collect();
        let is_read = print_line(shown(matches, &rows)?)?;
        let is_over = !is_read || matches.get_flag("no-stream") || (!ids.is_empty() && now.is_empty());
        if is_over {
            return Ok(0);
        }
        before = now;
    }
}

/// One container at one moment.
struct Sample {
    id: ContainerId,
    at: Instant,
    usage: Usage,
}

/// Whether a container that is named has to be there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum First {
    Yes,
    No,
}

fn look(runtime: &Runtime, ids: &[ContainerId], first: First) -> Result<Vec<Sample>> {
    let all = if ids.is_empty() { running(runtime)? } else { ids.to_vec() };
    let mut samples = Vec::new();
    for id in all {
        match container::statistics(runtime, &id) {
            Ok(usage) => samples.push(Sample { id, at: Instant::now(), usage }),
            Err(error) if first == First::Yes && !ids.is_empty() => return Err(error),
            // It has ended since: there is nothing to show of it any more.
            Err(error) if matches!(error.get_kind(), Kind::NotFound | Kind::WrongState) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(samples)
}

fn running(runtime: &Runtime) -> Result<Vec<ContainerId>> {
    let states = container::list(runtime)?.into_iter();
    states.filter(|state| state.status != Status::Stopped).map(|state| ContainerId::new(state.id)).collect()
}

fn find<'a>(samples: &'a [Sample], wanted: &Sample) -> Option<&'a Sample> {
    samples.iter().find(|sample| sample.id == wanted.id)
}

fn shown(matches: &ArgMatches, rows: &[Row]) -> Result<String> {
    if arg::text(matches, "format").as_deref() == Some("json") {
        return json(&rows, 0);
    }
    // A terminal's first line, and nothing of the last table.
    let is_drawn_anew = std::io::stdout().is_terminal() && !matches.get_flag("no-stream");
    let clear = if is_drawn_anew { "\u{1b}[H\u{1b}[2J" } else { "" };
    Ok(format!("{clear}{}", table::table(rows)))
}
