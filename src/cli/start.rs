//! `isolate start`: start the program of a created container. The runtime process, with the caller's privilege.

use clap::{ArgMatches, Command};

use super::arg;
use crate::container::{self, Runtime};
use crate::error::Result;

/// The parser of `start`.
pub fn command() -> Command {
    Command::new("start")
        .about("Start the program of a created container")
        .arg(arg::id())
        .after_help(EXAMPLES)
}

const EXAMPLES: &str = "Examples:
  Make a container, then start it:
    isolate create web1
    isolate start web1";

/// Starts it.
///
/// # Errors
/// As [`container::start`].
pub fn run(matches: &ArgMatches, runtime: &Runtime) -> Result<i32> {
    container::start(runtime, &arg::container_id(matches)?)?;
    Ok(0)
}
