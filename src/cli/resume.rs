//! `isolate resume`: thaw a paused container. The runtime process, with the caller's privilege.

use clap::{ArgMatches, Command};

use super::arg;
use crate::container::{self, Runtime};
use crate::error::Result;

/// The parser of `resume`.
pub fn command() -> Command {
    Command::new("resume").about("Thaw a paused container").arg(arg::id()).after_help(EXAMPLES)
}

const EXAMPLES: &str = "Examples:
  Let a paused container go on:
    isolate resume web1";

/// Thaws it.
///
/// # Errors
/// As [`container::resume`].
pub fn run(matches: &ArgMatches, runtime: &Runtime) -> Result<i32> {
    container::resume(runtime, &arg::container_id(matches)?)?;
    Ok(0)
}
