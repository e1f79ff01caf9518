//! `isolate tenant template pull`. The runtime process, with the caller's privilege.

use clap::{Arg, ArgMatches, Command};

use super::{take_in, tell};
use crate::cli::arg;
use crate::cli::tenant::table;
use crate::error::{Explain, Result};
use crate::tenant::estate::Estate;
use crate::tenant::name::Name;
use crate::tenant::pull::{self, Tls};
use crate::tenant::stock;

const EXAMPLES: &str = "Examples:
    isolate tenant template pull --as nginx docker://docker.io/library/nginx:1.27
  A registry of one's own, without TLS; an archive of 'docker save':
    isolate tenant template pull --as web --insecure docker://127.0.0.1:5000/web:latest
    isolate tenant template pull --as web docker-archive:web.tar

The program skopeo fetches it, with its logins and policies. A tenant of it runs what the image runs; with create --init
the init that is in it.";

/// The parser of `pull`.
pub fn command() -> Command {
    let source = Arg::new("source").value_name("SOURCE").required(true);
    Command::new("pull")
        .about("Make a template from an image of a registry, or a docker archive")
        .arg(arg::value("as", "NAME", "What it is to be called").required(true))
        .arg(arg::flag("insecure", "The registry need not prove who it is, and may speak plain HTTP"))
        .arg(source.help("docker://HOST/IMAGE:TAG, docker-archive:FILE"))
        .arg(table::json_flag())
        .after_help(EXAMPLES)
}

/// Fetches and imports it, and prints its name, size and digest.
///
/// # Errors
/// As [`pull::fetch`] and [`stock::import`]; nothing is left then.
pub fn run(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    let (name, words) =
        (arg::text(matches, "as").unwrap_or_default(), arg::text(matches, "source").unwrap_or_default());
    let name = Name::new(name)?;
    let doing = || format!("cannot pull template '{name}'");
    pull::check(&words).doing(doing)?;
    stock::check_free(estate, &name).doing(doing)?;
    let tls = if matches.get_flag("insecure") { Tls::Insecure } else { Tls::Verified };
    let workshop = stock::workshop(estate).doing(doing)?;
    let layout = workshop.path().join("layout");
    pull::fetch(&words, tls, &layout).doing(doing)?;
    let place = format!("oci:{}:{}", layout.display(), pull::TAG);
    let imported = take_in(estate, &name, &place, &words).doing(doing)?;
    tell(matches, &name, &imported)
}
