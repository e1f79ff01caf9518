//! The command line: one file a command (parse, call, print), and the only printing of the crate.
//!
//! The runtime process runs this with the caller's privilege. The command's name is looked at first, and only
//! that command's parser is built ([`commands`] is the table). Standard output carries results only, standard
//! error nothing at all on success: engines read both as one.

use std::ffi::OsString;
use std::fmt;
use std::io::{ErrorKind, Write};

use crate::error::{Call, Error, Kind, Result};
use crate::log;
use crate::sys::{entry, executable};

mod arg;
mod argv;
pub mod commands;
mod completion;
mod create;
mod delete;
mod duration;
mod events;
mod exec;
mod features;
mod global;
mod help;
mod kill;
mod lint;
mod list;
mod man;
mod mounts;
mod pause;
mod plan;
mod progress;
mod ps;
mod resume;
mod run;
mod several;
mod spec;
mod start;
mod state;
mod stats;
mod tenant;
mod try_;
mod update;
mod usage;

use global::{Asked, Global};
use usage::Parsed;

/// Does what the command line `args` (without the program's name) says, and returns the exit code: 0, or the
/// container's own for `run` and `exec`; 1 for failures, 255 for those of `exec`.
///
/// Commands that join a container begin by executing the program once more, protected; a word of theirs
/// anywhere in the arguments is enough, since doing it needlessly does no harm.
pub fn main(args: impl IntoIterator<Item = OsString>) -> i32 {
    let args: Vec<OsString> = args.into_iter().collect();
    let joins = args.iter().any(|arg| entry::JOINING.iter().any(|name| arg == name));
    match if joins { executable::protect() } else { Ok(()) } {
        Ok(()) => run_command(args),
        Err(error) => failed(&error, Log::Absent, 1),
    }
}

fn run_command(args: Vec<OsString>) -> i32 {
    let mut global = match global::read(args) {
        Ok(global) => global,
        Err(error) => return failed(&error, Log::Absent, 1),
    };
    let log = match global.log.to {
        log::Destination::StandardError => Log::Absent,
        log::Destination::File(_) | log::Destination::Daemon(_) => Log::Engines,
    };
    log::init(std::mem::take(&mut global.log));
    if global.criu {
        log::warning("option --criu has no effect: there is no checkpoint and restore");
    }
    // A caller that ignores SIGCHLD would take the exit codes of hooks and containers from us.
    if let Err(error) = crate::sys::process::keep_exit_statuses() {
        return failed(&error, log, 1);
    }
    match dispatch(global) {
        Ok(code) => code,
        Err((error, code)) => failed(&error, log, code),
    }
}

/// Whether the error goes into a log as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Log {
    Engines,
    Absent,
}

/// Says what failed: on standard error for people and conmon, in the log for engines, once each.
fn failed(error: &Error, log: Log, code: i32) -> i32 {
    if log == Log::Engines {
        log::error(error);
    }
    let usage = if error.get_kind() == Kind::Usage { "incorrect usage: " } else { "" };
    let line = format!("isolate: {usage}{error}\n");
    // In one write, so that runtimes sharing a terminal do not mix. Nobody is left to tell of a failure.
    let _ = std::io::stderr().write_all(line.as_bytes());
    code
}

fn dispatch(global: Global) -> Result<i32, (Error, i32)> {
    let usage = |error| (error, 1);
    match global.asked {
        Some(Asked::Help) => return help::print_tree().map_err(usage),
        Some(Asked::Version) => return print(help::version()).map_err(usage),
        None => {}
    }
    let mut args = global.rest.into_iter();
    let name = args.next().unwrap_or_default();
    let entry = name.to_str().and_then(commands::find);
    let entry = entry.ok_or_else(|| usage(help::unknown(&name.to_string_lossy())))?;
    let runtime = global.runtime.map_err(usage)?;
    if entry.name == tenant::NAME {
        return tenant::dispatch(args, &runtime).map_err(|error| {
            let code = error.get_code().unwrap_or(1);
            (error, code)
        });
    }
    match usage::parse(commands::parser(entry), args).map_err(usage)? {
        Parsed::Help(text) => print(text.trim_end()).map_err(usage),
        Parsed::Matches(matches) => (entry.run)(&matches, &runtime).map_err(|error| {
            let code = if error.get_kind() == Kind::Usage { 1 } else { entry.failure };
            (error, code)
        }),
    }
}

/// Gives any arguments to the parser of the command that the first of them names, and does nothing with what it
/// reads: whether it was taken.
#[cfg(fuzzing)]
pub fn fuzz(args: Vec<OsString>) -> bool {
    let mut args = args.into_iter();
    let name = args.next().unwrap_or_default();
    let Some(entry) = name.to_str().and_then(commands::find) else { return false };
    usage::parse(commands::parser(entry), args).is_ok()
}

/// Prints a result and its line end; the exit code is 0. A reader that has gone away has what it wanted.
fn print(text: impl fmt::Display) -> Result<i32> {
    print_line(text).map(|_| 0)
}

/// The same for one of several: whether anybody still reads.
fn print_line(text: impl fmt::Display) -> Result<bool> {
    // In one write, so that a signal never leaves half a line.
    let line = format!("{text}\n");
    let mut out = std::io::stdout().lock();
    match out.write_all(line.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        written => written.call(|| "write(stdout)").map(|()| true),
    }
}

/// `value` as JSON, indented by `indent` spaces, or on one line for 0.
fn json(value: &impl serde::Serialize, indent: usize) -> Result<String> {
    let mut bytes = Vec::new();
    let spaces = " ".repeat(indent);
    let written = if indent == 0 {
        serde_json::to_writer(&mut bytes, value)
    } else {
        let pretty = serde_json::ser::PrettyFormatter::with_indent(spaces.as_bytes());
        value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, pretty))
    };
    written.map_err(|error| Error::new(format!("cannot write JSON: {error}")))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(args: &str) -> i32 {
        let global = global::read(args.split_whitespace().map(OsString::from)).unwrap();
        dispatch(global).unwrap_err().1
    }

    #[test]
    fn usage_errors_exit_1_and_failures_of_exec_255() {
        assert_eq!(code("exec"), 1);
        assert_eq!(code("exec --bad id sh"), 1);
        assert_eq!(code("exec id"), 255);
        assert_eq!(code("exec --user x id sh"), 255);
        assert_eq!(code("--rootless=x exec id sh"), 1);
        assert_eq!(code("state ../x"), 1);
        assert_eq!(code("nothing"), 1);
    }

    #[test]
    fn json_is_on_one_line_or_indented() {
        assert_eq!(json(&[1, 2], 0).unwrap(), "[1,2]");
        assert_eq!(json(&[1], 4).unwrap(), "[\n    1\n]");
    }
}
