//! `isolate tenant template import`. The runtime process, with the caller's privilege.

use clap::{Arg, ArgMatches, Command};

use super::{take_in, tell};
use crate::cli::arg;
use crate::cli::tenant::table;
use crate::error::{Explain, Result};
use crate::tenant::estate::Estate;
use crate::tenant::name::Name;

const EXAMPLES: &str = "Examples:
  Templates that come with the program (isolate try --list shows them):
    isolate tenant template import --as busybox busybox
    isolate tenant template import --as bookworm debian
  A folder, a tar file (plain, gz, zst), an OCI image layout:
    isolate tenant template import --as web dir:/srv/roots/web
    isolate tenant template import --as alpine tar:alpine-minirootfs-3.22.0-x86_64.tar.gz
    isolate tenant template import --as nginx oci:/srv/images/nginx:latest";

/// The parser of `import`.
pub fn command() -> Command {
    let source = Arg::new("source").value_name("SOURCE").required(true);
    Command::new("import")
        .about("Make a template from a folder, an archive, an image, or a recipe of the program")
        .arg(arg::value("as", "NAME", "What it is to be called").required(true))
        .arg(source.help("host, busybox, debian, alpine:PATH, dir:PATH, tar:PATH, oci:PATH[:TAG], FILE.toml"))
        .arg(table::json_flag())
        .after_help(EXAMPLES)
}

/// Imports it, and prints its name, size and digest.
///
/// # Errors
/// As [`crate::tenant::stock::import`]; nothing is left then.
pub fn run(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    let (name, words) =
        (arg::text(matches, "as").unwrap_or_default(), arg::text(matches, "source").unwrap_or_default());
    let name = Name::new(name)?;
    let doing = || format!("cannot import template '{name}'");
    let imported = take_in(estate, &name, &words, &words).doing(doing)?;
    tell(matches, &name, &imported)
}
