//! `isolate tenant template`: one file a verb.

pub mod import;
pub mod ls;
pub mod pull;
pub mod rm;
pub mod show;
pub mod verify;

use clap::{Arg, ArgMatches};

use crate::cli::tenant::table;
use crate::cli::tenant::watched::watched;
use crate::cli::{arg, print};
use crate::error::Result;
use crate::tenant::estate::Estate;
use crate::tenant::name::Name;
use crate::tenant::prepare;
use crate::tenant::stock::{self, Imported};

/// The template's name, required.
fn name() -> Arg {
    Arg::new("template").value_name("TEMPLATE").required(true).help("The imported template's name")
}

fn read_name(matches: &ArgMatches) -> Result<Name> {
    Name::new(arg::text(matches, "template").unwrap_or_default())
}

/// Imports what lies at `place`, with progress; `source` is what it is said to come from.
fn take_in(estate: &Estate, name: &Name, place: &str, source: &str) -> Result<Imported> {
    let (template, found) = prepare::find_template(place)?;
    let import = |watch: &mut crate::tenant::unpack::Watch<'_>, _: &_| {
        stock::import(estate, name, &template, found.as_ref(), source, watch)
    };
    let (imported, warnings) = watched("importing", import)?;
    warnings.into_iter().for_each(crate::log::warning);
    Ok(imported)
}

/// A new template's name, size and digest.
fn tell(matches: &ArgMatches, name: &Name, imported: &Imported) -> Result<i32> {
    if matches.get_flag("json") {
        return print(table::versioned("template", imported)?);
    }
    let size = indicatif::HumanBytes(imported.bytes);
    print(format_args!("{name}  {size}  {} files  {}", imported.files, imported.digest))
}
