//! `isolate events`: what happens in a container, a JSON object a line. The runtime process, with the caller's
//! privilege; changes nothing.

mod form;

use std::time::Duration;

use clap::{ArgMatches, Command};
use serde_json::json;

use super::{arg, duration, json as to_text, print};
use crate::container::{self, Event, Runtime};
use crate::error::{Error, Kind, Result};
use crate::ids::ContainerId;

/// The parser of `events`.
pub fn command() -> Command {
    let interval = arg::value("interval", "TIME", "Time between two statistics: 5s, 1m30s, or seconds");
    Command::new("events")
        .about("Tell what a container uses, and when it is out of memory, until it ends")
        .arg(interval.default_value("5s"))
        .arg(arg::flag("stats", "Tell what it uses now, and end"))
        .arg(arg::id())
        .after_help(EXAMPLES)
}

const EXAMPLES: &str = "Examples:
  Statistics every ten seconds, and a line when the OOM killer ends a process:
    isolate events --interval 10s web1
  Once, and only the memory:
    isolate events --stats web1 | jq .data.memory.usage
  For people there is 'isolate stats'.";

/// Prints the events, each a line. A reader that has gone has what it wanted.
///
/// # Errors
/// As [`container::events`]; or the interval is none.
pub fn run(matches: &ArgMatches, runtime: &Runtime) -> Result<i32> {
    let id = arg::container_id(matches)?;
    let interval = duration::parse(&arg::text(matches, "interval").unwrap_or_default())?;
    if interval == Duration::ZERO {
        return Err(Error::new("duration interval must be greater than 0").kind(Kind::Usage));
    }
    if matches.get_flag("stats") {
        let usage = container::statistics(runtime, &id)?.counted()?;
        return print(line(&id, &Event::Statistics(Box::new(usage)))?);
    }
    container::events(runtime, &id, interval, &mut |event| super::print_line(&line(&id, &event)?))?;
    Ok(0)
}

fn line(id: &ContainerId, event: &Event) -> Result<String> {
    let id = id.as_str();
    match event {
        Event::Statistics(usage) => {
            to_text(&json!({"type": "stats", "id": id, "data": form::data(usage)}), 0)
        }
        Event::OutOfMemory => to_text(&json!({"type": "oom", "id": id}), 0),
    }
}
