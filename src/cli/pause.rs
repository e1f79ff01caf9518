//! `isolate pause`: freeze all processes of a container. The runtime process, with the caller's privilege.

use clap::{ArgMatches, Command};

use super::arg;
use crate::container::{self, Runtime};
use crate::error::Result;

/// The parser of `pause`.
pub fn command() -> Command {
    Command::new("pause").about("Freeze all processes of a container").arg(arg::id()).after_help(EXAMPLES)
}

const EXAMPLES: &str = "Examples:
  Freeze and thaw a container:
    isolate pause web1
    isolate resume web1";

/// Freezes it.
///
/// # Errors
/// As [`container::pause`].
pub fn run(matches: &ArgMatches, runtime: &Runtime) -> Result<i32> {
    container::pause(runtime, &arg::container_id(matches)?)?;
    Ok(0)
}
