//! `isolate tenant start`. The runtime process, with the caller's privilege.

use std::time::Duration;

use clap::{Arg, ArgMatches, Command, value_parser};
use serde::Serialize;

use super::{table, targets};
use crate::cli::{arg, print};
use crate::error::Result;
use crate::tenant::estate::Estate;
use crate::tenant::look;
use crate::tenant::name::Name;
use crate::tenant::readiness::Started;
use crate::tenant::{launch, lock, script};

const EXAMPLES: &str = "Examples:
    isolate tenant start web1
    isolate tenant start web1 web2 @prod
  Without waiting until its systemd has started everything, or for at most five minutes:
    isolate tenant start --no-wait web1
    isolate tenant start --ready-timeout 300 web1";

/// How long an init may take by default, in seconds.
const PATIENCE: u32 = 60;

/// The parser of `start`.
pub fn command() -> Command {
    Command::new("start")
        .about("Start tenants, and wait until they are ready")
        .args(targets::several())
        .args(waiting())
        .arg(table::json_flag().conflicts_with("parallel"))
        .after_help(EXAMPLES)
}

/// `--no-wait` and `--ready-timeout`.
pub fn waiting() -> [Arg; 2] {
    let help = "How long its init may take until it is ready [default: 60]";
    [
        arg::flag("no-wait", "Do not wait until its init says that it is ready"),
        arg::value("ready-timeout", "SECONDS", help).value_parser(value_parser!(u32).range(1..=86_400)),
    ]
}

/// A start as it is told.
#[derive(Debug, Serialize)]
struct Line {
    name: Name,
    mode: &'static str,
    ready: bool,
    seconds: f64,
}

/// Starts them.
///
/// # Errors
/// As [`launch::start`] and [`Started::wait`], for each.
pub fn run(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    let names = targets::read(matches, estate)?;
    start_each(estate, &names, "start", matches, |name| {
        estate.tenant(name)?;
        let _lock = lock::take(&estate.folder(name), "start", estate.lock_wait)?;
        launch::start(estate, name)
    })
}

/// Starts each by `start`, which holds the lock as long as it has to, and waits until it is ready.
///
/// # Errors
/// All failures in one.
pub fn start_each(
    estate: &Estate,
    names: &[Name],
    doing: &str,
    matches: &ArgMatches,
    start: impl Fn(&Name) -> Result<Started>,
) -> Result<i32> {
    let lines = std::cell::RefCell::new(vec![]);
    let result = targets::for_each(matches, estate, names, doing, |name| {
        let line = wait(matches, start(name)?)?;
        script::run_once(estate, name)?;
        if !matches.get_flag("json") {
            print(text(&line))?;
        }
        lines.borrow_mut().push(line);
        Ok(())
    });
    if matches.get_flag("json") {
        print(table::versioned("started", &*lines.borrow())?)?;
    }
    result
}

fn wait(matches: &ArgMatches, started: Started) -> Result<Line> {
    let (name, mode) = (started.tenant.name.clone(), look::mode_word(started.tenant.config.boot.mode));
    let ready = !matches.get_flag("no-wait");
    let seconds = matches.get_one::<u32>("ready-timeout").copied().unwrap_or(PATIENCE);
    let took = match ready {
        true => started.wait(Duration::from_secs(seconds.into()))?,
        false => started.took(),
    };
    // Milliseconds: more would be noise.
    Ok(Line { name, mode, ready, seconds: (took.as_secs_f64() * 1000.0).round() / 1000.0 })
}

fn text(line: &Line) -> String {
    let state = if line.ready { "running" } else { "started" };
    format!("{}  {state} in {:.2}s", line.name, line.seconds)
}
