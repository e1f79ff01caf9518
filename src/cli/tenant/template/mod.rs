//! `isolate tenant template`: one file a verb.

pub mod import;
pub mod ls;
pub mod pull;
pub mod rm;
pub mod show;
pub mod verify;

use clap::{Arg, ArgMatches};

use crate::cli::arg;
use crate::error::Result;
use crate::tenant::interrupt::Interrupt;
use crate::tenant::name::Name;

/// The template's name, required.
fn name() -> Arg {
    Arg::new("template").value_name("TEMPLATE").required(true).help("The imported template's name")
}

fn read_name(matches: &ArgMatches) -> Result<Name> {
    Name::new(arg::text(matches, "template").unwrap_or_default())
}

/// Does long work that shows its progress and can be interrupted.
fn watched<T>(
    doing: &'static str,
    work: impl FnOnce(&mut crate::tenant::unpack::Watch<'_>) -> Result<T>,
) -> Result<T> {
    let interrupt = Interrupt::hold()?;
    let mut progress = crate::cli::progress::Progress::new(doing);
    let result = work(&mut |what, bytes| {
        progress.show(what, bytes);
        interrupt.check()
    });
    progress.clear();
    match interrupt.exit_code().and_then(|code| u8::try_from(code).ok()) {
        Some(code) => result.map_err(|error| error.code(code)),
        None => result,
    }
}
