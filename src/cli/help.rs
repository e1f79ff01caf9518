//! `isolate help`, `--version`, and what is said to a command that does not exist. The runtime process, no
//! privilege needed; reads nothing.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgMatches, Command};

use super::usage::{self, Parsed};
use super::{arg, commands, print};
use crate::container::Runtime;
use crate::error::{Error, Kind, Result};

/// The version of the OCI runtime specification that is implemented.
const SPEC: &str = "1.3.0";

/// Commands of runc that callers may ask about, and why they are not here.
const ABSENT: [(&str, &str); 2] = [
    ("checkpoint", "checkpoint and restore are not supported"),
    ("restore", "checkpoint and restore are not supported"),
];

/// The parser of `help`.
pub fn command() -> Command {
    Command::new("help")
        .about("Print help, for all or for one command")
        .arg(Arg::new("command").value_name("COMMAND").help("A command"))
        .after_help(
            "Examples:\n  Everything there is:\n    isolate help\n  One command:\n    isolate help exec",
        )
}

/// Prints the help of a command, or of all.
///
/// # Errors
/// When there is no such command.
pub fn run(matches: &ArgMatches, _runtime: &Runtime) -> Result<i32> {
    let Some(topic) = arg::text(matches, "command") else { return print_tree() };
    let entry = commands::find(&topic).ok_or_else(|| unknown(&topic))?;
    match usage::parse(commands::parser(entry), [OsString::from("--help")])? {
        Parsed::Help(text) => print(text.trim_end()),
        Parsed::Matches(_) => Err(unknown(&topic)),
    }
}

/// Prints the help of the whole program.
///
/// # Errors
/// When standard output cannot be written.
pub fn print_tree() -> Result<i32> {
    print(commands::tree().render_help().to_string().trim_end())
}

/// The lines of `--version`, in runc's form: engines show them, and look for `version`, `commit:` and `spec:`.
/// The commit is known when the build was told it (`ISOLATE_COMMIT`).
pub fn version() -> String {
    let commit = option_env!("ISOLATE_COMMIT").map(|commit| format!("commit: {commit}\n"));
    format!("isolate version {}\n{}spec: {SPEC}", env!("CARGO_PKG_VERSION"), commit.unwrap_or_default())
}

/// What is wrong with a command's name that is not in the table.
pub fn unknown(name: &str) -> Error {
    if let Some((_, why)) = ABSENT.iter().find(|(absent, _)| *absent == name) {
        return Error::new(format!("no command '{name}': {why}")).kind(Kind::Unsupported);
    }
    let hint = match similar(name) {
        Some(similar) => format!("did you mean '{similar}'? 'isolate help' lists the commands"),
        None => "'isolate help' lists the commands".to_owned(),
    };
    // runc's words, which scripts look for.
    Error::new(format!("No help topic for '{}'", name.escape_debug())).kind(Kind::Usage).hint(hint)
}

fn similar(name: &str) -> Option<String> {
    let error = commands::tree().no_binary_name(true).try_get_matches_from([name]).err()?;
    match error.get(ContextKind::SuggestedSubcommand)? {
        ContextValue::String(similar) => Some(similar.clone()),
        ContextValue::Strings(similar) => similar.last().cloned(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_command_is_named_in_runcs_words_with_the_nearest_one() {
        let text = unknown("crate").to_string();
        assert!(text.starts_with("No help topic for 'crate'\n  hint: did you mean 'create'?"), "{text}");
        let text = unknown("\u{1b}[31m").to_string();
        assert!(text.starts_with("No help topic for '\\u{1b}[31m'\n  hint: 'isolate help'"), "{text}");
    }

    #[test]
    fn checkpoint_says_that_it_is_not_supported() {
        for name in ["checkpoint", "restore"] {
            let expected = format!("no command '{name}': checkpoint and restore are not supported");
            assert_eq!(unknown(name).to_string(), expected);
            assert!(commands::find(name).is_none());
        }
    }

    #[test]
    fn the_version_has_the_lines_that_engines_look_for() {
        let version = version();
        assert!(version.starts_with("isolate version 0."), "{version}");
        assert!(version.lines().any(|line| line == "spec: 1.3.0"), "{version}");
    }
}
