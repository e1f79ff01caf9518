//! The one table of commands. Dispatch, help, man pages and completions are all made from it.

use clap::{ArgMatches, Command};

use super::{
    completion, create, delete, events, exec, features, global, help, kill, lint, list, man, mounts, pause,
    plan, ps, resume, run, spec, start, state, stats, tenant, try_, update,
};
use crate::container::Runtime;
use crate::error::Result;

/// One command.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// What is typed.
    pub name: &'static str,
    /// Its parser, help and examples.
    pub command: fn() -> Command,
    /// Reads the arguments, does it, prints, and returns the exit code.
    pub run: fn(&ArgMatches, &Runtime) -> Result<i32>,
    /// The exit code when [`Entry::run`] fails; wrong usage is always 1.
    pub failure: i32,
}

macro_rules! entry {
    ($name:literal, $module:ident) => {
        entry!($name, $module, 1)
    };
    ($name:literal, $module:ident, $failure:literal) => {
        Entry { name: $name, command: $module::command, run: $module::run, failure: $failure }
    };
}

/// Every command, in the order of the help.
pub const COMMANDS: &[Entry] = &[
    entry!("create", create),
    entry!("start", start),
    entry!("run", run),
    // 255, as in runc and ssh: the program's own exit code is passed through, and seldom is that.
    entry!("exec", exec, 255),
    entry!("state", state),
    entry!("list", list),
    entry!("ps", ps),
    entry!("events", events),
    entry!("stats", stats),
    entry!("kill", kill),
    entry!("pause", pause),
    entry!("resume", resume),
    entry!("delete", delete),
    entry!("update", update),
    entry!("mounts", mounts),
    entry!("try", try_),
    entry!("tenant", tenant),
    entry!("plan", plan),
    entry!("lint", lint),
    entry!("spec", spec),
    entry!("features", features),
    entry!("completion", completion),
    entry!("man", man),
    entry!("help", help),
];

/// The entry called `name`.
pub fn find(name: &str) -> Option<&'static Entry> {
    let name = if name == tenant::ALIAS { tenant::NAME } else { name };
    COMMANDS.iter().find(|entry| entry.name == name)
}

/// The parser of one command, under its full name.
pub fn parser(entry: &Entry) -> Command {
    let name = format!("isolate {}", entry.name);
    (entry.command)().bin_name(name)
}

/// The whole command line as one tree. Slower to build than one command's parser by the number of commands,
/// so only help, man pages, completions and unknown commands use it.
pub fn tree() -> Command {
    Command::new("isolate")
        .about("A daemonless OCI runtime: containers and private systems on the host's own kernel")
        .version(env!("CARGO_PKG_VERSION"))
        .override_usage("isolate [OPTIONS] COMMAND [ARGUMENTS]...")
        .disable_help_flag(true)
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .args(global::arguments())
        .subcommands(COMMANDS.iter().map(|entry| (entry.command)()))
        .after_help(EXAMPLES)
}

const EXAMPLES: &str = "Examples:
  Run the container whose bundle is the current folder, and remove it afterwards:
    isolate run web1
  Make it first, look at it, then start it:
    isolate create --bundle /srv/web web1
    isolate state web1
    isolate start web1
  Stop and remove it, whatever it does:
    isolate delete --force web1
  See what a bundle would make the runtime do, without doing it:
    isolate plan --bundle /srv/web
  Say more about one command:
    isolate help create";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_tree_is_sound() {
        tree().debug_assert();
    }

    #[test]
    fn entries_have_the_name_of_their_command_a_description_and_examples() {
        for entry in COMMANDS {
            let command = (entry.command)();
            assert_eq!(command.get_name(), entry.name);
            assert!(command.get_about().is_some(), "{}", entry.name);
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let example = format!("    isolate {}", entry.name);
            assert!(after.starts_with("Examples:\n") && after.contains(&example), "{}: {after}", entry.name);
        }
    }
}
