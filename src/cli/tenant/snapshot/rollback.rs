//! `isolate tenant snapshot rollback`. The runtime process, with the caller's privilege.

use clap::{ArgMatches, Command};

use crate::cli::tenant::targets;
use crate::cli::{arg, print};
use crate::container::Status;
use crate::error::{Explain, Result};
use crate::tenant::estate::Estate;
use crate::tenant::halt::{self, How};
use crate::tenant::{launch, look, snapshots};

const EXAMPLES: &str = "Examples:
    isolate tenant snapshot rollback web1 before-upgrade
  A running one is killed first and started again:
    isolate tenant snapshot rollback --restart web1 before-upgrade

The state that is left is not lost: it becomes a snapshot itself, whose name is told.";

/// The parser of `rollback`.
pub fn command() -> Command {
    Command::new("rollback")
        .about("Make a tenant's disk and settings what they were in a snapshot")
        .arg(targets::name())
        .arg(super::snapshot())
        .arg(arg::flag("restart", "Kill the tenant if it runs, and start it again"))
        .after_help(EXAMPLES)
}

/// Rolls back.
///
/// # Errors
/// As [`snapshots::roll_back`].
pub fn run(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    let name = super::read_snapshot(matches)?;
    let (tenant, _lock) = super::held(matches, estate, "snapshot rollback")?;
    let doing = || format!("cannot roll tenant '{}' back to '{name}'", tenant.name);
    snapshots::find(&tenant, &name).doing(doing)?;
    let again = matches.get_flag("restart") && look::status(estate, &tenant.name)? != Status::Stopped;
    if again {
        halt::stop(estate, &tenant.name, How::AtOnce).doing(doing)?;
    }
    let left = snapshots::roll_back(estate, &tenant, &name).doing(doing)?;
    if again {
        launch::start(estate, &tenant.name).doing(doing)?;
    }
    print(format_args!("{}@{name}  the state before is snapshot {left}", tenant.name))
}
