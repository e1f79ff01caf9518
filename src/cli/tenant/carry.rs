//! `isolate tenant push` and `pull`. The runtime process, with the caller's privilege.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command, value_parser};
use indicatif::HumanBytes;

use super::watched::watched;
use super::{table, targets};
use crate::cli::{arg, print};
use crate::error::{Error, Explain, Kind, Result};
use crate::ids::RootPath;
use crate::tenant::carry::receive::Look;
use crate::tenant::carry::{self, Parents, STREAM, Tally, Target};
use crate::tenant::estate::Estate;

const PUSH: &str = "Examples:
    isolate tenant push web1 site.conf /etc/nginx/
    isolate tenant push --parents web1 html logo.png /srv/www
  From standard input, for a user of the tenant's:
    pg_dump app | isolate tenant push --user postgres --mode 600 db1 - /var/lib/postgresql/app.sql

The tenant may run or not. DEST is a folder that is there, into which all goes, or the new name of one source. Folders
are copied with all in them, links in them as links; pipes, sockets and devices are left out. What is new belongs to
the tenant's root; a file that is replaced keeps its owner and mode, a link is replaced, not followed. Set-id bits and
extended attributes are not carried.";

const PULL: &str = "Examples:
    isolate tenant pull web1 /var/log/nginx /etc/nginx/nginx.conf .
  To standard output:
    isolate tenant pull web1 /etc/passwd - | sort

The tenant may run or not. DEST is a folder that is there, into which all goes, or the new name of one path. What is new
belongs to the caller, with the tenant's permissions within the caller's umask; a file that is replaced keeps its owner
and mode. Links that are named are followed inside the tenant, those in folders are copied as links: where they lead is
the tenant's word, so look before you follow one on the host. Holes stay holes; a file with several names is copied for
each, so more can arrive than the tenant's disk holds.";

/// The parser of `push`.
pub fn command() -> Command {
    let help = "The owner: name, UID or UID:GID of the tenant's [default: root]";
    Command::new("push")
        .about("Copy files of the host into a tenant")
        .args(options())
        .arg(arg::value("user", "USER", help).short('u'))
        .arg(targets::name())
        .arg(paths(["SRC|-", "DEST"], "Files and folders of the host, - for standard input, then where to"))
        .after_help(PUSH)
}

/// The parser of `pull`.
pub fn pull_command() -> Command {
    Command::new("pull")
        .about("Copy files of a tenant to the host")
        .args(options())
        .arg(targets::name())
        .arg(paths(
            ["PATH", "DEST|-"],
            "Files and folders of the tenant, then where to, - for standard output",
        ))
        .after_help(PULL)
}

fn options() -> [Arg; 3] {
    [
        arg::flag("parents", "Make the folders on the way to DEST, and DEST of several").short('p'),
        arg::value("mode", "MODE", "Permissions of the files, in octal [default: as they were]")
            .value_parser(mode),
        table::json_flag(),
    ]
}

fn mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err("it is no octal number up to 777".to_owned()),
    }
}

fn paths(shown: [&'static str; 2], help: &'static str) -> Arg {
    Arg::new("paths")
        .value_names(shown)
        .num_args(2..)
        .required(true)
        .help(help)
        .value_parser(value_parser!(OsString))
}

/// Sources and destination.
fn split(matches: &ArgMatches) -> Result<(Vec<PathBuf>, PathBuf)> {
    let mut paths: Vec<PathBuf> =
        matches.get_many::<OsString>("paths").unwrap_or_default().map(PathBuf::from).collect();
    let fault = |why: &str| Err(Error::new(why).kind(Kind::Usage).code(21));
    let Some(target) = paths.pop() else { return fault("nothing is named") };
    let streams = paths.iter().filter(|path| *path == Path::new(STREAM)).count();
    let empty = paths.iter().chain([&target]).any(|path| path.as_os_str().is_empty());
    match empty {
        true => fault("an empty path"),
        false if streams > 0 && paths.len() > 1 => fault("- goes alone"),
        false => Ok((paths, target)),
    }
}

fn target(matches: &ArgMatches, path: PathBuf, user: Option<String>) -> Target {
    let look = Look { owner: None, mask: 0, mode: matches.get_one::<u32>("mode").copied() };
    let parents = if matches.get_flag("parents") { Parents::Make } else { Parents::Expect };
    Target { path, parents, look, user }
}

/// Copies into the tenant.
///
/// # Errors
/// As [`carry::push`].
pub fn run(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    let name = targets::read_name(matches)?;
    let doing = || format!("cannot push to tenant '{name}'");
    let tenant = estate.tenant(&name).doing(doing)?;
    let (sources, path) = split(matches).doing(doing)?;
    let target = target(matches, path, arg::text(matches, "user"));
    let tally = watched("pushing", |watch, interrupt| {
        carry::push(estate, &tenant, &sources, &target, watch, interrupt)
    });
    tell(matches, &tally.doing(doing)?)
}

/// Copies out of the tenant.
///
/// # Errors
/// As [`carry::pull`].
pub fn run_pull(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    let name = targets::read_name(matches)?;
    let doing = || format!("cannot pull from tenant '{name}'");
    let tenant = estate.tenant(&name).doing(doing)?;
    let (sources, path) = split(matches).doing(doing)?;
    let to_stream = path == Path::new(STREAM);
    if to_stream && matches.get_flag("json") {
        let why = "standard output takes the file or JSON, not both";
        return Err(Error::new(why).kind(Kind::Usage).code(21)).doing(doing);
    }
    let sources: Vec<RootPath> = sources.iter().map(RootPath::new).collect();
    let target = target(matches, path, None);
    let tally = watched("pulling", |watch, interrupt| {
        carry::pull(estate, &tenant, &sources, &target, watch, interrupt)
    });
    let tally = tally.doing(doing)?;
    if to_stream { Ok(0) } else { tell(matches, &tally) }
}

fn tell(matches: &ArgMatches, tally: &Tally) -> Result<i32> {
    if matches.get_flag("json") {
        return print(table::versioned("carried", tally)?);
    }
    let mut words = vec![counted(tally.files, "file")];
    words.extend((tally.folders > 0).then(|| counted(tally.folders, "folder")));
    words.extend((tally.links > 0).then(|| counted(tally.links, "link")));
    print(format_args!("{}  {}", words.join("  "), HumanBytes(tally.bytes)))
}

fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}
