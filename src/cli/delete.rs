//! `isolate delete`: removes a container and everything of it. The runtime process, with the caller's
//! privilege.

use clap::{ArgMatches, Command};

use super::{arg, several};
use crate::container::{self, Runtime};
use crate::error::Result;

/// The parser of `delete`.
pub fn command() -> Command {
    Command::new("delete")
        .about("Remove a container and everything the runtime made for it")
        .arg(arg::flag("force", "Kill it first if it runs; none of that name is no error").short('f'))
        .arg(several::regex())
        .arg(arg::id())
        .after_help(EXAMPLES)
}

const EXAMPLES: &str = "Examples:
  A container that has ended, or was never started:
    isolate delete web1
  Whatever it does:
    isolate delete --force web1
  Every container whose name begins with web:
    isolate delete --force --regex '^web'";

/// Removes it.
///
/// # Errors
/// As [`container::delete`].
pub fn run(matches: &ArgMatches, runtime: &Runtime) -> Result<i32> {
    let force = matches.get_flag("force");
    several::for_each(matches, runtime, |id| container::delete(runtime, id, force))?;
    Ok(0)
}
