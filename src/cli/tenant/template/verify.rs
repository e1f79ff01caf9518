//! `isolate tenant template verify`. The runtime process, with the caller's privilege; changes nothing.

use clap::{ArgMatches, Command};

use super::watched;
use crate::cli::print;
use crate::error::{Explain, Result};
use crate::tenant::estate::Estate;
use crate::tenant::stock;

/// The parser of `verify`.
pub fn command() -> Command {
    let examples = "Examples:\n    isolate tenant template verify busybox";
    Command::new("verify")
        .about("Check that a template is still what was imported")
        .arg(super::name())
        .after_help(examples)
}

/// Reads all of it.
///
/// # Errors
/// Exit code 91 when there is none; what has changed.
pub fn run(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    let name = super::read_name(matches)?;
    let doing = || format!("cannot verify template '{name}'");
    let imported = watched("reading", |watch, _| stock::verify(estate, &name, watch)).doing(doing)?;
    print(format_args!("{name}  {}  ok", imported.digest))
}
