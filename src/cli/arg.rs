//! The few shapes of argument that the commands share, and how their values are read. No printing.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, value_parser};

use crate::error::{Call, Result};
use crate::ids::ContainerId;

/// An option that is there or not.
pub fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

/// An option with a value as text; the last one given counts.
pub fn value(name: &'static str, shown: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(shown).help(help)
}

/// An option with a path on the host. It may be empty, which clap's own parser of paths refuses.
pub fn path(name: &'static str, shown: &'static str, help: &'static str) -> Arg {
    value(name, shown, help).value_parser(value_parser!(OsString))
}

/// An option that may be given several times, all counting.
pub fn values(name: &'static str, shown: &'static str, help: &'static str) -> Arg {
    value(name, shown, help).action(ArgAction::Append)
}

/// `--format`, one of `formats`, the first being the default.
pub fn format(formats: [&'static str; 2]) -> Arg {
    value("format", "FORMAT", "How to print it").value_parser(formats).default_value(formats[0])
}

/// The container's name, required.
pub fn id() -> Arg {
    Arg::new("id").value_name("ID").required(true).help("The container's name")
}

/// Reads [`id`].
///
/// # Errors
/// Names the rule that the name breaks.
pub fn container_id(matches: &ArgMatches) -> Result<ContainerId> {
    ContainerId::new(text(matches, "id").unwrap_or_default())
}

/// The value of an option of text.
pub fn text(matches: &ArgMatches, name: &str) -> Option<String> {
    matches.get_one::<String>(name).cloned()
}

/// The value of [`path`] as given, if it is not empty.
pub fn os_text<'a>(matches: &'a ArgMatches, name: &str) -> Option<&'a OsString> {
    matches.get_one::<OsString>(name).filter(|path| !path.is_empty())
}

/// The values of [`values`], in order.
pub fn texts(matches: &ArgMatches, name: &str) -> Vec<String> {
    matches.get_many::<String>(name).unwrap_or_default().cloned().collect()
}

/// The value of [`path`], made absolute; an empty one counts as not given, as in runc.
///
/// # Errors
/// When it is relative and the current folder is not known.
pub fn absolute(matches: &ArgMatches, name: &str) -> Result<Option<PathBuf>> {
    os_text(matches, name).map(|path| make_absolute(Path::new(path))).transpose()
}

/// `path` from the current folder, without following links.
///
/// # Errors
/// As [`absolute`].
pub fn make_absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).call(|| "getcwd()")
}
