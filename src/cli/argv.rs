//! Brings the spellings that callers of runc and crun use into the one that clap reads: `-no-subreaper`,
//! `--pid-file -x`, `--debug=true`, and everything after a command's first word left alone. Pure.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::{Arg, Command};

use crate::error::{Error, Kind, Result};

/// Where options end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Options {
    /// At `--` only: options and other arguments may be mixed, as crun takes them.
    Anywhere,
    /// At the first argument that is no option: what follows is somebody else's (the command's, `ps`').
    First,
}

/// The arguments before and after the end of options.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// Options as `--name` or `--name=value` (and other arguments, with [`Options::Anywhere`]).
    pub options: Vec<OsString>,
    /// The rest, untouched: from the first argument that is no option, or after `--`.
    pub rest: Vec<OsString>,
}

impl Line {
    /// The arguments as clap is to read them.
    pub fn into_args(self) -> Vec<OsString> {
        let mut args = self.options;
        if !self.rest.is_empty() {
            args.push("--".into());
            args.extend(self.rest);
        }
        args
    }
}

/// Reads `args` (without the program's name) by the options that `command`, already built, has. Unknown
/// options are left as they are, for clap to complain about.
///
/// # Errors
/// When a flag is given a value that is not a boolean.
pub fn spell(command: &Command, options: Options, args: impl IntoIterator<Item = OsString>) -> Result<Line> {
    let mut args = args.into_iter();
    let mut line = Line::default();
    while let Some(arg) = args.next() {
        let is_option = arg.as_bytes().starts_with(b"-") && arg.len() > 1;
        if arg == "--" {
            line.rest.extend(args);
            break;
        } else if is_option {
            option(command, arg, &mut args, &mut line.options)?;
        } else if options == Options::First {
            line.rest.push(arg);
            line.rest.extend(args);
            break;
        } else {
            line.options.push(arg);
        }
    }
    Ok(line)
}

/// Reads one option, and its value from `next` if it has one there, into `out`.
fn option(
    command: &Command,
    arg: OsString,
    next: &mut impl Iterator<Item = OsString>,
    out: &mut Vec<OsString>,
) -> Result<()> {
    let text = arg.as_bytes();
    let bare = text.strip_prefix(b"--").or(text.strip_prefix(b"-")).unwrap_or(text);
    let mut halves = bare.splitn(2, |b| *b == b'=');
    let (name, value) = (halves.next().unwrap_or_default(), halves.next().map(OsStr::from_bytes));
    match find(command, name) {
        Some((known, long)) if known.get_action().takes_values() => {
            out.push(joined(format!("--{long}").into(), value.map(OsStr::to_owned).or_else(|| next.next())));
        }
        Some((_, long)) => flag(long, value, out)?,
        None if text.starts_with(b"--") => out.push(arg),
        None => out.push(cluster(command, arg, next)),
    }
    Ok(())
}

/// The option called `name`, which is a long name or a letter, and its long name. Dashes are not looked at:
/// Go's flag package, which runc uses, takes one or two for both.
fn find<'a>(command: &'a Command, name: &[u8]) -> Option<(&'a Arg, &'a str)> {
    let name = std::str::from_utf8(name).ok()?;
    let mut letters = name.chars();
    let letter = letters.next().filter(|_| letters.next().is_none());
    let found = command.get_arguments().find(|arg| {
        let known = arg.get_long() == Some(name) || arg.get_all_aliases().is_some_and(|a| a.contains(&name));
        known || letter.is_some_and(|letter| has_letter(arg, letter))
    })?;
    Some((found, found.get_long()?))
}

fn has_letter(arg: &Arg, letter: char) -> bool {
    arg.get_short() == Some(letter) || arg.get_all_short_aliases().is_some_and(|a| a.contains(&letter))
}

/// `--name` is on, `--name=false` off again; the words are those of Go's `ParseBool`, and crun's yes and no.
fn flag(long: &str, value: Option<&OsStr>, out: &mut Vec<OsString>) -> Result<()> {
    let spelled = OsString::from(format!("--{long}"));
    match value.map(|value| value.to_string_lossy()).as_deref() {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True" | "yes") => out.push(spelled),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False" | "no") => out.retain(|arg| *arg != spelled),
        Some(other) => {
            let why = format!("invalid boolean value {other:?} for flag --{long}");
            return Err(Error::new(why).kind(Kind::Usage));
        }
    }
    Ok(())
}

