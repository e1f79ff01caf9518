//! Reads a command's arguments by its parser, and turns what clap says about bad ones into the words of
//! runc, as one [`Error`]. Prints nothing.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, Command};

use super::argv::{self, Options};
use crate::error::{Error, Kind, Result};

/// What the arguments ask for.
#[derive(Debug)]
pub enum Parsed {
    /// The command itself, with these.
    Matches(ArgMatches),
    /// Its help, as text.
    Help(String),
}

/// Reads `args`, those after the command's name.
///
/// # Errors
/// [`Kind::Usage`], naming the argument that is wrong.
pub fn parse(command: Command, args: impl IntoIterator<Item = OsString>) -> Result<Parsed> {
    let mut command = ready(command);
    match argv::spell(&command, options(&command), args) {
        Ok(line) => parse_spelled(&mut command, line.into_args()),
        Err(error) => Err(error.hint(hint(&mut command))),
    }
}

/// `command`, built, so that it can spell and read arguments. Of an option given twice the last one counts.
pub fn ready(command: Command) -> Command {
    let mut command = command.no_binary_name(true).args_override_self(true);
    command.build();
    command
}

/// [`parse`] for a [`ready`] command and arguments as [`argv::spell`] leaves them.
///
/// # Errors
/// As [`parse`].
pub fn parse_spelled(command: &mut Command, args: Vec<OsString>) -> Result<Parsed> {
    match command.try_get_matches_from_mut(args) {
        Ok(matches) => Ok(Parsed::Matches(matches)),
        Err(error) if error.kind() == ErrorKind::DisplayHelp => Ok(Parsed::Help(error.render().to_string())),
        Err(error) => Err(Error::new(words(command, &error)).kind(Kind::Usage).hint(hint(command))),
    }
}

/// A command that hands arguments on (`exec`, `ps`) has its own options before the first word only.
fn options(command: &Command) -> Options {
    match command.get_positionals().any(|arg| arg.is_trailing_var_arg_set()) {
        true => Options::First,
        false => Options::Anywhere,
    }
}

fn hint(command: &mut Command) -> String {
    let usage = command.render_usage().to_string();
    let name = command.get_bin_name().unwrap_or("isolate");
    format!("{}; '{name} --help' says more", usage.trim().replace("Usage:", "usage:"))
}

/// runc's words for what is wrong.
fn words(command: &Command, error: &clap::Error) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    let arg = context(ContextKind::InvalidArg);
    let name = arg.split_whitespace().next().unwrap_or("");
    let value = context(ContextKind::InvalidValue);
    match error.kind() {
        ErrorKind::UnknownArgument if arg.starts_with('-') && arg.len() > 1 => {
            format!("flag provided but not defined: {}{}", arg.escape_debug(), suggestion(error))
        }
        ErrorKind::UnknownArgument | ErrorKind::MissingRequiredArgument => arity(command),
        ErrorKind::InvalidValue if value.is_empty() => format!("flag needs an argument: {name}"),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let flag = if name.starts_with('-') { "flag " } else { "" };
            format!("invalid value {value:?} for {flag}{name}{}", reason(error))
        }
        ErrorKind::InvalidUtf8 => "an argument is not UTF-8".to_owned(),
        _ => first_line(error),
    }
}

fn suggestion(error: &clap::Error) -> String {
    match error.get(ContextKind::SuggestedArg) {
        Some(ContextValue::String(similar)) => format!(" (did you mean {similar}?)"),
        _ => String::new(),
    }
}

/// Why a value is refused: what may stand there, or what its parser says.
fn reason(error: &clap::Error) -> String {
    if let Some(ContextValue::Strings(valid)) = error.get(ContextKind::ValidValue) {
        return format!(": use {}", valid.join(" or "));
    }
    let source = std::error::Error::source(error);
    source.map(|why| format!(": {why}")).unwrap_or_default()
}

fn first_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

/// `"create" requires exactly 1 argument(s)`, runc's words for too many and too few.
fn arity(command: &Command) -> String {
    let required = command.get_positionals().filter(|arg| arg.is_required_set()).count();
    let most = command.get_positionals().count();
    let endless = command.get_positionals().any(|arg| arg.is_trailing_var_arg_set());
    let count = if endless {
        format!("a minimum of {required}")
    } else if required == most {
        format!("exactly {required}")
    } else {
        format!("between {required} and {most}")
    };
    format!("{:?} requires {count} argument(s)", command.get_name())
}
