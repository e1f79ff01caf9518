//! `isolate state`: what a container is and does, as the JSON of the OCI specification. The runtime process,
//! with the caller's privilege; changes nothing.

use clap::{ArgMatches, Command};

use super::{arg, json, print};
use crate::container::{self, Runtime};
use crate::error::Result;

/// The parser of `state`.
pub fn command() -> Command {
    Command::new("state").about("Print the state of a container as JSON").arg(arg::id()).after_help(EXAMPLES)
}

const EXAMPLES: &str = "Examples:
  Everything that is known of a container:
    isolate state web1
  Only what it is doing:
    isolate state web1 | jq -r .status";

/// Prints it.
///
/// # Errors
/// As [`container::state`].
pub fn run(matches: &ArgMatches, runtime: &Runtime) -> Result<i32> {
    print(json(&container::state(runtime, &arg::container_id(matches)?)?, 2)?)
}