/// Several letters behind one dash (`-td`, `-u0`, `-tu 0`): only a value in the next argument must be tied on.
fn cluster(command: &Command, arg: OsString, next: &mut impl Iterator<Item = OsString>) -> OsString {
    let Some(letters) = arg.to_str().map(|text| text[1..].chars().collect::<Vec<_>>()) else { return arg };
    for (at, letter) in letters.iter().enumerate() {
        match command.get_arguments().find(|arg| has_letter(arg, *letter)) {
            None => return arg,
            Some(known) if !known.get_action().takes_values() => {}
            Some(_) if at + 1 < letters.len() => return arg,
            Some(_) => return joined(arg, next.next()),
        }
    }
    arg
}

/// `option=value`; without a value the option alone, so that clap misses it.
fn joined(option: OsString, value: Option<OsString>) -> OsString {
    let Some(value) = value else { return option };
    let mut bytes = option.into_vec();
    bytes.push(b'=');
    bytes.extend(value.into_vec());
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::arg;

    fn command() -> Command {
        let mut command = Command::new("test").args([
            arg::flag("no-subreaper", ""),
            arg::flag("tty", "").short('t'),
            arg::value("user", "USER", "").short('u'),
            arg::value("pid-file", "FILE", ""),
        ]);
        command.build();
        command
    }

    fn spelled(options: Options, args: &[&str]) -> Vec<String> {
        let line = spell(&command(), options, args.iter().map(OsString::from)).unwrap();
        line.into_args().into_iter().map(|arg| arg.into_string().unwrap()).collect()
    }

    #[test]
    fn one_dash_or_two_and_both_ways_of_giving_a_value_mean_the_same() {
        for args in [
            ["--pid-file", "p", "-no-subreaper"].as_slice(),
            &["-pid-file", "p", "--no-subreaper"],
            &["--pid-file=p", "--no-subreaper=true"],
            &["-pid-file=p", "-no-subreaper=1"],
        ] {
            assert_eq!(spelled(Options::Anywhere, args), ["--pid-file=p", "--no-subreaper"], "{args:?}");
        }
        assert_eq!(spelled(Options::Anywhere, &["-help"]), ["--help"]);
    }

    #[test]
    fn the_argument_after_an_option_is_its_value_whatever_it_looks_like() {
        assert_eq!(spelled(Options::Anywhere, &["--pid-file", "-tty", "-t"]), ["--pid-file=-tty", "--tty"]);
        assert_eq!(spelled(Options::Anywhere, &["-u", "--", "x"]), ["--user=--", "x"]);
        assert_eq!(spelled(Options::Anywhere, &["--pid-file", ""]), ["--pid-file="]);
        assert_eq!(spelled(Options::Anywhere, &["--pid-file=", "x"]), ["--pid-file=", "x"]);
        assert_eq!(spelled(Options::Anywhere, &["--pid-file"]), ["--pid-file"]);
    }

    #[test]
    fn letters_can_share_a_dash() {
        assert_eq!(spelled(Options::Anywhere, &["-tu", "0", "x"]), ["-tu=0", "x"]);
        assert_eq!(spelled(Options::Anywhere, &["-u0", "x"]), ["-u0", "x"]);
        assert_eq!(spelled(Options::Anywhere, &["-tx", "y"]), ["-tx", "y"]);
    }

    #[test]
    fn flags_take_booleans_and_nothing_else() {
        assert_eq!(spelled(Options::Anywhere, &["--tty", "-t=false"]), [""; 0]);
        assert_eq!(spelled(Options::Anywhere, &["--tty=no", "-t=yes"]), ["--tty"]);
        let error = spell(&command(), Options::Anywhere, ["--tty=perhaps".into()]).unwrap_err();
        assert_eq!(error.to_string(), "invalid boolean value \"perhaps\" for flag --tty");
    }

    #[test]
    fn what_follows_the_first_word_is_left_alone() {
        let args = ["-t", "id", "ls", "-t", "--pid-file", "x", "--", "-no-subreaper"];
        let expected = ["--tty", "--", "id", "ls", "-t", "--pid-file", "x", "--", "-no-subreaper"];
        assert_eq!(spelled(Options::First, &args), expected);
        assert_eq!(spelled(Options::First, &["--", "-t"]), ["--", "-t"]);
    }

    #[test]
    fn bytes_that_are_not_text_pass_unchanged() {
        let odd = OsString::from_vec(b"-\xff\xfe".to_vec());
        let line = spell(&command(), Options::Anywhere, ["--pid-file".into(), odd.clone(), odd.clone()]);
        let options = line.unwrap().options;
        assert_eq!(options[0].as_bytes(), b"--pid-file=-\xff\xfe");
        assert_eq!(options[1], odd);
    }
}
