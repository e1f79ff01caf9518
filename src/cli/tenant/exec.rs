//! `isolate tenant exec` and `enter`: programs in a running tenant. The runtime process, with the caller's privilege.
//! What follows the tenant's name is the program's, never ours.

use std::io::IsTerminal;

use clap::{Arg, ArgMatches, Command};

use super::targets;
use crate::cli::arg;
use crate::error::{Error, Explain, Kind, Result};
use crate::tenant::enter::{self, Program};
use crate::tenant::estate::Estate;

const EXAMPLES: &str = "Examples:
    isolate tenant exec web1 -- ps
  As a user of the tenant's; the exit code is the program's:
    isolate tenant exec --user www-data --workdir /srv web1 -- sh -c 'exit 3'
  Through a pipe:
    isolate tenant exec db1 -- pg_dump app > app.sql";

/// The parser of `exec`.
pub fn command() -> Command {
    let program = Arg::new("command")
        .value_name("COMMAND")
        .num_args(0..)
        .trailing_var_arg(true)
        .allow_hyphen_values(true);
    Command::new("exec")
        .about("Run a program in a running tenant")
        .args(options())
        .arg(arg::flag("no-tty", "No terminal for it, even where standard input is one").short('T'))
        .arg(targets::name())
        .arg(program.help("The program and its arguments"))
        .after_help(EXAMPLES)
}

/// The parser of `enter`.
pub fn enter_command() -> Command {
    let examples = "Examples:\n    isolate tenant enter web1\n    isolate tenant enter --user alice web1";
    Command::new("enter")
        .about("A login shell in a running tenant")
        .args(options())
        .arg(targets::name())
        .after_help(examples)
}

fn options() -> [Arg; 3] {
    [
        arg::value("user", "USER", "Who runs it: name, UID or UID:GID of the tenant's [default: root]")
            .short('u'),
        arg::value("workdir", "DIR", "The folder it starts in [default: the user's home]").short('w'),
        arg::values("env", "NAME=VALUE", "Add a variable; may be repeated").short('e'),
    ]
}

/// Runs the program, and returns its exit code.
///
/// # Errors
/// As [`enter::exec`]; no program is named.
pub fn run(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    let mut command = arg::texts(matches, "command");
    // `exec NAME -- ls`: the dashes end our words, not begin the program's.
    if command.first().is_some_and(|word| word == "--") {
        command.remove(0);
    }
    if command.is_empty() {
        let why = "no program is named";
        return Err(Error::new(why).hint("'isolate tenant enter' opens a shell").kind(Kind::Usage).code(21));
    }
    let tty =
        std::io::stdin().is_terminal() && std::io::stdout().is_terminal() && !matches.get_flag("no-tty");
    go(matches, estate, command, tty)
}

/// Opens the shell.
///
/// # Errors
/// As [`enter::exec`].
pub fn run_enter(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    go(matches, estate, vec![], std::io::stdin().is_terminal())
}

/// What the audit log keeps: the tenant, the user and the program's name, and nothing of its arguments.
pub fn recorded(matches: &ArgMatches) -> Vec<String> {
    let user = arg::text(matches, "user").map(|user| format!("--user={user}"));
    let program = arg::texts(matches, "command").into_iter().find(|word| word != "--");
    user.into_iter().chain(arg::text(matches, "name")).chain(program).collect()
}

fn go(matches: &ArgMatches, estate: &Estate, command: Vec<String>, tty: bool) -> Result<i32> {
    let name = targets::read_name(matches)?;
    let program = Program {
        command,
        user: arg::text(matches, "user"),
        workdir: arg::text(matches, "workdir"),
        env: arg::texts(matches, "env"),
        tty,
    };
    enter::exec(estate, &name, &program).doing(|| format!("cannot exec in tenant '{name}'"))
}
