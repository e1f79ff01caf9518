//! `isolate tenant template import`. The runtime process, with the caller's privilege.

use clap::{Arg, ArgMatches, Command};

use super::watched;
use crate::cli::tenant::table;
use crate::cli::{arg, print};
use crate::error::{Explain, Result};
use crate::log;
use crate::tenant::estate::Estate;
use crate::tenant::name::Name;
use crate::tenant::{prepare, stock};

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
/// As [`stock::import`]; nothing is left then.
pub fn run(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    let (name, words) =
        (arg::text(matches, "as").unwrap_or_default(), arg::text(matches, "source").unwrap_or_default());
    let name = Name::new(name)?;
    let doing = || format!("cannot import template '{name}'");
    let (template, source) = prepare::find_template(&words).doing(doing)?;
    let import = |watch: &mut crate::tenant::unpack::Watch<'_>| {
        stock::import(estate, &name, &template, source.as_ref(), &words, watch)
    };
    let (imported, warnings) = watched("importing", import).doing(doing)?;
    warnings.into_iter().for_each(log::warning);
    if matches.get_flag("json") {
        return print(table::versioned("template", &imported)?);
    }
    let size = indicatif::HumanBytes(imported.bytes);
    print(format_args!("{name}  {size}  {} files  {}", imported.files, imported.digest))
}
