//! `isolate tenant run-script`. The runtime process, with the caller's privilege.

use std::path::Path;

use clap::{Arg, ArgMatches, Command};

use super::targets;
use crate::cli::arg;
use crate::error::{Explain, Result};
use crate::tenant::enter::Program;
use crate::tenant::estate::Estate;
use crate::tenant::script;

const EXAMPLES: &str = "Examples:
    isolate tenant run-script web1 setup.sh
  With arguments, as a user of the tenant's; the exit code is the script's:
    isolate tenant run-script --user www-data web1 report.py --month 11";

/// The parser of `run-script`.
pub fn command() -> Command {
    let rest = Arg::new("arguments").value_name("ARGUMENT").num_args(0..);
    Command::new("run-script")
        .about(
            "Run a script of the host's in a running tenant, by the interpreter in its first line or /bin/sh",
        )
        .args([
            arg::value("user", "USER", "Who runs it: name, UID or UID:GID of the tenant's [default: root]")
                .short('u'),
            arg::value("workdir", "DIR", "The folder it starts in [default: the user's home]").short('w'),
            arg::values("env", "NAME=VALUE", "Add a variable; may be repeated").short('e'),
        ])
        .arg(targets::name())
        .arg(Arg::new("script").value_name("SCRIPT").required(true).help("A file of the host"))
        .arg(rest.trailing_var_arg(true).allow_hyphen_values(true).help("What it is given"))
        .after_help(EXAMPLES)
}

/// What the audit log keeps: nothing of the script's arguments.
pub fn recorded(matches: &ArgMatches) -> Vec<String> {
    ["name", "script"].into_iter().filter_map(|id| arg::text(matches, id)).collect()
}

/// Runs it, and returns its exit code.
///
/// # Errors
/// As [`script::run`].
pub fn run(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    let name = targets::read_name(matches)?;
    let doing = || format!("cannot run a script in tenant '{name}'");
    let path = arg::text(matches, "script").unwrap_or_default();
    let program = Program {
        command: arg::texts(matches, "arguments"),
        user: arg::text(matches, "user"),
        workdir: arg::text(matches, "workdir"),
        env: arg::texts(matches, "env"),
        tty: false,
    };
    let text = script::read(Path::new(&path)).doing(doing)?;
    script::run(estate, &name, &text, program).doing(doing)
}
